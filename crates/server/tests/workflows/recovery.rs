//! Servers that die, and servers that do not know they were replaced.

use std::time::Duration;

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::WorkflowError;
use ark_server::workflows::driver::Driver;
use ark_server::world::Clock;
use ark_store::{Options, Store};
use serde_json::json;

use crate::fixture::{Fixture, clock, one_task, pass};

/// 3.
#[tokio::test]
async fn a_server_that_was_replaced_can_write_nothing() {
    let old = Fixture::new().await;
    let activity = old.activity("a").await;
    let machine = old.machine("m", one_task(&activity, json!({}))).await;
    let arn = old.start(&machine, json!({})).await;
    let (token, _) = old.take(&activity).await.unwrap();
    let new = old.restarted().await;
    let fenced = |result: Result<(), WorkflowError>| matches!(result, Err(WorkflowError::Fenced));
    assert!(fenced(old.start_as(&machine, "n", "{}").await.map(drop)));
    assert!(fenced(old.wf.task_succeeded(&token, "{}".into()).await));
    assert!(fenced(old.wf.task_heartbeat(&token).await));
    assert!(fenced(old.wf.stop_execution(&arn, None, None).await.map(drop)));
    assert!(fenced(old.wf.poll_activity(&activity, None, old.clock.now()).await.map(drop)));
    assert!(fenced(Driver::default().round(&old.wf).await.map(drop)));
    assert_eq!(new.status(&arn).await, ExecutionStatus::Running);
    new.succeed(&token, json!({"done": true})).await;
    assert_eq!(new.output(&arn).await, json!({"done": true}));
}

/// 4.
#[tokio::test]
async fn recovery_goes_on_where_a_round_failed() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"TimeoutSeconds": 5}))).await;
    let arn = f.start(&machine, json!({})).await;
    let old = f;
    old.clock.advance(jiff::SignedDuration::from_secs(10));
    // A driver whose first round is refused keeps what it has to do for the next.
    let (first, second) = (old.restarted().await, old.restarted().await);
    let mut driver = Driver::default();
    assert!(driver.round(&first.wf).await.is_err());
    assert!(driver.round(&second.wf).await.is_ok());
    assert_eq!(second.view(&arn).await.error.as_deref(), Some("States.Timeout"));
}

/// 4. The recovery itself is refused, again and again: nothing is stranded, and what it had to do is done
/// once it is let.
#[tokio::test]
async fn a_recovery_that_the_store_refuses_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { lock_wait_max: Duration::from_millis(50), ..Options::default() };
    let store = Store::open_with(dir.path(), clock.now(), options).unwrap();
    let killed = Fixture::on(store, clock).await;
    let activity = killed.activity("a").await;
    let machine = killed.machine("m", one_task(&activity, json!({}))).await;
    let arn = killed.start(&machine, json!({})).await;
    let lost = killed.poll(&activity).await.unwrap();

    let f = killed.restarted().await;
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut driver = Driver::default();
    for _ in 0..3 {
        let refused = driver.round(&f.wf).await.unwrap_err();
        assert!(
            matches!(&refused, WorkflowError::Store(error) if error.is_transient()),
            "{refused:?}"
        );
        assert_eq!(f.status(&arn).await, ExecutionStatus::Running, "reads go on");
    }
    other.execute_batch("ROLLBACK").unwrap();
    f.settle().await;
    let (again, _) = f.take(&activity).await.expect("the task of which nobody knew who had it");
    assert_eq!(again, lost.token);
    f.succeed(&again, json!({"done": true})).await;
    assert_eq!(f.output(&arn).await, json!({"done": true}));
}

/// 2, 4: what is on disk is enough.
#[tokio::test]
async fn everything_goes_on_from_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (arn, activity, waits, token) = {
        let store = Store::open(dir.path(), clock.now()).unwrap();
        let f = Fixture::on(store, clock.clone()).await;
        let activity = f.activity("a").await;
        let machine = f.machine("m", one_task(&activity, json!({}))).await;
        let wait = json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "Next": "P"},
            "P": {"Type": "Pass", "End": true}}});
        let wait = f.machine("w", wait).await;
        let waits = f.start(&wait, json!({"kept": true})).await;
        let arn = f.start(&machine, json!({"n": 7})).await;
        let (token, _) = f.take(&activity).await.unwrap();
        f.settle().await;
        (arn, activity, waits, token)
    };
    let store = Store::open(dir.path(), clock.now()).unwrap();
    let f = Fixture::on(store, clock).await;
    f.seconds(60).await;
    assert_eq!(f.output(&waits).await, json!({"kept": true}));
    assert!(f.take(&activity).await.is_none());
    f.succeed(&token, json!({"n": 8})).await;
    assert_eq!(f.output(&arn).await, json!({"n": 8}));
}

/// 17.
#[tokio::test]
async fn nothing_is_acknowledged_on_a_full_disk_and_all_goes_on_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { pages_max: Some(400), ..Options::default() };
    let store = Store::open_with(dir.path(), clock.now(), options).unwrap();
    let f = Fixture::on(store, clock.clone()).await;
    let machine = f.machine("m", pass()).await;
    let mut kept = Vec::new();
    let refused = loop {
        let input = json!({"long": "x".repeat(20_000), "n": kept.len()}).to_string();
        match f.start_as(&machine, &format!("n{}", kept.len()), &input).await {
            Ok(arn) => kept.push(arn),
            Err(error) => break error,
        }
        assert!(kept.len() < 1_000, "the disk never fills");
    };
    assert!(matches!(refused, WorkflowError::Store(_)), "{refused:?}");
    for arn in &kept {
        assert_eq!(f.status(arn).await, ExecutionStatus::Succeeded);
    }
    let lost = format!("n{}", kept.len());
    let arn = kept[0].replace(":n0", &format!(":{lost}"));
    assert!(f.wf.describe_execution(&arn).await.is_err(), "half an execution was left");
    drop(f);
    let store = Store::open(dir.path(), clock.now()).unwrap();
    let f = Fixture::on(store, clock).await;
    f.start_as(&machine, &lost, "{}").await.unwrap();
}
