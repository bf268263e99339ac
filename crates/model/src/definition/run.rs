//! How an app runs: the kind of work, its command, its schedule, how it is stopped.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;

/// The kind of work an app is. The cluster, not the app, chooses the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Serves requests on at least one port (`expose` is not empty).
    Service,
    /// Runs for ever without a port.
    Worker,
    /// One instance on every node of the cluster.
    Daemon,
    /// Runs to its end, by a schedule.
    Cron,
    /// Runs to its end once, when asked.
    Job,
    /// A function that an event source calls.
    Lambda,
}

impl RunKind {
    /// Whether its instances run to their end, started by runs and not kept running.
    pub const fn ends(self) -> bool {
        match self {
            Self::Cron | Self::Job => true,
            Self::Service | Self::Worker | Self::Daemon | Self::Lambda => false,
        }
    }

    /// The word used in files, output and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Worker => "worker",
            Self::Daemon => "daemon",
            Self::Cron => "cron",
            Self::Job => "job",
            Self::Lambda => "lambda",
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which engines can run the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EngineRequirement {
    /// Any engine for which an artifact exists.
    #[default]
    Any,
    /// Only the process engine (`run.type: process`).
    ProcessOnly,
}

/// CPU architecture of the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Architecture {
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm64,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

/// What a cron firing does while the one before it still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The new firing is skipped.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The running one is stopped first.
    Replace,
}

/// What happens to firings that were missed while nothing could run them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// One run makes up for all of them.
    #[default]
    RunOnce,
    /// They are left out.
    Skip,
}

/// The signal that asks an instance to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StopSignal {
    /// Ends politely; the default.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// As ^C does.
    #[serde(rename = "SIGINT")]
    Int,
    /// nginx: finish the requests, then end.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// Hang up.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// First signal of the app's own.
    #[serde(rename = "SIGUSR1")]
    Usr1,
    /// Second signal of the app's own.
    #[serde(rename = "SIGUSR2")]
    Usr2,
    /// Apache: finish the requests, then end.
    #[serde(rename = "SIGWINCH")]
    Winch,
    /// Ends at once, without a word.
    #[serde(rename = "SIGKILL")]
    Kill,
}

impl StopSignal {
    /// The name as signal(7) writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Winch => "SIGWINCH",
            Self::Kill => "SIGKILL",
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `run` section, with `run.type` resolved to a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The kind of work; for `docker`, `process` and an absent type it follows from `expose`.
    pub kind: RunKind,
    /// Which engines can run it.
    #[serde(default)]
    pub requires: EngineRequirement,
    /// Program and arguments; needed by the process engine and by `ark start -l`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Five cron fields or a name such as `@daily`; present exactly when the kind is `Cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name of the zone the schedule is read in; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What a firing does while the one before it still runs.
    #[serde(default)]
    pub overlap: Overlap,
    /// What happens to missed firings.
    #[serde(default)]
    pub missed: Missed,
    /// Each firing of a schedule is late by a fixed time below this, so that apps with the same
    /// schedule do not all begin at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<DurationText>,
    /// How often a run of a `cron` or `job` app is tried again after a failure.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// How long one attempt of a run may take; a day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// How long an instance of a `lambda` is kept after its last request; five minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_warm: Option<DurationText>,
    /// Whether a container may do what the host may; refused unless the server's policy allows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Whether a container may write to its image's files; refused where the server's policy says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable_root: bool,
    /// Linux capabilities of a container beside `NET_BIND_SERVICE`, as `NET_ADMIN`; those that reach
    /// beyond the container are refused unless the server's policy allows them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// The signal that asks an instance to end.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// Time between the stop signal and SIGKILL.
    #[serde(default = "default_stop_grace")]
    pub stop_grace: DurationText,
    /// CPU architecture, when the artifact exists for one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// `run.type` as it was written, when it is an old form (`workflow`, `lambda/us-west-1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_type: Option<String>,
}

/// SIGKILL follows the stop signal after this time unless the file says otherwise.
pub(super) const STOP_GRACE: DurationText = DurationText::from_secs(30);

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn default_stop_grace() -> DurationText {
    STOP_GRACE
}

impl Run {
    /// A run section without any key: a worker, or a service when the app has ports.
    pub fn of_kind(kind: RunKind) -> Self {
        Self {
            kind,
            requires: EngineRequirement::Any,
            command: None,
            schedule: None,
            timezone: None,
            overlap: Overlap::default(),
            missed: Missed::default(),
            jitter: None,
            retries: 0,
            timeout: None,
            keep_warm: None,
            privileged: false,
            writable_root: false,
            capabilities: BTreeSet::new(),
            stop_signal: StopSignal::default(),
            stop_grace: STOP_GRACE,
            architecture: None,
            legacy_type: None,
        }
    }
}
