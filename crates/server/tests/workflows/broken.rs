//! Records that cannot be used, a store that does not answer and limits that are reached hold up what
//! they concern, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use ark_model::api::SchedulePut;
use ark_model::definition::Overlap;
use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::driver::Driver;
use ark_server::workflows::http::{Answer, CallError, Caller, Calls, Outgoing};
use ark_server::workflows::{Refusal, WorkflowError};
use ark_server::world::Clock as _;
use ark_store::{Keyring, Options, ReadTx, Store, StoreError};
use futures::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::fixture::{Fixture, clock, one_task, pass};

const CHILD: &str = "arn:aws:states:::states:startExecution";

impl Fixture {
    /// Replaces what the store says of an execution. Answers what it said before.
    async fn replace_body(&self, arn: &str, body: &str) -> String {
        let (id, body) = (self.view(arn).await.id, body.to_owned());
        self.replace_body_of(id, body).await
    }

    async fn replace_body_of(&self, id: u64, body: String) -> String {
        let replaced = self.store.write(move |tx| -> Result<_, StoreError> {
            let mut row = tx.execution(id)?.expect("an execution");
            let before = std::mem::replace(&mut row.body, body);
            tx.put_execution(&mut row)?;
            Ok(before)
        });
        replaced.await.unwrap()
    }
}

fn wait(seconds: u32) -> Value {
    json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": seconds, "End": true}}})
}

fn items(of: &Value, more: Value) -> Value {
    let mut map = json!({"Type": "Map", "End": true, "ItemsPath": "$.items", "Label": "L",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "T", "States": {"T": of}}});
    for (key, value) in more.as_object().unwrap() {
        map[key] = value.clone();
    }
    json!({"StartAt": "M", "States": {"M": map}})
}

fn each_minute(workflow: &str, overlap: Overlap) -> SchedulePut {
    SchedulePut {
        workflow: workflow.to_owned(),
        cron: "* * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        input: "{}".to_owned(),
        namespace: None,
        overlap,
        catch_up_seconds: 0,
    }
}

/// A map run whose record is broken holds up neither timers, other runs, schedules nor the sweep.
#[tokio::test]
async fn a_map_run_that_cannot_go_on_holds_up_nobody() {
    let f = Fixture::new().await;
    let machine = f.machine("m", items(&json!({"Type": "Pass", "End": true}), json!({}))).await;
    let numbers: Vec<i32> = (0..200).collect();
    let broken = f.start(&machine, json!({"items": numbers})).await;
    let id = f.view(&broken).await.id;
    f.store
        .write(move |tx| -> Result<(), StoreError> {
            let mut row = tx.map_run_of(id, 0)?.or(tx.map_run_of(id, 1)?).expect("a run");
            assert!(row.busy, "not all children were started at once");
            row.body = "broken".to_owned();
            tx.put_map_run(&row)
        })
        .await
        .unwrap();
    let good = f.start(&machine, json!({"items": numbers})).await;
    let waits = f.machine("w", wait(30)).await;
    let waits = f.start(&waits, json!({})).await;
    f.machine("s", pass()).await;
    f.wf.put_schedule("s", each_minute("s", Overlap::Allow), "ana").await.unwrap();
    f.settle().await;
    assert_eq!(f.output(&good).await, json!(numbers));
    f.seconds(30).await;
    assert_eq!(f.status(&waits).await, ExecutionStatus::Succeeded);
    f.seconds(30).await;
    assert!(f.wf.schedule("s").await.unwrap().last.is_some());
}

/// At the limit of open executions what a child brings home is taken; the others wait for room.
#[tokio::test]
async fn a_map_run_waits_where_there_is_no_room_for_its_children() {
    let mut f = Fixture::new().await;
    f.wf = f.wf.clone().with_open_max(3);
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", items(&task, json!({"MaxConcurrency": 2}))).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3]})).await;
    f.seconds(61).await;
    let refused = f.start_as(&machine, "n", "{}").await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::ExecutionLimitExceeded));
    let (token, input) = f.take(&activity).await.unwrap();
    f.succeed(&token, input).await;
    f.settle().await;
    for _ in 0..3 {
        f.seconds(61).await;
        let (token, input) = f.take(&activity).await.expect("room for another child");
        f.succeed(&token, input).await;
    }
    f.seconds(61).await;
    assert_eq!(f.output(&arn).await, json!([0, 1, 2, 3]));
}

/// Results as deep as any may be are one level deeper in an array of them.
#[tokio::test]
async fn results_that_are_too_deep_together_fail_the_map() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", items(&task, json!({}))).await;
    let arn = f.start(&machine, json!({"items": [0]})).await;
    f.settle().await;
    let (token, _) = f.take(&activity).await.unwrap();
    let deep = "[".repeat(1_000) + &"]".repeat(1_000);
    f.wf.task_succeeded(&token, deep).await.expect("it is as deep as it may be");
    f.settle().await;
    let seen = f.view(&arn).await;
    assert_eq!(seen.error.as_deref(), Some("States.DataLimitExceeded"), "{seen:?}");
}

/// A task whose execution is broken keeps no other from starting its child.
#[tokio::test]
async fn a_task_that_cannot_start_its_child_holds_up_nobody() {
    let f = Fixture::new().await;
    let child = f.machine("c", pass()).await;
    let branch = json!({"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
        "Resource": format!("{CHILD}.sync:2"), "Parameters": {"StateMachineArn": child}}}});
    let many = |n: usize| {
        let branches: Vec<Value> = (0..n)
            .map(|n| {
                let text = branch.to_string().replace("\"T\"", &format!("\"T{n}\""));
                serde_json::from_str(&text).unwrap()
            })
            .collect();
        json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true, "Branches": branches}}})
    };
    let machine = f.machine("p", many(70)).await;
    let broken = f.start(&machine, json!({})).await;
    let good = f.start(&machine, json!({})).await;
    let body = f.replace_body(&broken, "broken").await;
    f.settle().await;
    assert_eq!(f.status(&good).await, ExecutionStatus::Succeeded);
    f.mend(&broken, body).await;
    f.seconds(61).await;
    assert_eq!(f.status(&broken).await, ExecutionStatus::Succeeded);
}

impl Fixture {
    /// Puts back what [`Self::replace_body`] took away.
    async fn mend(&self, arn: &str, body: String) {
        let name = arn.rsplit_once(':').unwrap().1.to_owned();
        let found = self.store.read(move |tx| -> Result<_, StoreError> {
            Ok((1..20).find_map(|machine| tx.execution_by_name(machine, &name).ok().flatten()))
        });
        let id = found.await.unwrap().expect("an execution").id;
        self.replace_body_of(id, body).await;
    }
}

/// A timer whose step fails in the middle leaves nothing of that step behind, and the timers beside
/// it fire.
#[tokio::test]
async fn a_timer_that_cannot_fire_leaves_no_half_step() {
    let f = Fixture::new().await;
    let child = f.machine("c", wait(5)).await;
    let parent = one_task(
        &format!("{CHILD}.sync:2"),
        json!({"Parameters": {"StateMachineArn": child, "Name": "kid", "Input": {"x": 1}},
            "ResultSelector": {"o.$": "$.Output"}}),
    );
    let parent = f.machine("p", parent).await;
    let before = f.start(&child, json!({})).await;
    let arn = f.start(&parent, json!({})).await;
    let after = f.start(&child, json!({})).await;
    let kid = child.replace(":stateMachine:", ":execution:") + ":kid";
    let body = f.replace_body(&arn, "broken").await;
    f.seconds(5).await;
    for other in [&before, &after] {
        assert_eq!(f.status(other).await, ExecutionStatus::Succeeded);
    }
    assert_eq!(f.status(&kid).await, ExecutionStatus::Running, "its parent could not be told");
    f.mend(&arn, body).await;
    f.seconds(61).await;
    assert_eq!(f.status(&kid).await, ExecutionStatus::Succeeded);
    assert_eq!(f.output(&arn).await, json!({"o": {"x": 1}}));
}

/// A task does not wait for an execution that another one started, and does not stop it either.
#[tokio::test]
async fn a_task_waits_for_no_child_but_its_own() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let child = f.machine("c", one_task(&activity, json!({}))).await;
    let of = |wait: &str| {
        let parameters = json!({"StateMachineArn": child, "Name": "kid", "Input": {}});
        one_task(&format!("{CHILD}{wait}"), json!({"Parameters": parameters}))
    };
    let first = f.machine("p", of(".sync:2")).await;
    let (second, third) = (f.machine("q", of(".sync")).await, f.machine("r", of("")).await);
    let first = f.start(&first, json!({})).await;
    let second = f.start(&second, json!({})).await;
    // Whoever only starts it is answered what runs under that name, as any other start is.
    let third = f.start(&third, json!({})).await;
    f.settle().await;
    let seen = f.view(&second).await;
    let error = "StepFunctions.ExecutionAlreadyExistsException";
    assert_eq!((seen.status, seen.error.as_deref()), (ExecutionStatus::Failed, Some(error)));
    assert!(seen.cause.unwrap().contains(":kid'"));
    assert_eq!(f.status(&third).await, ExecutionStatus::Succeeded);
    assert_eq!(f.status(&first).await, ExecutionStatus::Running);
    let (token, _) = f.take(&activity).await.expect("the child goes on");
    f.succeed(&token, json!(1)).await;
    f.settle().await;
    assert_eq!(f.output(&first).await["Output"], json!(1));
    let types = f.types(&(child.replace(":stateMachine:", ":execution:") + ":kid")).await;
    assert_eq!(types.iter().filter(|kind| **kind == "ExecutionStarted").count(), 1, "{types:?}");
}

/// An Express execution that ended within its start leaves no number behind that another one gets.
#[tokio::test]
async fn a_schedule_stops_only_what_it_started() {
    let f = Fixture::new().await;
    f.machine_of(ark_model::workflow::MachineType::Express, "m", pass()).await;
    let waits = f.machine("w", wait(5_000)).await;
    f.wf.put_schedule("s", each_minute("m", Overlap::Replace), "ana").await.unwrap();
    f.seconds(60).await;
    assert!(f.wf.schedule("s").await.unwrap().last.is_some());
    let f = f.restarted().await;
    let other = f.start(&waits, json!({})).await;
    f.seconds(60).await;
    assert_eq!(f.status(&other).await, ExecutionStatus::Running);
}

/// The same where an older server wrote the number down.
#[tokio::test]
async fn a_schedule_does_not_believe_numbers_of_others() {
    let f = Fixture::new().await;
    f.machine("m", wait(5_000)).await;
    let waits = f.machine("w", wait(5_000)).await;
    f.wf.put_schedule("s", each_minute("m", Overlap::Replace), "ana").await.unwrap();
    let other = f.start(&waits, json!({})).await;
    let id = f.view(&other).await.id;
    f.store
        .write(move |tx| -> Result<(), StoreError> {
            let mut row = tx.schedule("s")?.expect("a schedule");
            row.body = row.body.replace("\"open\":[]", &format!("\"open\":[{id}]"));
            assert!(row.body.contains(&format!("[{id}]")), "{}", row.body);
            tx.put_schedule(&row)
        })
        .await
        .unwrap();
    f.seconds(60).await;
    assert_eq!(f.status(&other).await, ExecutionStatus::Running);
    let first = f.wf.schedule("s").await.unwrap().last.unwrap().execution_arn.unwrap();
    f.seconds(60).await;
    assert_eq!(f.status(&first).await, ExecutionStatus::Aborted, "its own is replaced");
}

/// Long texts of an execution that ends within its start go with it.
#[tokio::test]
async fn an_express_execution_that_ended_at_once_leaves_no_text() {
    let f = Fixture::new().await;
    let express = ark_model::workflow::MachineType::Express;
    let (quick, slow) =
        (f.machine_of(express, "q", pass()).await, f.machine_of(express, "s", wait(9)).await);
    let input = json!({"long": "x".repeat(2_000)}).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, input.as_bytes());
    let digest = hex::encode(&digest.as_ref()[..16]);
    let kept = |id: u64| {
        let digest = digest.clone();
        f.store.read(move |tx| tx.payload(id, &digest))
    };
    f.start_as(&slow, "", &input).await.unwrap();
    assert!(kept(1).await.unwrap().is_some(), "one that runs has its input");
    f.start_as(&quick, "", &input).await.unwrap();
    let start = ark_server::workflows::StartExecution {
        machine_arn: quick,
        input: Some(input.clone()),
        ..Default::default()
    };
    let ended = f.wf.start_sync_execution(start).await.unwrap();
    assert_eq!(ended.execution.output.as_deref(), Some(input.as_str()));
    f.seconds(10).await;
    for id in 1..=3 {
        assert_eq!(kept(id).await.unwrap(), None, "of execution {id}");
    }
}

#[derive(Debug, Default)]
struct Gate {
    called: Notify,
    answer: Notify,
}

impl Caller for Gate {
    fn call(&self, _: Outgoing) -> BoxFuture<'_, Result<Answer, CallError>> {
        Box::pin(async {
            self.called.notify_one();
            self.answer.notified().await;
            let reason = "OK".to_owned();
            Ok(Answer { status: 200, reason, headers: Vec::new(), body: b"x".to_vec() })
        })
    }
}

/// The answer to a call is written once that is possible; the call is not made again.
#[tokio::test]
async fn an_answer_that_cannot_be_written_is_kept() {
    let mut f = Fixture::new().await;
    let gate = Arc::new(Gate::default());
    let keyring = Arc::new(Keyring::ephemeral().unwrap());
    f.wf = f.wf.clone().with_calls(Calls { caller: gate.clone(), keyring });
    let call = one_task(
        "arn:aws:states:::http:invoke",
        json!({"Parameters": {"ApiEndpoint": "https://example.com/", "Method": "POST"}}),
    );
    let machine = f.machine("h", call).await;
    let arn = f.start(&machine, json!({})).await;
    let running = tokio::spawn({
        let wf = f.wf.clone();
        async move { wf.run().await }
    });
    gate.called.notified().await;
    let body = f.replace_body(&arn, "broken").await;
    gate.answer.notify_one();
    tokio::time::sleep(Duration::from_millis(200)).await;
    f.mend(&arn, body).await;
    for _ in 0..200 {
        if f.status(&arn).await.is_ended() {
            break;
        }
        f.clock.advance(SignedDuration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(f.output(&arn).await["StatusCode"], json!(200));
    f.wf.close();
    running.await.unwrap();
}

/// As long as children of its map runs are still to be aborted, an execution is not redriven.
#[tokio::test]
async fn a_redrive_waits_until_all_children_are_aborted() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", items(&task, json!({}))).await;
    let numbers: Vec<i32> = (0..150).collect();
    let arn = f.start(&machine, json!({"items": numbers})).await;
    f.settle().await;
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    let refused = f.wf.redrive_execution(&arn, None).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::ExecutionNotRedrivable));
    f.settle().await;
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let mut taken = Vec::new();
    while let Some((token, input)) = f.take(&activity).await {
        taken.push(input.as_i64().unwrap());
        f.succeed(&token, input).await;
    }
    taken.sort_unstable();
    assert_eq!(taken, (0..150).collect::<Vec<_>>(), "each item once");
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!(numbers));
}

/// As long as map runs of its map runs' children abort theirs, too.
#[tokio::test]
async fn a_redrive_waits_until_children_of_children_are_aborted() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let mut inner = items(&task, json!({}))["States"]["M"].clone();
    inner["ItemProcessor"]["StartAt"] = json!("inner");
    inner["ItemProcessor"]["States"] = json!({"inner": task});
    let machine = f.machine("m", items(&inner, json!({}))).await;
    let numbers: Vec<i32> = (0..150).collect();
    let arn = f.start(&machine, json!({"items": [{"items": numbers}]})).await;
    f.settle().await;
    let open = async || f.store.read(ReadTx::open_execution_count).await.unwrap();
    assert_eq!(open().await, 152);
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    let (mut driver, mut refusals) = (Driver::default(), 0);
    loop {
        let left = open().await;
        match f.wf.redrive_execution(&arn, None).await {
            Ok(_) => break assert_eq!(left, 0, "nothing goes on beside what is begun again"),
            Err(error) => {
                assert_eq!(error.refusal(), Some(Refusal::ExecutionNotRedrivable));
                refusals += 1;
                assert!(refusals < 20, "it is redriven at last");
            }
        }
        driver.round(&f.wf).await.unwrap();
        f.clock.advance(SignedDuration::from_secs(1));
    }
    f.settle().await;
    let mut taken = 0;
    while let Some((token, input)) = f.take(&activity).await {
        taken += 1;
        f.succeed(&token, input).await;
        f.settle().await;
    }
    assert_eq!(taken, 150);
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!([numbers]));
}

/// What a round could not write down is not forgotten.
#[tokio::test]
async fn a_store_that_is_busy_loses_no_confirmation() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { queue_wait_max: Duration::from_millis(50), ..Options::default() };
    let store = Store::open_with(dir.path(), clock.now(), options).unwrap();
    let f = Fixture::on(store, clock).await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    for _ in 0..3 {
        f.start(&machine, json!({})).await;
    }
    let mut driver = Driver::default();
    driver.round(&f.wf).await.unwrap();
    f.take(&activity).await.unwrap();
    drop(f.poll(&activity).await.expect("a task that does not arrive"));
    let (begins, has_begun) = tokio::sync::oneshot::channel();
    let (end, may_end) = std::sync::mpsc::channel();
    let blocked = tokio::spawn(f.store.write(move |_| -> Result<(), StoreError> {
        let _ = begins.send(());
        let _ = may_end.recv_timeout(Duration::from_secs(30));
        Ok(())
    }));
    has_begun.await.unwrap();
    // The round waits in the queue behind it, for longer than it may.
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        end.send(()).unwrap();
    };
    let (round, ()) = tokio::join!(driver.round(&f.wf), ends);
    let busy = round.unwrap_err();
    assert!(matches!(busy, WorkflowError::Store(StoreError::Busy { .. })), "{busy:?}");
    blocked.await.unwrap().unwrap();
    driver.round(&f.wf).await.unwrap();
    f.take(&activity).await.expect("the one that did not arrive");
    f.take(&activity).await.expect("the third");
    assert!(f.take(&activity).await.is_none());
    driver.round(&f.wf).await.unwrap();
    let f = f.restarted().await;
    assert!(f.take(&activity).await.is_none(), "all three are known to have arrived");
}

/// 17. Another program that holds the lock of the file stops everybody for a while: no timer and no
/// schedule is taken for a broken one and put off.
#[tokio::test]
async fn a_lock_of_another_program_puts_nothing_off() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { lock_wait_max: Duration::from_millis(50), ..Options::default() };
    let store = Store::open_with(dir.path(), clock.now(), options).unwrap();
    let f = Fixture::on(store, clock).await;
    f.machine("m", pass()).await;
    let hourly = SchedulePut { cron: "0 * * * *".to_owned(), ..each_minute("m", Overlap::Forbid) };
    f.wf.put_schedule("s", hourly, "ana").await.unwrap();
    let wait =
        json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3_600, "End": true}}});
    let machine = f.machine("w", wait).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    f.clock.advance(SignedDuration::from_hours(1));
    let mut driver = Driver::default();
    for _ in 0..5 {
        let refused = driver.round(&f.wf).await.unwrap_err();
        assert!(
            matches!(&refused, WorkflowError::Store(error) if error.is_transient()),
            "{refused:?}"
        );
    }
    other.execute_batch("ROLLBACK").unwrap();
    f.settle().await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    let last = f.wf.schedule("s").await.unwrap().last;
    assert!(last.is_some_and(|last| last.execution_arn.is_some()), "its hour was not missed");
}

/// A broken schedule that is put off is not brought back by that once it is removed.
#[tokio::test]
async fn a_broken_schedule_that_is_removed_stays_so() {
    for steps in 0..60 {
        let clock = clock();
        let store = Store::inline_in_memory(clock.now()).unwrap();
        let f = Fixture::on(store, clock).await;
        f.machine("m", pass()).await;
        f.wf.put_schedule("s", each_minute("m", Overlap::Allow), "ana").await.unwrap();
        f.store
            .write(|tx| -> Result<(), StoreError> {
                let mut row = tx.schedule("s")?.expect("a schedule");
                row.body = row.body.replace("* * * * *", "no time");
                tx.put_schedule(&row)
            })
            .await
            .unwrap();
        f.clock.advance(SignedDuration::from_secs(60));
        let mut driver = Driver::default();
        let mut round = std::pin::pin!(driver.round(&f.wf));
        let mut ended = false;
        for _ in 0..steps {
            ended |= futures::poll!(round.as_mut()).is_ready();
            if ended {
                break;
            }
        }
        f.wf.remove_schedule("s", "ana").await.unwrap();
        if ended {
            assert!(steps > 5, "the round is over too soon");
            return;
        }
        round.await.unwrap();
        assert!(f.wf.schedule("s").await.is_err(), "after {steps} steps");
    }
    panic!("the round has more steps than were looked at");
}
