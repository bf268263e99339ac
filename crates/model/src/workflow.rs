//! Words of the workflow runtime that store, server and clients share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How executions of a state machine are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MachineType {
    /// Every step is recorded; up to one year.
    Standard,
    /// Only the outcome matters; up to five minutes.
    Express,
}

impl MachineType {
    /// The word of the wire and of the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Express => "EXPRESS",
        }
    }

    /// The way back from [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Standard, Self::Express].into_iter().find(|t| t.as_str() == word)
    }
}

/// Where an execution stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutionStatus {
    /// Not yet at its end.
    Running,
    /// Reached its end.
    Succeeded,
    /// An error nobody caught.
    Failed,
    /// Ran longer than it may.
    TimedOut,
    /// Stopped by somebody.
    Aborted,
    /// A child of a map run that waits to be redriven.
    PendingRedrive,
}

impl ExecutionStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Aborted,
        Self::PendingRedrive,
    ];

    /// The word of the wire and of the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
            Self::PendingRedrive => "PENDING_REDRIVE",
        }
    }

    /// The way back from [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether it will not change by itself any more.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Running | Self::PendingRedrive => false,
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Aborted => true,
        }
    }
}
