//! The deployment loop: keeps every app of every environment at what is wanted of it, and carries
//! deployments to their end.
//!
//! One round looks at the apps about which something may have changed: those named by new events,
//! by the engine's or the gateway's observations, by a timer that is due, and from time to time all
//! of them. Which apps these are is only a matter of speed: a plan is made from what is recorded
//! and observed now, never from what a round remembers. Run by `ark server`, and by the simulator
//! with another world; it must not spawn, sleep or read a clock except through the world.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_engine::{EngineKind, Sight};
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::{EngineState, InstanceRecord, ObservedInstance};
use ark_model::{AppName, EnvName, InstanceId, NodeName, ReleaseNumber};
use ark_planner::time::after;
use ark_store::{EventFilter, StoreError};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use super::hosts::Hosts;
use super::reconcile::{ReleaseFacts, reconcile};
use super::round::{self, Looking, TaskError};
use crate::observations::AppKey;
use crate::world::World;

/// Every app is looked at this often even if nothing seems to have changed.
const LOOK_AT_ALL: Duration = Duration::from_secs(10);
/// Apps worked on at the same time.
const PARALLEL: usize = 8;
/// How long the engine may take to say what runs.
const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// Events read at once; more are taken as a reason to look at all.
const EVENTS_MAX: usize = 1_000;
/// Commits that say nothing of an app are looked through this often.
const SETTLE: Duration = Duration::from_millis(20);
/// Definitions kept in memory; they never change, so forgetting them all costs only time.
const FACTS_MAX: usize = 20_000;

/// What the engine said at the beginning of a round.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By instance; `None` when the engine could not be asked.
    states: Option<HashMap<InstanceId, EngineState>>,
    /// Of these kinds nothing is known beyond that, on this host.
    silent: Vec<EngineKind>,
    /// The hosts of the cluster.
    pub(super) hosts: Arc<Hosts>,
}

impl Listed {
    /// The engine's word on an instance, `Gone` when it has none; `None` when nothing is known.
    /// `kind` is the engine that runs it, `None` when its release is forgotten.
    pub(super) fn state(
        &self,
        record: &InstanceRecord,
        kind: Option<EngineKind>,
    ) -> Option<EngineState> {
        if let Some(state) = self.states.as_ref()?.get(&record.id) {
            return Some(state.clone());
        }
        if !record.node.is_local() {
            return (!self.hosts.is_silent(&record.node)).then_some(EngineState::Gone);
        }
        let asked = self.silent.is_empty() || kind.is_some_and(|k| !self.silent.contains(&k));
        asked.then_some(EngineState::Gone)
    }
}

/// Immutable facts of releases, so that definitions are parsed once.
pub(super) type Facts = Mutex<HashMap<(EnvName, AppName, ReleaseNumber), Arc<ReleaseFacts>>>;

/// The loop's memory between rounds: since when it looks, when to look at whom, and nothing else.
#[derive(Debug, Default)]
pub struct Deployments {
    timers: HashMap<AppKey, Timestamp>,
    events_seen: Option<u64>,
    known: HashMap<InstanceId, EngineState>,
    /// Engines that said nothing in the last round: told once.
    silent: Vec<EngineKind>,
    /// Since when each silent host says nothing.
    silent_since: HashMap<NodeName, Timestamp>,
    /// As they were last seen; `None` before the first look that came to something.
    hosts: Option<Arc<Hosts>>,
    all_due: Option<Timestamp>,
    looking: Looking,
    facts: Facts,
    /// Apps of which a record cannot be read: said once.
    unreadable: BTreeSet<AppKey>,
}

impl Deployments {
    /// One round. Answers when the next is due if nothing changes before.
    ///
    /// # Errors
    /// When the store cannot be read, or another controller has taken over. Failures of single
    /// apps are retried by later rounds and do not end this one.
    pub async fn round(&mut self, world: &World) -> Result<Timestamp, TaskError> {
        let look = self.looking.look(world.clock.as_ref());
        let now = look.at;
        let (listed, observed) = self.look(world, now).await?;
        let dirty = self.dirty(world, &observed, now).await?;
        let (listed, facts) = (&listed, &self.facts);
        {
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            if facts.len() > FACTS_MAX {
                facts.clear();
            }
        }
        let results: Vec<_> = stream::iter(dirty)
            .map(|key| async move {
                let outcome = reconcile(world, &key, listed, facts, look).await;
                (key, outcome)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for (key, outcome) in results {
            if let Err(TaskError::Store(error @ StoreError::Record { .. })) = &outcome {
                self.held_up(world, &key, error).await?;
                self.timers.insert(key, after(world.clock.now(), LOOK_AT_ALL));
                continue;
            }
            self.unreadable.remove(&key);
            let wake = round::part(world.clock.now(), outcome, |error| {
                tracing::warn!(env = %key.0, app = %key.1, error, "an app could not be reconciled");
            })?;
            match wake {
                Some(at) => self.timers.insert(key, at),
                None => self.timers.remove(&key),
            };
        }
        let all_due = self.all_due.unwrap_or(now);
        Ok(self.timers.values().copied().chain([all_due]).min().unwrap_or(all_due))
    }

    /// A record of an app cannot be read: nothing is done about this app, and that is said.
    async fn held_up(
        &mut self,
        world: &World,
        key: &AppKey,
        error: &StoreError,
    ) -> Result<(), TaskError> {
        if self.unreadable.contains(key) {
            return Ok(());
        }
        tracing::error!(
            env = %key.0,
            app = %key.1,
            error = error as &dyn std::error::Error,
            "an app is held up"
        );
        let event = NewEvent {
            at: world.clock.now(),
            kind: EventKind::AppChanged,
            by: "ark".to_owned(),
            env: Some(key.0.clone()),
            app: Some(key.1.clone()),
            deployment: None,
            instance: None,
            text: format!(
                "{} is held up: {error}; what runs goes on running and is not looked after, \
                 `ark doctor` names the record",
                key.1
            ),
        };
        world.store.write(move |tx| tx.append_event(event).map(drop)).await?;
        self.unreadable.insert(key.clone());
        Ok(())
    }

    /// Asks the engine what runs; answers also whose state changed since the last round.
    async fn look(
        &mut self,
        world: &World,
        now: Timestamp,
    ) -> Result<(Listed, Vec<AppKey>), TaskError> {
        let deadline = world.clock.sleep_until(after(world.clock.now(), LIST_DEADLINE));
        let list = futures::future::select(Box::pin(world.engine.look()), deadline).await;
        let Sight { seen, silent, nodes } = match list {
            futures::future::Either::Left((Ok(sight), _)) => sight,
            futures::future::Either::Left((Err(error), _)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the engine could not say what runs"
                );
                return Ok((self.unseen(world, now).await?, Vec::new()));
            }
            futures::future::Either::Right(_) => {
                tracing::warn!("the engine did not say what runs within {LIST_DEADLINE:?}");
                return Ok((self.unseen(world, now).await?, Vec::new()));
            }
        };
        for (kind, error) in silent.iter().filter(|(kind, _)| !self.silent.contains(kind)) {
            tracing::warn!(
                %kind,
                error = error as &dyn std::error::Error,
                "nothing is known of what this engine runs"
            );
        }
        let silent: Vec<EngineKind> = silent.into_iter().map(|(kind, _)| kind).collect();
        let mut states = HashMap::with_capacity(seen.len());
        let mut changed = Vec::new();
        for ObservedInstance { id, env, app, state, .. } in seen {
            if self.known.get(&id) != Some(&state) {
                changed.push((env, app));
            }
            states.insert(id, state);
        }
        // What vanished belongs to an app that the full look finds; the engine no longer says
        // which.
        let vanished = self.known.keys().any(|id| !states.contains_key(id));
        if (vanished && silent.is_empty()) || self.silent != silent {
            self.all_due = None;
        }
        self.silent.clone_from(&silent);
        self.known = states.clone();
        let since = &mut self.silent_since;
        since.retain(|name, _| nodes.iter().any(|n| n.name == *name && n.silent.is_some()));
        for node in nodes.iter().filter(|node| node.silent.is_some()) {
            let since = since.entry(node.name.clone()).or_insert(now);
            *since = now.min(*since);
        }
        let hosts = Arc::new(Hosts::new(nodes, &silent, since));
        if self.hosts.as_ref() != Some(&hosts) {
            self.all_due = None;
        }
        self.hosts = Some(hosts.clone());
        Ok((Listed { states: Some(states), silent, hosts }, changed))
    }

    /// When nothing is known of what runs: the hosts are those of the last look, and before the first
    /// those on record, because an app that runs once per host is not to end on all but one of them.
    async fn unseen(&self, world: &World, now: Timestamp) -> Result<Listed, TaskError> {
        let hosts = match &self.hosts {
            Some(hosts) => hosts.clone(),
            None => {
                let records = world.store.read(ark_store::ReadTx::nodes).await?;
                Arc::new(Hosts::on_record(records, now))
            }
        };
        Ok(Listed { hosts, ..Listed::default() })
    }

    async fn dirty(
        &mut self,
        world: &World,
        observed: &[AppKey],
        now: Timestamp,
    ) -> Result<BTreeSet<AppKey>, TaskError> {
        let mut dirty: BTreeSet<AppKey> = observed.iter().cloned().collect();
        dirty.extend(world.observations.take_dirty());
        dirty.extend(self.timers.iter().filter(|(_, at)| **at <= now).map(|(k, _)| k.clone()));
        // A halt is no record, so no event tells whom it concerns.
        let halting = world.halt.load(Ordering::Relaxed);
        // Set back, the clock would put all timers off by as much.
        let due = |due: Timestamp| due <= now || due > after(now, LOOK_AT_ALL);
        let all = halting || self.all_due.is_none_or(due);
        let more = self.new_events(world).await?;
        match more {
            Some(keys) if !all => dirty.extend(keys),
            _ => {
                dirty.extend(world.store.read(ark_store::ReadTx::app_keys).await?);
                self.all_due = Some(after(now, LOOK_AT_ALL));
            }
        }
        Ok(dirty)
    }

    /// Apps named by events since the last round; `None` when it is simpler to look at all.
    async fn new_events(&mut self, world: &World) -> Result<Option<HashSet<AppKey>>, TaskError> {
        let Some(seen) = self.events_seen else {
            self.events_seen = Some(world.store.read(ark_store::ReadTx::latest_event).await?);
            return Ok(None);
        };
        let events = world
            .store
            .read(move |tx| tx.events(&EventFilter::default(), seen, EVENTS_MAX))
            .await?;
        if let Some(last) = events.last() {
            self.events_seen = Some(last.seq);
        }
        if events.len() >= EVENTS_MAX {
            return Ok(None);
        }
        // An environment's own events (it is being destroyed) concern all its apps.
        if events.iter().any(|e| e.env.is_some() && e.app.is_none()) {
            return Ok(None);
        }
        Ok(Some(events.into_iter().filter_map(|e| Some((e.env?, e.app?))).collect()))
    }
}

/// Runs rounds until another controller takes over: after each, waits for a timer, for something that
/// was said of an app (every change of a wish is an event), or for a change that the engine or the
/// gateway reported. Most commits are steps of workflows and reports of the gateway: no reason to ask
/// the engine what runs.
pub async fn run(world: World) -> TaskError {
    let mut loop_ = Deployments::default();
    let mut commits = world.store.commits();
    let mut engine = world.engine.changes();
    let mut gateway = world.observations.changes();
    loop {
        commits.mark_unchanged();
        let outcome = loop_.round(&world).await;
        let Ok(next) = round::whole(world.clock.now(), outcome, "deployments") else {
            return TaskError::Fenced;
        };
        if next <= world.clock.now() {
            // A busy loop still lets others run.
            tokio::task::yield_now().await;
            continue;
        }
        loop {
            tokio::select! {
                () = world.clock.sleep_until(next) => break,
                Ok(()) = engine.changed() => break,
                Ok(()) = gateway.changed() => break,
                changed = commits.changed() => {
                    if changed.is_err() {
                        return TaskError::Store(StoreError::Closed);
                    }
                    let latest = world.store.read(ark_store::ReadTx::latest_event).await.ok();
                    if latest != loop_.events_seen || world.halt.load(Ordering::Relaxed) {
                        break;
                    }
                    world.clock.sleep_until(after(world.clock.now(), SETTLE)).await;
                }
            }
        }
    }
}
