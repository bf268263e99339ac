//! The variables of an app for a run on an engineer's own machine (`ark start -l`). One of the two
//! operations whose answer holds secret values; every such answer is an event.

use std::collections::BTreeMap;

use ark_model::api::{
    ProblemCode, ResolvedEnvironment, ResolvedVariable, VariableSource, VariablesQuery,
};
use ark_model::definition::Definition;
use ark_model::environment::EnvKind;
use ark_model::event::EventKind;
use ark_model::{AppName, EnvName, ReleaseNumber};
use ark_store::{ConfigValue, ConfigVersion, Keyring, SecretName, WriteTx};
use axum::extract::State;
use jiff::Timestamp;

use super::app_rows::place;
use super::config::secret_error;
use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::find;
use super::intents::Act;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};
use crate::tasks::start_spec::{SpecError, discovered};
use crate::variables::{Discovered, Identity, assemble, upper};

/// The most dependencies that may be asked for.
const DEPENDENCIES_MAX: usize = 100;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/environment",
            ("getEnvironmentValues", "Variables for a run on one's own machine, secrets included"),
            show,
        )
        .about(
            "The newest configuration, defaults of the live release, what Ark injects, and where \
             dependencies are reached. Permanent environments give secret values to administrators \
             only. Each answer is an event.",
        )
        .needs(Permission::ReadDevelopmentSecrets)
        .query::<VariablesQuery>()
        .answers::<ResolvedEnvironment>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::SecretsProtected]),
    ]
}

async fn show(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<VariablesQuery>,
) -> Result<Json<ResolvedEnvironment>, ApiError> {
    let dependencies = dependencies(query.dependencies.as_deref())?;
    let keyring = state.keyring.clone();
    let act = Act { by: caller.name.clone(), now: Timestamp::now() };
    let resolved = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let environment = find::environment(tx, &env)?;
            let config = tx.config(&env, &app)?;
            let secrets = config.values.values().any(|v| matches!(v, ConfigValue::Secret { .. }));
            if secrets && environment.kind == EnvKind::Permanent {
                caller.may(Permission::ReadPermanentSecrets).map_err(|_| protected(&env, &app))?;
            }
            let (release, definition) = live(tx, &env, &app)?;
            let mut wanted = dependencies;
            wanted.extend(definition.dependencies.iter().filter_map(|name| name.parse().ok()));
            let found = discovered(tx, &keyring, &env, &wanted).map_err(unknown_dependency)?;
            let passwords = found.iter().any(|d| d.credentials.is_some());
            if passwords && environment.kind == EnvKind::Permanent {
                caller.may(Permission::ReadPermanentSecrets).map_err(|_| protected(&env, &app))?;
            }
            let who = Identity { env: &env, app: &app, instance: None };
            let given = assemble(who, &definition, BTreeMap::new(), &[], &found);
            let mut variables = defaults(&definition);
            variables.extend(configured(&keyring, &env, &app, &config)?);
            variables.extend(injected(given, &found));
            let text = format!("the variables of {} were read for a local run", place(&env, &app));
            tx.append_event(act.event(EventKind::ConfigRead, &env, Some(&app), text))?;
            Ok(ResolvedEnvironment {
                env,
                app,
                release,
                config_version: config.version,
                variables: variables.into_values().collect(),
            })
        })
        .await?;
    Ok(Json(resolved))
}

/// The password of a data store is a secret like any other.
fn unknown_dependency(error: SpecError) -> ApiError {
    match error {
        SpecError::Store(error) => error.into(),
        SpecError::Secret(error) => secret_error(&error),
        SpecError::NoVersion { .. } | SpecError::NoManifest { .. } => {
            ApiError::internal(error.to_string())
        }
    }
}

fn protected(env: &EnvName, app: &AppName) -> ApiError {
    let detail = format!(
        "{} has secrets, and {env} is permanent: their values are given to administrators only",
        place(env, app)
    );
    ApiError::new(ProblemCode::SecretsProtected, detail).remedy(
        "run it against a development environment",
        format!("ark start -l {app} -e YOUR-ENV"),
    )
}

fn dependencies(names: Option<&str>) -> Result<Vec<AppName>, ApiError> {
    let names =
        names.into_iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
    let parsed: Result<Vec<AppName>, _> = names.take(DEPENDENCIES_MAX).map(str::parse).collect();
    parsed.map_err(|error| ApiError::new(ProblemCode::InvalidValue, error.to_string()))
}

fn live(
    tx: &WriteTx,
    env: &EnvName,
    app: &AppName,
) -> Result<(Option<ReleaseNumber>, Definition), ApiError> {
    let number = tx.app_state(env, app)?.and_then(|state| state.live);
    let release = match number {
        Some(number) => tx.release(env, app, number)?,
        None => None,
    };
    let definition = release.map(|release| release.content.definition).unwrap_or_default();
    Ok((number, definition))
}

type Variables = BTreeMap<String, ResolvedVariable>;

fn variable(name: String, value: String, source: VariableSource, secret: bool) -> ResolvedVariable {
    ResolvedVariable { name, value, source, secret }
}

fn defaults(definition: &Definition) -> Variables {
    let default = |(name, value): (&String, &String)| {
        let source = VariableSource::Default;
        (name.clone(), variable(name.clone(), value.clone(), source, false))
    };
    definition.env_defaults.iter().map(default).collect()
}

fn configured(
    keyring: &Keyring,
    env: &EnvName,
    app: &AppName,
    config: &ConfigVersion,
) -> Result<Variables, ApiError> {
    let mut variables = Variables::new();
    for (name, value) in &config.values {
        let (value, secret) = match value {
            ConfigValue::Plain { value } => (value.clone(), false),
            ConfigValue::Secret { version, sealed } => {
                let place = SecretName { env, app, name, version: *version };
                let open =
                    keyring.open_sealed(place, sealed).map_err(|error| secret_error(&error))?;
                (open.expose().to_owned(), true)
            }
        };
        let source = VariableSource::Config;
        variables.insert(name.clone(), variable(name.clone(), value, source, secret));
    }
    Ok(variables)
}

fn injected(given: BTreeMap<String, String>, found: &[Discovered]) -> Variables {
    // A data store's password, and the address that holds it.
    let secrets: Vec<String> = found
        .iter()
        .filter(|d| d.credentials.is_some())
        .flat_map(|d| {
            let prefix = format!("SERVICE_{}_{}", upper(d.app.as_str()), upper(&d.expose));
            ["PASSWORD", "URL"].map(|name| format!("{prefix}_{name}"))
        })
        .collect();
    let named = given.into_iter().map(|(name, value)| {
        let source = match name.starts_with("SERVICE_") {
            true => VariableSource::Discovery,
            false => VariableSource::Injected,
        };
        let secret = secrets.contains(&name);
        (name.clone(), variable(name, value, source, secret))
    });
    named.collect()
}
