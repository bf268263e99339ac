//! Configuration of an app in an environment: versions, values, secrets.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, EnvName, ReleaseNumber};

/// The newest configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Its version: 0 before anything was set, then one more with each change.
    pub version: u64,
    /// All names, sorted.
    pub values: Vec<ConfigEntry>,
}

/// One name of the configuration. The value of a secret is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigEntry {
    /// The name of the variable.
    pub name: String,
    /// Its value; absent for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it is a secret.
    pub secret: bool,
    /// The version that set it.
    pub version: u64,
    /// When it was set.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

/// One change of the configuration, by names only. Newest first in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigVersionView {
    /// Its number.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Names that were set.
    pub set: Vec<String>,
    /// Names that were removed.
    pub unset: Vec<String>,
}

/// A change of the configuration: all of it or nothing. Takes effect with the next deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigPatch {
    /// Names with their new values.
    #[serde(default)]
    pub set: BTreeMap<String, ConfigValue>,
    /// Names to remove. A name that is not set is no error.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Refuses the change (409) unless this is the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_version: Option<u64>,
}

/// A value to be set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigValue {
    /// The value, at most 64 KiB, no NUL.
    pub value: String,
    /// Whether it is a secret: encrypted at rest, never shown.
    #[serde(default)]
    pub secret: bool,
}

impl fmt::Debug for ConfigValue {
    /// A request may be logged; a value that may be secret must not be in the line (I8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigValue").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// The whole environment of an instance that would start now, **with secret values**: for
/// `ark start -l`. Permanent environments give it to administrators only; each answer is an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedEnvironment {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// The live release, whose definition was used; absent when the app was never deployed, and
    /// then only configured values are given.
    pub release: Option<ReleaseNumber>,
    /// The version of the configuration.
    pub config_version: u64,
    /// All variables, sorted by name. `PORT` is not among them: the local run chooses it.
    pub variables: Vec<ResolvedVariable>,
}

/// Which variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VariablesQuery {
    /// Apps whose addresses are wanted, separated by commas, beside those that the live release
    /// names: the local launch file may name others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependencies: Option<String>,
}

/// One variable with its value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedVariable {
    /// Its name.
    pub name: String,
    /// Its value, even when it is a secret.
    pub value: String,
    /// Where the value comes from.
    pub source: VariableSource,
    /// Whether it must not be shown.
    pub secret: bool,
}

impl fmt::Debug for ResolvedVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedVariable")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VariableSource {
    /// `ark config set`.
    Config,
    /// `env_defaults` of the definition.
    Default,
    /// Given by Ark: `_DEPLOY_ENV`, `_APP_NAME`, ...
    Injected,
    /// The address of a dependency.
    Discovery,
}
