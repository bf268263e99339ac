//! The workflow runtime on a file, at its handle: executions of five Pass and Choice states,
//! executions of one activity with 100 workers, latency at half of that load, and recovery with many
//! open executions. Every start and every result is durable before it is acknowledged.
//!
//! `cargo bench -p ark-server --bench workflows [-- SECONDS [OPEN]]`
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_model::workflow::MachineType;
use ark_server::workflows::{StartExecution, SystemEntropy, WorkflowWorld, Workflows};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, SystemClock};
use ark_store::{Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

const ARN: &str = "arn:aws:states:us-east-1:000000000000";
const STARTERS: usize = 64;
const WORKERS: usize = 100;

async fn open(dir: &Path) -> (Store, Workflows) {
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

async fn define(store: &Store) {
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
    store
        .write(move |tx| -> Result<(), StoreError> {
            tx.insert_activity("a", "us-east-1", "{}", now)?;
            for (name, definition) in [("five", five), ("task", task)] {
                let id = tx.insert_machine(name, "us-east-1", MachineType::Standard, now)?;
                tx.insert_machine_revision(id, name, &definition.to_string(), "{}", now)?;
            }
            Ok(())
        })
        .await
        .expect("machines");
}

fn start(machine: &str, input: String) -> StartExecution {
    StartExecution {
        machine_arn: format!("{ARN}:stateMachine:{machine}"),
        input: Some(input),
        ..StartExecution::default()
    }
}

fn file_bytes(dir: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
    size("ark.db") + size("ark.db-wal")
}

/// Resident memory in MB, and seconds of CPU, of this process.
fn process() -> (u64, f64) {
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

/// Executions of one activity. `rate` is how many are started a second; none: as many as can be.
/// Answers how many ended a second.
async fn one_activity(dir: &Path, workflows: &Workflows, time: Duration, rate: Option<f64>) -> f64 {
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
                latencies.push(begun.elapsed().as_micros().saturating_sub(at));
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
                        while n > ended.load(Ordering::Relaxed) + 1_000 && begun.elapsed() < time {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
                let at = format!("\"{}\"", begun.elapsed().as_micros());
                workflows.start_execution(start("task", at)).await.expect("a start");
            }
        });
    }
    starters.join_all().await;
    let until = Instant::now() + Duration::from_secs(60);
    while ended.load(Ordering::Relaxed) < started.load(Ordering::Relaxed) && Instant::now() < until
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (s, n, cpu) =
        (begun.elapsed().as_secs_f64(), ended.load(Ordering::Relaxed), process().1 - cpu);
    done.store(true, Ordering::Relaxed);
    let mut latencies: Vec<u128> = workers.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let at = |share: usize| {
        latencies.get(latencies.len() * share / 100).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let (through, each) = (n as f64 / s, cpu * 1_000.0 / n as f64);
    println!(
        "one activity, {WORKERS} workers, {}: {through:.0} executions/s, {each:.2} ms CPU each, p50 {:.1} ms, p99 {:.1} ms, {} bytes each, {} MB resident",
        rate.map_or("all that go".to_owned(), |r| format!("{r:.0} started a second")),
        at(50),
        at(99),
        file_bytes(dir).saturating_sub(bytes) / n.max(1),
        process().0
    );
    through
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let time = Duration::from_secs(numbers.first().copied().unwrap_or(10));
    let many = numbers.get(1).copied().unwrap_or(100_000);
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime")
    };
    let first = runtime();
    first.block_on(async {
        let (store, workflows) = open(dir.path()).await;
        define(&store).await;
        let driven = workflows.clone();
        let driver = tokio::spawn(async move { driven.run().await });
        five_states(dir.path(), &workflows, time).await;
        let most = one_activity(dir.path(), &workflows, time, None).await;
        one_activity(dir.path(), &workflows, time, Some(most / 2.0)).await;
        let begun = Instant::now();
        let mut starters = JoinSet::new();
        for _ in 0..STARTERS as u64 {
            let workflows = workflows.clone();
            starters.spawn(async move {
                for n in 0..many / STARTERS as u64 {
                    workflows.start_execution(start("task", n.to_string())).await.expect("a start");
                }
            });
        }
        starters.join_all().await;
        println!(
            "{many} executions opened in {:.1} s, {} MB resident",
            begun.elapsed().as_secs_f64(),
            process().0
        );
        workflows.close();
        driver.await.expect("the driver");
    });
    first.shutdown_timeout(Duration::from_secs(10));
    let begun = Instant::now();
    runtime().block_on(async {
        let (_store, workflows) = open(dir.path()).await;
        let opened = begun.elapsed();
        let driven = workflows.clone();
        tokio::spawn(async move { driven.run().await });
        let deadline = SystemClock.now() + SignedDuration::from_secs(60);
        let arn = format!("{ARN}:activity:a");
        let task = workflows.poll_activity(&arn, None, deadline).await.expect("a poll").expect("a task");
        workflows.task_succeeded(&task.token, "{}".into()).await.expect("a result");
        task.delivered();
        println!(
            "recovery with {many} open: store open after {:.2} s, first task handed out and ended after {:.2} s, {} MB resident",
            opened.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
            process().0
        );
    });
}
