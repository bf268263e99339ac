//! Queues of workflows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A queue; its name is in the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowQueuePut {
    /// Tasks of higher priority are handed to workers first; from -1,000 to 1,000. 0 is that of a
    /// queue of which nothing was said.
    pub priority: i16,
}

/// A queue with a priority of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowQueue {
    /// Its name: `queue` of the workflows in it.
    pub name: String,
    /// Tasks of higher priority are handed to workers first.
    pub priority: i16,
}
