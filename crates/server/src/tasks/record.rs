//! Recording a plan: one transaction that checks that nothing it was made from has changed, moves
//! the instances and the deployment, and appends the events. Calls no engine.
//!
//! ```text
//! record       the transaction: fence, check, everything below, events
//!  instances     start, activate, drain, stop, end
//!  deployment    the running one moves on or ends, with its receipt
//!  beginning     the waiting one begins or is withdrawn
//!  watch         the watch window after the end
//! ```

mod beginning;
mod deployment;
mod instances;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ark_engine::Engine;
use ark_model::api::TrafficHistory;
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::{InstanceRecord, InstanceState};
use ark_model::{Deployment, DeploymentId, InstanceId, ReleaseNumber};
use ark_planner::rollout::{Backoff, Plan, Transition};
use ark_planner::{Action, Planted};
use ark_store::{StoreError, WriteTx};
use jiff::Timestamp;

use super::diagnose::Diagnoses;
use super::hosts::Hosts;
use super::reconcile::{Loaded, ReleaseFacts, Running, by_id, load};
use super::round::TaskError;
use crate::deployment_traffic;
use crate::observations::AppKey;
use crate::world::{CONTROLLER_LEASE, Settings, World};
use instances::Unstarted;

/// Ports are not given to another instance for at least this long after their release, whatever
/// the drain time.
const PORT_HOLD: std::time::Duration = std::time::Duration::from_secs(60);
/// Who did what the tasks do.
const ARK: &str = "ark";

/// Records the plan; answers the app's instances as they then are.
pub(super) async fn record(
    world: &World,
    key: &AppKey,
    loaded: Loaded,
    planned: Planned,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    hosts: Arc<Hosts>,
) -> Result<Vec<InstanceRecord>, TaskError> {
    let now = world.clock.now();
    let starts: u32 = planned
        .plan
        .actions
        .iter()
        .map(|a| if let Action::Start { count, .. } = a { *count } else { 0 })
        .sum();
    let ids: Vec<InstanceId> = (0..starts).map(|_| world.ids.instance()).collect();
    let avoid = if starts > 0 { world.host.listening_ports() } else { BTreeSet::new() };
    let traffic = traffic_of_the_ended(world, key, &loaded, &planned.plan);
    let recording = Recording {
        now,
        ids,
        avoid,
        releases: releases.clone(),
        settings: world.settings.clone(),
        events: Vec::new(),
        loaded,
        rollback_id: world.ids.deployment(),
        no_room: None,
        traffic,
        hosts,
        here: world.engine.clone(),
        planted: world.planted,
    };
    let records = match write(world, key, recording.clone(), planned.clone()).await {
        // All of it or nothing: what can be recorded without the new instances is.
        Err(TaskError::Store(full @ StoreError::NoPort { .. })) => {
            let recording = Recording { no_room: Some(full.to_string()), ..recording };
            write(world, key, recording, planned).await?
        }
        other => other?,
    };
    world.route_changes.mark(key);
    Ok(records)
}

/// What was measured while the running deployment ran, when it ends now.
fn traffic_of_the_ended(
    world: &World,
    key: &AppKey,
    loaded: &Loaded,
    plan: &Plan,
) -> Option<TrafficHistory> {
    let ends = matches!(plan.transition, Some(Transition::End { .. }));
    let began = loaded.running.as_ref().filter(|_| ends)?.started_at?;
    let now = world.clock.now();
    Some(deployment_traffic::history(&world.observations.measured_so_far(key), began, now))
}

async fn write(
    world: &World,
    key: &AppKey,
    recording: Recording,
    planned: Planned,
) -> Result<Vec<InstanceRecord>, TaskError> {
    let (key, fence) = (key.clone(), world.fence);
    world
        .store
        .write(move |tx| {
            match tx.check_lease(CONTROLLER_LEASE, fence.token) {
                Ok(()) => {}
                Err(StoreError::StaleLease { .. }) => return Err(TaskError::Fenced),
                Err(error) => return Err(error.into()),
            }
            recording.apply(tx, &key, planned)
        })
        .await
}

/// What is to be recorded.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) running: Vec<Running>,
    pub(super) diagnoses: Diagnoses,
}

#[derive(Clone)]
struct Recording {
    now: Timestamp,
    ids: Vec<InstanceId>,
    avoid: BTreeSet<u16>,
    releases: HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    settings: Arc<Settings>,
    events: Vec<NewEvent>,
    loaded: Loaded,
    /// The id of the rollback that a watch window may lead to.
    rollback_id: DeploymentId,
    /// Why no instance can be started.
    no_room: Option<String>,
    /// What is kept of the traffic of a deployment that ends.
    traffic: Option<TrafficHistory>,
    /// Where instances may be placed.
    hosts: Arc<Hosts>,
    /// Says which engine runs what.
    here: Arc<dyn Engine>,
    /// A bug, in the simulator's tests.
    planted: Option<Planted>,
}

impl Recording {
    fn apply(
        mut self,
        tx: &mut WriteTx,
        key: &AppKey,
        planned: Planned,
    ) -> Result<Vec<InstanceRecord>, TaskError> {
        let Planned { plan, running, mut diagnoses } = planned;
        let current = load(tx, key)?.ok_or(TaskError::Outdated)?;
        match (same(&current, &self.loaded), self.planted) {
            (true, _) => self.loaded = current,
            (false, Some(Planted::WriteOverWhatChanged)) => {}
            (false, _) => return Err(TaskError::Outdated),
        }
        for seen in running {
            self.change(tx, seen.id, |i| {
                i.running_since = i.running_since.or(Some(seen.since));
                i.process = seen.process;
                if let Some(address) = seen.address {
                    i.ports.iter_mut().for_each(|port| port.address.set_ip(address));
                }
            })?;
        }
        for action in &plan.actions {
            self.act(tx, action)?;
        }
        let unstarted = self.unstarted(&plan);
        if let Some(Unstarted::Deployed(diagnosis)) = &unstarted {
            diagnoses.failures.push(diagnosis.clone());
        }
        self.deployment(tx, &plan, diagnoses)?;
        self.begin(tx, &plan)?;
        self.drop_waiting(tx, &plan)?;
        if let Some(watch) = plan.watch.clone() {
            self.watch(tx, watch)?;
        }
        match unstarted {
            Some(Unstarted::Steady(backoff)) => self.backoff(Some(backoff)),
            Some(Unstarted::Deployed(_)) | None => self.backoff(plan.backoff),
        }
        self.loaded.app.updated_at = self.now;
        tx.put_app_state(&self.loaded.app)?;
        for event in self.events {
            tx.append_event(event)?;
        }
        Ok(tx.alive_instances_of(&key.0, &key.1)?)
    }

    fn event(&mut self, kind: EventKind, instance: Option<InstanceId>, text: String) {
        let running = self.loaded.running.as_ref().map(|d| d.id);
        self.events.push(NewEvent {
            at: self.now,
            kind,
            by: ARK.to_owned(),
            env: Some(self.loaded.app.env.clone()),
            app: Some(self.loaded.app.app.clone()),
            deployment: running,
            instance,
            text,
        });
    }

    fn name(&self, id: InstanceId) -> String {
        id.short(&self.loaded.app.app)
    }

    fn release_of(&self, id: InstanceId) -> String {
        by_id(&self.loaded.instances).get(&id).map_or("?".to_owned(), |i| i.release.to_string())
    }

    fn change(
        &self,
        tx: &mut WriteTx,
        id: InstanceId,
        change: impl FnOnce(&mut InstanceRecord),
    ) -> Result<(), TaskError> {
        let mut record = tx.instance(id)?.ok_or(TaskError::Outdated)?;
        change(&mut record);
        tx.put_instance(&record)?;
        Ok(())
    }

    fn backoff(&mut self, backoff: Option<Backoff>) {
        match backoff {
            None => {}
            Some(Backoff::Reset) => {
                self.loaded.app.failures = 0;
                self.loaded.app.start_after = None;
            }
            Some(Backoff::Delay { failures, until }) => {
                self.loaded.app.failures = failures;
                self.loaded.app.start_after = Some(until);
            }
        }
    }
}

/// Whether the plan still fits: the same wishes, the same deployments in the same states, the same
/// instances in the same states.
fn same(a: &Loaded, b: &Loaded) -> bool {
    let states = |l: &Loaded| -> BTreeMap<InstanceId, InstanceState> {
        l.instances.iter().map(|i| (i.id, i.state)).collect()
    };
    let deployment = |d: &Option<Deployment>| {
        d.as_ref().map(|d| (d.id, d.state, d.abort.clone(), d.rollout.clone(), d.hooks.clone()))
    };
    a.app == b.app
        && a.destroying == b.destroying
        && deployment(&a.running) == deployment(&b.running)
        && deployment(&a.waiting) == deployment(&b.waiting)
        && states(a) == states(b)
}
