//! What is to be said of an app, an instance and a deployment, out of what is recorded and what is
//! observed. Read by the operations of those resources; changes nothing.

use std::cmp::Ordering;

use ark_engine::{Capabilities, Engine};
use ark_model::api::{
    Address, AppDetail, AppRow, DeploymentProgress, DeploymentSummary, DeploymentView, InstanceRow,
    PortView, RolloutView, SideProgress, SideTraffic, StepState, StepView, TrafficView, WatchView,
};
use ark_model::artifact::Artifact;
use ark_model::definition::{self, Definition, Protocol, RunKind, Step, StoreProduct};
use ark_model::deployment::Watch;
use ark_model::environment::AppState;
use ark_model::hook::HookRun;
use ark_model::instance::{InstanceRecord, InstanceState, StopCause};
use ark_model::release::Release;
use ark_model::route::RouteKey;
use ark_model::{AppName, Deployment, DeploymentState, EnvName, InstanceId, ReleaseNumber};
use ark_planner::time::{after, since_ms};
use ark_store::{DeploymentFilter, ReadTx};
use jiff::Timestamp;

use super::error::ApiError;
use super::unenforced::Asked;
use super::{diff, rollbacks};
use crate::observations::Observations;
use crate::route_table::default_host;
use crate::state::ServerState;

/// Deployments among which the last one that ended, and the one that made the live release live,
/// are looked for.
const RECENT_DEPLOYMENTS: usize = 20;
/// Instances of which those that ended lately are counted.
const RECENT_INSTANCES: usize = 50;
const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What is recorded of one app, as far as its row tells it: small, because many are kept. A
/// definition, which may be long, is no part of it.
#[derive(Debug)]
pub(super) struct AppRecords {
    state: AppState,
    /// Of the live release; before there is one, of the one that is on its way.
    shown: Option<Shown>,
    live_since: Option<Timestamp>,
    last: Option<DeploymentSummary>,
    running: Option<DeploymentSummary>,
    waiting: Option<DeploymentSummary>,
    alive: Vec<Alive>,
    /// When instances ended by themselves lately.
    lost: Vec<Timestamp>,
}

/// What a row tells of a release.
#[derive(Debug)]
struct Shown {
    kind: RunKind,
    data_store: Option<StoreProduct>,
    /// Instances that the definition asks for.
    count: u32,
    has_ports: bool,
    artifact: Artifact,
    asked: Asked,
}

impl Shown {
    fn of(definition: &Definition, artifact: Artifact) -> Self {
        Self {
            kind: definition.run.kind,
            data_store: definition.data_store.map(|server| server.product),
            count: definition.count(),
            has_ports: !definition.expose.is_empty(),
            artifact,
            asked: Asked::of(definition),
        }
    }
}

/// An instance that may still run.
#[derive(Debug, Clone, Copy)]
struct Alive {
    id: InstanceId,
    state: InstanceState,
    has_ports: bool,
}

impl Alive {
    fn of(record: &InstanceRecord) -> Self {
        Self { id: record.id, state: record.state, has_ports: !record.ports.is_empty() }
    }

    /// Whether it takes traffic now; without ports, whether it does its work. While no gateway is
    /// connected its last word is gone, and what is recorded is the best there is.
    fn is_ready(&self, observations: &Observations, connected: bool) -> bool {
        self.state == InstanceState::Active
            && (!self.has_ports || !connected || observations.is_ready(self.id))
    }
}

pub(super) fn load(tx: &ReadTx, state: AppState, now: Timestamp) -> Result<AppRecords, ApiError> {
    Ok(load_with_definition(tx, state, now)?.0)
}

fn load_with_definition(
    tx: &ReadTx,
    state: AppState,
    now: Timestamp,
) -> Result<(AppRecords, Option<Definition>), ApiError> {
    let (env, app) = (state.env.clone(), state.app.clone());
    let filter = DeploymentFilter { env: Some(env.clone()), app: Some(app.clone()) };
    let recent = tx.deployments(&filter, None, RECENT_DEPLOYMENTS)?;
    let deployment = |id| match (id, recent.iter().find(|d| Some(d.id) == id)) {
        (_, Some(found)) => Ok(Some(found.clone())),
        // One that cannot be read is not shown, and hides nothing else: `ark doctor` names it.
        (Some(id), None) => tx.readable_deployment(id),
        (None, None) => Ok(None),
    };
    let running = deployment(state.running)?;
    let waiting = deployment(state.waiting)?;
    let shown = state.live.or_else(|| running.as_ref().or(waiting.as_ref()).map(|d| d.release));
    let shown = match shown {
        Some(number) => tx.release(&env, &app, number)?,
        None => None,
    };
    let lately = now.checked_sub(HOUR).unwrap_or(Timestamp::MIN);
    let stopped = tx.lately_stopped_of(&env, &app, RECENT_INSTANCES, lately)?;
    let made_live = |d: &&Deployment| Some(d.release) == state.live && d.live_at.is_some();
    let content = shown.map(|release| release.content);
    let records = AppRecords {
        shown: content
            .as_ref()
            .map(|content| Shown::of(&content.definition, content.artifact.clone())),
        live_since: recent.iter().find(made_live).and_then(|d| d.live_at),
        last: recent.iter().find(|d| d.state.is_terminal()).map(summary),
        running: running.as_ref().map(summary),
        waiting: waiting.as_ref().map(summary),
        alive: tx.alive_instances_of(&env, &app)?.iter().map(Alive::of).collect(),
        lost: stopped.iter().filter_map(ended_by_itself).collect(),
        state,
    };
    Ok((records, content.map(|content| content.definition)))
}

/// When an instance ended, if it did so by itself.
fn ended_by_itself(instance: &InstanceRecord) -> Option<Timestamp> {
    let by_itself = match &instance.cause {
        Some(StopCause::Exited { exit }) => !exit.requested,
        Some(
            StopCause::StartFailed { .. } | StopCause::NeverReady { .. } | StopCause::Vanished,
        ) => true,
        Some(
            StopCause::Replaced | StopCause::Returned | StopCause::ScaledDown | StopCause::Asked,
        )
        | None => false,
    };
    instance.stopped_at.filter(|_| by_itself)
}

/// What rows are told from beside the records, asked once for all of them.
pub(super) struct Present<'a> {
    observations: &'a Observations,
    engine: &'a dyn Engine,
    capabilities: Capabilities,
    connected: bool,
    now: Timestamp,
}

impl<'a> Present<'a> {
    pub(super) fn of(server: &'a ServerState, now: Timestamp) -> Self {
        Self {
            observations: &server.observations,
            engine: server.engine.as_ref(),
            capabilities: server.engine.capabilities(),
            connected: server.observations.is_connected(),
            now,
        }
    }
}

impl AppRecords {
    /// The row of `ark status`.
    pub(super) fn row(&self, present: &Present<'_>) -> AppRow {
        let (state, now) = (&self.state, present.now);
        let observations = present.observations;
        let ready =
            self.alive.iter().filter(|i| i.is_ready(observations, present.connected)).count();
        let shown = self.shown.as_ref();
        let has_ports = shown.is_some_and(|shown| shown.has_ports);
        let traffic = has_ports.then(|| {
            let seen = observations.traffic(&state.env, &state.app, now);
            TrafficView {
                requests_per_s: seen.requests_per_s,
                served_1h: seen.served_1h,
                failed_1h: seen.failed_1h,
                p99_ms: seen.p99_ms,
            }
        });
        let lost = self.lost.iter().filter(|at| after(**at, HOUR) > now).count();
        let not_enforced = shown.map(|shown| {
            shown.asked.unenforced(present.engine.kind_for(&shown.artifact), &present.capabilities)
        });
        AppRow {
            env: state.env.clone(),
            app: state.app.clone(),
            kind: shown.map(|shown| shown.kind),
            data_store: shown.and_then(|shown| shown.data_store),
            live: state.live,
            live_since: self.live_since,
            wanted: self.wanted(),
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            alive: u32::try_from(self.alive.len()).unwrap_or(u32::MAX),
            stopped: state.stopped,
            lost_1h: u32::try_from(lost).unwrap_or(u32::MAX),
            traffic,
            last_deployment: self.last.clone(),
            running_deployment: self.running.clone(),
            waiting_deployment: self.waiting.clone(),
            not_enforced: not_enforced.unwrap_or_default(),
        }
    }

    fn wanted(&self) -> u32 {
        if self.state.stopped {
            return 0;
        }
        self.shown.as_ref().map_or(0, |shown| self.state.scale.unwrap_or(shown.count))
    }
}

/// What is recorded of one app, with what is told of it alone.
#[derive(Debug)]
pub(super) struct AppDetailRecords {
    records: AppRecords,
    definition: Option<Definition>,
    config_version: u64,
    rollback_to: Option<ReleaseNumber>,
    discovery: Vec<(String, u16)>,
}

pub(super) fn load_detail(
    tx: &ReadTx,
    state: AppState,
    now: Timestamp,
) -> Result<AppDetailRecords, ApiError> {
    let (env, app) = (state.env.clone(), state.app.clone());
    let rollback_to = rollbacks::target_shown(tx, &state)?;
    let (records, definition) = load_with_definition(tx, state, now)?;
    let mut discovery = Vec::new();
    for expose in definition.iter().flat_map(|d| &d.expose) {
        let route = RouteKey { env: env.clone(), app: app.clone(), expose: expose.name.clone() };
        discovery.extend(tx.discovery_port(&route)?.map(|port| (expose.name.clone(), port)));
    }
    let config_version = tx.config(&env, &app)?.version;
    Ok(AppDetailRecords { records, definition, config_version, rollback_to, discovery })
}

impl AppDetailRecords {
    /// Everything known of the app.
    pub(super) fn detail(&self, present: &Present<'_>) -> AppDetail {
        let AppRecords { state, .. } = &self.records;
        let definition = self.definition.as_ref();
        AppDetail {
            row: self.records.row(present),
            addresses: self.addresses(present.observations),
            scale: state.scale,
            previous: state.previous,
            rollback_to: self.rollback_to,
            dependencies: definition.map(|d| d.dependencies.clone()).unwrap_or_default(),
            failures: state.failures,
            start_after: state.start_after,
            config_version: self.config_version,
        }
    }

    fn addresses(&self, observations: &Observations) -> Vec<Address> {
        let Some(definition) = &self.definition else {
            return Vec::new();
        };
        let http = observations.gateway().http.first().copied();
        let address = |(index, expose): (usize, &definition::Expose)| {
            let url = match expose.protocol {
                Protocol::Http | Protocol::H2c | Protocol::Grpc => {
                    let port = http?.port();
                    let (env, app) = (&self.records.state.env, &self.records.state.app);
                    let host = default_host(env, app, index, &expose.name);
                    let path = expose.path.trim_end_matches('/');
                    format!("http://{host}:{port}{path}")
                }
                Protocol::Tcp => {
                    let (_, port) = self.discovery.iter().find(|(name, _)| *name == expose.name)?;
                    format!("tcp://127.0.0.1:{port}")
                }
            };
            Some(Address { expose: expose.name.clone(), url })
        };
        definition.expose.iter().enumerate().filter_map(address).collect()
    }
}

/// The row of `ark ps`.
pub(super) fn instance_row(observations: &Observations, record: InstanceRecord) -> InstanceRow {
    let ready = Alive::of(&record).is_ready(observations, observations.is_connected());
    let not_ready_because = match (ready, record.state.is_alive()) {
        (false, true) => observations.readiness(record.id).and_then(|r| r.last_failure),
        (true, _) | (_, false) => None,
    };
    let since = match record.state {
        InstanceState::Starting => None,
        InstanceState::Active => record.active_at,
        InstanceState::Draining => record.draining_at,
        InstanceState::Stopping => record.stopping_at,
        InstanceState::Stopped => record.stopped_at,
    };
    let in_flight = match record.state.is_alive() {
        true => observations.in_flight(record.id),
        false => None,
    };
    let port = |p: &ark_model::instance::PortBinding| PortView {
        expose: p.expose.clone(),
        address: p.address,
    };
    InstanceRow {
        id: record.id.short(&record.app),
        uuid: record.id,
        release: record.release,
        node: record.node.clone(),
        state: record.state,
        pid: record.process.filter(|_| record.state.is_alive()).map(|process| process.pid),
        address: record.ports.first().map(|port| port.address),
        ready,
        not_ready_because,
        ports: record.ports.iter().map(port).collect(),
        in_flight,
        created_at: record.created_at,
        since: since.unwrap_or(record.created_at),
        memory_bytes: None,
        cause_words: record.cause.as_ref().map(cause_words),
        cause: record.cause,
        env: record.env,
        app: record.app,
    }
}

fn cause_words(cause: &StopCause) -> String {
    match cause {
        StopCause::Replaced => "replaced".to_owned(),
        StopCause::Returned => "withdrawn with its deployment".to_owned(),
        StopCause::ScaledDown => "no longer needed".to_owned(),
        StopCause::Asked => "asked to stop".to_owned(),
        StopCause::Exited { exit } => exit.words(),
        StopCause::StartFailed { reason } => reason.words(),
        StopCause::NeverReady { last } => format!("never ready: {last}"),
        StopCause::Vanished => "vanished from the engine".to_owned(),
    }
}

/// A deployment in a row of another answer.
pub(super) fn summary(d: &Deployment) -> DeploymentSummary {
    let live_after_ms = match (d.started_at, d.live_at) {
        (Some(start), Some(live)) => Some(since_ms(start, live)),
        (None, _) | (_, None) => None,
    };
    DeploymentSummary {
        id: d.id,
        kind: d.kind,
        release: d.release,
        base: d.base,
        state: d.state,
        created_at: d.created_at,
        created_by: d.created_by.clone(),
        live_after_ms,
        hook: ark_planner::hooks::active(d).map(HookRun::words),
        finished_at: d.finished_at,
        diagnosis: d.diagnosis.as_ref().map(ark_model::Diagnosis::words),
        served: d.receipt.as_ref().map(|r| r.total.served),
        failed: d.receipt.as_ref().map(|r| r.total.failed),
        cut: d.receipt.as_ref().map(|r| r.total.cut),
    }
}

/// What is recorded around one deployment.
#[derive(Debug)]
pub(super) struct DeploymentRecords {
    deployment: Deployment,
    release: Option<Release>,
    base: Option<Release>,
    scale: Option<u32>,
    watch: Option<Watch>,
    instances: Vec<InstanceRecord>,
}

pub(super) fn load_deployment(
    tx: &ReadTx,
    deployment: Deployment,
) -> Result<DeploymentRecords, ApiError> {
    let (env, app) = (deployment.env.clone(), deployment.app.clone());
    let release_of = |number: Option<ReleaseNumber>| match number {
        Some(number) => tx.release(&env, &app, number),
        None => Ok(None),
    };
    let state = tx.app_state(&env, &app)?;
    // Before it begins its base is not yet recorded: it will be what is live then.
    let live = state.as_ref().and_then(|state| state.live);
    let base = release_of(deployment.base.or(live))?;
    let instances = match deployment.state.is_terminal() {
        true => Vec::new(),
        false => tx.alive_instances_of(&env, &app)?,
    };
    Ok(DeploymentRecords {
        release: release_of(Some(deployment.release))?,
        base,
        scale: state.as_ref().and_then(|state| state.scale),
        watch: state
            .and_then(|state| state.watch)
            .filter(|watch| watch.deployment == deployment.id)
            .or_else(|| deployment.watch.clone()),
        instances,
        deployment,
    })
}

impl DeploymentRecords {
    /// Everything known of the deployment.
    pub(super) fn view(self, observations: &Observations) -> DeploymentView {
        let progress = self.progress(observations);
        let rollout = self.rollout(observations);
        let watch = self.watch.as_ref().map(|watch| WatchView {
            release: watch.release,
            base: watch.base,
            since: watch.since,
            until: watch.until,
            end: watch.end,
            judgement: watch.judgement.clone(),
        });
        let config_changed = match (&self.base, &self.release) {
            (Some(base), Some(release)) => diff::config(&base.content, &release.content)
                .into_iter()
                .map(|change| change.name)
                .collect(),
            (None, _) | (_, None) => Vec::new(),
        };
        let d = self.deployment;
        let release = self.release.as_ref();
        DeploymentView {
            exit_code: d.state.exit_code().map(ark_model::exit::ExitCode::number),
            diagnosis_words: d.diagnosis.as_ref().map(ark_model::Diagnosis::words),
            commit: release.and_then(|r| r.commit.clone()),
            artifact: release.map(|r| artifact_words(&r.content.artifact)),
            image: release.and_then(|r| match &r.content.artifact {
                Artifact::Image { reference, .. } => Some(reference.clone()),
                Artifact::Directory { .. } | Artifact::None => None,
            }),
            config_version: release.map(|r| r.config_version),
            config_changed,
            progress,
            rollout,
            watch,
            id: d.id,
            env: d.env,
            app: d.app,
            kind: d.kind,
            release: d.release,
            base: d.base,
            strategy: d.strategy,
            state: d.state,
            created_at: d.created_at,
            created_by: d.created_by,
            reason: d.reason,
            started_at: d.started_at,
            live_at: d.live_at,
            returning_at: d.returning_at,
            finished_at: d.finished_at,
            diagnosis: d.diagnosis,
            failures: d.failures,
            abort: d.abort,
            receipt: d.receipt,
            hooks: d.hooks.into_iter().map(HookRun::shown).collect(),
            notes: d.notes,
        }
    }

    fn rollout(&self, observations: &Observations) -> Option<RolloutView> {
        let d = &self.deployment;
        let rollout = d.rollout.as_ref()?;
        let step = |(index, step): (usize, &Step)| StepView {
            words: step.words(),
            state: match index.cmp(&rollout.step) {
                Ordering::Less => StepState::Done,
                Ordering::Equal => StepState::Current,
                Ordering::Greater => StepState::Ahead,
            },
            approved_by: rollout
                .approvals
                .iter()
                .find(|approval| approval.step == index)
                .map(|approval| approval.said.by.clone()),
        };
        let key = (d.env.clone(), d.app.clone());
        let since = rollout.judged_from.or(d.started_at).unwrap_or(d.created_at);
        let side = |release: Option<ReleaseNumber>| {
            let Some(release) = release else { return SideTraffic::default() };
            let sum = observations.side(&key, release, since);
            SideTraffic {
                requests: sum.requests(),
                failed: sum.errors(),
                p99_ms: sum.latency_us.quantile(0.99).map(|us| us / 1_000.0),
            }
        };
        let kept =
            self.release.as_ref().map(|r| r.content.definition.deploy.keep_old_for(d.strategy));
        let keep_until = match (d.state, d.live_at, kept) {
            (DeploymentState::Keeping, Some(live), Some(kept)) => Some(after(live, kept.get())),
            _ => None,
        };
        Some(RolloutView {
            steps: rollout.steps.iter().enumerate().map(step).collect(),
            step: u32::try_from(rollout.step + 1).unwrap_or(u32::MAX),
            since: rollout.since,
            percent: rollout.share.percent,
            in_force: observations.share(&key).is(d.release, &rollout.share),
            asks: rollout.asks.clone(),
            paused: rollout.paused.clone(),
            keep_until,
            new: side(Some(d.release)),
            old: side(d.base),
            judgements: rollout.judgements.clone(),
        })
    }

    fn progress(&self, observations: &Observations) -> Option<DeploymentProgress> {
        let d = &self.deployment;
        if d.state.is_terminal() {
            return None;
        }
        let count = self.release.as_ref().map_or(0, |r| r.content.definition.count());
        let side = |new: bool| {
            let own = self.instances.iter().filter(|i| (i.release == d.release) == new);
            own.fold(SideProgress::default(), |side, i| count_instance(side, i, observations))
        };
        Some(DeploymentProgress {
            wanted: self.scale.unwrap_or(count),
            new: side(true),
            old: side(false),
        })
    }
}

fn count_instance(
    mut side: SideProgress,
    instance: &InstanceRecord,
    observations: &Observations,
) -> SideProgress {
    match instance.state {
        InstanceState::Starting => side.starting += 1,
        InstanceState::Active => side.active += 1,
        InstanceState::Draining => {
            side.draining += 1;
            side.draining_in_flight += observations.in_flight(instance.id).unwrap_or(0);
            side.draining_since = match (side.draining_since, instance.draining_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        InstanceState::Stopping => side.stopping += 1,
        InstanceState::Stopped => {}
    }
    side
}

/// An artifact for people.
pub(super) fn artifact_words(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Directory { digest } => format!("directory {}", digest.short()),
        Artifact::Image { reference, digest: Some(digest) } => {
            format!("image {reference}@{digest}")
        }
        Artifact::Image { reference, digest: None } => format!("image {reference}"),
        Artifact::None => "command only".to_owned(),
    }
}

/// `web in production`, for events.
pub(super) fn place(env: &EnvName, app: &AppName) -> String {
    format!("{app} in {env}")
}
