//! Work that ends and work that stands by itself, over all environments: apps that follow a schedule,
//! jobs, daemons; what each did last, and what it can be told.

use ark_model::api::{AppRow, CronView, EnvironmentView, Page, RunView};
use ark_model::definition::RunKind;
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::overview::{Health, health};
use super::runs::{RunLine, run_line};
use crate::Shared;
use crate::fault::Fault;
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{When, part};

/// Items asked for at once.
const AT_ONCE: u32 = 500;
/// Lines of each list on the page.
const LINES_MAX: usize = 120;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/jobs", get(jobs)).route("/e/{env}/{app}/cron/{wish}", post(tell))
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
#[template(path = "jobs.html")]
struct Jobs {
    shell: Shell,
    q: String,
    crons: Vec<CronLine>,
    jobs: Vec<JobLine>,
    daemons: Vec<DaemonLine>,
    hidden: usize,
    /// The page with the jobs and daemons of the environments that follow.
    next: Option<String>,
}

struct CronLine {
    env: EnvName,
    app: AppName,
    schedule: String,
    zone: String,
    next: Option<When>,
    /// Why it does not fire.
    not: String,
    running: u32,
    last: Option<RunLine>,
    wish: &'static str,
    button: &'static str,
}

struct JobLine {
    env: EnvName,
    app: AppName,
    last: Option<RunLine>,
}

struct DaemonLine {
    env: EnvName,
    app: AppName,
    health: Health,
    live: String,
    instances: String,
}

async fn jobs(visit: Visit, Query(filter): Query<Filter>) -> Answer {
    let q = filter.q.trim().to_lowercase();
    let crons: Page<CronView> = visit.get("/v1/crons").await?;
    let after = filter.after.as_deref().map(|at| format!("&cursor={}", part(at)));
    let address = format!("/v1/environments?limit={AT_ONCE}{}", after.unwrap_or_default());
    let listed: Page<EnvironmentView> = visit.get(&address).await?;
    let (mut jobs, mut daemons) = (Vec::new(), Vec::new());
    for environment in listed.items {
        // It may be gone since it was listed.
        let address = format!("/v1/environments/{}/apps?limit={AT_ONCE}", environment.name);
        let Some(page) = visit.find::<Page<AppRow>>(&address).await? else { continue };
        for row in page.items {
            match row.kind {
                Some(RunKind::Job) if row.app.as_str().contains(&q) => jobs.push(row),
                Some(RunKind::Daemon) if row.app.as_str().contains(&q) => daemons.push(row),
                _ => {}
            }
        }
    }
    let crons = crons.items.into_iter().filter(|one| one.app.as_str().contains(&q));
    let mut crons: Vec<CronLine> = crons.map(|one| cron_line(&visit, one)).collect();
    let most = [crons.len(), jobs.len(), daemons.len()];
    let hidden = most.iter().map(|count| count.saturating_sub(LINES_MAX)).sum();
    crons.truncate(LINES_MAX);
    let mut lines = Vec::new();
    for row in jobs.into_iter().take(LINES_MAX) {
        let address = format!("/v1/environments/{}/apps/{}/runs?limit=1", row.env, row.app);
        let last = visit.find::<Page<RunView>>(&address).await?;
        let last = last.and_then(|page| page.items.into_iter().next());
        let last = last.map(|run| run_line(&visit, &run));
        lines.push(JobLine { env: row.env, app: row.app, last });
    }
    let shell = visit.shell("Jobs", "/jobs").live("").command("ark cron list");
    let next = listed.next.map(|after| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &filter.q).append_pair("after", &after);
        format!("/jobs?{}", query.finish())
    });
    visit.page(&Jobs {
        shell,
        next,
        q: filter.q,
        crons,
        jobs: lines,
        daemons: daemons.iter().take(LINES_MAX).map(daemon_line).collect(),
        hidden,
    })
}

fn cron_line(visit: &Visit, one: CronView) -> CronLine {
    let (wish, button) = match one.paused_by.is_some() {
        true => ("resume", "Resume"),
        false => ("pause", "Pause"),
    };
    CronLine {
        not: match (&one.paused_by, one.stopped) {
            (Some(by), _) => format!("paused by {by}"),
            (None, true) => "its app is stopped".to_owned(),
            (None, false) => "never".to_owned(),
        },
        next: one.next_at.map(|at| When::ago(at, visit.now)),
        schedule: one.schedule,
        zone: one.timezone,
        running: one.running,
        last: one.last.map(|run| run_line(visit, &run)),
        env: one.env,
        app: one.app,
        wish,
        button,
    }
}

fn daemon_line(row: &AppRow) -> DaemonLine {
    DaemonLine {
        health: health(row),
        live: crate::words::release(row.live),
        instances: format!("{}/{}", row.ready, row.wanted),
        env: row.env.clone(),
        app: row.app.clone(),
    }
}

/// What a schedule can be told.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Pause,
    Resume,
}

async fn tell(
    visit: Visit,
    Path((env, app, wish)): Path<(EnvName, AppName, Wish)>,
) -> Result<axum::response::Response, Fault> {
    let wish = match wish {
        Wish::Pause => "pause",
        Wish::Resume => "resume",
    };
    let address = format!("/v1/environments/{env}/apps/{app}/cron/{wish}");
    let _: Value = visit.act(Method::POST, &address).await?;
    see("/jobs")
}
