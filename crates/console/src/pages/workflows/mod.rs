//! Workflows: which there are and what goes on in them, one with its graph and its executions, an
//! execution, and what each can be told. Schedules that start them stand in the list.

mod acts;
mod execution;
mod visits;
mod workflow;

use ark_model::address::Segment;
use ark_model::api::{Page, ScheduleView, TASKS_COUNTED_MAX, WorkflowActivity, WorkflowSummary};
use ark_model::workflow::MachineType;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::Shared;
use crate::fault::Fault;
use crate::room::{Room, cut, weight, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, Tone, When, operand, segment, value};

/// Workflows of one page.
const WORKFLOWS: u32 = 100;
/// Schedules that are listed.
const SCHEDULES: u32 = 200;
/// Activities that are listed.
const ACTIVITIES: u32 = 50;
/// Bytes of the page without its lists, of a list at most, and of a line of each without its texts.
const FRAME: usize = 9_000;
const LIST: usize = 80_000;
const SCHEDULES_LIST: usize = 36_000;
const LINE: usize = 520;
const SCHEDULE_LINE: usize = 900;
const ACTIVITY_LINE: usize = 330;
/// The longest text, in bytes.
const WORD: usize = 200;
/// What counts stop at.
const COUNTED_MAX: u64 = ark_model::api::EXECUTIONS_COUNTED_MAX;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/workflows", get(workflows))
        .route("/workflows/{workflow}", get(workflow::workflow))
        .route("/workflows/{workflow}/start", get(acts::start).post(acts::do_start))
        .route("/workflows/{workflow}/x/{execution}", get(execution::execution))
        .route("/workflows/{workflow}/x/{execution}/live", get(execution::live))
        .route("/workflows/{workflow}/x/{execution}/do/{act}", get(acts::act).post(acts::do_act))
        .route("/schedules/{schedule}/{wish}", post(schedule))
}

/// The ARN of a machine, or of a version of it.
fn machine_arn(name: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:stateMachine:{name}")
}

fn execution_arn(workflow: &str, execution: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:execution:{workflow}:{execution}")
}

/// The page of a workflow.
fn workflow_at(workflow: &str) -> String {
    format!("/workflows/{}", segment(workflow))
}

/// The page of an execution.
fn execution_at(workflow: &str, execution: &str) -> String {
    format!("/workflows/{}/x/{}", segment(workflow), segment(execution))
}

/// The operations on an execution.
fn execution_api(workflow: &str, execution: &str) -> String {
    format!("/v1/workflows/{}/executions/{}", segment(workflow), segment(execution))
}

/// An execution as the command line names it.
fn named(workflow: &str, execution: &str) -> String {
    operand(&format!("{workflow}:{execution}"))
}

#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "workflows.html")]
struct Workflows {
    shell: Shell,
    workflows: Vec<Line>,
    first: bool,
    next: Option<String>,
    schedules: Vec<ScheduleLine>,
    activities: Vec<ActivityLine>,
    more_schedules: bool,
    more_activities: bool,
}

struct Line {
    name: String,
    href: String,
    kind: &'static str,
    version: String,
    running: String,
    unresolved: String,
    failing: bool,
    last: Option<Last>,
}

struct Last {
    href: String,
    tone: Tone,
    words: &'static str,
    when: When,
}

/// What workers do, and how busy they are.
struct ActivityLine {
    name: String,
    ready: String,
    working: String,
    waiting: String,
    /// Percent of the last minute.
    busy: Option<String>,
    /// Whether tasks wait and nobody is there to take them.
    stuck: bool,
}

struct ScheduleLine {
    name: String,
    workflow: String,
    href: String,
    cron: String,
    zone: String,
    paused: bool,
    next: Option<When>,
    last: Option<(When, String, Option<String>)>,
    button: &'static str,
    to: String,
    command: String,
}

fn counted(number: u64) -> String {
    if number >= COUNTED_MAX { format!("{}+", words::count(number)) } else { words::count(number) }
}

async fn workflows(visit: Visit, Query(query): Query<Cursor>) -> Answer {
    let cursor = query.cursor.map(|at| format!("&cursor={}", value(&at))).unwrap_or_default();
    let address = format!("/v1/workflows?limit={WORKFLOWS}{cursor}");
    let found: Page<WorkflowSummary> = visit.get(&address).await?;
    let address = format!("/v1/schedules?limit={SCHEDULES}");
    let schedules: Page<ScheduleView> = match cursor.is_empty() {
        true => visit.get(&address).await?,
        false => Page { items: Vec::new(), next: None },
    };
    let activities: Page<WorkflowActivity> = match cursor.is_empty() {
        true => visit.get(&format!("/v1/workflow-activities?limit={ACTIVITIES}")).await?,
        false => Page { items: Vec::new(), next: None },
    };
    let shell = visit.shell("Workflows", "/workflows").live("").command("ark workflow list");
    let mut room = Room::beside(FRAME);
    let lines = found.items.into_iter().map(|one| line(&visit, one));
    let (workflows, left_out) = room.part(LIST).fit(lines, Line::bytes);
    // The list goes on after a name: what has no room is on the page that follows.
    let next = match workflows.last().filter(|_| left_out > 0) {
        Some(last) => Some(last.name.clone()),
        None => found.next,
    };
    let lines = schedules.items.into_iter().map(|one| schedule_line(&visit, one));
    let (schedules_shown, no_schedules) = room.part(SCHEDULES_LIST).fit(lines, ScheduleLine::bytes);
    let lines = activities.items.into_iter().map(activity_line);
    let (activities_shown, no_activities) =
        room.fit(lines, |one| ACTIVITY_LINE + weight(&one.name));
    visit.page(&Workflows {
        shell,
        workflows,
        first: cursor.is_empty(),
        next: next.map(|at| format!("/workflows?cursor={}", value(&at))),
        schedules: schedules_shown,
        more_schedules: no_schedules > 0 || schedules.next.is_some(),
        activities: activities_shown,
        more_activities: no_activities > 0 || activities.next.is_some(),
    })
}

fn line(visit: &Visit, one: WorkflowSummary) -> Line {
    let last = one.last.map(|last| {
        let (tone, words) = words::execution(last.status);
        let when = When::ago(last.stopped_at.unwrap_or(last.started_at), visit.now);
        Last { href: execution_at(&one.name, &last.name), tone, words, when }
    });
    Line {
        href: workflow_at(&one.name),
        kind: match one.kind {
            MachineType::Standard => "standard",
            MachineType::Express => "express",
        },
        version: one.version.map_or_else(|| "–".to_owned(), |number| number.to_string()),
        running: counted(one.running),
        failing: one.unresolved > 0,
        unresolved: counted(one.unresolved),
        last,
        name: one.name,
    }
}

impl Line {
    fn bytes(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |last| last.href.len());
        LINE + weight(&self.name) + 2 * self.href.len() + last
    }
}

impl ScheduleLine {
    fn bytes(&self) -> usize {
        let texts = [&*self.name, &*self.name, &*self.workflow, &*self.cron, &*self.zone];
        let last = self
            .last
            .as_ref()
            .map_or(0, |(_, words, href)| weight(words) + href.as_ref().map_or(0, String::len));
        SCHEDULE_LINE
            + weights(texts)
            + weight(&self.command)
            + self.to.len()
            + self.href.len()
            + last
    }
}

fn activity_line(one: WorkflowActivity) -> ActivityLine {
    let tasks = |number: u64| match number >= TASKS_COUNTED_MAX {
        true => format!("{}+", words::count(number)),
        false => words::count(number),
    };
    ActivityLine {
        ready: tasks(one.ready),
        working: words::count(one.working),
        waiting: words::count(one.waiting),
        busy: one.active_percent.map(|percent| format!("{percent:.0} %")),
        stuck: one.ready > 0 && one.working == 0 && one.waiting == 0,
        name: one.name,
    }
}

fn schedule_line(visit: &Visit, one: ScheduleView) -> ScheduleLine {
    let workflow = one.schedule.workflow;
    let base = workflow.split(':').next().unwrap_or_default();
    let (wish, button) = if one.paused { ("resume", "Resume") } else { ("pause", "Pause") };
    let last = one.last.map(|last| {
        let execution = last.execution_arn.as_deref().and_then(|arn| arn.rsplit(':').next());
        let words = last.skipped.map_or_else(|| "started".to_owned(), |why| cut(&why, WORD));
        (When::ago(last.at, visit.now), words, execution.map(|name| execution_at(base, name)))
    });
    ScheduleLine {
        href: workflow_at(base),
        cron: cut(&one.schedule.cron, WORD),
        zone: cut(&one.schedule.time_zone, WORD),
        paused: one.paused,
        next: one.next_at.map(|at| When::ago(at, visit.now)),
        last,
        button,
        to: format!("/schedules/{}/{wish}", segment(&one.name)),
        command: format!("ark workflow schedule {wish} {}", operand(&one.name)),
        name: one.name,
        workflow,
    }
}

async fn schedule(
    visit: Visit,
    Path((Segment(schedule), wish)): Path<(Segment, String)>,
) -> Answer {
    let wish = match wish.as_str() {
        "pause" => "pause",
        "resume" => "resume",
        _ => {
            let code = ark_model::api::ProblemCode::NoSuchOperation;
            return Err(Fault::new(code, "a schedule is paused or resumed"));
        }
    };
    let address = format!("/v1/schedules/{}/{wish}", segment(&schedule));
    let _: Value = visit.act(Method::POST, &address).await?;
    see("/workflows")
}
