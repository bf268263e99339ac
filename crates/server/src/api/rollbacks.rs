//! Going back: which release a rollback leads to, what it would do, and its record. What is said of
//! it (`planRollback`, the detail of an app) and what is done come from the same [`Way`].

use ark_engine::Engine;
use ark_model::api::{PlanView, ProblemCode, RollbackRequest};
use ark_model::definition::Strategy;
use ark_model::deployment::DeploymentKind;
use ark_model::environment::{AppState, EnvKind};
use ark_model::release::Release;
use ark_model::{AppName, Deployment, DeploymentId, EnvName, ReleaseNumber};
use ark_planner::Policy;
use ark_planner::queue::{first_target_is_settled, recent, rollback_strategy, rollback_targets};
use ark_store::{DeploymentFilter, ReadTx, StoreError, WriteTx};

use super::app_rows::artifact_words;
use super::app_rows::place;
use super::error::ApiError;
use super::intents::{Act, Terms, queue, unfinished};
use super::steps::{self, Side};
use super::unenforced::Asked;
use super::{diff, find, plan};

/// Deployments among which the release to go back to is looked for, newest first.
const HISTORY: usize = 500;
/// So many of them are read at a time: nearly always the first few say enough.
const HISTORY_PAGE: usize = 20;

/// Where a rollback leads, and from where.
struct Way {
    state: AppState,
    kind: EnvKind,
    running: Option<Deployment>,
    target: Release,
    strategy: Strategy,
}

/// # Errors
/// `environment-not-found`, `environment-destroying`, `app-not-found`, `release-not-found`.
fn way(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    to: Option<ReleaseNumber>,
) -> Result<Way, ApiError> {
    let kind = find::active_environment(tx, env)?.kind;
    let state = find::app(tx, env, app)?;
    let running = unfinished(tx, state.running)?;
    let number = match to {
        Some(number) => number,
        None => target(tx, &state, running.as_ref())?.ok_or_else(|| nowhere(&state))?,
    };
    let target = find::release(tx, env, app, number)?;
    let asked = target.content.definition.strategy_in(env.as_str());
    let history = tx.deployments(&of(&state), None, HISTORY)?;
    let strategy = rollback_strategy(asked, recent(&state, number, &history));
    Ok(Way { state, kind, running, target, strategy })
}

fn of(state: &AppState) -> DeploymentFilter {
    DeploymentFilter { env: Some(state.env.clone()), app: Some(state.app.clone()) }
}

/// The release that a rollback without a named one leads to, when there is one. `running` is the
/// app's deployment that has not ended.
pub(super) fn target(
    tx: &ReadTx,
    state: &AppState,
    running: Option<&Deployment>,
) -> Result<Option<ReleaseNumber>, StoreError> {
    let exists = |number: ReleaseNumber| -> Result<bool, StoreError> {
        Ok(tx.release(&state.env, &state.app, number)?.is_some())
    };
    let mut history: Vec<Deployment> = Vec::new();
    loop {
        let before = history.last().map(|d| d.id);
        let page = tx.deployments(&of(state), before, HISTORY_PAGE)?;
        let whole = page.len() < HISTORY_PAGE || history.len() + page.len() >= HISTORY;
        history.extend(page);
        let settled = whole || first_target_is_settled(state, running, &history);
        if !settled {
            continue;
        }
        let targets = rollback_targets(state, running, &history);
        for (place, target) in targets.into_iter().enumerate() {
            // Which comes second is certain only when everything was read.
            if place > 0 && !whole {
                break;
            }
            if exists(target)? {
                return Ok(Some(target));
            }
        }
        if whole {
            return Ok(None);
        }
    }
}

fn nowhere(state: &AppState) -> ApiError {
    let (env, app) = (&state.env, &state.app);
    let detail = match state.live {
        Some(live) => format!(
            "there is no release of {} to go back to: none but {live} succeeded without being rolled \
             back from; name one to go there all the same",
            place(env, app)
        ),
        None => format!("there is no release of {} to go back to", place(env, app)),
    };
    ApiError::new(ProblemCode::ReleaseNotFound, detail)
        .remedy("all releases", format!("ark releases {app} -e {env}"))
        .remedy("name one", format!("ark rollback {app} -e {env} --to RELEASE"))
}

/// Records a deployment of an earlier release; the running one gives way.
///
/// # Errors
/// Those of [`way`], and `plan-changed`, with nothing changed.
pub(super) fn rollback(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    wanted: &RollbackRequest,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let Way { state, target, strategy, .. } = way(tx, env, app, wanted.to)?;
    let rests_on = || plan::rests_on(Some(&state), &target.content);
    if wanted.expect.as_ref().is_some_and(|expected| *expected != rests_on()) {
        return Err(plan::changed(env, app));
    }
    queue(tx, env, app, DeploymentKind::Rollback, target.number, strategy, terms, act)
}

/// What a rollback would do, in words. Reads; changes nothing.
///
/// # Errors
/// Those of [`way`].
pub(super) fn plan(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    to: Option<ReleaseNumber>,
    engine: &dyn Engine,
) -> Result<PlanView, ApiError> {
    let way = way(tx, env, app, to)?;
    let release_of = |number: Option<ReleaseNumber>| match number {
        Some(number) => tx.release(env, app, number),
        None => Ok(None),
    };
    let live = release_of(way.state.live)?;
    let of_running = release_of(way.running.as_ref().map(|d| d.release))?;
    let waiting = unfinished(tx, way.state.waiting)?;
    let (content, number) = (&way.target.content, way.target.number);
    let policy = Policy::of(&content.definition, way.kind, way.strategy);
    let before = live.as_ref().map(|live| &live.content);
    let going = steps::Rollback {
        policy: &policy,
        to: Side::of(number, &content.definition),
        wanted: policy.wanted(way.state.scale),
        live: live.as_ref().map(|live| Side::of(live.number, &live.content.definition)),
        running: way.running.as_ref().map(|running| {
            let definition = of_running.as_ref().map(|release| &release.content.definition);
            (running, Side { release: running.release, definition })
        }),
        waiting: waiting.map(|waiting| waiting.release),
        stopped: way.state.stopped,
    };
    Ok(PlanView {
        env: env.clone(),
        app: app.clone(),
        changes: before != Some(content),
        live: way.state.live,
        release: number,
        release_exists: true,
        strategy: way.strategy,
        instances: going.wanted,
        runs: artifact_words(&content.artifact),
        artifact: before.and_then(|before| diff::artifact(before, content)),
        config: before.map(|before| diff::config(before, content)).unwrap_or_default(),
        definition: before.map(|before| diff::definition(before, content)).unwrap_or_default(),
        steps: going.steps(),
        not_enforced: Asked::of(&content.definition)
            .unenforced(engine.kind_for(&content.artifact), &engine.capabilities()),
        missing: Vec::new(),
        refusals: Vec::new(),
        remedy: Vec::new(),
        notes: Vec::new(),
        warnings: Vec::new(),
        expect: plan::rests_on(Some(&way.state), content),
    })
}

/// For the detail of an app: where a rollback leads, unless what runs cannot be read.
pub(super) fn target_shown(
    tx: &ReadTx,
    state: &AppState,
) -> Result<Option<ReleaseNumber>, StoreError> {
    let read = |id: DeploymentId| tx.readable_deployment(id);
    match state.running.map(read).transpose()? {
        Some(None) => Ok(None),
        Some(Some(running)) if running.state.is_terminal() => target(tx, state, None),
        Some(Some(running)) => target(tx, state, Some(&running)),
        None => target(tx, state, None),
    }
}
