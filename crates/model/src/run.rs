//! Runs: work that ends. A run of a `cron` app at its time, a run of a `job` when asked, a command
//! run once beside any app; with its attempts, and how it ended.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, EnvName, InstanceId, ReleaseNumber, RunId};
use crate::instance::{Exit, StartFailure};

/// The most arguments of a run.
pub const ARGS_MAX: usize = 1_000;
/// All arguments of a run together, in bytes.
pub const ARGS_BYTES_MAX: usize = 64 << 10;
/// The most times a run is tried again.
pub const RETRIES_MAX: u32 = 100;
/// How long one attempt may take when nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// The longest time one attempt may be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Why a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunCause {
    /// Its schedule fired.
    Schedule {
        /// The instant of the schedule.
        at: Timestamp,
        /// Whether that instant had been missed, so that the run makes up for it.
        caught_up: bool,
    },
    /// Somebody asked.
    Asked {
        /// Who.
        by: String,
    },
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It will be started: now, after a pause, or when others have ended.
    Waiting,
    /// Its instance is to be started by the engine.
    Starting,
    /// Its instance runs.
    Running,
    /// Its instance was told to end.
    Stopping,
    /// It is over; its outcome says how.
    Ended,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunOutcome {
    /// Exit code 0.
    Succeeded,
    /// The last attempt failed, and there are no more.
    Failed {
        /// How that attempt ended.
        end: AttemptEnd,
    },
    /// It was stopped.
    Stopped {
        /// By whom; `ark` for Ark itself.
        by: String,
        /// Why, in words.
        why: String,
    },
    /// A firing that did not run because of other runs.
    Skipped {
        /// Why, in words.
        why: String,
    },
    /// Firings that were missed and are left out.
    Missed {
        /// How many; 1,000 stands for that many or more.
        count: u32,
        /// The oldest of them.
        first: Timestamp,
    },
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Its process ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// The engine could not start it.
    NotStarted {
        /// Why.
        reason: StartFailure,
    },
    /// It took longer than it may, and was ended.
    TimedOut,
    /// It was told to end for a reason that the run's outcome gives.
    Stopped,
    /// The engine no longer knew it.
    Lost,
}

impl AttemptEnd {
    /// Whether it did what it was to do.
    pub fn succeeded(&self) -> bool {
        match self {
            Self::Exited { exit } => exit.code == Some(0),
            Self::NotStarted { .. } | Self::TimedOut | Self::Stopped | Self::Lost => false,
        }
    }

    /// `exit 3`, `timed out`, ...
    pub fn words(&self) -> String {
        match self {
            Self::Exited { exit } => exit.words(),
            Self::NotStarted { reason } => format!("not started: {}", reason.words()),
            Self::TimedOut => "timed out".to_owned(),
            Self::Stopped => "stopped".to_owned(),
            Self::Lost => "the engine lost it".to_owned(),
        }
    }
}

impl RunOutcome {
    /// In a few words, for people.
    pub fn words(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".to_owned(),
            Self::Failed { end } => format!("failed: {}", end.words()),
            Self::Stopped { by, why } => format!("stopped by {by}: {why}"),
            Self::Skipped { why } => format!("skipped: {why}"),
            Self::Missed { count, .. } => format!("{count} missed"),
        }
    }

    /// The exit code that stands for it: the process's own, 128 and the number for a signal, 124 for
    /// one that took too long, 125 for one that never ran or was lost, 130 for one that was stopped.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Succeeded => 0,
            Self::Failed { end: AttemptEnd::Exited { exit } } => match (exit.code, exit.signal) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => 125,
            },
            Self::Failed { end: AttemptEnd::TimedOut } => 124,
            Self::Failed { end: AttemptEnd::Stopped } | Self::Stopped { .. } => 130,
            Self::Failed { end: AttemptEnd::NotStarted { .. } | AttemptEnd::Lost }
            | Self::Skipped { .. }
            | Self::Missed { .. } => 125,
        }
    }
}

/// One try of a run, in an instance of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Its instance; the log is found by it.
    pub instance: InstanceId,
    /// When it was recorded, before the engine was asked.
    pub created_at: Timestamp,
    /// When the engine was first seen to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Why the engine has not started it yet: it does not answer, or did not do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// When it was told to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    /// When it was seen to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AttemptEnd>,
}

/// The wish that a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStop {
    /// Whose.
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

/// A run as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Which.
    pub id: RunId,
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// Its number, from 1 in each app and environment; people type it.
    pub number: u64,
    /// The release it runs, in all attempts.
    pub release: ReleaseNumber,
    /// Why it was made.
    pub cause: RunCause,
    /// What follows the command of a `cron` or `job` app; the whole command for any other.
    pub args: Vec<String>,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Whether it waits until no other run of its app goes on (`overlap: replace`).
    pub alone: bool,
    /// Where it stands.
    pub state: RunState,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// The next attempt begins no sooner.
    pub start_after: Option<Timestamp>,
    /// The wish that it ends.
    pub stop: Option<RunStop>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<RunOutcome>,
}

impl RunRecord {
    /// Whether it is not over.
    pub fn is_active(&self) -> bool {
        match self.state {
            RunState::Waiting | RunState::Starting | RunState::Running | RunState::Stopping => true,
            RunState::Ended => false,
        }
    }

    /// The attempt that goes on, when one does.
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.end.is_none())
    }

    /// Whether this is the instance of the attempt that goes on: how that ends is read off it, and
    /// nobody else may end or remove it.
    pub fn is_carried_by(&self, instance: InstanceId) -> bool {
        self.current().is_some_and(|attempt| attempt.instance == instance)
    }
}

/// What is remembered of a schedule: up to when its firings are decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronRecord {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Every firing up to here is decided.
    pub decided: Timestamp,
    /// The schedule and its zone as they were then: another one begins anew.
    pub schedule: String,
    /// Who paused it, and when.
    pub paused: Option<RunStop>,
}
