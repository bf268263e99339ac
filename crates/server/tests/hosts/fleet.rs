//! Hundreds of simulated hosts: fake engines that take a moment for each call, count the calls under
//! way, and may fall silent, as one cluster under the real deployment loop. Time is tokio's, paused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_engine::fake::{Behaviour, Call as FakeCall, Ending, FakeEngine};
use ark_engine::{
    Capabilities, Cluster, ClusterOptions, Engine, EngineError, EngineKind, ExecSession, ExecSpec,
    LogQuery, LogStream, Node, StartSpec, Stats, StopOptions,
};
use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, Run, RunKind};
use ark_model::deployment::{DeploymentKind, Strategy};
use ark_model::environment::{AppState, EnvKind, EnvState, Environment};
use ark_model::instance::{EngineState, InstanceRecord, ObservedInstance, StartFailure};
use ark_model::release::ReleaseContent;
use ark_model::{AppName, Deployment, DeploymentId, EnvName, InstanceId, NodeName, ReleaseNumber};
use ark_server::gateway_link::RouteChanges;
use ark_server::observations::Observations;
use ark_server::tasks::deployments;
use ark_server::tasks::round::TaskError;
use ark_server::webhooks::{Question, Reply, Webhooks};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, Host, Settings, SystemIds, World};
use ark_store::{Blobs, Keyring, NewRelease, NodeRecord, Store, StoreError, WriteTx};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a host takes for a call.
const CALL: Duration = Duration::from_millis(20);
/// How long it takes to remove its image that nobody needs.
pub(crate) const REMOVING: Duration = Duration::from_secs(60);

/// Calls under way, and the most there ever were.
#[derive(Default)]
pub(crate) struct Meter {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Call<'a>(&'a Meter);

impl Meter {
    fn enter(&self) -> Call<'_> {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        Call(self)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// A simulated host.
pub(crate) struct Remote {
    fake: FakeEngine,
    silent: AtomicBool,
    own: Meter,
    all: Arc<Meter>,
}

impl Remote {
    /// A silent host never answers; what was asked before is not carried out either.
    async fn answer(&self) -> (Call<'_>, Call<'_>) {
        if self.silent.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let calls = (self.own.enter(), self.all.enter());
        tokio::time::sleep(CALL).await;
        calls
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, SeqCst);
    }

    pub(crate) fn most_calls(&self) -> usize {
        self.own.most()
    }

    /// What really runs there, whoever may ask.
    pub(crate) async fn running(&self) -> Vec<ReleaseNumber> {
        let runs = |i: &ObservedInstance| matches!(i.state, EngineState::Running { .. });
        let all = self.fake.list().await.unwrap();
        all.iter().filter(|i| runs(i)).map(|i| i.release).collect()
    }
}

#[async_trait]
impl Engine for Remote {
    fn kind(&self) -> EngineKind {
        EngineKind::Fake
    }
    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }
    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        let _call = self.answer().await;
        self.fake.start(spec).await
    }
    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        let _call = self.answer().await;
        self.fake.stop(id, options).await
    }
    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        let _call = self.answer().await;
        self.fake.remove(id).await
    }
    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let _call = self.answer().await;
        self.fake.list().await
    }
    async fn remove_images(&self, _: &BTreeSet<String>, _: Duration) -> Result<u64, EngineError> {
        drop(self.answer().await);
        tokio::time::sleep(REMOVING).await;
        Ok(1)
    }
    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        let _call = self.answer().await;
        self.fake.logs(id, query).await
    }
    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.fake.exec(id, spec).await
    }
    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        self.fake.stats(id).await
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.fake.changes()
    }
}

#[derive(Debug, Clone, Copy)]
struct Time {
    epoch: Timestamp,
    begun: Instant,
}

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        self.epoch + SignedDuration::try_from(self.begun.elapsed()).unwrap()
    }
    fn passed(&self) -> Duration {
        self.begun.elapsed()
    }
    async fn sleep_until(&self, at: Timestamp) {
        let wait = at.duration_since(self.now());
        tokio::time::sleep(wait.try_into().unwrap_or_default()).await;
    }
}

#[derive(Debug)]
struct NoPorts;

#[async_trait]
impl Host for NoPorts {
    async fn resolve(&self, _: &str) -> Vec<std::net::IpAddr> {
        Vec::new()
    }

    async fn connect(&self, _: std::net::SocketAddr) -> std::io::Result<()> {
        Ok(())
    }

    fn listening_ports(&self) -> BTreeSet<u16> {
        BTreeSet::new()
    }
}

#[derive(Debug)]
struct NoWebhooks;

#[async_trait]
impl Webhooks for NoWebhooks {
    async fn ask(&self, _: Question) -> Result<Reply, String> {
        Err("there are none".to_owned())
    }
}

pub(crate) struct Fleet {
    pub(crate) remotes: BTreeMap<NodeName, Arc<Remote>>,
    pub(crate) calls: Arc<Meter>,
    pub(crate) cluster: Arc<Cluster>,
    options: ClusterOptions,
    time: Time,
    /// Whether Ark's own host cannot say what it runs.
    pub(crate) ill_here: Arc<AtomicBool>,
    world: World,
    driven: JoinHandle<TaskError>,
    deployments: Mutex<u128>,
    broken: Broken,
    _dir: tempfile::TempDir,
}

pub(crate) fn env() -> EnvName {
    "production".parse().unwrap()
}

pub(crate) fn app() -> AppName {
    "agent".parse().unwrap()
}

pub(crate) fn node(n: usize) -> NodeName {
    format!("host-{n:03}").parse().unwrap()
}

pub(crate) fn definition(kind: RunKind, count: u32) -> Definition {
    let mut definition = Definition { run: Run::of_kind(kind), ..Definition::default() };
    definition.run.command = Some(vec!["./agent".into()]);
    definition.autoscaling.min_count = (kind == RunKind::Worker).then_some(count);
    definition
}

/// What becomes of a release on a host.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It ends soon after its start.
    Ends,
    /// There is no way to its image.
    NoImage,
}

type Broken = Arc<Mutex<BTreeMap<(NodeName, ReleaseNumber), Fault>>>;

fn fake(time: Time, broken: &Broken) -> FakeEngine {
    let broken = broken.clone();
    let script = move |spec: &StartSpec| {
        let fault = broken.lock().unwrap().get(&(spec.node.clone(), spec.release)).copied();
        let well = Behaviour::default();
        match fault {
            None => well,
            Some(Fault::Ends) => {
                Behaviour { ends: Some((Duration::from_secs(2), Ending::Code(1))), ..well }
            }
            Some(Fault::NoImage) => {
                let detail = "no such image".to_owned();
                let start_failure = Some(StartFailure::ArtifactMissing { detail });
                Behaviour { start_failure, ..well }
            }
        }
    };
    FakeEngine::new(Arc::new(move || time.now()), Arc::new(script))
}

impl Fleet {
    /// So many hosts; Ark's own takes nothing.
    pub(crate) async fn new(hosts: usize, options: ClusterOptions) -> Self {
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let time = Time { epoch, begun: Instant::now() };
        let calls = Arc::new(Meter::default());
        let broken = Broken::default();
        let remote = || {
            let all = calls.clone();
            let fake = fake(time, &broken);
            Arc::new(Remote { fake, silent: AtomicBool::new(false), own: Meter::default(), all })
        };
        let remotes: BTreeMap<NodeName, Arc<Remote>> =
            (0..hosts).map(|n| (node(n), remote())).collect();
        let ill_here = Arc::new(AtomicBool::new(false));
        let own = own(fake(time, &broken), ill_here.clone());
        let cluster = joined(&remotes, own, &options);
        let mut known: Vec<NodeRecord> = remotes.keys().map(|name| record(name, epoch)).collect();
        known.push(NodeRecord { draining: true, ..record(&NodeName::local(), epoch) });
        let dir = tempfile::tempdir().unwrap();
        let store = Store::inline_in_memory(epoch).unwrap();
        let lease = store.write(move |tx| {
            tx.insert_environment(&Environment {
                name: env(),
                kind: EnvKind::Permanent,
                state: EnvState::Active,
                owner: "ana".into(),
                created_at: epoch,
                freeze: Vec::new(),
                lease: None,
            })?;
            for one in &known {
                tx.put_node(one)?;
            }
            tx.acquire_lease(CONTROLLER_LEASE, "fleet", epoch, Duration::from_secs(86_400))
        });
        let world = World {
            store: store.clone(),
            blobs: Blobs::open(dir.path()).unwrap(),
            keyring: Arc::new(Keyring::ephemeral().unwrap()),
            engine: cluster.clone(),
            observations: Arc::new(Observations::default()),
            route_changes: Arc::new(RouteChanges::default()),
            halt: Arc::new(AtomicBool::new(false)),
            gateway_shutdown: watch::Sender::new(None),
            clock: Arc::new(time),
            ids: Arc::new(SystemIds),
            host: Arc::new(NoPorts),
            webhooks: Arc::new(NoWebhooks),
            settings: Arc::new(Settings::new("/nowhere".into())),
            fence: Fence { token: lease.await.unwrap().unwrap().token },
            planted: None,
        };
        let driven = tokio::spawn(deployments::run(world.clone()));
        let deployments = Mutex::new(0);
        Self {
            remotes,
            calls,
            cluster,
            options,
            time,
            ill_here,
            world,
            driven,
            deployments,
            broken,
            _dir: dir,
        }
    }

    /// Another server over the same hosts and records.
    pub(crate) fn restart(&mut self) {
        self.driven.abort();
        let own = own(fake(self.time, &self.broken), self.ill_here.clone());
        self.cluster = joined(&self.remotes, own, &self.options);
        self.world.engine = self.cluster.clone();
        self.world.observations = Arc::new(Observations::default());
        self.driven = tokio::spawn(deployments::run(self.world.clone()));
    }

    /// A host that was not there before.
    pub(crate) async fn join(&mut self, name: NodeName) {
        let known = record(&name, self.time.now());
        self.write(move |tx| tx.put_node(&known)).await;
        let (fake, all) = (fake(self.time, &self.broken), self.calls.clone());
        let remote =
            Arc::new(Remote { fake, silent: AtomicBool::new(false), own: Meter::default(), all });
        self.cluster.put(member(&name, &remote));
        self.remotes.insert(name, remote);
    }

    /// On this host a release ends by itself, from its next start on.
    pub(crate) fn breaks(&self, name: NodeName, release: ReleaseNumber) {
        self.broken.lock().unwrap().insert((name, release), Fault::Ends);
    }

    /// This host has no way to a release's image.
    pub(crate) fn lacks(&self, name: NodeName, release: ReleaseNumber) {
        self.broken.lock().unwrap().insert((name, release), Fault::NoImage);
    }

    /// A host that is removed: this is written down first, and told to the cluster after that.
    pub(crate) async fn forget_record(&self, name: NodeName) {
        self.write(move |tx| tx.delete_node(&name)).await;
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut WriteTx) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.world.store.write(change).await.unwrap()
    }

    /// A further release of the app; the first is live at once.
    pub(crate) async fn release(&self, definition: Definition) -> ReleaseNumber {
        let now = self.time.now();
        self.write(move |tx| {
            let content =
                ReleaseContent { artifact: Artifact::None, definition, config: BTreeMap::new() };
            // What differs makes a release of its own.
            let before = tx.latest_release(&env(), &app())?.map_or(0, |r| r.number.0);
            let mut content = content;
            content.definition.run.command = Some(vec!["./agent".into(), before.to_string()]);
            let new = NewRelease {
                env: env(),
                app: app(),
                content,
                config_version: 0,
                created_at: now,
                created_by: "ana".into(),
                commit: None,
            };
            let number = tx.insert_release(new)?.into_release().number;
            if tx.app_state(&env(), &app())?.is_none() {
                let live = Some(number);
                tx.put_app_state(&AppState { live, ..AppState::new(env(), app(), now) })?;
            }
            Ok(number)
        })
        .await
    }

    pub(crate) async fn deploy(&self, release: ReleaseNumber) -> DeploymentId {
        let id = {
            let mut count = self.deployments.lock().unwrap();
            *count += 1;
            DeploymentId(uuid::Uuid::from_u128(*count))
        };
        let now = self.time.now();
        self.write(move |tx| {
            let d = Deployment::queued(
                id,
                (env(), app()),
                DeploymentKind::Deploy,
                release,
                Strategy::Rolling,
                ("ana".into(), now),
            );
            tx.insert_deployment(&d)?;
            let state = tx.app_state(&env(), &app())?.unwrap();
            tx.put_app_state(&AppState { waiting: Some(id), ..state })
        })
        .await;
        id
    }

    pub(crate) async fn deployment(&self, id: DeploymentId) -> Deployment {
        self.world.store.read(move |tx| tx.deployment(id)).await.unwrap().unwrap()
    }

    /// What may exist, by the records.
    pub(crate) async fn alive(&self) -> Vec<InstanceRecord> {
        let read = self.world.store.read(|tx| tx.alive_instances_of(&env(), &app()));
        read.await.unwrap()
    }

    /// Lets time pass until this holds; answers after how long.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self).await {
            assert!(!self.driven.is_finished(), "the loop has ended");
            if begun.elapsed() > Duration::from_secs(3_600) {
                let alive = self.alive().await;
                panic!("{what}: never came, {} alive, {:?}", alive.len(), alive.first());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        begun.elapsed()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.driven.abort();
    }
}

fn member(name: &NodeName, remote: &Arc<Remote>) -> Node {
    Node {
        name: name.clone(),
        engine: remote.clone(),
        draining: false,
        images_only: false,
        address: None,
    }
}

fn record(name: &NodeName, at: Timestamp) -> NodeRecord {
    NodeRecord {
        name: name.clone(),
        address: "unix:///nowhere".to_owned(),
        reach: None,
        credentials: None,
        draining: false,
        changed_at: at,
        changed_by: "ana".to_owned(),
    }
}

/// Ark's own host.
fn own(fake: FakeEngine, ill: Arc<AtomicBool>) -> FakeEngine {
    fake.with_faults(Arc::new(move |call| {
        let fails = call == FakeCall::List && ill.load(SeqCst);
        fails.then(|| EngineError::Unavailable {
            engine: EngineKind::Fake,
            action: "read the directory of instances".to_owned(),
            source: std::io::Error::other("ill"),
        })
    }))
}

fn joined(
    remotes: &BTreeMap<NodeName, Arc<Remote>>,
    own: FakeEngine,
    options: &ClusterOptions,
) -> Arc<Cluster> {
    let cluster = Cluster::new(Arc::new(own), options.clone());
    for (name, remote) in remotes {
        cluster.put(member(name, remote));
    }
    cluster.drain(&NodeName::local(), true);
    Arc::new(cluster)
}
