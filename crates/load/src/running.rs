//! A load in progress: the loop that follows the schedule, and the handle to watch and
//! stop it. Started by [`crate::Load::start`]; classifies nothing itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::{Driver, Load, Pace};
use crate::connection::Pool;
use crate::drivers::Client;
use crate::ledger::{Ledger, Try};
use crate::report::Report;
use crate::schedule::{Deal, arrival_offset};

/// Pause between two looks of [`Running::wait_until`].
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How many arrivals may be begun before the loop looks at anything else: after the
/// machine slept, the whole backlog must not be one burst without a yield.
const BURST_MAX: usize = 256;

/// A load in progress. Dropping it ends the load at once.
#[derive(Debug)]
pub struct Running {
    ledger: Ledger,
    stop: watch::Sender<bool>,
    ended: Option<oneshot::Receiver<()>>,
    /// Present until dropped.
    runtime: Option<Runtime>,
}

impl Running {
    pub(crate) fn start(load: Load) -> Result<Self, io::Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(load.threads)
            .thread_name("ark-load")
            .enable_all()
            .build()?;
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let ledger = Ledger::new(&load);
        let client = Arc::new(Client {
            pool: Pool::new(load.keep_alive_connections),
            ledger: ledger.clone(),
            load,
            stopping,
        });
        runtime.spawn(async move {
            run(client).await;
            // The handle may be gone; then nobody waits.
            let _ = end.send(());
        });
        Ok(Self { ledger, stop, ended: Some(ended), runtime: Some(runtime) })
    }

    /// What has been counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Report {
        self.ledger.report(false)
    }

    /// Waits until a snapshot satisfies `enough`, at most for `limit`; returns the last
    /// snapshot as `Ok` if it did and as `Err` if not. Needs a tokio runtime.
    ///
    /// # Errors
    /// The last snapshot, when the limit passed.
    pub async fn wait_until(
        &self,
        limit: Duration,
        enough: impl Fn(&Report) -> bool,
    ) -> Result<Report, Box<Report>> {
        let deadline = Instant::now() + limit;
        loop {
            let report = self.snapshot();
            if enough(&report) {
                return Ok(report);
            }
            if Instant::now() >= deadline {
                return Err(Box::new(report));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Ends the load: no new attempts, streams are closed by this client, requests in
    /// flight may finish until the stop timeout (after it they are `abandoned`). Works
    /// on any executor.
    pub async fn stop(mut self) -> Report {
        // Without receivers the loop has ended already.
        let _ = self.stop.send(true);
        if let Some(ended) = self.ended.take() {
            // An error means that the loop is gone: nothing is left to wait for.
            let _ = ended.await;
        }
        self.ledger.report(true)
    }

    /// [`Running::stop`] for callers outside of any async runtime.
    #[must_use]
    pub fn stop_blocking(mut self) -> Report {
        let _ = self.stop.send(true);
        if let Some(ended) = self.ended.take() {
            let _ = ended.blocking_recv();
        }
        self.ledger.report(true)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not the runtime's own drop: it blocks, which async callers must not.
            runtime.shutdown_background();
        }
    }
}

async fn run(client: Arc<Client>) {
    let mut tasks = JoinSet::new();
    let streams = [(Driver::Sse, client.load.sse_streams), (Driver::Ws, client.load.websockets)];
    for (driver, count) in streams {
        for _ in 0..count {
            let client = Arc::clone(&client);
            tasks.spawn(async move { client.hold(driver).await });
        }
    }
    let held = tasks.len();
    match client.load.pace {
        _ if client.load.mix.is_empty() => {
            client.stopped().await;
        }
        Pace::Rate { per_second } => open_loop(&client, per_second, held, &mut tasks).await,
        Pace::Closed { workers } => {
            for number in 0..workers {
                tasks.spawn(closed_loop(Arc::clone(&client), number));
            }
            client.stopped().await;
        }
    }
    let all_done = async { while tasks.join_next().await.is_some() {} };
    if timeout(client.load.stop_timeout, all_done).await.is_err() {
        // Aborted attempts drop their tickets, which are then entered as abandoned.
        tasks.shutdown().await;
    }
}

/// Begins attempts by the schedule until the run stops.
async fn open_loop(client: &Arc<Client>, per_second: f64, held: usize, tasks: &mut JoinSet<()>) {
    let mut deal = Deal::new(&client.load.mix);
    let start = client.ledger.started();
    let mut index = 0_u64;
    loop {
        while tasks.try_join_next().is_some() {}
        let now = Instant::now();
        for _ in 0..BURST_MAX {
            let intended = start + arrival_offset(index, per_second);
            if intended > now {
                break;
            }
            index += 1;
            let Some(driver) = deal.next() else { return };
            if tasks.len() >= held + client.load.in_flight_max {
                client.ledger.overflow();
                continue;
            }
            let ticket = client.ledger.start(driver, intended, Try::First);
            let client = Arc::clone(client);
            tasks.spawn(async move { client.run(ticket).await });
        }
        let next = start + arrival_offset(index, per_second);
        tokio::select! {
            () = client.stopped() => return,
            () = sleep_until(next) => {}
        }
    }
}

/// Makes one attempt after another until the run stops.
async fn closed_loop(client: Arc<Client>, number: usize) {
    let mut deal = Deal::new(&client.load.mix);
    // Workers begin at different places of the mix.
    for _ in 0..number {
        deal.next();
    }
    while !client.is_stopping()
        && let Some(driver) = deal.next()
    {
        let ticket = client.ledger.start(driver, Instant::now(), Try::First);
        client.run(ticket).await;
    }
}
