//! The runtime at its handle, in this process: what a step costs without HTTP.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_model::workflow::MachineType;
use ark_server::workflows::{
    StartExecution, SystemEntropy, WorkflowError, WorkflowWorld, Workflows,
};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, SystemClock};
use ark_store::{Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const ARN: &str = "arn:aws:states:us-east-1:000000000000";
const STARTERS: usize = 64;
const WORKERS: usize = 100;

pub(crate) async fn open(dir: &Path) -> (Store, Workflows) {
    let now = Timestamp::now();
    let store = Store::open(dir, now).expect("a store");
    let lease = store
        .write(move |tx| tx.acquire_lease(CONTROLLER_LEASE, "bench", now, Duration::from_secs(15)))
        .await
        .expect("a lease")
        .expect("nobody else has it");
    let workflows = Workflows::new(WorkflowWorld {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        fence: Fence { token: lease.token },
    });
    (store, workflows)
}

pub(crate) async fn define(store: &Store) {
    let now = Timestamp::now();
    let choice = |next: &str| {
        json!({"Type": "Choice", "Default": next,
            "Choices": [{"Variable": "$.n", "NumericLessThan": 0, "Next": next}]})
    };
    let five = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"}, "B": choice("C"),
        "C": {"Type": "Pass", "Next": "D"}, "D": choice("E"), "E": {"Type": "Pass", "End": true}}});
    let task = json!({"StartAt": "T", "States": {
        "T": {"Type": "Task", "Resource": format!("{ARN}:activity:a"), "End": true}}});
    let then =
        |next: &str| json!({"Type": "Task", "Resource": format!("{ARN}:activity:a"), "Next": next});
    let last = json!({"Type": "Task", "Resource": format!("{ARN}:activity:a"), "End": true});
    let three = json!({"StartAt": "T", "States": {"T": then("U"), "U": then("V"), "V": last}});
    store
        .write(move |tx| -> Result<(), StoreError> {
            tx.insert_activity("a", "us-east-1", "{}", now)?;
            for (name, definition) in [("five", five), ("task", task), ("three", three)] {
                let id = tx.insert_machine(name, "us-east-1", MachineType::Standard, now)?;
                tx.insert_machine_revision(id, name, &definition.to_string(), "{}", now)?;
            }
            Ok(())
        })
        .await
        .expect("machines");
}

pub(crate) fn start(machine: &str, input: String) -> StartExecution {
    StartExecution {
        machine_arn: format!("{ARN}:stateMachine:{machine}"),
        input: Some(input),
        ..StartExecution::default()
    }
}

/// Starts so many executions, `STARTERS` at a time.
pub(crate) async fn start_many(
    workflows: &Workflows,
    many: u64,
    how: impl Fn() -> StartExecution + Clone + Send + 'static,
) {
    let mut starters = JoinSet::new();
    for n in 0..STARTERS as u64 {
        let (workflows, how) = (workflows.clone(), how.clone());
        let share = many / STARTERS as u64 + u64::from(n < many % STARTERS as u64);
        starters.spawn(async move {
            for _ in 0..share {
                workflows.start_execution(how()).await.expect("a start");
            }
        });
    }
    starters.join_all().await;
}

/// Takes and answers one task; answers its input and how long the hand-out took.
pub(crate) async fn work(workflows: &Workflows) -> (String, Duration) {
    let begun = Instant::now();
    let deadline = SystemClock.now() + SignedDuration::from_secs(60);
    let activity = format!("{ARN}:activity:a");
    let task = workflows.poll_activity(&activity, None, deadline).await.expect("a poll");
    let task = task.expect("a task");
    let took = begun.elapsed();
    let (token, input) = (task.token.clone(), task.input.clone());
    task.delivered();
    workflows.task_succeeded(&token, "{}".into()).await.expect("a result");
    (input, took)
}

/// The runtime, going on until [`Driven::end`].
pub(crate) struct Driven {
    workflows: Workflows,
    driver: JoinHandle<WorkflowError>,
}

impl Driven {
    pub(crate) fn begin(workflows: &Workflows) -> Self {
        let driven = workflows.clone();
        let driver = tokio::spawn(async move { driven.run().await });
        Self { workflows: workflows.clone(), driver }
    }

    pub(crate) async fn end(self) {
        self.workflows.close();
        self.driver.await.expect("the driver");
    }
}

pub(crate) fn file_bytes(dir: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
    size("ark.db") + size("ark.db-wal")
}

/// Resident memory in MB, and seconds of CPU, of this process.
pub(crate) fn process() -> (u64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok());
    let ticks = field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0);
    (rss.unwrap_or(0) / 1_024, ticks / 100.0)
}

/// Executions of five states, as many as can be started.
async fn five_states(dir: &Path, workflows: &Workflows, time: Duration) {
    let (bytes, (_, cpu), begun) = (file_bytes(dir), process(), Instant::now());
    let mut starters = JoinSet::new();
    for _ in 0..STARTERS {
        let workflows = workflows.clone();
        starters.spawn(async move {
            let mut n = 0_u64;
            while begun.elapsed() < time {
                workflows
                    .start_execution(start("five", json!({"n": n}).to_string()))
                    .await
                    .expect("a start");
                n += 1;
            }
            n
        });
    }
    let n: u64 = starters.join_all().await.into_iter().sum();
    let (s, cpu) = (begun.elapsed().as_secs_f64(), process().1 - cpu);
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let (rate, each) = (n as f64 / s, cpu * 1_000.0 / n as f64);
    println!(
        "five Pass/Choice states, {STARTERS} starters: {rate:.0} executions/s ({:.0} states/s), {each:.2} ms CPU each, {} bytes each",
        rate * 5.0,
        file_bytes(dir).saturating_sub(bytes) / n.max(1)
    );
}

/// Executions of `tasks` activities, one after the other. `rate` is how many are started a second;
/// none: as many as can be. Answers how many ended a second.
async fn activities(
    dir: &Path,
    workflows: &Workflows,
    time: Duration,
    tasks: u64,
    rate: Option<f64>,
) -> f64 {
    let machine = if tasks == 1 { "task" } else { "three" };
    let done = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let (bytes, (_, cpu)) = (file_bytes(dir), process());
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (workflows, done, ended) = (workflows.clone(), done.clone(), ended.clone());
        workers.spawn(async move {
            let mut latencies = Vec::new();
            let arn = format!("{ARN}:activity:a");
            while !done.load(Ordering::Relaxed) {
                let deadline = SystemClock.now() + SignedDuration::from_millis(200);
                let task = workflows.poll_activity(&arn, None, deadline).await.expect("a poll");
                let Some(task) = task else { continue };
                let (token, input) = (task.token.clone(), task.input.clone());
                task.delivered();
                workflows.task_succeeded(&token, input.clone()).await.expect("a result");
                ended.fetch_add(1, Ordering::Relaxed);
                let at: u128 = input.trim_matches('"').parse().unwrap_or(0);
                latencies.push((at, begun.elapsed().as_micros().saturating_sub(at)));
            }
            latencies
        });
    }
    let mut starters = JoinSet::new();
    let started = Arc::new(AtomicU64::new(0));
    for _ in 0..STARTERS {
        let (workflows, started, ended) = (workflows.clone(), started.clone(), ended.clone());
        starters.spawn(async move {
            while begun.elapsed() < time {
                let n = started.fetch_add(1, Ordering::Relaxed);
                match rate {
                    #[allow(clippy::cast_precision_loss, reason = "a plan of seconds")]
                    Some(rate) => {
                        let due = begun + Duration::from_secs_f64(n as f64 / rate);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    // A bounded backlog: the question is how many go through.
                    None => {
                        while n > ended.load(Ordering::Relaxed) / tasks + 1_000
                            && begun.elapsed() < time
                        {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
                let at = format!("\"{}\"", begun.elapsed().as_micros());
                workflows.start_execution(start(machine, at)).await.expect("a start");
            }
        });
    }
    starters.join_all().await;
    let until = Instant::now() + Duration::from_secs(60);
    while ended.load(Ordering::Relaxed) / tasks < started.load(Ordering::Relaxed)
        && Instant::now() < until
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (s, n, cpu) =
        (begun.elapsed().as_secs_f64(), ended.load(Ordering::Relaxed) / tasks, process().1 - cpu);
    done.store(true, Ordering::Relaxed);
    // The last task of an execution is the one that took longest.
    let mut of_execution = HashMap::<u128, u128>::new();
    for (at, took) in workers.join_all().await.into_iter().flatten() {
        let longest = of_execution.entry(at).or_default();
        *longest = took.max(*longest);
    }
    let mut latencies: Vec<u128> = of_execution.into_values().collect();
    latencies.sort_unstable();
    let at = |share: usize| {
        latencies.get(latencies.len() * share / 100).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let (through, each) = (n as f64 / s, cpu * 1_000.0 / n as f64);
    println!(
        "{tasks} of one activity, {WORKERS} workers, {}: {through:.0} executions/s, {each:.2} ms CPU each, p50 {:.1} ms, p99 {:.1} ms, {} bytes each, {} MB resident",
        rate.map_or("all that go".to_owned(), |r| format!("{r:.0} started a second")),
        at(50),
        at(99),
        file_bytes(dir).saturating_sub(bytes) / n.max(1),
        process().0
    );
    through
}

/// The runtime that every part of this runs on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// All of it.
pub(crate) fn run(time: Duration, many: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let first = runtime();
    first.block_on(async {
        let (store, workflows) = open(dir.path()).await;
        define(&store).await;
        let driven = Driven::begin(&workflows);
        five_states(dir.path(), &workflows, time).await;
        for tasks in [1, 3] {
            let most = activities(dir.path(), &workflows, time, tasks, None).await;
            activities(dir.path(), &workflows, time, tasks, Some(most / 2.0)).await;
        }
        let begun = Instant::now();
        start_many(&workflows, many, || start("task", "1".into())).await;
        println!(
            "{many} executions opened in {:.1} s, {} MB resident",
            begun.elapsed().as_secs_f64(),
            process().0
        );
        driven.end().await;
    });
    first.shutdown_timeout(Duration::from_secs(10));
    let begun = Instant::now();
    runtime().block_on(async {
        let (_store, workflows) = open(dir.path()).await;
        let opened = begun.elapsed();
        let driven = Driven::begin(&workflows);
        work(&workflows).await;
        println!(
            "recovery with {many} open: store open after {:.2} s, first task handed out and ended after {:.2} s, {} MB resident",
            opened.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
            process().0
        );
        driven.end().await;
    });
}
