//! One execution: the graph with what became of each state, the stays in states with their tries,
//! one of them with its input, output and what its worker wrote, and the events.

use ark_model::address::Segment;
use ark_model::api::{AppDetail, EventText, ExecutionEvent, ExecutionSummary, LogLine, Page};
use ark_model::workflow::ExecutionStatus;
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::visits::{self, Attempt, Visit as Stay};
use super::workflow::took;
use super::{execution_api, execution_arn, execution_at, named, workflow_at};
use crate::fault::Fault;
use crate::json;
use crate::machine::Drawing;
use crate::pages::logs::{Line, last_lines};
use crate::room;
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, count, counted};

/// Events that are read for the graph: the newest.
const READ_AT_ONCE: usize = 500;
const READS: usize = 4;
/// Stays that are listed.
const STAYS: usize = 40;
/// Events of one page, and characters of their texts.
const EVENTS: u32 = 25;
const EVENT_CHARS: u32 = 200;
/// Bytes of texts that are shown for themselves, as they stand in markup; of an error and of a drawing.
const TEXT: usize = 6_000;
const CAUSE: usize = 3_000;
const WORD: usize = 300;
const DRAWING: usize = 60_000;
const STAY_CHARS: u32 = 2_000;
/// Lines of a worker's log.
const LINES: usize = 30;
const LINES_READ: u32 = 2_000;
const LINE_CHARS: usize = 400;
/// Map Runs that are shown.
const MAP_RUNS: usize = 5;

#[derive(Deserialize)]
pub(super) struct Which {
    /// The event that entered the state to show.
    state: Option<u64>,
    from: Option<u64>,
    #[serde(default)]
    order: String,
}

#[derive(Template)]
#[template(path = "execution.html")]
struct ExecutionPage {
    shell: Shell,
    workflow: String,
    workflow_at: String,
    name: String,
    address: String,
    tone: Tone,
    status: &'static str,
    resolved: bool,
    facts: Vec<(&'static str, String)>,
    begun: When,
    ended: Option<When>,
    error: String,
    cause: String,
    acts: Vec<(&'static str, &'static str, String)>,
    like: String,
    drawing: Option<Drawing>,
    partly: bool,
    stays: Vec<StayLine>,
    hidden: usize,
    stay: Option<StayCard>,
    input: Text,
    output: Option<Text>,
    map_runs: Vec<String>,
    events: Vec<EventLine>,
    newest: bool,
    more: Option<String>,
    other_order: String,
    begin: Option<String>,
    count: String,
    command: String,
    whole_command: String,
}

/// A text that may be longer than what is shown.
struct Text {
    text: String,
    more: Option<String>,
}

impl Text {
    fn of(text: &str) -> Self {
        let (shown, whole) = json::pretty(text, TEXT);
        Self { text: shown, more: (!whole).then(|| words::bytes(text.len() as u64)) }
    }

    fn cut(text: &EventText) -> Self {
        let (shown, whole) = match text.cut {
            true => (room::cut(&text.text, TEXT), false),
            false => json::pretty(&text.text, TEXT),
        };
        Self { text: shown, more: (!whole).then(|| words::bytes(text.bytes)) }
    }
}

struct StayLine {
    id: u64,
    href: String,
    shown: bool,
    state: String,
    kind: String,
    iteration: Option<u64>,
    tone: Tone,
    words: &'static str,
    took: String,
    tries: String,
    worker: String,
    error: String,
}

/// One stay in a state, whole.
struct StayCard {
    line: StayLine,
    input: Option<Text>,
    output: Option<Text>,
    attempts: Vec<AttemptLine>,
    /// The last lines that the worker kept of a try that failed.
    kept: Option<Text>,
    /// Where its worker's log is, whose it is, its lines meanwhile, and why there are none.
    log: Option<Log>,
    run: Option<(String, String)>,
}

/// What the app whose worker had a task wrote meanwhile.
struct Log {
    href: String,
    words: String,
    lines: Vec<Line>,
    /// Why it could not be read.
    unread: Option<String>,
}

struct AttemptLine {
    number: usize,
    tone: Tone,
    resource: String,
    worker: String,
    waited: String,
    took: String,
    error: String,
    cause: String,
}

struct EventLine {
    id: u64,
    at: When,
    kind: String,
    about: String,
    tone: Tone,
    texts: Vec<(&'static str, String, bool)>,
}

pub(super) async fn live(
    visit: Visit,
    Path((Segment(workflow), Segment(execution))): Path<(Segment, Segment)>,
    headers: HeaderMap,
) -> Response {
    visit.pass(&format!("{}/stream", execution_api(&workflow, &execution)), &headers).await
}

pub(super) async fn execution(
    visit: Visit,
    Path((Segment(workflow), Segment(name))): Path<(Segment, Segment)>,
    Query(which): Query<Which>,
) -> Answer {
    let api = execution_api(&workflow, &name);
    let summary: ExecutionSummary = visit.get(&api).await?;
    let arn = serde_json::json!({ "executionArn": execution_arn(&workflow, &name) });
    let told: Value = visit.states("DescribeExecution", &arn).await?;
    let machine: Value = visit.states("DescribeStateMachineForExecution", &arn).await?;
    let definition = machine["definition"].as_str().unwrap_or_default();
    let definition: Value = serde_json::from_str(definition).unwrap_or_default();
    let (history, partly) = history(&visit, &api).await?;
    let stays = visits::visits(&history, summary.status);
    let address = execution_at(&workflow, &name);
    let marks = visits::marks(&stays, stay_at);
    let shown = which.state.or_else(|| of_interest(&stays, summary.status));
    let stay = match shown.and_then(|id| stays.iter().find(|stay| stay.id == id)) {
        Some(stay) => Some(card(&visit, &api, stay).await?),
        None => None,
    };
    let newest = which.order != "oldest";
    let page = events(&visit, &api, newest, which.from).await?;
    let order = if newest { "newest" } else { "oldest" };
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let (tone, status) = words::execution(summary.status);
    let hidden = stays.len().saturating_sub(STAYS);
    let listed = stays.iter().skip(hidden).map(|s| stay_line(&visit, s, shown));
    let command = format!("ark workflow history {}", named(&workflow, &name));
    let whole_command = format!("ark workflow history --json {}", named(&workflow, &name));
    let mut shell = visit
        .shell(format!("{name} of {workflow}"), "/workflows")
        .crumb("/workflows", "Workflows")
        .crumb(workflow_at(&workflow), &workflow)
        .command(format!("ark workflow status {}", named(&workflow, &name)));
    if which.from.is_none() {
        shell = shell.live_from(format!("{address}/live"));
    }
    visit.page(&ExecutionPage {
        acts: if shell.may_deploy { super::acts::offered(&summary, &told) } else { Vec::new() },
        like: format!("{}/start?like={}", workflow_at(&workflow), words::value(&name)),
        shell,
        tone,
        status,
        resolved: summary.resolved,
        facts: facts(&summary),
        begun: When::ago(summary.started_at, visit.now),
        ended: summary.stopped_at.map(|at| When::ago(at, visit.now)),
        error: room::cut(text("error"), WORD),
        cause: room::cut(text("cause"), CAUSE),
        drawing: Drawing::new(&definition, marks)
            .filter(|drawing| drawing.to_string().len() <= DRAWING),
        partly,
        stays: listed.collect(),
        hidden,
        stay,
        input: Text::of(text("input")),
        output: told["output"].as_str().map(Text::of),
        map_runs: map_runs(&visit, &history).await?,
        events: page.items.iter().map(event_line).collect(),
        newest,
        more: page.next.map(|next| format!("?order={order}&from={next}#events-title")),
        other_order: format!("?order={}#events-title", if newest { "oldest" } else { "newest" }),
        begin: which.from.map(|_| format!("?order={order}#events-title")),
        count: counted(summary.events, "event"),
        command,
        whole_command,
        workflow_at: workflow_at(&workflow),
        workflow,
        name,
        address,
    })
}

fn facts(summary: &ExecutionSummary) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(at) = summary.stopped_at {
        facts.push(("took", took(summary.started_at, at)));
    }
    facts.extend(summary.version.map(|number| ("version", number.to_string())));
    if summary.redrives > 0 {
        facts.push(("redriven", format!("{} times", count(summary.redrives))));
    }
    facts
}

/// The newest events without their texts, oldest first, and whether there are older ones.
async fn history(visit: &Visit, api: &str) -> Result<(Vec<ExecutionEvent>, bool), Fault> {
    let (mut all, mut from) = (Vec::new(), String::new());
    for _ in 0..READS {
        let address = format!("{api}/events?newest=true&text=120&limit={READ_AT_ONCE}{from}");
        let page: Page<ExecutionEvent> = visit.get(&address).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => from = format!("&from={next}"),
            None => {
                all.reverse();
                return Ok((all, false));
            }
        }
    }
    all.reverse();
    Ok((all, true))
}

async fn events(
    visit: &Visit,
    api: &str,
    newest: bool,
    from: Option<u64>,
) -> Result<Page<ExecutionEvent>, Fault> {
    let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
    let address = format!("{api}/events?newest={newest}&text={EVENT_CHARS}&limit={EVENTS}{from}");
    visit.get(&address).await
}

/// The stay that somebody comes for: what failed, else the last.
fn of_interest(stays: &[Stay], status: ExecutionStatus) -> Option<u64> {
    let failed = stays.iter().rev().find(|stay| stay.standing == visits::Standing::Failed);
    let wanted = failed.filter(|_| status != ExecutionStatus::Succeeded).or(stays.last());
    wanted.map(|stay| stay.id)
}

/// The page with one stay: beside its own address, whatever names that is made of.
fn stay_at(id: u64) -> String {
    format!("?state={id}#state")
}

fn stay_line(visit: &Visit, stay: &Stay, shown: Option<u64>) -> StayLine {
    let last = stay.attempts.last();
    StayLine {
        id: stay.id,
        href: stay_at(stay.id),
        shown: shown == Some(stay.id),
        state: stay.state.clone(),
        kind: stay.kind.clone(),
        iteration: stay.iteration,
        tone: stay.standing.tone(),
        words: stay.standing.words(),
        took: took(stay.entered_at, stay.left_at.unwrap_or(visit.now)),
        tries: match stay.attempts.len() {
            0 | 1 => String::new(),
            tries => format!("{tries} tries"),
        },
        worker: last.and_then(|attempt| attempt.worker.clone()).unwrap_or_default(),
        error: stay.error().map(|error| error.text.clone()).unwrap_or_default(),
    }
}

async fn one_event(visit: &Visit, api: &str, id: u64) -> Result<Option<ExecutionEvent>, Fault> {
    let address = format!("{api}/events?from={id}&limit=1&text={STAY_CHARS}");
    let page: Page<ExecutionEvent> = visit.get(&address).await?;
    Ok(page.items.into_iter().next().filter(|event| event.id == id))
}

async fn card(visit: &Visit, api: &str, stay: &Stay) -> Result<StayCard, Fault> {
    let entered = one_event(visit, api, stay.id).await?;
    let left = match stay.exit {
        Some(id) => one_event(visit, api, id).await?,
        None => None,
    };
    let (mut attempts, mut run, mut kept) = (Vec::new(), None, None);
    for (index, attempt) in stay.attempts.iter().enumerate() {
        // Only the last try is told whole.
        let whole = match attempt.end.filter(|_| index + 1 == stay.attempts.len()) {
            Some(id) => one_event(visit, api, id).await?,
            None => None,
        };
        let said = whole.as_ref().and_then(|event| event.output.as_ref().or(event.cause.as_ref()));
        run = said.and_then(run_of).or(run);
        kept = whole.as_ref().and_then(|event| event.log.as_ref()).map(Text::cut);
        attempts.push(attempt_line(visit, index + 1, attempt, whole.as_ref()));
    }
    Ok(StayCard {
        line: stay_line(visit, stay, Some(stay.id)),
        input: entered.and_then(|event| event.input).as_ref().map(Text::cut),
        output: left.and_then(|event| event.output).as_ref().map(Text::cut),
        log: match stay.attempts.last() {
            Some(attempt) => log(visit, attempt).await,
            None => None,
        },
        kept,
        attempts,
        run,
    })
}

fn attempt_line(
    visit: &Visit,
    number: usize,
    attempt: &Attempt,
    whole: Option<&ExecutionEvent>,
) -> AttemptLine {
    let cause = whole.and_then(|event| event.cause.as_ref()).or(attempt.cause.as_ref());
    let begun = attempt.started_at.unwrap_or(attempt.scheduled_at);
    AttemptLine {
        number,
        tone: match attempt.good {
            Some(true) => Tone::Good,
            Some(false) => Tone::Bad,
            None => Tone::Busy,
        },
        resource: attempt.resource.clone(),
        worker: attempt.worker.clone().unwrap_or_default(),
        waited: attempt.started_at.map(|at| took(attempt.scheduled_at, at)).unwrap_or_default(),
        took: match (attempt.ended_at, attempt.started_at) {
            (Some(at), _) => took(begun, at),
            (None, Some(_)) => took(begun, visit.now),
            (None, None) => "waits for a worker".to_owned(),
        },
        error: attempt.error.as_ref().map(|error| error.text.clone()).unwrap_or_default(),
        cause: cause.map(|cause| cause.text.clone()).unwrap_or_default(),
    }
}

/// The run of an app that a task was: where it is, and its name.
fn run_of(said: &EventText) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(&said.text).ok()?;
    let env: EnvName = value["Environment"].as_str()?.parse().ok()?;
    let app: AppName = value["App"].as_str()?.parse().ok()?;
    let run = value["Run"].as_u64()?;
    Some((format!("/e/{env}/{app}/runs/{run}"), format!("run {run} of {app} on {env}")))
}

/// What the app whose worker has a task wrote meanwhile: `<env>--<app>` is the activity of an app. A log
/// that cannot be read is a sentence: somebody looks because something failed.
async fn log(visit: &Visit, attempt: &Attempt) -> Option<Log> {
    let (env, app) = attempt.resource.rsplit(':').next()?.split_once("--")?;
    let (env, app) = (env.parse::<EnvName>().ok()?, app.parse::<AppName>().ok()?);
    let begun = attempt.started_at?;
    let base = format!("/v1/environments/{env}/apps/{app}");
    // Clocks of the two may differ a little, and a line may come late.
    let late = SignedDuration::from_secs(1);
    let until = attempt.ended_at.unwrap_or(visit.now).checked_add(late).unwrap_or(Timestamp::MAX);
    let address = format!("{base}/logs?tail={LINES_READ}&since={begun}&until={until}");
    let read = async {
        match visit.find::<AppDetail>(&base).await? {
            Some(_) => visit.lines(&address).await.map(Some),
            None => Ok(None),
        }
    };
    let (text, unread) = match read.await {
        Ok(Some(text)) => (text, None),
        Ok(None) => return None,
        Err(fault) => (String::new(), Some(room::cut(&fault.0.detail, WORD))),
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    let lines: Vec<LogLine> = lines.filter(|line| line.at <= until).collect();
    let newest = &lines[lines.len().saturating_sub(LINES)..];
    let lines = last_lines(newest)
        .into_iter()
        .map(|line| Line { text: words::shortened(&line.text, LINE_CHARS), ..line });
    let lines = lines.collect();
    Some(Log {
        href: format!("/e/{env}/{app}/logs"),
        words: format!("{app} on {env}"),
        lines,
        unread,
    })
}

/// Map Runs in words.
async fn map_runs(visit: &Visit, history: &[ExecutionEvent]) -> Result<Vec<String>, Fault> {
    let arns = history.iter().filter_map(|event| event.map_run.as_deref());
    let mut all = Vec::new();
    for arn in arns.take(MAP_RUNS) {
        let run: Value =
            visit.states("DescribeMapRun", &serde_json::json!({ "mapRunArn": arn })).await?;
        let number = |name: &str| run["itemCounts"][name].as_u64().unwrap_or(0);
        let status = run["status"].as_str().unwrap_or_default().to_lowercase();
        let parts = [
            ("succeeded", "succeeded"),
            ("failed", "failed"),
            ("timedOut", "timed out"),
            ("running", "running"),
            ("pending", "pending"),
            ("aborted", "aborted"),
        ];
        let parts = parts.map(|(key, name)| (name, number(key)));
        let parts = parts.iter().filter(|(_, n)| *n > 0);
        let parts: Vec<String> = parts.map(|(name, n)| format!("{} {name}", count(*n))).collect();
        let items = counted(number("total"), "item");
        all.push(format!("{status}, {items}: {}", parts.join(", ")));
    }
    Ok(all)
}

fn event_line(event: &ExecutionEvent) -> EventLine {
    let kind = event.kind.as_str();
    let tone = match kind {
        bad if bad.ends_with("Failed") || bad.ends_with("TimedOut") => Tone::Bad,
        end if end.ends_with("Aborted") => Tone::Quiet,
        good if good.ends_with("Succeeded") || good.ends_with("Exited") => Tone::Good,
        _ => Tone::Busy,
    };
    let resource = event.resource.as_deref().map(|arn| arn.rsplit(':').next().unwrap_or(arn));
    let worker = event.worker.as_ref().map(|worker| format!("by {worker}"));
    let iteration = event.index.map(|index| format!("iteration {index}"));
    let about = [event.state.clone(), resource.map(str::to_owned), worker, iteration];
    let all = [
        ("error", &event.error),
        ("cause", &event.cause),
        ("input", &event.input),
        ("output", &event.output),
    ];
    let texts = all.into_iter().filter_map(|(name, text)| {
        let text = text.as_ref().filter(|text| !text.text.is_empty())?;
        Some((name, text.text.clone(), text.cut))
    });
    EventLine {
        id: event.id,
        at: When::clock(event.at),
        kind: kind.to_owned(),
        about: about.into_iter().flatten().collect::<Vec<_>>().join(", "),
        tone,
        texts: texts.collect(),
    }
}
