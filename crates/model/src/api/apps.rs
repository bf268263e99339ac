//! Apps of an environment and their instances.

use std::net::SocketAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeploymentSummary, EnvironmentView, Page};
use crate::definition::{NotEnforced, RunKind, StoreProduct};
use crate::ids::{AppName, EnvName, InstanceId, NodeName, ReleaseNumber};
use crate::instance::{InstanceState, StopCause};

/// Which apps of an environment, or, where all are listed, which of each and how many environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppsQuery {
    /// Only those with this in their names; upper and lower case are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `next` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 500; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// An environment with its apps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentApps {
    /// The environment.
    pub environment: EnvironmentView,
    /// Its apps that were asked for, by name: the first 500 of them; `next` leads on in the list of the
    /// environment's apps.
    pub apps: Page<AppRow>,
}

/// An app at a glance: a row of `ark status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppRow {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// The kind of work; absent while nothing was deployed.
    pub kind: Option<RunKind>,
    /// The product, when it is a data store: `postgres`, `redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_store: Option<StoreProduct>,
    /// The live release.
    pub live: Option<ReleaseNumber>,
    /// Since when it is live.
    pub live_since: Option<Timestamp>,
    /// Instances wanted: what `ark scale` last said, else the definition; 0 when stopped.
    pub wanted: u32,
    /// Instances of any release that take traffic now (without ports: that do their work).
    pub ready: u32,
    /// Instances that may still run, draining and stopping ones included.
    pub alive: u32,
    /// Whether it was stopped by `ark stop`.
    pub stopped: bool,
    /// Instances that ended by themselves in the last hour.
    pub lost_1h: u32,
    /// Traffic; absent for work without ports and while nothing was measured.
    pub traffic: Option<TrafficView>,
    /// The deployment that ended last.
    pub last_deployment: Option<DeploymentSummary>,
    /// The deployment that runs now.
    pub running_deployment: Option<DeploymentSummary>,
    /// The deployment that waits for it.
    pub waiting_deployment: Option<DeploymentSummary>,
    /// What its definition asks for and the engine does not enforce.
    pub not_enforced: Vec<NotEnforced>,
}

/// Requests of an app, as the gateway measured them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficView {
    /// Requests per second, over the last seconds.
    pub requests_per_s: f64,
    /// Requests answered in the last hour, or since the server started if that is less.
    pub served_1h: u64,
    /// Requests failed or cut in the last hour.
    pub failed_1h: u64,
    /// 99 % of the answers took at most so long, in milliseconds; absent without requests.
    pub p99_ms: Option<u64>,
}

/// How traffic was over time. All that is kept is the last hour, or since the server started if that
/// is less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficQuery {
    /// Length of a slice in seconds: a multiple of 10 up to 3600; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice_s: Option<u32>,
    /// Only from the slice on that holds this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only up to the slice that holds this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Requests over time, in slices of equal length, oldest first, none left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficHistory {
    /// Length of a slice in seconds.
    pub slice_s: u32,
    /// All slices.
    pub slices: Vec<TrafficSlice>,
}

/// The requests that ended within one slice of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficSlice {
    /// When it begins.
    pub at: Timestamp,
    /// By release; without requests, empty.
    pub sides: Vec<SideSlice>,
    /// Half of all answers took at most so long, in milliseconds; absent without answers.
    pub p50_ms: Option<f64>,
    /// 95 % of all answers took at most so long, in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99 % of all answers took at most so long, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// What one release did in a slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SideSlice {
    /// Which; absent for requests that reached no instance, and in sums over apps.
    pub release: Option<ReleaseNumber>,
    /// Requests answered below 500.
    pub served: u64,
    /// Requests failed or cut.
    pub failed: u64,
    /// Half of its answers took at most so long, in milliseconds; absent without answers.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 95 % of its answers took at most so long, in milliseconds.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// 99 % of its answers took at most so long, in milliseconds; absent without answers.
    pub p99_ms: Option<f64>,
}

/// Where a port of an app is reached through the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Name of the `expose` entry.
    pub expose: String,
    /// `http://web.production.localhost:8080`.
    pub url: String,
}

/// An app with everything known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppDetail {
    /// The row of `ark status`.
    #[serde(flatten)]
    pub row: AppRow,
    /// Where it is reached; empty for work without ports and while no gateway is known.
    pub addresses: Vec<Address>,
    /// What `ark scale` last said.
    pub scale: Option<u32>,
    /// The release before the live one that had succeeded.
    pub previous: Option<ReleaseNumber>,
    /// Where a rollback without a named release leads now; absent when there is nothing to go back
    /// to.
    #[serde(default)]
    pub rollback_to: Option<ReleaseNumber>,
    /// Apps it needs.
    pub dependencies: Vec<String>,
    /// Failed starts in a row outside deployments.
    pub failures: u32,
    /// No instance is started before this instant (backoff).
    pub start_after: Option<Timestamp>,
    /// The version of its configuration; 0 when nothing was set.
    pub config_version: u64,
}

/// One instance: a row of `ark ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceRow {
    /// As people see and type it: `web-7f3a9c`.
    pub id: String,
    /// The whole id.
    pub uuid: InstanceId,
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// The host on which it is placed; `local` is Ark's own.
    #[serde(default)]
    #[schemars(with = "String")]
    pub node: NodeName,
    /// Where it stands.
    pub state: InstanceState,
    /// Its main process, where the engine runs on the server's machine.
    pub pid: Option<i32>,
    /// Where its first port listens.
    pub address: Option<SocketAddr>,
    /// Whether it passes its readiness check now. Work without ports is ready while active.
    pub ready: bool,
    /// What its last failed check got, when it is not ready.
    pub not_ready_because: Option<String>,
    /// All its ports.
    pub ports: Vec<PortView>,
    /// Requests and streams inside it now; absent while the gateway has not said.
    pub in_flight: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is in its state.
    pub since: Timestamp,
    /// Memory in use, in bytes, where it is known.
    pub memory_bytes: Option<u64>,
    /// Why it was told to go, or went.
    pub cause: Option<StopCause>,
    /// The same in words.
    pub cause_words: Option<String>,
}

/// A named port of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortView {
    /// Name of the `expose` entry.
    pub expose: String,
    /// Where the instance listens.
    pub address: SocketAddr,
}

/// Which instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstancesQuery {
    /// Also those that ended in the last hour (at most 100, newest first).
    #[serde(default)]
    pub ended: bool,
}

/// Sets the number of instances. It holds until the next `scale`, over deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// How many, 0 to 1000; `null` goes back to what the definition says.
    pub count: Option<u32>,
}
