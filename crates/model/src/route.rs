//! Route tables: what the gateway is told. Whole snapshots, numbered; applied atomically.

use std::net::SocketAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, EnvName, Generation, InstanceId, ReleaseNumber};
use crate::instance::ProcessIdentity;

/// The most routes in one table.
pub const ROUTES_MAX: usize = 20_000;
/// The most targets in one table.
pub const TARGETS_MAX: usize = 100_000;

/// Everything the gateway serves, as of one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its number. A table with a lower number than the one applied is refused.
    pub generation: Generation,
    /// All routes.
    pub routes: Vec<Route>,
}

/// How requests find one `expose` entry of one app in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Which.
    pub key: RouteKey,
    /// Host names without port, lower case. A request whose host matches none gets 404.
    pub hosts: Vec<String>,
    /// Path prefix, `/` for all. The longest matching prefix of a host wins; a prefix matches
    /// whole path segments only. It is not stripped.
    pub path: String,
    /// What the targets speak.
    pub protocol: RouteProtocol,
    /// A loopback port of its own on which every connection belongs to this route (discovery).
    pub discovery_port: Option<u16>,
    /// Limits and deadlines.
    pub limits: RouteLimits,
    /// All targets: candidates, active and draining ones.
    pub targets: Vec<Target>,
}

/// Which route: also the key of counters that belong to no target.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct RouteKey {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Name of the `expose` entry.
    pub expose: String,
}

/// What the targets of a route speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteProtocol {
    /// HTTP/1.1, with upgrade to WebSocket.
    Http,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// Bytes. Reached by the discovery port only.
    Tcp,
}

/// Limits and deadlines of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimits {
    /// From the last byte of the request to the first byte of the answer, in milliseconds; then
    /// 504. A long upload does not use it up; long answers and streams are not cut by it.
    pub response_header_ms: u64,
    /// Longest silence within a request or response body, in milliseconds. Upgraded connections
    /// are exempt.
    pub idle_body_ms: u64,
    /// How long a request may wait for a target to become ready before 503, in milliseconds.
    pub hold_ms: u64,
    /// Largest request body in bytes; then 413. 0 means no limit.
    pub body_bytes_max: u64,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self { response_header_ms: 60_000, idle_body_ms: 300_000, hold_ms: 0, body_bytes_max: 0 }
    }
}

/// How a target is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub check: ProbeCheck,
    /// Time between two probes, in milliseconds.
    pub interval_ms: u64,
    /// Time after which a probe has failed, in milliseconds.
    pub timeout_ms: u64,
    /// Successes in a row after which a target is ready.
    pub successes: u32,
    /// Failures in a row after which it no longer is.
    pub failures: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProbeCheck {
    /// `GET path`; any 2xx or 3xx is a success.
    Http {
        /// Path and query.
        path: String,
    },
    /// A connection is accepted.
    Tcp,
}

/// One instance behind a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Which instance.
    pub instance: InstanceId,
    /// Which release it runs; measurements are grouped by it.
    pub release: ReleaseNumber,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it stands.
    pub state: TargetState,
    /// How it is probed. Kept per target, not per route: two releases of one app may have
    /// different checks while one replaces the other.
    pub probe: Probe,
    /// The process that must be alive for the address to be trusted, where it is on this host: a
    /// reused port never receives the app's requests.
    pub process: Option<ProcessIdentity>,
}

/// Where a target stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TargetState {
    /// Probed, receives no traffic.
    Candidate,
    /// Receives traffic when ready.
    Active {
        /// Share relative to the other active targets; 100 is usual, 0 receives none.
        weight: u32,
    },
    /// Receives nothing new; what it has may end.
    Draining {
        /// When plain requests are cut.
        requests_until: Timestamp,
        /// When the last stream (WebSocket, SSE, upgraded connection) is closed; closing is spread
        /// over the time until then.
        streams_until: Timestamp,
    },
}
