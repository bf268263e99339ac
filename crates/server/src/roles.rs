//! The roles of the binary, from the outside: `up` starts a server (and a gateway), the others are
//! passed on. Called by the command line; must not print.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_engine::{
    Cluster, ClusterOptions, DockerEngine, DockerOptions, Engine, HostEngines, ProcessEngine,
    Registries, RightsPolicy, StopOptions,
};
use ark_model::api::ShutdownRequest;
use ark_model::event::{EventKind, NewEvent};
use ark_store::{Blobs, Keyring, Store, StoreError};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use ark_engine::shim;
pub use ark_gateway::role as gateway;

pub use crate::data_dir::{SERVER_FILE, ServerFile, TOKEN_FILE};

use crate::auth::AllowedHosts;
use crate::error::ServerError;
use crate::nodes::{self, Nodes};
use crate::observations::Observations;
use crate::state::{ServerState, Shutdown};
use crate::webhooks::HttpWebhooks;
use crate::workflows::http::{Calls, HttpCaller, Ranges};
use crate::workflows::objects::{FileObjects, Objects};
use crate::workflows::s3::{S3Objects, S3Options};
use crate::workflows::{SystemEntropy, WorkflowWorld, Workflows};
use crate::world::{CONTROLLER_LEASE, Fence, Settings, SystemClock, SystemHost, SystemIds, World};
use crate::{api, data_dir, gateway_link, gateway_process, pushes, tasks};

/// How long the controller's lease lasts, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
/// The one server of a data directory: the directory's lock already keeps out a second one, so a
/// server that was killed may be followed at once.
const HOLDER: &str = "server of the data directory";
/// How long apps may take to end when everything is shut down, before they are killed.
const APPS_DEADLINE: Duration = Duration::from_secs(90);
/// How long the engine may take for one call of that, and how many are made at a time.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const KILLS_AT_ONCE: usize = 16;
/// The task that serves the API.
const THE_API: &str = "the API";
/// How long requests to it may take to end, before they are cut.
const API_GRACE: Duration = Duration::from_secs(6);
/// How long the gateway may take to end afterwards.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(15);
const GATEWAY_GRACE: Duration = Duration::from_secs(5);

/// Whether a gateway is kept running beside the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithGateway {
    /// `ark up`: one is adopted or started, and started again when it dies.
    Kept {
        /// Where it accepts requests.
        doors: Doors,
    },
    /// `ark server`: whichever serves the data directory.
    Found,
}

/// Where a gateway accepts requests. Port 0 is any port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// Without TLS.
    pub http: SocketAddr,
    /// With TLS.
    pub https: Option<SocketAddr>,
    /// Whether requests without TLS are sent to where it is spoken.
    pub redirect: bool,
    /// Which of `http` and `https` are behind a balancer that speaks the PROXY protocol.
    pub proxy_protocol: Vec<&'static str>,
    /// Further arguments of `ark gateway`: its log, its certificates.
    pub more: Vec<String>,
}

impl Doors {
    /// Without TLS only.
    pub fn plain(http: SocketAddr) -> Self {
        Self { http, https: None, redirect: false, proxy_protocol: Vec::new(), more: Vec::new() }
    }
}

/// What `ark up` and `ark server` are started with.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Where everything is kept. Made when it is not there.
    pub data_dir: PathBuf,
    /// Where the API listens. Port 0 is any port.
    pub api: SocketAddr,
    /// Host names by which the API may be addressed, beside `localhost` and IP addresses.
    pub allowed_hosts: Vec<String>,
    /// Where the workflow manager's API is served at the root, if anywhere. Port 0 is any port.
    pub workflow_manager: Option<SocketAddr>,
    /// Whether a gateway belongs to it.
    pub gateway: WithGateway,
    /// The `ark` program, to be run as gateway and as shim.
    pub exe: PathBuf,
    /// Where distributed Maps find objects; files under the data directory when nothing is said.
    pub s3: Option<S3Options>,
}

/// A server that is up.
pub struct Running {
    /// What was written for clients.
    pub file: ServerFile,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where the gateway accepts HTTP, when there is one.
    pub http: Option<SocketAddr>,
    state: Arc<ServerState>,
    world: World,
    tasks: JoinSet<&'static str>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("file", &self.file).finish_non_exhaustive()
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked; apps and gateway go on.
    ServerOnly,
    /// As asked; apps and gateway have ended too.
    Everything,
    /// One of its tasks ended by itself, which it must not.
    Fault(&'static str),
}

/// Starts a server. When this returns, the API answers, and the gateway (if one belongs to it)
/// accepts connections.
///
/// # Errors
/// See [`ServerError`]. Whatever runs already goes on running.
pub async fn up(options: UpOptions) -> Result<Running, ServerError> {
    if let Err(error) = ark_engine::open_files::raise() {
        tracing::warn!(%error, "limit of open files stays as it is");
    }
    let data_dir = data_dir::make(&options.data_dir)?;
    let now = Timestamp::now();
    let store = Store::open(&data_dir, now)?;
    let keyring = data_dir::keyring(&store, &data_dir).await?;
    let blobs = Blobs::open(&data_dir)?;
    let shim = vec![OsString::from(&options.exe), OsString::from("shim")];
    let registries = Registries::default();
    api::tell_registries(&store, &keyring, &registries).await?;
    let (local, like) = engines(&data_dir, shim, &registries)?;
    let cluster = Arc::new(Cluster::new(Arc::new(local), calls_at_once()?));
    let nodes = Arc::new(Nodes::new(cluster.clone(), data_dir.clone(), like));
    nodes.put_all(&store, &keyring).await?;
    let engine: Arc<dyn Engine> = cluster;
    let token_file = data_dir::admin_token(&store, &data_dir, now).await?;

    let listener = listen("API", options.api, "--api").await?;
    let api = listener.local_addr().map_err(|source| ServerError::Address {
        what: "API",
        address: options.api,
        source,
    })?;
    let manager = match options.workflow_manager {
        Some(address) => {
            Some(listen("workflow manager's API", address, "--workflow-manager").await?)
        }
        None => None,
    };
    let manager_at = manager.as_ref().and_then(|listener| listener.local_addr().ok());
    let gateway = match &options.gateway {
        WithGateway::Kept { doors } => {
            Some(gateway_process::ensure(&options.exe, &data_dir, doors).await?)
        }
        WithGateway::Found => ark_gateway::adopt::find(&data_dir),
    };
    let http = gateway.as_ref().and_then(|g| g.http.first().copied());
    let https = gateway.as_ref().and_then(|g| g.https.first().copied());

    let fence = lease(&store, now).await?;
    let observations = Arc::new(Observations::default());
    let world = World {
        store: store.clone(),
        blobs: blobs.clone(),
        keyring: Arc::new(keyring.clone()),
        engine: engine.clone(),
        observations: observations.clone(),
        route_changes: Arc::default(),
        halt: Arc::new(AtomicBool::new(false)),
        gateway_shutdown: watch::Sender::new(None),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        host: Arc::new(SystemHost),
        webhooks: Arc::new(HttpWebhooks::default()),
        settings: Arc::new(Settings::new(data_dir.clone())),
        fence,
        planted: None,
    };
    let settings = crate::state::Settings {
        data_dir: data_dir.clone(),
        api,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: now,
        allowed_hosts: AllowedHosts(options.allowed_hosts.clone()),
    };
    let workflows = Workflows::new(WorkflowWorld {
        store: store.clone(),
        clock: world.clock.clone(),
        entropy: Arc::new(SystemEntropy),
        fence,
    })
    .with_objects(objects(&options, &data_dir)?)
    .with_calls(calls(&keyring)?);
    let state = ServerState::new(store, blobs, keyring, engine, observations, workflows, settings)
        .with_registries(registries)
        .with_nodes(nodes);
    let state = Arc::new(state);
    let pushes = pushes::Runner {
        store: world.store.clone(),
        exe: options.exe.clone(),
        api: format!("http://{api}"),
        data_dir: data_dir.clone(),
    };
    let mut tasks = start_tasks(&world, &state, listener, &options, (http, https));
    tasks.spawn(async move {
        let why = pushes.run().await;
        tracing::error!(error = &why as &dyn std::error::Error, "pushes are no longer followed");
        "the loop of pushes"
    });
    if let Some(listener) = manager {
        let served = state.clone();
        tasks.spawn(async move {
            match api::serve_manager(listener, served).await {
                Ok(()) => tracing::info!("the workflow manager's API ended"),
                Err(error) => tracing::error!(%error, "the workflow manager's API ended"),
            }
            "the workflow manager's API"
        });
    }
    let file = ServerFile {
        api: format!("http://{api}"),
        workflow_manager: manager_at.map(|at| format!("http://{at}")),
        http: http.map(|http| format!("http://{http}")),
        https: https.map(|https| format!("https://{https}")),
        token_file,
        pid: std::process::id(),
        gateway_pid: gateway.map(|g| g.pid),
    };
    data_dir::announce(&data_dir, &file)?;
    announce(&world, now).await?;
    Ok(Running { file, api, http, state, world, tasks })
}

/// Where distributed Maps read their items and write their results.
fn objects(options: &UpOptions, data_dir: &Path) -> Result<Arc<dyn Objects>, ServerError> {
    Ok(match &options.s3 {
        Some(s3) => Arc::new(S3Objects::new(s3.clone()).map_err(ServerError::Objects)?),
        None => Arc::new(FileObjects::new(data_dir.join("objects"))),
    })
}

fn start_tasks(
    world: &World,
    state: &Arc<ServerState>,
    listener: TcpListener,
    options: &UpOptions,
    (http, https): (Option<SocketAddr>, Option<SocketAddr>),
) -> JoinSet<&'static str> {
    let mut tasks = JoinSet::new();
    let served = state.clone();
    tasks.spawn(async move {
        match api::serve(listener, served).await {
            Ok(()) => tracing::info!("the API ended"),
            Err(error) => tracing::error!(%error, "the API ended"),
        }
        THE_API
    });
    let w = world.clone();
    tasks.spawn(async move {
        gateway_link::run(w).await;
        "the link to the gateway"
    });
    let w = world.clone();
    tasks.spawn(async move {
        let why = tasks::deployments::run(w).await;
        tracing::error!(error = &why as &dyn std::error::Error, "deployments are no longer driven");
        "the deployment loop"
    });
    let w = world.clone();
    tasks.spawn(async move {
        let why = tasks::hooks::run(w).await;
        tracing::error!(error = &why as &dyn std::error::Error, "hooks are no longer driven");
        "the hooks of deployments"
    });
    let w = world.clone();
    tasks.spawn(async move {
        let why = tasks::runs::run(w).await;
        tracing::error!(error = &why as &dyn std::error::Error, "runs are no longer driven");
        "the loop of runs"
    });
    let w = world.clone();
    tasks.spawn(async move {
        let why = tasks::housekeeping::run(w).await;
        tracing::error!(error = &why as &dyn std::error::Error, "housekeeping ended");
        "housekeeping"
    });
    let w = world.clone();
    tasks.spawn(async move {
        let why = tasks::calls::run(w).await;
        tracing::error!(error = &why as &dyn std::error::Error, "calls are no longer noted");
        "the notes of who calls whom"
    });
    let workflows = state.workflows.clone();
    tasks.spawn(async move {
        let why = workflows.run().await;
        tracing::error!(error = &why as &dyn std::error::Error, "workflows are no longer driven");
        "the workflow runtime"
    });
    let (store, token) = (world.store.clone(), world.fence.token);
    tasks.spawn(async move {
        renew(store, token).await;
        "the controller's lease"
    });
    if let (WithGateway::Kept { doors }, Some(http)) = (&options.gateway, http) {
        let doors = Doors { http, https, ..doors.clone() };
        let (exe, dir, halt) =
            (options.exe.clone(), world.settings.data_dir.clone(), world.halt.clone());
        tasks.spawn(async move {
            let kept = gateway_process::keep(exe, dir, doors);
            let halted = async {
                while !halt.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::select! { () = kept => {}, () = halted => {} }
            // Everything is being shut down: this task has nothing more to do, which is no fault.
            std::future::pending::<()>().await;
            "the gateway's keeper"
        });
    }
    tasks
}

impl Running {
    /// A handle by which the server is asked to end, as a signal or `ark down` does.
    pub fn shutdown(&self) -> Shutdown {
        self.state.shutdown.clone()
    }

    /// Waits until the server is asked to end, ends it, and says how.
    pub async fn wait(mut self) -> Ended {
        let asked = self.state.shutdown.requested();
        let request = tokio::select! {
            // The API ends by the same wish; its end must not be taken for a fault.
            biased;
            request = asked => request,
            fault = self.tasks.join_next() => {
                let what = match fault {
                    Some(Ok(what)) => what,
                    Some(Err(_)) | None => "a task",
                };
                return Ended::Fault(what);
            }
        };
        if let ShutdownRequest { apps: true } = request {
            self.stop_everything().await;
            return Ended::Everything;
        }
        self.answer_waiting().await;
        self.tasks.shutdown().await;
        Ended::ServerOnly
    }

    /// Whoever waits for a task is answered that there is none, and what is being answered may be
    /// answered whole.
    async fn answer_waiting(&mut self) {
        self.state.workflows.close();
        let api_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if matches!(ended, Ok(THE_API)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(API_GRACE, api_ended).await.is_err() {
            tracing::warn!("requests to the API were cut: they did not end in time");
        }
    }

    async fn stop_everything(&mut self) {
        self.state.workflows.close();
        self.world.halt.store(true, Ordering::Relaxed);
        self.world.route_changes.mark_all();
        let until = Instant::now() + APPS_DEADLINE;
        loop {
            // A write wakes the loops at once; the halt itself is no record.
            // A deployment that has not ended may have a hook under way.
            let alive = self
                .world
                .store
                .write(|tx| -> Result<usize, StoreError> {
                    tx.put_meta("halt", "asked")?;
                    let ends =
                        tx.active_runs()?.len() + tx.unfinished_deployments()?.deployments.len();
                    Ok(tx.alive_instances()?.len() + ends)
                })
                .await;
            match alive {
                Ok(0) => break,
                _ if Instant::now() >= until => {
                    self.kill_apps().await;
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let _ = self.world.gateway_shutdown.send(Some(GATEWAY_GRACE));
        if !gateway_process::wait_gone(&self.world.settings.data_dir, GATEWAY_DEADLINE).await {
            tracing::error!("the gateway did not end");
        }
        self.tasks.shutdown().await;
    }

    async fn kill_apps(&self) {
        let engine = &self.world.engine;
        let Ok(Ok(sight)) = tokio::time::timeout(KILL_DEADLINE, engine.look()).await else {
            tracing::error!("the engine does not say what is to be killed");
            return;
        };
        for (kind, error) in sight.silent {
            tracing::error!(%kind, %error, "an engine does not say what is to be killed");
        }
        let kills = sight.seen.into_iter().map(|instance| async move {
            let options = StopOptions { grace: Duration::ZERO, ..StopOptions::default() };
            let killed = tokio::time::timeout(KILL_DEADLINE, engine.stop(instance.id, options));
            match killed.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "an instance could not be killed"),
                Err(_) => tracing::error!(id = %instance.id, "an instance was not killed in time"),
            }
        });
        stream::iter(kills).buffer_unordered(KILLS_AT_ONCE).collect::<Vec<()>>().await;
    }
}

/// The variable that says where the networks of environments get their addresses.
const DOCKER_ADDRESSES: &str = "ARK_DOCKER_ADDRESSES";

/// The variable that lets workflows call addresses in the server's own neighbourhood.
const HTTP_ALLOW: &str = "ARK_HTTP_INVOKE_ALLOW";

/// What tasks call over HTTP with.
fn calls(keyring: &Keyring) -> Result<Calls, ServerError> {
    let wrong = |detail: String| ServerError::Setting { name: HTTP_ALLOW, detail };
    let text = std::env::var(HTTP_ALLOW).unwrap_or_default();
    let ranges: Ranges = text.parse().map_err(wrong)?;
    let caller = HttpCaller::new(ranges).map_err(wrong)?;
    Ok(Calls { caller: Arc::new(caller), keyring: Arc::new(keyring.clone()) })
}

/// The variable that says how many calls to other hosts may be under way at once.
const NODES_AT_ONCE: &str = "ARK_NODES_AT_ONCE";

/// How other hosts are spoken to.
fn calls_at_once() -> Result<ClusterOptions, ServerError> {
    let mut options = ClusterOptions::default();
    if let Ok(text) = std::env::var(NODES_AT_ONCE) {
        let wrong = || ServerError::Setting {
            name: NODES_AT_ONCE,
            detail: format!("`{text}` is no number from 1 to 1000"),
        };
        options.parallel = text.parse().map_err(|_| wrong())?;
        if !(1..=1_000).contains(&options.parallel) {
            return Err(wrong());
        }
    }
    Ok(options)
}

/// Processes, and containers where a Docker engine answers.
fn engines(
    data_dir: &Path,
    shim: Vec<OsString>,
    registries: &Registries,
) -> Result<(HostEngines, DockerOptions), ServerError> {
    let processes = ProcessEngine::new(data_dir, shim).map_err(ServerError::Engine)?;
    let mut options = DockerOptions { registries: registries.clone(), ..DockerOptions::default() };
    match nodes::own_daemon(std::env::var("DOCKER_HOST").ok().as_deref()) {
        Ok(Some(socket)) => options.socket = socket,
        Ok(None) => {}
        Err(why) => {
            tracing::warn!("no containers on this host: {why}");
            options.none = Some(why);
        }
    }
    if let Ok(pool) = std::env::var(DOCKER_ADDRESSES) {
        let wrong = |detail| ServerError::Setting { name: DOCKER_ADDRESSES, detail };
        options.addresses = pool.parse().map_err(wrong)?;
    }
    let policy = &mut options.policy;
    for (name, list) in [
        (RightsPolicy::PRIVILEGED, &mut policy.privileged),
        (RightsPolicy::CAPABILITIES, &mut policy.capabilities),
        (RightsPolicy::WRITABLE_ROOT, &mut policy.writable_root),
    ] {
        if let Ok(allowed) = std::env::var(name) {
            *list = allowed.parse().map_err(|detail| ServerError::Setting { name, detail })?;
        }
    }
    let containers = DockerEngine::new(data_dir, options.clone()).map_err(ServerError::Engine)?;
    let joined = HostEngines::new(processes, containers, data_dir.join("docker").join("used"));
    Ok((joined, options))
}

async fn listen(
    what: &'static str,
    address: SocketAddr,
    flag: &'static str,
) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::AddressTaken { what, address, flag },
        _ => ServerError::Address { what, address, source },
    })
}

async fn lease(store: &Store, now: Timestamp) -> Result<Fence, ServerError> {
    let lease = store
        .write(move |tx| -> Result<_, StoreError> {
            match tx.acquire_lease(CONTROLLER_LEASE, HOLDER, now, LEASE)? {
                Some(lease) => Ok(Ok(lease)),
                None => Ok(Err(tx.lease(CONTROLLER_LEASE)?)),
            }
        })
        .await?;
    match lease {
        Ok(lease) => Ok(Fence { token: lease.token }),
        Err(held) => {
            Err(ServerError::Controlled { until: held.map_or(now, |lease| lease.expires_at) })
        }
    }
}

/// Renews the lease until it is lost. A store that does not answer for a while is no loss: nobody
/// else can take the lease from it either.
async fn renew(store: Store, token: u64) {
    loop {
        tokio::time::sleep(RENEW).await;
        let now = Timestamp::now();
        match store.write(move |tx| tx.renew_lease(CONTROLLER_LEASE, token, now, LEASE)).await {
            Ok(()) => {}
            Err(StoreError::StaleLease { .. }) => return,
            Err(error) => tracing::warn!(%error, "the controller's lease could not be renewed"),
        }
    }
}

async fn announce(world: &World, now: Timestamp) -> Result<(), ServerError> {
    let text = format!("ark {} started, process {}", env!("CARGO_PKG_VERSION"), std::process::id());
    world
        .store
        .write(move |tx| {
            tx.append_event(NewEvent::of_server(EventKind::ServerStarted, "ark", now, text))
        })
        .await?;
    Ok(())
}
