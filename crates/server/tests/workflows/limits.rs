//! Limits: payloads, history, names.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::Refusal;
use serde_json::{Value, json};

use crate::fixture::{Fixture, one_task, pass};

/// A JSON string of exactly this many bytes, quotes included.
fn text(bytes: usize) -> Value {
    Value::String("x".repeat(bytes - 2))
}

const MOST: usize = 262_144;

/// 10.
#[tokio::test]
async fn an_input_of_exactly_the_limit_is_started_and_one_byte_more_leaves_nothing() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    let arn = f.start_as(&machine, "fits", &text(MOST).to_string()).await.unwrap();
    assert_eq!(f.output(&arn).await, text(MOST));
    assert_eq!(f.view(&arn).await.input, text(MOST).to_string());
    let events = f.history(&arn).await;
    assert_eq!(events[1].details.input.as_deref(), Some(text(MOST).to_string().as_str()));
    let refused = f.start_as(&machine, "large", &text(MOST + 1).to_string()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::InvalidExecutionInput));
    f.start_as(&machine, "large", "{}").await.expect("the name is still free");
}

/// 10.
#[tokio::test]
async fn an_output_of_exactly_the_limit_is_taken_and_one_byte_more_leaves_the_task() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    let refused = f.wf.task_succeeded(&token, text(MOST + 1).to_string()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::InvalidOutput));
    f.succeed(&token, text(MOST)).await;
    assert_eq!(f.output(&arn).await, text(MOST));
}

/// 10.
#[tokio::test]
async fn a_state_that_grows_beyond_the_limit_fails_and_is_not_lost() {
    let f = Fixture::new().await;
    let double = json!({"StartAt": "P", "States": {"P": {"Type": "Pass",
        "Parameters": {"a.$": "$", "b.$": "$"}, "End": true}}});
    let machine = f.machine("m", double).await;
    let arn = f.start(&machine, text(200_000)).await;
    let view = f.view(&arn).await;
    assert_eq!(view.status, ExecutionStatus::Failed);
    assert_eq!(view.error.as_deref(), Some("States.DataLimitExceeded"));
    f.history(&arn).await;
}

/// 8.
#[tokio::test]
async fn the_history_ends_at_its_limit() {
    let f = Fixture::new().await;
    let endless = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}});
    let machine = f.machine("m", endless).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let view = f.view(&arn).await;
    assert_eq!(view.status, ExecutionStatus::Failed);
    assert_eq!(view.error.as_deref(), Some("States.Runtime"));
    let cause = "The execution reached the maximum number of history events (25000).";
    assert_eq!(view.cause.as_deref(), Some(cause));
    let events = f.history(&arn).await;
    assert_eq!(events.len(), 25_000);
    assert_eq!(events[24_999].kind.name(), "ExecutionFailed");
}

/// 9.
#[tokio::test]
async fn events_of_branches_and_iterations_are_contiguous() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = |name: &str| {
        json!({"StartAt": name, "States": {
        name: {"Type": "Task", "Resource": activity, "End": true}}})
    };
    let machine = json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true, "Branches": [
        task("T1"),
        {"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.items", "End": true,
            "ItemProcessor": task("T2")}}}]}}});
    let machine = f.machine("m", machine).await;
    let arn = f.start(&machine, json!({"items": [1, 2, 3]})).await;
    while let Some((token, _)) = f.take(&activity).await {
        f.succeed(&token, json!({})).await;
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    assert!(f.history(&arn).await.len() > 25);
}

/// 19.
#[tokio::test]
async fn odd_names_and_inputs_are_refused_or_kept_exactly() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    for name in ["a b", "a:b", "a/b", &"x".repeat(81), "\u{7}", "a*"] {
        let refused = f.start_as(&machine, name, "{}").await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::InvalidName), "{name}");
    }
    for name in [&"x".repeat(80), "ünïcode-名"] {
        f.start_as(&machine, name, "{}").await.unwrap();
    }
    for input in ["", "{", "[1,]", &"[".repeat(1_001)] {
        let refused = f.start_as(&machine, "", input).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::InvalidExecutionInput), "{input:.20}");
    }
    let kept = "[[1, 2],  9007199254740993, 1e400]";
    let arn = f.start_as(&machine, "", kept).await.unwrap();
    let view = f.view(&arn).await;
    assert_eq!(view.input, kept);
    assert_eq!(view.output.as_deref(), Some("[[1,2],9007199254740993,1e400]"));
}

/// A text that looks like the reference by which long ones are kept is kept apart, too.
#[tokio::test]
async fn a_cause_that_looks_like_a_reference_is_a_cause() {
    let f = Fixture::new().await;
    let fail = json!({"Type": "Fail", "Error": "E", "Cause": "\u{1}abc"});
    let machine = f.machine("m", json!({"StartAt": "F", "States": {"F": fail}})).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    assert_eq!(f.view(&arn).await.cause.as_deref(), Some("\u{1}abc"));
    let history = f.history(&arn).await;
    let causes: Vec<_> = history.iter().filter_map(|e| e.details.cause.as_deref()).collect();
    assert_eq!(causes, ["\u{1}abc"]);
}
