//! Waits, timeouts and clocks.

use ark_model::workflow::ExecutionStatus;
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
