//! Runs of work that ends: asked for, looked at, stopped, and what they wrote. Records wishes; the
//! loop of runs carries them out.

use std::time::Duration;

use ark_model::api::{
    AttemptView, LogLine, Page, PageQuery, ProblemCode, RunLogsQuery, RunRequest, RunStopRequest,
    RunView,
};
use ark_model::definition::Overlap;
use ark_model::event::EventKind;
use ark_model::run::{
    ARGS_BYTES_MAX, ARGS_MAX, RETRIES_MAX, RunCause, RunOutcome, RunRecord, RunState, RunStop,
    TIMEOUT, TIMEOUT_MAX,
};
use ark_model::{AppName, EnvName, RunId};
use ark_planner::cron::RUNS_MAX;
use ark_store::{ReadTx, WriteTx};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::app_rows::place;
use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::idempotency::{Key, once};
use super::intents::{Act, words};
use super::operation::{Content, Operation, Shared, subschema};
use super::run_logs;
use crate::auth::{Caller, Permission};
use crate::tasks::crons::{event, replace_others};

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
            run_logs::follow,
        )
        .about(
            "Server-sent events named `line`; the last is `ended`, with the run as data. While an \
             attempt cannot be started yet, `held` says so, with the run as data too. A client that \
             reconnects with `Last-Event-ID` goes on where it was. With `follow=false` the answer \
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
        held: attempt.held.filter(|_| attempt.end.is_none()),
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

pub(super) async fn read(
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
