//! The threads of a store: one writer, and a few readers that share a queue.
//!
//! Started by `store`; they end when the last [`crate::Store`] is dropped and the queues are
//! empty. Nothing here knows what the closures do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::error::StoreError;
use crate::group::{Changed, Job, panicked, run_group};
use crate::store::Options;
use crate::tx::{ReadTx, WriteTx};

/// A group takes in no further closure after this long, so that slow closures do not make the
/// quick ones before them wait for the whole group.
const GROUP_TIME_MAX: Duration = Duration::from_millis(10);

/// A read closure, its types forgotten.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&ReadTx, StoreError>) + Send>;

/// A write that waits to be run.
pub(crate) struct QueuedWrite {
    pub(crate) job: Box<dyn Job>,
    pub(crate) since: Instant,
}

/// A read that waits to be run. It is told the state, or why there is none.
pub(crate) struct QueuedRead {
    pub(crate) job: ReadJob,
    pub(crate) since: Instant,
}

/// What one thread of an in-memory store serves: both kinds on one connection.
pub(crate) enum Queued {
    Write(QueuedWrite),
    Read(QueuedRead),
}

/// Starts the writer. It keeps `held` (the lock of the directory) until it has closed the database.
pub(crate) fn writer(
    mut tx: WriteTx,
    mut queue: mpsc::Receiver<Queued>,
    commits: watch::Sender<u64>,
    options: Options,
    held: Option<crate::data_dir::DirLock>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("ark-store-write".into()).spawn(move || {
        // A read found while a group is collected ends that group and comes next.
        let mut stashed: Option<QueuedRead> = None;
        loop {
            if let Some(read) = stashed.take() {
                serve_read(tx_read(&tx), read, options.queue_wait_max);
            }
            match queue.blocking_recv() {
                None => break,
                Some(Queued::Read(read)) => serve_read(tx_read(&tx), read, options.queue_wait_max),
                Some(Queued::Write(first)) => {
                    stashed = serve_group(&mut tx, first, &mut queue, &commits, &options);
                }
            }
        }
        drop(tx);
        drop(held);
    })
}

fn tx_read(tx: &WriteTx) -> &ReadTx {
    tx
}

fn serve_group(
    tx: &mut WriteTx,
    first: QueuedWrite,
    queue: &mut mpsc::Receiver<Queued>,
    commits: &watch::Sender<u64>,
    options: &Options,
) -> Option<QueuedRead> {
    let begun = Instant::now();
    let mut first = Some(first);
    let mut stashed = None;
    let mut taken = 0;
    let (jobs, committed) = run_group(tx, || {
        loop {
            if taken >= options.group_max || (taken > 0 && begun.elapsed() > GROUP_TIME_MAX) {
                return None;
            }
            let write = match first.take() {
                Some(write) => write,
                None => match queue.try_recv() {
                    Ok(Queued::Write(write)) => write,
                    Ok(Queued::Read(read)) => {
                        stashed = Some(read);
                        taken = options.group_max;
                        return None;
                    }
                    Err(_) => return None,
                },
            };
            let waited = write.since.elapsed();
            if waited > options.queue_wait_max {
                write.job.answer(Some(busy(waited)));
                continue;
            }
            taken += 1;
            return Some(write.job);
        }
    });
    answer(jobs, committed, commits);
    stashed
}

/// Publishes the commit and gives all answers. Published first, so that whoever has an answer
/// finds a sequence number that covers it.
pub(crate) fn answer(
    jobs: Vec<Box<dyn Job>>,
    committed: Result<Changed, StoreError>,
    commits: &watch::Sender<u64>,
) {
    let failure = match committed {
        Ok(Changed::Something) => {
            commits.send_modify(|sequence| *sequence += 1);
            None
        }
        Ok(Changed::Nothing) => None,
        Err(error) => {
            tracing::error!(%error, closures = jobs.len(), "store: a group was not committed");
            Some(error)
        }
    };
    for job in jobs {
        job.answer(failure.clone());
    }
}

/// Starts a reader. All readers take from one queue.
pub(crate) fn reader(
    tx: ReadTx,
    queue: Arc<Mutex<mpsc::Receiver<QueuedRead>>>,
    wait_max: Duration,
    number: usize,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("ark-store-read{number}")).spawn(move || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            match next {
                Some(read) => serve_read(&tx, read, wait_max),
                None => break,
            }
        }
    })
}

fn serve_read(tx: &ReadTx, read: QueuedRead, wait_max: Duration) {
    let waited = read.since.elapsed();
    if waited > wait_max {
        return (read.job)(Err(busy(waited)));
    }
    in_read_transaction(tx, read.job);
}

/// Runs `job` on one consistent state.
fn in_read_transaction(tx: &ReadTx, job: ReadJob) {
    if let Err(error) = tx.conn().execute_batch("BEGIN DEFERRED") {
        return job(Err(error.into()));
    }
    job(Ok(tx));
    // Nothing was written, so either ending does; a failure shows at the next BEGIN.
    let _ = tx.conn().execute_batch("ROLLBACK");
}

/// Runs a read closure; a panic becomes an error and the thread lives on.
pub(crate) fn guarded<T, E: From<StoreError>>(
    tx: &ReadTx,
    closure: impl FnOnce(&ReadTx) -> Result<T, E>,
) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(|| closure(tx)))
        .unwrap_or_else(|panic| Err(E::from(panicked(&*panic))))
}

pub(crate) fn busy(waited: Duration) -> StoreError {
    StoreError::Busy { waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) }
}
