//! Ports of an app: how requests reach it, and how the gateway knows that it is ready.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, HeaderStep};
use crate::traffic::{Adaptive, Maintenance, RateLimit};

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, with upgrades.
    #[default]
    Http,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC, over HTTP/2 without TLS.
    Grpc,
    /// Bytes, passed on as they are.
    Tcp,
}

impl Protocol {
    /// The word used in files, discovery variables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a public load balancer in front spoke (old files).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerProtocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// Bytes.
    Tcp,
}

/// One port of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expose {
    /// Name used for discovery (`SERVICE_<APP>_<NAME>_HOST`); unique within the app.
    pub name: String,
    /// The port inside a container. On the process engine the instance gets its own by `PORT`.
    pub port: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Host names, beside the default one, that lead here.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefix that leads here; starts with `/`.
    #[serde(default = "root_path")]
    pub path: String,
    /// How the gateway knows that an instance is ready.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// Which requests the gateway lets in.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// That the gateway answers every request itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Port a proxy in front was bound to (old files); Ark does not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<u16>,
    /// Port of a public load balancer (old files); Ark does not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_port: Option<u16>,
    /// Protocol of that load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_proto: Option<LoadBalancerProtocol>,
}

fn root_path() -> String {
    "/".to_owned()
}

impl Expose {
    /// A port with every default: HTTP, path `/`, ready when a connection is accepted.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port,
            protocol: Protocol::default(),
            hosts: Vec::new(),
            path: root_path(),
            health_check: HealthCheck::default(),
            limits: Limits::default(),
            maintenance: None,
            bind: None,
            load_balancer_port: None,
            load_balancer_proto: None,
        }
    }
}

/// Which requests the gateway lets in; beyond these limits it answers itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of all clients together; then 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
    /// Of one client's address; then 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_client: Option<RateLimit>,
    /// Inside at once, streams left out; then 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How the gateway finds that number itself.
    #[serde(default, skip_serializing_if = "is_off")]
    pub adaptive: Adaptive,
    /// Requests that none of the limits above concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<HeaderStep>,
    /// Largest request body in MiB; then 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_mib: Option<u32>,
    /// From a request's end to the head of its answer; then 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_within: Option<DurationText>,
    /// How long an instance that joins others gets less than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<DurationText>,
}

fn is_off(adaptive: &Adaptive) -> bool {
    *adaptive == Adaptive::Off
}

impl Limits {
    /// Whether everything is let in.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the gateway asks of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HealthCheckKind {
    /// `GET path` answers 2xx.
    Http {
        /// Starts with `/`.
        path: String,
    },
    /// The port accepts a connection.
    Tcp,
}

/// A readiness check with its pace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthCheckKind,
    /// Time between two questions.
    #[serde(default = "default_interval")]
    pub interval: DurationText,
    /// Time an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: DurationText,
    /// Successes in a row that make an instance ready.
    #[serde(default = "default_successes")]
    pub successes: u32,
    /// Failures in a row that make it unready.
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// Whether the file has a `health_check` here; without one this is the default.
    #[serde(default)]
    pub declared: bool,
}

pub(super) const INTERVAL: DurationText = DurationText::from_secs(1);
pub(super) const TIMEOUT: DurationText = DurationText::from_secs(5);
pub(super) const SUCCESSES: u32 = 1;
pub(super) const FAILURES: u32 = 3;

fn default_interval() -> DurationText {
    INTERVAL
}

fn default_timeout() -> DurationText {
    TIMEOUT
}

fn default_successes() -> u32 {
    SUCCESSES
}

fn default_failures() -> u32 {
    FAILURES
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: HealthCheckKind::Tcp,
            interval: INTERVAL,
            timeout: TIMEOUT,
            successes: SUCCESSES,
            failures: FAILURES,
            declared: false,
        }
    }
}
