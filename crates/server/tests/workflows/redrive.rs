//! 28: executions that go on after they failed.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::Refusal;
use jiff::SignedDuration;
use serde_json::json;

use crate::fixture::{Fixture, one_task, pass};

#[tokio::test]
async fn only_what_failed_is_done_again() {
    let f = Fixture::new().await;
    let (good, bad) = (f.activity("good").await, f.activity("bad").await);
    let branch = |name: &str, arn: &str| {
        json!({"StartAt": name, "States": {
        name: {"Type": "Task", "Resource": arn, "End": true}}})
    };
    let machine = json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true,
        "Branches": [branch("G", &good), branch("B", &bad)]}}});
    let machine = f.machine("m", machine).await;
    let arn = f.start(&machine, json!({})).await;
    f.succeed(&f.take(&good).await.unwrap().0, json!("good")).await;
    for count in 1..=2 {
        let (token, _) = f.take(&bad).await.unwrap();
        f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
        let at = f.wf.redrive_execution(&arn, Some(format!("t{count}"))).await.unwrap();
        let again = f.wf.redrive_execution(&arn, Some(format!("t{count}"))).await.unwrap();
        assert_eq!(at, again, "the same client token is the same redrive");
        let view = f.view(&arn).await;
        assert_eq!((view.status, view.redrive_count), (ExecutionStatus::Running, count));
        assert_eq!((view.stopped_at, view.error), (None, None));
    }
    assert!(f.take(&good).await.is_none(), "the branch that succeeded is not done again");
    f.succeed(&f.take(&bad).await.unwrap().0, json!("bad")).await;
    assert_eq!(f.output(&arn).await, json!(["good", "bad"]));
    let redriven = f.types(&arn).await.into_iter().filter(|t| *t == "ExecutionRedriven");
    assert_eq!(redriven.count(), 2);
}

#[tokio::test]
async fn what_runs_succeeded_or_is_too_old_is_not_redriven() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let refused = async |arn: &str| {
        let refused = f.wf.redrive_execution(arn, None).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::ExecutionNotRedrivable));
    };
    let arn = f.start(&machine, json!({})).await;
    refused(&arn).await;
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    f.pass(SignedDuration::from_hours(24 * 14 + 1)).await;
    refused(&arn).await;
    let done = f.machine("p", pass()).await;
    refused(&f.start(&done, json!({})).await).await;
}

#[tokio::test]
async fn a_stopped_execution_goes_on_after_a_restart() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({"n": 1})).await;
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    let f = f.restarted().await;
    f.wf.redrive_execution(&arn, None).await.unwrap();
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"n": 1}));
    f.succeed(&token, json!({})).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    f.history(&arn).await;
}
