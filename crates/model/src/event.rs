//! Events: everything that happened, with who and why; immutable, numbered, followable.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, DeploymentId, EnvName, InstanceId};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An environment was created.
    EnvironmentCreated,
    /// An environment is being destroyed.
    EnvironmentDestroying,
    /// An environment is gone.
    EnvironmentDestroyed,
    /// Freeze windows of an environment were changed.
    EnvironmentFreeze,
    /// An environment was given an end, a later one, or none any more.
    EnvironmentLease,
    /// The lease of an environment is about to run out.
    EnvironmentLeaseEnding,
    /// A configuration version was written.
    ConfigChanged,
    /// A release was made.
    ReleaseCreated,
    /// A deployment was asked for.
    DeploymentQueued,
    /// A deployment began.
    DeploymentStarted,
    /// A deployment went a step forward.
    DeploymentProgress,
    /// All traffic is on the new side.
    DeploymentLive,
    /// A deployment goes back to the old release.
    DeploymentReturning,
    /// A deployment ended; the text says how.
    DeploymentFinished,
    /// The watch window after a deployment opened or ended; the text says how.
    DeploymentWatched,
    /// An instance is to be started.
    InstanceStarting,
    /// An instance passed its check.
    InstanceReady,
    /// An instance no longer passes its check.
    InstanceUnready,
    /// An instance leaves the table.
    InstanceDraining,
    /// An instance was stopped.
    InstanceStopped,
    /// An instance ended without being asked.
    InstanceLost,
    /// An app was scaled, restarted, stopped or started.
    AppChanged,
    /// A schedule was paused or goes on.
    CronChanged,
    /// A run was made, by its schedule or because somebody asked.
    RunCreated,
    /// A run's attempt began, or failed and is tried again.
    RunProgress,
    /// A run ended; the text says how.
    RunEnded,
    /// Firings of a schedule were skipped or missed.
    RunSkipped,
    /// A gateway came, went, or was replaced.
    Gateway,
    /// Configuration was read with its secret values, for a run on somebody's own machine.
    ConfigRead,
    /// A command was run beside an instance.
    Exec,
    /// A token was made or revoked.
    Token,
    /// A version of a workflow's definition was made.
    WorkflowDefined,
    /// Somebody has dealt with a workflow that failed.
    WorkflowResolved,
    /// A queue of workflows was given a priority.
    WorkflowQueueChanged,
    /// A schedule of a workflow was made, changed, paused, resumed or removed.
    ScheduleChanged,
    /// A schedule did not start its workflow although it was due; the text says why.
    ScheduleSkipped,
    /// The server started.
    ServerStarted,
    /// A registry or a push hook was set or removed, or a push was told of.
    ServerSet,
    /// A certificate was issued or renewed, or could not be got; the text says which host and why.
    Certificate,
}

impl EventKind {
    /// All kinds, for tables and filters.
    pub const ALL: [Self; 39] = [
        Self::EnvironmentCreated,
        Self::EnvironmentDestroying,
        Self::EnvironmentDestroyed,
        Self::EnvironmentFreeze,
        Self::EnvironmentLease,
        Self::EnvironmentLeaseEnding,
        Self::ConfigChanged,
        Self::ReleaseCreated,
        Self::DeploymentQueued,
        Self::DeploymentStarted,
        Self::DeploymentProgress,
        Self::DeploymentLive,
        Self::DeploymentReturning,
        Self::DeploymentFinished,
        Self::DeploymentWatched,
        Self::InstanceStarting,
        Self::InstanceReady,
        Self::InstanceUnready,
        Self::InstanceDraining,
        Self::InstanceStopped,
        Self::InstanceLost,
        Self::AppChanged,
        Self::CronChanged,
        Self::RunCreated,
        Self::RunProgress,
        Self::RunEnded,
        Self::RunSkipped,
        Self::Gateway,
        Self::ConfigRead,
        Self::Exec,
        Self::Token,
        Self::WorkflowDefined,
        Self::WorkflowResolved,
        Self::WorkflowQueueChanged,
        Self::ScheduleChanged,
        Self::ScheduleSkipped,
        Self::ServerStarted,
        Self::ServerSet,
        Self::Certificate,
    ];
}

/// Something that happened. Never holds a secret value (I8).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number: grows without gaps seen by a reader; the resume point of a follower.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: EventKind,
    /// Who caused it: the token's name, or `ark` for the control plane itself.
    pub by: String,
    /// The environment it concerns.
    pub env: Option<EnvName>,
    /// The app it concerns.
    pub app: Option<AppName>,
    /// The deployment it concerns.
    pub deployment: Option<DeploymentId>,
    /// The instance it concerns.
    pub instance: Option<InstanceId>,
    /// What happened and why, in words.
    pub text: String,
}

/// An event before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: EventKind,
    /// Who caused it.
    pub by: String,
    /// The environment it concerns.
    pub env: Option<EnvName>,
    /// The app it concerns.
    pub app: Option<AppName>,
    /// The deployment it concerns.
    pub deployment: Option<DeploymentId>,
    /// The instance it concerns.
    pub instance: Option<InstanceId>,
    /// What happened and why, in words.
    pub text: String,
}

impl NewEvent {
    /// An event that concerns no environment.
    pub fn of_server(
        kind: EventKind,
        by: impl Into<String>,
        at: Timestamp,
        text: impl Into<String>,
    ) -> Self {
        Self {
            at,
            kind,
            by: by.into(),
            env: None,
            app: None,
            deployment: None,
            instance: None,
            text: text.into(),
        }
    }
}
