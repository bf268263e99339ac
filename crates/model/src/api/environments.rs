//! Environments.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::{EnvKind, EnvState};
use crate::ids::EnvName;

/// Creates an environment. One that exists with the same kind is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentCreate {
    /// Its name.
    pub name: EnvName,
    /// Its kind; when absent `production` is permanent and every other is for development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EnvKind>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvName,
    /// Permanent or for development.
    pub kind: EnvKind,
    /// In use or being destroyed.
    pub state: EnvState,
    /// Who made it.
    pub owner: String,
    /// When.
    pub created_at: Timestamp,
    /// Apps it holds.
    pub apps: Vec<String>,
    /// Instances that may still run.
    pub instances: u32,
}
