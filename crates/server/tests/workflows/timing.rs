//! Waits, timeouts and clocks.

use std::time::Duration;

use ark_model::workflow::ExecutionStatus;
use ark_server::world::Clock as _;
use jiff::SignedDuration;
use serde_json::json;

use crate::fixture::{Fixture, one_task};

fn wait(seconds: i64) -> serde_json::Value {
    json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": seconds, "End": true}}})
}

/// 16.
#[tokio::test]
async fn a_wait_of_a_year_survives_restarts() {
    let f = Fixture::new().await;
    let year = 364 * 24 * 3_600;
    let machine = f.machine("m", wait(year)).await;
    let arn = f.start(&machine, json!({})).await;
    f.pass(SignedDuration::from_secs(year - 1)).await;
    let f = f.restarted().await;
    f.settle().await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    f.seconds(1).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
}

/// 16.
#[tokio::test]
async fn a_clock_that_jumps_neither_loses_nor_repeats_a_timer() {
    let f = Fixture::new().await;
    let machine = f.machine("m", wait(60)).await;
    let arn = f.start(&machine, json!({})).await;
    f.seconds(-3_600).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    f.seconds(3_600 + 60).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    let before = f.history(&arn).await.len();
    f.seconds(-120).await;
    f.seconds(240).await;
    assert_eq!(f.history(&arn).await.len(), before, "fired once");
    let late = f.start(&machine, json!({})).await;
    f.pass(SignedDuration::from_hours(24 * 300)).await;
    assert_eq!(f.status(&late).await, ExecutionStatus::Succeeded);
}

/// 16. While all loops run by themselves: who waits, waits for time, whatever somebody makes of the clock.
#[tokio::test]
async fn a_clock_that_is_set_under_running_loops_harms_nobody() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let (minute, hour) = (f.machine("m", wait(60)).await, f.machine("h", wait(3_000)).await);
    let arn = f.start(&minute, json!({})).await;
    let until = f.clock.now() + SignedDuration::from_secs(60);
    let wf = f.wf.clone();
    let poll = tokio::spawn(async move { wf.poll_activity(&activity, None, until).await });
    f.sleepers(1).await;
    let wf = f.wf.clone();
    let running = tokio::spawn(async move { wf.run().await });
    f.sleepers(2).await;

    f.clock.set(SignedDuration::from_hours(-1));
    for _ in 0..90 {
        f.clock.advance(SignedDuration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running, "its instant is an hour away");
    let polled = tokio::time::timeout(Duration::from_secs(10), poll).await.expect("it ends");
    assert!(polled.unwrap().unwrap().is_none(), "for who waits a minute has passed");
    f.clock.set(SignedDuration::from_hours(1));
    f.ends_within(&arn, 30).await;

    let second = f.start(&hour, json!({})).await;
    f.clock.set(SignedDuration::from_hours(1));
    f.ends_within(&second, 30).await;
    f.clock.set(SignedDuration::from_hours(-2));
    for arn in [&arn, &second] {
        let types = f.types(arn).await;
        let fired = types.iter().filter(|kind| **kind == "WaitStateExited").count();
        assert_eq!((f.status(arn).await, fired), (ExecutionStatus::Succeeded, 1));
    }
    f.wf.close();
    running.await.unwrap();
}

/// 16. The benchmark does it with 100,000.
#[tokio::test]
async fn thousands_of_timers_due_at_once_all_fire() {
    const MANY: usize = 2_000;
    let f = Fixture::new().await;
    let machine = f.machine("m", wait(60)).await;
    for _ in 0..MANY {
        f.start(&machine, json!({})).await;
    }
    f.seconds(59).await;
    let open = || f.store.read(ark_store::ReadTx::open_execution_count);
    assert_eq!(open().await.unwrap(), MANY as u64);
    f.seconds(1).await;
    assert_eq!(open().await.unwrap(), 0);
}

/// 11.
#[tokio::test]
async fn a_serial_map_and_a_wait_obey_the_timeout_of_the_execution() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let map = json!({"TimeoutSeconds": 50, "StartAt": "M", "States": {"M": {
        "Type": "Map", "MaxConcurrency": 1, "End": true, "ItemsPath": "$.items",
        "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": activity, "End": true}}}}}});
    let machine = f.machine("m", map).await;
    let arn = f.start(&machine, json!({"items": [1, 2, 3]})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    assert!(f.take(&activity).await.is_none(), "one at a time");
    f.seconds(20).await;
    f.succeed(&token, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.seconds(31).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::TimedOut);
    assert!(f.wf.task_succeeded(&token, "{}".into()).await.is_err());

    let mut waits = wait(1_000);
    waits["TimeoutSeconds"] = json!(10);
    let machine = f.machine("w", waits).await;
    let arn = f.start(&machine, json!({})).await;
    f.seconds(10).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::TimedOut);
    assert_eq!(f.types(&arn).await.last(), Some(&"ExecutionTimedOut"));
}

#[tokio::test]
async fn an_execution_ends_after_a_year_at_the_latest() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({})).await;
    f.pass(SignedDuration::from_hours(24 * 364)).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    f.pass(SignedDuration::from_hours(48)).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::TimedOut);
    f.history(&arn).await;
}

#[tokio::test]
async fn what_ended_ninety_days_ago_is_forgotten() {
    let f = Fixture::new().await;
    let machine = f.machine("m", crate::fixture::pass()).await;
    let arn = f.start(&machine, json!({})).await;
    f.pass(SignedDuration::from_hours(24 * 89)).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    f.pass(SignedDuration::from_hours(48)).await;
    assert!(f.wf.describe_execution(&arn).await.is_err());
}
