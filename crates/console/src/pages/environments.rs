//! Environments: which there are, making one; and each with the graph of its apps' dependencies, its
//! freeze windows, and its end.

use ark_model::api::{AppDetail, EnvironmentCreate, EnvironmentView, Page, ProblemCode};
use ark_model::environment::{EnvKind, EnvState};
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path};
use axum::routing::{get, post};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::Shared;
use crate::fault::Fault;
use crate::graph::{Graph, Node};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{When, counted};

/// Apps that are drawn; an environment with more is a list.
const DRAWN_MAX: usize = 60;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/environments", get(environments).post(create))
        .route("/environments/{env}", get(environment))
        .route("/environments/{env}/destroy", post(destroy))
}

#[derive(Template)]
#[template(path = "environments.html")]
struct Environments {
    shell: Shell,
    environments: Vec<EnvironmentLine>,
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
        owner: view.owner.clone(),
        made: When::ago(view.created_at, visit.now),
    }
}

async fn environments(visit: Visit) -> Answer {
    let found: Page<EnvironmentView> = visit.get("/v1/environments?limit=500").await?;
    let environments = found.items.iter().map(|view| line(&visit, view)).collect();
    let shell = visit.shell("Environments", "/environments").live("").command("ark env list");
    visit.page(&Environments { shell, environments })
}

#[derive(Deserialize)]
struct NewEnvironment {
    name: String,
    #[serde(default)]
    kind: String,
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
    let request = EnvironmentCreate { name: name.clone(), kind };
    let _: Value = visit.post("/v1/environments", &request).await?;
    see(&format!("/environments/{name}"))
}

#[derive(Template)]
#[template(path = "environment.html")]
struct EnvironmentPage {
    shell: Shell,
    environment: EnvironmentLine,
    frozen: Option<String>,
    windows: Vec<String>,
    apps: Vec<String>,
    graph: Option<Graph>,
}

async fn environment(visit: Visit, Path(env): Path<EnvName>) -> Answer {
    let view: EnvironmentView = visit.get(&format!("/v1/environments/{env}")).await?;
    let graph = match view.apps.len() {
        2..=DRAWN_MAX => Some(graph(&visit, &env, &view.apps).await?),
        _ => None,
    };
    let shell = visit
        .shell(env.to_string(), "/environments")
        .crumb("/environments", "Environments")
        .live(&format!("env={env}"))
        .command(format!("ark status -e {env}"));
    let windows = view.freeze.iter().map(|window| {
        format!(
            "{}: {:?} from `{}` for {} s, {}",
            window.name, window.effect, window.cron, window.seconds, window.time_zone
        )
    });
    visit.page(&EnvironmentPage {
        environment: line(&visit, &view),
        frozen: view.frozen.as_ref().map(|frozen| {
            frozen.window.clone().unwrap_or_else(|| "no window that allows is open".to_owned())
        }),
        windows: windows.collect(),
        graph,
        apps: view.apps,
        shell,
    })
}

/// What each app says it needs, as a drawing.
async fn graph(visit: &Visit, env: &EnvName, apps: &[String]) -> Result<Graph, Fault> {
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
            needs: detail.dependencies,
        });
    }
    Ok(Graph::new(nodes))
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
