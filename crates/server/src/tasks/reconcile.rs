//! One app, one round: read, observe, plan, record, carry out.
//!
//! The records are changed in one transaction that first checks that they still are what the plan
//! was made from. The engine is called afterwards, by what the records say and not by what the plan
//! said; so a crash between the two costs nothing but a round.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use ark_engine::EngineKind;
use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, Readiness, Strategy};
use ark_model::environment::{AppState, EnvKind, EnvState};
use ark_model::instance::{EngineState, InstanceRecord, ProcessIdentity};
use ark_model::{Deployment, InstanceId, Release, ReleaseNumber};
use ark_planner::rollout::{Input, Plan, plan};
use ark_planner::time::after;
use ark_planner::{Policy, Seen, ShareSeen};
use ark_store::ReadTx;
use jiff::Timestamp;

use super::deployments::{Facts, Listed};
use super::round::{Look, RETRY, TaskError};
use super::{diagnose, engine_calls, on_demand, record};
use crate::observations::AppKey;
use crate::route_table::{Division, drain};
use crate::world::World;

/// What never changes of a release.
#[derive(Debug)]
pub(super) struct ReleaseFacts {
    /// The release.
    pub(super) release: Release,
    /// Its definition, shared with the route table.
    pub(super) definition: Arc<Definition>,
    /// The `expose` entries whose checks make an instance ready.
    pub(super) checked: Vec<String>,
}

impl ReleaseFacts {
    pub(super) fn new(release: Release) -> Self {
        let definition = Arc::new(release.content.definition.clone());
        let checked = match definition.readiness() {
            Readiness::Checks(exposes) => exposes.iter().map(|e| e.name.clone()).collect(),
            Readiness::RunsFor(_) => Vec::new(),
        };
        Self { release, definition, checked }
    }
}

/// What is recorded of one app.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) app: AppState,
    pub(super) kind: EnvKind,
    pub(super) destroying: bool,
    pub(super) running: Option<Deployment>,
    pub(super) waiting: Option<Deployment>,
    pub(super) instances: Vec<InstanceRecord>,
}

/// What the engine was newly seen to do with an instance.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) id: InstanceId,
    pub(super) since: Timestamp,
    pub(super) process: Option<ProcessIdentity>,
    /// Where its ports are reached, when it has an address of its own.
    pub(super) address: Option<IpAddr>,
}

pub(super) fn load(tx: &ReadTx, key: &AppKey) -> Result<Option<Loaded>, TaskError> {
    let (env, app) = key;
    let Some(mut state) = tx.app_state(env, app)? else { return Ok(None) };
    let Some(environment) = tx.environment(env)? else { return Ok(None) };
    let deployment = |id| match id {
        Some(id) => tx.deployment(id),
        None => Ok(None),
    };
    let (running, waiting) = (deployment(state.running)?, deployment(state.waiting)?);
    // Nobody but a person removes one that is not over: the app goes on without it.
    state.running = running.as_ref().map(|d| d.id);
    state.waiting = waiting.as_ref().map(|d| d.id);
    Ok(Some(Loaded {
        kind: environment.kind,
        destroying: environment.state == EnvState::Destroying,
        running,
        waiting,
        instances: tx.alive_instances_of(env, app)?,
        app: state,
    }))
}

/// Reconciles one app, in a round that began with that look. Answers when time alone may change the
/// answer.
pub(super) async fn reconcile(
    world: &World,
    key: &AppKey,
    listed: &Listed,
    facts: &Facts,
    look: Look,
) -> Result<Option<Timestamp>, TaskError> {
    let wanted = key.clone();
    let Some(loaded) = world.store.read(move |tx| load(tx, &wanted)).await? else {
        return Ok(None);
    };
    let releases = releases(world, key, &loaded, facts).await?;
    let Look { since, at: now, .. } = look.again(world.clock.as_ref());
    let seen = see(world, &loaded, &releases, listed);
    let demand = on_demand::demand(world, key, &loaded, &releases, now);
    let hosts = &listed.hosts;
    let policy = |d: Option<&Deployment>, release: Option<ReleaseNumber>| {
        let facts = releases.get(&release?)?;
        let strategy = d.map_or(Strategy::Rolling, |d| d.strategy);
        let policy = Policy::of(&facts.definition, loaded.kind, strategy);
        let each = policy.one_per_host.then(|| hosts.taking(world, facts)).flatten();
        let count = each.or(demand.count).unwrap_or(policy.count);
        let runs_image = matches!(facts.release.content.artifact, Artifact::Image { .. });
        Some(Policy { count, runs_image, ..policy })
    };
    let current = loaded.running.as_ref().or(loaded.waiting.as_ref());
    let new_policy = policy(current, current.map(|d| d.release));
    let live_policy = policy(None, loaded.app.live);
    let measured_since = measure(world, key, &loaded, now).await?;
    // Asked first: what is measured by now is at least that.
    let measured_until = world.observations.measured_until(key, now);
    let measured = world.observations.measured(key, now);
    let planned = plan(&Input {
        now,
        since,
        app: &loaded.app,
        ending: ending(world, &loaded),
        running: loaded.running.as_ref(),
        waiting: loaded.waiting.as_ref(),
        new_policy: new_policy.as_ref(),
        live_policy: live_policy.as_ref(),
        seen: &seen,
        share: share(world, key, &loaded, &releases),
        held: held(world, key, &loaded),
        measured: &measured,
        measured_since,
        measured_until,
        planted: world.planted,
    });
    let running = newly_running(world, &loaded, &releases, listed);
    let mut wake_at = [planned.wake_at, demand.until].into_iter().flatten().min();
    let records = if changes_something(&planned) || !running.is_empty() {
        let diagnoses = diagnose::diagnose(world, &loaded, &releases, &planned, now).await;
        if planned.begin_waiting.is_some() || !running.is_empty() {
            wake_at = Some(now);
        }
        let planned = record::Planned { plan: planned, running, diagnoses };
        record::record(world, key, loaded, planned, &releases, hosts.clone()).await?
    } else {
        loaded.instances
    };
    if engine_calls::carry_out(world, &records, &releases, listed).await {
        let retry = after(world.clock.now(), RETRY);
        wake_at = Some(wake_at.map_or(retry, |w| w.min(retry)));
    }
    Ok(wake_at)
}

/// Sees to it that an app with a running deployment or an open watch window is measured, and no other.
/// From the deployment's beginning on: what the old side did is what a watch is held against. Answers
/// from when on nothing is missing.
async fn measure(
    world: &World,
    key: &AppKey,
    loaded: &Loaded,
    now: Timestamp,
) -> Result<Timestamp, TaskError> {
    let watched = loaded.app.watch.as_ref().map(|watch| watch.deployment);
    let Some(of) = loaded.running.as_ref().map(|d| d.id).or(watched) else {
        world.observations.measure_no_more(key);
        return Ok(now);
    };
    let window = match &loaded.running {
        Some(d) => d.rollout.as_ref().and_then(|rollout| rollout.judged_from),
        None => loaded.app.watch.as_ref().map(|watch| watch.since),
    };
    // What an earlier server measured.
    let kept = match world.observations.is_measured(key) {
        true => Vec::new(),
        false => {
            let (env, app) = key.clone();
            world.store.read(move |tx| tx.measures(&env, &app)).await?
        }
    };
    world.observations.measure(key, (of, window), &kept, now);
    Ok(world.observations.measured_since(key).unwrap_or(now))
}

/// Why nothing is to run, whatever is wanted of the app.
fn ending(world: &World, loaded: &Loaded) -> Option<&'static str> {
    if loaded.destroying {
        return Some("the environment is being destroyed");
    }
    world.halt.load(Ordering::Relaxed).then_some("Ark is being shut down with its apps")
}

fn changes_something(plan: &Plan) -> bool {
    !plan.actions.is_empty()
        || plan.transition.is_some()
        || plan.rollout.is_some()
        || plan.watch.is_some()
        || plan.begin_waiting.is_some()
        || plan.drop_waiting
        || plan.backoff.is_some()
        || !plan.failures.is_empty()
}

/// The releases that matter now: of the instances, the deployments, and the live one.
async fn releases(
    world: &World,
    key: &AppKey,
    loaded: &Loaded,
    facts: &Facts,
) -> Result<HashMap<ReleaseNumber, Arc<ReleaseFacts>>, TaskError> {
    let mut numbers: Vec<ReleaseNumber> = loaded.instances.iter().map(|i| i.release).collect();
    numbers.extend(loaded.app.live);
    for d in loaded.running.iter().chain(&loaded.waiting) {
        numbers.push(d.release);
        numbers.extend(d.base);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let mut found = HashMap::new();
    let mut missing = Vec::new();
    {
        let facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            match facts.get(&(key.0.clone(), key.1.clone(), number)) {
                Some(known) => {
                    found.insert(number, known.clone());
                }
                None => missing.push(number),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let (env, app) = key.clone();
    let read: Vec<Release> = world
        .store
        .read(move |tx| -> Result<Vec<Release>, TaskError> {
            let mut all = Vec::new();
            for number in missing {
                all.extend(tx.release(&env, &app, number)?);
            }
            Ok(all)
        })
        .await?;
    let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
    for release in read {
        let place = (key.0.clone(), key.1.clone(), release.number);
        let number = release.number;
        let new = Arc::new(ReleaseFacts::new(release));
        facts.insert(place, new.clone());
        found.insert(number, new);
    }
    Ok(found)
}

fn see(
    world: &World,
    loaded: &Loaded,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    listed: &Listed,
) -> Vec<Seen> {
    let observations = &world.observations;
    let division = loaded.running.as_ref().map(Division::of).unwrap_or_default();
    loaded
        .instances
        .iter()
        .map(|record| {
            let facts = releases.get(&record.release);
            let drain = facts
                .map(|f| drain(&f.definition, &division))
                .map(|times| times.requests.max(times.streams))
                .unwrap_or_default();
            let probe = facts
                .filter(|f| !f.checked.is_empty())
                .and_then(|f| observations.probe(record.id, &f.checked));
            let mut seen = Seen::new(
                record,
                drain,
                listed.state(record, engine_of(world, facts)),
                probe,
                observations.admission(record.id),
                observations.in_flight(record.id),
            );
            seen.host =
                listed.hosts.seen_for(&record.node, world.engine.as_ref(), facts.map(Arc::as_ref));
            seen
        })
        .collect()
}

/// How the table in force divides the traffic of an app that has any.
fn share(
    world: &World,
    key: &AppKey,
    loaded: &Loaded,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
) -> ShareSeen {
    let sides = loaded.running.iter().flat_map(|d| [Some(d.release), d.base]).flatten();
    let routed = sides
        .filter_map(|release| releases.get(&release))
        .any(|facts| !facts.definition.expose.is_empty());
    if routed { world.observations.share(key) } else { ShareSeen::Unrouted }
}

/// Requests that were held while nothing ran and have not ended.
fn held(world: &World, key: &AppKey, loaded: &Loaded) -> Option<u32> {
    let held_back = loaded.running.as_ref().filter(|d| d.strategy == Strategy::Recreate);
    held_back.and_then(|_| world.observations.held(key))
}

/// Which engine runs a release's instances.
pub(super) fn engine_of(world: &World, facts: Option<&Arc<ReleaseFacts>>) -> Option<EngineKind> {
    facts.map(|facts| world.engine.kind_for(&facts.release.content.artifact))
}

/// Instances that the engine runs and of which that is not recorded yet.
fn newly_running(
    world: &World,
    loaded: &Loaded,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    listed: &Listed,
) -> Vec<Running> {
    let kind = |record: &InstanceRecord| engine_of(world, releases.get(&record.release));
    loaded
        .instances
        .iter()
        .filter_map(|record| match listed.state(record, kind(record))? {
            EngineState::Running { since, process, address }
                if record.running_since.is_none() || record.process != process =>
            {
                Some(Running { id: record.id, since, process, address })
            }
            _ => None,
        })
        .collect()
}

/// Records by id, for lookups.
pub(super) fn by_id(instances: &[InstanceRecord]) -> BTreeMap<InstanceId, &InstanceRecord> {
    instances.iter().map(|i| (i.id, i)).collect()
}
