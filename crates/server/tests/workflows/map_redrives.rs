//! 12, 28: what a redrive makes of the children of a Map Run, and what is counted of them.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::types::{MapRunCounts, Redrivable};
use ark_server::workflows::{ExecutionView, ListExecutions, MapRunView, PageRequest};
use ark_store::StoreError;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A distributed Map over `$.items` whose children are these states, begun at `A`.
fn distributed(kind: &str, states: Value, more: Value) -> Value {
    let mut map = json!({"Type": "Map", "End": true, "ItemsPath": "$.items",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind},
            "StartAt": "A", "States": states}});
    for (key, value) in more.as_object().unwrap() {
        map[key] = value.clone();
    }
    json!({"StartAt": "M", "States": {"M": map}})
}

/// The children of a run in the order of their inputs.
async fn children(f: &Fixture, run: &str) -> Vec<ExecutionView> {
    let list = ListExecutions { map_run_arn: Some(run.to_owned()), ..ListExecutions::default() };
    let mut seen = f.wf.list_executions(list).await.unwrap().items;
    seen.sort_by(|a, b| a.input.cmp(&b.input));
    seen
}

async fn the_run(f: &Fixture, arn: &str) -> MapRunView {
    f.wf.list_map_runs(arn, PageRequest::default()).await.unwrap().items.remove(0)
}

fn task(activity: &str, more: Value) -> Value {
    let mut task = json!({"Type": "Task", "Resource": activity});
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

async fn fail(f: &Fixture, activity: &str) -> Value {
    let (token, input) = f.take(activity).await.unwrap();
    f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
    f.settle().await;
    input
}

async fn succeed(f: &Fixture, activity: &str) -> Value {
    let (token, input) = f.take(activity).await.unwrap();
    f.succeed(&token, input.clone()).await;
    f.settle().await;
    input
}

#[tokio::test]
async fn a_child_goes_on_where_it_failed() {
    let f = Fixture::new().await;
    let (first, second) = (f.activity("first").await, f.activity("second").await);
    let states =
        json!({"A": task(&first, json!({"Next": "B"})), "B": task(&second, json!({"End": true}))});
    let more = json!({"MaxConcurrency": 1, "ToleratedFailureCount": 1});
    let machine = f.machine("m", distributed("STANDARD", states, more)).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3]})).await;
    f.settle().await;
    for item in 0..3 {
        assert_eq!(succeed(&f, &first).await, item);
        assert_eq!(
            if item == 0 { succeed(&f, &second).await } else { fail(&f, &second).await },
            item
        );
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    let run = the_run(&f, &arn).await;
    let expected =
        MapRunCounts { pending: 1, succeeded: 1, failed: 2, total: 4, ..MapRunCounts::default() };
    assert_eq!((run.executions, run.items), (expected, expected), "one was never begun");
    let before = children(&f, &run.arn).await;
    assert!(before[1..].iter().all(|child| child.redrivable == Redrivable::ByMapRun));

    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let again = the_run(&f, &arn).await;
    assert_eq!((&again.arn, again.redrive_count), (&run.arn, 1));
    assert!(again.redriven_at.is_some());
    let expected = MapRunCounts {
        pending: 1,
        running: 1,
        succeeded: 1,
        pending_redrive: 1,
        total: 4,
        ..MapRunCounts::default()
    };
    assert_eq!((again.executions, again.items), (expected, expected));
    assert_eq!(succeed(&f, &second).await, 1, "its first state is not done again");
    assert_eq!(succeed(&f, &second).await, 2);
    assert_eq!(succeed(&f, &first).await, 3, "what was never begun begins");
    assert_eq!(succeed(&f, &second).await, 3);
    assert_eq!(f.output(&arn).await, json!([0, 1, 2, 3]));
    let run = the_run(&f, &arn).await;
    assert_eq!((run.executions.succeeded, run.executions.total), (4, 4));
    let after = children(&f, &run.arn).await;
    assert_eq!(after.len(), 4);
    for (child, redrives) in after.iter().zip([0, 1, 1, 0]) {
        assert_eq!(child.redrive_count, redrives, "{}", child.arn);
        let types = f.types(&child.arn).await;
        let redriven = types.iter().filter(|kind| **kind == "ExecutionRedriven").count();
        assert_eq!(redriven as u64, redrives, "{types:?}");
    }
    let arns = |of: &[ExecutionView]| of.iter().map(|c| c.arn.clone()).collect::<Vec<_>>();
    assert_eq!(arns(&after)[..3], arns(&before), "they are the same executions");
}

/// What two children that fail together, and those that run beside them, are counted as.
#[tokio::test]
async fn counts_of_a_failed_run_are_those_of_its_children() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let states = json!({"A": task(&activity, json!({"End": true}))});
    let more = json!({"MaxConcurrency": 3});
    let machine = f.machine("m", distributed("STANDARD", states, more)).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3, 4]})).await;
    f.settle().await;
    let (first, _) = f.take(&activity).await.unwrap();
    let (second, _) = f.take(&activity).await.unwrap();
    f.wf.task_failed(&first, Some("E".into()), None).await.unwrap();
    f.wf.task_failed(&second, Some("E".into()), None).await.unwrap();
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!(run.status, ExecutionStatus::Failed);
    let expected =
        MapRunCounts { pending: 2, failed: 2, aborted: 1, total: 5, ..MapRunCounts::default() };
    assert_eq!((run.executions, run.items), (expected, expected));
    let statuses: Vec<_> = children(&f, &run.arn).await.iter().map(|c| c.status).collect();
    let (failed, aborted) = (ExecutionStatus::Failed, ExecutionStatus::Aborted);
    assert_eq!(statuses, [failed, failed, aborted]);

    // A redrive that fails again leaves what had no turn as it was.
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    assert_eq!(fail(&f, &activity).await, 0);
    let run = the_run(&f, &arn).await;
    let mut listed = [0; 2];
    for child in children(&f, &run.arn).await {
        listed[usize::from(child.status == aborted)] += 1;
    }
    assert_eq!([run.executions.failed, run.executions.aborted], listed);
    assert_eq!(run.executions, run.items);
    assert_eq!((run.executions.pending, run.executions.pending_redrive), (2, 0));
}

#[tokio::test]
async fn express_children_begin_anew() {
    let f = Fixture::new().await;
    let (first, second) = (f.activity("first").await, f.activity("second").await);
    let states =
        json!({"A": task(&first, json!({"Next": "B"})), "B": task(&second, json!({"End": true}))});
    let machine = f.machine("m", distributed("EXPRESS", states, json!({}))).await;
    let arn = f.start(&machine, json!({"items": [0]})).await;
    f.settle().await;
    succeed(&f, &first).await;
    fail(&f, &second).await;
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let counts = the_run(&f, &arn).await.executions;
    assert_eq!((counts.running, counts.pending_redrive), (1, 0));
    succeed(&f, &first).await;
    succeed(&f, &second).await;
    assert_eq!(f.output(&arn).await, json!([0]));
}

/// There is no room in its history: it stays failed, and counts as such.
#[tokio::test]
async fn a_child_with_a_full_history_is_not_redriven() {
    let f = Fixture::new().await;
    let states = json!({"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}});
    let machine = f.machine("m", distributed("STANDARD", states, json!({}))).await;
    let arn = f.start(&machine, json!({"items": [0]})).await;
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!((run.executions.failed, run.executions.failures_not_redrivable), (1, 1));
    let before = children(&f, &run.arn).await.remove(0);
    let full = Redrivable::No("Execution history event limit exceeded".to_owned());
    assert_eq!(before.redrivable, full);
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.redrive_count), (ExecutionStatus::Failed, 1));
    assert_eq!((run.executions.failed, run.items.failures_not_redrivable), (1, 1));
    let after = children(&f, &run.arn).await;
    assert_eq!((after.len(), after[0].redrive_count), (1, 0));
}

/// Its own Map Run must be quiet before it goes on.
#[tokio::test]
async fn a_child_waits_until_its_own_children_are_aborted() {
    let f = Fixture::new().await;
    let (works, fails) = (f.activity("works").await, f.activity("fails").await);
    let inner =
        distributed("STANDARD", json!({"A": task(&works, json!({"End": true}))}), json!({}));
    let fails_beside = json!({"StartAt": "F", "States": {"F": task(&fails, json!({"End": true}))}});
    let states = json!({"A": {"Type": "Parallel", "End": true, "Branches": [inner, fails_beside]}});
    let machine = f.machine("m", distributed("STANDARD", states, json!({}))).await;
    let numbers: Vec<u64> = (0..250).collect();
    let arn = f.start(&machine, json!({"items": [{"items": numbers}]})).await;
    f.settle().await;
    let (token, _) = f.take(&fails).await.unwrap();
    f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    f.wf.redrive_execution(&arn, None).await.unwrap();
    let child = &children(&f, &the_run(&f, &arn).await.arn).await[0];
    assert_eq!((child.status, child.redrive_count), (ExecutionStatus::Failed, 0), "not yet");
    f.settle().await;
    f.seconds(2).await;
    succeed(&f, &fails).await;
    for _ in 0..250 {
        let (token, input) = f.take(&works).await.expect("each of them goes on");
        f.succeed(&token, input).await;
    }
    f.settle().await;
    assert!(f.take(&works).await.is_none(), "none of them twice");
    assert_eq!(f.output(&arn).await[0][0], json!(numbers));
    let child = children(&f, &the_run(&f, &arn).await.arn).await.remove(0);
    assert_eq!(child.redrive_count, 1);
    let own = the_run(&f, &child.arn).await;
    assert_eq!((own.redrive_count, own.executions.succeeded), (1, 250));
}

/// A Map Run that writes its results, beside a task that fails once all of its children are done and
/// before the execution has taken its answer: both wait in the inbox, in that order.
async fn a_run_that_is_done_when_its_neighbour_fails(f: &Fixture) -> (String, String) {
    let (works, fails) = (f.activity("works").await, f.activity("fails").await);
    let writer = json!({"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject",
        "Parameters": {"Bucket": "out", "Prefix": "p"}}});
    let map = distributed("STANDARD", json!({"A": task(&works, json!({"End": true}))}), writer);
    let beside = json!({"StartAt": "F", "States": {"F": task(&fails, json!({"End": true}))}});
    let both = json!({"Type": "Parallel", "End": true, "Branches": [map, beside]});
    let machine = f.machine("m", json!({"StartAt": "P", "States": {"P": both}})).await;
    let arn = f.start(&machine, json!({"items": [0, 1]})).await;
    f.settle().await;
    for item in 0..2 {
        let (token, input) = f.take(&works).await.unwrap();
        assert_eq!(input, item);
        f.succeed(&token, input).await;
    }
    let (token, _) = f.take(&fails).await.unwrap();
    // From here on every event goes through an inbox.
    let costly = f.wf.clone().with_trial_fuel(0);
    costly.task_failed(&token, Some("E".into()), None).await.unwrap();
    f.wf.serve_objects().await.unwrap();
    assert_eq!(the_run(f, &arn).await.status, ExecutionStatus::Succeeded);
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    f.settle().await;
    (arn, fails)
}

async fn items_of(f: &Fixture, arn: &str) -> u64 {
    let id = f.view(arn).await.id;
    let count = f.store.read(move |tx| -> Result<u64, StoreError> {
        let run = tx.map_runs_of(id, u64::MAX, 1)?.remove(0);
        tx.map_items_count(run.id)
    });
    count.await.unwrap()
}

#[tokio::test]
async fn a_run_whose_answer_nobody_took_gives_it_to_the_redrive() {
    let dir = tempfile::tempdir().unwrap();
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.path().to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    let (arn, fails) = a_run_that_is_done_when_its_neighbour_fails(&f).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    let before = children(&f, &the_run(&f, &arn).await.arn).await;
    for redrives in 1..=2 {
        f.wf.redrive_execution(&arn, None).await.unwrap();
        f.settle().await;
        let (token, _) = f.take(&fails).await.expect("the failed task is done again");
        if redrives == 1 {
            assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
            f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        } else {
            f.succeed(&token, json!("done")).await;
        }
        f.settle().await;
    }
    let output = f.output(&arn).await;
    assert_eq!(
        (&output[0]["ResultWriterDetails"]["Bucket"], &output[1]),
        (&json!("out"), &json!("done"))
    );
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.executions.succeeded), (ExecutionStatus::Succeeded, 2));
    assert_eq!(children(&f, &run.arn).await.len(), before.len(), "no child is done again");
    assert_eq!(items_of(&f, &arn).await, 0, "they are kept no longer than for the answer");
}

/// A child of a run that cannot be redriven any more is not redriven, whatever it is itself.
#[tokio::test]
async fn a_child_says_when_its_run_is_never_redriven() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let states = json!({"A": task(&activity, json!({"End": true}))});
    let tolerant = json!({"ToleratedFailureCount": 1});
    let machine = f.machine("tolerant", distributed("STANDARD", states.clone(), tolerant)).await;
    let arn = f.start(&machine, json!({"items": [0]})).await;
    f.settle().await;
    fail(&f, &activity).await;
    assert_eq!(f.output(&arn).await, json!([]));
    let run = the_run(&f, &arn).await;
    let child = children(&f, &run.arn).await.remove(0);
    let no = |why: &str| Redrivable::No(why.to_owned());
    let why = "Map Run was completed without the result of this execution";
    assert_eq!(child.redrivable, no(why));

    let caught = json!({"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C"}]});
    let mut definition = distributed("STANDARD", states, caught);
    definition["States"]["C"] = json!({"Type": "Pass", "End": true});
    let machine = f.machine("caught", definition).await;
    let arn = f.start(&machine, json!({"items": [0]})).await;
    f.settle().await;
    fail(&f, &activity).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    let child = children(&f, &the_run(&f, &arn).await.arn).await.remove(0);
    let why = "Parent execution cannot be redriven: Execution is SUCCEEDED and cannot be redriven";
    assert_eq!(child.redrivable, no(why));
    assert_eq!(f.view(&child.arn).await.redrivable, no(why));
}

/// What is kept of one child cannot be read: it begins anew, and its siblings go on.
#[tokio::test]
async fn a_child_that_cannot_be_read_holds_up_none_of_its_siblings() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let states = json!({"A": task(&activity, json!({"End": true}))});
    let more = json!({"ToleratedFailureCount": 1});
    let machine = f.machine("m", distributed("STANDARD", states, more)).await;
    let arn = f.start(&machine, json!({"items": [0, 1]})).await;
    f.settle().await;
    assert_eq!((fail(&f, &activity).await, fail(&f, &activity).await), (json!(0), json!(1)));
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    let broken = children(&f, &the_run(&f, &arn).await.arn).await.remove(0).id;
    let body = f.store.write(move |tx| -> Result<_, StoreError> {
        let mut row = tx.execution(broken)?.expect("a child");
        let body = std::mem::replace(&mut row.body, "broken".to_owned());
        tx.put_execution(&mut row)?;
        Ok(body)
    });
    let body = body.await.unwrap();
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let mut again = [succeed(&f, &activity).await, succeed(&f, &activity).await];
    again.sort_by_key(Value::to_string);
    assert_eq!(again, [json!(0), json!(1)]);
    assert_eq!(f.output(&arn).await, json!([0, 1]));
    let mended = f.store.write(move |tx| -> Result<_, StoreError> {
        let mut row = tx.execution(broken)?.expect("a child");
        row.body = body;
        tx.put_execution(&mut row)
    });
    mended.await.unwrap();
    let redrives: Vec<_> =
        children(&f, &the_run(&f, &arn).await.arn).await.iter().map(|c| c.redrive_count).collect();
    assert_eq!(redrives.iter().sum::<u64>(), 1, "{redrives:?}: the broken one began anew");
}
