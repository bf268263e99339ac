//! Environments, and what is wanted of an app in one.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::freeze::FreezeWindow;
use crate::ids::{AppName, DeploymentId, EnvName, ReleaseNumber};
use crate::rollout::Watch;

/// Permanent environments are careful, development environments are quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvKind {
    /// `production`, and what was made with `--kind permanent`.
    Permanent,
    /// Everything else.
    Development,
}

impl EnvKind {
    /// What an environment is unless told otherwise: `production` is permanent.
    pub fn of_new(env: &EnvName) -> Self {
        if env.as_str() == "production" { Self::Permanent } else { Self::Development }
    }
}

/// Whether an environment is in use or being destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvState {
    /// In use.
    Active,
    /// Everything in it is being stopped; then it is removed.
    Destroying,
}

/// The end that a development environment was given. Nothing has one unless somebody asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvLease {
    /// How long it was given for, in seconds.
    pub seconds: u64,
    /// When it runs out: the environment is destroyed then.
    pub until: Timestamp,
    /// Who gave it or renewed it last.
    pub by: String,
    /// When an event said that it is about to run out. Without that nothing is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned_at: Option<Timestamp>,
}

/// A named place where apps run with their own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
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
    /// When it takes no deployments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeWindow>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<EnvLease>,
}

/// What is wanted of an app in an environment, and which release is believed good: the intent
/// that outlives every deployment. The engine's and the gateway's answers are held against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppState {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// The release that is to serve when no deployment runs.
    pub live: Option<ReleaseNumber>,
    /// The release before it that had succeeded.
    pub previous: Option<ReleaseNumber>,
    /// What `ark scale` last said; `None` means what the definition says.
    pub scale: Option<u32>,
    /// Whether the app was stopped by `ark stop`.
    pub stopped: bool,
    /// Instances recorded before this instant are replaced (`ark restart`).
    pub restart_before: Option<Timestamp>,
    /// The running deployment.
    pub running: Option<DeploymentId>,
    /// The waiting deployment: at most one, the newest.
    pub waiting: Option<DeploymentId>,
    /// Failed starts in a row outside deployments, for the backoff.
    pub failures: u32,
    /// No instance is started before this instant (backoff).
    pub start_after: Option<Timestamp>,
    /// The open watch window of the last deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Releases that completed their watch windows, newest last, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub good: Vec<ReleaseNumber>,
    /// The last change of this record.
    pub updated_at: Timestamp,
}

impl AppState {
    /// An app that nothing is wanted of yet.
    pub fn new(env: EnvName, app: AppName, now: Timestamp) -> Self {
        Self {
            env,
            app,
            live: None,
            previous: None,
            scale: None,
            stopped: false,
            restart_before: None,
            running: None,
            waiting: None,
            failures: 0,
            start_after: None,
            watch: None,
            good: Vec::new(),
            updated_at: now,
        }
    }
}
