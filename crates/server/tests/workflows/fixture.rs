//! A runtime on a store in memory, a clock that the test moves, and rounds of the driver that the
//! test asks for. Nothing happens by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::driver::Driver;
use ark_server::workflows::{
    Arn, Entropy, ExecutionView, HandedTask, PageRequest, StartExecution, WorkflowError,
    WorkflowWorld, Workflows, arn::Resource,
};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence};
use ark_states::history::HistoryEvent;
use ark_store::Store;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::clock::SimClock;

/// The time at which every test begins.
pub(crate) fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new("2026-01-01T00:00:00Z".parse().unwrap()))
}

/// Bits that count, mixed so that no two are alike.
#[derive(Debug)]
pub(crate) struct TestEntropy(AtomicU64);

impl TestEntropy {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }
}

impl Entropy for TestEntropy {
    fn bits(&self) -> u64 {
        let mut x = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

/// See the module.
pub(crate) struct Fixture {
    pub(crate) wf: Workflows,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) store: Store,
    entropy: Arc<TestEntropy>,
    driver: tokio::sync::Mutex<Driver>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let clock = clock();
        let store = Store::in_memory(clock.now()).unwrap();
        Self::on(store, clock).await
    }

    /// A server that has just taken over a store.
    pub(crate) async fn on(store: Store, clock: Arc<SimClock>) -> Self {
        let now = clock.now();
        let lease = store
            .write(move |tx| {
                tx.acquire_lease(CONTROLLER_LEASE, "test", now, Duration::from_secs(15))
            })
            .await
            .unwrap()
            .unwrap();
        let entropy = TestEntropy::new(lease.token);
        let wf = Workflows::new(WorkflowWorld {
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            fence: Fence { token: lease.token },
        });
        Self { wf, clock, store, entropy, driver: tokio::sync::Mutex::default() }
    }

    /// The same store and time under another server, as after a crash.
    pub(crate) async fn restarted(&self) -> Self {
        Self::on(self.store.clone(), self.clock.clone()).await
    }

    pub(crate) async fn machine_of(
        &self,
        kind: MachineType,
        name: &str,
        definition: Value,
    ) -> String {
        let (now, owned) = (self.clock.now(), name.to_owned());
        let revision = self.entropy.uuid().to_string();
        self.store
            .write(move |tx| -> Result<(), ark_store::StoreError> {
                let id = match tx.machine_by_name(&owned)? {
                    Some(machine) => machine.id,
                    None => tx.insert_machine(&owned, "us-east-1", kind, now)?,
                };
                let text = definition.to_string();
                tx.insert_machine_revision(id, &revision, &text, "{}", now)?;
                Ok(())
            })
            .await
            .unwrap();
        Arn::new("us-east-1", Resource::Machine { name: name.to_owned() }).to_string()
    }

    pub(crate) async fn machine(&self, name: &str, definition: Value) -> String {
        self.machine_of(MachineType::Standard, name, definition).await
    }

    pub(crate) async fn activity(&self, name: &str) -> String {
        let (now, owned) = (self.clock.now(), name.to_owned());
        self.store
            .write(move |tx| tx.insert_activity(&owned, "us-east-1", "{}", now))
            .await
            .unwrap();
        Arn::new("us-east-1", Resource::Activity { name: name.to_owned() }).to_string()
    }

    pub(crate) async fn start_as(
        &self,
        machine: &str,
        name: &str,
        input: &str,
    ) -> Result<String, WorkflowError> {
        let start = StartExecution {
            machine_arn: machine.to_owned(),
            name: (!name.is_empty()).then(|| name.to_owned()),
            input: Some(input.to_owned()),
            ..StartExecution::default()
        };
        Ok(self.wf.start_execution(start).await?.execution_arn)
    }

    pub(crate) async fn start(&self, machine: &str, input: Value) -> String {
        self.start_as(machine, "", &input.to_string()).await.unwrap()
    }

    /// Goes on once someone waits for time to pass: whoever was spawned has looked, found nothing,
    /// and waits.
    pub(crate) async fn someone_sleeps(&self) {
        self.sleepers(1).await;
    }

    /// Goes on once so many wait for time to pass.
    pub(crate) async fn sleepers(&self, count: usize) {
        for _ in 0..5_000 {
            if self.clock.sleepers() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("not {count} went to sleep within ten seconds");
    }

    /// Lets time pass for loops that run by themselves, until the execution has ended.
    pub(crate) async fn ends_within(&self, arn: &str, seconds: u32) {
        for _ in 0..seconds {
            self.clock.advance(SignedDuration::from_secs(1));
            for _ in 0..100 {
                if self.status(arn).await.is_ended() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        panic!("it did not end within {seconds} s");
    }

    /// Hands out a task that is there now.
    pub(crate) async fn poll(&self, activity: &str) -> Option<HandedTask> {
        let deadline = self.clock.now();
        self.wf.poll_activity(activity, Some("worker".to_owned()), deadline).await.unwrap()
    }

    /// Hands out a task, delivered; answers token and input.
    pub(crate) async fn take(&self, activity: &str) -> Option<(String, Value)> {
        let task = self.poll(activity).await?;
        let (token, input) = (task.token.clone(), serde_json::from_str(&task.input).unwrap());
        task.delivered();
        Some((token, input))
    }

    pub(crate) async fn succeed(&self, token: &str, output: Value) {
        self.wf.task_succeeded(token, output.to_string()).await.unwrap();
    }

    /// Rounds of the driver until it has nothing to do now.
    pub(crate) async fn settle(&self) {
        let mut driver = self.driver.lock().await;
        let mut rests = 0;
        for _ in 0..10_000 {
            self.wf.serve_objects().await.unwrap();
            self.wf.think().await.unwrap();
            let next = driver.round(&self.wf).await.unwrap();
            // What one round left may be for the objects, and their answer for the next.
            rests = if next > self.clock.now() { rests + 1 } else { 0 };
            if rests == 3 {
                return;
            }
        }
        panic!("the driver finds no rest");
    }

    pub(crate) async fn pass(&self, by: SignedDuration) {
        self.clock.advance(by);
        self.settle().await;
    }

    pub(crate) async fn seconds(&self, s: i64) {
        self.pass(SignedDuration::from_secs(s)).await;
    }

    pub(crate) async fn view(&self, arn: &str) -> ExecutionView {
        self.wf.describe_execution(arn).await.unwrap()
    }

    pub(crate) async fn status(&self, arn: &str) -> ExecutionStatus {
        self.view(arn).await.status
    }

    pub(crate) async fn output(&self, arn: &str) -> Value {
        let view = self.view(arn).await;
        assert_eq!(view.status, ExecutionStatus::Succeeded, "{view:?}");
        serde_json::from_str(&view.output.expect("an output")).unwrap()
    }

    /// The whole history, looked through for gaps and dangling references.
    pub(crate) async fn history(&self, arn: &str) -> Vec<HistoryEvent> {
        let mut events = Vec::new();
        let mut token = None;
        loop {
            let page = PageRequest { max_results: 1_000, next_token: token };
            let page = self.wf.events(arn, page, false).await.unwrap();
            events.extend(page.items);
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        for (event, id) in events.iter().zip(1..) {
            assert_eq!(event.id, id, "event ids are contiguous");
            assert!(event.previous_event_id < id, "event {id} follows an earlier one");
        }
        events
    }

    pub(crate) async fn types(&self, arn: &str) -> Vec<&'static str> {
        self.history(arn).await.iter().map(|event| event.kind.name()).collect()
    }
}

/// A machine of one task.
pub(crate) fn one_task(resource: &str, more: Value) -> Value {
    let mut task = json!({"Type": "Task", "Resource": resource, "End": true});
    let Value::Object(more) = more else { panic!("fields, not {more}") };
    for (key, value) in more {
        task[key] = value;
    }
    json!({"StartAt": "Work", "States": {"Work": task}})
}

/// A machine that passes its input on.
pub(crate) fn pass() -> Value {
    json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}})
}
