//! Steps that cost too much for the writer: their events wait in an inbox and are taken beside it.

use ark_model::workflow::ExecutionStatus;
use serde_json::{Value, json};

use crate::fixture::{Fixture, one_task, pass};

/// Some million steps, a moment of work.
const COSTLY: &str = "{% $count($filter([1..200000], function($n) { $n % 7 = 0 })) %}";

/// A Pass state that costs too much, and a task after it.
fn costly(resource: &str) -> Value {
    json!({"QueryLanguage": "JSONata", "StartAt": "P", "States": {
        "P": {"Type": "Pass", "Output": {"n": COSTLY}, "Next": "T"},
        "T": {"Type": "Task", "Resource": resource, "End": true}}})
}

/// 20: whoever starts a costly machine is answered at once, and nobody else waits for it.
#[tokio::test]
async fn a_costly_expression_stalls_nobody() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let (hostile, quick) = (f.machine("h", costly(&activity)).await, f.machine("q", pass()).await);
    let first = f.start(&hostile, json!({})).await;
    assert_eq!(f.status(&first).await, ExecutionStatus::Running);
    assert!(f.history(&first).await.is_empty(), "not a step of it was taken on the writer");
    let second = f.start(&quick, json!({"x": 1})).await;
    assert_eq!(f.output(&second).await, json!({"x": 1}));
    f.settle().await;
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"n": 28_571}));
    f.succeed(&token, json!("done")).await;
    f.settle().await;
    assert_eq!(f.output(&first).await, json!("done"));
    let types = f.types(&first).await;
    assert_eq!(types.len(), 9, "{types:?}");
}

/// What waits in an inbox is there after a crash.
#[tokio::test]
async fn an_event_that_waits_survives_the_server() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("h", costly(&activity)).await;
    let arn = f.start(&machine, json!({})).await;
    let f = f.restarted().await;
    f.settle().await;
    let (token, _) = f.take(&activity).await.unwrap();
    let wf = f.wf.clone().with_trial_fuel(0);
    wf.task_succeeded(&token, "1".to_owned()).await.unwrap();
    assert!(wf.task_succeeded(&token, "2".to_owned()).await.is_err(), "it was given");
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    let f = f.restarted().await;
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!(1));
}

/// Events wait in the order in which they came, a stop like any other.
#[tokio::test]
async fn a_stop_waits_its_turn_and_counts() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("h", costly(&activity)).await;
    let arn = f.start(&machine, json!({})).await;
    f.wf.stop_execution(&arn, Some("E".into()), None).await.unwrap();
    f.settle().await;
    let seen = f.view(&arn).await;
    assert_eq!((seen.status, seen.error.as_deref()), (ExecutionStatus::Aborted, Some("E")));
    assert!(f.take(&activity).await.is_none(), "its task was withdrawn");
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    assert!(f.take(&activity).await.is_some());
}

/// A thought rests on answers of the runtime; those are looked at again when it is carried out.
#[tokio::test]
async fn an_activity_that_is_gone_is_missed_by_a_costly_step_too() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("h", costly(&activity)).await;
    let arn = f.start(&machine, json!({})).await;
    f.wf.delete_activity(&activity).await.unwrap();
    f.settle().await;
    let seen = f.view(&arn).await;
    assert_eq!(seen.error.as_deref(), Some("States.Runtime"));
    assert!(seen.cause.unwrap().contains("does not exist"));
}

/// The children of a costly machine, its waiters and its timeouts are served like all others.
#[tokio::test]
async fn children_and_waiters_of_costly_machines_are_served() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let child = f.machine("h", costly(&activity)).await;
    let parent = one_task(
        "arn:aws:states:::states:startExecution.sync:2",
        json!({"Parameters": {"StateMachineArn": child, "Input": {}}, "ResultSelector": {"o.$": "$.Output"}}),
    );
    let parent = f.machine("p", parent).await;
    let arn = f.start(&parent, json!({})).await;
    f.settle().await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.succeed(&token, json!({"from": "child"})).await;
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!({"o": {"from": "child"}}));
}

/// A machine that was costly once and is not any more goes without the inbox again.
#[tokio::test]
async fn a_machine_is_tried_again_once_it_is_cheap() {
    let f = Fixture::new().await;
    let text = json!({"QueryLanguage": "JSONata", "StartAt": "P", "States": {"P": {"Type": "Pass",
        "Output": "{% $count($filter([1..$states.input], function($n) { $n % 7 = 0 })) %}", "End": true}}});
    let machine = f.machine("m", text).await;
    for (input, waits) in [(10, false), (200_000, true), (10, true), (10, false)] {
        let arn = f.start(&machine, json!(input)).await;
        let waited = f.status(&arn).await == ExecutionStatus::Running;
        assert_eq!(waited, waits, "{input}");
        f.settle().await;
        assert_eq!(f.output(&arn).await, json!(input / 7));
    }
}

/// A result that is as deep as any may be is too deep in what a service makes of it, in an inbox as
/// anywhere.
#[tokio::test]
async fn a_result_that_is_too_deep_is_refused_in_an_inbox_too() {
    for trial_fuel in [20_000, 0] {
        let f = Fixture::new().await;
        let wf = f.wf.clone().with_trial_fuel(trial_fuel);
        let activity = f.activity("a").await;
        let child = f.machine("c", one_task(&activity, json!({}))).await;
        let parent = one_task(
            "arn:aws:states:::states:startExecution.sync:2",
            json!({"Parameters": {"StateMachineArn": child, "Input": {}}}),
        );
        let parent = f.machine("p", parent).await;
        let arn = f.start(&parent, json!({})).await;
        f.settle().await;
        let (token, _) = f.take(&activity).await.unwrap();
        f.settle().await;
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        wf.task_succeeded(&token, deep).await.unwrap();
        f.settle().await;
        let seen = f.view(&arn).await;
        assert_eq!(seen.error.as_deref(), Some("States.DataLimitExceeded"), "{trial_fuel}");
    }
}
