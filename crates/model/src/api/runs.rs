//! Runs of work that ends, and schedules.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{Missed, Overlap};
use crate::ids::{AppName, EnvName, ReleaseNumber};
use crate::run::{AttemptEnd, RunCause, RunOutcome, RunState};

/// A run that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// What follows the command of an app of type `cron` or `job`; the whole command, with its
    /// program, for any other. At most 1,000 words of 64 KiB together.
    #[serde(default)]
    pub args: Vec<String>,
    /// How often it is tried again after a failure, 0 to 100; what the definition says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Seconds one attempt may take, 1 to 2,592,000; what the definition says when absent, else a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// A wish that a run ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStopRequest {
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How much of what a run writes is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunLogsQuery {
    /// Whether the answer goes on until the run is over; it does when this is absent. Else it is what
    /// the run has written by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Only so many of the last lines, of all attempts together, at most 10000. Only with
    /// `follow=false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
}

/// One try of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// Its instance: `nightly-7f3a9c`.
    pub instance: String,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When the engine was first seen to run it.
    pub started_at: Option<Timestamp>,
    /// Why the engine has not started it yet: it does not answer, or did not do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// When it had ended.
    pub ended_at: Option<Timestamp>,
    /// How.
    pub end: Option<AttemptEnd>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// Its number, from 1 in each app and environment.
    pub number: u64,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// Why it was made.
    pub cause: RunCause,
    /// What was added to the command, or the command.
    pub args: Vec<String>,
    /// How often it is tried again.
    pub retries: u32,
    /// Seconds one attempt may take.
    pub timeout_seconds: u64,
    /// Where it stands.
    pub state: RunState,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// The next attempt begins no sooner.
    pub start_after: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<RunOutcome>,
    /// The exit code that stands for its outcome: the process's own, 128 and the number for a signal,
    /// 124 when it took too long, 125 when it never ran or was lost, 130 when it was stopped.
    pub exit_code: Option<i32>,
}

/// Which schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronsQuery {
    /// Of this environment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
}

/// An app that follows a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CronView {
    /// Its environment.
    pub env: EnvName,
    /// The app.
    pub app: AppName,
    /// The fields.
    pub schedule: String,
    /// The zone they are read in.
    pub timezone: String,
    /// What a firing does while a run goes on.
    pub overlap: Overlap,
    /// What becomes of missed firings.
    pub missed: Missed,
    /// When it fires next; absent while it is paused, while its app is stopped, and when it never
    /// will.
    pub next_at: Option<Timestamp>,
    /// Who paused it; absent when it is not paused.
    pub paused_by: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Whether its app is stopped.
    pub stopped: bool,
    /// Runs that go on.
    pub running: u32,
    /// The newest run, or record of firings that did not run.
    pub last: Option<RunView>,
}
