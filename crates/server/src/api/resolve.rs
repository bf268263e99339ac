//! Resolving an app's configuration: every declared variable gets its value, or all that have none
//! are named at once. Called for plans, deployments and `ark start -l`; opens no secret.

use std::collections::BTreeMap;

use ark_model::api::ProblemCode;
use ark_model::definition::{Definition, STORE_PASSWORD};
use ark_model::release::PinnedValue;
use ark_model::{AppName, EnvName};
use ark_store::{ConfigValue, ConfigVersion};

use super::error::ApiError;
use super::needs::Needs;
use crate::variables::{Identity, assemble, upper};

/// Every declared variable with its value, or the names of all that have none.
pub(super) fn resolve(
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
    config: &ConfigVersion,
    needs: &Needs,
) -> Result<BTreeMap<String, PinnedValue>, Vec<String>> {
    let given = given_by_ark(env, app, definition, needs);
    let mut resolved = BTreeMap::new();
    let mut missing = Vec::new();
    let declared = definition.env.iter().chain(definition.env_defaults.keys());
    for name in declared {
        if resolved.contains_key(name) || missing.contains(name) {
            continue;
        }
        let value = match (config.values.get(name), definition.env_defaults.get(name)) {
            (Some(ConfigValue::Plain { value }), _) => PinnedValue::Plain { value: value.clone() },
            (Some(ConfigValue::Secret { version, .. }), _) => {
                PinnedValue::Secret { version: *version }
            }
            (None, Some(default)) => PinnedValue::Plain { value: default.clone() },
            (None, None) => {
                if !given(name) {
                    missing.push(name.clone());
                }
                continue;
            }
        };
        resolved.insert(name.clone(), value);
    }
    if missing.is_empty() { Ok(resolved) } else { Err(missing) }
}

/// Which names Ark gives an instance by itself, so that nobody has to set them.
fn given_by_ark(
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
    needs: &Needs,
) -> impl Fn(&str) -> bool {
    let who = Identity { env, app, instance: None };
    let injected = assemble(who, definition, BTreeMap::new(), &[], &[]);
    let ports: Vec<String> =
        definition.expose.iter().map(|e| format!("PORT_{}", upper(&e.name))).collect();
    let store = definition.data_store.is_some();
    move |name| {
        injected.contains_key(name)
            // A process gets one of Ark's, a container its image's.
            || name == "PATH"
            || (name == "PORT" && !ports.is_empty())
            || (store && name == STORE_PASSWORD)
            || ports.iter().any(|port| port == name)
            || needs.gives(name)
    }
}

/// The problem of missing values, with what to type: names that look like secrets are to be set as
/// secrets.
pub(super) fn missing_config(
    env: &EnvName,
    app: &AppName,
    missing: Vec<String>,
    needs: &Needs,
) -> ApiError {
    let values = if missing.len() == 1 { "value" } else { "values" };
    let detail = format!(
        "{env} does not define {} {values} that {app} needs: {}",
        missing.len(),
        missing.join(", ")
    );
    let secret_words = ["SECRET", "KEY", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE"];
    let secret = |name: &&String| secret_words.iter().any(|word| name.contains(word));
    let (secrets, plain): (Vec<&String>, Vec<&String>) = missing.iter().partition(secret);
    let mut error = ApiError::new(ProblemCode::MissingConfig, detail);
    for remedy in needs.remedies(env, &missing) {
        error = error.remedy(&remedy.label, remedy.command);
    }
    if !plain.is_empty() {
        let set: Vec<String> = plain.iter().map(|name| format!("{name}=…")).collect();
        let set = set.join(" ");
        error = error.remedy("set them", format!("ark config set -e {env} {app} {set}"));
    }
    if !secrets.is_empty() {
        let set: Vec<&str> = secrets.iter().map(|name| name.as_str()).collect();
        let set = set.join(" ");
        error = error.remedy("secret", format!("ark config set -e {env} {app} --secret {set}"));
    }
    error.missing(missing)
}

#[cfg(test)]
mod tests {
    use ark_model::definition::Expose;

    use super::*;

    fn names() -> (EnvName, AppName) {
        ("production".parse().expect("a name"), "web".parse().expect("a name"))
    }

    #[test]
    fn all_missing_names_are_told_at_once_and_what_ark_gives_is_not_among_them() {
        let (env, app) = names();
        let definition = Definition {
            env: [
                "DB_URL",
                "SESSION_KEY",
                "LOG_LEVEL",
                "PORT",
                "_APP_NAME",
                "SERVICE_GEAR_ADMIN_HTTP_HOST",
                "SERVICE_GEAR_ADMIN_GRPC_HOST",
                "SERVICE_GEARMAND_TCP_PORT",
            ]
            .map(str::to_owned)
            .to_vec(),
            env_defaults: [("LOG_LEVEL".to_owned(), "info".to_owned())].into(),
            dependencies: vec!["gear-admin".into(), "gearmand".into()],
            expose: vec![Expose::new("default", 80)],
            ..Definition::default()
        };
        let config = ConfigVersion { version: 0, values: BTreeMap::new() };
        let gear_admin = "gear-admin".parse().expect("a name");
        let needs = Needs::example((&gear_admin, "http"), &["gearmand", "queue"]);
        let missing = resolve(&env, &app, &definition, &config, &needs).expect_err("some miss");
        // An app that is not there gives nothing, and one that is there only what it exposes.
        assert_eq!(
            missing,
            ["DB_URL", "SESSION_KEY", "SERVICE_GEAR_ADMIN_GRPC_HOST", "SERVICE_GEARMAND_TCP_PORT"]
        );
        let problem = missing_config(&env, &app, missing, &needs).into_problem();
        assert_eq!((problem.status, problem.exit_code), (403, 7));
        let remedy: Vec<String> = problem.remedy.into_iter().map(|r| r.command).collect();
        assert_eq!(
            remedy,
            [
                "ark deploy gearmand -e production",
                "ark config set -e production web DB_URL=… SERVICE_GEAR_ADMIN_GRPC_HOST=… \
                 SERVICE_GEARMAND_TCP_PORT=…",
                "ark config set -e production web --secret SESSION_KEY",
            ]
        );
    }
}
