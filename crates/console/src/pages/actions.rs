//! What an app can be told: deploy, roll back, scale, restart, stop, start. Each is a page that says
//! what would be done, with a button that does it: nothing is changed by looking.

use ark_model::api::{
    AppDetail, DeployRequest, DeploymentView, EnvironmentView, Page, PlanView, ProblemCode,
    ReleaseRef, ReleaseRow, Remedy, Role, RollbackRequest, SCALE_MAX, ScaleRequest,
};
use ark_model::definition::RunKind;
use ark_model::{AppName, EnvName, ReleaseNumber, Sha256};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query};
use axum::routing::get;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::app::releases::{self, Change};
use crate::Shared;
use crate::fault::Fault;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, When, counted};

/// Releases offered of an environment.
const OFFERED: usize = 12;
/// Environments that are looked through for the app: so many pages of them.
const PAGES: usize = 4;
/// Bytes of a page without its lists, and what its lists may fill.
const FRAME: usize = 9_000;
const STEPS: usize = 30_000;
const NOTES: usize = 20_000;
const REMEDIES: usize = 6_000;
/// Of a line without its text, and its longest text.
const LINE: usize = 60;
const OTHER: usize = 120;
const SAID: usize = 600;
const MISSING: usize = 4_000;

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
    /// Changes that the page has no room for, and the command that shows them.
    pub(super) hidden: usize,
    pub(super) all_changes: String,
    /// Why it would be refused.
    pub(super) refusals: Vec<String>,
    /// What to do about that: in words, and the command.
    pub(super) remedies: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    /// Hidden fields of the form.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Whether a reason is asked for, and what was typed before.
    pub(super) reason: bool,
    pub(super) why: String,
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
            hidden: 0,
            all_changes: String::new(),
            refusals: Vec::new(),
            remedies: Vec::new(),
            notes: Vec::new(),
            fields: Vec::new(),
            reason: false,
            why: String::new(),
            count: None,
            button: button.to_owned(),
            danger: false,
        }
    }
}

/// Sentences as long as there is room, and a last one when there is not.
fn sentences(all: impl IntoIterator<Item = String>, room: usize) -> Vec<String> {
    let short = all.into_iter().map(|text| cut(&text, SAID));
    let (mut shown, hidden) = Room::bytes(room).fit(short, |text| LINE + weight(text));
    if hidden > 0 {
        shown.push(format!("and {hidden} more, which this page has no room for"));
    }
    shown
}

/// A key under which a form that is sent twice is carried out once.
fn once(visit: &Visit) -> (&'static str, String) {
    let text = format!("{} {}", visit.form_token, visit.now.as_nanosecond());
    ("key", Sha256::of(text.as_bytes()).to_string())
}

#[derive(Deserialize)]
struct From {
    /// Alone: whose releases are offered. With a number: what is planned.
    from: Option<EnvName>,
    number: Option<u64>,
}

#[derive(Template)]
#[template(path = "deploy.html")]
struct Choice {
    shell: Shell,
    app: AppName,
    address: String,
    env: EnvName,
    /// Whose releases are offered, the newest of them, and whether there are older ones.
    of: EnvName,
    offers: Vec<Offer>,
    older: bool,
    /// Other environments that have the app.
    others: Vec<EnvName>,
    /// Whether there may be more of them.
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
    let from = query.from.unwrap_or_else(|| env.clone());
    if let Some(number) = query.number {
        return plan_deploy(&visit, &env, &app, (from, number), None).await;
    }
    let (title, command) = (format!("Deploy {app} to {env}"), format!("ark deploy {app} -e {env}"));
    let shell = shell(&visit, &env, &app, title, command);
    choose(&visit, shell, env, app, from).await
}

/// What deploying a release would do. `why` is what was typed on the page of a plan that has changed
/// since.
async fn plan_deploy(
    visit: &Visit,
    env: &EnvName,
    app: &AppName,
    (from, number): (EnvName, u64),
    why: Option<String>,
) -> Answer {
    let (title, command) = (format!("Deploy {app} to {env}"), format!("ark deploy {app} -e {env}"));
    let request = DeployRequest {
        from: Some(ReleaseRef { env: from.clone(), number: ReleaseNumber(number) }),
        ..DeployRequest::default()
    };
    let plan: PlanView = visit.post(&format!("{}/plan", base(env, app)), &request).await?;
    let command = match from == *env {
        true => format!("{command} --release v{number}"),
        false => format!("{command} --release {from}:v{number}"),
    };
    let shell = shell(visit, env, app, title, command);
    let to = format!("/e/{env}/{app}/deploy");
    let missing = match plan.missing.as_slice() {
        [] => None,
        names => Some(cut(&format!("{env} does not define {}", names.join(", ")), MISSING)),
    };
    let nothing = !plan.changes && plan.steps.is_empty();
    let nothing =
        nothing.then(|| format!("{} is what is live already; nothing would change", plan.release));
    let changes = releases::of(plan.artifact.as_ref(), &plan.config, &plan.definition);
    let (changes, hidden) = room_for_changes().fit(changes, Change::bytes);
    let page = Action {
        changes,
        hidden,
        all_changes: shell.command.replacen("ark deploy", "ark plan", 1),
        notes: sentences(changed(why.as_ref()).chain(nothing).chain(noted(&plan)), NOTES),
        remedies: remedies(&plan.remedy),
        refusals: missing.into_iter().chain(sentences(plan.refusals, NOTES)).collect(),
        steps: sentences(plan.steps, STEPS),
        fields: vec![
            ("from", from.to_string()),
            ("number", number.to_string()),
            once(visit),
            ("expect", plan.expect),
        ],
        reason: true,
        why: why.clone().unwrap_or_default(),
        ..Action::new(shell, to, format!("/e/{env}/{app}/deploy"), "Deploy")
    };
    answered(visit, &page, why.as_ref())
}

/// What stands first on the page of a plan that has changed since it was shown.
fn changed(why: Option<&String>) -> impl Iterator<Item = String> + use<> {
    let said = "This has changed since it was shown; nothing was done yet.";
    why.map(|_| said.to_owned()).into_iter()
}

/// A plan; the answer to a form that was not carried out says that it was not.
fn answered(visit: &Visit, page: &Action, why: Option<&String>) -> Answer {
    let mut response = visit.page(page)?;
    if why.is_some() {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    Ok(response)
}

/// What is left for changes beside the other lists.
const fn room_for_changes() -> Room {
    Room::beside(FRAME + STEPS + 2 * NOTES + MISSING + REMEDIES)
}

/// What else is to be known of a plan: what is not enforced, what its record will say, warnings.
fn noted(plan: &PlanView) -> Vec<String> {
    let not_enforced = plan.not_enforced.iter().map(|one| format!("{}: {}", one.path, one.reason));
    let warnings = plan.warnings.iter().map(|one| format!("{}: {}", one.code, one.message));
    not_enforced.chain(plan.notes.iter().cloned()).chain(warnings).collect()
}

/// What to do about what refuses a plan, as long as there is room. A command that was cut is none.
fn remedies(all: &[Remedy]) -> Vec<(String, String)> {
    let short = all.iter().filter(|one| one.command.len() <= SAID);
    let pairs = short.map(|one| (cut(&one.label, SAID), one.command.clone()));
    let bytes = |(label, command): &(String, String)| LINE + weight(label) + weight(command);
    Room::bytes(REMEDIES).fit(pairs, bytes).0
}

/// Which release: those of one environment, with a way to those of each other that has the app.
async fn choose(visit: &Visit, shell: Shell, env: EnvName, app: AppName, of: EnvName) -> Answer {
    let (mut others, mut cursor, mut more) = (Vec::new(), String::new(), true);
    for _ in 0..PAGES {
        let all: Page<EnvironmentView> =
            visit.get(&format!("/v1/environments?limit=500{cursor}")).await?;
        let has = |found: &EnvironmentView| found.apps.iter().any(|known| known == app.as_str());
        let found = all.items.into_iter().filter(|found| has(found) || found.name == env);
        others.extend(found.map(|found| found.name).filter(|name| *name != of));
        match all.next {
            Some(at) => cursor = format!("&cursor={}", words::value(&at)),
            None => {
                more = false;
                break;
            }
        }
    }
    let address = format!("{}/releases?limit={OFFERED}", base(&of, &app));
    let found: Option<Page<ReleaseRow>> = visit.find(&address).await?;
    let found = found.unwrap_or(Page { items: Vec::new(), next: None });
    let older = found.next.is_some();
    let offer = |row: ReleaseRow| Offer {
        number: row.number.to_string(),
        href: format!("/e/{env}/{app}/deploy?from={of}&number={}", row.number.0),
        live: row.live,
        commit: row.commit.unwrap_or_default().chars().take(12).collect(),
        artifact: cut(&words::artifact(&row.artifact), SAID),
        when: When::ago(row.created_at, visit.now),
        by: cut(&row.created_by, LINE),
    };
    let offers: Vec<Offer> = found.items.into_iter().map(offer).collect();
    // Names are plain; each stands in an address, too.
    let weight = |name: &EnvName| OTHER + 3 * name.as_str().len() + app.as_str().len();
    let (others, hidden) = Room::bytes(NOTES + STEPS).fit(others, weight);
    let address = format!("/e/{env}/{app}");
    let more = more || hidden > 0;
    visit.page(&Choice { shell, address, offers, older, others, more, env, app, of })
}

#[derive(Deserialize)]
struct DeployForm {
    from: EnvName,
    number: u64,
    #[serde(default)]
    reason: String,
    key: String,
    /// What the plan rested on that was shown.
    expect: Option<String>,
}

fn reason(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

async fn do_deploy(visit: Visit, Path((env, app)): Place, Form(form): Form<DeployForm>) -> Answer {
    let request = DeployRequest {
        from: Some(ReleaseRef { env: form.from.clone(), number: ReleaseNumber(form.number) }),
        reason: reason(&form.reason),
        expect: form.expect,
        ..DeployRequest::default()
    };
    let address = format!("{}/deployments", base(&env, &app));
    let asked: Result<DeploymentView, Fault> = visit.post_once(&address, &request, &form.key).await;
    match asked {
        Ok(asked) => see(&format!("/d/{}", asked.id)),
        Err(fault) if fault.code() == ProblemCode::PlanChanged => {
            let which = (form.from, form.number);
            plan_deploy(&visit, &env, &app, which, Some(form.reason)).await
        }
        Err(fault) => Err(fault),
    }
}

#[derive(Deserialize)]
struct To {
    to: Option<u64>,
}

async fn rollback(visit: Visit, Path((env, app)): Place, Query(query): Query<To>) -> Answer {
    plan_rollback(&visit, &env, &app, query.to, None).await
}

/// What a rollback would do. `why` is what was typed on the page of a plan that has changed since.
async fn plan_rollback(
    visit: &Visit,
    env: &EnvName,
    app: &AppName,
    to: Option<u64>,
    why: Option<String>,
) -> Answer {
    let request = RollbackRequest { to: to.map(ReleaseNumber), ..RollbackRequest::default() };
    // Where it leads and what it does are the server's to say: it is the same that is recorded.
    let plan: PlanView = visit.post(&format!("{}/rollback/plan", base(env, app)), &request).await?;
    let chosen = plan.release;
    // As the button: to what is shown, whatever happens meanwhile.
    let command = format!("ark rollback {app} -e {env} --to {chosen}");
    let title = format!("Roll {app} on {env} back to {chosen}");
    let shell = shell(visit, env, app, title, command);
    let changes = releases::of(plan.artifact.as_ref(), &plan.config, &plan.definition);
    let (changes, hidden) = room_for_changes().fit(changes, Change::bytes);
    let already = (plan.live == Some(chosen)).then(|| format!("{chosen} is live already"));
    let page = Action {
        changes,
        hidden,
        all_changes: format!("ark rollback {app} -e {env} --to {chosen} --plan"),
        notes: sentences(changed(why.as_ref()).chain(already).chain(noted(&plan)), NOTES),
        remedies: remedies(&plan.remedy),
        refusals: sentences(plan.refusals, NOTES),
        steps: sentences(plan.steps, STEPS),
        fields: vec![("to", chosen.0.to_string()), once(visit), ("expect", plan.expect)],
        reason: true,
        why: why.clone().unwrap_or_default(),
        danger: true,
        ..Action::new(
            shell,
            format!("/e/{env}/{app}/rollback"),
            format!("/e/{env}/{app}"),
            &format!("Roll back to {chosen}"),
        )
    };
    answered(visit, &page, why.as_ref())
}

#[derive(Deserialize)]
struct RollbackForm {
    to: u64,
    #[serde(default)]
    reason: String,
    key: String,
    /// What the plan rested on that was shown.
    expect: Option<String>,
}

async fn do_rollback(
    visit: Visit,
    Path((env, app)): Place,
    Form(form): Form<RollbackForm>,
) -> Answer {
    let request = RollbackRequest {
        to: Some(ReleaseNumber(form.to)),
        reason: reason(&form.reason),
        expect: form.expect,
    };
    let address = format!("{}/rollback", base(&env, &app));
    let asked: Result<DeploymentView, Fault> = visit.post_once(&address, &request, &form.key).await;
    match asked {
        Ok(asked) => see(&format!("/d/{}", asked.id)),
        Err(fault) if fault.code() == ProblemCode::PlanChanged => {
            plan_rollback(&visit, &env, &app, Some(form.to), Some(form.reason)).await
        }
        Err(fault) => Err(fault),
    }
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
        Wish::Restart => (format!("Restart {app} on {env}"), restart(&detail), "Restart"),
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
        Wish::Start => (format!("Start {app} on {env}"), start(&detail), "Start"),
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

/// What a restart does, by what the app is.
fn restart(detail: &AppDetail) -> Vec<String> {
    let live = words::release(detail.row.live);
    match detail.row.kind {
        // The same order as a deployment's: no two are on one host.
        Some(RunKind::Daemon) => vec![
            format!("on each host, stop the instance of {live} first; it may end what it does"),
            "then start the next one there".to_owned(),
        ],
        Some(RunKind::Cron | RunKind::Job) => {
            vec!["it has no instances that stand: each run starts its own".to_owned()]
        }
        None | Some(RunKind::Service | RunKind::Worker | RunKind::Lambda) => {
            let wanted = counted(u64::from(detail.row.wanted), "instance");
            let mut steps = vec![format!("start {wanted} of {live} beside those that run")];
            steps.push(match detail.addresses.is_empty() {
                true => "stop the old ones as each is ready; each may end what it does".to_owned(),
                false => {
                    "move the traffic as each is ready; the old ones drain, then stop".to_owned()
                }
            });
            steps
        }
    }
}

/// What starting a stopped app does, by what the app is.
fn start(detail: &AppDetail) -> Vec<String> {
    let live = words::release(detail.row.live);
    let said = match detail.row.kind {
        Some(RunKind::Cron) => "its schedule fires again".to_owned(),
        Some(RunKind::Job) => "it may be run again".to_owned(),
        Some(RunKind::Lambda) => format!("its requests start instances of {live} again"),
        Some(RunKind::Daemon) => format!("start an instance of {live} on each host"),
        None | Some(RunKind::Service | RunKind::Worker) => match detail.addresses.is_empty() {
            true => format!("start the instances of {live}"),
            false => format!("start the instances of {live}; each gets traffic once it is ready"),
        },
    };
    vec![said]
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
                        ProblemCode::InvalidValue,
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
