//! The first page: what runs where, what is being deployed, what failed.

use ark_model::api::{
    AppRow, DeploymentSummary, DeploymentView, EnvironmentApps, EnvironmentView, Page, ServerInfo,
    SideSlice, TrafficHistory, TrafficSlice,
};
use ark_model::environment::{EnvKind, EnvState};
use ark_model::{AppName, DeploymentState, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde::Deserialize;

use crate::Shared;
use crate::chart::{self, Chart, Line};
use crate::fault::Fault;
use crate::room::{Room, cut, weight, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, count, counted, value};

/// Running deployments that are shown with everything known of them, and those that are shown.
const RUNNING_MAX: usize = 12;
const CARDS_MAX: usize = 24;
/// Environments of one page; those beyond have a page of their own.
const AT_ONCE: usize = 500;
/// Bytes of the page without its lists; of a card, of an environment and of a line without their texts.
const FRAME: usize = 5_500;
const CARD: usize = 520;
const SECTION: usize = 950;
const LINE: usize = 300;
const SINCE: usize = 115;
/// Environments without room for their apps are named by a line of so many bytes, in so much room.
const OTHER: usize = 120;
const OTHERS: usize = 30_000;
/// The longest texts, in bytes.
const OUTCOME: usize = 200;
const BY: usize = 60;
const STEP: usize = 300;
/// The longest name in a legend, in characters.
const LEGEND_CHARS: usize = 24;
/// Hosts that do not answer and are named.
const SILENT_MAX: usize = 20;
/// With more apps than this a line says less of each.
const MANY: usize = 150;
/// Environments with a line in the charts, by their colours.
const CLASSES: [&str; 3] = ["new", "old", "older"];
/// Slices of the charts in seconds; the short ones while there are few.
const SLICE_S: u32 = 60;
const SHORT_S: u32 = 10;
const FEW_SLICES: usize = 12;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/", get(overview))
}

#[derive(Deserialize)]
struct Filter {
    /// Only apps whose name has this in it.
    #[serde(default)]
    q: String,
    /// Where the list of environments goes on.
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    q: String,
    gateway: GatewayLine,
    /// Hosts that do not answer.
    silent: Vec<String>,
    more_silent: usize,
    running: Vec<Running>,
    more_running: usize,
    environments: Vec<Environment>,
    /// Those that the page has no room for, and how many are not even named.
    others: Vec<Other>,
    unnamed: usize,
    charts: Vec<Chart>,
    apps: usize,
    /// The page with the environments that follow, and the first one.
    next: Option<String>,
    first: Option<String>,
}

/// How the gateway is.
pub(super) struct GatewayLine {
    pub(super) tone: Tone,
    pub(super) words: String,
    pub(super) detail: String,
    /// Since when it is so.
    pub(super) since: Option<When>,
}

struct Running {
    href: String,
    env: EnvName,
    app: AppName,
    from: String,
    to: String,
    strategy: &'static str,
    state: &'static str,
    since: When,
    by: String,
    /// Percent of the traffic on the new side, when it goes in steps.
    percent: Option<u8>,
    step: String,
    asks: Option<&'static str>,
}

struct Environment {
    name: EnvName,
    kind: &'static str,
    frozen: Option<String>,
    destroying: bool,
    rows: Vec<Row>,
    requests_per_s: String,
    failed: String,
    failing: bool,
    /// Which of its apps are not shown: `200 of 500 apps are not shown`; empty when all are.
    hidden: String,
}

/// An environment by a line.
struct Other {
    name: EnvName,
    apps: String,
    tone: Tone,
    words: String,
}

struct Row {
    app: AppName,
    href: String,
    health: Health,
    live: String,
    since: Option<When>,
    instances: String,
    rate: String,
    failed: String,
    failing: bool,
    p99: String,
    last: Option<Last>,
}

/// How an app is.
pub(super) struct Health {
    pub(super) tone: Tone,
    pub(super) words: String,
}

struct Last {
    href: String,
    tone: Tone,
    release: String,
    when: When,
    by: String,
    outcome: String,
}

async fn overview(visit: Visit, Query(filter): Query<Filter>) -> Answer {
    let server: ServerInfo = visit.get("/v1/server").await?;
    let q = filter.q.trim().to_lowercase();
    let listed = all_apps(&visit, filter.after.clone(), &q).await?;
    let (mut running, mut found, mut busy, mut apps) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for EnvironmentApps { environment, apps: mut page } in listed.items {
        for row in &page.items {
            if let Some(d) = &row.running_deployment {
                running.push((row.env.clone(), row.app.clone(), d.clone()));
            }
        }
        apps += page.items.len();
        let traffic = page.items.iter().filter_map(|row| row.traffic.as_ref());
        let requests: u64 = traffic.map(|t| t.served_1h + t.failed_1h).sum();
        if requests > 0 {
            busy.push((requests, environment.name.clone()));
        }
        page.items.retain(|row| row.app.as_str().contains(&q));
        if page.items.is_empty() && !q.is_empty() {
            continue;
        }
        found.push((environment, page));
    }
    running.sort_by_key(|(_, _, d)| std::cmp::Reverse(d.created_at));
    let more_running = running.len().saturating_sub(CARDS_MAX);
    let mut cards = Vec::new();
    for (index, (env, app, summary)) in running.into_iter().take(CARDS_MAX).enumerate() {
        let view = match index < RUNNING_MAX {
            true => visit.find(&format!("/v1/deployments/{}", summary.id)).await?,
            false => None,
        };
        cards.push(card(&visit, env, app, &summary, view.as_ref()));
    }
    let more = listed.next.is_some() || filter.after.is_some();
    let charts = charts(&visit, &busy, more).await?;
    let taken = FRAME + cards.iter().map(Running::bytes).sum::<usize>();
    let mut room = Room::beside(taken + chart::bytes(&charts));
    let (environments, others, unnamed) = fit(&visit, found, apps > MANY, &mut room);
    let place = |after: &str| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("q", filter.q.as_str()), ("after", after)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        format!("/?{}", query.finish())
    };
    visit.page(&Overview {
        charts,
        shell: visit.shell("Overview", "/").live("").command("ark status"),
        gateway: gateway(&visit, &server),
        silent: server.silent_hosts.iter().take(SILENT_MAX).map(ToString::to_string).collect(),
        more_silent: server.silent_hosts.len().saturating_sub(SILENT_MAX),
        next: listed.next.as_deref().map(place),
        first: filter.after.as_ref().map(|_| place("")),
        q: filter.q,
        running: cards,
        more_running,
        environments,
        others,
        unnamed,
        apps,
    })
}

/// Environments after one by name, at most [`AT_ONCE`], with their apps that have `q` in their names.
pub(super) async fn all_apps(
    visit: &Visit,
    after: Option<String>,
    q: &str,
) -> Result<Page<EnvironmentApps>, Fault> {
    let mut listed = Page { items: Vec::new(), next: after };
    loop {
        let (limit, q) = (AT_ONCE - listed.items.len(), value(q));
        let cursor = listed.next.as_deref().map(|at| format!("&cursor={}", value(at)));
        let cursor = cursor.unwrap_or_default();
        let address = format!("/v1/apps?limit={limit}&name={q}{cursor}");
        let page: Page<EnvironmentApps> = visit.get(&address).await?;
        listed.items.extend(page.items);
        listed.next = page.next;
        if listed.next.is_none() || listed.items.len() >= AT_ONCE {
            return Ok(listed);
        }
    }
}

/// Environments with their apps as long as there is room, the others by a line each, those first that are
/// not well; and how many are not even named. An environment that has more apps than fit shows those
/// first that are not well.
fn fit(
    visit: &Visit,
    found: Vec<(EnvironmentView, Page<AppRow>)>,
    many: bool,
    room: &mut Room,
) -> (Vec<Environment>, Vec<Other>, usize) {
    let by_a_line =
        |(view, page): &(EnvironmentView, Page<AppRow>)| other(view.name.clone(), &page.items);
    let lines: usize = found.iter().map(|one| by_a_line(one).bytes()).sum();
    let mut named = room.part(if found.len() > 1 { lines.min(OTHERS) } else { 0 });
    let (mut environments, mut others) = (Vec::new(), Vec::new());
    for one in found {
        let line = by_a_line(&one);
        let (view, page) = one;
        let rows: Vec<Row> = page.items.iter().map(|row| app_row(visit, row, many)).collect();
        let needs = SECTION + rows.iter().map(Row::bytes).sum::<usize>();
        if needs > room.left() && !environments.is_empty() {
            others.push(line);
        } else {
            environments.push(section(view, &page, rows, room));
        }
    }
    if others.iter().map(Other::bytes).sum::<usize>() > named.left() {
        // The order by name is kept within both.
        others.sort_by_key(|other| other.tone != Tone::Bad);
    }
    let (others, unnamed) = named.fit(others, Other::bytes);
    (environments, others, unnamed)
}

impl Other {
    fn bytes(&self) -> usize {
        OTHER + 2 * self.name.as_str().len() + weight(&self.words)
    }
}

impl Row {
    fn bytes(&self) -> usize {
        let texts = [&self.health.words, &self.instances, &self.rate, &self.failed, &self.p99];
        let texts = weights(texts.map(String::as_str)) + weight(&self.href);
        let since = self.since.as_ref().map_or(0, |_| SINCE);
        let last = self.last.as_ref().map_or(0, |last| {
            weights([&last.href, &last.release, &last.by, &last.outcome].map(String::as_str))
        });
        LINE + self.app.as_str().len() + texts + since + last
    }
}

impl Running {
    fn bytes(&self) -> usize {
        let names = self.env.as_str().len() + self.app.as_str().len() + 2 * self.to.len();
        CARD + names + weights([&self.href, &self.by, &self.step].map(String::as_str))
    }
}

fn other(name: EnvName, rows: &[AppRow]) -> Other {
    let tones = rows.iter().map(|row| health(row).tone);
    let bad = tones.filter(|tone| *tone == Tone::Bad).count();
    let (tone, words) = match (bad, rows.is_empty()) {
        (0, true) => (Tone::Quiet, String::new()),
        (0, false) => (Tone::Good, "none is down".to_owned()),
        (bad, _) => (Tone::Bad, format!("{bad} not as wanted")),
    };
    Other { name, apps: counted(rows.len() as u64, "app"), tone, words }
}

/// Requests and errors of the last hour: a line for each of the environments with the most, and one for
/// all others.
async fn charts(visit: &Visit, busy: &[(u64, EnvName)], more: bool) -> Result<Vec<Chart>, Fault> {
    let mut busy: Vec<_> = busy.iter().collect();
    busy.sort_by_key(|(requests, _)| std::cmp::Reverse(*requests));
    let more = more || busy.len() > CLASSES.len();
    let (mut requests, mut errors, mut slice_s) = (Vec::new(), Vec::new(), SLICE_S);
    let (mut last, mut shown) = (None, Vec::new());
    for ((_, env), class) in busy.into_iter().zip(CLASSES) {
        let address = |slice: u32| format!("/v1/environments/{env}/traffic?slice_s={slice}");
        let found: Option<TrafficHistory> = visit.find(&address(slice_s)).await?;
        let Some(mut history) = found else { continue };
        if slice_s == SLICE_S && history.slices.len() < FEW_SLICES {
            // The server has not been up for long: what there is is seen better in short slices.
            slice_s = SHORT_S;
            let Some(short) = visit.find(&address(SHORT_S)).await? else { continue };
            history = short;
        }
        if history.slices.len() < 2 {
            // One instant is no line.
            continue;
        }
        let name = words::shortened(env.as_str(), LEGEND_CHARS);
        last = history.slices.last().map(|slice| slice.at).max(last);
        requests.push(line(&history, &name, class, &|side| side.served + side.failed));
        errors.push(line(&history, &name, class, &|side| side.failed));
        shown.push(history);
    }
    // What fails in a small environment is seen, too.
    if more && !shown.is_empty() {
        let address = format!("/v1/traffic?slice_s={slice_s}");
        if let Some(all) = visit.find::<TrafficHistory>(&address).await? {
            let others = without(all, &shown);
            requests.push(line(&others, "all others", "other", &|side| side.served + side.failed));
            errors.push(line(&others, "all others", "other", &|side| side.failed));
        }
    }
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let chart = |title: &str, lines, top_at_least| Chart {
        title: title.to_owned(),
        unit: "per second",
        slice_s,
        last,
        end: "now",
        lines,
        top_at_least,
    };
    Ok(vec![chart("Requests", requests, 1.0), chart("Errors", errors, 0.1)])
}

/// Requests per second by what is counted of each side.
fn line(
    history: &TrafficHistory,
    name: &str,
    class: &'static str,
    of: &dyn Fn(&SideSlice) -> u64,
) -> Line {
    let per_s = |slice: &TrafficSlice| {
        let sum: u64 = slice.sides.iter().map(of).sum();
        Some(sum as f64 / f64::from(history.slice_s.max(1)))
    };
    Line { name: name.to_owned(), class, values: history.slices.iter().map(per_s).collect() }
}

/// What is left of all traffic without that of some environments, in the slices that theirs have.
fn without(all: TrafficHistory, some: &[TrafficHistory]) -> TrafficHistory {
    let ends = some.iter().filter_map(|history| history.slices.last().map(|slice| slice.at));
    let end = ends.min();
    let slices = all.slices.into_iter().filter(|slice| end.is_none_or(|end| slice.at <= end));
    let slices = slices.map(|mut slice| {
        let of_some = some.iter().flat_map(|history| &history.slices);
        let same = of_some.filter(|known| known.at == slice.at).flat_map(|known| &known.sides);
        let (served, failed) = same
            .fold((0, 0), |(served, failed), side| (served + side.served, failed + side.failed));
        for side in &mut slice.sides {
            side.served = side.served.saturating_sub(served);
            side.failed = side.failed.saturating_sub(failed);
        }
        slice
    });
    TrafficHistory { slice_s: all.slice_s, slices: slices.collect() }
}

pub(super) fn gateway(visit: &Visit, server: &ServerInfo) -> GatewayLine {
    let line = |tone, words: &str, detail: String, since| GatewayLine {
        tone,
        words: words.to_owned(),
        detail,
        since,
    };
    match (server.gateway.connected, &server.gateway.refused) {
        (true, None) => {
            let address = server.http.first().cloned().unwrap_or_default();
            line(Tone::Good, "Gateway connected", address, None)
        }
        (true, Some(why)) => line(
            Tone::Bad,
            "Gateway refused the last route table; the one before is in force",
            cut(why, STEP),
            None,
        ),
        (false, _) => line(
            Tone::Bad,
            "Gateway not connected; it may be serving all the same",
            String::new(),
            server.gateway.since.map(|at| When::since(at, visit.now)),
        ),
    }
}

/// An environment with as many of its apps as there is room for.
fn section(
    environment: EnvironmentView,
    page: &Page<AppRow>,
    mut rows: Vec<Row>,
    room: &mut Room,
) -> Environment {
    let sum = |of: fn(&ark_model::api::TrafficView) -> u64| {
        page.items.iter().filter_map(|row| row.traffic.as_ref()).map(of).sum::<u64>()
    };
    let (served, failed) = (sum(|t| t.served_1h), sum(|t| t.failed_1h));
    let traffic = page.items.iter().filter_map(|row| row.traffic.as_ref());
    let rate = traffic.map(|t| t.requests_per_s).sum();
    let all = rows.len();
    room.take(SECTION);
    if rows.iter().map(Row::bytes).sum::<usize>() > room.left() {
        // The order by name is kept within both.
        rows.sort_by_key(|row| row.health.tone != Tone::Bad);
    }
    let (rows, left_out) = room.fit(rows, Row::bytes);
    let mut hidden = String::new();
    if left_out > 0 {
        let more = if page.next.is_some() { "more than " } else { "" };
        hidden = format!("{} of {more}{all} apps are shown, those that are down first", rows.len());
    } else if page.next.is_some() {
        hidden = format!("these are the first {all} apps");
    }
    Environment {
        kind: match environment.kind {
            EnvKind::Permanent => "permanent",
            EnvKind::Development => "development",
        },
        frozen: environment
            .frozen
            .map(|frozen| frozen.window.unwrap_or_else(|| "no window is open".to_owned()))
            .map(|why| cut(&why, OUTCOME)),
        destroying: environment.state == EnvState::Destroying,
        rows,
        requests_per_s: words::rate(rate),
        failed: words::failures(failed, served + failed),
        failing: failed > 0,
        hidden,
        name: environment.name,
    }
}

fn app_row(visit: &Visit, row: &AppRow, many: bool) -> Row {
    let dash = || "–".to_owned();
    let traffic = row.traffic.as_ref();
    let busy = traffic.filter(|t| t.served_1h + t.failed_1h > 0);
    Row {
        app: row.app.clone(),
        href: format!("/e/{}/{}", row.env, row.app),
        health: health(row),
        live: words::release(row.live),
        // The page stays small: the last deployment says when.
        since: row.live_since.filter(|_| !many).map(|at| When::since(at, visit.now)),
        instances: format!("{}/{}", row.ready, row.wanted),
        rate: traffic.map_or_else(dash, |t| words::rate(t.requests_per_s)),
        failed: busy.map_or_else(dash, |t| words::failures(t.failed_1h, t.served_1h + t.failed_1h)),
        failing: busy.is_some_and(|t| t.failed_1h > 0),
        p99: traffic.and_then(|t| t.p99_ms).map_or_else(dash, |ms| format!("{} ms", count(ms))),
        last: row.last_deployment.as_ref().map(|last| last_of(visit, last)),
    }
}

/// How an app is, from its row.
pub(super) fn health(row: &AppRow) -> Health {
    let (tone, words) = if row.stopped {
        (Tone::Quiet, "stopped".to_owned())
    } else if row.live.is_none() && row.running_deployment.is_none() {
        (Tone::Quiet, "not deployed".to_owned())
    } else if row.ready < row.wanted {
        let words = match row.ready {
            0 => "down".to_owned(),
            ready => format!("{ready} of {} ready", row.wanted),
        };
        // While a first deployment starts them, missing instances are no fault.
        match (row.live, &row.running_deployment) {
            (None, Some(_)) => (Tone::Busy, "starting".to_owned()),
            (Some(_) | None, _) => (Tone::Bad, words),
        }
    } else if row.lost_1h > 0 {
        (Tone::Busy, format!("up, {} lost in 1 h", row.lost_1h))
    } else if row.wanted == 0 {
        (Tone::Quiet, "0 wanted".to_owned())
    } else {
        (Tone::Good, "up".to_owned())
    };
    Health { tone, words }
}

fn last_of(visit: &Visit, last: &DeploymentSummary) -> Last {
    Last {
        href: format!("/d/{}", last.id),
        tone: words::deployment_tone(last.state),
        release: words::what(last.kind, last.release),
        when: When::ago(last.finished_at.unwrap_or(last.created_at), visit.now),
        by: cut(&last.created_by, BY),
        outcome: cut(&words::outcome(last.diagnosis.as_deref(), last.lost()), OUTCOME),
    }
}

fn card(
    visit: &Visit,
    env: EnvName,
    app: AppName,
    summary: &DeploymentSummary,
    view: Option<&DeploymentView>,
) -> Running {
    let rollout = view.and_then(|view| view.rollout.as_ref());
    let step = rollout.and_then(|rollout| {
        let index = usize::try_from(rollout.step).ok()?.checked_sub(1)?;
        let step = rollout.steps.get(index)?;
        Some(format!("step {} of {}: {}", rollout.step, rollout.steps.len(), step.words))
    });
    let progress = view.and_then(|view| view.progress.as_ref()).map(|p| {
        format!("{} of {} new ready, {} old serving", p.new.active, p.wanted, p.old.active)
    });
    Running {
        href: format!("/d/{}", summary.id),
        env,
        app,
        from: words::release(summary.base),
        to: summary.release.to_string(),
        strategy: view.map(|view| view.strategy.as_str()).unwrap_or_default(),
        state: words::deployment_state(summary.state),
        since: When::ago(summary.created_at, visit.now),
        by: cut(&summary.created_by, BY),
        percent: rollout
            .filter(|_| summary.state == DeploymentState::Stepping)
            .map(|rollout| rollout.percent),
        step: cut(&step.or(progress).unwrap_or_default(), STEP),
        asks: rollout.and_then(|rollout| rollout.asks.as_ref()).map(|asks| asked(asks.what)),
    }
}

/// What a person is asked.
pub(super) fn asked(what: ark_model::rollout::AsksFor) -> &'static str {
    use ark_model::rollout::AsksFor;
    match what {
        AsksFor::Approval => "waits for an approval",
        AsksFor::Promotion => "waits until somebody promotes it",
        AsksFor::Judgement => "the judge could not say; waits for somebody to decide",
        AsksFor::Resumption => "paused",
    }
}
