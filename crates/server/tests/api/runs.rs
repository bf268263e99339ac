//! What a run wrote.

use ark_model::run::{Attempt, AttemptEnd, RunCause, RunOutcome, RunRecord, RunState};
use ark_model::{InstanceId, ReleaseNumber, RunId};
use jiff::Timestamp;
use std::time::Duration;

use crate::fixture::{LAUNCH, Server, web};

/// A run of `web` that is over after so many attempts.
fn run(attempts: &[InstanceId]) -> RunRecord {
    let now = Timestamp::now();
    let attempt = |instance: &InstanceId| Attempt {
        instance: *instance,
        created_at: now,
        started_at: Some(now),
        held: None,
        stopping_at: None,
        ended_at: Some(now),
        end: Some(AttemptEnd::TimedOut),
    };
    RunRecord {
        id: RunId(uuid::Uuid::now_v7()),
        env: "dev".parse().expect("a name"),
        app: web(),
        number: 1,
        release: ReleaseNumber(1),
        cause: RunCause::Asked { by: "ana".into() },
        args: Vec::new(),
        retries: 1,
        timeout: Duration::from_secs(60),
        alone: false,
        state: RunState::Ended,
        attempts: attempts.iter().map(attempt).collect(),
        start_after: None,
        stop: None,
        created_at: now,
        ended_at: Some(now),
        outcome: Some(RunOutcome::Succeeded),
    }
}

#[tokio::test]
async fn the_last_lines_of_a_run_are_those_of_all_its_attempts_together() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    let attempts = [(); 3].map(|()| InstanceId(uuid::Uuid::now_v7()));
    let record = run(&attempts);
    server.write(move |tx| tx.insert_run(&record)).await;
    // Nothing is left of what the second one wrote.
    for (attempt, lines) in [(attempts[0], 1_000), (attempts[2], 2)] {
        for n in 0..lines {
            server.engine.write(attempt, Timestamp::now(), &format!("line {n} of {lines}"));
        }
    }
    let logs = "/v1/environments/dev/apps/web/runs/1/logs";
    let said = async |query: &str| {
        let text = server.get(&format!("{logs}{query}")).await.text;
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let parsed = lines.map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<serde_json::Value> = parsed.collect();
        let texts = lines.iter().filter_map(|line| line["text"].as_str().map(str::to_owned));
        assert!(text.contains("event: ended"), "{query}: {text}");
        texts.collect::<Vec<_>>()
    };
    let last = ["line 999 of 1000", "its log is no longer kept", "line 0 of 2", "line 1 of 2"];
    assert_eq!(said("?follow=false&tail=4").await, last);
    assert_eq!(said("?follow=false&tail=1").await, last[3..]);
    assert_eq!(said("?follow=false&tail=0").await, [""; 0]);
    assert_eq!(said("?follow=false&tail=5000").await.len(), 1_003);
    assert_eq!(said("?follow=false").await, said("?follow=false&tail=5000").await);
    for query in ["?tail=4", "?follow=true&tail=4", "?follow=false&tail=10001"] {
        server.get(&format!("{logs}{query}")).await.problem("invalid-value");
    }
}
