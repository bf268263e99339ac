//! Configuration: values and secrets of an app in an environment. Every change is a new version and
//! takes effect with the next deployment. Secrets are sealed before they are recorded.

use ark_model::api::{
    CONFIG_CHANGES_MAX, CONFIG_VALUE_BYTES_MAX, ConfigEntry, ConfigPatch, ConfigVersionView,
    ConfigView, Page, PageQuery, ProblemCode,
};
use ark_model::event::EventKind;
use ark_model::{AppName, EnvName};
use ark_store::{
    ConfigSummary, ConfigValue, Keyring, ReadTx, SecretError, SecretName, SecretValue, WriteTx,
};
use axum::extract::State;
use jiff::Timestamp;

use super::app_rows::place;
use super::error::{ApiError, chain};
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::intents::{Act, check_new_environment, ensure_environment};
use super::operation::{Operation, Shared};
use super::{environment_values, find};
use crate::auth::{Caller, Permission};

/// The longest name of a variable, in bytes.
const NAME_BYTES_MAX: usize = 200;

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/config",
            ("getConfig", "The newest configuration; secrets by name only"),
            show,
        )
        .answers::<ConfigView>(200)
        .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/config/versions",
            ("listConfigVersions", "Changes of the configuration, newest first, by name"),
            versions,
        )
        .query::<PageQuery>()
        .answers::<Page<ConfigVersionView>>(200)
        .problems(&[ProblemCode::EnvironmentNotFound]),
        Operation::patch(
            "/v1/environments/{env}/apps/{app}/config",
            ("changeConfig", "Set and remove values"),
            change,
        )
        .about(
            "All of it or nothing. Makes a new version, unless nothing differs. The environment is \
             made on first use. Running instances are not touched.",
        )
        .needs(Permission::Configure)
        .takes::<ConfigPatch>()
        .answers::<ConfigView>(200)
        .problems(&[ProblemCode::ConfigConflict, ProblemCode::EnvironmentDestroying]),
    ];
    operations.extend(environment_values::operations());
    operations
}

async fn show(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
) -> Result<Json<ConfigView>, ApiError> {
    let view = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            find::environment(tx, &env)?;
            view(tx, &env, &app)
        })
        .await?;
    Ok(Json(view))
}

async fn versions(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ConfigVersionView>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let before: Option<u64> = cursor(query.cursor.as_deref())?;
    let history = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            find::environment(tx, &env)?;
            Ok(tx.config_history(&env, &app, before, limit + 1)?)
        })
        .await?;
    let view = |summary: ConfigSummary| ConfigVersionView {
        version: summary.version,
        at: summary.at,
        by: summary.by,
        set: summary.set.into_iter().collect(),
        unset: summary.unset.into_iter().collect(),
    };
    Ok(Json(page(history, limit, |summary| summary.version.to_string(), view)))
}

async fn change(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    Json(patch): Json<ConfigPatch>,
) -> Result<Json<ConfigView>, ApiError> {
    check(&patch)?;
    let act = Act { by: caller.name, now: Timestamp::now() };
    let (keyring, own) = (state.keyring.clone(), state.settings.allowed_hosts.clone());
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            check_new_environment(tx, &own, &env)?;
            ensure_environment(tx, &env, None, &act)?;
            apply(tx, &env, &app, patch, &keyring, &act)?;
            view(tx, &env, &app)
        })
        .await?;
    Ok(Json(view))
}

fn check(patch: &ConfigPatch) -> Result<(), ApiError> {
    let invalid = |detail: String| Err(ApiError::new(ProblemCode::InvalidValue, detail));
    let changes = patch.set.len() + patch.unset.len();
    if changes > CONFIG_CHANGES_MAX {
        return invalid(format!(
            "{changes} changes at once; at most {CONFIG_CHANGES_MAX} are allowed"
        ));
    }
    for name in patch.set.keys().chain(&patch.unset) {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(letter)
            && !name.as_bytes()[0].is_ascii_digit();
        if !good {
            return invalid(format!(
                "`{}` is not the name of a variable: use letters, digits and `_`, not beginning \
                 with a digit",
                find::cut(name)
            ));
        }
    }
    for (name, value) in &patch.set {
        if value.value.len() > CONFIG_VALUE_BYTES_MAX {
            let bytes = value.value.len();
            return invalid(format!(
                "the value of {name} has {bytes} bytes; at most {CONFIG_VALUE_BYTES_MAX} are allowed"
            ));
        }
        if value.value.contains('\0') {
            return invalid(format!("the value of {name} has a NUL, which no variable can hold"));
        }
        if patch.unset.contains(name) {
            return invalid(format!("{name} is to be set and removed at once"));
        }
    }
    Ok(())
}

fn apply(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    patch: ConfigPatch,
    keyring: &Keyring,
    act: &Act,
) -> Result<(), ApiError> {
    let current = tx.config(env, app)?;
    if let Some(expected) = patch.expect_version.filter(|expected| *expected != current.version) {
        let detail = format!(
            "the configuration of {} is at version {}, not {expected}",
            place(env, app),
            current.version
        );
        return Err(ApiError::new(ProblemCode::ConfigConflict, detail)
            .remedy("look at it", format!("ark config list -e {env} {app}")));
    }
    let version = current.version + 1;
    let mut values = current.values.clone();
    for name in &patch.unset {
        values.remove(name);
    }
    for (name, new) in patch.set {
        let value = if new.secret {
            let new = SecretValue::new(new.value);
            match unchanged(keyring, env, app, &name, values.get(&name), &new) {
                Some(same) => same,
                None => {
                    let place = SecretName { env, app, name: &name, version };
                    let sealed = keyring.seal(place, &new).map_err(|error| secret_error(&error))?;
                    ConfigValue::Secret { version, sealed }
                }
            }
        } else {
            ConfigValue::Plain { value: new.value }
        };
        values.insert(name, value);
    }
    if values == current.values {
        return Ok(());
    }
    let summary = tx.insert_config(env, app, current.version, &values, act.now, &act.by)?;
    let names = |names: &std::collections::BTreeSet<String>| {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("configuration {} of {}", summary.version, place(env, app));
    if !summary.set.is_empty() {
        text.push_str(&format!(": set {}", names(&summary.set)));
    }
    if !summary.unset.is_empty() {
        text.push_str(&format!(": removed {}", names(&summary.unset)));
    }
    tx.append_event(act.event(EventKind::ConfigChanged, env, Some(app), text))?;
    Ok(())
}

/// The value as it stands, when it is the same secret: setting it again makes no new version, and
/// so no new release.
fn unchanged(
    keyring: &Keyring,
    env: &EnvName,
    app: &AppName,
    name: &str,
    current: Option<&ConfigValue>,
    new: &SecretValue,
) -> Option<ConfigValue> {
    match current? {
        ConfigValue::Plain { .. } => None,
        current @ ConfigValue::Secret { version, sealed } => {
            let place = SecretName { env, app, name, version: *version };
            let open = keyring.open_sealed(place, sealed).ok()?;
            (open == *new).then(|| current.clone())
        }
    }
}

/// The problem of a secret that cannot be sealed or opened. Its text never holds the value.
pub(super) fn secret_error(error: &SecretError) -> ApiError {
    match error {
        SecretError::TooLarge { .. } => ApiError::new(ProblemCode::InvalidValue, error.to_string()),
        SecretError::File { .. }
        | SecretError::Readable { .. }
        | SecretError::NoKey { .. }
        | SecretError::Unreadable { .. }
        | SecretError::NoRandomness => ApiError::internal(chain(error)),
    }
}

fn view(tx: &ReadTx, env: &EnvName, app: &AppName) -> Result<ConfigView, ApiError> {
    let config = tx.config(env, app)?;
    let mut setters = tx.config_setters(env, app)?;
    let mut values = Vec::with_capacity(config.values.len());
    for (name, value) in config.values {
        let Some(setter) = setters.remove(&name) else {
            let context = format!("no version of {} set {name}", place(env, app));
            return Err(ApiError::internal(context));
        };
        let (value, secret) = match value {
            ConfigValue::Plain { value } => (Some(value), false),
            ConfigValue::Secret { .. } => (None, true),
        };
        values.push(ConfigEntry {
            name,
            value,
            secret,
            version: setter.version,
            changed_at: setter.at,
            changed_by: setter.by,
        });
    }
    Ok(ConfigView { env: env.clone(), app: app.clone(), version: config.version, values })
}
