//! The Docker engine: instances are labelled containers of a Docker or Podman engine, spoken to by
//! the Engine API. The server's tasks call it through [`Engine`]; a new object over the same data
//! directory and the same daemon sees and rules everything an earlier one started (adoption).
//!
//! The daemon is the truth: containers carry who they are in labels, and what the daemon says of
//! them is what [`Engine::list`] says. What a container cannot carry stands in files of
//! `<data-dir>/docker` (see [`place::Place`]): a start whose container is not there yet, the instant at
//! which a stop was asked for, the log of a container that was removed. Nothing is believed
//! from memory: what is cached here is dropped at every event of the daemon.
//!
//! It never asks the daemon to restart a container: replacing what ended is the planner's work.

mod base;
mod build;
mod buildkit;
mod config;
mod connection;
mod events;
mod exec;
mod images;
mod launch;
mod logs;
mod network;
mod observe;
mod place;
mod policy;
mod raw;
mod registry;
mod remove;
mod ssh;
mod stats;
mod stop;
mod subnets;
mod terminal;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_model::definition::Rights;
use ark_model::ids::{AppName, EnvName, InstanceId};
use ark_model::instance::{EngineState, ObservedInstance};
use ark_model::route::ContainerNetwork;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::connection::Connection;
use self::observe::Cache;
use self::place::Place;
pub use self::policy::{AppList, RightsPolicy};
pub use self::registry::{Registries, Registry};
pub use self::ssh::SshDaemon;
pub use self::subnets::AddressPool;
pub use self::tls::TlsDaemon;
use crate::engine::{
    ArtifactSource, BuildSpec, BuildStream, Capabilities, Enforcement, Engine, EngineError,
    EngineKind, ExecSession, ExecSpec, LogQuery, LogStream, StartSpec, Stats, StopOptions,
};

/// How a Docker engine is set up.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The daemon's socket: Docker's, or Podman's.
    pub socket: PathBuf,
    /// Why there is no daemon to speak to, instead of its socket.
    pub none: Option<String>,
    /// The daemon over TCP, instead of its socket.
    pub tls: Option<TlsDaemon>,
    /// The daemon by SSH, instead of its socket.
    pub ssh: Option<SshDaemon>,
    /// Whether the daemon is another host's: its processes and networks are not this host's, and ports
    /// are published there.
    pub elsewhere: bool,
    /// How long the log of a removed instance stays readable.
    pub log_retention: Duration,
    /// Of how many removed instances logs are kept at the most; the oldest go first.
    pub removed_max: usize,
    /// How long the daemon may take over one call as a whole. Following, building, fetching an image and
    /// saving a log have their own bounds.
    pub answer: Duration,
    /// How long an image may take to be pulled.
    pub pull_timeout: Duration,
    /// Linux capabilities that an instance keeps; all others are dropped.
    pub capabilities: Vec<String>,
    /// Where the networks of environments get their addresses.
    pub addresses: AddressPool,
    /// Registries to fetch images from and to send built ones to.
    pub registries: Registries,
    /// Which apps may have which rights; no other is ever started with them.
    pub policy: RightsPolicy,
    /// How often everything is looked at without an event.
    pub look_every: Duration,
}

impl Default for DockerOptions {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/var/run/docker.sock"),
            none: None,
            tls: None,
            ssh: None,
            elsewhere: false,
            log_retention: Duration::from_secs(24 * 3_600),
            removed_max: 500,
            answer: Duration::from_secs(20),
            pull_timeout: Duration::from_secs(600),
            capabilities: vec!["NET_BIND_SERVICE".to_owned()],
            addresses: AddressPool::default(),
            registries: Registries::default(),
            policy: RightsPolicy::default(),
            look_every: Duration::from_secs(30),
        }
    }
}

/// Runs instances as containers.
pub struct DockerEngine {
    inner: Arc<Inner>,
    follower: JoinHandle<()>,
}

/// What the engine's calls and its background work share.
struct Inner {
    connection: Connection,
    place: Place,
    /// Tells this Ark's containers from those of another on the same daemon.
    cluster: String,
    options: DockerOptions,
    cache: Cache,
    changes: watch::Sender<u64>,
    /// Instances that a task of this object prepares or stops at this moment: what is done to one
    /// instance is done by one at a time.
    busy: Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>,
    /// Starts that a task of this object goes on with: one image is not fetched twice for one of them.
    going: Mutex<BTreeSet<InstanceId>>,
    /// Instances that a task of this object removes.
    removing: Mutex<BTreeSet<InstanceId>>,
    /// Held while a network is looked for and made.
    networks: Arc<tokio::sync::Mutex<()>>,
    /// Shared while a container is made, whole while networks are removed: one that only a container
    /// not started yet needs is not in use for the daemon.
    joining: tokio::sync::RwLock<()>,
    /// The networks as last seen; also in a file.
    seen: Mutex<BTreeMap<EnvName, ContainerNetwork>>,
    /// Held while an image is built.
    building: Arc<tokio::sync::Mutex<()>>,
}

impl DockerEngine {
    /// An engine over the daemon at `options.socket`, with its files under `<data_dir>/docker`. The
    /// daemon need not answer yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when its directory cannot be made or read.
    pub fn new(data_dir: &Path, options: DockerOptions) -> Result<Self, EngineError> {
        let failed = |e| unavailable("make the directory of containers", e);
        let place = Place::open(&data_dir.join("docker")).map_err(failed)?;
        let cluster = place.cluster().map_err(failed)?;
        let seen = Mutex::new(place.networks());
        let inner = Arc::new(Inner {
            connection: Connection::new(&options),
            place,
            cluster,
            options,
            cache: Cache::default(),
            changes: watch::Sender::new(0),
            busy: Mutex::default(),
            going: Mutex::default(),
            removing: Mutex::default(),
            networks: Arc::default(),
            joining: tokio::sync::RwLock::default(),
            seen,
            building: Arc::default(),
        });
        let follower = tokio::spawn(events::follow(Arc::downgrade(&inner)));
        Ok(Self { inner, follower })
    }

    async fn within<T>(
        &self,
        action: &str,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        within(self.inner.options.answer, action, call).await
    }

    /// Forgets, for a daemon that is spoken to no more, what starts under `data_dir` wait for: it holds
    /// values. An engine over the same place knows the rest again.
    ///
    /// # Errors
    /// The system's, when it cannot be deleted.
    pub fn forget_starts(data_dir: &Path) -> std::io::Result<()> {
        Place::forget_pending(&data_dir.join("docker"))
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Inner {
    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Held while something is done to one instance.
    async fn hold(&self, id: InstanceId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(id).or_default())
        };
        lock.lock_owned().await
    }

    /// Fails unless the instance's main process runs.
    async fn running(&self, id: InstanceId) -> Result<(), EngineError> {
        match self.find(id).await?.map(|seen| seen.state) {
            None | Some(EngineState::Gone) => Err(EngineError::Unknown(id)),
            Some(EngineState::Running { .. } | EngineState::Stopping { .. }) => Ok(()),
            Some(
                EngineState::Preparing
                | EngineState::Exited { .. }
                | EngineState::StartFailed { .. },
            ) => Err(EngineError::NotRunning(id)),
        }
    }
}

/// A call with its deadline: a daemon that hangs answers none.
async fn within<T>(
    deadline: Duration,
    action: &str,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let late = |_| Err(unavailable(action, format!("no answer within {deadline:?}")));
    tokio::time::timeout(deadline, call).await.unwrap_or_else(late)
}

/// The name of an instance's container.
fn container_name(id: InstanceId) -> String {
    format!("ark-{id}")
}

fn refused(detail: String) -> EngineError {
    EngineError::Refused { engine: EngineKind::Docker, detail }
}

fn unavailable(
    action: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> EngineError {
    EngineError::Unavailable {
        engine: EngineKind::Docker,
        action: action.to_owned(),
        source: std::io::Error::other(source),
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    fn capabilities(&self) -> Capabilities {
        let limit = |missing: bool, what: &str| match missing {
            false => Enforcement::Enforced,
            true => Enforcement::NotEnforced {
                reason: format!("the Docker engine's host has no {what} control group"),
            },
        };
        let missing = self.inner.connection.missing_limits();
        Capabilities {
            memory_limit: limit(missing.memory, "memory"),
            cpu_limit: limit(missing.cpu, "cpu"),
            pids_limit: limit(missing.pids, "pids"),
            // A container's processes share a pid namespace that ends with its first.
            kill_everything: Enforcement::Enforced,
            app_isolation: Enforcement::Enforced,
        }
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.within("look for an image", self.inner.digest(reference)).await
    }

    async fn published_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.within("ask a registry for an image", self.inner.published(reference)).await
    }

    async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        self.within("look for an image", self.inner.keep_image(reference)).await
    }

    async fn build(&self, spec: BuildSpec) -> Result<BuildStream, EngineError> {
        Inner::build(&self.inner, spec).await
    }

    async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        self.inner.remove_images(keep, age).await
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        match &spec.artifact {
            ArtifactSource::Image { .. } => {}
            ArtifactSource::Directory { .. } | ArtifactSource::None => {
                return Err(refused(
                    "it runs images, and this release has none; deploy one with `--image`, or \
                     give the app `run.command` to run it as a process"
                        .to_owned(),
                ));
            }
        }
        if let Some(why) = self.inner.refusal(spec) {
            return Err(refused(why));
        }
        Inner::start(&self.inner, spec).await
    }

    fn refuses(&self, env: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        self.inner.options.policy.refusal(env, app, rights)
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        self.within("stop a container", Inner::stop(&self.inner, id, options)).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        Inner::remove(&self.inner, id).await
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        self.within("list containers", self.inner.list()).await
    }

    fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        self.inner.seen_networks()
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        self.within("open a log", Inner::logs(&self.inner, id, query)).await
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.within("start a command", self.inner.exec(id, spec)).await
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        self.within("ask for a container's use", self.inner.stats(id)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }
}
