//! A million executions of one activity, 100 workers, from the first start to the last end, in one
//! run: time, memory, disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_server::workflows::Workflows;
use ark_server::world::{Clock, SystemClock};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use crate::handle::{ARN, Driven, define, file_bytes, open, process, runtime, start};

const WORKERS: usize = 100;
const STARTERS: u64 = 64;
/// Starts that may be ahead of ends.
const AHEAD_MAX: u64 = 10_000;
/// How often it says how far it is.
const WORD: Duration = Duration::from_secs(10);

struct Counts {
    started: AtomicU64,
    ended: AtomicU64,
    done: AtomicBool,
}

async fn work(workflows: Workflows, counts: Arc<Counts>) {
    let arn = format!("{ARN}:activity:a");
    while !counts.done.load(Ordering::Relaxed) {
        let deadline = SystemClock.now() + SignedDuration::from_millis(500);
        let task = workflows.poll_activity(&arn, None, deadline).await.expect("a poll");
        let Some(task) = task else { continue };
        let (token, input) = (task.token.clone(), task.input.clone());
        task.delivered();
        workflows.task_succeeded(&token, input).await.expect("a result");
        counts.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn start_all(workflows: Workflows, counts: Arc<Counts>, many: u64) {
    loop {
        let n = counts.started.fetch_add(1, Ordering::Relaxed);
        if n >= many {
            return;
        }
        while n > counts.ended.load(Ordering::Relaxed) + AHEAD_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        workflows.start_execution(start("task", n.to_string())).await.expect("a start");
    }
}

pub(crate) fn run(many: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let (store, workflows) = open(dir.path()).await;
        define(&store).await;
        let driven = Driven::begin(&workflows);
        let counts = Arc::new(Counts {
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            done: AtomicBool::new(false),
        });
        let (begun, (_, cpu)) = (Instant::now(), process());
        let mut busy = JoinSet::new();
        for _ in 0..WORKERS {
            busy.spawn(work(workflows.clone(), counts.clone()));
        }
        for _ in 0..STARTERS {
            busy.spawn(start_all(workflows.clone(), counts.clone(), many));
        }
        let (mut word, mut most) = (Instant::now(), 0);
        while counts.ended.load(Ordering::Relaxed) < many {
            tokio::time::sleep(Duration::from_millis(50)).await;
            most = most.max(process().0);
            if word.elapsed() > WORD {
                word = Instant::now();
                println!(
                    "{:.0} s: {} ended, {} MB resident, {} MB on disk",
                    begun.elapsed().as_secs_f64(),
                    counts.ended.load(Ordering::Relaxed),
                    process().0,
                    file_bytes(dir.path()) >> 20
                );
            }
        }
        let (took, cpu) = (begun.elapsed().as_secs_f64(), process().1 - cpu);
        counts.done.store(true, Ordering::Relaxed);
        busy.join_all().await;
        let open = store.read(ark_store::ReadTx::open_execution_count).await;
        let open = open.expect("a count");
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let (rate, each) = (many as f64 / took, cpu * 1_000.0 / many as f64);
        println!(
            "{many} executions of one activity, {WORKERS} workers: {took:.0} s, {rate:.0} a second, {each:.2} ms CPU each, {most} MB resident at most, {} MB on disk, {open} still open",
            file_bytes(dir.path()) >> 20
        );
        driven.end().await;
    });
}
