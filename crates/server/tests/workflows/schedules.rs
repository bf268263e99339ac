//! Schedules: each firing once, across restarts, changes of the clocks, and what runs too long.

use ark_model::api::SchedulePut;
use ark_model::definition::Overlap;
use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::driver::Driver;
use ark_server::workflows::{ListExecutions, PageRequest, Refusal, WorkflowError};
use ark_server::world::Clock as _;
use ark_store::{EventFilter, StoreError};
use jiff::Timestamp;
use serde_json::json;

use crate::fixture::{Fixture, pass};

const HOUR: i64 = 3_600;

fn every(cron: &str, zone: &str, overlap: Overlap, catch_up_seconds: u64) -> SchedulePut {
    SchedulePut {
        workflow: "m".to_owned(),
        cron: cron.to_owned(),
        time_zone: zone.to_owned(),
        input: "{\"a\": 1}".to_owned(),
        namespace: None,
        overlap,
        catch_up_seconds,
    }
}

impl Fixture {
    /// Executions of `m`: name and status, oldest first.
    async fn fired(&self) -> Vec<(String, ExecutionStatus)> {
        let machine_arn = Some("arn:aws:states:us-east-1:000000000000:stateMachine:m".to_owned());
        let page = PageRequest { max_results: 900, next_token: None };
        let list = ListExecutions { machine_arn, page, ..ListExecutions::default() };
        let found = self.wf.list_executions(list).await.unwrap();
        found.items.into_iter().rev().map(|e| (e.name, e.status)).collect()
    }

    async fn names(&self) -> Vec<String> {
        self.fired().await.into_iter().map(|(name, _)| name).collect()
    }

    async fn skips(&self) -> usize {
        let read =
            self.store.read::<_, StoreError, _>(|tx| tx.events(&EventFilter::default(), 0, 1_000));
        let events = read.await.unwrap();
        events.iter().filter(|event| event.text.contains("did not start")).count()
    }

    /// Sets the clock.
    async fn at(&self, instant: &str) {
        let instant: Timestamp = instant.parse().unwrap();
        self.pass(instant.duration_since(self.clock.now())).await;
    }
}

fn waits() -> serde_json::Value {
    json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 5400, "End": true}}})
}

#[tokio::test]
async fn each_firing_starts_one_execution_named_by_its_instant() {
    let f = Fixture::new().await;
    f.machine("m", pass()).await;
    let made = f.wf.put_schedule("s", every("0 * * * *", "UTC", Overlap::Forbid, 60), "ana").await;
    assert_eq!(made.unwrap().next_at, Some("2026-01-01T01:00:00Z".parse().unwrap()));
    f.seconds(HOUR - 1).await;
    assert!(f.names().await.is_empty());
    f.seconds(1).await;
    f.seconds(1).await;
    assert_eq!(f.names().await, ["s-20260101T010000Z"]);
    // The clock goes back over it, and on again.
    f.seconds(-20).await;
    f.seconds(40).await;
    assert_eq!(f.names().await.len(), 1);
    f.seconds(HOUR).await;
    assert_eq!(f.names().await, ["s-20260101T010000Z", "s-20260101T020000Z"]);
    let last = f.wf.schedule("s").await.unwrap().last.unwrap().execution_arn.unwrap();
    let output = f.output(&last).await;
    assert_eq!(output, json!({"a": 1, "_EXECUTION_NAME": "s-20260101T020000Z"}));
}

#[tokio::test]
async fn a_server_that_was_replaced_fires_nothing_and_its_follower_fires_once() {
    let old = Fixture::new().await;
    old.machine("m", pass()).await;
    old.wf.put_schedule("s", every("* * * * *", "UTC", Overlap::Allow, 60), "ana").await.unwrap();
    for minute in 1..=20 {
        let new = old.restarted().await;
        new.clock.advance(jiff::SignedDuration::from_secs(60));
        let mut driver = Driver::default();
        let (a, b) =
            tokio::join!(driver.round(&old.wf), async { Driver::default().round(&new.wf).await });
        assert!(matches!(a, Err(WorkflowError::Fenced)), "{a:?}");
        b.unwrap();
        // Another that comes at once finds it decided.
        let third = new.restarted().await;
        third.settle().await;
        assert_eq!(third.names().await.len(), minute);
    }
}

#[tokio::test]
async fn missed_firings_are_made_up_for_once_within_the_window() {
    for (catch_up, away, starts) in [
        (6 * 3_600, 5 * HOUR + 600, 1),
        (0, 5 * HOUR + 600, 0),
        (300, 5 * HOUR + 600, 0),
        (900, 5 * HOUR + 600, 1),
        (0, HOUR + 30, 1),
    ] {
        let f = Fixture::new().await;
        f.machine("m", pass()).await;
        let hourly = every("0 * * * *", "UTC", Overlap::Forbid, catch_up);
        f.wf.put_schedule("s", hourly, "ana").await.unwrap();
        f.clock.advance(jiff::SignedDuration::from_secs(away));
        let f = f.restarted().await;
        f.settle().await;
        assert_eq!(f.names().await.len(), starts, "catch up {catch_up}, away {away}");
        // What was left out is said.
        assert_eq!(f.skips().await > 0, away > 2 * HOUR, "catch up {catch_up}, away {away}");
        f.seconds(HOUR - away % HOUR).await;
        assert_eq!(f.names().await.len(), starts + 1, "the next one is on time");
    }
}

#[tokio::test]
async fn a_firing_while_the_one_before_runs_is_skipped_or_replaces_it_or_runs_beside_it() {
    use ExecutionStatus::{Aborted, Running};
    for (overlap, expected, skips) in [
        (Overlap::Forbid, vec![Running], 1),
        (Overlap::Allow, vec![Running, Running], 0),
        (Overlap::Replace, vec![Aborted, Running], 0),
    ] {
        let f = Fixture::new().await;
        f.machine("m", waits()).await;
        f.wf.put_schedule("s", every("0 * * * *", "UTC", overlap, 60), "ana").await.unwrap();
        f.seconds(HOUR).await;
        f.seconds(HOUR).await;
        let statuses: Vec<_> = f.fired().await.into_iter().map(|(_, status)| status).collect();
        assert_eq!((statuses, f.skips().await), (expected, skips), "{overlap:?}");
        // Once it has ended, the next one starts.
        f.seconds(HOUR).await;
        let last = f.wf.schedule("s").await.unwrap().last.unwrap();
        assert!(last.execution_arn.is_some(), "{overlap:?} {last:?}");
    }
}

#[tokio::test]
async fn times_follow_the_zones_clock_through_its_changes() {
    let f = Fixture::new().await;
    f.machine("m", pass()).await;
    let daily = every("30 2 * * *", "Europe/Berlin", Overlap::Forbid, 0);
    f.at("2026-03-27T12:00:00Z").await;
    f.wf.put_schedule("s", daily.clone(), "ana").await.unwrap();
    for day in [
        "2026-03-28T01:30:00Z",
        "2026-03-29T00:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-30T00:30:00Z",
    ] {
        f.at(day).await;
    }
    // 02:30 of the 29th is left out: the clocks go from 02:00 to 03:00.
    assert_eq!(f.names().await, ["s-20260328T013000Z", "s-20260330T003000Z"]);
    f.wf.remove_schedule("s", "ana").await.unwrap();
    f.at("2026-10-24T12:00:00Z").await;
    f.wf.put_schedule("t", daily, "ana").await.unwrap();
    f.at("2026-10-25T00:30:00Z").await;
    f.at("2026-10-25T01:30:00Z").await;
    f.at("2026-10-26T01:30:00Z").await;
    // Those of March are no longer kept.
    let autumn = f.names().await;
    assert_eq!(autumn, ["t-20261025T003000Z", "t-20261025T013000Z", "t-20261026T013000Z"]);
}

#[tokio::test]
async fn a_paused_schedule_makes_up_for_nothing_and_a_wrong_one_is_refused() {
    let f = Fixture::new().await;
    f.machine("m", pass()).await;
    let hourly = every("0 * * * *", "UTC", Overlap::Forbid, 86_400);
    f.wf.put_schedule("s", hourly.clone(), "ana").await.unwrap();
    let paused = f.wf.pause_schedule("s", true, "ana").await.unwrap();
    assert_eq!((paused.paused, paused.next_at), (true, None));
    f.seconds(5 * HOUR + 60).await;
    let resumed = f.wf.pause_schedule("s", false, "ana").await.unwrap();
    assert_eq!(resumed.next_at, Some("2026-01-01T06:00:00Z".parse().unwrap()));
    f.seconds(60).await;
    assert!(f.names().await.is_empty());
    f.seconds(HOUR).await;
    assert_eq!(f.names().await, ["s-20260101T060000Z"]);

    let refusal = |error: WorkflowError| error.refusal();
    for wrong in [
        SchedulePut { cron: "0 * * *".into(), ..hourly.clone() },
        SchedulePut { cron: "0 0 30 2 *".into(), ..hourly.clone() },
        SchedulePut { time_zone: "Mars/Base".into(), ..hourly.clone() },
        SchedulePut { input: "{".into(), ..hourly.clone() },
        SchedulePut { catch_up_seconds: u64::MAX, ..hourly.clone() },
    ] {
        let refused = f.wf.put_schedule("w", wrong, "ana").await.unwrap_err();
        assert_eq!(refusal(refused), Some(Refusal::ValidationException));
    }
    let none = SchedulePut { workflow: "none".into(), ..hourly.clone() };
    let refused = f.wf.put_schedule("w", none, "ana").await.unwrap_err();
    assert_eq!(refusal(refused), Some(Refusal::StateMachineDoesNotExist));
    for name in ["", "a b", "a:b", &"x".repeat(61)] {
        assert!(f.wf.put_schedule(name, hourly.clone(), "ana").await.is_err(), "{name}");
    }
    // A machine that is gone by then is said, and the schedule goes on.
    f.wf.delete_machine("arn:aws:states:us-east-1:000000000000:stateMachine:m").await.unwrap();
    f.seconds(HOUR).await;
    let view = f.wf.schedule("s").await.unwrap();
    assert!(view.last.unwrap().skipped.unwrap().contains("Does Not Exist"));
    assert_eq!(view.next_at, Some("2026-01-01T08:00:00Z".parse().unwrap()));
}
