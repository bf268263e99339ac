//! Push hooks: where Git hosting services tell of pushes, and what came of each.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a hook is for; replaces what was kept of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushHookPut {
    /// What is built: a path on the server's disk, or an address that `git clone` understands.
    pub repository: String,
    /// The branch whose pushes are deployed.
    pub branch: String,
    /// What the hosting service signs deliveries with, or sends as token: 16 to 256 characters. Kept
    /// encrypted, and never shown.
    pub secret: String,
}

impl fmt::Debug for PushHookPut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushHookPut").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// A push hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushHookView {
    /// Its name.
    pub name: String,
    /// Where the hosting service sends its events: a path of this server.
    pub path: String,
    /// What is built.
    pub repository: String,
    /// The branch whose pushes are deployed.
    pub branch: String,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PushState {
    /// It waits.
    Queued,
    /// It is being built and deployed.
    Running,
    /// `ark ci` ended.
    Ended {
        /// Its exit code; absent when a signal or its deadline ended it, or it could not be started.
        exit_code: Option<i32>,
    },
    /// A newer push came before its turn.
    Superseded,
}

impl PushState {
    /// Whether there is something left to do about it.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Queued | Self::Running => true,
            Self::Ended { .. } | Self::Superseded => false,
        }
    }
}

/// A push that was told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushView {
    /// What the hosting service calls this delivery.
    pub delivery: String,
    /// The commit.
    pub commit: String,
    /// When it was told.
    pub received_at: Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub state: PushState,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The file on the server's disk with what `ark ci` said.
    pub log: String,
}

/// The part of a push event that GitHub, Gitea and GitLab have in common; they send more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushEvent {
    /// `refs/heads/main`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit that it means now; zeros when it was deleted.
    pub after: String,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushAnswer {
    /// Whether it leads to anything.
    pub accepted: bool,
    /// Why not, or what.
    pub reason: String,
}
