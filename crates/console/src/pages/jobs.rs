//! Work that ends and work that stands by itself, over all environments: apps that follow a schedule,
//! jobs, daemons; what each did last, and what it can be told.

use ark_model::api::{AppRow, CronView, EnvironmentApps, Page, RunView};
use ark_model::definition::RunKind;
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::overview::{Health, all_apps, health};
use super::runs::{RunLine, run_line};
use crate::Shared;
use crate::fault::Fault;
use crate::room::{Room, cut, weight, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::When;

/// Lines of each list on the page.
const LINES_MAX: usize = 120;
/// Bytes of the page without its lists, of one list at most, and of a line of each without its texts.
const FRAME: usize = 9_000;
const LIST: usize = 46_000;
const CRON: usize = 820;
const JOB: usize = 520;
const DAEMON: usize = 240;
/// The longest text, in bytes.
const WORD: usize = 100;
/// Environments that are named.
const NAMED: usize = 20;

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
    /// Environments with more apps than were looked at, and how many of those are not named.
    large: Vec<EnvName>,
    more_large: usize,
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
    let mut beyond_apps = Vec::new();
    let crons: Page<CronView> = visit.get("/v1/crons").await?;
    let listed = all_apps(&visit, filter.after.clone(), &q).await?;
    let (mut jobs, mut daemons) = (Vec::new(), Vec::new());
    for EnvironmentApps { environment, apps: page } in listed.items {
        if page.next.is_some() {
            beyond_apps.push(environment.name);
        }
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
    let beyond: usize = most.iter().map(|count| count.saturating_sub(LINES_MAX)).sum();
    crons.truncate(LINES_MAX);
    let mut lines = Vec::new();
    for row in jobs.into_iter().take(LINES_MAX) {
        let address = format!("/v1/environments/{}/apps/{}/runs?limit=1", row.env, row.app);
        let last = visit.find::<Page<RunView>>(&address).await?;
        let last = last.and_then(|page| page.items.into_iter().next());
        let last = last.map(|run| run_line(&visit, &run));
        lines.push(JobLine { env: row.env, app: row.app, last });
    }
    let mut room = Room::beside(FRAME);
    let (crons, no_crons) = room.part(LIST).fit(crons, CronLine::bytes);
    let (jobs, no_jobs) = room.part(LIST).fit(lines, JobLine::bytes);
    let daemons = daemons.iter().take(LINES_MAX).map(daemon_line);
    let (daemons, no_daemons) = room.fit(daemons, DaemonLine::bytes);
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
        jobs,
        daemons,
        hidden: beyond + no_crons + no_jobs + no_daemons,
        more_large: beyond_apps.len().saturating_sub(NAMED),
        large: beyond_apps.into_iter().take(NAMED).collect(),
    })
}

fn cron_line(visit: &Visit, one: CronView) -> CronLine {
    let (wish, button) = match one.paused_by.is_some() {
        true => ("resume", "Resume"),
        false => ("pause", "Pause"),
    };
    CronLine {
        not: match (&one.paused_by, one.stopped) {
            (Some(by), _) => cut(&format!("paused by {by}"), WORD),
            (None, true) => "its app is stopped".to_owned(),
            (None, false) => "never".to_owned(),
        },
        next: one.next_at.map(|at| When::ago(at, visit.now)),
        schedule: cut(&one.schedule, WORD),
        zone: cut(&one.timezone, WORD),
        running: one.running,
        last: one.last.map(|run| run_line(visit, &run)),
        env: one.env,
        app: one.app,
        wish,
        button,
    }
}

impl CronLine {
    fn bytes(&self) -> usize {
        let names = 7 * (self.env.as_str().len() + self.app.as_str().len());
        let texts = weights([&*self.schedule, &*self.zone, &*self.not]);
        CRON + names + texts + self.last.as_ref().map_or(0, run_bytes)
    }
}

impl JobLine {
    fn bytes(&self) -> usize {
        let names = 5 * (self.env.as_str().len() + self.app.as_str().len());
        JOB + names + self.last.as_ref().map_or(0, run_bytes)
    }
}

impl DaemonLine {
    fn bytes(&self) -> usize {
        DAEMON + 2 * (self.env.as_str().len() + self.app.as_str().len())
    }
}

fn run_bytes(run: &RunLine) -> usize {
    run.href.len() + weight(&run.words) + weight(&run.cause)
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
