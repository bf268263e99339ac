//! An app in an environment: what runs, its traffic, its releases and what changed between them,
//! its configuration, what happened. What it can be told is in `actions`, its log in `logs`.

mod history;
pub(super) mod releases;
mod traffic;

use ark_model::api::{
    AppDetail, AppRow, ConfigEntry, ConfigView, DeploymentView, InstanceRow, Page, ReleaseRow,
    TrafficHistory,
};
use ark_model::definition::{RunKind, StoreProduct};
use ark_model::event::Event;
use ark_model::instance::InstanceState;
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;

use super::events::{self, EventLine};
use super::overview::{Health, health};
use crate::Shared;
use crate::chart::{self, Chart};
use crate::room::{Room, cut, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, count};
use releases::{ReleaseLine, release_lines};
use traffic::charts;

/// What is listed of each; the rest has pages of its own or the command line.
const RELEASES: usize = 8;
const DEPLOYMENTS: usize = 8;
const EVENTS: usize = 12;
/// Names that are listed in a sentence, and what the engine does not enforce.
const NAMES: usize = 20;
/// Bytes of the page without its lists, of one list at most, and of a line of each without its texts.
const FRAME: usize = 9_000;
const INSTANCES: usize = 20_000;
const RELEASES_ROOM: usize = 18_000;
const CONFIG: usize = 16_000;
const INSTANCE_LINE: usize = 620;
const CONFIG_LINE: usize = 330;
/// The longest texts, in bytes.
const WHY: usize = 160;
const BY: usize = 60;
const VALUE: usize = 80;
const OUTCOME: usize = 200;
/// With fewer minutes than this, a chart by minutes shows nothing.
const FEW_SLICES: usize = 12;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/e/{env}/{app}", get(app))
        .route("/e/{env}/{app}/deployments", get(history::deployments))
        .route("/e/{env}/{app}/releases", get(history::releases))
        .route("/e/{env}/{app}/diff", get(history::diff))
}

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    shell: Shell,
    env: EnvName,
    app: AppName,
    health: Health,
    kind: &'static str,
    /// That it is a data store, in words.
    data_store: Option<String>,
    /// Whether it has a number of instances that can be set, and instances that can be replaced.
    scales: bool,
    restarts: bool,
    /// Whether it is work that ends, with runs.
    ends: bool,
    commands: Vec<String>,
    live: String,
    live_since: Option<When>,
    stopped: bool,
    wanted: u32,
    scaled: bool,
    addresses: Vec<String>,
    dependencies: Vec<String>,
    backoff: Option<When>,
    failures: u32,
    lost_1h: u32,
    running: Option<DeploymentLine>,
    waiting: Option<String>,
    instances: Vec<Instance>,
    more_instances: usize,
    charts: Vec<Chart>,
    traffic: Option<Figures>,
    releases: Vec<ReleaseLine>,
    /// Whether there are older ones.
    more_releases: bool,
    can_go_back: bool,
    deployments: Vec<DeploymentLine>,
    config_version: u64,
    config: Vec<Variable>,
    more_config: usize,
    /// Why the configuration is not shown.
    no_config: Option<String>,
    events: Vec<EventLine>,
    not_enforced: Vec<(String, String)>,
}

struct Figures {
    rate: String,
    failed: String,
    failing: bool,
    p99: String,
}

struct Instance {
    id: String,
    release: String,
    tone: Tone,
    state: String,
    why: String,
    host: String,
    place: String,
    since: When,
    made: When,
    inside: String,
    memory: String,
}

pub(super) struct DeploymentLine {
    pub(super) href: String,
    pub(super) tone: Tone,
    pub(super) what: String,
    pub(super) state: &'static str,
    pub(super) when: When,
    pub(super) by: String,
    pub(super) outcome: String,
}

struct Variable {
    name: String,
    /// `None` for a secret.
    value: Option<String>,
    version: u64,
    when: When,
    by: String,
}

async fn app(visit: Visit, Path((env, app)): Path<(EnvName, AppName)>) -> Answer {
    let base = format!("/v1/environments/{env}/apps/{app}");
    let detail: AppDetail = visit.get(&base).await?;
    let instances: Page<InstanceRow> = visit.get(&format!("{base}/instances?ended=true")).await?;
    let releases: Page<ReleaseRow> =
        visit.get(&format!("{base}/releases?limit={}", RELEASES + 1)).await?;
    let (config, no_config) = match visit.get(&format!("{base}/config")).await {
        Ok(config) => (config, None),
        // It may be larger than a page may read; the rest of the page is shown.
        Err(fault) if fault.0.status >= 500 => {
            let (env, app) = (env.clone(), app.clone());
            (ConfigView { env, app, version: 0, values: Vec::new() }, Some(fault.0.detail))
        }
        Err(fault) => return Err(fault),
    };
    let mut history: TrafficHistory = visit.get(&format!("{base}/traffic?slice_s=60")).await?;
    if history.slices.len() < FEW_SLICES {
        // The server has not been up for long: what there is is seen better in short slices.
        history = visit.get(&format!("{base}/traffic?slice_s=10")).await?;
    }
    let recent = format!("/v1/deployments?env={env}&app={app}&limit={DEPLOYMENTS}");
    let deployments: Page<DeploymentView> = visit.get(&recent).await?;
    let happened = format!("/v1/events?env={env}&app={app}&newest=true&limit={EVENTS}");
    let happened: Page<Event> = visit.get(&happened).await?;

    let row = &detail.row;
    let charts = charts(&history);
    let mut room = Room::beside(FRAME + chart::bytes(&charts));
    let shown = instances.items.iter().map(|row| instance(&visit, row));
    let (instances, more_instances) = room.part(INSTANCES).fit(shown, Instance::bytes);
    let mut of_releases = room.part(RELEASES_ROOM);
    let lines = release_lines(&visit, &base, &releases.items, RELEASES, &mut of_releases).await?;
    let variables = config.values.into_iter().map(|entry| variable(&visit, entry));
    let (variables, more_config) = room.part(CONFIG).fit(variables, Variable::bytes);
    let happened = happened.items.iter().map(|event| events::own_line(&visit, event));
    // What is left is for what stands in no list: addresses, names, deployments.
    let (events, _) = room.part(room.left() / 2).fit(happened, EventLine::bytes);
    let shell = visit
        .shell(app.to_string(), "/")
        .crumb("/", "Overview")
        .crumb(format!("/environments/{env}"), &env)
        .live(&format!("env={env}&app={app}"))
        .command(format!("ark status -e {env}; ark ps {app} -e {env}"));
    let now = visit.now;
    let line = |d: &DeploymentView| deployment_line(&visit, d);
    visit.page(&AppPage {
        health: health(row),
        kind: row.kind.map(RunKind::as_str).unwrap_or_default(),
        data_store: row.data_store.map(data_store),
        scales: scales(row),
        restarts: restarts(row),
        ends: row.kind.is_some_and(RunKind::ends),
        commands: commands(&env, &app, row, detail.rollback_to.is_some()),
        live: words::release(row.live),
        live_since: row.live_since.map(|at| When::since(at, now)),
        stopped: row.stopped,
        wanted: row.wanted,
        scaled: detail.scale.is_some(),
        addresses: detail.addresses.iter().take(NAMES).map(|a| cut(&a.url, WHY)).collect(),
        dependencies: detail.dependencies.iter().take(NAMES).cloned().collect(),
        backoff: detail.start_after.filter(|at| *at > now).map(|at| When::ago(at, now)),
        failures: detail.failures,
        running: deployments.items.iter().find(|d| d.exit_code.is_none()).map(line),
        waiting: row.waiting_deployment.as_ref().map(|d| d.release.to_string()),
        instances,
        more_instances,
        charts,
        traffic: row.traffic.as_ref().map(|t| Figures {
            rate: words::rate(t.requests_per_s),
            failed: words::failures(t.failed_1h, t.served_1h + t.failed_1h),
            failing: t.failed_1h > 0,
            p99: t.p99_ms.map_or_else(|| "–".to_owned(), |ms| format!("{} ms", count(ms))),
        }),
        can_go_back: detail.rollback_to.is_some(),
        more_releases: releases.items.len() > lines.len(),
        releases: lines,
        deployments: deployments.items.iter().map(line).collect(),
        config_version: config.version,
        config: variables,
        more_config,
        no_config,
        events,
        not_enforced: row
            .not_enforced
            .iter()
            .take(NAMES)
            .map(|one| (cut(&one.path, WHY), cut(&one.reason, WHY)))
            .collect(),
        lost_1h: row.lost_1h,
        shell,
        env,
        app,
    })
}

/// Whether somebody has a say in the number of instances: not where runs, requests or hosts decide,
/// and two servers over one folder would destroy it.
fn scales(row: &AppRow) -> bool {
    match row.kind {
        None | Some(RunKind::Service | RunKind::Worker) => row.data_store.is_none(),
        Some(RunKind::Daemon | RunKind::Lambda | RunKind::Cron | RunKind::Job) => false,
    }
}

/// Whether there are instances that stand until they are replaced.
fn restarts(row: &AppRow) -> bool {
    !row.kind.is_some_and(RunKind::ends)
}

fn data_store(product: StoreProduct) -> String {
    format!(
        "A {} data store: what it holds outlives its releases; apps that need it are told its address \
         and password",
        product.title()
    )
}

/// The commands that do what the buttons do.
fn commands(env: &EnvName, app: &AppName, row: &AppRow, can_go_back: bool) -> Vec<String> {
    let stop = if row.stopped { "start" } else { "stop" };
    let ends = row.kind.is_some_and(RunKind::ends);
    let all = [
        (true, format!("ark deploy {app} -e {env}")),
        (can_go_back, format!("ark rollback {app} -e {env}")),
        (scales(row), format!("ark scale {app}={} -e {env}", row.wanted)),
        (restarts(row), format!("ark restart {app} -e {env}")),
        (true, format!("ark {stop} {app} -e {env}")),
        (true, format!("ark logs {app} -e {env} --follow")),
        (ends, format!("ark run {app} -e {env}")),
    ];
    all.into_iter().filter(|(offered, _)| *offered).map(|(_, command)| command).collect()
}

fn variable(visit: &Visit, entry: ConfigEntry) -> Variable {
    Variable {
        name: entry.name,
        value: entry.value.filter(|_| !entry.secret).map(|value| cut(&value, VALUE)),
        version: entry.version,
        when: When::ago(entry.changed_at, visit.now),
        by: cut(&entry.changed_by, BY),
    }
}

impl Variable {
    fn bytes(&self) -> usize {
        CONFIG_LINE + weights([&*self.name, self.value.as_deref().unwrap_or_default(), &*self.by])
    }
}

impl Instance {
    fn bytes(&self) -> usize {
        let texts = [&self.id, &self.id, &self.why, &self.host, &self.place];
        INSTANCE_LINE + weights(texts.map(String::as_str))
    }
}

fn instance(visit: &Visit, row: &InstanceRow) -> Instance {
    let (tone, state) = match (row.state, row.ready) {
        (InstanceState::Starting, _) => (Tone::Busy, "starting"),
        (InstanceState::Active, true) => (Tone::Good, "ready"),
        (InstanceState::Active, false) => (Tone::Bad, "not ready"),
        (InstanceState::Draining, _) => (Tone::Busy, "draining"),
        (InstanceState::Stopping, _) => (Tone::Busy, "stopping"),
        (InstanceState::Stopped, _) => (Tone::Quiet, "ended"),
    };
    let dash = || "–".to_owned();
    let why = row.cause_words.clone().or_else(|| row.not_ready_because.clone());
    let process = row.pid.map(|pid| format!("pid {pid}"));
    let place: Vec<String> =
        row.address.map(|address| address.to_string()).into_iter().chain(process).collect();
    // How long it has been there, or was.
    let until = if row.state.is_alive() { visit.now } else { row.since };
    Instance {
        id: row.id.clone(),
        release: row.release.to_string(),
        tone,
        state: state.to_owned(),
        why: cut(&why.unwrap_or_default(), WHY),
        host: row.node.to_string(),
        place: place.join(", "),
        since: When::since(row.since, visit.now),
        made: When::since(row.created_at, until),
        inside: row.in_flight.map_or_else(dash, |inside| count(u64::from(inside))),
        memory: row.memory_bytes.map_or_else(dash, words::bytes),
    }
}

/// One line of a list of deployments.
pub(super) fn deployment_line(visit: &Visit, view: &DeploymentView) -> DeploymentLine {
    let lost = view.receipt.as_ref().map(|receipt| {
        let lost = receipt.total.failed + receipt.total.cut;
        (lost, receipt.total.served + lost)
    });
    let lost = lost.filter(|(_, all)| *all > 0);
    DeploymentLine {
        href: format!("/d/{}", view.id),
        tone: words::deployment_tone(view.state),
        what: words::what(view.kind, view.release),
        state: words::deployment_state(view.state),
        when: When::ago(view.finished_at.unwrap_or(view.created_at), visit.now),
        by: cut(&view.created_by, BY),
        outcome: cut(&words::outcome(view.diagnosis_words.as_deref(), lost), OUTCOME),
    }
}
