//! Diagnoses: why a deployment failed, in words a person can act on.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::AppName;
use crate::instance::Exit;

/// How many things that were down stand with one diagnosis.
pub const DOWN_MAX: usize = 8;

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
    /// It failed while something that it needs was down, which may be why.
    DependencyDown {
        /// What was down: at least one, at most [`DOWN_MAX`].
        down: Vec<Down>,
        /// How it failed itself.
        failure: Box<Diagnosis>,
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

/// Something that an app needs and that was down when the app failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Down {
    /// An app of the same environment, of which no instance served.
    App {
        /// Which.
        app: AppName,
        /// Whether it is a data store.
        data_store: bool,
        /// What was seen of it: `its last instance ended with exit 1`.
        seen: String,
        /// Since when nothing of it served; `None` when nothing ever did, or that is not known.
        since: Option<Timestamp>,
    },
    /// The address that a variable of the app holds, where nothing accepted connections.
    Address {
        /// The variable.
        variable: String,
        /// `10.0.0.7:5432`; `None` when the variable is a secret.
        address: Option<String>,
        /// What became of the connection: `connection refused`.
        seen: String,
    },
}

impl Down {
    /// `api (its last instance ended with exit 1, nothing of it serves since …)`.
    pub fn words(&self) -> String {
        match self {
            Self::App { app, data_store, seen, since } => {
                let what = if *data_store { "data store " } else { "" };
                match since {
                    Some(at) => {
                        let at = at.strftime("%Y-%m-%d %H:%M:%S");
                        format!("{what}{app} ({seen}; nothing of it serves since {at} UTC)")
                    }
                    None => format!("{what}{app} ({seen})"),
                }
            }
            Self::Address { variable, address: Some(address), seen } => {
                format!("{address} of {variable} ({seen})")
            }
            Self::Address { variable, address: None, seen } => {
                format!("the address in {variable} ({seen})")
            }
        }
    }
}

impl Diagnosis {
    /// What happened itself, without what was down meanwhile.
    pub fn failure(&self) -> &Self {
        match self {
            Self::DependencyDown { failure, .. } => failure.failure(),
            itself => itself,
        }
    }

    /// What the app needs and was down meanwhile.
    pub fn down(&self) -> &[Down] {
        match self {
            Self::DependencyDown { down, .. } => down,
            _ => &[],
        }
    }

    /// The same failure, with what was down meanwhile, if anything was.
    #[must_use]
    pub fn while_down(self, mut down: Vec<Down>) -> Self {
        if down.is_empty() {
            return self;
        }
        down.truncate(DOWN_MAX);
        Self::DependencyDown { down, failure: Box::new(self) }
    }

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
            // What was down may be up at the next failure, which is the same all the same.
            Self::DependencyDown { failure, .. } => failure.key(),
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
            Self::DependencyDown { down, failure } => {
                let down: Vec<String> = down.iter().map(Down::words).collect();
                format!("dependency down: {}; {}", down.join(", "), failure.words())
            }
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
            Self::DependencyDown { failure, .. } => failure.log(),
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
            Self::DependencyDown { failure, .. } => failure.instance(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed() -> Diagnosis {
        let exit = Exit {
            began: None,
            code: Some(1),
            signal: None,
            out_of_memory: false,
            requested: false,
            at: Timestamp::UNIX_EPOCH,
        };
        Diagnosis::Crashed { instance: "web-7f3a9c".into(), exit, log: vec!["no api".into()] }
    }

    fn api(since: Option<Timestamp>) -> Down {
        let app = "api".parse().expect("a name");
        Down::App { app, data_store: false, seen: "stopped".into(), since }
    }

    #[test]
    fn what_was_down_comes_first_and_the_failure_stays_what_it_is() {
        let address = |address: Option<&str>| Down::Address {
            variable: "DATABASE_URL".into(),
            address: address.map(str::to_owned),
            seen: "connection refused".into(),
        };
        let end = "crashed: instance web-7f3a9c ended with exit 1";
        for (down, expect) in [
            (vec![], end.to_owned()),
            (vec![api(None)], format!("dependency down: api (stopped); {end}")),
            (
                vec![api(Some(Timestamp::UNIX_EPOCH))],
                format!(
                    "dependency down: api (stopped; nothing of it serves since 1970-01-01 \
                     00:00:00 UTC); {end}"
                ),
            ),
            (
                vec![address(Some("db:5432")), address(None)],
                format!(
                    "dependency down: db:5432 of DATABASE_URL (connection refused), \
                     the address in DATABASE_URL (connection refused); {end}"
                ),
            ),
        ] {
            let diagnosis = crashed().while_down(down.clone());
            assert_eq!(diagnosis.words(), expect);
            assert_eq!(diagnosis.down(), down);
            assert_eq!(diagnosis.failure(), &crashed());
            // With and without it, it is the same failure.
            assert_eq!(diagnosis.key(), crashed().key());
            assert_eq!(diagnosis.log(), crashed().log());
            assert_eq!(diagnosis.instance(), Some("web-7f3a9c"));
            let text = serde_json::to_string(&diagnosis).expect("json");
            assert_eq!(serde_json::from_str::<Diagnosis>(&text).expect("a diagnosis"), diagnosis);
        }
    }

    #[test]
    fn only_so_many_are_named() {
        let diagnosis = crashed().while_down(vec![api(None); 100]);
        assert_eq!(diagnosis.down().len(), DOWN_MAX);
    }
}
