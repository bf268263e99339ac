//! Environments: which there are, making one; and each with the graph of its apps' dependencies, its
//! freeze windows, and its end.

use ark_model::api::{
    AppDetail, DependenciesView, DependencyKnown, DependencyView, EnvironmentCreate,
    EnvironmentView, LeasePut, Page, ProblemCode,
};
use ark_model::environment::{EnvKind, EnvState};
use ark_model::freeze::FreezeEffect;
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query};
use axum::routing::{get, post};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::Shared;
use crate::fault::Fault;
use crate::graph::{Graph, Node};
use crate::room::{Room, cut, weight, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, When, count, counted, value};

/// Environments of one page.
const ENVIRONMENTS: u32 = 100;
/// Apps that are drawn; an environment with more is a list.
const DRAWN_MAX: usize = 60;
/// Apps that are listed.
const LISTED_MAX: usize = 500;
/// Dependencies that are drawn, and those of one page of their list.
const LINES_DRAWN: u32 = 500;
const NEEDS: u32 = 100;
/// Freeze windows that are listed.
const WINDOWS: usize = 20;
/// Bytes of a page without its lists, of a dependency, of an app in a list and of a freeze window
/// without their texts.
const FRAME: usize = 12_000;
const NEED: usize = 470;
const APP: usize = 45;
const WINDOW: usize = 140;
/// The longest texts, in bytes.
const OWNER: usize = 80;
const NOTE: usize = 140;
const WORD: usize = 120;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/environments", get(environments).post(create))
        .route("/environments/{env}", get(environment))
        .route("/environments/{env}/destroy", post(destroy))
        .route("/environments/{env}/lease", post(lease))
}

#[derive(Template)]
#[template(path = "environments.html")]
struct Environments {
    shell: Shell,
    environments: Vec<EnvironmentLine>,
    terms: &'static [Term],
    next: Option<String>,
    first: bool,
}

/// Where a list goes on.
#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

/// That as a part of a query of the API.
fn beyond(query: &Cursor) -> String {
    query.cursor.as_deref().map(|at| format!("&cursor={}", value(at))).unwrap_or_default()
}

struct EnvironmentLine {
    name: EnvName,
    kind: &'static str,
    destroying: bool,
    frozen: bool,
    apps: String,
    instances: String,
    owner: String,
    made: When,
    ends: Option<When>,
}

/// A length of a lease that is offered: its words and its seconds.
type Term = (&'static str, u64);

/// The lengths that the forms offer; the command line takes any.
const TERMS: [Term; 4] =
    [("8 hours", 8 * 3_600), ("1 day", 86_400), ("7 days", 7 * 86_400), ("30 days", 30 * 86_400)];

/// What was chosen in a form: nothing, or the seconds of a length.
fn seconds(chosen: &str) -> Result<Option<u64>, Fault> {
    match chosen {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Fault::new(
                ProblemCode::InvalidValue,
                "the length of the lease is not a number of seconds",
            )
        }),
    }
}

const fn kind(kind: EnvKind) -> &'static str {
    match kind {
        EnvKind::Permanent => "permanent",
        EnvKind::Development => "development",
    }
}

fn line(visit: &Visit, view: &EnvironmentView) -> EnvironmentLine {
    EnvironmentLine {
        name: view.name.clone(),
        kind: kind(view.kind),
        destroying: view.state == EnvState::Destroying,
        frozen: view.frozen.is_some(),
        apps: counted(view.apps.len() as u64, "app"),
        instances: counted(u64::from(view.instances), "instance"),
        owner: cut(&view.owner, OWNER),
        made: When::ago(view.created_at, visit.now),
        ends: view.lease.as_ref().map(|lease| When::ago(lease.until, visit.now)),
    }
}

async fn environments(visit: Visit, Query(query): Query<Cursor>) -> Answer {
    let address = format!("/v1/environments?limit={ENVIRONMENTS}{}", beyond(&query));
    let found: Page<EnvironmentView> = visit.get(&address).await?;
    let environments = found.items.iter().map(|view| line(&visit, view)).collect();
    let shell = visit.shell("Environments", "/environments").live("").command("ark env list");
    visit.page(&Environments {
        shell,
        environments,
        terms: &TERMS,
        next: found.next.map(|at| format!("/environments?cursor={}", value(&at))),
        first: query.cursor.is_none(),
    })
}

#[derive(Deserialize)]
struct NewEnvironment {
    name: String,
    #[serde(default)]
    kind: String,
    /// Seconds; empty for none.
    #[serde(default)]
    lease: String,
}

async fn create(visit: Visit, Form(form): Form<NewEnvironment>) -> Answer {
    let name: EnvName = form
        .name
        .trim()
        .parse()
        .map_err(|why| Fault::new(ProblemCode::InvalidValue, format!("{why}")))?;
    let kind = match form.kind.as_str() {
        "permanent" => Some(EnvKind::Permanent),
        "development" => Some(EnvKind::Development),
        _ => None,
    };
    let lease_seconds = seconds(&form.lease)?;
    let request = EnvironmentCreate { name: name.clone(), kind, lease_seconds };
    let _: Value = visit.post("/v1/environments", &request).await?;
    see(&format!("/environments/{name}"))
}

#[derive(Template)]
#[template(path = "environment.html")]
struct EnvironmentPage {
    shell: Shell,
    environment: EnvironmentLine,
    /// Why no deployment begins, and until when.
    frozen: Option<(String, Option<When>)>,
    windows: Vec<WindowLine>,
    more_windows: usize,
    lease: Option<LeaseLine>,
    /// Whether it may have a lease.
    leasable: bool,
    terms: &'static [Term],
    apps: Vec<String>,
    /// Apps that are not listed.
    more_apps: usize,
    graph: Option<Graph>,
    /// What of the drawing is missing.
    undrawn: Option<String>,
    needs: Needs,
}

/// Which app needs which, in words.
struct Needs {
    lines: Vec<NeedLine>,
    /// How many of how many these are; empty when they are all.
    said: String,
    next: Option<String>,
    first: Option<String>,
    /// Since when calls are looked at.
    since: Option<When>,
    /// Why calls of processes cannot be told apart.
    blind: Option<String>,
}

struct NeedLine {
    from: String,
    from_href: String,
    to: String,
    to_href: String,
    class: &'static str,
    known: &'static str,
    last: Option<When>,
    note: Option<String>,
}

fn needs(visit: &Visit, env: &EnvName, view: DependenciesView, first: bool) -> Needs {
    let name = |of: &EnvName, app: &AppName| match of == env {
        true => app.to_string(),
        false => format!("{app} of {of}"),
    };
    let line = |item: DependencyView| NeedLine {
        from: name(&item.from_env, &item.from),
        from_href: format!("/e/{}/{}", item.from_env, item.from),
        to: name(&item.to_env, &item.to),
        to_href: format!("/e/{}/{}", item.to_env, item.to),
        class: match item.known {
            DependencyKnown::Both => "both",
            DependencyKnown::Declared => "declared",
            DependencyKnown::Observed => "observed",
        },
        known: item.known.words(),
        last: item.last_seen.map(|at| When::ago(at, visit.now)),
        note: item.note.map(|note| cut(&note, NOTE)),
    };
    let here = format!("/environments/{env}");
    let (shown, total) = (view.items.len() as u64, view.total);
    Needs {
        said: match (first, shown < total) {
            (_, false) => String::new(),
            (true, true) => format!("the first {shown} of {}", count(total)),
            (false, true) => format!("{shown} of {}", count(total)),
        },
        next: view.next.map(|at| format!("{here}?cursor={}#needs", value(&at))),
        first: (!first).then(|| format!("{here}#needs")),
        lines: view.items.into_iter().map(line).collect(),
        since: view.since.map(|at| When::ago(at, visit.now)),
        blind: view.blind.map(|why| cut(&why, 4 * NOTE)),
    }
}

impl NeedLine {
    fn bytes(&self) -> usize {
        let texts = [&self.from, &self.from_href, &self.to, &self.to_href];
        NEED + weights(texts.map(String::as_str)) + self.note.as_deref().map_or(0, weight)
    }
}

/// When deployments may not begin, or may.
struct WindowLine {
    name: String,
    words: &'static str,
    cron: String,
    length: String,
    zone: String,
}

/// When an environment ends by itself.
struct LeaseLine {
    end: When,
    exact: When,
    by: String,
    /// Whether it was warned of.
    soon: bool,
}

async fn environment(
    visit: Visit,
    Path(env): Path<EnvName>,
    Query(query): Query<Cursor>,
) -> Answer {
    let view: EnvironmentView = visit.get(&format!("/v1/environments/{env}")).await?;
    let api = format!("/v1/environments/{env}/dependencies");
    let known: DependenciesView =
        visit.get(&format!("{api}?limit={NEEDS}{}", beyond(&query))).await?;
    let list = needs(&visit, &env, known.clone(), query.cursor.is_none());
    let taken = list.lines.iter().map(NeedLine::bytes).sum::<usize>();
    let windows = view.freeze.len().min(WINDOWS) * (WINDOW + 3 * WORD);
    let mut room = Room::beside(FRAME + taken + windows);
    let (mut drawing, mut undrawn) = (None, None);
    if matches!(view.apps.len(), 2..=DRAWN_MAX) {
        let more: Option<DependenciesView> = match (known.items.len() as u64) < known.total {
            true => Some(visit.get(&format!("{api}?limit={LINES_DRAWN}")).await?),
            false => None,
        };
        let drawn = more.as_ref().unwrap_or(&known);
        let nodes = nodes(&visit, &env, &view.apps).await?;
        let mut lines = drawn.items.as_slice();
        while drawing.is_none() {
            let graph = graph(&env, &nodes, lines);
            if room.take(graph.to_string().len()) {
                drawing = Some(graph);
            } else if lines.is_empty() {
                // Names so long that not even the boxes fit: they are a list.
                break;
            } else {
                lines = &lines[..lines.len() / 2];
            }
        }
        let (some, all) = (lines.len() as u64, drawn.total.max(drawn.items.len() as u64));
        undrawn = (drawn.next.is_some() || some < all)
            .then(|| format!("the first {} of {} dependencies are drawn", count(some), count(all)));
    }
    let shell = visit
        .shell(env.to_string(), "/environments")
        .crumb("/environments", "Environments")
        .live(&format!("env={env}"))
        .command(format!("ark status -e {env}"));
    let listed = view.apps.iter().take(LISTED_MAX).cloned();
    let base = APP + env.as_str().len();
    let (apps, _) = room.fit(listed, |name| base + 2 * weight(name));
    let more_windows = view.freeze.len().saturating_sub(WINDOWS);
    let windows = view.freeze.iter().take(WINDOWS).map(|window| WindowLine {
        name: cut(&window.name, WORD),
        words: match window.effect {
            FreezeEffect::Deny => "no deployment begins while it is open",
            FreezeEffect::Allow => "deployments begin only while one like it is open",
        },
        cron: cut(&window.cron, WORD),
        length: words::length(window.seconds.saturating_mul(1_000)),
        zone: cut(&window.time_zone, WORD),
    });
    visit.page(&EnvironmentPage {
        environment: line(&visit, &view),
        frozen: view.frozen.as_ref().map(|frozen| {
            let why = match &frozen.window {
                Some(window) => format!("the window {} is open", cut(window, WORD)),
                None => "no window that allows them is open".to_owned(),
            };
            (why, frozen.until.map(When::date))
        }),
        windows: windows.collect(),
        more_windows,
        lease: view.lease.as_ref().map(|lease| LeaseLine {
            end: When::ago(lease.until, visit.now),
            exact: When::date(lease.until),
            by: cut(&lease.by, OWNER),
            soon: lease.warned_at.is_some(),
        }),
        leasable: view.kind == EnvKind::Development,
        terms: &TERMS,
        graph: drawing,
        undrawn,
        needs: list,
        more_apps: view.apps.len() - apps.len(),
        apps,
        shell,
    })
}

/// A box for each app.
async fn nodes(visit: &Visit, env: &EnvName, apps: &[String]) -> Result<Vec<Node>, Fault> {
    let mut nodes = Vec::new();
    for name in apps {
        let Ok(app) = name.parse::<AppName>() else { continue };
        let address = format!("/v1/environments/{env}/apps/{app}");
        let Some(detail) = visit.find::<AppDetail>(&address).await? else { continue };
        let health = super::overview::health(&detail.row);
        nodes.push(Node {
            name: name.clone(),
            href: format!("/e/{env}/{app}"),
            words: health.words,
            class: health.tone.class(),
            needs: Vec::new(),
        });
    }
    Ok(nodes)
}

/// What each app needs within its environment, as a drawing.
fn graph(env: &EnvName, nodes: &[Node], known: &[DependencyView]) -> Graph {
    let within = |item: &&DependencyView| item.from_env == *env && item.to_env == *env;
    let with_needs = |node: &Node| {
        let own = known.iter().filter(within).filter(|item| item.from.as_str() == node.name);
        let needs = own.map(|item| (item.to.to_string(), item.known)).collect();
        Node { needs, ..node.clone() }
    };
    Graph::new(nodes.iter().map(with_needs).collect())
}

#[derive(Deserialize)]
struct Destroy {
    /// The name, typed again.
    name: String,
}

async fn destroy(visit: Visit, Path(env): Path<EnvName>, Form(form): Form<Destroy>) -> Answer {
    if form.name.trim() != env.as_str() {
        let detail = format!("nothing was changed: type `{env}` to destroy it");
        return Err(Fault::new(ProblemCode::InvalidValue, detail));
    }
    let _: Value = visit.act(Method::DELETE, &format!("/v1/environments/{env}")).await?;
    see("/environments")
}

#[derive(Deserialize)]
struct LeaseForm {
    /// Seconds from now on; empty to lift it.
    #[serde(default)]
    lease: String,
}

async fn lease(visit: Visit, Path(env): Path<EnvName>, Form(form): Form<LeaseForm>) -> Answer {
    let address = format!("/v1/environments/{env}/lease");
    let _: Value = match seconds(&form.lease)? {
        Some(seconds) => visit.put(&address, &LeasePut { seconds }).await?,
        None => visit.act(Method::DELETE, &address).await?,
    };
    see(&format!("/environments/{env}"))
}
