//! Diagnoses: why a deployment failed, in words a person can act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::instance::Exit;

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Diagnosis {
    /// An instance ended by itself.
    Crashed {
        /// As people see it: `web-7f3a9c`.
        instance: String,
        /// How.
        exit: Exit,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// An instance did not pass its check in time.
    NeverReady {
        /// As people see it.
        instance: String,
        /// What the check saw last.
        last: String,
        /// For how long it was tried, in milliseconds.
        waited_ms: u64,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// The artifact cannot be had.
    ArtifactMissing {
        /// What exactly.
        detail: String,
    },
    /// The command cannot be executed.
    CommandNotFound {
        /// The command and the system's reason.
        detail: String,
    },
    /// A port is taken by a process that is not Ark's.
    PortTaken {
        /// Which.
        port: u16,
    },
    /// Nothing is left to run it with.
    NoCapacity {
        /// Of what.
        detail: String,
    },
    /// The engine could not start it, for another reason.
    StartFailed {
        /// The reason.
        detail: String,
    },
    /// A hook failed, or took too long.
    HookFailed {
        /// Which: `pre_deploy (./migrate)`.
        hook: String,
        /// How: `exit 1`, `no SUCCEEDED within 10 m`.
        how: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// No step forward within the progress deadline.
    NoProgress {
        /// For how long, in milliseconds.
        waited_ms: u64,
        /// What it was waiting for.
        waiting_for: String,
    },
    /// The total deadline passed.
    DeadlinePassed {
        /// The deadline, in milliseconds.
        deadline_ms: u64,
        /// What it was waiting for.
        waiting_for: String,
    },
    /// The judge found the new side worse.
    Judged {
        /// The reasons, in words and numbers.
        reasons: Vec<String>,
    },
    /// A person was waited for, and nobody came.
    NobodyAnswered {
        /// For how long, in milliseconds.
        waited_ms: u64,
        /// What a person was asked.
        waiting_for: String,
    },
    /// A person or a newer deployment ended it.
    Aborted {
        /// Who.
        by: String,
        /// Why, when told.
        reason: Option<String>,
    },
}

impl Diagnosis {
    /// Two failures with the same key are the same failure: two of them end a deployment.
    pub fn key(&self) -> String {
        match self {
            Self::Crashed { exit, .. } => format!("crashed: {}", exit.words()),
            Self::NeverReady { .. } => "never ready".to_owned(),
            Self::ArtifactMissing { .. } => "artifact missing".to_owned(),
            Self::CommandNotFound { .. } => "command not found".to_owned(),
            Self::PortTaken { .. } => "port taken".to_owned(),
            Self::NoCapacity { .. } => "no capacity".to_owned(),
            Self::StartFailed { .. } => "start failed".to_owned(),
            Self::HookFailed { .. } => "hook failed".to_owned(),
            Self::NoProgress { .. } => "no progress".to_owned(),
            Self::DeadlinePassed { .. } => "deadline passed".to_owned(),
            Self::Judged { .. } => "judged".to_owned(),
            Self::NobodyAnswered { .. } => "nobody answered".to_owned(),
            Self::Aborted { .. } => "aborted".to_owned(),
        }
    }

    /// One line: `crashed: web-7f3a9c exit 1`.
    pub fn words(&self) -> String {
        match self {
            Self::Crashed { instance, exit, .. } => {
                format!("crashed: instance {instance} ended with {}", exit.words())
            }
            Self::NeverReady { instance, last, waited_ms, .. } => {
                format!("never ready: instance {instance}, {last}, for {}", seconds(*waited_ms))
            }
            Self::ArtifactMissing { detail } => format!("artifact missing: {detail}"),
            Self::CommandNotFound { detail } => format!("command not found: {detail}"),
            Self::PortTaken { port } => {
                format!("port taken: {port}, by a process that is not Ark's")
            }
            Self::NoCapacity { detail } => format!("no capacity: {detail}"),
            Self::StartFailed { detail } => format!("start failed: {detail}"),
            Self::HookFailed { hook, how, .. } => format!("hook failed: {hook}: {how}"),
            Self::NoProgress { waited_ms, waiting_for } => {
                format!("no progress for {}: waiting for {waiting_for}", seconds(*waited_ms))
            }
            Self::DeadlinePassed { deadline_ms, waiting_for } => {
                format!("deadline of {} passed: waiting for {waiting_for}", seconds(*deadline_ms))
            }
            Self::Judged { reasons } => format!("the judge: {}", reasons.join("; ")),
            Self::NobodyAnswered { waited_ms, waiting_for } => {
                format!("nobody answered for {} h: {waiting_for}", waited_ms / 3_600_000)
            }
            Self::Aborted { by, reason: Some(reason) } => format!("aborted by {by}: {reason}"),
            Self::Aborted { by, reason: None } => format!("aborted by {by}"),
        }
    }

    /// The log lines that belong to it.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Crashed { log, .. }
            | Self::NeverReady { log, .. }
            | Self::HookFailed { log, .. } => log,
            Self::ArtifactMissing { .. }
            | Self::CommandNotFound { .. }
            | Self::PortTaken { .. }
            | Self::NoCapacity { .. }
            | Self::StartFailed { .. }
            | Self::NoProgress { .. }
            | Self::DeadlinePassed { .. }
            | Self::Judged { .. }
            | Self::NobodyAnswered { .. }
            | Self::Aborted { .. } => &[],
        }
    }

    /// The instance it speaks of, as people see it.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Crashed { instance, .. } | Self::NeverReady { instance, .. } => Some(instance),
            Self::HookFailed { .. }
            | Self::ArtifactMissing { .. }
            | Self::CommandNotFound { .. }
            | Self::PortTaken { .. }
            | Self::NoCapacity { .. }
            | Self::StartFailed { .. }
            | Self::NoProgress { .. }
            | Self::DeadlinePassed { .. }
            | Self::Judged { .. }
            | Self::NobodyAnswered { .. }
            | Self::Aborted { .. } => None,
        }
    }
}

fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        _ => format!("{} m", ms / 60_000),
    }
}
