//! Recording a plan: one transaction that checks that nothing it was made from has changed, moves
//! the instances and the deployment, and appends the events. Calls no engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ark_model::artifact::Artifact;
use ark_model::definition::Step;
use ark_model::deployment::{DeploymentKind, FAILURES_MAX, Watch};
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::{InstanceRecord, InstanceState, PortBinding, StopCause};
use ark_model::rollout::WatchEnd;
use ark_model::route::RouteKey;
use ark_model::{
    Deployment, DeploymentId, DeploymentState, Diagnosis, InstanceId, Receipt, ReleaseNumber,
};
use ark_planner::queue::{Recent, Running as OnRunning, enqueue, rollback_strategy};
use ark_planner::rollout::{Backoff, Plan, Transition};
use ark_planner::time::since;
use ark_planner::{Action, watch};
use ark_store::{PortRequest, StoreError, WriteTx};
use jiff::Timestamp;

use super::deployments::TaskError;
use super::diagnose::Diagnoses;
use super::reconcile::{Loaded, ReleaseFacts, Running, by_id, load};
use crate::observations::AppKey;
use crate::receipts;
use crate::world::{CONTROLLER_LEASE, Settings, World};

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
    plan: Plan,
    running: Vec<Running>,
    diagnoses: Diagnoses,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
) -> Result<Vec<InstanceRecord>, TaskError> {
    let now = world.clock.now();
    let starts: u32 = plan
        .actions
        .iter()
        .map(|a| if let Action::Start { count, .. } = a { *count } else { 0 })
        .sum();
    let ids: Vec<InstanceId> = (0..starts).map(|_| world.ids.instance()).collect();
    let avoid = if starts > 0 { world.host.listening_ports() } else { BTreeSet::new() };
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
    };
    let planned = Planned { plan, running, diagnoses };
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
struct Planned {
    plan: Plan,
    running: Vec<Running>,
    diagnoses: Diagnoses,
}

#[derive(Debug, Clone)]
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
        if !same(&current, &self.loaded) {
            return Err(TaskError::Outdated);
        }
        self.loaded = current;
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

    fn act(&mut self, tx: &mut WriteTx, action: &Action) -> Result<(), TaskError> {
        let now = self.now;
        match action {
            Action::Start { release, count } => {
                if let Some(why) = &self.no_room {
                    let text = format!("{count} instances of {release} have no room: {why}");
                    self.event(EventKind::InstanceLost, None, text);
                    return Ok(());
                }
                for _ in 0..*count {
                    self.start(tx, *release)?;
                }
            }
            Action::Activate(id) => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Active;
                    i.active_at = i.active_at.or(Some(now));
                })?;
                let text = format!("{} of {} is ready", self.name(*id), self.release_of(*id));
                self.event(EventKind::InstanceReady, Some(*id), text);
            }
            Action::Drain { id, cause } => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Draining;
                    i.draining_at = Some(now);
                    i.cause = Some(cause.clone());
                })?;
                let text = format!("{} of {} drains", self.name(*id), self.release_of(*id));
                self.event(EventKind::InstanceDraining, Some(*id), text);
            }
            Action::Stop { id, cause } => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Stopping;
                    i.stopping_at = i.stopping_at.or(Some(now));
                    i.cause = cause.clone().or(i.cause.take());
                })?;
                if let Some(cause @ StopCause::NeverReady { .. }) = cause {
                    let text = format!(
                        "{} of {} {}",
                        self.name(*id),
                        self.release_of(*id),
                        cause_words(cause)
                    );
                    self.event(EventKind::InstanceLost, Some(*id), text);
                }
            }
            Action::Ended { id, cause } => self.ended(tx, *id, cause.as_ref())?,
        }
        Ok(())
    }

    fn start(&mut self, tx: &mut WriteTx, release: ReleaseNumber) -> Result<(), TaskError> {
        let id = self.ids.pop().ok_or(TaskError::Outdated)?;
        let facts = self.releases.get(&release).ok_or(TaskError::Outdated)?.clone();
        let exposes = &facts.definition.expose;
        let (env, app) = (self.loaded.app.env.clone(), self.loaded.app.app.clone());
        // Ports refer to the instance, and the instance names its ports.
        let mut record = InstanceRecord {
            id,
            env,
            app,
            release,
            state: InstanceState::Starting,
            ports: Vec::new(),
            // A clock that was put back must not make it older than the restart that it is for.
            created_at: self.loaded.app.restart_before.map_or(self.now, |at| at.max(self.now)),
            running_since: None,
            active_at: None,
            draining_at: None,
            stopping_at: None,
            stopped_at: None,
            process: None,
            cause: None,
        };
        tx.insert_instance(&record)?;
        let drain = facts.definition.drain.requests.get().max(facts.definition.drain.streams.get());
        let request = PortRequest {
            instance: id,
            count: exposes.len(),
            range: self.settings.instance_ports.clone(),
            hold: PORT_HOLD.max(drain),
            avoid: self.avoid.clone(),
        };
        let ports = tx.allocate_ports(&request, self.now)?;
        // In a container, ports are the definition's own; where they are reached is known when it
        // runs, and before that it is in no table.
        let contained = matches!(facts.release.content.artifact, Artifact::Image { .. });
        let bind = |(expose, port): (&ark_model::definition::Expose, u16)| PortBinding {
            expose: expose.name.clone(),
            address: match contained {
                true => (std::net::Ipv4Addr::UNSPECIFIED, expose.port).into(),
                false => (std::net::Ipv4Addr::LOCALHOST, port).into(),
            },
        };
        record.ports = exposes.iter().zip(ports).map(bind).collect();
        tx.put_instance(&record)?;
        let text = format!("{} of {release} is to start", self.name(id));
        self.event(EventKind::InstanceStarting, Some(id), text);
        Ok(())
    }

    fn ended(
        &mut self,
        tx: &mut WriteTx,
        id: InstanceId,
        cause: Option<&StopCause>,
    ) -> Result<(), TaskError> {
        let now = self.now;
        let mut was_asked = None;
        self.change(tx, id, |i| {
            i.state = InstanceState::Stopped;
            i.stopped_at = Some(now);
            was_asked = i.cause.clone();
            i.cause = cause.cloned().or(i.cause.take());
        })?;
        tx.release_ports(id, now)?;
        let (name, release) = (self.name(id), self.release_of(id));
        match cause {
            Some(cause) => {
                let text = format!("{name} of {release} {}", cause_words(cause));
                self.event(EventKind::InstanceLost, Some(id), text);
            }
            None => {
                let why = was_asked.map_or(String::new(), |c| format!(": {}", cause_words(&c)));
                let text = format!("{name} of {release} stopped{why}");
                self.event(EventKind::InstanceStopped, Some(id), text);
            }
        }
        Ok(())
    }

    /// What it means that the instances of the plan cannot be started: to a deployment a failure
    /// of its release, else a reason to try again later.
    fn unstarted(&self, plan: &Plan) -> Option<Unstarted> {
        let why = self.no_room.as_ref()?;
        let of = plan.actions.iter().find_map(|action| match action {
            Action::Start { release, .. } => Some(*release),
            _ => None,
        })?;
        Some(match &self.loaded.running {
            Some(d) if d.state == DeploymentState::Replacing && d.release == of => {
                Unstarted::Deployed(Diagnosis::NoCapacity { detail: why.clone() })
            }
            Some(_) | None => {
                Unstarted::Steady(Backoff::after_failure(self.loaded.app.failures, self.now))
            }
        })
    }

    /// Moves the running deployment.
    fn deployment(
        &mut self,
        tx: &mut WriteTx,
        plan: &Plan,
        diagnoses: Diagnoses,
    ) -> Result<(), TaskError> {
        let Some(mut d) = self.loaded.running.clone() else { return Ok(()) };
        let before = d.state;
        if plan.progressed {
            d.progress_at = Some(self.now);
        }
        let room = FAILURES_MAX.saturating_sub(d.failures.len());
        d.failures.extend(diagnoses.failures.into_iter().take(room));
        if let Some(rollout) = plan.rollout.clone() {
            d.rollout = Some(rollout);
        }
        for text in &plan.said {
            self.event(EventKind::DeploymentProgress, None, text.clone());
        }
        match &plan.transition {
            None => {}
            Some(Transition::Live { keeping }) => self.live(&mut d, *keeping),
            Some(Transition::LetGo) => {
                d.state = DeploymentState::Draining;
                d.progress_at = Some(self.now);
                let old = d.base.map_or("the old side".to_owned(), |base| base.to_string());
                self.event(EventKind::DeploymentProgress, None, format!("{old} is let go"));
            }
            Some(Transition::Return(_)) => {
                // It was live: from now on what was before it is.
                if d.state == DeploymentState::Keeping {
                    let app = &mut self.loaded.app;
                    app.live = d.base;
                    app.previous = app.previous.filter(|previous| app.live != Some(*previous));
                }
                d.state = DeploymentState::Returning;
                d.returning_at = Some(self.now);
                d.diagnosis = diagnoses.reason;
                let why = d.diagnosis.as_ref().map_or(String::new(), Diagnosis::words);
                let back = d.base.map_or("stopping it".to_owned(), |b| format!("back to {b}"));
                self.event(EventKind::DeploymentReturning, None, format!("{why}; {back}"));
            }
            Some(Transition::End { state, note, .. }) => {
                d.state = *state;
                d.finished_at = Some(self.now);
                d.diagnosis = diagnoses.reason.or(d.diagnosis);
                d.notes.extend(note.clone());
                d.receipt = Some(self.receipt(tx, &d)?);
                self.loaded.app.running = None;
                self.finished(&d);
            }
        }
        tx.put_deployment(&d, before)?;
        self.loaded.running = (!d.state.is_terminal()).then_some(d);
        Ok(())
    }

    fn live(&mut self, d: &mut Deployment, keeping: bool) {
        d.state = match keeping {
            true => DeploymentState::Keeping,
            false => DeploymentState::Draining,
        };
        d.live_at = Some(self.now);
        d.progress_at = Some(self.now);
        let app = &mut self.loaded.app;
        if app.live != Some(d.release) {
            app.previous = app.live;
            app.live = Some(d.release);
        }
        app.failures = 0;
        app.start_after = None;
        self.event(EventKind::DeploymentLive, None, format!("{} is live", d.release));
    }

    fn receipt(&self, tx: &WriteTx, d: &Deployment) -> Result<Receipt, TaskError> {
        let traffic = tx.traffic(&d.env, &d.app)?;
        Ok(receipts::compute(d, &traffic))
    }

    fn finished(&mut self, d: &Deployment) {
        let counts = d.receipt.as_ref().map_or(String::new(), |r| {
            format!("; {} served, {} failed, {} cut", r.total.served, r.total.failed, r.total.cut)
        });
        let how = match d.state {
            DeploymentState::Succeeded => format!("{} succeeded", d.release),
            DeploymentState::RolledBack => match d.base {
                Some(base) => format!("{} failed, back on {base}", d.release),
                None => format!("{} failed", d.release),
            },
            DeploymentState::TimedOut => format!("{} timed out", d.release),
            DeploymentState::Superseded => format!("{} was superseded", d.release),
            DeploymentState::Failed
            | DeploymentState::Queued
            | DeploymentState::Replacing
            | DeploymentState::Stepping
            | DeploymentState::Keeping
            | DeploymentState::Draining
            | DeploymentState::Returning => format!("{} failed", d.release),
        };
        self.event(EventKind::DeploymentFinished, None, format!("{how}{counts}"));
    }

    /// The waiting deployment becomes the running one.
    fn begin(&mut self, tx: &mut WriteTx, plan: &Plan) -> Result<(), TaskError> {
        let Some(begins) = plan.begin_waiting.clone() else { return Ok(()) };
        if self.loaded.app.running.is_some() {
            return Ok(());
        }
        let Some(mut d) = self.loaded.waiting.take() else { return Ok(()) };
        let app = &mut self.loaded.app;
        tx.reset_stalls(&d.env, &d.app)?;
        let traffic = tx.traffic(&d.env, &d.app)?;
        (d.baseline, d.baseline_routes) = receipts::baseline(&traffic);
        d.state = begins.state;
        d.rollout = begins.rollout;
        d.started_at = Some(self.now);
        d.progress_at = Some(self.now);
        d.base = app.live;
        app.running = Some(d.id);
        app.waiting = None;
        app.failures = 0;
        app.start_after = None;
        let from = d.base.map_or(String::new(), |b| format!("{b} -> "));
        let text = match &d.rollout {
            Some(rollout) => {
                let words: Vec<String> = rollout.steps.iter().map(Step::words).collect();
                let (release, strategy) = (d.release, d.strategy);
                format!("{from}{release} begins, {strategy}: {}", words.join(", "))
            }
            None => format!("{from}{} begins, {}", d.release, d.strategy),
        };
        self.discovery(tx, d.release)?;
        tx.put_deployment(&d, DeploymentState::Queued)?;
        self.loaded.running = Some(d);
        self.event(EventKind::DeploymentStarted, None, text);
        Ok(())
    }

    /// The waiting deployment ends before it began.
    fn drop_waiting(&mut self, tx: &mut WriteTx, plan: &Plan) -> Result<(), TaskError> {
        if !plan.drop_waiting {
            return Ok(());
        }
        let Some(mut d) = self.loaded.waiting.take() else { return Ok(()) };
        d.state = DeploymentState::Superseded;
        d.finished_at = Some(self.now);
        self.loaded.app.waiting = None;
        tx.put_deployment(&d, DeploymentState::Queued)?;
        let text = format!("{} was withdrawn before it began: the app is to stop", d.release);
        self.event(EventKind::DeploymentFinished, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(d.id);
        }
        Ok(())
    }

    /// Each `expose` entry has a stable port from its first deployment on.
    fn discovery(&mut self, tx: &mut WriteTx, release: ReleaseNumber) -> Result<(), TaskError> {
        let facts = self.releases.get(&release).ok_or(TaskError::Outdated)?.clone();
        for expose in &facts.definition.expose {
            let route = RouteKey {
                env: self.loaded.app.env.clone(),
                app: self.loaded.app.app.clone(),
                expose: expose.name.clone(),
            };
            let range = &self.settings.discovery_ports.clone();
            match tx.allocate_discovery_port(&route, range, PORT_HOLD, self.now) {
                Ok(_) => {}
                // It is served by its hosts all the same; the next deployment tries again.
                Err(full @ StoreError::NoPort { .. }) => {
                    let text = format!("no discovery port for `{}`: {full}", expose.name);
                    self.event(EventKind::AppChanged, None, text);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The watch window of the last deployment opens, goes on or ends.
    fn watch(&mut self, tx: &mut WriteTx, change: watch::Move) -> Result<(), TaskError> {
        let watch = match change {
            watch::Move::Open(watch) => {
                if self.loaded.app.watch.is_none() {
                    let time = since(watch.since, watch.until);
                    let text = format!("watching {} for {} s", watch.release, time.as_secs());
                    self.watch_event(&watch, text);
                }
                self.loaded.app.watch = Some(watch);
                return Ok(());
            }
            watch::Move::End(watch) => watch,
        };
        self.loaded.app.watch = None;
        // Its deployment may have been forgotten meanwhile.
        if let Some(mut d) = tx.deployment(watch.deployment)? {
            d.watch = Some(watch.clone());
            let state = d.state;
            tx.put_deployment(&d, state)?;
        }
        let good = &mut self.loaded.app.good;
        good.retain(|release| *release != watch.release || watch.end == Some(WatchEnd::CutShort));
        let reasons = watch.judgement.as_ref().map(|j| j.reasons().join("; ")).unwrap_or_default();
        let release = watch.release;
        let text = match watch.end {
            Some(WatchEnd::Completed) => {
                good.push(release);
                let surplus = good.len().saturating_sub(watch::GOOD_MAX);
                good.drain(..surplus);
                format!("{release} completed its watch window")
            }
            Some(WatchEnd::RolledBack) => {
                self.go_back(tx, &watch, &reasons)?;
                format!("the judge fails {release}: {reasons}")
            }
            Some(WatchEnd::FoundBad) => {
                format!("the judge fails {release}, and nothing better is known: {reasons}")
            }
            Some(WatchEnd::CutShort) | None => {
                format!("{release} is no longer watched: something else is wanted")
            }
        };
        self.watch_event(&watch, text);
        Ok(())
    }

    fn watch_event(&mut self, watch: &Watch, text: String) {
        self.event(EventKind::DeploymentWatched, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(watch.deployment);
        }
    }

    /// What was watched is bad and what was before it was good: a rollback, like anybody's.
    fn go_back(&mut self, tx: &mut WriteTx, watch: &Watch, why: &str) -> Result<(), TaskError> {
        let Some(base) = watch.base else { return Ok(()) };
        let app = &self.loaded.app;
        let (env, name) = (app.env.clone(), app.app.clone());
        let Some(release) = tx.release(&env, &name, base)? else { return Ok(()) };
        let asked = release.content.definition.strategy_in(env.as_str());
        let strategy = rollback_strategy(asked, Recent::Yes);
        let mut d = Deployment::queued(
            self.rollback_id,
            (env, name),
            DeploymentKind::Rollback,
            base,
            strategy,
            (ARK.to_owned(), self.now),
        );
        d.reason = Some(format!("the judge fails {}: {why}", watch.release));
        let queued = enqueue(&self.loaded.app, &d, None, None, OnRunning::Finishes);
        tx.insert_deployment(&d)?;
        self.loaded.app = queued.app;
        let text = format!("rollback to {base}: {} turned bad", watch.release);
        self.event(EventKind::DeploymentQueued, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(d.id);
        }
        self.loaded.waiting = Some(d);
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

/// What came of instances for which there is no room.
enum Unstarted {
    /// A failure of the release under deployment.
    Deployed(Diagnosis),
    /// A later attempt.
    Steady(Backoff),
}

/// Whether the plan still fits: the same wishes, the same deployments in the same states, the same
/// instances in the same states.
fn same(a: &Loaded, b: &Loaded) -> bool {
    let states = |l: &Loaded| -> BTreeMap<InstanceId, InstanceState> {
        l.instances.iter().map(|i| (i.id, i.state)).collect()
    };
    let deployment = |d: &Option<Deployment>| {
        d.as_ref().map(|d| (d.id, d.state, d.abort.clone(), d.rollout.clone()))
    };
    a.app == b.app
        && a.destroying == b.destroying
        && deployment(&a.running) == deployment(&b.running)
        && deployment(&a.waiting) == deployment(&b.waiting)
        && states(a) == states(b)
}

/// What happened to an instance, after its name.
fn cause_words(cause: &StopCause) -> String {
    match cause {
        StopCause::Replaced => "was replaced".to_owned(),
        StopCause::Returned => "was withdrawn".to_owned(),
        StopCause::ScaledDown => "was no longer needed".to_owned(),
        StopCause::Asked => "was asked to stop".to_owned(),
        StopCause::Exited { exit } => format!("ended by itself: {}", exit.words()),
        StopCause::StartFailed { reason } => format!("could not be started: {}", reason.words()),
        StopCause::NeverReady { last } => format!("did not become ready: {last}"),
        StopCause::Vanished => "vanished from the engine".to_owned(),
    }
}
