//! The control thread's loop: puts tables in force, makes reports and checkpoints, and ends the
//! gateway in order. It alone owns the registry; everyone else sends it requests. It must not be
//! waited for by anything that serves. How it takes the place of another, and gives up its own, stands in
//! `succession`.

mod succession;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_model::gateway::{LostBoot, Report, RouteReport, TargetReport};
use ark_model::ids::{BootId, Generation};
use ark_model::route::{ContainerNetwork, RouteTable};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::acme::Acme;
use crate::clock::NEVER;
use crate::control::Request;
use crate::health::Probes;
use crate::listen::{self, Door, Presence};
use crate::metrics::Totals;
use crate::predecessor::Predecessor;
use crate::registry::{Compiled, Registry};
use crate::saved::{self, Checkpoint};
use crate::table::RouteSlot;
use crate::worker::{Entry, Message, Shared};

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Reports per checkpoint.
const REPORTS_PER_CHECKPOINT: u32 = 4;
/// Between two reports that are made because readiness changed.
const REPORT_PAUSE: Duration = Duration::from_millis(10);
/// How long a worker may take to install a table. It takes microseconds; a worker that does not
/// answer is broken, and then nothing may be acknowledged.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first probes of a table from disk are waited for before connections are accepted.
const FIRST_PROBES_MAX: Duration = Duration::from_secs(3);
/// How often the files of certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(1);
/// How long a discovery port that is taken is left before it is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What tells a supervisor what it must know of its gateway.
pub(crate) type Observer = Box<dyn FnMut(News<'_>) + Send>;

/// What a supervisor must know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News<'a> {
    /// A discovery port is listened on with this socket: it is kept over a restart.
    PortOpened(SocketAddr, &'a TcpListener),
    /// It is no longer listened on.
    PortClosed(SocketAddr),
    /// Another gateway has taken over: nothing is accepted here any more.
    Retired,
}

/// See the module.
pub(crate) struct Conductor {
    pub(crate) data_dir: PathBuf,
    pub(crate) boot: BootId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Registry,
    pub(crate) probes: Probes,
    pub(crate) reports: watch::Sender<Arc<Report>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    /// Listening sockets of discovery ports, those taken over from a gateway before included.
    pub(crate) ports: HashMap<SocketAddr, Port>,
    pub(crate) observer: Observer,
    pub(crate) applied: Option<Arc<RouteTable>>,
    pub(crate) seq: u64,
    /// Sums for who asks for metrics; brought up to date once a second.
    pub(crate) totals: Arc<Mutex<Totals>>,
    /// Lives before this one that the server has not stored, and the first report that told it.
    pub(crate) lost: Vec<LostBoot>,
    pub(crate) lost_told: Option<u64>,
    /// The gateway that this one replaces, until it has ended.
    pub(crate) predecessor: Option<Predecessor>,
    /// Of the last report what was measured here alone.
    pub(crate) own: Option<(Vec<TargetReport>, Vec<RouteReport>)>,
    /// Whether another gateway has taken over: files and ports are its.
    pub(crate) retired: bool,
    /// Ports wanted by the table that are taken by someone else.
    pub(crate) missing: HashMap<SocketAddr, PortUse>,
}

/// A discovery port that is listened on.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// What workers accept for; `None` until there is something.
    pub(crate) serves: Option<PortUse>,
}

/// What a discovery port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortUse {
    /// The route to which every connection belongs.
    pub(crate) route: RouteSlot,
    /// Who is served: containers of this network, and nobody who only found a way to its address.
    /// `None` on loopback.
    pub(crate) network: Option<ContainerNetwork>,
}

/// What a gateway begins with, and what is said on the way.
pub(crate) struct Beginning {
    pub(crate) doors: Vec<(TcpListener, Door)>,
    pub(crate) saved: Option<RouteTable>,
    /// Said when the saved table's targets were probed.
    pub(crate) probed: oneshot::Sender<()>,
    /// Heard when this gateway's socket is there: the gateway to replace, if there is one.
    pub(crate) predecessor: oneshot::Receiver<Option<Predecessor>>,
    /// Said when connections are accepted.
    pub(crate) listening: oneshot::Sender<()>,
}

impl Conductor {
    /// Serves the saved table, takes over from the gateway before, then listens, then follows
    /// requests until the end.
    pub(crate) async fn run(mut self, beginning: Beginning) {
        let Beginning { doors, saved, probed, predecessor, listening } = beginning;
        let mut ports = HashMap::new();
        if let Some(table) = saved {
            ports = self.begin_with(table).await;
        }
        let _ = probed.send(());
        if let Ok(Some(predecessor)) = predecessor.await {
            ports = self.take_over(predecessor, ports).await;
        }
        self.open_ports(ports);
        for (listener, door) in &doors {
            start_listening(&self.shared, listener, Entry::Http(*door), None);
        }
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.retire().await;
        }
        let _watching = AbortOnDrop(tokio::spawn(watch_certificates(self.shared.clone())));
        let getting = self.get_certificates();
        let _ = listening.send(());
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count: u32 = 0;
        let shared = self.shared.clone();
        let grace_ms = loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Apply { table, answer }) => {
                        let applied = self.apply(*table).await;
                        self.report();
                        let _ = answer.send(applied);
                    }
                    Some(Request::Stored { seq }) => self.stored(seq),
                    Some(Request::Retire { grace_ms }) => {
                        // From now on they are the other's to get.
                        drop(getting);
                        return self.retire(grace_ms).await;
                    }
                    Some(Request::Shutdown { grace_ms }) => break grace_ms,
                    None => break 0,
                },
                said = succession::hear(&mut self.predecessor) => self.heard(said).await,
                () = shared.readiness_changed.notified() => {
                    self.report();
                    sleep(REPORT_PAUSE).await;
                }
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.report();
                    if count.is_multiple_of(REPORTS_PER_CHECKPOINT) {
                        self.listen_again();
                        self.take_in_totals();
                        self.checkpoint(false).await;
                    }
                }
            }
        };
        self.end(grace_ms).await;
    }

    /// Begins to get certificates, where that is wanted.
    fn get_certificates(&self) -> Option<AbortOnDrop> {
        let tls = self.shared.tls.get()?;
        let directory = self.data_dir.join(crate::tls::certificates::DIRECTORY);
        let keeping = crate::acme::keep(tls.acme.clone()?, tls.certificates.clone(), directory);
        Some(AbortOnDrop(tokio::spawn(keeping)))
    }

    /// Puts a table in force; returns when no request can be admitted under the one before.
    async fn apply(&mut self, table: RouteTable) -> Result<(), String> {
        Registry::check(&table)?;
        if let Some(applied) = &self.applied {
            let (new, old) = (table.generation, applied.generation);
            if new < old {
                return Err(format!("{} is older than {}", words(new), words(old)));
            }
            if new == old {
                return match **applied == table {
                    true => Ok(()),
                    false => Err(format!("{} is in force with another content", words(new))),
                };
            }
        }
        let table = Arc::new(table);
        if self.retired {
            return self.install(table).await.map(drop);
        }
        let (data_dir, saved) = (self.data_dir.clone(), table.clone());
        tokio::task::spawn_blocking(move || saved::write_table(&data_dir, &saved))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| with_sources(&error))?;
        let installed = self.install(table.clone()).await?;
        self.open_ports(installed.ports);
        if let Some(predecessor) = &mut self.predecessor
            && !predecessor.apply(&table).await
        {
            self.lose_predecessor().await;
        }
        Ok(())
    }

    async fn install(&mut self, table: Arc<RouteTable>) -> Result<Compiled, String> {
        let compiled = self.registry.compile(&table);
        self.probes.set(compiled.probed.clone());
        let mut answers = Vec::new();
        for worker in 0..self.shared.loads.len() {
            let (done, answer) = oneshot::channel();
            let (table, changes) = (compiled.table.clone(), compiled.changes.clone());
            self.shared.send(worker, Message::Install { table, changes, done });
            answers.push(answer);
        }
        for answer in answers {
            match timeout(INSTALL_TIMEOUT, answer).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err("a worker thread does not answer".to_owned()),
            }
        }
        self.registry.installed();
        if let Some(acme) = self.shared.tls.get().and_then(|tls| tls.acme.as_ref()) {
            acme.table(&table);
        }
        self.applied = Some(table);
        Ok(compiled)
    }

    /// Installs the table of the life before, and waits until each of its targets was probed: it may
    /// have ended meanwhile. Until then connections wait in the backlog. Returns the ports that are
    /// wanted.
    async fn begin_with(&mut self, table: RouteTable) -> HashMap<SocketAddr, PortUse> {
        let installed = match self.install(Arc::new(table)).await {
            Ok(installed) => installed,
            Err(reason) => {
                tracing::error!(reason, "saved route table cannot be installed");
                return HashMap::new();
            }
        };
        let until = Instant::now() + FIRST_PROBES_MAX;
        while Instant::now() < until && installed.probed.iter().any(|p| !p.target.is_probed()) {
            sleep(Duration::from_millis(5)).await;
        }
        installed.ports
    }

    /// Listens on the ports the table wants, and no longer on others.
    fn open_ports(&mut self, mut wanted: HashMap<SocketAddr, PortUse>) {
        let mut gone = Vec::new();
        for (address, open) in &mut self.ports {
            let now = wanted.remove(address);
            if now == open.serves && now.is_some() {
                continue;
            }
            if open.serves.is_some() {
                tell_all(&self.shared, || Message::Unlisten { address: *address });
            }
            open.serves = now;
            match now {
                Some(serves) => serve_port(&self.shared, &open.listener, serves),
                None => gone.push(*address),
            }
        }
        for address in gone {
            self.ports.remove(&address);
            (self.observer)(News::PortClosed(address));
        }
        self.missing = wanted;
        self.listen_again();
    }

    /// Opens the ports that are still missing.
    fn listen_again(&mut self) {
        for (address, serves) in std::mem::take(&mut self.missing) {
            let presence = match serves.network {
                Some(_) => Presence::Later,
                None => Presence::Now,
            };
            match listen::bind(address, presence) {
                Ok(listener) => {
                    (self.observer)(News::PortOpened(address, &listener));
                    serve_port(&self.shared, &listener, serves);
                    self.ports.insert(address, Port { listener, serves: Some(serves) });
                }
                Err(error) => {
                    tracing::error!(
                        %address, error = %with_sources(&error), again_in = ?LISTEN_AGAIN,
                        "discovery port cannot be listened on"
                    );
                    self.missing.insert(address, serves);
                }
            }
        }
    }

    fn report(&mut self) {
        self.seq += 1;
        let (mut targets, mut routes) = self.registry.report(self.seq);
        self.own = None;
        if let Some(predecessor) = &self.predecessor {
            self.own = Some((targets.clone(), routes.clone()));
            predecessor.add_inside(&mut targets, &mut routes);
        }
        if !self.lost.is_empty() {
            self.lost_told.get_or_insert(self.seq);
        }
        let calls = self.shared.calls.report(|slot| self.registry.key(slot));
        self.reports.send_replace(Arc::new(Report {
            boot: self.boot,
            seq: self.seq,
            applied: self.applied.as_ref().map(|table| table.generation),
            targets,
            routes,
            refusals: self.shared.refusals.report(),
            lost: self.lost.clone(),
            certificates: self.acme().map(|acme| acme.news.report(self.seq)).unwrap_or_default(),
            calls,
        }));
    }

    fn take_in_totals(&self) {
        let latest = self.reports.borrow().clone();
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).take_in(&latest);
    }

    /// What gets certificates, unless another gateway does so by now.
    fn acme(&self) -> Option<&Acme> {
        let tls = self.shared.tls.get().filter(|_| !self.retired)?;
        tls.acme.as_deref()
    }

    fn stored(&mut self, seq: u64) {
        self.registry.stored(seq);
        if let Some(acme) = self.acme() {
            acme.news.stored(seq);
        }
        if self.lost_told.is_some_and(|told| told <= seq) {
            self.lost.clear();
            self.lost_told = None;
        }
    }

    async fn checkpoint(&mut self, ended: bool) {
        if self.retired {
            return;
        }
        // What is inside the gateway before is not lost with this one.
        let (targets, routes) = self.own.clone().unwrap_or_else(|| {
            let latest = self.reports.borrow().clone();
            (latest.targets.clone(), latest.routes.clone())
        });
        let (boot, at, lost) = (self.boot, Timestamp::now(), self.lost.clone());
        let checkpoint = Checkpoint { boot, at, ended, targets, routes, lost };
        let data_dir = self.data_dir.clone();
        let written = tokio::task::spawn_blocking(move || checkpoint.write(&data_dir)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(error = %with_sources(&error), "counters are not checkpointed");
        }
    }

    /// Stops accepting, lets requests end for at most `grace_ms`, and says what was counted.
    async fn end(mut self, grace_ms: u64) {
        let until_ms = self.shared.clock.now_ms().saturating_add(grace_ms).min(NEVER - 1);
        tell_all(&self.shared, || Message::Stop { until_ms });
        let mut ticks = interval(REPORT_EVERY);
        while self.shared.connections() > 0 && self.shared.clock.now_ms() < until_ms {
            tokio::select! {
                _ = ticks.tick() => self.report(),
                request = self.requests.recv() => match request {
                    Some(Request::Stored { seq }) => self.stored(seq),
                    Some(Request::Apply { answer, .. }) => {
                        let _ = answer.send(Err("the gateway is ending".to_owned()));
                    }
                    // Asked again, with no patience left: then at once.
                    Some(Request::Shutdown { grace_ms: 0 }) | None => break,
                    Some(Request::Shutdown { .. } | Request::Retire { .. }) => {}
                },
            }
        }
        self.end_now().await;
    }

    /// Ends what is still open, and says what was counted.
    async fn end_now(mut self) {
        let now_ms = self.shared.clock.now_ms();
        tell_all(&self.shared, || Message::Stop { until_ms: now_ms });
        // Workers count what they drop as cut; they end within a few ticks.
        sleep(crate::worker::TICK * 3).await;
        self.report();
        self.say_last_report().await;
        self.checkpoint(true).await;
    }

    /// Gives the server a moment to store the last report.
    async fn say_last_report(&mut self) {
        let last = self.seq;
        let stored = async {
            while let Some(request) = self.requests.recv().await {
                if let Request::Stored { seq } = request
                    && seq >= last
                {
                    return;
                }
            }
        };
        if self.reports.receiver_count() > 1 {
            let _ = timeout(REPORT_EVERY, stored).await;
        }
    }
}

/// Looks at the files of certificates, so that one that was renewed is served.
async fn watch_certificates(shared: Arc<Shared>) {
    let Some(tls) = shared.tls.get() else { return };
    let certificates = tls.certificates.clone();
    loop {
        sleep(CERTIFICATES_EVERY).await;
        let looked = certificates.clone();
        let problems = tokio::task::spawn_blocking(move || looked.look()).await;
        crate::tls::log(&problems.unwrap_or_default());
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn words(generation: Generation) -> String {
    format!("generation {}.{}", generation.epoch, generation.number)
}

fn tell_all(shared: &Shared, mut message: impl FnMut() -> Message) {
    (0..shared.loads.len()).for_each(|worker| shared.send(worker, message()));
}

fn serve_port(shared: &Shared, listener: &TcpListener, serves: PortUse) {
    start_listening(shared, listener, Entry::Port(serves.route), serves.network);
}

/// Each worker accepts from a descriptor of its own of the same socket.
fn start_listening(
    shared: &Shared,
    listener: &TcpListener,
    entry: Entry,
    only: Option<ContainerNetwork>,
) {
    for worker in 0..shared.loads.len() {
        match listener.try_clone() {
            Ok(listener) => shared.send(worker, Message::Listen { listener, entry, only }),
            Err(error) => tracing::error!(%error, "listening socket cannot be shared"),
        }
    }
}

/// An error with its causes, for a log line or a refusal.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
