//! What every request of the API is served from. Made once by the server's start, shared by all
//! handlers; holds no state of its own beyond limits and the wish to end: what is to be remembered
//! is in the store.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ark_engine::{Engine, Registries};
use ark_model::api::ShutdownRequest;
use ark_store::{Blobs, Keyring, Store};
use jiff::Timestamp;
use tokio::sync::{RwLock, Semaphore, watch};

use crate::api::KeptApps;
use crate::auth::AllowedHosts;
use crate::nodes::Nodes;
use crate::observations::Observations;
use crate::workflows::Workflows;

/// The most requests that are worked on at once; more are answered 503.
const REQUESTS_MAX: usize = 512;
/// The most streams (events, logs, exec) open at once; more are answered 503.
const STREAMS_MAX: usize = 512;
/// The most calls of the wire API that wait for a task or an execution; more are told to come again.
const POLLS_MAX: usize = 4_096;
/// The most push events that are read at once.
const PUSHES_MAX: usize = 8;
/// Tests of workflows' states at once.
const TESTS_MAX: usize = 64;
/// The most uploads at once.
const UPLOADS_MAX: usize = 32;

/// What the server was started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the API listens; the port is the one that was bound.
    pub api: SocketAddr,
    /// Version of the program.
    pub version: String,
    /// When the server started.
    pub started_at: Timestamp,
    /// Host names under which the API may be addressed.
    pub allowed_hosts: AllowedHosts,
}

/// See the module.
pub struct ServerState {
    /// What Ark remembers.
    pub store: Store,
    /// Contents of artifacts.
    pub blobs: Blobs,
    /// Encrypts secrets.
    pub keyring: Keyring,
    /// What runs instances.
    pub engine: Arc<dyn Engine>,
    /// The registries that the engine knows.
    pub(crate) registries: Registries,
    /// Held while the engine is told of them: what was read last is told last.
    pub(crate) registries_told: tokio::sync::Mutex<()>,
    /// The hosts beside this one.
    pub(crate) nodes: Option<Arc<Nodes>>,
    /// Places for push events that are being read.
    pub(crate) pushes: Arc<Semaphore>,
    /// What the gateway said.
    pub observations: Arc<Observations>,
    /// The workflow runtime.
    pub workflows: Workflows,
    /// What the server was started with.
    pub settings: Settings,
    /// The wish to end.
    pub shutdown: Shutdown,
    /// What was read of apps, for lists of them.
    pub(crate) kept_apps: KeptApps,
    /// Places for requests.
    pub(crate) requests: Arc<Semaphore>,
    /// Places for streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Places for calls that wait.
    pub(crate) polls: Arc<Semaphore>,
    /// Places for tests of workflows' states, which may wait for a call.
    pub(crate) tests: Arc<Semaphore>,
    /// Places for uploads.
    pub(crate) uploads: Arc<Semaphore>,
    /// Held for reading from the look at blobs to the record that needs them, for writing by
    /// whoever deletes blobs: what was promised to be there is not deleted in between.
    pub(crate) blobs_in_use: Arc<RwLock<()>>,
}

impl ServerState {
    /// The state of a server that has just started.
    pub fn new(
        store: Store,
        blobs: Blobs,
        keyring: Keyring,
        engine: Arc<dyn Engine>,
        observations: Arc<Observations>,
        workflows: Workflows,
        settings: Settings,
    ) -> Self {
        Self {
            store,
            blobs,
            keyring,
            engine,
            registries: Registries::default(),
            registries_told: tokio::sync::Mutex::default(),
            nodes: None,
            pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
            observations,
            workflows,
            settings,
            shutdown: Shutdown::default(),
            kept_apps: KeptApps::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            polls: Arc::new(Semaphore::new(POLLS_MAX)),
            tests: Arc::new(Semaphore::new(TESTS_MAX)),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            blobs_in_use: Arc::default(),
        }
    }

    /// The same, with the registries that its engine looks into.
    #[must_use]
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { registries, ..self }
    }

    /// The same, with the hosts that its engine joins.
    #[must_use]
    pub(crate) fn with_nodes(self, nodes: Arc<Nodes>) -> Self {
        Self { nodes: Some(nodes), ..self }
    }
}

/// The wish that the server ends; expressed by `ark down` or a signal, followed by everything that
/// would otherwise go on for ever.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Option<ShutdownRequest>>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Shutdown {
    /// Asks the server to end. Asking again can only add that apps are stopped, too.
    pub fn request(&self, request: ShutdownRequest) {
        self.0.send_modify(|asked| {
            let apps = request.apps || asked.is_some_and(|asked| asked.apps);
            *asked = Some(ShutdownRequest { apps });
        });
    }

    /// Whether the server is to end.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves once the server is to end, with what was asked for.
    pub fn requested(&self) -> impl Future<Output = ShutdownRequest> + Send + 'static {
        let mut wish = self.0.subscribe();
        async move {
            loop {
                if let Some(request) = *wish.borrow_and_update() {
                    return request;
                }
                if wish.changed().await.is_err() {
                    // Nobody is left who could ask: this process ends anyway.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
