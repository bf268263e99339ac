//! [`Store`]: the handle that is cloned into every part of the server.
//!
//! Three shapes, one interface: on a file (writer thread and reader threads), in memory (one
//! thread for both), and inline in memory (no thread at all: the closure runs where the future is
//! polled), which the deterministic simulator needs.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::connection::{LOCK_WAIT_MAX, open_file, open_memory, open_reader};
use crate::error::StoreError;
use crate::group::{Closure, Job, run_group};
use crate::threads::{self, Queued, QueuedRead, QueuedWrite, busy, guarded};
use crate::tx::{ReadTx, WriteTx};

/// Limits of a store. The defaults are what the server uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most closures that wait to be written; the same again for reads.
    pub queue_max: usize,
    /// The longest a closure waits in the queue, or for a place in it, before it is refused with
    /// [`StoreError::Busy`].
    pub queue_wait_max: Duration,
    /// The most closures in one transaction.
    pub group_max: usize,
    /// Reader threads of a store on a file.
    pub readers: usize,
    /// The most pages of 4 KiB that the database may have; `None` leaves it to the disk.
    pub pages_max: Option<u32>,
    /// How long a transaction waits for the lock of another program (a backup, `sqlite3`), before it is
    /// refused with [`StoreError::Locked`].
    pub lock_wait_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_max: 4_096,
            queue_wait_max: Duration::from_secs(10),
            group_max: 256,
            readers: 4,
            pages_max: None,
            lock_wait_max: LOCK_WAIT_MAX,
        }
    }
}

/// What Ark remembers. Cheap to clone; the database is closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    commits: watch::Receiver<u64>,
    queue_wait_max: Duration,
}

#[derive(Debug)]
enum Mode {
    Threads(Threads),
    Inline { tx: Mutex<WriteTx>, commits: watch::Sender<u64> },
}

#[derive(Debug)]
struct Threads {
    /// Taken out when the store is closed: that ends the threads.
    queues: Option<Queues>,
    handles: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    writes: mpsc::Sender<Queued>,
    /// Without readers (in memory), reads take the writer's queue.
    reads: Option<mpsc::Sender<QueuedRead>>,
}

impl Store {
    /// Opens `<data_dir>/ark.db`, creating directory and database if there are none; `now` becomes
    /// the epoch of a new one. Blocks while it reads.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Corrupt`], [`StoreError::Newer`], or the disk's.
    pub fn open(data_dir: impl AsRef<Path>, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_with(data_dir, now, Options::default())
    }

    /// [`Store::open`] with limits of one's own.
    pub fn open_with(
        data_dir: impl AsRef<Path>,
        now: Timestamp,
        options: Options,
    ) -> Result<Self, StoreError> {
        let dir = data_dir.as_ref();
        crate::data_dir::create(dir)?;
        let lock = crate::data_dir::lock(dir)?;
        let conn = open_file(dir, now)?;
        conn.busy_timeout(options.lock_wait_max)?;
        if let Some(pages) = options.pages_max {
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        let (reads, queue) = mpsc::channel(options.queue_max.max(1));
        let queue = Arc::new(Mutex::new(queue));
        let mut handles = Vec::new();
        for number in 0..options.readers.max(1) {
            let tx = ReadTx::new(open_reader(dir)?);
            let handle = threads::reader(tx, queue.clone(), options.queue_wait_max, number)
                .map_err(StoreError::file("start a reader of", dir))?;
            handles.push(handle);
        }
        Self::threaded(conn, Some(reads), handles, options, Some(lock))
    }

    /// A store in memory with a thread of its own, for tests.
    pub fn in_memory(now: Timestamp) -> Result<Self, StoreError> {
        Self::threaded(open_memory(now)?, None, Vec::new(), Options::default(), None)
    }

    /// A store in memory without any thread, for the simulator. A closure runs where its future is
    /// polled; each write yields once before it runs and once after its commit, each read once
    /// after it ran, so that a scheduler can let others run, or crash, at each of these points.
    pub fn inline_in_memory(now: Timestamp) -> Result<Self, StoreError> {
        let tx = Mutex::new(WriteTx::new(open_memory(now)?));
        let (commits, receiver) = watch::channel(0);
        let mode = Mode::Inline { tx, commits };
        let queue_wait_max = Options::default().queue_wait_max;
        Ok(Self { inner: Arc::new(Inner { mode, commits: receiver, queue_wait_max }) })
    }

    fn threaded(
        conn: rusqlite::Connection,
        reads: Option<mpsc::Sender<QueuedRead>>,
        mut handles: Vec<JoinHandle<()>>,
        options: Options,
        lock: Option<crate::data_dir::DirLock>,
    ) -> Result<Self, StoreError> {
        let (writes, queue) = mpsc::channel(options.queue_max.max(1));
        let (sender, commits) = watch::channel(0);
        let queue_wait_max = options.queue_wait_max;
        let handle = threads::writer(WriteTx::new(conn), queue, sender, options, lock)
            .map_err(StoreError::file("start the writer of", "the store"))?;
        handles.push(handle);
        let mode = Mode::Threads(Threads { queues: Some(Queues { writes, reads }), handles });
        Ok(Self { inner: Arc::new(Inner { mode, commits, queue_wait_max }) })
    }

    /// Runs `closure` in a transaction, all or nothing, and answers once it is durable. Closures
    /// run one after the other in the order in which the futures were first polled. An `Err` from
    /// the closure undoes what it wrote.
    ///
    /// Dropping the future after its first poll does not stop the closure.
    ///
    /// # Errors
    /// The closure's own; else `E::from` of [`StoreError::Busy`] or [`StoreError::Closed`] (it did
    /// not run), of [`StoreError::DiskFull`] (nothing of it is kept), or of [`StoreError::Io`] (the
    /// disk failed while it was made durable: whether it is kept shows only after a restart).
    pub fn write<T, E, F>(&self, closure: F) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        F: FnOnce(&mut WriteTx) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let inner = self.inner.clone();
        async move {
            match &inner.mode {
                Mode::Inline { tx, commits } => {
                    yield_once().await;
                    let result = run_inline(tx, commits, closure);
                    yield_once().await;
                    result
                }
                Mode::Threads(threads) => {
                    let (sender, receiver) = oneshot::channel();
                    let answer = move |result| {
                        // Nobody waits any more: the write stands all the same.
                        let _ = sender.send(result);
                    };
                    let job: Box<dyn Job> = Box::new(Closure::new(closure, answer));
                    let queued = Queued::Write(QueuedWrite { job, since: Instant::now() });
                    send(threads.writes()?, queued, inner.queue_wait_max).await?;
                    receiver.await.unwrap_or_else(|_| Err(E::from(StoreError::Closed)))
                }
            }
        }
    }

    /// Runs `closure` on one consistent state, which holds everything that was acknowledged before
    /// the call. Reads do not wait for writes.
    ///
    /// # Errors
    /// The closure's own; else `E::from` of [`StoreError::Busy`] or [`StoreError::Closed`].
    pub fn read<T, E, F>(&self, closure: F) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        F: FnOnce(&ReadTx) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let inner = self.inner.clone();
        async move {
            match &inner.mode {
                Mode::Inline { tx, .. } => {
                    let result = {
                        let tx = tx.lock().unwrap_or_else(PoisonError::into_inner);
                        guarded(&tx, closure)
                    };
                    yield_once().await;
                    result
                }
                Mode::Threads(threads) => {
                    let (sender, receiver) = oneshot::channel();
                    let job = Box::new(move |tx: Result<&ReadTx, StoreError>| {
                        let result = match tx {
                            Ok(tx) => guarded(tx, closure),
                            Err(error) => Err(E::from(error)),
                        };
                        // Nobody waits any more: nothing is lost.
                        let _ = sender.send(result);
                    });
                    let queued = QueuedRead { job, since: Instant::now() };
                    match threads.reads()? {
                        Some(reads) => send(reads, queued, inner.queue_wait_max).await?,
                        None => {
                            let queued = Queued::Read(queued);
                            send(threads.writes()?, queued, inner.queue_wait_max).await?;
                        }
                    }
                    receiver.await.unwrap_or_else(|_| Err(E::from(StoreError::Closed)))
                }
            }
        }
    }

    /// A number that grows with each commit that changed something, within this life of the store.
    /// Mark it seen *before* reading, so that nothing is missed between reading and waiting.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.clone()
    }
}

impl Threads {
    fn writes(&self) -> Result<&mpsc::Sender<Queued>, StoreError> {
        self.queues.as_ref().map(|queues| &queues.writes).ok_or(StoreError::Closed)
    }

    fn reads(&self) -> Result<Option<&mpsc::Sender<QueuedRead>>, StoreError> {
        self.queues.as_ref().map(|queues| queues.reads.as_ref()).ok_or(StoreError::Closed)
    }
}

impl Drop for Threads {
    /// Waits until the threads have written what was queued and closed the database, so that the
    /// directory can be opened again at once.
    fn drop(&mut self) {
        self.queues = None;
        let this = std::thread::current().id();
        for handle in self.handles.drain(..) {
            // The last handle may have been dropped by a closure, on a thread of the store.
            if handle.thread().id() != this {
                // A thread that panicked has nothing left to wait for.
                let _ = handle.join();
            }
        }
    }
}

/// Lets others run once. Not tokio's: the simulator polls on an executor of its own, which must be
/// woken at once.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn send<Q, E: From<StoreError>>(
    queue: &mpsc::Sender<Q>,
    item: Q,
    wait_max: Duration,
) -> Result<(), E> {
    let item = match queue.try_send(item) {
        Ok(()) => return Ok(()),
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(E::from(StoreError::Closed)),
        Err(mpsc::error::TrySendError::Full(item)) => item,
    };
    match tokio::time::timeout(wait_max, queue.send(item)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(E::from(StoreError::Closed)),
        Err(_) => Err(E::from(busy(wait_max))),
    }
}

fn run_inline<T, E, F>(
    tx: &Mutex<WriteTx>,
    commits: &watch::Sender<u64>,
    closure: F,
) -> Result<T, E>
where
    F: FnOnce(&mut WriteTx) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (sender, mut receiver) = oneshot::channel();
    let answer = move |result| {
        // The receiver lives in this very function.
        let _ = sender.send(result);
    };
    let mut job: Option<Box<dyn Job>> = Some(Box::new(Closure::new(closure, answer)));
    let mut tx = tx.lock().unwrap_or_else(PoisonError::into_inner);
    let (jobs, committed) = run_group(&mut tx, || job.take());
    drop(tx);
    threads::answer(jobs, committed, commits);
    receiver.try_recv().unwrap_or_else(|_| Err(E::from(StoreError::Closed)))
}
