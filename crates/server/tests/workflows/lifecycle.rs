//! Starting, stopping, listing, nesting; Standard and Express.

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::{ListExecutions, PageRequest, Refusal, Route, StartExecution};
use serde_json::json;

use crate::fixture::{Fixture, one_task, pass};

#[tokio::test]
async fn a_machine_of_pass_states_ends_with_its_start() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    let arn = f.start(&machine, json!({"a": 1})).await;
    assert_eq!(f.output(&arn).await, json!({"a": 1}));
    assert_eq!(
        f.types(&arn).await,
        ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]
    );
}

/// 15.
#[tokio::test]
async fn the_same_name_with_the_same_input_is_the_same_execution() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (wf, machine) = (f.wf.clone(), machine.clone());
        starts.spawn(async move {
            let start = StartExecution {
                machine_arn: machine,
                name: Some("n".into()),
                input: Some("{}".into()),
                ..StartExecution::default()
            };
            wf.start_execution(start).await.unwrap().execution_arn
        });
    }
    let arns = starts.join_all().await;
    assert!(arns.iter().all(|arn| *arn == arns[0]));
    let other = f.start_as(&machine, "n", "{\"a\":1}").await.unwrap_err();
    assert_eq!(other.refusal(), Some(Refusal::ExecutionAlreadyExists));
    let (token, _) = f.take(&activity).await.expect("one task");
    assert!(f.take(&activity).await.is_none(), "one execution, one task");
    f.succeed(&token, json!({})).await;
    let ended = f.start_as(&machine, "n", "{}").await.unwrap_err();
    assert_eq!(ended.refusal(), Some(Refusal::ExecutionAlreadyExists));
}

/// 14.
#[tokio::test]
async fn an_execution_is_stopped_once_and_again_after_a_restart() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    let f = f.restarted().await;
    let at = f.wf.stop_execution(&arn, Some("E".into()), Some("c".into())).await.unwrap();
    let view = f.view(&arn).await;
    assert_eq!(view.status, ExecutionStatus::Aborted);
    assert_eq!((view.error.as_deref(), view.cause.as_deref()), (Some("E"), Some("c")));
    f.seconds(5).await;
    assert_eq!(f.wf.stop_execution(&arn, None, None).await.unwrap(), at);
    assert_eq!(f.history(&arn).await.last().unwrap().kind.name(), "ExecutionAborted");
    let late = f.wf.task_succeeded(&token, "{}".into()).await.unwrap_err();
    assert_eq!(late.refusal(), Some(Refusal::TaskTimedOut));
    let missing = f.wf.stop_execution(&format!("{arn}x"), None, None).await.unwrap_err();
    assert_eq!(missing.refusal(), Some(Refusal::ExecutionDoesNotExist));
}

/// 24.
#[tokio::test]
async fn pages_of_a_list_are_stable_while_executions_are_started() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    let other = f.machine("other", pass()).await;
    for n in 0..25 {
        f.start(&machine, json!({"n": n})).await;
    }
    let list = |token: Option<String>, machine: &str| ListExecutions {
        machine_arn: Some(machine.to_owned()),
        page: PageRequest { max_results: 10, next_token: token },
        ..ListExecutions::default()
    };
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let page = f.wf.list_executions(list(token, &machine)).await.unwrap();
        seen.extend(page.items.iter().map(|e| e.input.clone()));
        f.start(&machine, json!({"n": "later"})).await;
        token = page.next_token;
        let Some(token) = &token else { break };
        let misused = f.wf.list_executions(list(Some(token.clone()), &other)).await.unwrap_err();
        assert_eq!(misused.refusal(), Some(Refusal::InvalidToken));
        let mut forged = token.clone();
        forged.replace_range(0..1, if token.starts_with('B') { "C" } else { "B" });
        let forged = f.wf.list_executions(list(Some(forged), &machine)).await.unwrap_err();
        assert_eq!(forged.refusal(), Some(Refusal::InvalidToken));
    }
    let expected: Vec<String> = (0..25).rev().map(|n| json!({"n": n}).to_string()).collect();
    assert_eq!(seen, expected);
    let running = ListExecutions {
        machine_arn: Some(machine.clone()),
        status: Some(ExecutionStatus::Running),
        ..ListExecutions::default()
    };
    assert!(f.wf.list_executions(running).await.unwrap().items.is_empty());
    let express = f.machine_of(MachineType::Express, "x", pass()).await;
    let refused = f.wf.list_executions(list(None, &express)).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::StateMachineTypeNotSupported));
}

#[tokio::test]
async fn a_history_is_paged_in_both_orders() {
    let f = Fixture::new().await;
    let mut states = serde_json::Map::new();
    for n in 0..40 {
        let next = format!("S{}", n + 1);
        states.insert(format!("S{n}"), json!({"Type": "Pass", "Next": next}));
    }
    states.insert("S40".into(), json!({"Type": "Succeed"}));
    let machine = f.machine("m", json!({"StartAt": "S0", "States": states})).await;
    let arn = f.start(&machine, json!({})).await;
    let all: Vec<u64> = f.history(&arn).await.iter().map(|e| e.id).collect();
    assert_eq!(all.len(), 84);
    let mut newest = Vec::new();
    let mut token = None;
    loop {
        let page = PageRequest { max_results: 7, next_token: token };
        let page = f.wf.events(&arn, page, true).await.unwrap();
        newest.extend(page.items.iter().map(|e| e.id));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    newest.reverse();
    assert_eq!(newest, all);
}

#[tokio::test]
async fn an_express_execution_answers_whoever_waits() {
    let f = Fixture::new().await;
    let quick = f.machine_of(MachineType::Express, "quick", pass()).await;
    let slow = json!({"StartAt": "W", "States": {
        "W": {"Type": "Wait", "Seconds": 10, "End": true}}});
    let slow = f.machine_of(MachineType::Express, "slow", slow).await;
    let start = |machine: &str| StartExecution {
        machine_arn: machine.to_owned(),
        input: Some("{\"a\":1}".into()),
        ..StartExecution::default()
    };
    let ended = f.wf.start_sync_execution(start(&quick)).await.unwrap().execution;
    assert_eq!(ended.output.as_deref(), Some("{\"a\":1}"));
    assert!(ended.arn.contains(":express:quick:"), "{}", ended.arn);
    let waiting = tokio::spawn({
        let (wf, start) = (f.wf.clone(), start(&slow));
        async move { wf.start_sync_execution(start).await }
    });
    f.someone_sleeps().await;
    for _ in 0..12 {
        f.seconds(1).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let ended = waiting.await.unwrap().unwrap().execution;
    assert_eq!(ended.status, ExecutionStatus::Succeeded);
    let standard = f.machine("m", pass()).await;
    let refused = f.wf.start_sync_execution(start(&standard)).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::StateMachineTypeNotSupported));
}

#[tokio::test]
async fn express_names_are_not_unique_and_nothing_of_them_is_kept() {
    let f = Fixture::new().await;
    let express = f.machine_of(MachineType::Express, "x", pass()).await;
    let first = f.start_as(&express, "n", "{}").await.unwrap();
    let second = f.start_as(&express, "n", "{}").await.unwrap();
    assert_ne!(first, second);
    let refused = f.wf.describe_execution(&first).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::InvalidArn));
    let left = f.store.read(ark_store::ReadTx::last_execution_id).await.unwrap();
    assert_eq!(left, 0, "an execution that ends with its start leaves no row");
}

#[tokio::test]
async fn an_express_execution_ends_after_five_minutes() {
    let f = Fixture::new().await;
    let slow = json!({"StartAt": "W", "States": {
        "W": {"Type": "Wait", "Seconds": 1000, "End": true}}});
    let machine = f.machine_of(MachineType::Express, "x", slow).await;
    f.start_as(&machine, "", "{}").await.unwrap();
    let open = || f.store.read(ark_store::ReadTx::open_execution_count);
    f.seconds(299).await;
    assert_eq!(open().await.unwrap(), 1);
    f.seconds(2).await;
    assert_eq!(open().await.unwrap(), 0);
}

#[tokio::test]
async fn a_child_execution_is_waited_for_and_stopped_with_its_parent() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let child = f.machine("child", one_task(&activity, json!({}))).await;
    let resource = "arn:aws:states:::states:startExecution.sync:2";
    let arguments =
        json!({"Parameters": {"StateMachineArn": child, "Input": {"x": 1}, "Name": "c1"}});
    let parent = f.machine("parent", one_task(resource, arguments)).await;
    let arn = f.start(&parent, json!({})).await;
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"x": 1}));
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    f.succeed(&token, json!({"y": 2})).await;
    let output = f.output(&arn).await;
    assert_eq!(output["Output"], json!({"y": 2}));
    assert_eq!(output["Status"], "SUCCEEDED");
    assert_eq!(output["Name"], "c1");
    assert_eq!(
        (&output["RedriveCount"], &output["RedriveStatus"]),
        (&json!(0), &json!("NOT_REDRIVABLE"))
    );
    let types = f.types(&arn).await;
    let task: Vec<_> =
        types.iter().filter(|t| t.starts_with("Task") && !t.contains("State")).collect();
    assert_eq!(task, [&"TaskScheduled", &"TaskStarted", &"TaskSubmitted", &"TaskSucceeded"]);

    let machine = f
        .machine("again", one_task(resource, json!({"Parameters": {"StateMachineArn": child}})))
        .await;
    let arn = f.start(&machine, json!({})).await;
    let list = ListExecutions { machine_arn: Some(child.clone()), ..ListExecutions::default() };
    let running = f.wf.list_executions(list).await.unwrap().items.remove(0);
    assert_eq!(running.status, ExecutionStatus::Running);
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    assert_eq!(f.status(&running.arn).await, ExecutionStatus::Aborted);
}

#[tokio::test]
async fn a_child_that_fails_fails_its_task_and_one_that_is_missing_says_so() {
    let f = Fixture::new().await;
    let fails =
        json!({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E", "Cause": "c"}}});
    let child = f.machine("child", fails).await;
    let resource = "arn:aws:states:::states:startExecution.sync";
    let parent =
        f.machine("p", one_task(resource, json!({"Parameters": {"StateMachineArn": child}}))).await;
    let view = f.view(&f.start(&parent, json!({})).await).await;
    assert_eq!(view.error.as_deref(), Some("States.TaskFailed"));
    assert!(view.cause.unwrap().contains("\"Error\":\"E\""));
    let missing = child.replace("child", "nobody");
    let parent = f
        .machine("q", one_task(resource, json!({"Parameters": {"StateMachineArn": missing}})))
        .await;
    let view = f.view(&f.start(&parent, json!({})).await).await;
    assert_eq!(view.error.as_deref(), Some("StepFunctions.StateMachineDoesNotExistException"));
}

/// The service's integration shows the call itself, the SDK's does not.
#[tokio::test]
async fn an_execution_that_starts_another_sees_its_arn() {
    let f = Fixture::new().await;
    let child = f.machine("child", pass()).await;
    for (service, shows_call) in [("states", true), ("aws-sdk:sfn", false)] {
        let resource = format!("arn:aws:states:::{service}:startExecution");
        // No input and an input of null are an empty object.
        let arguments = json!({"Parameters": {"StateMachineArn": child, "Input": null}});
        let parent = f.machine("parent", one_task(&resource, arguments)).await;
        let arn = f.start(&parent, json!({})).await;
        f.settle().await;
        let output = f.output(&arn).await;
        assert!(output["ExecutionArn"].as_str().unwrap().contains(":execution:child:"));
        let status = output["SdkHttpMetadata"]["HttpStatusCode"].as_u64();
        assert_eq!(status, shows_call.then_some(200), "{output}");
    }
}

#[tokio::test]
async fn a_machine_that_starts_itself_does_not_hold_the_store() {
    let f = Fixture::new().await;
    let resource = "arn:aws:states:::states:startExecution";
    let own = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    let definition = one_task(resource, json!({"Parameters": {"StateMachineArn": own}}));
    let machine = f.machine("m", definition).await;
    f.start(&machine, json!({})).await;
    // Every round goes on a little; the answer of the start came in between.
    let before = f.store.read(ark_store::ReadTx::last_execution_id).await.unwrap();
    assert!((2..1_000).contains(&before), "{before}");
}

/// 18.
#[tokio::test]
async fn an_execution_keeps_the_definition_it_was_started_with() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let first = json!({"StartAt": "Work", "States": {
        "Work": {"Type": "Task", "Resource": activity, "Next": "Old"},
        "Old": {"Type": "Pass", "Result": "old", "End": true}}});
    let machine = f.machine("m", first).await;
    let arn = f.start(&machine, json!({})).await;
    f.machine(
        "m",
        json!({"StartAt": "New", "States": {
        "New": {"Type": "Pass", "Result": "new", "End": true}}}),
    )
    .await;
    let f = f.restarted().await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.succeed(&token, json!({})).await;
    assert_eq!(f.output(&arn).await, json!("old"));
    assert_eq!(f.output(&f.start(&machine, json!({})).await).await, json!("new"));
}

/// 26.
#[tokio::test]
async fn a_start_by_alias_picks_by_weight_and_one_by_version_runs_that_definition() {
    let f = Fixture::new().await;
    let result = |n: u64| json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": n, "End": true}}});
    let machine = f.machine("m", result(1)).await;
    let v1 = f.wf.publish_version(&machine, None, None).await.unwrap().arn;
    f.machine("m", result(2)).await;
    let v2 = f.wf.publish_version(&machine, None, None).await.unwrap().arn;
    // The machine itself is at neither.
    f.machine("m", result(3)).await;
    for (target, expected) in [(&machine, 3), (&v1, 1), (&v2, 2)] {
        let arn = f.start(target, json!({})).await;
        assert_eq!(f.output(&arn).await, json!(expected), "{target}");
        let version = (target != &machine).then(|| target.clone());
        assert_eq!((f.view(&arn).await.version_arn, f.view(&arn).await.alias_arn), (version, None));
    }
    let route = |arn: &str, weight| Route { version_arn: arn.to_owned(), weight };
    let routes = vec![route(&v1, 20), route(&v2, 80)];
    let alias = f.wf.create_alias("live".into(), None, routes).await.unwrap().arn;
    let mut picked = [0_u32; 2];
    for _ in 0..500 {
        let arn = f.start(&alias, json!({})).await;
        let view = f.view(&arn).await;
        let (version, at) = match f.output(&arn).await.as_u64() {
            Some(1) => (&v1, 0),
            Some(2) => (&v2, 1),
            other => panic!("neither version gives {other:?}"),
        };
        assert_eq!(view.version_arn.as_ref(), Some(version));
        assert_eq!(view.alias_arn.as_ref(), Some(&alias));
        picked[at] += 1;
    }
    // A fifth of 500, give or take more than four standard deviations.
    assert!((60..=140).contains(&picked[0]), "{picked:?}");
    let all_to_one = vec![route(&v1, 100)];
    f.wf.update_alias(&alias, None, Some(all_to_one)).await.unwrap();
    let arn = f.start(&alias, json!({})).await;
    assert_eq!(f.output(&arn).await, json!(1));
    let nobody = f.start_as(&format!("{machine}:nobody"), "", "{}").await.unwrap_err();
    assert_eq!(nobody.refusal(), Some(Refusal::StateMachineDoesNotExist));
    let unpublished = f.start_as(&format!("{machine}:9"), "", "{}").await.unwrap_err();
    assert_eq!(unpublished.refusal(), Some(Refusal::StateMachineDoesNotExist));
}
