//! The engines of several hosts as one: Ark's own (`local`) and any number of others. The server
//! holds it as its engine; the engines joined know nothing of each other.
//!
//! A host that does not answer holds up nobody. It is waited for once, for a bounded time; from then
//! on it is *silent*: it is asked again in the background, with growing pauses, and everybody else is
//! told at once that nothing is known of it. Only what it says of what it runs decides that: another call
//! may be slow by itself. Calls to other hosts are bounded, for each host and in
//! all, and a host can hold no more than its own part of them.
//!
//! Where an instance is placed stands in its [`StartSpec`] and, after a restart, in what its host
//! says it runs; nothing else is remembered. It must not decide where anything is placed.

mod member;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ark_model::artifact::Artifact;
use ark_model::definition::Rights;
use ark_model::ids::{AppName, EnvName, InstanceId, NodeName};
use ark_model::instance::ObservedInstance;
use ark_model::route::ContainerNetwork;
use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::member::{Member, follow};
use crate::engine::{
    BuildSpec, BuildStream, Capabilities, Engine, EngineError, EngineKind, ExecSession, ExecSpec,
    LogQuery, LogStream, NodeSight, Sight, StartSpec, Stats, StopOptions,
};

/// Of the calls under way at once, one in so many may be to a host that is silent.
const RETRIES_PART: usize = 8;
/// Of how many instances it is kept in mind where they are; beyond that it is learnt anew.
const PLACES_MAX: usize = 100_000;

/// How other hosts are spoken to.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Calls under way at once, to all other hosts together.
    pub parallel: usize,
    /// Calls under way at once to one of them; one of these is kept for asking what runs, so that it is
    /// at least two.
    pub per_node: usize,
    /// How long a host may take to say what it runs before it is silent.
    pub patience: Duration,
    /// How long any other call may take. One that takes longer than `patience` is a reason to ask its host
    /// what it runs.
    pub call_deadline: Duration,
    /// How long it may take to remove images.
    pub images_deadline: Duration,
    /// What a host said is believed for so long, as long as it tells of no change.
    pub believe: Duration,
    /// The first pause before a silent host is asked again; each further one is twice as long.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            parallel: 32,
            per_node: 4,
            patience: Duration::from_secs(4),
            call_deadline: Duration::from_secs(8),
            images_deadline: Duration::from_secs(100),
            believe: Duration::from_secs(5),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(15),
        }
    }
}

/// Another host.
pub struct Node {
    /// Its name; not `local`.
    pub name: NodeName,
    /// What runs instances there.
    pub engine: Arc<dyn Engine>,
    /// Whether it is to be empty.
    pub draining: bool,
    /// Whether it runs images and nothing else.
    pub images_only: bool,
    /// Where the ports of its instances are reached.
    pub address: Option<IpAddr>,
}

/// This host's engine and those of others.
pub struct Cluster {
    local: Arc<dyn Engine>,
    options: Arc<ClusterOptions>,
    members: RwLock<BTreeMap<NodeName, Entry>>,
    local_draining: RwLock<bool>,
    /// Where instances were started or seen.
    places: Mutex<HashMap<InstanceId, NodeName>>,
    calls: Arc<Semaphore>,
    retries: Arc<Semaphore>,
    changes: watch::Sender<u64>,
    joined: JoinHandle<()>,
}

struct Entry {
    member: Arc<Member>,
    follower: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.joined.abort();
    }
}

impl Cluster {
    /// A cluster of this host alone. Must be called within a tokio runtime.
    pub fn new(local: Arc<dyn Engine>, options: ClusterOptions) -> Self {
        let changes = watch::Sender::new(0u64);
        let (sender, mut of_local) = (changes.clone(), local.changes());
        let joined = tokio::spawn(async move {
            while of_local.changed().await.is_ok() {
                bump(&sender);
            }
        });
        Self {
            local,
            members: RwLock::default(),
            local_draining: RwLock::new(false),
            places: Mutex::default(),
            calls: Arc::new(Semaphore::new(options.parallel.max(1))),
            retries: Arc::new(Semaphore::new((options.parallel / RETRIES_PART).max(1))),
            options: Arc::new(options),
            changes,
            joined,
        }
    }

    /// Adds a host, or replaces the one of that name. Must be called within a tokio runtime.
    pub fn put(&self, node: Node) {
        let member = Arc::new(Member::new(node, self.options.clone()));
        let permits = (self.retries.clone(), self.calls.clone());
        let follower = tokio::spawn(follow(member.clone(), permits, self.changes.clone()));
        let entry = Entry { member: member.clone(), follower };
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.insert(member.name.clone(), entry);
        drop(members);
        bump(&self.changes);
    }

    /// Forgets a host: what runs there is nobody's from now on.
    pub fn remove(&self, name: &NodeName) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        bump(&self.changes);
    }

    /// Says whether a host is to be empty.
    pub fn drain(&self, name: &NodeName, draining: bool) {
        if name.is_local() {
            *self.local_draining.write().unwrap_or_else(PoisonError::into_inner) = draining;
        } else if let Some(member) = self.member(name) {
            member.drain(draining);
        }
        bump(&self.changes);
    }

    /// The hosts as last known: nobody is asked.
    pub fn nodes(&self) -> Vec<NodeSight> {
        let members = self.members();
        let sights = members.iter().map(|member| member.sight(member.silence()));
        self.with_local(sights.collect())
    }

    /// Asks a host what it runs, unless it said so a moment ago: how it stands is in [`Self::nodes`].
    pub async fn ask(&self, name: &NodeName) {
        if let Some(member) = self.member(name) {
            // What it answers is kept, and so is why it does not.
            let _ = member.seen(&self.calls).await;
        }
    }

    fn with_local(&self, mut nodes: Vec<NodeSight>) -> Vec<NodeSight> {
        let draining = *self.local_draining.read().unwrap_or_else(PoisonError::into_inner);
        if nodes.is_empty() && !draining {
            return nodes;
        }
        nodes.push(NodeSight {
            name: NodeName::local(),
            silent: None,
            draining,
            images_only: false,
            address: None,
        });
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn members(&self) -> Vec<Arc<Member>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.values().map(|entry| entry.member.clone()).collect()
    }

    fn member(&self, name: &NodeName) -> Option<Arc<Member>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(name).map(|entry| entry.member.clone())
    }

    fn places(&self) -> MutexGuard<'_, HashMap<InstanceId, NodeName>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other host on which an instance is; `None` when it is on this one, or nowhere.
    fn host_of(&self, id: InstanceId) -> Option<Arc<Member>> {
        let name = self.places().get(&id).cloned()?;
        self.member(&name)
    }

    fn learn(&self, name: &NodeName, seen: &[ObservedInstance]) {
        let mut places = self.places();
        if places.len() > PLACES_MAX {
            places.clear();
        }
        for instance in seen {
            places.entry(instance.id).or_insert_with(|| name.clone());
        }
    }
}

fn bump(changes: &watch::Sender<u64>) {
    changes.send_modify(|count| *count = count.wrapping_add(1));
}

/// The answer of the host on which the instance is.
macro_rules! where_it_is {
    ($self:ident, $call:ident, $id:expr $(, $argument:expr)*) => {
        match $self.host_of($id) {
            Some(member) => {
                let engine = member.engine.clone();
                member.call(&$self.calls, engine.$call($id $(, $argument)*)).await
            }
            None => $self.local.$call($id $(, $argument)*).await,
        }
    };
}

#[async_trait]
impl Engine for Cluster {
    fn kind(&self) -> EngineKind {
        self.local.kind()
    }

    fn kind_for(&self, artifact: &Artifact) -> EngineKind {
        self.local.kind_for(artifact)
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.local.image_digest(reference).await
    }

    async fn published_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.local.published_digest(reference).await
    }

    async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        self.local.keep_image(reference).await
    }

    async fn build(&self, spec: BuildSpec) -> Result<BuildStream, EngineError> {
        self.local.build(spec).await
    }

    async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        let others = self.members().into_iter().map(|member| async move {
            let removing = member.engine.remove_images(keep, age);
            let removed = member.work(self.options.images_deadline, removing).await;
            // What is left there goes another time.
            removed.unwrap_or_else(|error| {
                tracing::warn!(host = %member.name, %error, "images stay");
                0
            })
        });
        let (local, others) = futures::join!(self.local.remove_images(keep, age), join_all(others));
        Ok(local? + others.into_iter().sum::<u64>())
    }

    fn refuses(&self, env: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        self.local.refuses(env, app, rights)
    }

    fn capabilities(&self) -> Capabilities {
        self.local.capabilities()
    }

    async fn users(&self) -> Result<BTreeMap<u32, (EnvName, AppName)>, EngineError> {
        self.local.users().await
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        if spec.node.is_local() {
            return self.local.start(spec).await;
        }
        let Some(member) = self.member(&spec.node) else {
            return Err(EngineError::Unavailable {
                engine: self.kind(),
                action: format!("find host {}", spec.node),
                source: std::io::Error::other("no such host is known; `ark node list` shows them"),
            });
        };
        self.places().insert(spec.id, spec.node.clone());
        let engine = member.engine.clone();
        member.call(&self.calls, engine.start(spec)).await
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        where_it_is!(self, stop, id, options)
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        where_it_is!(self, remove, id)
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let mut sight = self.look().await?;
        if let Some((_, error)) = sight.silent.pop() {
            return Err(error);
        }
        match sight.nodes.into_iter().find_map(|node| Some((node.name, node.silent?))) {
            Some((name, why)) => Err(EngineError::Unavailable {
                engine: self.kind(),
                action: format!("ask host {name} what runs"),
                source: std::io::Error::other(why),
            }),
            None => Ok(sight.seen),
        }
    }

    async fn look(&self) -> Result<Sight, EngineError> {
        let members = self.members();
        if members.is_empty() {
            let sight = self.local.look().await?;
            return Ok(Sight { nodes: self.with_local(Vec::new()), ..sight });
        }
        let others = members.iter().map(|member| member.seen(&self.calls));
        let (local, others) = futures::join!(self.local.look(), join_all(others));
        let mut sight = local?;
        let mut nodes = Vec::with_capacity(members.len() + 1);
        for (member, answer) in members.iter().zip(others) {
            let silent = match answer {
                Ok(seen) => {
                    self.learn(&member.name, &seen);
                    sight.seen.extend(seen);
                    None
                }
                Err(why) => Some(why),
            };
            nodes.push(member.sight(silent));
        }
        sight.seen.sort_unstable_by_key(|seen| seen.id);
        Ok(Sight { nodes: self.with_local(nodes), ..sight })
    }

    fn parallel(&self) -> usize {
        let alone = self.members.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        if alone { self.local.parallel() } else { self.options.parallel.max(1) }
    }

    fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        self.local.networks()
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        where_it_is!(self, logs, id, query)
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        where_it_is!(self, exec, id, spec)
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        where_it_is!(self, stats, id)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
