//! Many tasks and few workers: whether handing one out takes as long with a hundred thousand waiting as
//! with a thousand, and how long the tasks of another definition, or of a queue of priority, wait behind
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ark_model::workflow::MachineType;
use ark_server::workflows::{StartExecution, Workflows};
use ark_store::StoreError;
use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;

use crate::handle::{ARN, Driven, define, open, process, runtime, start, start_many, work};

const WORKERS: usize = 8;
/// Tasks that are handed out to measure how long it takes.
const MEASURED: usize = 2_000;
/// Executions of the definition that comes late, and of the queue with priority.
const LATE: u64 = 100;

async fn measure(workflows: &Workflows, waiting: u64) {
    let mut times = Vec::new();
    for _ in 0..MEASURED {
        times.push(work(workflows).await.1);
    }
    times.sort_unstable();
    let ms = |share: usize| times[(MEASURED * share / 100).min(MEASURED - 1)].as_secs_f64() * 1e3;
    println!(
        "{waiting} tasks waiting, one worker: a hand-out takes {:.2} ms, p99 {:.2}, worst {:.2}; {} MB resident",
        ms(50),
        ms(99),
        ms(100),
        process().0
    );
}

/// Starts `LATE` executions and works until all of them are done: how many others were in between.
async fn late(workflows: &Workflows, what: &str, how: impl Fn() -> StartExecution) {
    for _ in 0..LATE {
        workflows.start_execution(how()).await.expect("a start");
    }
    let begun = Instant::now();
    let (left, handed) = (Arc::new(AtomicU64::new(LATE)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (workflows, left, handed) = (workflows.clone(), left.clone(), handed.clone());
        workers.spawn(async move {
            while left.load(Ordering::Relaxed) > 0 {
                let (input, _) = work(&workflows).await;
                handed.fetch_add(1, Ordering::Relaxed);
                if input == "\"late\"" {
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            }
        });
    }
    workers.join_all().await;
    println!(
        "{LATE} executions {what}: done after {:.2} s and {} tasks of those that waited before",
        begun.elapsed().as_secs_f64(),
        handed.load(Ordering::Relaxed) - LATE
    );
}

pub(crate) fn run(many: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let (store, workflows) = open(dir.path()).await;
        define(&store).await;
        let now = Timestamp::now();
        let made: Result<(), StoreError> = store
            .write(move |tx| {
                let task = json!({"StartAt": "T", "States": {"T": {"Type": "Task",
                    "Resource": format!("{ARN}:activity:a"), "End": true}}});
                let id = tx.insert_machine("late", "us-east-1", MachineType::Standard, now)?;
                tx.insert_machine_revision(id, "late", &task.to_string(), "{}", now)?;
                Ok(())
            })
            .await;
        made.expect("a machine");
        let driven = Driven::begin(&workflows);
        let usual = || start("task", "\"many\"".into());
        let few = 1_000 + MEASURED as u64;
        start_many(&workflows, few, usual).await;
        measure(&workflows, few).await;
        start_many(&workflows, many, usual).await;
        measure(&workflows, many).await;
        late(&workflows, "of another definition", || start("late", "\"late\"".into())).await;
        let first = || StartExecution { priority: 10, ..start("task", "\"late\"".into()) };
        late(&workflows, "of a queue with priority", first).await;
        driven.end().await;
    });
}
