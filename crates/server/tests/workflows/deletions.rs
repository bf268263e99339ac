//! What is deleted under running executions, and hints that are lost.

use std::collections::BTreeMap;

use ark_model::api::NewWorkflowDefinition;
use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::looking::Events;
use ark_server::workflows::{
    CreateMachine, Logging, Publishing, Refusal, WorkflowError, WorkflowWorld, Workflows,
};
use ark_server::world::{CONTROLLER_LEASE, Clock as _, Fence};
use ark_store::StoreError;
use jiff::SignedDuration;
use serde_json::json;

use crate::fixture::{Fixture, one_task, pass};

fn refusal<T>(result: Result<T, WorkflowError>) -> Option<Refusal> {
    result.err().and_then(|error| error.refusal())
}

/// 25.
#[tokio::test]
async fn an_execution_outlives_its_machine() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({})).await;
    f.wf.delete_machine(&machine).await.unwrap();
    f.wf.delete_machine(&machine).await.unwrap();
    let refused = f.start_as(&machine, "n", "{}").await;
    assert_eq!(refusal(refused), Some(Refusal::StateMachineDoesNotExist));
    let f = f.restarted().await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.succeed(&token, json!({"done": true})).await;
    assert_eq!(f.output(&arn).await, json!({"done": true}));
    // Another of that name is another: its executions are its own.
    let again = f.machine("m", pass()).await;
    let other = f.start(&again, json!({"new": true})).await;
    assert_eq!(f.output(&other).await, json!({"new": true}));
}

/// 25. A name may come again: executions of both are there, under names of their own.
#[tokio::test]
async fn executions_of_a_machine_that_was_made_again_are_found() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let create = || CreateMachine {
        name: "m".to_owned(),
        region: "us-east-1".to_owned(),
        definition: one_task(&activity, json!({})).to_string(),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        machine_type: MachineType::Standard,
        logging: Logging::default(),
        tracing: false,
        publishing: Publishing::default(),
        tags: BTreeMap::new(),
    };
    let machine = f.wf.create_machine(create()).await.unwrap().arn;
    let running = f.start_as(&machine, "first", "{}").await.unwrap();
    f.wf.delete_machine(&machine).await.unwrap();
    let refused = f.wf.create_machine(create()).await;
    assert_eq!(refusal(refused), Some(Refusal::StateMachineDeleting));
    let definition = || NewWorkflowDefinition {
        name: "m".to_owned(),
        version: None,
        manager: None,
        state_machine: pass(),
        default_tags: None,
    };
    let refused = f.wf.manager().define(definition(), "ana").await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::ConflictException));
    assert!(refused.to_string().contains("workflows of a deleted definition"), "{refused}");
    f.wf.stop_execution(&running, None, None).await.unwrap();

    assert_eq!(f.wf.create_machine(create()).await.unwrap().arn, machine);
    assert_eq!(f.status(&running).await, ExecutionStatus::Aborted);
    let which = Events { from: None, newest: false, chars: 10, limit: 10 };
    let events = f.wf.look_at("m".into(), "first".into(), which).await.unwrap();
    assert_eq!(events.items.len(), 4);
    let shown = f.wf.manager().workflow("m:first", false).await.unwrap();
    assert!(shown.stopped_at.is_some());
    let refused = f.start_as(&machine, "first", "{}").await;
    assert_eq!(refusal(refused), Some(Refusal::ExecutionAlreadyExists));
    let second = f.start_as(&machine, "second", "{}").await.unwrap();
    assert_eq!(f.status(&second).await, ExecutionStatus::Running);

    // Where an earlier version let both run, the first can still be stopped.
    f.wf.delete_machine(&machine).await.unwrap();
    let again = f.machine("m", one_task(&activity, json!({}))).await;
    f.start_as(&again, "third", "{}").await.unwrap();
    f.wf.stop_execution(&second, None, None).await.unwrap();
    assert_eq!(f.status(&second).await, ExecutionStatus::Aborted);

    f.wf.delete_machine(&again).await.unwrap();
    f.wf.stop_execution(&again.replace("stateMachine:m", "execution:m:third"), None, None)
        .await
        .unwrap();
    assert_eq!(f.wf.manager().define(definition(), "ana").await.unwrap().version, 0);
}

/// 25.
#[tokio::test]
async fn tasks_of_a_deleted_activity_end_by_their_timeout_or_their_worker() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"TimeoutSeconds": 30}))).await;
    let (taken, queued) = (f.start(&machine, json!({})).await, f.start(&machine, json!({})).await);
    let (token, _) = f.take(&activity).await.unwrap();
    f.wf.delete_activity(&activity).await.unwrap();
    let poll = f.wf.poll_activity(&activity, None, f.clock.now()).await;
    assert_eq!(refusal(poll), Some(Refusal::ActivityDoesNotExist));
    f.succeed(&token, json!({})).await;
    assert_eq!(f.output(&taken).await, json!({}));
    f.seconds(31).await;
    let ended = f.view(&queued).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert_eq!(ended.error.as_deref(), Some("States.Timeout"));
}

/// 21.
#[tokio::test]
async fn a_task_of_which_no_hint_came_is_found_by_the_sweep() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let deadline = f.clock.now() + SignedDuration::from_secs(60);
    let (wf, waited_for) = (f.wf.clone(), activity.clone());
    let poll = tokio::spawn(async move { wf.poll_activity(&waited_for, None, deadline).await });
    f.someone_sleeps().await;
    // Another handle under the same token: its hints reach nobody who waits here.
    let lease = f.store.read::<_, StoreError, _>(|tx| tx.lease(CONTROLLER_LEASE)).await.unwrap();
    let other = Workflows::new(WorkflowWorld {
        store: f.store.clone(),
        clock: f.clock.clone(),
        entropy: crate::fixture::TestEntropy::new(99),
        fence: Fence { token: lease.unwrap().token },
    });
    let start = ark_server::workflows::StartExecution {
        machine_arn: machine,
        ..ark_server::workflows::StartExecution::default()
    };
    other.start_execution(start).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(!poll.is_finished(), "no hint came");
    f.seconds(2).await;
    let task = poll.await.unwrap().unwrap().expect("the sweep told of it");
    task.delivered();
}

/// Earlier versions left texts of executions behind that are gone.
#[tokio::test]
async fn texts_that_belong_to_nobody_are_forgotten() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    let long = "x".repeat(5_000);
    let arn = f.start(&machine, json!({"long": long})).await;
    let orphans = 1_000..1_600;
    let written = f.store.write(move |tx| {
        orphans.into_iter().try_for_each(|id| tx.put_payload(id, "digest", "a long text"))
    });
    written.await.unwrap();
    let owners = async || -> Vec<(u64, bool)> {
        let found = f.store.read(|tx| tx.owners_of_texts(0, 1_000)).await;
        found.unwrap_or_else(|error: StoreError| panic!("{error}"))
    };
    assert_eq!(owners().await.len(), 601);
    for _ in 0..3 {
        f.seconds(61).await;
    }
    let left = owners().await;
    assert_eq!(left.iter().map(|(_, is_there)| *is_there).collect::<Vec<_>>(), [true]);
    assert_eq!(f.output(&arn).await, json!({"long": long}));
}

/// An old execution whose map run kept its items, as one that failed does, is forgotten in parts.
#[tokio::test]
async fn many_items_of_an_old_execution_are_forgotten_in_parts() {
    let f = Fixture::new().await;
    let machine = f.machine("m", pass()).await;
    let arn = f.start(&machine, json!({})).await;
    let (execution, now) = (f.view(&arn).await.id, f.clock.now());
    let row = ark_store::MapRunRow {
        id: 0,
        execution,
        num: 1,
        uuid: "u".to_owned(),
        started_at: now,
        stopped_at: Some(now),
        busy: false,
        request: "{}".to_owned(),
        body: "{}".to_owned(),
    };
    let inserted = f.store.write::<_, StoreError, _>(move |tx| {
        let run = tx.insert_map_run(&row)?;
        (0..2_300).try_for_each(|index| tx.insert_map_item(run, index, "{}", 1))?;
        Ok(run)
    });
    let run = inserted.await.unwrap();
    let later = now + SignedDuration::from_hours(1);
    let mut left = Vec::new();
    for _ in 0..3 {
        let more = f.store.write(move |tx| tx.prune_executions(later, 10)).await.unwrap() == 10;
        let items = f.store.read(move |tx| tx.map_items_count(run)).await.unwrap();
        left.push((more, items));
    }
    assert_eq!(left, [(true, 1_300), (true, 300), (false, 0)]);
    let gone = f.store.read(move |tx| tx.execution(execution)).await.unwrap();
    assert!(gone.is_none());
}
