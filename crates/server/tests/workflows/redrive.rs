//! 28: executions that go on after they failed.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::{ListExecutions, Redrivable, Refusal};
use jiff::SignedDuration;
use serde_json::{Value, json};

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

/// A child may end in the transaction that began it, and with more events than its row knows of.
#[tokio::test]
async fn who_waits_for_a_child_is_told_of_its_redrive_what_is_so() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let fail = json!({"Type": "Fail", "Error": "E"});
    let at_once = json!({"StartAt": "P", "States": {
        "P": {"Type": "Pass", "Next": "F"}, "F": fail}});
    let later = json!({"StartAt": "T", "States": {
        "T": {"Type": "Task", "Resource": activity, "Next": "F"}, "F": fail}});
    let endless = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}});
    let full = Redrivable::No("Execution history event limit exceeded".to_owned());
    for (name, definition, so) in [
        ("at_once", at_once, Redrivable::Yes),
        ("later", later, Redrivable::Yes),
        ("endless", endless, full),
    ] {
        let machine_arn = Some(f.machine(name, definition).await);
        let arguments = json!({"Parameters": {"StateMachineArn": machine_arn}});
        let sync = "arn:aws:states:::states:startExecution.sync:2";
        let parent = f.machine(&format!("p-{name}"), one_task(sync, arguments)).await;
        let arn = f.start(&parent, json!({})).await;
        if let Some((token, _)) = f.take(&activity).await {
            f.succeed(&token, json!({})).await;
        }
        f.settle().await;
        let list = ListExecutions { machine_arn, ..ListExecutions::default() };
        let child = f.wf.list_executions(list).await.unwrap().items.remove(0);
        assert_eq!(f.view(&child.arn).await.redrivable, so, "{name}");
        let cause = f.view(&arn).await.cause.expect("a cause");
        let told: Value = serde_json::from_str(&cause).expect("JSON");
        let (status, reason) = match so {
            Redrivable::Yes | Redrivable::ByMapRun => ("REDRIVABLE", Value::Null),
            Redrivable::No(reason) => ("NOT_REDRIVABLE", Value::from(reason)),
        };
        assert_eq!(
            (&told["RedriveStatus"], &told["RedriveStatusReason"]),
            (&json!(status), &reason)
        );
    }
}

/// What is stopped before it did anything begins when it is redriven: it is called redrivable, and is.
#[tokio::test]
async fn what_was_stopped_before_its_first_step_begins_when_it_is_redriven() {
    let mut f = Fixture::new().await;
    // Every event waits in the inbox, the start too.
    f.wf = f.wf.clone().with_trial_fuel(0);
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({"n": 1})).await;
    f.wf.stop_execution(&arn, Some("E".into()), None).await.unwrap();
    f.settle().await;
    let view = f.view(&arn).await;
    assert_eq!((view.status, view.redrivable), (ExecutionStatus::Aborted, Redrivable::Yes));
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let (token, input) = f.take(&activity).await.expect("the first step's task");
    assert_eq!(input, json!({"n": 1}));
    f.succeed(&token, json!("done")).await;
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!("done"));
}
