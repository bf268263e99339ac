//! Instances: one running copy of a release, as recorded and as observed.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, EnvName, InstanceId, NodeName, ReleaseNumber};

/// A process, known by more than its pid: a pid is reused, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
}

/// How an instance's main process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Exit code, when it exited by itself.
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended it for its memory limit.
    pub out_of_memory: bool,
    /// Whether Ark had asked it to stop before it ended.
    pub requested: bool,
    /// When it had begun, as far as the engine knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it was seen to have ended.
    pub at: Timestamp,
}

impl Exit {
    /// `exit 1`, `signal 9 (SIGKILL)`, `out of memory`.
    pub fn words(&self) -> String {
        match (self.out_of_memory, self.code, self.signal) {
            (true, ..) => "out of memory".to_owned(),
            (false, Some(code), _) => format!("exit {code}"),
            (false, None, Some(signal)) => match signal_name(signal) {
                Some(name) => format!("signal {signal} ({name})"),
                None => format!("signal {signal}"),
            },
            (false, None, None) => "ended, status unknown".to_owned(),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// What an engine says of an instance. Observed anew each time; never believed from memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EngineState {
    /// Being prepared: files copied, image pulled.
    Preparing,
    /// Its main process runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// The main process, where the engine runs on this host.
        process: Option<ProcessIdentity>,
        /// Where its ports are reached, when it has an address of its own; else they are where
        /// they were given to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// It was asked to stop and has not ended yet.
    Stopping {
        /// When it was asked.
        since: Timestamp,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It could not be started at all.
    StartFailed {
        /// Why, for people.
        reason: StartFailure,
    },
    /// The engine knows nothing of it.
    Gone,
}

/// Why an engine could not start an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StartFailure {
    /// A blob of the artifact is missing or damaged, or the image cannot be had.
    ArtifactMissing {
        /// What exactly.
        detail: String,
    },
    /// The command does not exist or may not be executed.
    CommandNotFound {
        /// The command and the system's reason.
        detail: String,
    },
    /// The port is taken by a process that is not Ark's.
    PortTaken {
        /// Which.
        port: u16,
    },
    /// No memory, disk, process or port is left.
    NoCapacity {
        /// Of what.
        detail: String,
    },
    /// Anything else.
    Other {
        /// The reason in words.
        detail: String,
    },
}

impl StartFailure {
    /// The reason in words.
    pub fn words(&self) -> String {
        match self {
            Self::ArtifactMissing { detail } => format!("artifact missing: {detail}"),
            Self::CommandNotFound { detail } => format!("command not found: {detail}"),
            Self::PortTaken { port } => format!("port {port} is taken by another process"),
            Self::NoCapacity { detail } => format!("no capacity: {detail}"),
            Self::Other { detail } => detail.clone(),
        }
    }
}

/// What an engine answers when it is asked what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// Which.
    pub id: InstanceId,
    /// Its environment, as labelled at its start.
    pub env: EnvName,
    /// Its app, as labelled at its start.
    pub app: AppName,
    /// Its release, as labelled at its start.
    pub release: ReleaseNumber,
    /// What the engine saw.
    pub state: EngineState,
}

/// A named port of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortBinding {
    /// The `expose` entry's name.
    pub expose: String,
    /// Where the instance listens.
    pub address: SocketAddr,
}

/// Where an instance stands in its life. Recorded before the world is changed, so that whoever
/// reads the record after a crash knows what may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Recorded, to be started by the engine; not yet ready. Receives no traffic.
    Starting,
    /// Receives traffic (or, without ports, does its work).
    Active,
    /// Out of the table; its requests end.
    Draining,
    /// The engine was told to stop it.
    Stopping,
    /// Ended. Kept for history.
    Stopped,
}

impl InstanceState {
    /// Whether the instance may still exist in the world.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Starting | Self::Active | Self::Draining | Self::Stopping => true,
            Self::Stopped => false,
        }
    }
}

/// Why an instance was told to go, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StopCause {
    /// Replaced by another release or restarted.
    Replaced,
    /// Its deployment went back to the old release.
    Returned,
    /// Fewer instances were asked for.
    ScaledDown,
    /// The app or environment was stopped or destroyed.
    Asked,
    /// It ended by itself.
    Exited {
        /// How.
        exit: Exit,
    },
    /// The engine could not start it.
    StartFailed {
        /// Why.
        reason: StartFailure,
    },
    /// It did not become ready in time.
    NeverReady {
        /// What the check saw last.
        last: String,
    },
    /// The engine no longer knew it.
    Vanished,
}

/// An instance as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Which.
    pub id: InstanceId,
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// The host on which it is placed; never changes.
    #[serde(default, skip_serializing_if = "NodeName::is_local")]
    pub node: NodeName,
    /// Where it stands.
    pub state: InstanceState,
    /// Its ports; the first is the one of the first `expose` entry. Empty for work without ports.
    pub ports: Vec<PortBinding>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When the engine was first seen to run it. Before that it is in no route table: what answers
    /// at its address could be anyone.
    pub running_since: Option<Timestamp>,
    /// When it became `Active`.
    pub active_at: Option<Timestamp>,
    /// When it became `Draining`.
    pub draining_at: Option<Timestamp>,
    /// When the engine was first told to stop it.
    pub stopping_at: Option<Timestamp>,
    /// When it had ended.
    pub stopped_at: Option<Timestamp>,
    /// Its main process as last observed, where the engine runs on this host.
    pub process: Option<ProcessIdentity>,
    /// Why it was told to go, or went.
    pub cause: Option<StopCause>,
}
