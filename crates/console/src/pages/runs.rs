//! Runs of work that ends: those of an app, one with its tries and what it wrote, asking for one, and
//! ending one.

use std::time::Duration;

use ark_model::api::{LogLine, Page, ProblemCode, RunRequest, RunStopRequest, RunView};
use ark_model::run::{AttemptEnd, RunCause, RunOutcome, RunState};
use ark_model::{AppName, EnvName, Sha256};
use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Path, Query};
use axum::response::Response;
use axum::routing::{get, post};
use futures::StreamExt as _;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use super::logs::{LINES_SHOWN, Line, last_lines};
use crate::Shared;
use crate::fault::Fault;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, asks_anew, going_on, see};
use crate::words::{self, Tone, When, counted, value};

const RUNS: u32 = 50;
/// The longest texts, in bytes: how a run stands, why it is, what it was given.
const STANDING: usize = 240;
const CAUSE: usize = 100;
const ARGS: usize = 240;
const ARGS_WHOLE: usize = 3_000;
/// Bytes of all tries of a run, and of one without its texts.
const TRIES: usize = 40_000;
const TRY: usize = 180;
/// What was written by now is read for so long at most.
const READ_MAX: Duration = Duration::from_secs(2);
const READ_BYTES_MAX: usize = 16 << 20;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/e/{env}/{app}/runs", get(runs))
        .route("/e/{env}/{app}/run", get(ask).post(start))
        .route("/e/{env}/{app}/runs/{run}", get(run))
        .route("/e/{env}/{app}/runs/{run}/stop", post(stop))
        .route("/e/{env}/{app}/runs/{run}/stream", get(stream))
}

type Place = Path<(EnvName, AppName)>;
type Which = Path<(EnvName, AppName, u64)>;

fn base(env: &EnvName, app: &AppName) -> String {
    format!("/v1/environments/{env}/apps/{app}")
}

fn frame(visit: &Visit, env: &EnvName, app: &AppName, title: String) -> Shell {
    visit.shell(title, "/jobs").crumb("/jobs", "Jobs").crumb(format!("/e/{env}/{app}"), app)
}

/// A run in a list.
pub(super) struct RunLine {
    pub(super) number: u64,
    pub(super) href: String,
    pub(super) tone: Tone,
    pub(super) words: String,
    pub(super) exit: String,
    pub(super) when: When,
    pub(super) cause: String,
    pub(super) tries: String,
    pub(super) took: String,
    pub(super) release: String,
    pub(super) args: String,
}

pub(super) fn run_line(visit: &Visit, run: &RunView) -> RunLine {
    let (tone, words) = standing(run);
    let begun = run.attempts.first().map(|attempt| attempt.created_at);
    RunLine {
        number: run.number,
        href: format!("/e/{}/{}/runs/{}", run.env, run.app, run.number),
        tone,
        words: cut(&words, STANDING),
        exit: run.exit_code.map(|code| code.to_string()).unwrap_or_default(),
        when: When::ago(run.created_at, visit.now),
        cause: cut(&cause(&run.cause), CAUSE),
        tries: match run.attempts.len() {
            0 | 1 => String::new(),
            tries => format!("{tries} tries"),
        },
        took: begun
            .map(|at| words::between(at, run.ended_at.unwrap_or(visit.now)))
            .unwrap_or_default(),
        release: run.release.to_string(),
        args: cut(&run.args.join(" "), ARGS),
    }
}

fn cause(cause: &RunCause) -> String {
    match cause {
        RunCause::Schedule { caught_up: true, .. } => "made up for".to_owned(),
        RunCause::Schedule { .. } => "its schedule".to_owned(),
        RunCause::Asked { by } => format!("asked by {by}"),
    }
}

fn standing(run: &RunView) -> (Tone, String) {
    match (&run.outcome, run.state) {
        (Some(outcome @ RunOutcome::Succeeded), _) => (Tone::Good, outcome.words()),
        (Some(outcome @ RunOutcome::Failed { .. }), _) => (Tone::Bad, outcome.words()),
        (Some(outcome), _) => (Tone::Quiet, outcome.words()),
        (None, RunState::Waiting) => (Tone::Busy, "waits".to_owned()),
        (None, RunState::Starting) => (Tone::Busy, held(run)),
        (None, RunState::Running) => (Tone::Busy, "running".to_owned()),
        (None, RunState::Stopping) => (Tone::Busy, "is being ended".to_owned()),
        (None, RunState::Ended) => (Tone::Quiet, "ended".to_owned()),
    }
}

/// That it starts, or why its engine has not started it yet.
fn held(run: &RunView) -> String {
    let why = run.attempts.last().and_then(|attempt| attempt.held.as_deref());
    why.map_or_else(|| "starting".to_owned(), |why| format!("not started yet: {why}"))
}

#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs {
    shell: Shell,
    env: EnvName,
    app: AppName,
    runs: Vec<RunLine>,
    first: bool,
    next: Option<String>,
}

async fn runs(visit: Visit, Path((env, app)): Place, Query(query): Query<Cursor>) -> Answer {
    let cursor = query.cursor.map(|at| format!("&cursor={}", value(&at))).unwrap_or_default();
    let found: Page<RunView> =
        visit.get(&format!("{}/runs?limit={RUNS}{cursor}", base(&env, &app))).await?;
    let mut shell = frame(&visit, &env, &app, format!("Runs of {app} on {env}"))
        .command(format!("ark runs {app} -e {env}"));
    if cursor.is_empty() {
        shell = shell.live(&format!("env={env}&app={app}"));
    }
    visit.page(&Runs {
        shell,
        runs: found.items.iter().map(|run| run_line(&visit, run)).collect(),
        first: cursor.is_empty(),
        next: found.next.map(|at| format!("/e/{env}/{app}/runs?cursor={}", value(&at))),
        env,
        app,
    })
}

#[derive(Template)]
#[template(path = "run.html")]
struct Run {
    shell: Shell,
    env: EnvName,
    app: AppName,
    line: RunLine,
    ended: bool,
    stopping: bool,
    facts: Vec<(&'static str, String)>,
    attempts: Vec<AttemptLine>,
    /// Tries before those.
    earlier: usize,
    lines: Vec<Line>,
    /// What is not shown of the log; empty when it is all.
    said: &'static str,
    stream: String,
    stop: String,
}

/// The end of what a run wrote.
struct Written {
    lines: Vec<Line>,
    /// What of it is not shown.
    said: &'static str,
}

struct AttemptLine {
    instance: String,
    tone: Tone,
    words: String,
    when: When,
    took: String,
}

async fn run(visit: Visit, Path((env, app, number)): Which, headers: HeaderMap) -> Answer {
    let address = format!("{}/runs/{number}", base(&env, &app));
    let run: RunView = visit.get(&address).await?;
    // A page that catches up keeps its log and exchanges the rest.
    let Written { lines, said } = match asks_anew(&headers) {
        true => Written { lines: Vec::new(), said: "" },
        false => written(&visit, &address).await,
    };
    let ended = run.state == RunState::Ended;
    let mut facts =
        vec![("release", run.release.to_string()), ("why", cut(&cause(&run.cause), STANDING))];
    if !run.args.is_empty() {
        facts.push(("arguments", cut(&run.args.join(" "), ARGS_WHOLE)));
    }
    facts.extend(run.exit_code.map(|code| ("exit code", code.to_string())));
    facts.push(("tried again", counted(u64::from(run.retries), "time")));
    facts.push(("one try may take", words::length(run.timeout_seconds.saturating_mul(1_000))));
    let newest = run.attempts.iter().rev().map(|attempt| AttemptLine {
        instance: attempt.instance.clone(),
        tone: match &attempt.end {
            Some(end) if end.succeeded() => Tone::Good,
            Some(_) => Tone::Bad,
            None => Tone::Busy,
        },
        words: match &attempt.end {
            Some(end) => cut(&AttemptEnd::words(end), STANDING),
            None => "goes on".to_owned(),
        },
        when: When::ago(attempt.created_at, visit.now),
        took: attempt
            .started_at
            .map(|at| words::between(at, attempt.ended_at.unwrap_or(visit.now)))
            .unwrap_or_default(),
    });
    let bytes = |one: &AttemptLine| TRY + weight(&one.words) + weight(&one.instance);
    let (mut attempts, earlier) = Room::bytes(TRIES).fit(newest, bytes);
    attempts.reverse();
    let shell = frame(&visit, &env, &app, format!("Run {number} of {app} on {env}"))
        .crumb(format!("/e/{env}/{app}/runs"), "Runs")
        .live(&format!("env={env}&app={app}"))
        .command(format!("ark runs {app} {number} -e {env} --logs"));
    visit.page(&Run {
        shell,
        line: run_line(&visit, &run),
        ended,
        stopping: run.state == RunState::Stopping,
        facts,
        attempts,
        earlier,
        lines,
        said,
        stream: format!("/e/{env}/{app}/runs/{number}/stream"),
        stop: format!("ark runs {app} {number} -e {env} --stop"),
        env,
        app,
    })
}

/// The last of what a run has written by now. A log that cannot be read is not shown: the rest of the
/// page is.
async fn written(visit: &Visit, address: &str) -> Written {
    // One more than is shown says whether there is more.
    let tail = LINES_SHOWN + 1;
    let wanted = format!("{address}/logs?follow=false&tail={tail}");
    let response = visit.pass(&wanted, &HeaderMap::new()).await;
    let streams = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !streams {
        return Written { lines: Vec::new(), said: "The log could not be read" };
    }
    let (text, whole) = read(response.into_body()).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    // The last event is the run itself, which is no line.
    let all: Vec<LogLine> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
    let lines = last_lines(&all);
    let said = match (whole, all.len() > lines.len()) {
        // What came before the time was up is not the end of the log.
        (false, _) => "The log was not read to its end; all of it",
        (true, true) => "Older lines are not shown",
        (true, false) => "",
    };
    Written { lines, said }
}

/// What a stream gives until it ends, and whether it came to its end.
async fn read(body: Body) -> (String, bool) {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let all = async {
        while let Some(chunk) = stream.next().await {
            let Ok(chunk) = chunk else { return false };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > READ_BYTES_MAX {
                return false;
            }
        }
        true
    };
    // What came in time is shown.
    let whole = tokio::time::timeout(READ_MAX, all).await.unwrap_or(false);
    (String::from_utf8_lossy(&bytes).into_owned(), whole)
}

#[derive(Deserialize)]
struct After {
    /// The id of the last line that a stream gave before.
    last: Option<String>,
}

async fn stream(
    visit: Visit,
    Path((env, app, number)): Which,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Response {
    let address = format!("{}/runs/{number}/logs", base(&env, &app));
    visit.pass(&address, &going_on(&headers, after.last.as_deref())).await
}

#[derive(Template)]
#[template(path = "run_ask.html")]
struct Ask {
    shell: Shell,
    to: String,
    back: String,
    key: String,
    /// Whether what is typed follows a command of its own, or is the command.
    ends: bool,
    kind: &'static str,
    command: String,
}

async fn ask(visit: Visit, Path((env, app)): Place) -> Answer {
    let detail: ark_model::api::AppDetail = visit.get(&base(&env, &app)).await?;
    let once = format!("{} {}", visit.form_token, visit.now.as_nanosecond());
    visit.page(&Ask {
        shell: frame(&visit, &env, &app, format!("Run {app} on {env}")),
        to: format!("/e/{env}/{app}/run"),
        back: format!("/e/{env}/{app}/runs"),
        key: Sha256::of(once.as_bytes()).to_string(),
        ends: detail.row.kind.is_some_and(ark_model::definition::RunKind::ends),
        kind: detail.row.kind.map(ark_model::definition::RunKind::as_str).unwrap_or_default(),
        command: format!("ark run {app} -e {env} --detach -- ARGUMENTS"),
    })
}

#[derive(Deserialize)]
struct AskForm {
    #[serde(default)]
    args: String,
    #[serde(default)]
    retries: String,
    key: String,
}

async fn start(visit: Visit, Path((env, app)): Place, Form(form): Form<AskForm>) -> Answer {
    let retries = match form.retries.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            let detail = "that is no number of retries: 0 to 100, or nothing. Nothing was started.";
            Fault::new(ProblemCode::InvalidValue, detail)
        })?),
    };
    let args = form.args.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let request =
        RunRequest { args: args.map(str::to_owned).collect(), retries, timeout_seconds: None };
    let address = format!("{}/runs", base(&env, &app));
    let asked: RunView = visit.post_once(&address, &request, &form.key).await?;
    see(&format!("/e/{env}/{app}/runs/{}", asked.number))
}

async fn stop(visit: Visit, Path((env, app, number)): Which) -> Answer {
    let address = format!("{}/runs/{number}/stop", base(&env, &app));
    let why = format!("asked in the console by {}", visit.viewer.name);
    let _: Value = visit.post(&address, &RunStopRequest { reason: Some(why) }).await?;
    see(&format!("/e/{env}/{app}/runs/{number}"))
}
