//! The server itself: what it is, whether it is well, how it ends.

use std::net::SocketAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{BootId, Generation, NodeName};

/// The answer of `GET /healthz`, which needs no token and tells nothing but that the server lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Always `ok`; a server that is not well does not answer 200.
    pub status: String,
}

/// What the server is and what it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerInfo {
    /// Version of the server.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its data directory, on the server's machine.
    pub data_dir: String,
    /// Where the API listens: `http://127.0.0.1:7070`.
    pub api: String,
    /// Where the gateway accepts requests for apps: `http://127.0.0.1:8080`. The first one is used
    /// for the addresses of apps. Empty while no gateway is connected.
    pub http: Vec<String>,
    /// The gateway.
    pub gateway: GatewayView,
    /// The engine.
    pub engine: EngineView,
    /// Hosts of the cluster that did not answer when they were last asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub silent_hosts: Vec<NodeName>,
    /// Milliseconds since 1970 at which the store was created.
    pub store_epoch: u64,
}

/// What the server knows of its gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayView {
    /// Whether the server is connected to it now. It serves without the server, too.
    pub connected: bool,
    /// Its current life.
    pub boot: Option<BootId>,
    /// Its process id.
    pub pid: Option<i32>,
    /// Since when it is connected, or is not.
    pub since: Option<Timestamp>,
    /// The addresses on which it accepts requests.
    pub http: Vec<SocketAddr>,
    /// The route table it has in force.
    pub applied: Option<Generation>,
    /// Why it refused the last route table, when it did; the one before stays in force.
    pub refused: Option<String>,
}

/// The engine that runs the instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineView {
    /// `process`, `docker`, `fake`.
    pub kind: String,
    /// What it can and cannot hold instances to.
    pub capabilities: Vec<Capability>,
}

/// One thing an engine enforces, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capability {
    /// `memory-limit`, `cpu-limit`, `isolation`, ...
    pub name: String,
    /// Whether it is enforced here.
    pub enforced: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// Asks the server to end (`ark down`). It answers first, then ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Whether apps and gateway are stopped too; otherwise they go on without the server.
    #[serde(default)]
    pub apps: bool,
}

/// How a check went.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// As it should be.
    Ok,
    /// It works, with less than it could have.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorCheck {
    /// What was looked at: `store`, `gateway`, `memory limits`.
    pub name: String,
    /// How it went.
    pub outcome: CheckOutcome,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorReport {
    /// All checks.
    pub checks: Vec<DoctorCheck>,
    /// The worst outcome.
    pub outcome: CheckOutcome,
}

/// What `gc` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GcReport {
    /// Releases beyond the history that is kept.
    pub releases: u64,
    /// Files no kept release needs.
    pub blobs: u64,
    /// Records and folders of ended instances.
    pub instances: u64,
    /// Images that Ark built and no kept release needs.
    #[serde(default)]
    pub images: u64,
    /// Bytes freed, images not counted: they share layers.
    pub bytes: u64,
    /// Which engines could not be asked, why, and what therefore stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<String>,
}
