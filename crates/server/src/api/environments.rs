//! Environments.

use ark_model::EnvName;
use ark_model::api::{EnvironmentCreate, EnvironmentView, FreezePut, Page, PageQuery, ProblemCode};
use ark_model::environment::{EnvKind, Environment};
use ark_model::event::EventKind;
use ark_model::freeze::FreezeWindow;
use ark_planner::freeze;
use ark_store::ReadTx;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;

use super::environment_leases;
use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::intents::{Act, check_new_environment, ensure_environment};
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};
use crate::endings::end_environment;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/environments", ("listEnvironments", "Environments, by name"), list)
            .query::<PageQuery>()
            .answers::<Page<EnvironmentView>>(200),
        Operation::post("/v1/environments", ("createEnvironment", "Make an environment"), create)
            .about(
                "One that exists with this kind is answered as it is. A lease that it has may become \
                 longer by this, never shorter; one that it has not is not given by this.",
            )
            .needs(Permission::CreateEnvironment)
            .takes::<EnvironmentCreate>()
            .answers::<EnvironmentView>(201)
            .problems(&[
                ProblemCode::AlreadyExists,
                ProblemCode::EnvironmentDestroying,
                ProblemCode::InvalidValue,
            ]),
        Operation::get("/v1/environments/{env}", ("getEnvironment", "One environment"), show)
            .answers::<EnvironmentView>(200)
            .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::delete(
            "/v1/environments/{env}",
            ("destroyEnvironment", "Destroy an environment and everything in it"),
            destroy,
        )
        .about(
            "Stops every instance, then forgets apps, releases, configuration and secrets. Asking \
             again while it goes on changes nothing.",
        )
        .needs(Permission::DestroyEnvironment)
        .answers::<EnvironmentView>(202)
        .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::put(
            "/v1/environments/{env}/freeze/{window}",
            ("putFreezeWindow", "Make or replace a freeze window"),
            put_window,
        )
        .about(
            "While a window that denies is open, or windows that allow exist and none is open, no \
             deployment begins. Rollbacks always do.",
        )
        .needs(Permission::FreezeEnvironment)
        .takes::<FreezePut>()
        .answers::<EnvironmentView>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::InvalidValue]),
        Operation::delete(
            "/v1/environments/{env}/freeze/{window}",
            ("deleteFreezeWindow", "Remove a freeze window"),
            delete_window,
        )
        .needs(Permission::FreezeEnvironment)
        .answers::<EnvironmentView>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::FreezeNotFound]),
    ]
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<EnvironmentView>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let after: Option<EnvName> = cursor(query.cursor.as_deref())?;
    let views = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let all = tx.environments()?.into_iter();
            let beyond = all.filter(|e| after.as_ref().is_none_or(|after| e.name > *after));
            beyond.take(limit + 1).map(|e| view(tx, e)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(Json(page(views, limit, |view: &EnvironmentView| view.name.to_string(), |view| view)))
}

async fn show(
    State(state): State<Shared>,
    Path(env): Path<EnvName>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let view = state
        .store
        .read::<_, ApiError, _>(move |tx| view(tx, find::environment(tx, &env)?))
        .await?;
    Ok(Json(view))
}

async fn create(
    State(state): State<Shared>,
    caller: Caller,
    Json(request): Json<EnvironmentCreate>,
) -> Result<(StatusCode, Json<EnvironmentView>), ApiError> {
    let act = Act { by: caller.name.clone(), now: Timestamp::now() };
    let own = state.settings.allowed_hosts.clone();
    let (status, view) = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            check_new_environment(tx, &own, &request.name)?;
            let known = tx.environment(&request.name)?.is_some();
            let mut environment = ensure_environment(tx, &request.name, request.kind, &act)?;
            if request.kind.is_some_and(|kind| kind != environment.kind) {
                let kind = match environment.kind {
                    EnvKind::Permanent => "permanent",
                    EnvKind::Development => "for development",
                };
                let detail = format!("environment `{}` exists and is {kind}", request.name);
                return Err(ApiError::new(ProblemCode::AlreadyExists, detail));
            }
            match request.lease_seconds {
                Some(seconds) if known => {
                    environment_leases::lengthen(tx, &mut environment, seconds, &caller, &act)?;
                }
                Some(seconds) => {
                    environment_leases::give(tx, &mut environment, seconds, &caller, &act)?;
                }
                None => {}
            }
            let status = if known { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, view(tx, environment)?))
        })
        .await?;
    Ok((status, Json(view)))
}

async fn destroy(
    State(state): State<Shared>,
    caller: Caller,
    Path(env): Path<EnvName>,
) -> Result<(StatusCode, Json<EnvironmentView>), ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut environment = find::environment(tx, &env)?;
            let text = format!("the end of environment {env} was asked for");
            end_environment(tx, &mut environment, (&act.by, act.now), text)?;
            view(tx, environment)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

async fn put_window(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, name)): Path<(EnvName, String)>,
    Json(put): Json<FreezePut>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let FreezePut { effect, cron, seconds, time_zone } = put;
    let window = FreezeWindow { name, effect, cron, seconds, time_zone };
    let act = Act { by: caller.name, now: Timestamp::now() };
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut environment = find::environment(tx, &env)?;
            environment.freeze.retain(|other| other.name != window.name);
            environment.freeze.push(window.clone());
            environment.freeze.sort_by(|a, b| a.name.cmp(&b.name));
            freeze::check(&environment.freeze, act.now)
                .map_err(|why| ApiError::new(ProblemCode::InvalidValue, why.to_string()))?;
            tx.put_environment(&environment)?;
            let text = format!(
                "freeze window {} of {env}: {:?} from `{}` for {} s, {}",
                window.name, window.effect, window.cron, window.seconds, window.time_zone
            );
            tx.append_event(act.event(EventKind::EnvironmentFreeze, &env, None, text))?;
            view(tx, environment)
        })
        .await?;
    Ok(Json(view))
}

async fn delete_window(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, name)): Path<(EnvName, String)>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut environment = find::environment(tx, &env)?;
            let before = environment.freeze.len();
            environment.freeze.retain(|window| window.name != name);
            if environment.freeze.len() == before {
                let detail = format!("{env} has no freeze window `{}`", find::cut(&name));
                return Err(ApiError::new(ProblemCode::FreezeNotFound, detail)
                    .remedy("those there are", format!("ark env freeze {env}")));
            }
            tx.put_environment(&environment)?;
            let text = format!("freeze window {name} of {env} was removed");
            tx.append_event(act.event(EventKind::EnvironmentFreeze, &env, None, text))?;
            view(tx, environment)
        })
        .await?;
    Ok(Json(view))
}

pub(super) fn view(tx: &ReadTx, environment: Environment) -> Result<EnvironmentView, ApiError> {
    let apps = tx.app_names_of(&environment.name)?;
    let instances = tx.alive_count(&environment.name)?;
    Ok(EnvironmentView {
        name: environment.name,
        kind: environment.kind,
        state: environment.state,
        owner: environment.owner,
        created_at: environment.created_at,
        apps,
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        frozen: freeze::frozen(&environment.freeze, Timestamp::now()),
        freeze: environment.freeze,
        lease: environment.lease,
    })
}
