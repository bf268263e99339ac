//! Receipts: what a deployment did to traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests of one side of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Answered whole, with any status below 500; streams that ended in order.
    pub served: u64,
    /// Answered with 500 or above, by the app or by the gateway on its behalf.
    pub failed: u64,
    /// Broken before their end by something other than the client.
    pub cut: u64,
    /// Attempts repeated on another instance without the client noticing.
    pub retried: u64,
    /// Given up by the client. Not a failure.
    pub client_gone: u64,
    /// Longest time a request waited in the gateway before an instance had accepted it, in
    /// milliseconds.
    pub longest_stall_ms: u64,
}

impl Side {
    /// Adds `other`; the longest stall is the longer of both.
    pub fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.cut += other.cut;
        self.retried += other.retried;
        self.client_gone += other.client_gone;
        self.longest_stall_ms = self.longest_stall_ms.max(other.longest_stall_ms);
    }

    /// What was counted since `base`. Counters only grow; should one have shrunk (a restored
    /// backup), the answer is 0 rather than nonsense. The stall is not cumulative and is kept.
    pub fn since(&self, base: &Self) -> Self {
        Self {
            served: self.served.saturating_sub(base.served),
            failed: self.failed.saturating_sub(base.failed),
            cut: self.cut.saturating_sub(base.cut),
            retried: self.retried.saturating_sub(base.retried),
            client_gone: self.client_gone.saturating_sub(base.client_gone),
            longest_stall_ms: self.longest_stall_ms,
        }
    }
}

/// What a deployment did to traffic, from its start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Both sides together, and requests that reached no instance.
    #[serde(flatten)]
    pub total: Side,
    /// Instances of every other release.
    pub old: Side,
    /// Instances of the deployed release.
    pub new: Side,
    /// What a reader must know to believe the numbers: a gateway that was killed, say, and what
    /// was in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
