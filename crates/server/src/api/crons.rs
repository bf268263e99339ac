//! Schedules: which apps follow one, when they fire next, and the wish that one pauses.

use ark_model::api::{CronView, CronsQuery, Page, ProblemCode};
use ark_model::definition::RunKind;
use ark_model::environment::AppState;
use ark_model::event::EventKind;
use ark_model::run::{CronRecord, RunStop};
use ark_model::{AppName, EnvName};
use ark_store::ReadTx;
use axum::extract::State;
use jiff::Timestamp;

use super::app_rows::place;
use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::find;
use super::intents::Act;
use super::operation::{Operation, Shared};
use super::runs;
use crate::auth::{Caller, Permission};
use crate::tasks::crons::Timetable;

/// The most schedules of one answer.
const CRONS_MAX: usize = 10_000;

const PROBLEMS: &[ProblemCode] = &[
    ProblemCode::EnvironmentNotFound,
    ProblemCode::EnvironmentDestroying,
    ProblemCode::AppNotFound,
    ProblemCode::NotCron,
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/crons", ("listCrons", "Apps that follow a schedule"), list)
            .about("By environment and name: all there are, at most 10,000.")
            .query::<CronsQuery>()
            .answers::<Page<CronView>>(200)
            .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/cron",
            ("getCron", "The schedule of an app"),
            show,
        )
        .answers::<CronView>(200)
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::AppNotFound,
            ProblemCode::NotCron,
        ]),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/cron/pause",
            ("pauseCron", "Let a schedule fire no more, over deployments too"),
            pause,
        )
        .about("Runs that go on are left alone.")
        .needs(Permission::Operate)
        .answers::<CronView>(200)
        .problems(PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/cron/resume",
            ("resumeCron", "Let a paused schedule fire again"),
            resume,
        )
        .about("What it would have fired meanwhile is not made up for.")
        .needs(Permission::Operate)
        .answers::<CronView>(200)
        .problems(PROBLEMS),
    ]
}

/// The schedule of an app; `None` when it follows none.
fn load(tx: &ReadTx, app: &AppState, now: Timestamp) -> Result<Option<CronView>, ApiError> {
    let Some(live) = app.live else { return Ok(None) };
    let Some(release) = tx.release(&app.env, &app.app, live)? else { return Ok(None) };
    let run = &release.content.definition.run;
    let (RunKind::Cron, Some(fields)) = (run.kind, run.schedule.clone()) else { return Ok(None) };
    let record = tx.cron(&app.env, &app.app)?;
    let key = (app.env.clone(), app.app.clone());
    let paused = record.as_ref().and_then(|record| record.paused.clone());
    let next_at = Timetable::of(&release.content.definition)
        .filter(|_| !app.stopped && paused.is_none())
        .and_then(|timetable| {
            let decided =
                record.filter(|r| r.schedule == timetable.text).map_or(now, |r| r.decided);
            timetable.next_after(&key, decided)
        });
    let last = tx.runs_of(&app.env, &app.app, None, 1)?.pop().map(runs::view);
    let running = tx.active_runs_of(&app.env, &app.app)?.len();
    Ok(Some(CronView {
        env: app.env.clone(),
        app: app.app.clone(),
        schedule: fields,
        timezone: run.timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
        overlap: run.overlap,
        missed: run.missed,
        next_at,
        paused_by: paused.as_ref().map(|p| p.by.clone()),
        paused_at: paused.map(|p| p.at),
        stopped: app.stopped,
        running: u32::try_from(running).unwrap_or(u32::MAX),
        last,
    }))
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<CronsQuery>,
) -> Result<Json<Page<CronView>>, ApiError> {
    let now = Timestamp::now();
    let items = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let apps = match &query.env {
                Some(env) => {
                    find::environment(tx, env)?;
                    tx.app_states_of(env)?
                }
                None => tx.app_states()?,
            };
            let mut items = Vec::new();
            for app in apps {
                items.extend(load(tx, &app, now)?);
                if items.len() >= CRONS_MAX {
                    break;
                }
            }
            Ok(items)
        })
        .await?;
    Ok(Json(Page { items, next: None }))
}

fn of(tx: &ReadTx, env: &EnvName, app: &AppName, now: Timestamp) -> Result<CronView, ApiError> {
    load(tx, &find::app(tx, env, app)?, now)?.ok_or_else(|| {
        let detail = format!("{} follows no schedule", place(env, app));
        ApiError::new(ProblemCode::NotCron, detail).remedy("all schedules", "ark cron list")
    })
}

async fn show(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<CronView>, ApiError> {
    let now = Timestamp::now();
    state.store.read::<_, ApiError, _>(move |tx| of(tx, &env, &app, now)).await.map(Json)
}

async fn pause(
    State(state): State<Shared>,
    caller: Caller,
    Path(which): Path<(EnvName, AppName)>,
) -> Result<Json<CronView>, ApiError> {
    change(state, caller, which, |record, act| {
        let text = "the schedule is paused";
        if record.paused.is_some() {
            return None;
        }
        let why = "paused".to_owned();
        record.paused = Some(RunStop { by: act.by.clone(), why, at: act.now });
        Some(text)
    })
    .await
}

async fn resume(
    State(state): State<Shared>,
    caller: Caller,
    Path(which): Path<(EnvName, AppName)>,
) -> Result<Json<CronView>, ApiError> {
    change(state, caller, which, |record, act| {
        record.paused.take()?;
        record.decided = record.decided.max(act.now);
        Some("the schedule goes on")
    })
    .await
}

async fn change(
    state: Shared,
    caller: Caller,
    (env, app): (EnvName, AppName),
    wish: impl FnOnce(&mut CronRecord, &Act) -> Option<&'static str> + Send + 'static,
) -> Result<Json<CronView>, ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            find::active_environment(tx, &env)?;
            of(tx, &env, &app, act.now)?;
            // The loop may not have seen it yet: the empty schedule is in force for nobody.
            let mut record = tx.cron(&env, &app)?.unwrap_or_else(|| CronRecord {
                env: env.clone(),
                app: app.clone(),
                decided: act.now,
                schedule: String::new(),
                paused: None,
            });
            if let Some(text) = wish(&mut record, &act) {
                tx.put_cron(&record)?;
                let text = format!("{text}: {}", place(&env, &app));
                tx.append_event(act.event(EventKind::CronChanged, &env, Some(&app), text))?;
            }
            of(tx, &env, &app, act.now)
        })
        .await
        .map(Json)
}
