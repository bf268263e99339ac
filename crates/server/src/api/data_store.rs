//! What the deployment of a data store needs beyond an app's: what it runs from is chosen, and its
//! password is made once. Called for plans (the choice) and deployments.

use std::collections::BTreeSet;

use ark_engine::EngineKind;
use ark_model::api::ProblemCode;
use ark_model::artifact::Artifact;
use ark_model::definition::STORE_PASSWORD;
use ark_model::environment::EnvKind;
use ark_model::event::EventKind;
use ark_model::{AppName, EnvName};
use ark_store::{ConfigValue, Keyring, ReadTx, SecretName, WriteTx};

use super::app_rows::place;
use super::config::secret_error;
use super::error::ApiError;
use super::intents::{Act, default_kind, ensure_environment};
use super::judge::Wanted;
use super::operation::Shared;
use crate::data_stores::{self, Choice};

/// Chooses what it runs from: a release's own artifact, or one that was asked for, stands.
///
/// # Errors
/// `not-runnable`.
pub(super) async fn choose(
    state: &Shared,
    env: &EnvName,
    app: &AppName,
    wanted: &mut Wanted,
) -> Result<(), ApiError> {
    let Some(server) = wanted.definition.data_store else { return Ok(()) };
    let named = match &wanted.artifact {
        Artifact::Image { reference, .. } => Some(reference.clone()),
        Artifact::Directory { .. } | Artifact::None => wanted.store_image.clone(),
    };
    let (of_env, of_app) = (env.clone(), app.clone());
    let live = state.store.read::<_, ApiError, _>(move |tx| live(tx, &of_env, &of_app)).await?;
    let any = Artifact::Image { reference: server.default_image(), digest: None };
    let images = match state.engine.kind_for(&any) {
        EngineKind::Docker | EngineKind::Kubernetes | EngineKind::Fake => true,
        EngineKind::Process => false,
    };
    let choice = Choice { server, image: named, live, images };
    wanted.artifact = data_stores::choose(&choice).await.map_err(|why| {
        ApiError::new(ProblemCode::NotRunnable, format!("`{app}` cannot run here: {why}"))
    })?;
    if choice.image.is_none()
        && let Artifact::Image { reference, .. } = &wanted.artifact
    {
        let asked = state.engine.image_digest(reference);
        let answer = tokio::time::timeout(super::deployments::ENGINE_DEADLINE, asked).await;
        if !matches!(answer, Ok(Ok(_))) {
            let here = data_stores::absent(server, &BTreeSet::new());
            let detail = format!("`{app}` cannot run here: {here}, and no Docker engine answers");
            return Err(
                ApiError::new(ProblemCode::NotRunnable, detail).remedy("look closer", "ark doctor")
            );
        }
    }
    Ok(())
}

/// What the live release of a data store runs from.
fn live(tx: &ReadTx, env: &EnvName, app: &AppName) -> Result<Option<Artifact>, ApiError> {
    let Some(number) = tx.app_state(env, app)?.and_then(|state| state.live) else {
        return Ok(None);
    };
    let release = tx.release(env, app, number)?;
    Ok(release.map(|r| r.content).filter(|c| c.definition.data_store.is_some()).map(|c| c.artifact))
}

/// Refuses a data store in a permanent environment.
///
/// # Errors
/// `data-store`.
pub(super) fn check_place(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
) -> Result<(), ApiError> {
    let Some(server) = wanted.definition.data_store else { return Ok(()) };
    let kind = tx.environment(env)?.map_or_else(|| default_kind(env), |found| found.kind);
    if kind == EnvKind::Development {
        return Ok(());
    }
    let detail = format!(
        "`{app}` is a data store of type {}, which Ark runs in development environments only; \
         {env} is permanent",
        server.product
    );
    Err(ApiError::new(ProblemCode::DataStore, detail)
        .remedy(
            "tell apps where yours is",
            format!("ark config set -e {env} APP --secret DATABASE_URL"),
        )
        .remedy("a development environment", format!("ark deploy {app} -e YOUR-ENV")))
}

/// Refuses a data store where it does not belong, and makes its password when it has none.
///
/// # Errors
/// `data-store`, `environment-destroying`.
pub(super) fn prepare(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    keyring: &Keyring,
    act: &Act,
) -> Result<(), ApiError> {
    if wanted.definition.data_store.is_none() {
        return Ok(());
    }
    check_place(tx, env, app, wanted)?;
    ensure_environment(tx, env, None, act)?;
    let current = tx.config(env, app)?;
    if current.values.contains_key(STORE_PASSWORD) {
        return Ok(());
    }
    let version = current.version + 1;
    let password = data_stores::new_password()
        .ok_or_else(|| ApiError::internal("the system gave no random bytes".to_owned()))?;
    let name = SecretName { env, app, name: STORE_PASSWORD, version };
    let sealed = keyring.seal(name, &password).map_err(|error| secret_error(&error))?;
    let mut values = current.values.clone();
    values.insert(STORE_PASSWORD.to_owned(), ConfigValue::Secret { version, sealed });
    let summary = tx.insert_config(env, app, current.version, &values, act.now, &act.by)?;
    let text = format!(
        "configuration {} of {}: {STORE_PASSWORD} was made",
        summary.version,
        place(env, app)
    );
    tx.append_event(act.event(EventKind::ConfigChanged, env, Some(app), text))?;
    Ok(())
}
