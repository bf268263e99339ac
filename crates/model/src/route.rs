//! Route tables: what the gateway is told. Whole snapshots, numbered; applied atomically.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, EnvName, Generation, InstanceId, ReleaseNumber};
use crate::instance::ProcessIdentity;
use crate::traffic::{Adaptive, Maintenance, RateLimit, RequestRule, RetryBudget, Split};

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
    /// Networks of containers on this host in which the discovery port is listened on as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discovery_networks: Vec<ContainerNetwork>,
    /// Limits and deadlines.
    #[serde(default)]
    pub limits: RouteLimits,
    /// How requests are split between two releases; `None` when all active targets are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Whether every request is answered with a maintenance page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// All targets: candidates, active and draining ones.
    pub targets: Vec<Target>,
}

/// A network of containers, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerNetwork {
    /// The host's own address in it: what its containers take for their gateway.
    pub address: Ipv4Addr,
    /// Leading bits that all its addresses share; 0 to 32.
    pub prefix: u8,
}

impl ContainerNetwork {
    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address.to_canonical() else { return false };
        let shift = 32 - u32::from(self.prefix.min(32));
        let network = |a: Ipv4Addr| u32::from(a).checked_shr(shift).unwrap_or(0);
        network(address) == network(self.address)
    }
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
#[serde(default)]
pub struct RouteLimits {
    /// From the last byte of the request to the first byte of the answer, in milliseconds; then
    /// 504. A long upload does not use it up; long answers and streams are not cut by it.
    pub response_header_ms: u64,
    /// Longest silence within a request or response body, in milliseconds. Upgraded connections
    /// are exempt.
    pub idle_body_ms: u64,
    /// How long a request may wait for a target to become ready before 503, in milliseconds.
    pub hold_ms: u64,
    /// Whether it waits even while there is no target at all: one that has ended is started again, or
    /// all instances are being replaced at once. Otherwise a route without targets is one of an app that is
    /// stopped or scaled to nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hold_empty: bool,
    /// Largest request body in bytes; then 413. 0 means no limit.
    pub body_bytes_max: u64,
    /// Least speed of a request body, in bytes a second, taken over 10 seconds or more in which the
    /// gateway waits for the client; then 408. 0 means none.
    pub body_bytes_per_s_min: u64,
    /// Most requests of the route inside the gateway at once, over all targets, streams left out;
    /// then 503. 0 means no limit.
    pub concurrency_max: u32,
    /// Whether and how the gateway finds the limit itself from the times of the answers: at most
    /// `concurrency_max` where that is set, else 1,000.
    pub adaptive: Adaptive,
    /// Requests of the whole route; then 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
    /// Requests of one client address; then 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_client: Option<RateLimit>,
    /// Requests that match any of these are an operator's: concurrency and rate limits do not
    /// concern them. Requests for a target's health path are let through in the same way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<RequestRule>,
    /// For how long a target that joins others is given less than its share, growing from 10 %, in
    /// milliseconds. 0 means not at all.
    pub slow_start_ms: u64,
    /// How many requests may be repeated on another target.
    pub retries: RetryBudget,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            response_header_ms: 60_000,
            idle_body_ms: 300_000,
            hold_ms: 0,
            hold_empty: false,
            body_bytes_max: 0,
            body_bytes_per_s_min: 64,
            concurrency_max: 0,
            adaptive: Adaptive::Off,
            rate: None,
            rate_per_client: None,
            operators: Vec::new(),
            slow_start_ms: 30_000,
            retries: RetryBudget::default(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_before_the_traffic_rules_still_reads() {
        let old = r#"{"generation": {"epoch": 1, "number": 2}, "routes": [{
            "key": {"env": "production", "app": "web", "expose": "http"}, "hosts": ["a.test"],
            "path": "/", "protocol": "http", "discovery_port": null, "limits":
            {"response_header_ms": 1, "idle_body_ms": 2, "hold_ms": 3, "body_bytes_max": 4},
            "targets": []}]}"#;
        let table: RouteTable = serde_json::from_str(old).unwrap();
        let limits = &table.routes[0].limits;
        assert_eq!((limits.body_bytes_max, limits.slow_start_ms), (4, 30_000));
        assert_eq!(limits.retries, RetryBudget { percent: 20, per_s: 10 });
        let new = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<RouteTable>(&new).unwrap(), table);
    }
}
