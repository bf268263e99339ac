//! Waits that are all due at one instant, while the server runs and while it was down: how long until
//! all have ended, what others notice of it, and that each ended once. One wait of a year stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::{StartExecution, Workflows};
use ark_server::world::{Clock, SystemClock};
use ark_store::{Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::handle::{Driven, define, open, process, runtime, start, start_many, work};

/// Between two looks whether all have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long others are watched before the waits are due.
const AT_REST: Duration = Duration::from_secs(3);
/// Events of an execution that waited and ended, and of one that still waits.
const EVENTS_ENDED: u64 = 4;
const EVENTS_WAITING: u64 = 2;

async fn define_waits(store: &Store) {
    let now = Timestamp::now();
    let until = json!({"StartAt": "W", "States": {
        "W": {"Type": "Wait", "TimestampPath": "$.at", "End": true}}});
    let made: Result<(), StoreError> = store
        .write(move |tx| {
            let id = tx.insert_machine("wait", "us-east-1", MachineType::Standard, now)?;
            tx.insert_machine_revision(id, "wait", &until.to_string(), "{}", now)?;
            Ok(())
        })
        .await;
    made.expect("a machine");
}

fn until(at: Timestamp) -> StartExecution {
    start("wait", json!({"at": at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()}).to_string())
}

/// Starts waits until an instant that comes once all of them are started; answers it.
async fn start_waits(workflows: &Workflows, many: u64) -> Timestamp {
    let a_year = SystemClock.now() + SignedDuration::from_hours(24 * 360);
    let begun = Instant::now();
    let trial = (many / 20).max(1);
    start_many(workflows, trial, || start("five", "{\"n\":1}".into())).await;
    // Twice the time that they should take together.
    let all = begun.elapsed().mul_f64(2.0 * many as f64 / trial as f64);
    let lead = all + AT_REST + Duration::from_secs(2);
    let due = SystemClock.now() + SignedDuration::try_from(lead).expect("a short time");
    workflows.start_execution(until(a_year)).await.expect("a start");
    start_many(workflows, many, move || until(due)).await;
    println!(
        "{many} waits opened in {:.1} s, {} MB resident",
        begun.elapsed().as_secs_f64(),
        process().0
    );
    due
}

/// Times of calls of one kind, in microseconds.
#[derive(Default)]
struct Times(Vec<u128>);

impl Times {
    fn shown(&mut self) -> String {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = |share: usize| self.0.get((self.0.len() * share / 100).min(last));
        #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let ms = |share| at(share).map_or(0.0, |us| *us as f64 / 1_000.0);
        format!("{:.1}/{:.1}/{:.1}", ms(50), ms(99), ms(100))
    }
}

/// What somebody notices who starts and looks at executions and works on a task, again and again.
async fn bystander(workflows: Workflows, over: Arc<AtomicBool>) -> String {
    let (mut starts, mut looks, mut tasks) = (Times::default(), Times::default(), Times::default());
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let started = workflows.start_execution(start("task", "{}".into())).await.expect("a start");
        starts.0.push(begun.elapsed().as_micros());
        let begun = Instant::now();
        workflows.describe_execution(&started.execution_arn).await.expect("an execution");
        looks.0.push(begun.elapsed().as_micros());
        let begun = Instant::now();
        work(&workflows).await;
        tasks.0.push(begun.elapsed().as_micros());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    format!(
        "{} rounds; p50/p99/worst ms of a start {}, of a look {}, of a task taken and answered {}",
        starts.0.len(),
        starts.shown(),
        looks.shown(),
        tasks.shown()
    )
}

/// Runs a bystander beside something.
async fn beside<T>(workflows: &Workflows, work: impl Future<Output = T>) -> (T, String) {
    let over = Arc::new(AtomicBool::new(false));
    let seen = tokio::spawn(bystander(workflows.clone(), over.clone()));
    let done = work.await;
    over.store(true, Ordering::Relaxed);
    (done, seen.await.expect("a bystander"))
}

/// Waits until all that is due has ended; answers how long that took and the most memory.
async fn all_ended(store: &Store, begun: Instant) -> (Duration, u64) {
    let mut most = 0;
    loop {
        most = most.max(process().0);
        // What is open then: the wait of a year, and what the bystander has under way.
        let due = store.read(|tx| tx.due_timers(Timestamp::now(), 1)).await.expect("timers");
        if due.is_empty() {
            return (begun.elapsed(), most);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Every wait ended well and once; that of a year has not.
async fn judge(store: &Store, many: u64) {
    let counted = store
        .read(|tx| -> Result<_, StoreError> {
            let wait = tx.machine_by_name("wait")?.expect("the machine").id;
            let (mut ended, mut waiting, mut wrong) = (0_u64, 0_u64, 0_u64);
            for id in 1..=tx.last_execution_id()? {
                let Some(row) = tx.execution(id)?.filter(|row| row.machine == wait) else {
                    continue;
                };
                match (row.status, row.events) {
                    (ExecutionStatus::Succeeded, EVENTS_ENDED) => ended += 1,
                    (ExecutionStatus::Running, EVENTS_WAITING) => waiting += 1,
                    (_, _) => wrong += 1,
                }
            }
            Ok((ended, waiting, wrong))
        })
        .await
        .expect("rows");
    assert_eq!(counted, (many, 1, 0), "ended well and once, waiting for a year, anything else");
}

async fn while_it_runs(dir: &Path, many: u64) {
    let (store, workflows) = open(dir).await;
    define(&store).await;
    define_waits(&store).await;
    let driven = Driven::begin(&workflows);
    let due = start_waits(&workflows, many).await;
    let ((), rest) = beside(&workflows, tokio::time::sleep(AT_REST)).await;
    println!("at rest: {rest}");
    let left = SystemClock.now().duration_until(due);
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    let ((took, most), busy) = beside(&workflows, all_ended(&store, Instant::now())).await;
    println!(
        "due while the server runs: all ended after {:.1} s, {most} MB resident at most",
        took.as_secs_f64()
    );
    println!("meanwhile: {busy}");
    judge(&store, many).await;
    driven.end().await;
}

/// Answers when they are due.
async fn opened(dir: &Path, many: u64) -> Timestamp {
    let (store, workflows) = open(dir).await;
    define(&store).await;
    define_waits(&store).await;
    let driven = Driven::begin(&workflows);
    let due = start_waits(&workflows, many).await;
    driven.end().await;
    due
}

async fn after_it_was_down(dir: &Path, many: u64) {
    let begun = Instant::now();
    let (store, workflows) = open(dir).await;
    let driven = Driven::begin(&workflows);
    let ((took, most), busy) = beside(&workflows, all_ended(&store, begun)).await;
    println!(
        "due while no server ran: all ended {:.1} s after its start, {most} MB resident at most",
        took.as_secs_f64()
    );
    println!("meanwhile: {busy}");
    judge(&store, many).await;
    driven.end().await;
}

pub(crate) fn run(many: u64) {
    let (first, second) = (tempfile::tempdir(), tempfile::tempdir());
    let (first, second) = (first.expect("a directory"), second.expect("a directory"));
    runtime().block_on(while_it_runs(first.path(), many));
    let before = runtime();
    let due = before.block_on(opened(second.path(), many));
    before.shutdown_timeout(Duration::from_secs(10));
    let left = SystemClock.now().duration_until(due);
    std::thread::sleep(Duration::try_from(left).unwrap_or_default());
    runtime().block_on(after_it_was_down(second.path(), many));
}
