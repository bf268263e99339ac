//! The server's side of the gateway: pushes route tables built from the records, and turns what
//! comes back into observations and stored counters. When the link breaks it is dialled again, for
//! ever; the gateway serves on meanwhile (I7).
//!
//! [`Routes`] is what the simulator drives without a socket; [`run`] is the loop around it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_gateway::link::{Link, LinkSender};
use ark_model::definition::Definition;
use ark_model::environment::EnvKind;
use ark_model::event::{EventKind, NewEvent};
use ark_model::gateway::{CertificateNews, FromGateway, LostBoot, Report};
use ark_model::instance::InstanceState;
use ark_model::route::{ContainerNetwork, Route, RouteTable};
use ark_model::{AppName, DeploymentState, EnvName, Generation, ReleaseNumber};
use ark_planner::time::after;
use ark_store::{ReadTx, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::observations::AppKey;
use crate::route_table::{AppRecords, Division, HostRank, Wanted, build, join};
use crate::world::World;

/// Time between two attempts to dial.
const REDIAL: Duration = Duration::from_millis(200);
/// All apps' routes are built anew this often, whatever was said to have changed.
const REBUILD_ALL: Duration = Duration::from_secs(10);
/// Least time between two tables: commits that come faster share one.
const COALESCE: Duration = Duration::from_millis(10);
/// Tables that may wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 64;
/// Notes of one deployment: a gateway that dies over and over is told of so often.
const NOTES_MAX: usize = 20;
/// Definitions kept in memory.
const DEFINITIONS_MAX: usize = 20_000;

/// Which apps' records changed in a way that their routes may depend on. Told by the tasks after
/// each commit, so that a table need not be built from all apps each time.
#[derive(Debug)]
pub struct RouteChanges {
    dirty: Mutex<BTreeSet<AppKey>>,
    all: AtomicBool,
    changed: watch::Sender<u64>,
}

impl Default for RouteChanges {
    fn default() -> Self {
        Self { dirty: Mutex::default(), all: AtomicBool::new(true), changed: watch::channel(0).0 }
    }
}

impl RouteChanges {
    /// The records of an app changed.
    pub fn mark(&self, key: &AppKey) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.changed.send_modify(|n| *n += 1);
    }

    /// The records of apps changed or went that nobody can name any more.
    pub fn mark_all(&self) {
        self.all.store(true, Ordering::Relaxed);
        self.changed.send_modify(|n| *n += 1);
    }

    fn take(&self) -> BTreeSet<AppKey> {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The routes as last built, and the tables that were pushed and not yet acknowledged.
#[derive(Debug, Default)]
pub struct Routes {
    per_app: BTreeMap<AppKey, (HostRank, Vec<Route>)>,
    definitions: Definitions,
    all_due: Option<Timestamp>,
    pushed: Option<Vec<Route>>,
    networks: BTreeMap<EnvName, ContainerNetwork>,
    unacknowledged: VecDeque<RouteTable>,
    /// Apps whose records cannot be read: said once.
    unreadable: BTreeSet<AppKey>,
}

impl Routes {
    /// A new connection: whatever was pushed before may not have arrived.
    pub fn forget_pushed(&mut self) {
        self.pushed = None;
        self.unacknowledged.clear();
    }

    /// The next table to push, when it differs from the last one pushed.
    ///
    /// # Errors
    /// When the store does not answer; calling again is the retry.
    pub async fn next_table(&mut self, world: &World) -> Result<Option<RouteTable>, StoreError> {
        let now = world.clock.now();
        let mut dirty = world.route_changes.take();
        let asked = world.route_changes.all.swap(false, Ordering::Relaxed);
        let networks = world.engine.networks();
        let moved = networks != self.networks;
        self.networks = networks;
        let due = |due: Timestamp| due <= now || due > after(now, REBUILD_ALL);
        let all = asked || moved || self.all_due.is_none_or(due);
        if all {
            // What was asked for is taken: should the read fail, all of it is still to be done.
            self.all_due = None;
            let known: BTreeSet<AppKey> =
                world.store.read(ReadTx::app_keys).await?.into_iter().collect();
            self.per_app.retain(|key, _| known.contains(key));
            dirty.extend(known);
            self.all_due = Some(after(now, REBUILD_ALL));
        }
        if self.unacknowledged.len() >= UNACKNOWLEDGED_MAX {
            // The gateway is behind; it is told the newest state once it has caught up.
            self.all_due = None;
            return Ok(None);
        }
        world.observations.building(&dirty);
        let table = self.build_table(world, dirty).await;
        world.observations.built(table.as_ref().ok().and_then(Option::as_ref));
        table
    }

    async fn build_table(
        &mut self,
        world: &World,
        dirty: BTreeSet<AppKey>,
    ) -> Result<Option<RouteTable>, StoreError> {
        if !dirty.is_empty() {
            let failed = self.rebuild(world, dirty).await;
            if let Err(error) = failed {
                self.all_due = None;
                return Err(error);
            }
        }
        let routes = join(self.per_app.values().map(|(rank, routes)| (*rank, routes.as_slice())));
        if self.pushed.as_ref() == Some(&routes) {
            return Ok(None);
        }
        let generation = world.store.write(ark_store::WriteTx::next_generation).await?;
        self.pushed = Some(routes.clone());
        let table = RouteTable { generation, routes };
        self.unacknowledged.push_back(table.clone());
        Ok(Some(table))
    }

    async fn rebuild(&mut self, world: &World, dirty: BTreeSet<AppKey>) -> Result<(), StoreError> {
        if self.definitions.len() > DEFINITIONS_MAX {
            self.definitions.clear();
        }
        let keys: Vec<AppKey> = dirty.into_iter().collect();
        let wanted: BTreeSet<&AppKey> = keys.iter().collect();
        let known = self
            .definitions
            .iter()
            .filter(|((env, app, _), _)| wanted.contains(&(env.clone(), app.clone())))
            .map(|(place, definition)| (place.clone(), definition.clone()))
            .collect::<Definitions>();
        let networks = self.networks.clone();
        let loaded = world.store.read(move |tx| load(tx, &keys, &known, &networks)).await?;
        for (key, app) in loaded {
            if !matches!(app, App::Unreadable(..)) {
                self.unreadable.remove(&key);
            }
            match app {
                App::Is(rank, records) => {
                    for (release, definition) in &records.definitions {
                        let place = (key.0.clone(), key.1.clone(), *release);
                        self.definitions.insert(place, definition.clone());
                    }
                    self.per_app.insert(key, (rank, build(&[*records])));
                }
                App::Gone => {
                    self.per_app.remove(&key);
                }
                App::Unreadable(rank, error) => {
                    if self.unreadable.insert(key.clone()) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(env = %key.0, app = %key.1, error, "an app's records cannot be read; it keeps its routes");
                    }
                    if let Entry::Vacant(vacant) = self.per_app.entry(key) {
                        let routes = last_routes(&world.settings.data_dir, vacant.key());
                        vacant.insert((rank, routes));
                    }
                }
            }
        }
        Ok(())
    }

    /// A table is in force: so are all that were pushed before it.
    pub fn acknowledged(&mut self, world: &World, generation: Generation) {
        while let Some(table) = self.unacknowledged.front() {
            if table.generation > generation {
                return;
            }
            let Some(table) = self.unacknowledged.pop_front() else { return };
            if table.generation == generation {
                world.observations.acknowledged(&table);
            }
        }
    }

    /// A table was refused.
    pub fn refused(&mut self, world: &World, generation: Generation, reason: &str) {
        self.unacknowledged.retain(|table| table.generation != generation);
        world.observations.refused(generation, reason.to_owned());
        tracing::error!(number = generation.number, reason, "the gateway refused a route table");
    }
}

/// What the records say of an app.
enum App {
    Is(HostRank, Box<AppRecords>),
    Gone,
    /// One of them is damaged: that holds up this app and no other.
    Unreadable(HostRank, StoreError),
}

/// The routes that the gateway was last told of an app, by its own file.
fn last_routes(data_dir: &Path, key: &AppKey) -> Vec<Route> {
    let table = ark_gateway::adopt::last_table(data_dir);
    let routes = table.into_iter().flat_map(|table| table.routes);
    routes.filter(|route| (&route.key.env, &route.key.app) == (&key.0, &key.1)).collect()
}

type Definitions = HashMap<(EnvName, AppName, ReleaseNumber), Arc<Definition>>;

fn load(
    tx: &ReadTx,
    keys: &[AppKey],
    known: &Definitions,
    networks: &BTreeMap<EnvName, ContainerNetwork>,
) -> Result<Vec<(AppKey, App)>, StoreError> {
    let mut discovery: BTreeMap<AppKey, BTreeMap<String, u16>> = BTreeMap::new();
    for (route, port) in tx.discovery_ports()? {
        discovery.entry((route.env, route.app)).or_default().insert(route.expose, port);
    }
    let mut all = Vec::new();
    for key in keys {
        let ports = discovery.remove(key).unwrap_or_default();
        // As long as its environment is not known, its claim to a host comes last.
        let mut rank = HostRank { development: true, created_at: Timestamp::MAX };
        let app = match load_app(tx, key, &mut rank, known) {
            Ok(None) => App::Gone,
            Ok(Some(records)) => {
                let network = networks.get(&key.0).copied();
                App::Is(rank, Box::new(AppRecords { discovery: ports, network, ..records }))
            }
            Err(error @ StoreError::Record { .. }) => App::Unreadable(rank, error),
            Err(error) => return Err(error),
        };
        all.push((key.clone(), app));
    }
    Ok(all)
}

/// What is recorded of one app, but for its ports and its network.
fn load_app(
    tx: &ReadTx,
    key: &AppKey,
    rank: &mut HostRank,
    known: &Definitions,
) -> Result<Option<AppRecords>, StoreError> {
    let (env, app) = key;
    let Some(environment) = tx.environment(env)? else { return Ok(None) };
    *rank = HostRank {
        development: environment.kind == EnvKind::Development,
        created_at: environment.created_at,
    };
    let Some(state) = tx.app_state(env, app)? else { return Ok(None) };
    let mut instances = tx.alive_instances_of(env, app)?;
    instances.retain(|i| i.state != InstanceState::Stopping);
    let mut shapes: Vec<ReleaseNumber> = state.live.into_iter().collect();
    let running = match state.running {
        Some(id) => tx.deployment(id)?,
        None => None,
    };
    shapes.extend(running.as_ref().map(|d| d.release));
    let mut definitions = HashMap::new();
    let of_instances = instances.iter().map(|i| i.release);
    for release in shapes.iter().copied().chain(of_instances) {
        if definitions.contains_key(&release) {
            continue;
        }
        let definition = match known.get(&(env.clone(), app.clone(), release)) {
            Some(known) => known.clone(),
            None => match tx.release(env, app, release)? {
                Some(release) => Arc::new(release.content.definition),
                None => continue,
            },
        };
        definitions.insert(release, definition);
    }
    let in_force = shapes.first().and_then(|release| definitions.get(release));
    let wanted = Wanted::of(environment.state, &state, in_force.map(|d| &**d), running.as_ref());
    Ok(Some(AppRecords {
        env: env.clone(),
        app: app.clone(),
        shapes,
        definitions,
        instances,
        discovery: BTreeMap::new(),
        network: None,
        division: running.as_ref().map(Division::of).unwrap_or_default(),
        wanted,
    }))
}

/// Stores what a report counted, then lets the tasks see what it observed: whoever reads "nothing
/// is inside any more" finds the counters of what was inside already stored.
///
/// # Errors
/// When the store does not answer: the report is then not acknowledged, and nothing is lost,
/// because the gateway counts on.
pub async fn take_report(world: &World, report: &Report) -> Result<(), StoreError> {
    let now = world.clock.now();
    let stored = report.clone();
    // The measurements up to here; what this report adds to them is written with a later one.
    let measured = world.observations.unsaved_measures(now);
    let changes = measured.clone();
    let written = world
        .store
        .write(move |tx| -> Result<(), StoreError> {
            for lost in stored.lost.iter().filter(|lost| !lost.in_order) {
                note_lost(tx, lost, now)?;
            }
            note_certificates(tx, &stored.certificates)?;
            for ((env, app), change) in &changes {
                tx.put_measures(env, app, change)?;
            }
            tx.apply_report(&stored, now)
        })
        .await;
    if let Err(error) = written {
        world.observations.measures_not_saved(&measured);
        return Err(error);
    }
    world.observations.report(report, now);
    Ok(())
}

/// Under this name the store keeps the number of the last news of certificates that is an event.
const CERTIFICATES_TOLD: &str = "certificates-told";

/// Makes events of what became of certificates, each once.
fn note_certificates(
    tx: &mut ark_store::WriteTx,
    news: &[CertificateNews],
) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    let told = tx.meta(CERTIFICATES_TOLD)?.and_then(|told| told.parse().ok()).unwrap_or(0);
    let mut last: u64 = told;
    for news in news.iter().filter(|news| news.number > told) {
        let event = NewEvent::of_server(EventKind::Certificate, "gateway", news.at, news.words());
        tx.append_event(event)?;
        last = last.max(news.number);
    }
    if last > told {
        tx.put_meta(CERTIFICATES_TOLD, &last.to_string())?;
    }
    Ok(())
}

/// Says in the receipts of running deployments that a gateway was killed, once per boot.
fn note_lost(
    tx: &mut ark_store::WriteTx,
    lost: &LostBoot,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = format!("lost-boot:{}", lost.boot);
    if tx.meta(&key)?.is_some() {
        return Ok(());
    }
    tx.put_meta(&key, &now.to_string())?;
    let mut inside: BTreeMap<AppKey, u64> = BTreeMap::new();
    for target in &lost.targets {
        let key = (target.route.env.clone(), target.route.app.clone());
        *inside.entry(key).or_default() += u64::from(target.in_flight + target.streams);
    }
    for mut d in tx.unfinished_deployments()?.deployments {
        if d.state == DeploymentState::Queued || d.notes.len() >= NOTES_MAX {
            continue;
        }
        let n = inside.get(&(d.env.clone(), d.app.clone())).copied().unwrap_or(0);
        let state = d.state;
        d.notes.push(format!(
            "a gateway process was killed; about {n} requests were inside it and are counted as cut"
        ));
        tx.put_deployment(&d, state)?;
    }
    let all: u64 = inside.values().sum();
    let text = format!("gateway {} was killed with about {all} requests inside it", lost.boot);
    tx.append_event(NewEvent::of_server(EventKind::Gateway, "ark", now, text))?;
    Ok(())
}

/// Dials, pushes and listens until the process ends.
pub async fn run(world: World) {
    let mut routes = Routes::default();
    loop {
        match Link::dial(&world.settings.data_dir).await {
            Ok(link) => {
                let welcome = &link.welcome;
                let now = world.clock.now();
                world.observations.connected(welcome.boot, welcome.pid, welcome.http.clone(), now);
                routes.forget_pushed();
                if let Err(error) = agree_on_epoch(&world, welcome.applied).await {
                    tracing::warn!(%error, "the store's epoch could not be read");
                }
                let broken = serve(&world, &mut routes, link).await;
                world.observations.disconnected(world.clock.now());
                tracing::warn!(reason = broken, "the link to the gateway is down");
            }
            Err(error) => {
                tracing::debug!(%error, "the gateway cannot be reached");
            }
        }
        world.clock.sleep_until(after(world.clock.now(), REDIAL)).await;
    }
}

/// A gateway that has a newer table than this store ever made is ahead of a restored backup: a new
/// epoch makes the store's tables newer again.
async fn agree_on_epoch(world: &World, applied: Option<Generation>) -> Result<(), StoreError> {
    let Some(applied) = applied else { return Ok(()) };
    let now = world.clock.now();
    world
        .store
        .write(move |tx| {
            if applied > tx.generation()? {
                tracing::warn!("the gateway is ahead of the store, which was restored, it seems");
                tx.begin_epoch(now)?;
            }
            Ok(())
        })
        .await
}

/// Serves one connection; answers why it ended.
async fn serve(world: &World, routes: &mut Routes, link: Link) -> String {
    let Link { mut sender, mut receiver, .. } = link;
    let mut changes = world.route_changes.changed.subscribe();
    let mut engine = world.engine.changes();
    let (inbox, mut messages) = tokio::sync::mpsc::channel(16);
    // Reading has its own task: a frame must not be lost because a table was due in the middle.
    let reader = tokio::spawn(async move {
        loop {
            let message = receiver.next().await;
            let ended = message.is_err();
            if inbox.send(message).await.is_err() || ended {
                return;
            }
        }
    });
    let mut shutdown = world.gateway_shutdown.subscribe();
    // It may have been said while there was no link.
    shutdown.mark_changed();
    let broken = loop {
        match push(world, routes, &mut sender).await {
            Ok(()) => {}
            Err(reason) => break reason,
        }
        let all_due = routes.all_due.unwrap_or_else(|| after(world.clock.now(), REDIAL));
        tokio::select! {
            message = messages.recv() => match message {
                Some(Ok(message)) => {
                    if let Err(reason) = receive(world, routes, &mut sender, message).await {
                        break reason;
                    }
                }
                Some(Err(error)) => break error.to_string(),
                None => break "the reader ended".to_owned(),
            },
            Ok(()) = changes.changed() => {
                world.clock.sleep_until(after(world.clock.now(), COALESCE)).await;
            }
            Ok(()) = shutdown.changed() => {
                let grace = *shutdown.borrow_and_update();
                if let Some(grace) = grace && let Err(error) = sender.shutdown(grace).await {
                    break error.to_string();
                }
            }
            () = networks_move(world, &mut engine, &routes.networks) => {}
            () = world.clock.sleep_until(all_due) => {}
        }
    };
    reader.abort();
    broken
}

/// Returns when the networks of containers are no longer those of the last table.
async fn networks_move(
    world: &World,
    engine: &mut watch::Receiver<u64>,
    known: &BTreeMap<EnvName, ContainerNetwork>,
) {
    while engine.changed().await.is_ok() {
        if world.engine.networks() != *known {
            return;
        }
    }
    std::future::pending::<()>().await;
}

async fn push(world: &World, routes: &mut Routes, sender: &mut LinkSender) -> Result<(), String> {
    match routes.next_table(world).await {
        Ok(Some(table)) => sender.push(table).await.map_err(|e| e.to_string()),
        Ok(None) => Ok(()),
        Err(error) => {
            // The store will answer again, or the server cannot do anything anyway.
            tracing::warn!(%error, "the route table could not be built");
            world.clock.sleep_until(after(world.clock.now(), REDIAL)).await;
            Ok(())
        }
    }
}

async fn receive(
    world: &World,
    routes: &mut Routes,
    sender: &mut LinkSender,
    message: FromGateway,
) -> Result<(), String> {
    match message {
        FromGateway::Hello { .. } => Err("the gateway said hello twice".to_owned()),
        FromGateway::Ack { generation } => {
            routes.acknowledged(world, generation);
            Ok(())
        }
        FromGateway::Refused { generation, reason } => {
            routes.refused(world, generation, &reason);
            Ok(())
        }
        FromGateway::Report(report) => match take_report(world, &report).await {
            Ok(()) => sender.report_stored(report.seq).await.map_err(|e| e.to_string()),
            Err(error) => {
                tracing::warn!(%error, "a report of the gateway could not be stored");
                Ok(())
            }
        },
    }
}

/// Whether a gateway serves this data directory or is being started anew by its supervisor.
pub fn exists(data_dir: &Path) -> bool {
    ark_gateway::adopt::find(data_dir).is_some()
}
