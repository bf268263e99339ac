//! Deployments: asking for one, looking at them, ending one, their receipts.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_engine::EngineError;
use ark_model::api::{
    AbortRequest, DeployRequest, DeploymentView, DeploymentsQuery, Page, PlanView, ProblemCode,
    ReceiptView, RollbackRequest, TrafficHistory,
};
use ark_model::artifact::Artifact;
use ark_model::deployment::Abort;
use ark_model::event::{EventKind, NewEvent};
use ark_model::{AppName, Deployment, DeploymentId, DeploymentState, EnvName, Sha256};
use ark_planner::queue::{Running, supersede};
use ark_store::{DeploymentFilter, WriteTx};
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use uuid::Uuid;

use super::app_rows::load_deployment;
use super::error::{ApiError, chain};
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::idempotency::{Key, once, replay};
use super::intents::{self, Act, Terms, check_own_names, words};
use super::judge::{Wanted, check_rights, judge};
use super::operation::{Operation, Shared};
use super::unenforced::definition_engine;
use super::{data_store, find, plan, rollbacks};
use crate::auth::{Caller, Permission};
use crate::deployment_traffic;

/// How long the engine may take to say whether it has an image.
pub(super) const ENGINE_DEADLINE: Duration = Duration::from_secs(10);

const DEPLOY_PROBLEMS: &[ProblemCode] = &[
    ProblemCode::InvalidDefinition,
    ProblemCode::InvalidValue,
    ProblemCode::DataStore,
    ProblemCode::NotRunnable,
    ProblemCode::EngineFailed,
    ProblemCode::ArtifactIncomplete,
    ProblemCode::MissingConfig,
    ProblemCode::Frozen,
    ProblemCode::EnvironmentDestroying,
    ProblemCode::AlreadyExists,
    ProblemCode::ReleaseNotFound,
    ProblemCode::PlanChanged,
];

const ROLLBACK_PROBLEMS: &[ProblemCode] = &[
    ProblemCode::EnvironmentNotFound,
    ProblemCode::EnvironmentDestroying,
    ProblemCode::AppNotFound,
    ProblemCode::ReleaseNotFound,
    ProblemCode::PlanChanged,
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/v1/environments/{env}/apps/{app}/deployments",
            ("deploy", "Ask for a deployment"),
            create,
        )
        .about(
            "Judges the launch file, resolves the configuration, records release and deployment \
             and answers with the deployment's address. The environment is made on first use. One \
             deployment of an app runs at a time; a newer waiting one replaces an older waiting \
             one.",
        )
        .needs(Permission::Deploy)
        .takes::<DeployRequest>()
        .idempotent_by_key()
        .answers::<DeploymentView>(202)
        .problems(DEPLOY_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/plan",
            ("plan", "What a deployment would do"),
            plan_deployment,
        )
        .about("Changes nothing. What would be refused for want of values is listed.")
        .needs(Permission::Read)
        .takes::<DeployRequest>()
        .answers::<PlanView>(200)
        .problems(DEPLOY_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/rollback",
            ("rollback", "Go back to an earlier release"),
            rollback,
        )
        .about(
            "Without `to`: to what was live before the running deployment; else to the last release that \
             completed its watch window, is not live and was not rolled back from; `planRollback` \
             and `rollback_to` of the app say which. The running deployment gives way first. Needs \
             neither artifact nor repository.",
        )
        .needs(Permission::Deploy)
        .takes::<RollbackRequest>()
        .idempotent_by_key()
        .answers::<DeploymentView>(202)
        .problems(ROLLBACK_PROBLEMS),
        Operation::post(
            "/v1/environments/{env}/apps/{app}/rollback/plan",
            ("planRollback", "What a rollback would do"),
            plan_rollback,
        )
        .about(
            "Changes nothing. `release` is the one it would lead to, `strategy` how it would take over.",
        )
        .needs(Permission::Read)
        .takes::<RollbackRequest>()
        .answers::<PlanView>(200)
        .problems(ROLLBACK_PROBLEMS),
        Operation::get("/v1/deployments", ("listDeployments", "Deployments, newest first"), list)
            .query::<DeploymentsQuery>()
            .answers::<Page<DeploymentView>>(200)
            .problems(&[ProblemCode::InvalidValue]),
        Operation::get("/v1/deployments/{deployment}", ("getDeployment", "One deployment"), show)
            .answers::<DeploymentView>(200)
            .problems(&[ProblemCode::DeploymentNotFound, ProblemCode::Ambiguous]),
        Operation::get(
            "/v1/deployments/{deployment}/receipt",
            ("getReceipt", "What a deployment did to traffic"),
            receipt,
        )
        .answers::<ReceiptView>(200)
        .problems(&[
            ProblemCode::DeploymentNotFound,
            ProblemCode::Ambiguous,
            ProblemCode::DeploymentRunning,
        ]),
        Operation::get(
            "/v1/deployments/{deployment}/traffic",
            ("getDeploymentTraffic", "Requests of both sides while a deployment ran"),
            traffic,
        )
        .about(
            "At most 90 slices of equal length from its beginning on; the last may be shorter. As long \
             as it goes on, up to now; what was measured is kept with the deployment. Empty for one \
             that never began, or of which nothing was kept.",
        )
        .answers::<TrafficHistory>(200)
        .problems(&[ProblemCode::DeploymentNotFound, ProblemCode::Ambiguous]),
        Operation::post(
            "/v1/deployments/{deployment}/abort",
            ("abortDeployment", "End a deployment; what was live before takes over again"),
            abort,
        )
        .needs(Permission::Deploy)
        .takes::<AbortRequest>()
        .answers::<DeploymentView>(202)
        .problems(&[
            ProblemCode::DeploymentNotFound,
            ProblemCode::Ambiguous,
            ProblemCode::DeploymentFinished,
        ]),
    ]
}

async fn create(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    headers: HeaderMap,
    Json(request): Json<DeployRequest>,
) -> Result<Response, ApiError> {
    let key = Key::of(&caller, &headers, &format!("deploy {env}/{app}"), &request)?;
    if let Some(answer) = replay(&state, key.as_ref()).await? {
        return Ok(answer.into_response());
    }
    // Held until the release that names the blobs is recorded.
    let _blobs_stay = state.blobs_in_use.clone().read_owned().await;
    let wanted = judged(&state, &env, &app, &request).await?;
    check_rights(state.engine.as_ref(), &env, &app, &wanted)?;
    check_own_names(&state.settings.allowed_hosts, &env, &app, &wanted.definition)?;
    check_complete(&state, &wanted.artifact).await?;
    let act = Act { by: caller.name, now: Timestamp::now() };
    let terms = Terms {
        id: DeploymentId(Uuid::now_v7()),
        strategy: request.strategy,
        running: if request.now { Running::GivesWay } else { Running::Finishes },
        reason: request.reason,
        commit: request.commit,
        override_freeze: request.override_freeze,
        notes: Vec::new(),
    };
    let expect = request.expect;
    let observations = state.observations.clone();
    let keyring = state.keyring.clone();
    let answer = once(&state, key, StatusCode::ACCEPTED, move |tx| {
        if let Some(expected) = &expect {
            plan::check(tx, &env, &app, &wanted, expected)?;
        }
        data_store::prepare(tx, &env, &app, &wanted, &keyring, &act)?;
        let deployment = intents::deploy(tx, &env, &app, &wanted, &terms, &act)?;
        let location = format!("/v1/deployments/{}", deployment.id);
        Ok((load_deployment(tx, deployment)?.view(&observations), Some(location)))
    })
    .await?;
    Ok(answer.into_response())
}

/// The request's launch file or release, judged for the engine in use.
async fn judged(
    state: &Shared,
    env: &EnvName,
    app: &AppName,
    request: &DeployRequest,
) -> Result<Wanted, ApiError> {
    let known = match request.from.clone() {
        None => None,
        Some(from) => {
            let app = app.clone();
            let release = state
                .store
                .read::<_, ApiError, _>(move |tx| find::release(tx, &from.env, &app, from.number))
                .await?;
            Some(release.content)
        }
    };
    let (request, known_app) = (request.clone(), app.clone());
    let engines = state.engine.clone();
    let engine = move |artifact: &Artifact| definition_engine(engines.kind_for(artifact));
    // A launch file may be large and hostile: its judgement must not hold up other requests.
    let mut wanted =
        tokio::task::spawn_blocking(move || judge(&request, known, &known_app, engine))
            .await
            .map_err(|error| ApiError::internal(format!("judging a launch file: {error}")))??;
    if wanted.definition.data_store.is_some() {
        data_store::choose(state, env, app, &mut wanted).await?;
    }
    let is_store = wanted.definition.data_store.is_some();
    if let Artifact::Image { reference, digest: digest @ None } = &mut wanted.artifact {
        let before = pinned_before(state, (env, app), reference).await?;
        *digest = match before {
            // Its data is the same: it is not started anew for a tag that has moved.
            Some(before) if is_store => Some(before),
            before => pinned(state, reference, before).await?,
        };
    }
    Ok(wanted)
}

/// The digest under which the app's live release runs this image.
async fn pinned_before(
    state: &Shared,
    (env, app): (&EnvName, &AppName),
    reference: &str,
) -> Result<Option<String>, ApiError> {
    let (env, app) = (env.clone(), app.clone());
    let read = state.store.read::<_, ApiError, _>(move |tx| {
        let live = tx.app_state(&env, &app)?.and_then(|state| state.live);
        Ok(live.map(|number| tx.release(&env, &app, number)).transpose()?.flatten())
    });
    Ok(read.await?.and_then(|release| match release.content.artifact {
        Artifact::Image { reference: live, digest } if live == reference => digest,
        Artifact::Image { .. } | Artifact::Directory { .. } | Artifact::None => None,
    }))
}

/// The digest of an image that is here, or in its registry, so that the release runs the same content
/// for ever. When the registry says nothing, what the live release runs under that name is the best there
/// is, and is here. One of which nothing is known is fetched by its name, at each start that needs it.
async fn pinned(
    state: &Shared,
    reference: &str,
    before: Option<String>,
) -> Result<Option<String>, ApiError> {
    let asked = tokio::time::timeout(ENGINE_DEADLINE, state.engine.image_digest(reference)).await;
    // It is the engine that failed; what was asked for may well be right.
    let failed = |why: String| {
        ApiError::new(ProblemCode::EngineFailed, format!("image `{}`: {why}", find::cut(reference)))
            .remedy("look closer", "ark doctor")
    };
    match asked {
        Ok(Ok(Some(digest))) => Ok(Some(digest)),
        Ok(Ok(None)) => Ok(published(state, reference).await.unwrap_or(before)),
        Ok(Err(error @ EngineError::Refused { .. })) => {
            Err(ApiError::new(ProblemCode::NotRunnable, chain(&error)))
        }
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(_) => Err(failed(format!("the engine did not answer within {ENGINE_DEADLINE:?}"))),
    }
}

/// What an image's registry calls it, `Some(None)` when it has none. A registry that says nothing refuses no
/// deployment: whether it has the image shows when that is fetched.
async fn published(state: &Shared, reference: &str) -> Option<Option<String>> {
    let asked = state.engine.published_digest(reference);
    match tokio::time::timeout(ENGINE_DEADLINE, asked).await {
        Ok(Ok(digest)) => Some(digest),
        Ok(Err(error)) => {
            tracing::debug!(reference, %error, "an image is not pinned");
            None
        }
        Err(_) => {
            tracing::debug!(
                reference,
                "an image is not pinned: its registry was not heard in time"
            );
            None
        }
    }
}

/// Refuses an artifact of which files are missing, and one that no instance can be given a copy of.
async fn check_complete(state: &Shared, artifact: &Artifact) -> Result<(), ApiError> {
    let Artifact::Directory { digest } = artifact else {
        return Ok(());
    };
    let wanted = *digest;
    let record = state
        .store
        .read::<_, ApiError, _>(move |tx| Ok(tx.artifact(&wanted)?))
        .await?
        .ok_or_else(|| intents::unknown_artifact(&wanted.to_string()))?;
    record.manifest.check().map_err(|error| {
        let detail = format!("artifact {}: {error}", digest.short());
        ApiError::new(ProblemCode::NotRunnable, detail)
    })?;
    let missing = missing_blobs(state, record.manifest.blobs()).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("{} files of artifact {} were not sent", missing.len(), digest.short());
    let names = missing.iter().take(100).map(Sha256::to_string).collect();
    Err(ApiError::new(ProblemCode::ArtifactIncomplete, detail)
        .missing(names)
        .remedy("send them", "PUT /v1/blobs/{sha256}"))
}

/// Blobs that are not here.
pub(super) async fn missing_blobs(
    state: &Shared,
    wanted: BTreeMap<Sha256, u64>,
) -> Result<Vec<Sha256>, ApiError> {
    let blobs = state.blobs.clone();
    tokio::task::spawn_blocking(move || blobs.missing(&wanted))
        .await
        .map_err(|error| ApiError::internal(format!("looking for blobs: {error}")))
}

async fn plan_deployment(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Json(request): Json<DeployRequest>,
) -> Result<Json<PlanView>, ApiError> {
    let wanted = judged(&state, &env, &app, &request).await?;
    let engine = state.engine.clone();
    let own = state.settings.allowed_hosts.clone();
    let view = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let terms = plan::Terms { asked: request.strategy, own: &own, now: Timestamp::now() };
            plan::plan(tx, &env, &app, &wanted, &terms, engine.as_ref())
        })
        .await?;
    Ok(Json(view))
}

async fn rollback(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    headers: HeaderMap,
    Json(request): Json<RollbackRequest>,
) -> Result<Response, ApiError> {
    let key = Key::of(&caller, &headers, &format!("rollback {env}/{app}"), &request)?;
    let act = Act { by: caller.name, now: Timestamp::now() };
    let terms = Terms {
        id: DeploymentId(Uuid::now_v7()),
        strategy: None,
        running: Running::GivesWay,
        reason: request.reason.clone(),
        commit: None,
        override_freeze: None,
        notes: Vec::new(),
    };
    let wanted = RollbackRequest { reason: None, ..request };
    let observations = state.observations.clone();
    let answer = once(&state, key, StatusCode::ACCEPTED, move |tx| {
        let deployment = rollbacks::rollback(tx, &env, &app, &wanted, &terms, &act)?;
        let location = format!("/v1/deployments/{}", deployment.id);
        Ok((load_deployment(tx, deployment)?.view(&observations), Some(location)))
    })
    .await?;
    Ok(answer.into_response())
}

async fn plan_rollback(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Json(request): Json<RollbackRequest>,
) -> Result<Json<PlanView>, ApiError> {
    let engine = state.engine.clone();
    let view = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            rollbacks::plan(tx, &env, &app, request.to, engine.as_ref())
        })
        .await?;
    Ok(Json(view))
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<DeploymentsQuery>,
) -> Result<Json<Page<DeploymentView>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let before: Option<DeploymentId> = cursor(query.cursor.as_deref())?;
    let filter = DeploymentFilter { env: query.env, app: query.app };
    let observations = state.observations.clone();
    let found = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let deployments = tx.deployments(&filter, before, limit + 1)?;
            deployments.into_iter().map(|d| load_deployment(tx, d)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let views = found.into_iter().map(|records| records.view(&observations)).collect();
    Ok(Json(page(views, limit, |view: &DeploymentView| view.id.to_string(), |view| view)))
}

async fn show(
    State(state): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<DeploymentView>, ApiError> {
    let records = state
        .store
        .read::<_, ApiError, _>(move |tx| load_deployment(tx, find::deployment(tx, &id)?))
        .await?;
    Ok(Json(records.view(&state.observations)))
}

async fn receipt(
    State(state): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<ReceiptView>, ApiError> {
    let d = state.store.read::<_, ApiError, _>(move |tx| find::deployment(tx, &id)).await?;
    if !d.state.is_terminal() {
        let detail = format!("deployment {} has not ended; its receipt comes with its end", d.id);
        return Err(ApiError::new(ProblemCode::DeploymentRunning, detail)
            .remedy("look at it", format!("ark deployments {}", d.id)));
    }
    Ok(Json(ReceiptView {
        deployment: d.id,
        env: d.env,
        app: d.app,
        release: d.release,
        base: d.base,
        state: d.state,
        // One that never began touched no traffic.
        receipt: d.receipt.unwrap_or_default(),
    }))
}

async fn traffic(
    State(state): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<TrafficHistory>, ApiError> {
    let (d, kept) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let d = find::deployment(tx, &id)?;
            let kept = tx.deployment_traffic(d.id)?;
            Ok((d, kept))
        })
        .await?;
    let history = match (kept, d.started_at) {
        (Some(kept), _) => kept,
        (None, Some(began)) if !d.state.is_terminal() => {
            let now = Timestamp::now();
            let measured = state.observations.measured_so_far(&(d.env, d.app));
            deployment_traffic::history(&measured, began, now)
        }
        (None, _) => TrafficHistory { slice_s: 1, slices: Vec::new() },
    };
    Ok(Json(history))
}

async fn abort(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<AbortRequest>,
) -> Result<(StatusCode, Json<DeploymentView>), ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let records = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let deployment = find::deployment(tx, &id)?;
            let ended = end(tx, deployment, request.reason.as_deref().map(words), &act)?;
            load_deployment(tx, ended)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(records.view(&state.observations))))
}

/// One that waits ends here; one that runs is ended by the tasks, which take it back first.
fn end(
    tx: &mut WriteTx,
    deployment: Deployment,
    reason: Option<String>,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let (env, app) = (deployment.env.clone(), deployment.app.clone());
    let before = deployment.state;
    let finished = |words: &str| {
        let detail = format!("deployment {} {words}", deployment.id);
        ApiError::new(ProblemCode::DeploymentFinished, detail)
    };
    match before {
        DeploymentState::Queued => {
            let mut ended = supersede(&deployment, act.now);
            ended.abort = Some(Abort { by: act.by.clone(), reason, superseded: false });
            tx.put_deployment(&ended, before)?;
            if let Some(mut state) = tx.app_state(&env, &app)?
                && state.waiting == Some(ended.id)
            {
                state.waiting = None;
                state.updated_at = act.now;
                tx.put_app_state(&state)?;
            }
            let text = format!("{} was withdrawn before it began", ended.release);
            let event = act.event(EventKind::DeploymentFinished, &env, Some(&app), text);
            tx.append_event(NewEvent { deployment: Some(ended.id), ..event })?;
            Ok(ended)
        }
        DeploymentState::Draining if deployment.base.is_none_or(|b| b == deployment.release) => {
            let words = "is live already, and there is no other release to go back to";
            Err(finished(words).remedy("stop it", format!("ark stop {app} -e {env}")))
        }
        // As long as the old side is not gone, going back needs no rollback.
        DeploymentState::Replacing
        | DeploymentState::Stepping
        | DeploymentState::Keeping
        | DeploymentState::Draining => {
            let mut asked = deployment;
            if asked.abort.is_none() {
                asked.abort = Some(Abort { by: act.by.clone(), reason, superseded: false });
                tx.put_deployment(&asked, before)?;
                let text = format!("the end of {} was asked for", asked.release);
                let event = act.event(EventKind::DeploymentProgress, &env, Some(&app), text);
                tx.append_event(NewEvent { deployment: Some(asked.id), ..event })?;
            }
            Ok(asked)
        }
        // It is on its way back already: nothing is left to be asked for.
        DeploymentState::Returning => Ok(deployment),
        DeploymentState::Succeeded
        | DeploymentState::RolledBack
        | DeploymentState::Failed
        | DeploymentState::TimedOut
        | DeploymentState::Superseded => Err(finished("has ended")),
    }
}
