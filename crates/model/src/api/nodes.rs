//! The hosts of the cluster: how they are reached, and how they stand.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::NodeName;

/// How to reach a host's Docker daemon; replaces what was kept of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePut {
    /// `tcp://HOST:PORT`, spoken to over TLS, `ssh://[USER@]HOST[:PORT]`, or `unix:///PATH`.
    pub address: String,
    /// The host's private address, at which the gateway reaches its instances; needed when `address`
    /// does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reach: Option<IpAddr>,
    /// The certificate of the authority that signed the daemon's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Ark's own certificate, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its private key, in PEM. Kept encrypted, and never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Debug for NodePut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodePut").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a host is to be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeDraining {
    /// Nothing new is placed there, and what is there moves to other hosts.
    pub draining: bool,
}

/// What is removed with a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeRemoval {
    /// Also when instances are on record there: they count as lost, and what runs there goes on
    /// without Ark.
    #[serde(default)]
    pub force: bool,
}

/// A host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Its name; `local` is Ark's own.
    #[schemars(with = "String")]
    pub name: NodeName,
    /// How its daemon is reached; absent for Ark's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where the gateway reaches its instances; absent for Ark's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reach: Option<IpAddr>,
    /// Whether it is to be empty.
    pub draining: bool,
    /// Why nothing is known of what it runs, when it did not answer last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// Instances on record there.
    pub instances: u64,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
}

impl NodeView {
    /// `answers`, `draining`, `silent`.
    pub fn state(&self) -> &'static str {
        match (&self.silent, self.draining) {
            (Some(_), _) => "silent",
            (None, true) => "draining",
            (None, false) => "answers",
        }
    }
}
