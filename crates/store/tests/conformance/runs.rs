//! Runs: found by what people and loops know of them, once per firing, and forgotten by their end.

use std::time::Duration;

use ark_model::run::{Attempt, AttemptEnd, RunCause, RunOutcome, RunRecord, RunState};
use ark_model::{InstanceId, ReleaseNumber, RunId};
use ark_store::{Store, StoreError, TaskPhase, TaskRow};

use super::samples::{app, at, env, environments, id, write};

fn run(number: u64) -> RunRecord {
    RunRecord {
        id: RunId(id(u128::from(number) << 64 | 1)),
        env: env("dev"),
        app: app("nightly"),
        number,
        release: ReleaseNumber(1),
        cause: RunCause::Asked { by: "ada".into() },
        args: Vec::new(),
        retries: 0,
        timeout: Duration::from_secs(60),
        alone: false,
        state: RunState::Waiting,
        attempts: Vec::new(),
        start_after: None,
        stop: None,
        created_at: at(0),
        ended_at: None,
        outcome: None,
    }
}

fn ended(number: u64, seconds: i64) -> RunRecord {
    RunRecord {
        state: RunState::Ended,
        ended_at: Some(at(seconds)),
        outcome: Some(RunOutcome::Succeeded),
        ..run(number)
    }
}

fn attempt(instance: u128, end: Option<AttemptEnd>) -> Attempt {
    Attempt {
        instance: InstanceId(id(instance)),
        created_at: at(0),
        started_at: None,
        held: None,
        stopping_at: None,
        ended_at: None,
        end,
    }
}

async fn insert(store: &Store, run: RunRecord) {
    write(store, move |tx| tx.insert_run(&run)).await;
}

async fn numbers(store: &Store) -> Vec<u64> {
    let all = store.read(|tx| tx.runs_of(&env("dev"), &app("nightly"), None, 1_000)).await;
    all.expect("the read succeeds").iter().map(|run| run.number).collect()
}

pub(crate) async fn a_run_is_found_by_number_state_and_instance(store: &Store) {
    environments(store, &["dev"]).await;
    for number in 1..=3 {
        insert(store, run(number)).await;
    }
    let known = store.write(|tx| tx.put_run(&run(9))).await;
    assert!(matches!(known, Err(StoreError::NotFound { .. })), "{known:?}");
    let first = attempt(71, Some(AttemptEnd::Lost));
    let begun = RunRecord { state: RunState::Running, attempts: vec![first], ..run(2) };
    let again = begun.clone();
    write(store, move |tx| tx.put_run(&again)).await;
    let mut second = begun.clone();
    second.attempts.push(attempt(72, None));
    let again = second.clone();
    write(store, move |tx| tx.put_run(&again)).await;
    write(store, |tx| tx.put_run(&ended(3, 5))).await;
    let (active, of_app, by_number, older) = store
        .read(|tx| {
            Ok::<_, StoreError>((
                tx.active_runs()?,
                tx.active_runs_of(&env("dev"), &app("nightly"))?,
                tx.run_numbered(&env("dev"), &app("nightly"), 3)?,
                tx.runs_of(&env("dev"), &app("nightly"), Some(3), 1)?,
            ))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(active, [run(1), second.clone()]);
    assert_eq!(of_app, active);
    assert_eq!(by_number, Some(ended(3, 5)));
    assert_eq!(older, [second.clone()]);
    for (instance, carried) in [(71, false), (72, true)] {
        let instance = InstanceId(id(instance));
        let found = store.read(move |tx| tx.run_of_instance(instance)).await;
        let found = found.expect("the read succeeds").expect("each attempt's run is known");
        assert_eq!((&found, found.is_carried_by(instance)), (&second, carried));
    }
    let stranger = store.read(|tx| tx.run_of_instance(InstanceId(id(73)))).await;
    assert_eq!(stranger.expect("the read succeeds"), None);
}

pub(crate) async fn one_run_stands_for_one_instant_of_a_schedule(store: &Store) {
    environments(store, &["dev"]).await;
    let fired = |number| RunRecord {
        cause: RunCause::Schedule { at: at(60), caught_up: false },
        ..run(number)
    };
    insert(store, fired(1)).await;
    let twice = store.write(move |tx| tx.insert_run(&fired(2))).await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    for (instant, expected) in [(60, true), (61, false)] {
        let found =
            store.read(move |tx| tx.has_fired(&env("dev"), &app("nightly"), at(instant))).await;
        assert_eq!(found.expect("the read succeeds"), expected, "{instant}");
    }
    let homeless = RunRecord { env: env("prod"), ..run(3) };
    let refused = store.write(move |tx| tx.insert_run(&homeless)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let next = || write(store, |tx| tx.next_run_number(&env("dev"), &app("nightly")));
    assert_eq!((next().await, next().await), (1, 2), "numbers are never given twice");
}

/// Run 1 took so long that 150 others ended meanwhile: it is the last that ended.
pub(crate) async fn runs_are_forgotten_by_their_end(store: &Store) {
    environments(store, &["dev"]).await;
    insert(store, run(1)).await;
    for number in 2..=150 {
        insert(store, ended(number, i64::try_from(number).expect("small"))).await;
    }
    insert(store, RunRecord { app: app("other"), ..ended(151, 0) }).await;
    insert(store, run(152)).await;
    let prune =
        |limit| write(store, move |tx| tx.prune_runs(&env("dev"), &app("nightly"), 100, limit));
    assert_eq!(prune(10).await, 10, "no more than it may");
    let gone = write(store, move |tx| {
        tx.put_run(&ended(1, 1_000))?;
        tx.prune_runs(&env("dev"), &app("nightly"), 100, 500)
    });
    assert_eq!(gone.await, 40);
    let mut kept = vec![152];
    kept.extend((52..=150).rev());
    kept.push(1);
    assert_eq!(numbers(store).await, kept, "the active one, and the hundred that ended last");
    assert_eq!(prune(500).await, 0);
    let other = store.read(|tx| tx.runs_of(&env("dev"), &app("other"), None, 10)).await;
    assert_eq!(other.expect("the read succeeds").len(), 1, "another app's are its own");
}

/// Firings that were skipped while a run hung push out no run.
pub(crate) async fn what_did_not_run_is_forgotten_apart(store: &Store) {
    environments(store, &["dev"]).await;
    for number in 1..=3 {
        insert(store, ended(number, i64::try_from(number).expect("small"))).await;
    }
    let skipped = RunOutcome::Skipped { why: "run 3 goes on".into() };
    let missed = RunOutcome::Missed { count: 2, first: at(0) };
    for (number, outcome) in (4..=8).zip([&skipped, &missed].into_iter().cycle()) {
        let ended = ended(number, i64::try_from(number).expect("small"));
        insert(store, RunRecord { outcome: Some(outcome.clone()), ..ended }).await;
    }
    let prune =
        |limit| write(store, move |tx| tx.prune_runs(&env("dev"), &app("nightly"), 2, limit));
    assert_eq!(prune(1).await, 1);
    assert_eq!(prune(500).await, 3);
    assert_eq!(numbers(store).await, [8, 7, 3, 2]);
}

pub(crate) async fn a_run_that_a_task_waits_for_is_kept(store: &Store) {
    environments(store, &["dev"]).await;
    for number in 1..=4 {
        insert(store, ended(number, i64::try_from(number).expect("small"))).await;
    }
    let task = |task: u64, phase: TaskPhase| TaskRow {
        execution: 1,
        task,
        kind: "job".into(),
        phase,
        queue: None,
        machine: 1,
        priority: 0,
        scheduled_at: at(0),
        handed_at: None,
        confirmed: false,
        heartbeat_s: None,
        input: "{}".into(),
        body: serde_json::json!({ "run": run(task).id }).to_string(),
    };
    // Only one that waits has still to learn of the end.
    write(store, move |tx| {
        tx.insert_workflow_task(&task(1, TaskPhase::Waiting))?;
        tx.insert_workflow_task(&task(2, TaskPhase::Ready))
    })
    .await;
    let prune = || write(store, |tx| tx.prune_runs(&env("dev"), &app("nightly"), 1, 500));
    assert_eq!(prune().await, 2);
    assert_eq!(numbers(store).await, [4, 1]);
    write(store, |tx| tx.delete_workflow_task(1, 1)).await;
    assert_eq!(prune().await, 1);
    assert_eq!(numbers(store).await, [4]);
}
