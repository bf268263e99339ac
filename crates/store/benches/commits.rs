//! Durable transactions per second: each task writes one event, waits until it is durable, and
//! writes the next. Beside it the same with one `rusqlite` connection and a transaction per event,
//! which is what group commit is to beat.
//!
//! `cargo bench -p ark-store`, or with `-- --seconds 10`. The database lies in the target
//! directory: on a real disk, not in memory.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_model::event::{EventKind, NewEvent};
use ark_store::{EventFilter, Store, StoreError};
use jiff::Timestamp;

/// What one run measured.
struct Run {
    transactions: u64,
    elapsed: Duration,
    /// Waiting times of single writes, sorted.
    waits: Vec<Duration>,
}

impl Run {
    fn row(&mut self, out: &mut impl Write, name: &str) -> std::io::Result<()> {
        self.waits.sort_unstable();
        let rate = self.transactions as f64 / self.elapsed.as_secs_f64();
        let at = |share: f64| {
            let index = (self.waits.len().saturating_sub(1)) as f64 * share;
            self.waits.get(index as usize).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
        };
        let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
        writeln!(out, "| {name} | {rate:.0} | {p50:.2} | {p99:.2} | {worst:.1} |")
    }
}

fn event(task: usize) -> NewEvent {
    NewEvent {
        at: Timestamp::UNIX_EPOCH,
        kind: EventKind::DeploymentProgress,
        by: "ark".into(),
        env: Some("production".parse().expect("a name")),
        app: Some("web".parse().expect("a name")),
        deployment: None,
        instance: None,
        text: format!("task {task} went a step forward"),
    }
}

async fn writes(dir: &Path, tasks: usize, time: Duration) -> Run {
    let store = Store::open(dir, Timestamp::UNIX_EPOCH).expect("a store");
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    let event = event(task);
                    let written = store.write(move |tx| tx.append_event(event)).await;
                    written.map_err(|error: StoreError| error.to_string()).expect("durable");
                    waits.push(since.elapsed());
                }
                waits
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in running {
        waits.extend(task.await.expect("the task ends"));
    }
    let elapsed = begun.elapsed();
    let stored = store.read(ark_store::ReadTx::latest_event).await.expect("a number");
    assert_eq!(stored, waits.len() as u64, "every write that was counted is there");
    Run { transactions: waits.len() as u64, elapsed, waits }
}

async fn reads(dir: &Path, tasks: usize, time: Duration) -> Run {
    let store = Store::open(dir, Timestamp::UNIX_EPOCH).expect("a store");
    for task in 0..1_000 {
        let event = event(task);
        store.write(move |tx| tx.append_event(event)).await.expect("durable");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    let page = store.read(|tx| tx.events(&EventFilter::default(), 990, 1)).await;
                    assert_eq!(page.expect("a page").len(), 1);
                    waits.push(since.elapsed());
                }
                waits
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in running {
        waits.extend(task.await.expect("the task ends"));
    }
    Run { transactions: waits.len() as u64, elapsed: begun.elapsed(), waits }
}

/// One connection, one transaction per event, the same durability.
fn plain(dir: &Path, time: Duration) -> Run {
    drop(Store::open(dir, Timestamp::UNIX_EPOCH).expect("a store"));
    let conn = rusqlite::Connection::open(dir.join("ark.db")).expect("the database");
    conn.pragma_update(None, "synchronous", "FULL").expect("a setting");
    let sql = "INSERT INTO events (at, kind, env, app, body) VALUES (0, ?1, ?2, ?3, ?4)";
    let mut insert = conn.prepare(sql).expect("a statement");
    let mut waits = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let since = Instant::now();
        let body = serde_json::to_string(&event(0).text).expect("json");
        let values = ["deployment_progress", "production", "web", body.as_str()];
        insert.execute(values).expect("an event");
        waits.push(since.elapsed());
    }
    Run { transactions: waits.len() as u64, elapsed: begun.elapsed(), waits }
}

fn seconds() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--seconds");
    arguments.nth(1).and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn main() -> std::io::Result<()> {
    let time = Duration::from_secs(seconds());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| store on a file | per second | p50 ms | p99 ms | worst ms |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    let dir = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let fresh = dir()?;
    plain(fresh.path(), time).row(&mut out, "bare rusqlite, a transaction per event")?;
    for tasks in [1, 16, 256] {
        let fresh = dir()?;
        let mut run = runtime.block_on(writes(fresh.path(), tasks, time));
        run.row(&mut out, &format!("durable writes, {tasks} tasks"))?;
    }
    for tasks in [1, 16] {
        let fresh = dir()?;
        let mut run = runtime.block_on(reads(fresh.path(), tasks, time));
        run.row(&mut out, &format!("reads of one row, {tasks} tasks"))?;
    }
    Ok(())
}
