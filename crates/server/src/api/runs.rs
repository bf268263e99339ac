//! Runs of work that ends: asked for, looked at, stopped, and what they wrote. Records wishes; the
//! loop of runs carries them out.

use std::collections::VecDeque;
use std::time::Duration;

use ark_engine::{EngineError, LogQuery, LogSource};
use ark_model::api::{
    AttemptView, LOG_LINES_MAX, LogLine, OutputStream, Page, PageQuery, ProblemCode, RunLogsQuery,
    RunRequest, RunStopRequest, RunView,
};
use ark_model::definition::Overlap;
use ark_model::event::EventKind;
use ark_model::run::{
    ARGS_BYTES_MAX, ARGS_MAX, Attempt, AttemptEnd, RETRIES_MAX, RunCause, RunOutcome, RunRecord,
    RunState, RunStop, TIMEOUT, TIMEOUT_MAX,
};
use ark_model::{AppName, EnvName, InstanceId, RunId};
use ark_planner::cron::RUNS_MAX;
use ark_store::{ReadTx, WriteTx};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::app_rows::place;
use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::idempotency::{Key, once};
use super::intents::{Act, words};
use super::operation::{Content, Operation, Shared, subschema};
use super::stream::{Outlet, events, json_event, last_event_id};
use crate::auth::{Caller, Permission};
use crate::tasks::crons::{event, replace_others};

/// A run is looked at this often while its log is followed, even if nothing seems to happen.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The most bytes of last lines that are put together for one answer.
const TAIL_BYTES_MAX: usize = 32 << 20;
/// How soon it is looked at again when its log is not there yet.
const LOOK_SOON: Duration = Duration::from_millis(100);

const PROBLEMS: &[ProblemCode] =
    &[ProblemCode::EnvironmentNotFound, ProblemCode::AppNotFound, ProblemCode::RunNotFound];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/v1/environments/{env}/apps/{app}/runs",
            ("startRun", "Run an app of type cron or job, or a command with any app's release"),
            start,
        )
        .about(
            "With the live release: its files or image, its configuration, its limits. A `cron` app \
             whose `overlap` is `forbid` refuses a second run beside one that goes on.",
        )
        .needs(Permission::Operate)
        .takes::<RunRequest>()
        .idempotent_by_key()
        .answers::<RunView>(202)
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::EnvironmentDestroying,
            ProblemCode::AppNotFound,
            ProblemCode::NotDeployed,
            ProblemCode::AppStopped,
            ProblemCode::RunsGoOn,
            ProblemCode::InvalidValue,
            ProblemCode::IdempotencyConflict,
        ]),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/runs",
            ("listRuns", "Runs of an app, newest first"),
            list,
        )
        .about("The newest 100 are kept, and all that go on.")
        .query::<PageQuery>()
        .answers::<Page<RunView>>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::AppNotFound]),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/runs/{run}",
            ("getRun", "One run by its number"),
            show,
        )
        .answers::<RunView>(200)
        .problems(PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/runs/{run}/stop",
            ("stopRun", "End a run; it is not tried again"),
            stop,
        )
        .about("A run that is over stays as it is.")
        .needs(Permission::Operate)
        .takes::<RunStopRequest>()
        .answers::<RunView>(202)
        .problems(PROBLEMS),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/runs/{run}/logs",
            ("followRun", "What a run writes, in all its attempts, until it is over"),
            follow,
        )
        .about(
            "Server-sent events named `line`; the last is `ended`, with the run as data. A client \
             that reconnects with `Last-Event-ID` goes on where it was. With `follow=false` the answer \
             ends with what was written by now, with `tail` the last lines of it. Logs are kept for a \
             day.",
        )
        .query::<RunLogsQuery>()
        .streams(200, Content::Events(subschema::<LogLine>))
        .problems(PROBLEMS),
    ]
}

/// A run as it is shown.
pub(super) fn view(run: RunRecord) -> RunView {
    let attempts = run.attempts.into_iter().map(|attempt| AttemptView {
        instance: attempt.instance.short(&run.app),
        created_at: attempt.created_at,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        end: attempt.end,
    });
    RunView {
        attempts: attempts.collect(),
        env: run.env,
        app: run.app,
        number: run.number,
        release: run.release,
        cause: run.cause,
        args: run.args,
        retries: run.retries,
        timeout_seconds: run.timeout.as_secs(),
        state: run.state,
        start_after: run.start_after,
        created_at: run.created_at,
        ended_at: run.ended_at,
        exit_code: run.outcome.as_ref().map(RunOutcome::exit_code),
        outcome: run.outcome,
    }
}

pub(super) fn check(request: &RunRequest) -> Result<(), ApiError> {
    let refused = |detail: String| Err(ApiError::new(ProblemCode::InvalidValue, detail));
    let bytes: usize = request.args.iter().map(String::len).sum();
    if request.args.len() > ARGS_MAX || bytes > ARGS_BYTES_MAX {
        return refused(format!("at most {ARGS_MAX} arguments of {ARGS_BYTES_MAX} bytes together"));
    }
    if request.args.iter().any(|arg| arg.contains('\0')) {
        return refused("an argument holds a NUL character".to_owned());
    }
    if request.retries.is_some_and(|retries| retries > RETRIES_MAX) {
        return refused(format!("a run is tried again at most {RETRIES_MAX} times"));
    }
    let seconds = 1..=TIMEOUT_MAX.as_secs();
    if request.timeout_seconds.is_some_and(|timeout| !seconds.contains(&timeout)) {
        return refused(format!("an attempt may take 1 to {} seconds", TIMEOUT_MAX.as_secs()));
    }
    Ok(())
}

async fn start(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    headers: HeaderMap,
    Json(request): Json<RunRequest>,
) -> Result<Response, ApiError> {
    check(&request)?;
    let key = Key::of(&caller, &headers, &format!("run {env}/{app}"), &request)?;
    let act = Act { by: caller.name, now: Timestamp::now() };
    let id = RunId(uuid::Uuid::now_v7());
    let answer = once(&state, key, StatusCode::ACCEPTED, move |tx| {
        let run = create(tx, id, &env, &app, &request, &act)?;
        let location = format!("/v1/environments/{env}/apps/{app}/runs/{}", run.number);
        Ok((view(run), Some(location)))
    })
    .await?;
    Ok(answer.into_response())
}

/// Records a run that somebody asked for.
///
/// # Errors
/// What is wrong with it, as a problem.
pub(super) fn create(
    tx: &mut WriteTx,
    id: RunId,
    env: &EnvName,
    app: &AppName,
    request: &RunRequest,
    act: &Act,
) -> Result<RunRecord, ApiError> {
    find::active_environment(tx, env)?;
    let state = find::app(tx, env, app)?;
    let live = state.live.ok_or_else(|| {
        ApiError::new(ProblemCode::NotDeployed, format!("{} has no live release", place(env, app)))
            .remedy("deploy it", format!("ark deploy {app} -e {env}"))
    })?;
    if state.stopped {
        let detail = format!("{} is stopped", place(env, app));
        return Err(ApiError::new(ProblemCode::AppStopped, detail)
            .remedy("start it", format!("ark start {app} -e {env}")));
    }
    let definition = find::release(tx, env, app, live)?.content.definition;
    let kind = definition.run.kind;
    if !kind.ends() && request.args.is_empty() {
        let detail = format!("`{app}` is a {kind}: a run of it needs a command");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail)
            .remedy("give one", format!("ark run {app} -e {env} -- PROGRAM ARGUMENTS")));
    }
    let active = tx.active_runs_of(env, app)?;
    let mut alone = false;
    if definition.run.schedule.is_some() && !active.is_empty() {
        match definition.run.overlap {
            Overlap::Forbid => return Err(runs_go_on(env, app, &active)),
            Overlap::Allow => {}
            Overlap::Replace => {
                replace_others(tx, env, app, &act.by, act.now)?;
                alone = true;
            }
        }
    }
    if active.len() >= RUNS_MAX {
        return Err(runs_go_on(env, app, &active));
    }
    let timeout = definition.run.timeout.map_or(TIMEOUT, ark_model::definition::DurationText::get);
    let run = RunRecord {
        id,
        env: env.clone(),
        app: app.clone(),
        number: tx.next_run_number(env, app)?,
        release: live,
        cause: RunCause::Asked { by: act.by.clone() },
        args: request.args.clone(),
        retries: request.retries.unwrap_or(definition.run.retries),
        timeout: request.timeout_seconds.map_or(timeout, Duration::from_secs),
        alone,
        state: RunState::Waiting,
        attempts: Vec::new(),
        start_after: None,
        stop: None,
        created_at: act.now,
        ended_at: None,
        outcome: None,
    };
    tx.insert_run(&run)?;
    let text = format!("run {} of {} was asked for", run.number, place(env, app));
    tx.append_event(event(&run, act.now, EventKind::RunCreated, &act.by, text))?;
    Ok(run)
}

fn runs_go_on(env: &EnvName, app: &AppName, active: &[RunRecord]) -> ApiError {
    let numbers: Vec<String> = active.iter().take(5).map(|run| run.number.to_string()).collect();
    let detail = format!("{} of {} goes on", numbers.join(", "), place(env, app));
    ApiError::new(ProblemCode::RunsGoOn, format!("run {detail}"))
        .remedy("look at it", format!("ark runs {app} -e {env}"))
        .remedy("end it", format!("ark runs {app} {} -e {env} --stop", numbers.join(" ")))
}

async fn list(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RunView>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let before: Option<u64> = cursor(query.cursor.as_deref())?;
    let runs = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            find::app(tx, &env, &app)?;
            Ok(tx.runs_of(&env, &app, before, limit + 1)?)
        })
        .await?;
    Ok(Json(page(runs, limit, |run| run.number.to_string(), view)))
}

fn find_run(tx: &ReadTx, env: &EnvName, app: &AppName, number: u64) -> Result<RunRecord, ApiError> {
    find::app(tx, env, app)?;
    tx.run_numbered(env, app, number)?.ok_or_else(|| {
        let detail = format!("run {number} of {} does not exist (any more)", place(env, app));
        ApiError::new(ProblemCode::RunNotFound, detail)
            .remedy("all runs", format!("ark runs {app} -e {env}"))
    })
}

async fn read(
    state: &Shared,
    (env, app, number): (EnvName, AppName, u64),
) -> Result<RunRecord, ApiError> {
    state.store.read::<_, ApiError, _>(move |tx| find_run(tx, &env, &app, number)).await
}

async fn show(
    State(state): State<Shared>,
    Path(which): Path<(EnvName, AppName, u64)>,
) -> Result<Json<RunView>, ApiError> {
    read(&state, which).await.map(view).map(Json)
}

async fn stop(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app, number)): Path<(EnvName, AppName, u64)>,
    Json(request): Json<RunStopRequest>,
) -> Result<(StatusCode, Json<RunView>), ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let why = request.reason.as_deref().map_or_else(|| "asked".to_owned(), words);
    let run = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut run = find_run(tx, &env, &app, number)?;
            if !run.is_active() || run.stop.is_some() {
                return Ok(run);
            }
            run.stop = Some(RunStop { by: act.by.clone(), why: why.clone(), at: act.now });
            tx.put_run(&run)?;
            let text = format!("run {number} is to end: {why}");
            tx.append_event(event(&run, act.now, EventKind::RunProgress, &act.by, text))?;
            Ok(run)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(view(run))))
}

async fn follow(
    State(state): State<Shared>,
    Path(which): Path<(EnvName, AppName, u64)>,
    Query(query): Query<RunLogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let run = read(&state, which).await?;
    if let Some(tail) = query.tail {
        if query.follow != Some(false) {
            let detail = "`tail` is of what was written by now: it wants `follow=false`";
            return Err(ApiError::new(ProblemCode::InvalidValue, detail));
        }
        if tail > LOG_LINES_MAX {
            let detail = format!("{tail} lines are not allowed: at most {LOG_LINES_MAX}");
            return Err(ApiError::new(ProblemCode::InvalidValue, detail));
        }
        let state_of = state.clone();
        return events(&state, move |outlet| last_lines(state_of, run, tail as usize, outlet));
    }
    let after = match last_event_id(&headers) {
        Some(text) => text.parse::<Place>().map_err(|()| {
            ApiError::new(ProblemCode::InvalidValue, "Last-Event-ID is not one of this stream")
        })?,
        None => Place::default(),
    };
    let until = if query.follow == Some(false) { Until::Now } else { Until::Over };
    let follower = Follower { state: state.clone(), id: run.id, place: after, until };
    events(&state, move |outlet| follower.run(outlet))
}

/// Sends the last lines of a run, of all its attempts together, then the run if it is over.
async fn last_lines(state: Shared, run: RunRecord, tail: usize, outlet: Outlet) {
    let lines = tokio::select! {
        lines = newest(&state, &run, tail) => lines,
        () = outlet.closed() => return,
    };
    for line in lines {
        if outlet.send(json_event("line", None, &line), || None).await.is_err() {
            return;
        }
    }
    if !run.is_active() {
        let _ = outlet.send(json_event("ended", None, &view(run)), || None).await;
    }
}

/// The last lines of all attempts together, oldest first. An attempt whose log is gone has none.
async fn newest(state: &Shared, run: &RunRecord, tail: usize) -> VecDeque<LogLine> {
    let (mut newest, mut bytes) = (VecDeque::new(), 0);
    for attempt in run.attempts.iter().rev() {
        let left = tail - newest.len();
        if left == 0 || bytes >= TAIL_BYTES_MAX {
            break;
        }
        let query = LogQuery { tail: Some(left), since: None, follow: false };
        let mut of_attempt = VecDeque::new();
        let mut log = match state.engine.logs(attempt.instance, query).await {
            Ok(log) => log,
            Err(EngineError::Unknown(_)) => {
                if let Some(line) = gone(run, attempt) {
                    newest.push_front(line);
                }
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "the log of a run cannot be read");
                let words = "its log cannot be read now";
                newest.push_front(said(run, attempt, words));
                continue;
            }
        };
        while let Some(Ok(line)) = log.next().await {
            bytes += line.text.len();
            of_attempt.push_back(log_line(run, attempt.instance, line));
            while bytes > TAIL_BYTES_MAX {
                let Some(oldest) = of_attempt.pop_front() else { break };
                bytes -= oldest.text.len();
            }
        }
        of_attempt.append(&mut newest);
        newest = of_attempt;
    }
    newest
}

/// What is said of an attempt's log that is not there: silence would read as an attempt that wrote nothing. One
/// that never ran had none.
fn gone(run: &RunRecord, attempt: &Attempt) -> Option<LogLine> {
    let ran = !matches!(attempt.end, None | Some(AttemptEnd::NotStarted { .. }));
    ran.then(|| said(run, attempt, "its log is no longer kept"))
}

fn said(run: &RunRecord, attempt: &Attempt, words: &str) -> LogLine {
    LogLine {
        at: attempt.ended_at.unwrap_or(attempt.created_at),
        instance: attempt.instance.short(&run.app),
        stream: OutputStream::Ark,
        text: words.to_owned(),
    }
}

fn log_line(run: &RunRecord, instance: InstanceId, line: ark_engine::LogLine) -> LogLine {
    LogLine {
        at: line.at,
        instance: instance.short(&run.app),
        stream: match line.stream {
            LogSource::Stdout => OutputStream::Stdout,
            LogSource::Stderr => OutputStream::Stderr,
            LogSource::Ark => OutputStream::Ark,
        },
        text: line.text,
    }
}

/// How far a run's log was read: so many lines of its n-th attempt, counted from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    attempt: usize,
    lines: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.attempt, self.lines)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (attempt, lines) = text.split_once('-').ok_or(())?;
        Ok(Self {
            attempt: attempt.parse().map_err(|_| ())?,
            lines: lines.parse().map_err(|_| ())?,
        })
    }
}

/// How far a run is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// To what it has written by now.
    Now,
    /// To its end.
    Over,
}

/// Sends the logs of one attempt after the other, then the run.
struct Follower {
    state: Shared,
    id: RunId,
    place: Place,
    until: Until,
}

impl Follower {
    async fn run(mut self, outlet: Outlet) {
        let mut commits = self.state.store.commits();
        loop {
            commits.mark_unchanged();
            let id = self.id;
            // A run that was forgotten meanwhile has nothing more to say.
            let Ok(Some(run)) = self.state.store.read(move |tx| tx.run(id)).await else { return };
            let logged = match run.attempts.get(self.place.attempt) {
                Some(attempt) => {
                    let Ok(logged) = self.attempt(&outlet, &run, attempt.instance).await else {
                        return;
                    };
                    // The log has ended; the record says whether the attempt has.
                    if self.until == Until::Now || logged && attempt.end.is_some() {
                        self.place = Place { attempt: self.place.attempt + 1, lines: 0 };
                        continue;
                    }
                    logged
                }
                None if !run.is_active() => {
                    let id = Some(self.place.to_string());
                    let _ = outlet.send(json_event("ended", id, &view(run)), || None).await;
                    return;
                }
                None if self.until == Until::Now => return,
                None => true,
            };
            let pause = if logged { LOOK_AGAIN } else { LOOK_SOON };
            tokio::select! {
                changed = commits.changed() => { if changed.is_err() { return; } }
                () = tokio::time::sleep(pause) => {}
                () = outlet.closed() => return,
            }
        }
    }

    /// Sends the lines of one attempt that were not sent yet. Answers whether its log was there, or
    /// is gone for good.
    async fn attempt(
        &mut self,
        outlet: &Outlet,
        run: &RunRecord,
        instance: InstanceId,
    ) -> Result<bool, super::stream::Over> {
        let over = run.attempts.get(self.place.attempt).is_some_and(|a| a.end.is_some());
        let query = LogQuery { tail: None, since: None, follow: self.until == Until::Over };
        let mut log = match self.state.engine.logs(instance, query).await {
            Ok(log) => log,
            Err(EngineError::Unknown(_)) => {
                if over {
                    self.no_log(outlet, run).await?;
                }
                return Ok(over);
            }
            Err(error) => {
                tracing::debug!(%error, "the log of a run could not be followed");
                return Ok(false);
            }
        };
        let mut number = 0;
        loop {
            let line = tokio::select! {
                line = log.next() => line,
                () = outlet.closed() => return Err(super::stream::Over),
            };
            let Some(Ok(line)) = line else { return Ok(true) };
            number += 1;
            if number <= self.place.lines {
                continue;
            }
            self.place.lines = number;
            let line = log_line(run, instance, line);
            self.send(outlet, line).await?;
        }
    }

    /// Says of an attempt that ran, and whose log is gone, that it is: silence would read as an attempt
    /// that wrote nothing.
    async fn no_log(
        &mut self,
        outlet: &Outlet,
        run: &RunRecord,
    ) -> Result<(), super::stream::Over> {
        let attempt = run.attempts.get(self.place.attempt).filter(|_| self.place.lines == 0);
        let Some(line) = attempt.and_then(|attempt| gone(run, attempt)) else { return Ok(()) };
        self.place.lines = 1;
        self.send(outlet, line).await
    }

    async fn send(&self, outlet: &Outlet, line: LogLine) -> Result<(), super::stream::Over> {
        let id = Some(self.place.to_string());
        outlet.send(json_event("line", id, &line), || None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_log_survives_text() {
        let place = Place { attempt: 2, lines: 31 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "2", "a-1", "1-", "-1"] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
