//! A whole gateway within this process: its threads and how they are started and ended. Used by
//! `role` in a process of its own, and by tests.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ark_model::gateway::Report;
use ark_model::ids::BootId;
use ark_model::instance::ProcessIdentity;
use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log::{AccessLog, Sink};
use crate::acme::{self, Acme};
use crate::adopt::IdentityFile;
use crate::clock::millis;
use crate::conductor::{Beginning, Conductor, Observer, Port};
use crate::control::{self, Desk, Request};
use crate::data_dir;
use crate::error::{Error, Result};
use crate::health::Probes;
use crate::listen::Door;
use crate::metrics::Totals;
use crate::predecessor;
use crate::registry::Registry;
use crate::role::Config;
use crate::worker::{Shared, Tls, Worker};
use crate::{process, saved, tls};

/// How many requests of the server may wait.
const REQUESTS_MAX: usize = 64;

/// How a gateway is started.
#[derive(Debug)]
pub struct Options {
    /// Where its socket and files are.
    pub data_dir: PathBuf,
    /// Sockets on which HTTP is accepted, listening, and how each is entered.
    pub doors: Vec<(TcpListener, Door)>,
    /// Listening sockets of discovery ports, from a gateway before.
    pub ports: HashMap<SocketAddr, TcpListener>,
    /// Worker threads; at least one.
    pub workers: usize,
    /// Who starts it anew when it dies.
    pub supervisor: Option<ProcessIdentity>,
    /// Whether and where requests are logged.
    pub access_log: Option<AccessLog>,
    /// Whether and where certificates are got.
    pub acme: Option<acme::Options>,
}

impl Options {
    /// For `data_dir`, listening on `http`, with a worker per core.
    pub fn new(data_dir: impl Into<PathBuf>, http: &[SocketAddr]) -> Result<Self> {
        let config = Config { http: http.to_vec(), ..Config::default() };
        Self::of(Config { data_dir: data_dir.into(), ..config })
    }

    /// As `config` says, with a worker per core.
    pub fn of(config: Config) -> Result<Self> {
        let (access_log, acme) = (config.access_log, config.acme.clone());
        Ok(Self {
            doors: config.open_doors()?,
            data_dir: config.data_dir,
            ports: HashMap::new(),
            workers: default_workers(),
            supervisor: None,
            access_log,
            acme,
        })
    }
}

/// A worker per core, at most 64.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(64)
}

/// A running gateway. Dropping it ends it at once.
#[derive(Debug)]
pub struct Gateway {
    boot: BootId,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    requests: mpsc::Sender<Request>,
    control: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts all threads. Returns when connections are accepted: the saved table, if there is
    /// one, is in force and its targets were probed.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_observed(options, Box::new(|_| {}))
    }

    pub(crate) fn start_observed(options: Options, observer: Observer) -> Result<Self> {
        let Options { data_dir, doors, ports, workers, supervisor, access_log, acme } = options;
        let count = workers.max(1);
        let addresses = |tls: bool| -> Result<Vec<SocketAddr>> {
            let of_kind = doors.iter().filter(|(_, door)| door.tls == tls);
            of_kind
                .map(|(listener, _)| {
                    listener.local_addr().map_err(Error::start("listening socket"))
                })
                .collect()
        };
        let (http, https) = (addresses(false)?, addresses(true)?);
        let shared = Arc::new(Shared::new(count));
        if !https.is_empty() {
            let directory = data_dir.join(tls::certificates::DIRECTORY);
            let acme = acme.map(|options| Arc::new(Acme::new(options, !http.is_empty())));
            let certificates = Arc::new(tls::Certificates::new(directory, acme.clone()));
            tls::log(&certificates.look());
            let config = tls::config(certificates.clone())?;
            // Freshly made, so it is empty.
            let _ = shared.tls.set(Tls { config, certificates, acme });
        }
        if let Some(log) = access_log {
            // Freshly made, so it is empty.
            let _ = shared.access_log.set(Sink::start(log, &data_dir)?);
        }
        let boot = BootId(uuid::Uuid::now_v7());
        let workers = start_workers(&shared, count)?;
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let first = Report {
            boot,
            seq: 0,
            applied: None,
            targets: vec![],
            routes: vec![],
            refusals: BTreeMap::new(),
            lost: vec![],
            certificates: vec![],
            calls: vec![],
        };
        let (reports, latest) = watch::channel(Arc::new(first));
        let totals = Arc::<Mutex<Totals>>::default();
        let conductor = Conductor {
            boot,
            registry: Registry::new(count, shared.clock),
            probes: Probes::start(shared.clone())?,
            shared,
            reports,
            requests: incoming,
            ports: ports
                .into_iter()
                .map(|(address, listener)| (address, Port { listener, serves: None }))
                .collect(),
            observer,
            applied: None,
            seq: 0,
            totals: totals.clone(),
            lost: saved::read_lost(&data_dir),
            lost_told: None,
            missing: HashMap::new(),
            predecessor: None,
            own: None,
            retired: false,
            data_dir: data_dir.clone(),
        };
        let own = process::own_identity();
        let identity = IdentityFile {
            pid: own.pid,
            start_ticks: own.start_ticks,
            boot,
            http: http.clone(),
            https: https.clone(),
            supervisor_pid: supervisor.map(|process| process.pid),
            supervisor_start_ticks: supervisor.map(|process| process.start_ticks),
        };
        let desk =
            Desk { boot, http: http.clone(), requests: requests.clone(), reports: latest, totals };
        let control = start_control(conductor, doors, desk, identity, data_dir)?;
        Ok(Self { boot, http, https, requests, control: Some(control), workers })
    }

    /// This life of the gateway.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// The addresses on which HTTP is accepted.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The addresses on which HTTP over TLS is accepted.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Asks it to end: nothing new is accepted, requests may end for at most `grace`.
    pub fn stop(&self, grace: Duration) {
        // A full queue means that it hears of ending from elsewhere, or is asked again.
        let _ = self.requests.try_send(Request::Shutdown { grace_ms: millis(grace) });
    }

    pub(crate) fn requests(&self) -> mpsc::Sender<Request> {
        self.requests.clone()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
        self.workers.drain(..).for_each(|worker| {
            let _ = worker.join();
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.control.is_some() {
            self.stop(Duration::ZERO);
            self.join();
        }
    }
}

fn start_workers(shared: &Arc<Shared>, count: usize) -> Result<Vec<JoinHandle<()>>> {
    let (mailboxes, incoming): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    // Freshly made, so it is empty.
    let _ = shared.mailboxes.set(mailboxes);
    let start = |(index, mailbox)| {
        let shared = shared.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let worker = Worker::new(index, shared, rand::random());
                    runtime.block_on(worker.run(mailbox));
                }
                Err(error) => tracing::error!(%error, index, "worker has no runtime"),
            }
        };
        let run = move || or_abort(run);
        std::thread::Builder::new()
            .name(format!("ark-worker-{index}"))
            .spawn(run)
            .map_err(Error::start("worker thread"))
    };
    incoming.into_iter().enumerate().map(start).collect()
}

/// A gateway that has lost a thread would go on serving half of everything; its supervisor starts a
/// whole one. (A panic within one connection ends that connection alone.)
fn or_abort(run: impl FnOnce()) {
    /// Whatever becomes of the last words.
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        let _abort = Abort;
        tracing::error!("a thread of the gateway has panicked; the gateway ends");
    }
}

/// After how many tasks a worker looks for new events. A task is one step of one connection, so
/// looking rarely lets many steps share one system call.
const EVENT_INTERVAL: u32 = 61;

fn start_control(
    conductor: Conductor,
    doors: Vec<(TcpListener, Door)>,
    desk: Desk,
    identity: IdentityFile,
    data_dir: PathBuf,
) -> Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(Error::start("runtime for control"))?;
    let (ready, is_ready) = std::sync::mpsc::channel();
    let run = move || {
        runtime.block_on(async move {
            let saved = saved::read_table(&data_dir);
            let (probed, is_probed) = oneshot::channel();
            let (took_over, predecessor) = oneshot::channel();
            let (listening, is_listening) = oneshot::channel();
            let beginning = Beginning { doors, saved, probed, predecessor, listening };
            let conducting = tokio::spawn(conductor.run(beginning));
            let opened = async {
                let _ = is_probed.await;
                let before = predecessor::find(&data_dir).await;
                let socket = control::bind(&data_dir)?;
                identity.write(&data_dir)?;
                let before = match before {
                    Some(before) => before.take_over().await?,
                    None => None,
                };
                let _ = took_over.send(before);
                let _ = is_listening.await;
                Ok(socket)
            };
            match opened.await {
                Ok(socket) => {
                    let _ = ready.send(Ok(()));
                    tokio::select! {
                        _ = conducting => {}
                        () = control::run(socket, desk) => {}
                    }
                    close(&data_dir, &identity);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name("ark-control".to_owned())
        .spawn(move || or_abort(run))
        .map_err(Error::start("control thread"))?;
    match is_ready.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let ended = std::io::Error::other("it ended before it was ready");
            Err(Error::Start { what: "control thread", source: ended })
        }
    }
}

/// Takes away what says that a gateway is here, unless another one has taken over.
fn close(data_dir: &std::path::Path, identity: &IdentityFile) {
    let path = data_dir.join(data_dir::IDENTITY);
    let ours = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<IdentityFile>(&bytes).ok())
        .is_some_and(|written| written.boot == identity.boot);
    if ours {
        let _ = std::fs::remove_file(path);
        let _ = std::fs::remove_file(data_dir.join(data_dir::SOCKET));
    }
}
