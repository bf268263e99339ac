//! Housekeeping: finishes destroyed environments, ends what runs without a record, and forgets what
//! is old. Every step may be repeated; none of them is urgent.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ark_engine::StopOptions;
use ark_model::environment::{EnvLease, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::{EngineState, InstanceRecord, ObservedInstance};
use ark_model::{EnvName, InstanceId};
use ark_planner::lease::{self, Due};
use ark_planner::time::after;
use ark_store::{ReadTx, StoreError, WriteTx};
use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};

use super::hooks;
use super::round::TaskError;
use crate::endings::end_environment;
use crate::world::{CONTROLLER_LEASE, World};

/// Time between two rounds when nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// How long stopped instances, and their logs, are kept.
const STOPPED_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long events are kept.
const EVENTS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Rows forgotten in one round.
const PRUNE_MAX: usize = 500;
/// How long the engine may take for one call.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// An instance without a record is left alone for this many rounds: its record may be on its way.
const ORPHAN_ROUNDS: u32 = 2;

/// A longer time between two rounds means that this server did not run, or that the clock was set.
const GAP: SignedDuration = SignedDuration::from_secs(60);

/// The loop's memory.
#[derive(Debug, Default)]
pub struct Housekeeping {
    /// Since how many rounds an instance had no record.
    strangers: HashMap<InstanceId, u32>,
    awake: Option<Awake>,
}

/// Rounds without a gap.
#[derive(Debug, Clone, Copy)]
struct Awake {
    since: Timestamp,
    last: Timestamp,
}

impl Housekeeping {
    /// One round.
    ///
    /// # Errors
    /// When the store does not answer or another controller has taken over.
    pub async fn round(&mut self, world: &World) -> Result<(), TaskError> {
        let now = world.clock.now();
        let since = match self.awake {
            Some(Awake { since, last }) if now >= last && now < last + GAP => since,
            _ => now,
        };
        self.awake = Some(Awake { since, last: now });
        // What keeps one of them from its work is no reason to leave out the others.
        let all = [
            end_leases(world, since, now).await,
            finish_destroyed(world, now).await,
            self.end_strangers(world).await,
            forget(world, now).await,
        ];
        let fenced = all.iter().any(|done| matches!(done, Err(TaskError::Fenced)));
        if fenced { Err(TaskError::Fenced) } else { all.into_iter().collect() }
    }

    /// What the engine runs although no record wants it to is ended; what ended and is no longer
    /// on record is forgotten by the engine too.
    async fn end_strangers(&mut self, world: &World) -> Result<(), TaskError> {
        let deadline = world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
        let listed = match select(Box::pin(world.engine.look()), deadline).await {
            Either::Left((Ok(sight), _)) => sight.seen,
            // The deployment loop says that the engine does not answer.
            Either::Left((Err(_), _)) | Either::Right(_) => return Ok(()),
        };
        // Looked up after the listing: a hook that was listed was recorded before.
        let unfinished = world.store.read(ReadTx::unfinished_deployments).await?;
        let hooks = hooks::instances(&unfinished.deployments);
        // Of an app whose deployment cannot be read nobody knows the hooks.
        let known =
            |i: &ObservedInstance| !hooks.contains(&i.id) && !unfinished.is_damaged(&i.env, &i.app);
        let listed: Vec<_> = listed.into_iter().filter(known).collect();
        let ids: Vec<InstanceId> = listed.iter().map(|i| i.id).collect();
        let (records, spoken_for) = world.store.read(move |tx| on_record(tx, ids)).await?;
        let mut seen = HashSet::new();
        for instance in listed {
            let record = records.get(&instance.id);
            if record.is_some_and(|r| r.state.is_alive()) || spoken_for.contains(&instance.id) {
                continue;
            }
            seen.insert(instance.id);
            let rounds = self.strangers.entry(instance.id).or_default();
            *rounds += 1;
            if *rounds <= ORPHAN_ROUNDS {
                continue;
            }
            let call = match (&instance.state, record) {
                (EngineState::Exited { .. } | EngineState::StartFailed { .. }, None) => {
                    Some(world.engine.remove(instance.id))
                }
                (EngineState::Exited { .. } | EngineState::StartFailed { .. }, Some(_)) => None,
                (EngineState::Stopping { .. } | EngineState::Gone, _) => None,
                (EngineState::Preparing | EngineState::Running { .. }, _) => {
                    tracing::warn!(instance = %instance.id.short(&instance.app), env = %instance.env, "an instance without a record is ended");
                    Some(world.engine.stop(instance.id, StopOptions::default()))
                }
            };
            if let Some(call) = call {
                let deadline = world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
                if let Either::Left((Err(error), _)) = select(Box::pin(call), deadline).await {
                    tracing::warn!(%error, "the engine did not do what it was asked");
                }
            }
        }
        self.strangers.retain(|id, _| seen.contains(id));
        Ok(())
    }
}

/// The records of instances, and which are not to be ended whatever these say: a run's, and those of
/// which there is a record that cannot be read.
fn on_record(
    tx: &ReadTx,
    ids: Vec<InstanceId>,
) -> Result<(HashMap<InstanceId, InstanceRecord>, HashSet<InstanceId>), StoreError> {
    let mut records = HashMap::new();
    let mut spoken_for = HashSet::new();
    for id in ids {
        match (tx.instance(id), tx.run_of_instance(id)) {
            (Err(StoreError::Record { .. }), _) | (_, Err(StoreError::Record { .. })) => {
                spoken_for.insert(id);
            }
            (record, run) => {
                records.extend(record?.map(|record| (id, record)));
                if run?.is_some_and(|run| run.is_carried_by(id)) {
                    spoken_for.insert(id);
                }
            }
        }
    }
    Ok((records, spoken_for))
}

/// Warns of leases that are about to run out, and asks for the end of environments whose lease has;
/// one that cannot be written holds up no other.
async fn end_leases(world: &World, since: Timestamp, now: Timestamp) -> Result<(), TaskError> {
    let is_due = |env: &Environment| lease::due(env, since, now) != Due::Nothing;
    let all = world.store.read(ReadTx::environments).await?;
    for env in all.into_iter().filter(is_due).map(|env| env.name) {
        match end_lease(world, env.clone(), since, now).await {
            Err(TaskError::Fenced) => return Err(TaskError::Fenced),
            Err(error) => {
                tracing::warn!(%env, error = &error as &dyn std::error::Error, "its lease cannot be ended");
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

async fn end_lease(
    world: &World,
    env: EnvName,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), TaskError> {
    let fence = world.fence;
    world
        .store
        .write(move |tx| -> Result<(), TaskError> {
            tx.check_lease(CONTROLLER_LEASE, fence.token).map_err(|_| TaskError::Fenced)?;
            // Read again: somebody may have renewed it meanwhile.
            let Some(mut env) = tx.environment(&env)? else { return Ok(()) };
            let Some(held) = env.lease.clone() else { return Ok(()) };
            match lease::due(&env, since, now) {
                Due::Nothing => {}
                Due::Warn(until) => {
                    env.lease = Some(EnvLease { until, warned_at: Some(now), ..held });
                    tx.put_environment(&env)?;
                    tx.append_event(NewEvent {
                        at: now,
                        kind: EventKind::EnvironmentLeaseEnding,
                        by: "ark".to_owned(),
                        env: Some(env.name.clone()),
                        app: None,
                        deployment: None,
                        instance: None,
                        text: format!(
                            "the lease of environment {0} runs out at {until}, then it is \
                             destroyed; keep it: ark env lease {0} none",
                            env.name
                        ),
                    })?;
                }
                Due::End => {
                    let text = format!(
                        "the lease of environment {}, last given by {}, has run out",
                        env.name, held.by
                    );
                    end_environment(tx, &mut env, ("ark", now), text)?;
                }
            }
            Ok(())
        })
        .await
}

/// Environments that are being destroyed and in which nothing is left are removed; one of which a record
/// cannot be read holds up no other.
async fn finish_destroyed(world: &World, now: Timestamp) -> Result<(), TaskError> {
    let all = world.store.read(ReadTx::environments).await?;
    let ending = all.into_iter().filter(|env| env.state == EnvState::Destroying);
    let mut gone = Vec::new();
    for name in ending.map(|env| env.name) {
        let (env, fence) = (name.clone(), world.fence);
        let removed = world
            .store
            .write(move |tx| -> Result<bool, TaskError> {
                tx.check_lease(CONTROLLER_LEASE, fence.token).map_err(|_| TaskError::Fenced)?;
                remove_empty(tx, &env, now)
            })
            .await;
        match removed {
            Ok(true) => gone.push(name),
            Ok(false) => {}
            Err(TaskError::Fenced) => return Err(TaskError::Fenced),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(env = %name, error, "a destroyed environment cannot be removed");
            }
        }
    }
    if !gone.is_empty() {
        world.observations.forget_environments(&gone);
        world.route_changes.mark_all();
    }
    Ok(())
}

/// Removes an environment that is being destroyed and in which nothing is left; says whether it did.
fn remove_empty(tx: &mut WriteTx, env: &EnvName, now: Timestamp) -> Result<bool, TaskError> {
    if tx.environment(env)?.is_none_or(|env| env.state != EnvState::Destroying) {
        return Ok(false);
    }
    let apps = tx.app_states_of(env)?;
    let mut empty = true;
    for app in &apps {
        for id in [app.running, app.waiting].into_iter().flatten() {
            // One that a person has removed, because it could not be read, is no more waited for.
            empty &= tx.deployment(id)?.is_none();
        }
        empty &= tx.alive_instances_of(env, &app.app)?.is_empty()
            && tx.active_runs_of(env, &app.app)?.is_empty();
    }
    if !empty {
        return Ok(false);
    }
    tx.append_event(NewEvent {
        at: now,
        kind: EventKind::EnvironmentDestroyed,
        by: "ark".to_owned(),
        env: Some(env.clone()),
        app: None,
        deployment: None,
        instance: None,
        text: format!("environment {env} is gone, with {} apps", apps.len()),
    })?;
    tx.delete_environment(env, now)?;
    Ok(true)
}

async fn forget(world: &World, now: Timestamp) -> Result<(), TaskError> {
    let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
    let (stopped, events) = (before(STOPPED_KEPT), before(EVENTS_KEPT));
    let boot = world.observations.gateway().boot;
    world
        .store
        .write(move |tx| -> Result<(), TaskError> {
            tx.prune_instances(stopped, PRUNE_MAX)?;
            tx.prune_events(events, PRUNE_MAX)?;
            tx.prune_answers(now, PRUNE_MAX)?;
            if let Some(boot) = boot {
                tx.prune_traffic(stopped, boot, PRUNE_MAX)?;
            }
            Ok(())
        })
        .await
}

/// Runs rounds until another controller takes over.
pub async fn run(world: World) -> TaskError {
    let mut loop_ = Housekeeping::default();
    loop {
        match loop_.round(&world).await {
            Ok(()) => {}
            Err(TaskError::Fenced) => return TaskError::Fenced,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "housekeeping failed");
            }
        }
        world.clock.sleep_until(after(world.clock.now(), EVERY)).await;
    }
}
