//! What an environment has of the apps that a definition declares under `dependencies`: which of their
//! variables will be given, and which apps are not there at all. Called for plans and deployments;
//! refuses nothing itself.

use std::collections::BTreeSet;

use ark_model::api::Remedy;
use ark_model::definition::Definition;
use ark_model::{AppName, EnvName};
use ark_store::ReadTx;

use super::error::ApiError;
use crate::variables::upper;

/// How many absent apps are named in one text.
const NAMED_MAX: usize = 20;

/// What there is of an app's dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// How the names of variables begin that are given: `SERVICE_SEARCH_DEFAULT_`.
    given: BTreeSet<String>,
    /// Apps that were never deployed there.
    absent: Vec<AppName>,
}

impl Needs {
    pub(super) fn of(
        tx: &ReadTx,
        env: &EnvName,
        definition: &Definition,
    ) -> Result<Self, ApiError> {
        let mut needs = Self::default();
        let names = definition.dependencies.iter().filter_map(|name| name.parse().ok());
        for app in names.collect::<BTreeSet<AppName>>() {
            // A release that has not begun yet has no port yet, and will have it when it begins.
            match tx.latest_release(env, &app)? {
                None => needs.absent.push(app),
                Some(release) => {
                    let exposes = release.content.definition.expose.iter();
                    needs.given.extend(exposes.map(|one| prefix(&app, &one.name)));
                }
            }
        }
        Ok(needs)
    }

    /// Whether a variable of this name is given because an app is there.
    pub(super) fn gives(&self, variable: &str) -> bool {
        self.given.iter().any(|prefix| variable.starts_with(prefix))
    }

    /// What an instance has to do without, for the plan and the deployment's record.
    pub(super) fn words(&self, env: &EnvName, app: &AppName) -> Option<String> {
        let named: Vec<&str> = self.absent.iter().take(NAMED_MAX).map(AppName::as_str).collect();
        let more = match self.absent.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (is, its) = match self.absent.len() {
            0 => return None,
            1 => ("is", "its variables"),
            _ => ("are", "their variables"),
        };
        Some(format!(
            "{app} needs {}{more}, which {is} not deployed in {env}: {its} (SERVICE_…) are there once \
             that is done and {app} is restarted",
            named.join(", ")
        ))
    }

    /// What to type for the absent apps to which these variables belong.
    pub(super) fn remedies(&self, env: &EnvName, variables: &[String]) -> Vec<Remedy> {
        let wanted = |app: &&AppName| {
            let prefix = format!("SERVICE_{}_", upper(app.as_str()));
            variables.iter().any(|name| name.starts_with(&prefix))
        };
        let remedy = |app: &AppName| Remedy {
            label: format!("deploy {app} first"),
            command: format!("ark deploy {app} -e {env}"),
        };
        self.absent.iter().filter(wanted).take(NAMED_MAX).map(remedy).collect()
    }
}

fn prefix(app: &AppName, expose: &str) -> String {
    format!("SERVICE_{}_{}_", upper(app.as_str()), upper(expose))
}

#[cfg(test)]
impl Needs {
    /// One app that is there with its only entry, and others that are not.
    pub(super) fn example(there: (&AppName, &str), absent: &[&str]) -> Self {
        Self {
            given: [prefix(there.0, there.1)].into(),
            absent: absent.iter().map(|name| name.parse().expect("a name")).collect(),
        }
    }
}
