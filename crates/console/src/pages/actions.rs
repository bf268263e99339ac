//! What an app can be told: deploy, roll back, scale, restart, stop, start. Each is a page that says
//! what would be done, with a button that does it: nothing is changed by looking.

use ark_model::api::{
    AppDetail, DeployRequest, DeploymentView, EnvironmentView, Page, PlanView, ReleaseDiff,
    ReleaseRef, ReleaseRow, Role, RollbackRequest, SCALE_MAX, ScaleRequest,
};
use ark_model::{AppName, EnvName, ReleaseNumber, Sha256};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query};
use axum::routing::get;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::app::releases::{self, Change};
use crate::Shared;
use crate::fault::Fault;
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, When, counted};

/// Releases offered of each environment.
const OFFERED: usize = 12;
/// Environments whose releases are offered, of so many pages of them that are looked through.
const ENVIRONMENTS: usize = 50;
const PAGES: usize = 4;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/e/{env}/{app}/deploy", get(deploy).post(do_deploy))
        .route("/e/{env}/{app}/rollback", get(rollback).post(do_rollback))
        .route("/e/{env}/{app}/do/{what}", get(wish).post(do_wish))
}

type Place = Path<(EnvName, AppName)>;

fn base(env: &EnvName, app: &AppName) -> String {
    format!("/v1/environments/{env}/apps/{app}")
}

fn shell(visit: &Visit, env: &EnvName, app: &AppName, title: String, command: String) -> Shell {
    visit
        .shell(title, "/")
        .crumb("/", "Overview")
        .crumb(format!("/environments/{env}"), env)
        .crumb(format!("/e/{env}/{app}"), app)
        .command(command)
}

/// What a page asks for before it acts.
#[derive(Template)]
#[template(path = "action.html")]
pub(super) struct Action {
    pub(super) shell: Shell,
    /// Where the form is posted to.
    pub(super) to: String,
    pub(super) back: String,
    /// What would be done, in order.
    pub(super) steps: Vec<String>,
    pub(super) changes: Vec<Change>,
    /// Why it would be refused.
    pub(super) refusals: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Hidden fields of the form.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Whether a reason is asked for.
    pub(super) reason: bool,
    /// Whether a number of instances is asked for.
    pub(super) count: Option<u32>,
    pub(super) button: String,
    pub(super) danger: bool,
    pub(super) may: bool,
    /// The role that may.
    pub(super) needs: &'static str,
}

impl Action {
    pub(super) fn new(shell: Shell, to: String, back: String, button: &str) -> Self {
        Self {
            may: shell.may_deploy,
            needs: Role::Deployer.as_str(),
            shell,
            to,
            back,
            steps: Vec::new(),
            changes: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            fields: Vec::new(),
            reason: false,
            count: None,
            button: button.to_owned(),
            danger: false,
        }
    }
}

/// A key under which a form that is sent twice is carried out once.
fn once(visit: &Visit) -> (&'static str, String) {
    let text = format!("{} {}", visit.form_token, visit.now.as_nanosecond());
    ("key", Sha256::of(text.as_bytes()).to_string())
}

#[derive(Deserialize)]
struct From {
    from: Option<EnvName>,
    number: Option<u64>,
}

#[derive(Template)]
#[template(path = "deploy.html")]
struct Choice {
    shell: Shell,
    app: AppName,
    address: String,
    /// With their newest releases, and whether there are older ones.
    environments: Vec<(EnvName, Vec<Offer>, bool)>,
    /// Whether other environments may have releases that are not offered.
    more: bool,
}

struct Offer {
    number: String,
    href: String,
    live: bool,
    commit: String,
    artifact: String,
    when: When,
    by: String,
}

async fn deploy(visit: Visit, Path((env, app)): Place, Query(query): Query<From>) -> Answer {
    let title = format!("Deploy {app} to {env}");
    let command = format!("ark deploy {app} -e {env}");
    let Some((from, number)) = query.from.zip(query.number) else {
        return choose(&visit, shell(&visit, &env, &app, title, command), &env, &app).await;
    };
    let request = DeployRequest {
        from: Some(ReleaseRef { env: from.clone(), number: ReleaseNumber(number) }),
        ..DeployRequest::default()
    };
    let plan: PlanView = visit.post(&format!("{}/plan", base(&env, &app)), &request).await?;
    let command = match from == env {
        true => format!("{command} --release v{number}"),
        false => format!("{command} --release {from}:v{number}"),
    };
    let shell = shell(&visit, &env, &app, title, command);
    let to = format!("/e/{env}/{app}/deploy");
    let missing = match plan.missing.as_slice() {
        [] => None,
        names => Some(format!("{env} does not define {}", names.join(", "))),
    };
    let nothing = !plan.changes && plan.steps.is_empty();
    let page = Action {
        changes: releases::of(plan.artifact.as_ref(), &plan.config, &plan.definition),
        notes: nothing
            .then(|| format!("{} is what is live already; nothing would change", plan.release))
            .into_iter()
            .chain(plan.not_enforced.iter().map(|one| format!("{}: {}", one.path, one.reason)))
            .collect(),
        refusals: missing.into_iter().chain(plan.refusals).collect(),
        steps: plan.steps,
        fields: vec![("from", from.to_string()), ("number", number.to_string()), once(&visit)],
        reason: true,
        ..Action::new(shell, to, format!("/e/{env}/{app}/deploy"), "Deploy")
    };
    visit.page(&page)
}

/// Which release: those of this environment, and of the others that have the app.
async fn choose(visit: &Visit, shell: Shell, env: &EnvName, app: &AppName) -> Answer {
    let (mut names, mut cursor, mut more) = (vec![env.clone()], String::new(), true);
    for _ in 0..PAGES {
        let all: Page<EnvironmentView> =
            visit.get(&format!("/v1/environments?limit=500{cursor}")).await?;
        let others = all.items.into_iter().filter(|found| {
            found.name != *env && found.apps.iter().any(|known| known == app.as_str())
        });
        names.extend(others.map(|found| found.name));
        match all.next {
            Some(at) => cursor = format!("&cursor={}", words::part(&at)),
            None => {
                more = names.len() > ENVIRONMENTS;
                break;
            }
        }
    }
    let mut environments = Vec::new();
    for name in names.into_iter().take(ENVIRONMENTS) {
        let address = format!("{}/releases?limit={OFFERED}", base(&name, app));
        let Some(found) = visit.find::<Page<ReleaseRow>>(&address).await? else { continue };
        let older = found.next.is_some();
        let offers = found.items.into_iter().map(|row| Offer {
            number: row.number.to_string(),
            href: format!("/e/{env}/{app}/deploy?from={name}&number={}", row.number.0),
            live: row.live,
            commit: row.commit.unwrap_or_default().chars().take(12).collect(),
            artifact: words::artifact(&row.artifact),
            when: When::ago(row.created_at, visit.now),
            by: row.created_by,
        });
        environments.push((name.clone(), offers.collect(), older));
    }
    let address = format!("/e/{env}/{app}");
    visit.page(&Choice { shell, app: app.clone(), address, environments, more })
}

#[derive(Deserialize)]
struct DeployForm {
    from: EnvName,
    number: u64,
    #[serde(default)]
    reason: String,
    key: String,
}

fn reason(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

async fn do_deploy(visit: Visit, Path((env, app)): Place, Form(form): Form<DeployForm>) -> Answer {
    let request = DeployRequest {
        from: Some(ReleaseRef { env: form.from, number: ReleaseNumber(form.number) }),
        reason: reason(&form.reason),
        ..DeployRequest::default()
    };
    let address = format!("{}/deployments", base(&env, &app));
    let asked: DeploymentView = visit.post_once(&address, &request, &form.key).await?;
    see(&format!("/d/{}", asked.id))
}

#[derive(Deserialize)]
struct To {
    to: Option<u64>,
}

async fn rollback(visit: Visit, Path((env, app)): Place, Query(query): Query<To>) -> Answer {
    let base = base(&env, &app);
    let detail: AppDetail = visit.get(&base).await?;
    let live = detail.row.live;
    let chosen = query.to.map(ReleaseNumber).or(detail.previous);
    let Some(chosen) = chosen else {
        return Err(Fault::new(
            ark_model::api::ProblemCode::ReleaseNotFound,
            format!("{app} on {env} has no release to go back to"),
        ));
    };
    let diff: Option<ReleaseDiff> = match live {
        Some(live) => visit.find(&format!("{base}/diff?from={live}&to={chosen}")).await?,
        None => None,
    };
    let command = match query.to {
        Some(_) => format!("ark rollback {app} -e {env} --to {chosen}"),
        None => format!("ark rollback {app} -e {env}"),
    };
    let title = format!("Roll {app} on {env} back to {chosen}");
    let shell = shell(&visit, &env, &app, title, command);
    let from = words::release(live);
    let mut steps = vec![
        format!(
            "start {} of {chosen}, with the artifact, the configuration and the definition it had",
            counted(u64::from(detail.row.wanted), "instance")
        ),
        format!("move the traffic from {from} to it as each is ready; {from} drains, then stops"),
    ];
    if let Some(running) = &detail.row.running_deployment {
        steps.insert(0, format!("abort the running deployment of {}", running.release));
    }
    let notes = (live == Some(chosen)).then(|| format!("{chosen} is live already"));
    let page = Action {
        steps,
        changes: diff.as_ref().map(releases::changes).unwrap_or_default(),
        notes: notes.into_iter().collect(),
        fields: vec![("to", chosen.0.to_string()), once(&visit)],
        reason: true,
        danger: true,
        ..Action::new(
            shell,
            format!("/e/{env}/{app}/rollback"),
            format!("/e/{env}/{app}"),
            &format!("Roll back to {chosen}"),
        )
    };
    visit.page(&page)
}

#[derive(Deserialize)]
struct RollbackForm {
    to: u64,
    #[serde(default)]
    reason: String,
    key: String,
}

async fn do_rollback(
    visit: Visit,
    Path((env, app)): Place,
    Form(form): Form<RollbackForm>,
) -> Answer {
    let request =
        RollbackRequest { to: Some(ReleaseNumber(form.to)), reason: reason(&form.reason) };
    let address = format!("{}/rollback", base(&env, &app));
    let asked: DeploymentView = visit.post_once(&address, &request, &form.key).await?;
    see(&format!("/d/{}", asked.id))
}

/// What a person may wish of a running app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Scale,
    Restart,
    Stop,
    Start,
}

impl Wish {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

async fn wish(visit: Visit, Path((env, app, what)): Path<(EnvName, AppName, Wish)>) -> Answer {
    let detail: AppDetail = visit.get(&base(&env, &app)).await?;
    let (ready, wanted) = (detail.row.ready, detail.row.wanted);
    let instances = |n: u32| counted(u64::from(n), "instance");
    let live = words::release(detail.row.live);
    let (title, steps, button) = match what {
        Wish::Scale => (
            format!("Scale {app} on {env}"),
            vec![
                format!("{} of {live} are wanted now, {ready} are ready", instances(wanted)),
                "more are started beside those that run; fewer drain first, then stop".to_owned(),
                "the number holds over deployments until it is set anew".to_owned(),
            ],
            "Scale",
        ),
        Wish::Restart => (
            format!("Restart {app} on {env}"),
            vec![
                format!("start {} of {live} beside those that run", instances(wanted)),
                "move the traffic as each is ready; the old ones drain, then stop".to_owned(),
            ],
            "Restart",
        ),
        Wish::Stop => (
            format!("Stop {app} on {env}"),
            match detail.addresses.is_empty() {
                true => vec![format!("stop its {}; each may end what it does", instances(ready))],
                false => vec![
                    format!("let the requests in {} end, then stop all of them", instances(ready)),
                    "requests are answered 503 until it is started again".to_owned(),
                ],
            }
            .into_iter()
            .chain(["a waiting deployment is superseded, a running one ends".to_owned()])
            .collect(),
            "Stop",
        ),
        Wish::Start => (
            format!("Start {app} on {env}"),
            vec![format!("start the instances of {live}; each gets traffic once it is ready")],
            "Start",
        ),
    };
    let mut command = format!("ark {} {app} -e {env}", what.as_str());
    if what == Wish::Scale {
        command = format!("ark scale {app}={wanted} -e {env}");
    }
    let to = format!("/e/{env}/{app}/do/{}", what.as_str());
    let shell = shell(&visit, &env, &app, title, command);
    let page = Action {
        steps,
        count: (what == Wish::Scale).then_some(wanted),
        danger: what == Wish::Stop,
        ..Action::new(shell, to, format!("/e/{env}/{app}"), button)
    };
    visit.page(&page)
}

#[derive(Deserialize)]
struct WishForm {
    #[serde(default)]
    count: String,
}

async fn do_wish(
    visit: Visit,
    Path((env, app, what)): Path<(EnvName, AppName, Wish)>,
    Form(form): Form<WishForm>,
) -> Answer {
    let address = format!("{}/{}", base(&env, &app), what.as_str());
    match what {
        Wish::Scale => {
            let count = match form.count.trim() {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    Fault::new(
                        ark_model::api::ProblemCode::InvalidValue,
                        format!("that is no number of instances: 0 to {SCALE_MAX}, or nothing for what the definition says"),
                    )
                })?),
            };
            let _: Value = visit.post(&address, &ScaleRequest { count }).await?;
        }
        Wish::Restart | Wish::Stop | Wish::Start => {
            let _: Value = visit.act(Method::POST, &address).await?;
        }
    }
    see(&format!("/e/{env}/{app}"))
}
