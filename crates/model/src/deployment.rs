//! Deployments: the act of making a release the live one. A closed set of states, one of which is
//! the last (I1). The moves between them are decided by `ark-planner`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::definition::Strategy;
use crate::diagnosis::Diagnosis;
use crate::exit::ExitCode;
use crate::hook::HookRun;
use crate::ids::{AppName, DeploymentId, EnvName, InstanceId, ReleaseNumber};
use crate::receipt::{Receipt, Side};
pub use crate::rollout::{Rollout, Watch};

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Waits for the running deployment of the same app and environment.
    Queued,
    /// Instances of the new release start and take over.
    Replacing,
    /// The new side runs beside the whole old one and gets its share of the traffic step by step
    /// (canary), or all of it at once (blue-green).
    Stepping,
    /// Live: all traffic is on the new side; the old side is kept, without traffic, for an instant
    /// way back.
    Keeping,
    /// Live: all traffic is on the new side; the old side drains and stops.
    Draining,
    /// Failed or aborted: the old release takes over again, the new side drains and stops.
    Returning,
    /// Last: the new release is live and the old side is gone.
    Succeeded,
    /// Last: the old release is live again and the new side is gone.
    RolledBack,
    /// Last: it failed, and there was no old release to go back to, or going back failed too.
    Failed,
    /// Last: a deadline passed with no old release to go back to.
    TimedOut,
    /// Last: a newer deployment took its place.
    Superseded,
}

impl DeploymentState {
    /// All states, for tables and tests.
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Replacing,
        Self::Stepping,
        Self::Keeping,
        Self::Draining,
        Self::Returning,
        Self::Succeeded,
        Self::RolledBack,
        Self::Failed,
        Self::TimedOut,
        Self::Superseded,
    ];

    /// The exit code of a command that waited for it; `None` while it is not over.
    pub fn exit_code(self) -> Option<ExitCode> {
        match self {
            Self::Queued
            | Self::Replacing
            | Self::Stepping
            | Self::Keeping
            | Self::Draining
            | Self::Returning => None,
            Self::Succeeded => Some(ExitCode::Done),
            Self::RolledBack => Some(ExitCode::RolledBack),
            Self::Failed => Some(ExitCode::Failed),
            Self::TimedOut => Some(ExitCode::TimedOut),
            Self::Superseded => Some(ExitCode::Conflict),
        }
    }

    /// Whether it is over.
    pub fn is_terminal(self) -> bool {
        self.exit_code().is_some()
    }
}

/// Why a deployment was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// `ark deploy`, `ark start`.
    Deploy,
    /// `ark rollback`.
    Rollback,
}

/// A deployment, as the store records it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Why it was asked for.
    pub kind: DeploymentKind,
    /// The release that is to become live.
    pub release: ReleaseNumber,
    /// The release that was live when it started, to which it returns when it fails.
    pub base: Option<ReleaseNumber>,
    /// How the new side takes over.
    pub strategy: Strategy,
    /// Where it stands.
    pub state: DeploymentState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why, when told.
    pub reason: Option<String>,
    /// When it left the queue.
    pub started_at: Option<Timestamp>,
    /// The last step forward: a ready instance, an acknowledgement, a drained instance.
    pub progress_at: Option<Timestamp>,
    /// When all traffic was on the new side.
    pub live_at: Option<Timestamp>,
    /// When it turned back.
    pub returning_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub diagnosis: Option<Diagnosis>,
    /// Failures of single instances of the new release so far, at most [`FAILURES_MAX`].
    pub failures: Vec<Diagnosis>,
    /// Who asked for its abortion, and why. Acted on by the next reconciliation.
    pub abort: Option<Abort>,
    /// How far it is, when it goes in steps (canary, blue-green).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Commands and calls around it, in the order in which they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// Its watch window, when that is over. While it is open it stands with the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Traffic counters at its start, per instance; what is not named here began at zero.
    pub baseline: BTreeMap<InstanceId, Side>,
    /// Counters of requests that reached no instance, at its start.
    pub baseline_routes: Side,
    /// What it did to traffic; from its end.
    pub receipt: Option<Receipt>,
    /// What a reader of the receipt must know.
    pub notes: Vec<String>,
}

impl Deployment {
    /// A deployment that was just asked for and waits for its turn.
    pub fn queued(
        id: DeploymentId,
        (env, app): (EnvName, AppName),
        kind: DeploymentKind,
        release: ReleaseNumber,
        strategy: Strategy,
        (created_by, created_at): (String, Timestamp),
    ) -> Self {
        Self {
            id,
            env,
            app,
            kind,
            release,
            base: None,
            strategy,
            state: DeploymentState::Queued,
            created_at,
            created_by,
            reason: None,
            started_at: None,
            progress_at: None,
            live_at: None,
            returning_at: None,
            finished_at: None,
            diagnosis: None,
            failures: Vec::new(),
            abort: None,
            rollout: None,
            hooks: Vec::new(),
            watch: None,
            baseline: BTreeMap::new(),
            baseline_routes: Side::default(),
            receipt: None,
            notes: Vec::new(),
        }
    }
}

/// The most failures recorded with a deployment.
pub const FAILURES_MAX: usize = 20;

/// A request to end a deployment before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Abort {
    /// Who.
    pub by: String,
    /// Why, when told.
    pub reason: Option<String>,
    /// Whether a newer deployment takes over at once, so that nothing is to be returned to first.
    pub superseded: bool,
}
