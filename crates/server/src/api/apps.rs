//! Apps: what runs where, how many, and the wishes that a person has about a running app. A wish is
//! recorded and answered at once; the tasks carry it out.

use std::sync::Arc;

use ark_model::api::{
    AppDetail, AppRow, AppsQuery, EnvironmentApps, PAGE_ITEMS_MAX, Page, ProblemCode, SCALE_MAX,
    ScaleRequest,
};
use ark_model::environment::AppState;
use ark_model::event::EventKind;
use ark_model::{AppName, EnvName};
use ark_store::WriteTx;
use axum::extract::State;
use jiff::Timestamp;

use super::app_rows::{AppRecords, Present, load_detail, place};
use super::environments;
use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::intents::Act;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};
use crate::endings::end_waiting;

/// An answer about several environments ends with the one that makes it so many apps, some 1.5 KB each.
const ALL_APPS_MAX: usize = 2_000;

const APP_PROBLEMS: &[ProblemCode] = &[ProblemCode::EnvironmentNotFound, ProblemCode::AppNotFound];
const CHANGE_PROBLEMS: &[ProblemCode] = &[
    ProblemCode::EnvironmentNotFound,
    ProblemCode::EnvironmentDestroying,
    ProblemCode::AppNotFound,
    ProblemCode::NotDeployed,
];

pub(super) fn operations() -> Vec<Operation> {
    let app = "/v1/environments/{env}/apps/{app}";
    vec![
        Operation::get(
            "/v1/environments/{env}/apps",
            ("listApps", "Apps of an environment, by name"),
            list,
        )
        .query::<AppsQuery>()
        .answers::<Page<AppRow>>(200)
        .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::get("/v1/apps", ("listAllApps", "Environments by name, with their apps"), list_all)
            .about(
                "Each with its first 500 apps. A page ends early when it holds 2,000 apps; `next` leads \
                 on.",
            )
            .query::<AppsQuery>()
            .answers::<Page<EnvironmentApps>>(200),
        Operation::get(app, ("getApp", "One app"), show)
            .answers::<AppDetail>(200)
            .problems(APP_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/scale",
            ("scaleApp", "Set the number of instances"),
            scale,
        )
        .about("Holds over deployments, until it is said anew.")
        .needs(Permission::Operate)
        .takes::<ScaleRequest>()
        .answers::<AppDetail>(200)
        .problems(CHANGE_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/restart",
            ("restartApp", "Replace all instances by new ones of the same release"),
            restart,
        )
        .about("Start-first, as in a deployment. An app that was stopped is started.")
        .needs(Permission::Operate)
        .answers::<AppDetail>(200)
        .problems(CHANGE_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/stop",
            ("stopApp", "Stop all instances"),
            stop,
        )
        .about("A waiting deployment is superseded, a running one ends.")
        .needs(Permission::Operate)
        .answers::<AppDetail>(200)
        .problems(CHANGE_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/start",
            ("startApp", "Start an app that was stopped, with its live release"),
            start,
        )
        .needs(Permission::Operate)
        .answers::<AppDetail>(200)
        .problems(CHANGE_PROBLEMS),
    ]
}

async fn list(
    State(state): State<Shared>,
    Path(env): Path<EnvName>,
    Query(query): Query<AppsQuery>,
) -> Result<Json<Page<AppRow>>, ApiError> {
    let limit = page_limit(query.limit)?;
    // Names are lower-case.
    let containing = query.name.unwrap_or_default().to_ascii_lowercase();
    let after: Option<AppName> = cursor(query.cursor.as_deref())?;
    let now = Timestamp::now();
    let server = state.clone();
    let records = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            find::environment(tx, &env)?;
            server.kept_apps.list(tx, &env, after.as_ref(), &containing, limit + 1, now)
        })
        .await?;
    let present = Present::of(&state, now);
    let rows = records.iter().map(|records| records.row(&present)).collect();
    Ok(Json(page(rows, limit, |row: &AppRow| row.app.to_string(), |row| row)))
}

async fn list_all(
    State(state): State<Shared>,
    Query(query): Query<AppsQuery>,
) -> Result<Json<Page<EnvironmentApps>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let containing = query.name.unwrap_or_default().to_ascii_lowercase();
    let after: Option<EnvName> = cursor(query.cursor.as_deref())?;
    let now = Timestamp::now();
    let server = state.clone();
    let apps_max = PAGE_ITEMS_MAX as usize;
    let (found, more) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let all = tx.environments()?.into_iter();
            let mut beyond = all.filter(|e| after.as_ref().is_none_or(|after| e.name > *after));
            let (mut found, mut apps) = (Vec::new(), 0);
            while found.len() < limit && apps < ALL_APPS_MAX {
                let Some(environment) = beyond.next() else { break };
                let kept = &server.kept_apps;
                let records =
                    kept.list(tx, &environment.name, None, &containing, apps_max + 1, now)?;
                apps += records.len();
                found.push((environments::view(tx, environment)?, records));
            }
            Ok((found, beyond.next().is_some()))
        })
        .await?;
    let present = Present::of(&state, now);
    let rows = |records: Vec<Arc<AppRecords>>| {
        let rows = records.iter().map(|records| records.row(&present)).collect();
        page(rows, apps_max, |row: &AppRow| row.app.to_string(), |row| row)
    };
    let next = found.last().filter(|_| more).map(|(environment, _)| environment.name.to_string());
    let item = |(environment, records)| EnvironmentApps { environment, apps: rows(records) };
    Ok(Json(Page { items: found.into_iter().map(item).collect(), next }))
}

async fn show(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<AppDetail>, ApiError> {
    let now = Timestamp::now();
    let records = state
        .store
        .read::<_, ApiError, _>(move |tx| load_detail(tx, find::app(tx, &env, &app)?, now))
        .await?;
    Ok(Json(records.detail(&Present::of(&state, now))))
}

/// Changes what is wanted of an app, records an event, and answers with the app.
async fn change<F>(
    state: Shared,
    caller: Caller,
    env: EnvName,
    app: AppName,
    wish: F,
) -> Result<Json<AppDetail>, ApiError>
where
    F: FnOnce(&mut WriteTx, &mut AppState, &Act) -> Result<Option<String>, ApiError>
        + Send
        + 'static,
{
    let now = Timestamp::now();
    let act = Act { by: caller.name, now };
    let records = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            find::active_environment(tx, &env)?;
            let mut wanted = find::app(tx, &env, &app)?;
            if let Some(text) = wish(tx, &mut wanted, &act)? {
                wanted.updated_at = act.now;
                tx.put_app_state(&wanted)?;
                tx.append_event(act.event(EventKind::AppChanged, &env, Some(&app), text))?;
            }
            load_detail(tx, wanted, now)
        })
        .await?;
    Ok(Json(records.detail(&Present::of(&state, now))))
}

async fn scale(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    Json(request): Json<ScaleRequest>,
) -> Result<Json<AppDetail>, ApiError> {
    if let Some(count) = request.count.filter(|count| *count > SCALE_MAX) {
        let detail = format!("{count} instances are not allowed: 0 to {SCALE_MAX}");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    change(state, caller, env, app, move |tx, wanted, _| {
        if wanted.scale == request.count {
            return Ok(None);
        }
        if request.count.is_some() {
            scales(tx, wanted)?;
        }
        wanted.scale = request.count;
        wanted.start_after = None;
        let to = match request.count {
            Some(1) => "1 instance".to_owned(),
            Some(count) => format!("{count} instances"),
            None => "what its definition says".to_owned(),
        };
        Ok(Some(format!("{} was scaled to {to}", place(&wanted.env, &wanted.app))))
    })
    .await
}

/// Refuses a number for an app whose kind of work knows no such number.
fn scales(tx: &WriteTx, wanted: &AppState) -> Result<(), ApiError> {
    let Some(live) = wanted.live else { return Ok(()) };
    let definition = find::release(tx, &wanted.env, &wanted.app, live)?.content.definition;
    if definition.scales() {
        return Ok(());
    }
    let detail =
        format!("`{}` is a {}, which has no number of instances", wanted.app, definition.run.kind);
    Err(ApiError::new(ProblemCode::InvalidValue, detail))
}

async fn restart(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<AppDetail>, ApiError> {
    change(state, caller, env, app, |_, wanted, act| {
        deployed(wanted)?;
        wanted.stopped = false;
        wanted.restart_before = Some(act.now);
        forget_failures(wanted);
        Ok(Some(format!("the restart of {} was asked for", place(&wanted.env, &wanted.app))))
    })
    .await
}

async fn stop(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<AppDetail>, ApiError> {
    change(state, caller, env, app, |tx, wanted, act| {
        let waited = end_waiting(tx, wanted, (&act.by, act.now))?;
        if wanted.stopped && !waited {
            return Ok(None);
        }
        wanted.stopped = true;
        Ok(Some(format!("the stop of {} was asked for", place(&wanted.env, &wanted.app))))
    })
    .await
}

async fn start(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<AppDetail>, ApiError> {
    change(state, caller, env, app, |_, wanted, _| {
        deployed(wanted)?;
        if !wanted.stopped && wanted.start_after.is_none() {
            return Ok(None);
        }
        wanted.stopped = false;
        forget_failures(wanted);
        Ok(Some(format!("the start of {} was asked for", place(&wanted.env, &wanted.app))))
    })
    .await
}

/// A person who asks for a start does not wait for the backoff.
fn forget_failures(wanted: &mut AppState) {
    wanted.failures = 0;
    wanted.start_after = None;
}

fn deployed(wanted: &AppState) -> Result<(), ApiError> {
    if wanted.live.is_some() || wanted.running.is_some() || wanted.waiting.is_some() {
        return Ok(());
    }
    let (env, app) = (&wanted.env, &wanted.app);
    let detail = format!("{} has no live release", place(env, app));
    Err(ApiError::new(ProblemCode::NotDeployed, detail)
        .remedy("deploy it", format!("ark deploy {app} -e {env}")))
}
