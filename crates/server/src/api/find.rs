//! Things by the names people give them, or the problem that says which one does not exist.

use ark_model::api::ProblemCode;
use ark_model::environment::{AppState, EnvState, Environment};
use ark_model::instance::InstanceRecord;
use ark_model::release::Release;
use ark_model::{AppName, Deployment, DeploymentId, EnvName, ReleaseNumber};
use ark_store::{DeploymentFilter, ReadTx};

use super::error::ApiError;

/// Instances of an app among which a short id is looked for, newest first.
const INSTANCES_SEARCHED: usize = 1_000;
/// Deployments read at once while a short id is looked for.
const DEPLOYMENTS_PAGE: usize = 1_000;
/// The most such pages.
const DEPLOYMENTS_PAGES_MAX: usize = 50;
/// The shortest part of a deployment's id that is looked for.
const SHORT_ID_CHARS_MIN: usize = 4;

pub(super) fn environment(tx: &ReadTx, env: &EnvName) -> Result<Environment, ApiError> {
    tx.environment(env)?.ok_or_else(|| {
        let detail = format!("environment `{env}` does not exist");
        ApiError::new(ProblemCode::EnvironmentNotFound, detail)
            .remedy("all environments", "ark env list")
    })
}

/// An environment in which something may be changed.
pub(super) fn active_environment(tx: &ReadTx, env: &EnvName) -> Result<Environment, ApiError> {
    let found = environment(tx, env)?;
    match found.state {
        EnvState::Active => Ok(found),
        EnvState::Destroying => Err(destroying(env)),
    }
}

pub(super) fn destroying(env: &EnvName) -> ApiError {
    let detail = format!("environment `{env}` is being destroyed");
    ApiError::new(ProblemCode::EnvironmentDestroying, detail)
        .remedy("when it is gone, it can be made again", "ark env list")
}

pub(super) fn app(tx: &ReadTx, env: &EnvName, app: &AppName) -> Result<AppState, ApiError> {
    environment(tx, env)?;
    tx.app_state(env, app)?.ok_or_else(|| {
        let detail = format!("app `{app}` was never deployed to `{env}`");
        ApiError::new(ProblemCode::AppNotFound, detail)
            .remedy("all apps", format!("ark status -e {env}"))
            .remedy("deploy it", format!("ark deploy {app} -e {env}"))
    })
}

pub(super) fn release(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    number: ReleaseNumber,
) -> Result<Release, ApiError> {
    tx.release(env, app, number)?.ok_or_else(|| {
        let detail = format!("release {number} of `{app}` in `{env}` does not exist");
        ApiError::new(ProblemCode::ReleaseNotFound, detail)
            .remedy("all releases", format!("ark releases {app} -e {env}"))
    })
}

/// A deployment by its id, or by a beginning or an ending of it that fits only one.
pub(super) fn deployment(tx: &ReadTx, text: &str) -> Result<Deployment, ApiError> {
    let unknown = || {
        ApiError::new(
            ProblemCode::DeploymentNotFound,
            format!("deployment `{}` does not exist", cut(text)),
        )
        .remedy("all deployments", "ark deployments")
    };
    if let Ok(id) = text.parse::<DeploymentId>() {
        return tx.deployment(id)?.ok_or_else(unknown);
    }
    let part: String = text.chars().filter(|c| *c != '-').collect();
    if part.len() < SHORT_ID_CHARS_MIN || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let part = part.to_ascii_lowercase();
    let fits = |d: &Deployment| {
        let id = d.id.0.simple().to_string();
        id.starts_with(&part) || id.ends_with(&part)
    };
    let mut found: Option<Deployment> = None;
    let mut before = None;
    for _ in 0..DEPLOYMENTS_PAGES_MAX {
        let filter = DeploymentFilter::default();
        let page = tx.deployments(&filter, before, DEPLOYMENTS_PAGE)?;
        before = page.last().map(|d| d.id);
        let more = page.len() == DEPLOYMENTS_PAGE;
        for d in page.into_iter().filter(fits) {
            if let Some(other) = &found {
                let detail = format!("`{part}` fits deployments {} and {}", other.id, d.id);
                return Err(ApiError::new(ProblemCode::Ambiguous, detail)
                    .remedy("give more of it", "ark deployments"));
            }
            found = Some(d);
        }
        if !more {
            break;
        }
    }
    found.ok_or_else(unknown)
}

/// An instance of an app by its short or whole id.
pub(super) fn instance(
    tx: &ReadTx,
    env: &EnvName,
    name: &AppName,
    text: &str,
) -> Result<InstanceRecord, ApiError> {
    app(tx, env, name)?;
    let fits = |record: &InstanceRecord| {
        record.id.short(name) == text || record.id.to_string().eq_ignore_ascii_case(text)
    };
    let recorded = tx.instances_of(env, name, INSTANCES_SEARCHED)?;
    recorded.into_iter().find(fits).ok_or_else(|| {
        let detail = format!("instance `{}` of `{name}` in `{env}` does not exist", cut(text));
        ApiError::new(ProblemCode::InstanceNotFound, detail)
            .remedy("all instances", format!("ark ps {name} -e {env}"))
    })
}

/// What a caller sent, short enough to be repeated to them.
pub(super) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
