//! Activities: what workers of workflows do, and how busy those workers are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tasks of one activity that are counted; more are not.
pub const TASKS_COUNTED_MAX: u64 = 1_000;

/// An activity and its workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowActivity {
    /// Its name.
    pub name: String,
    /// Tasks that no worker has yet, counted up to 1,000.
    pub ready: u64,
    /// Tasks that workers have. Those that were handed out before the server's start are not known.
    pub working: u64,
    /// Workers that wait for a task.
    pub waiting: u64,
    /// The share of its workers that worked, 0 to 100, over the last minute: what workers report to
    /// CloudWatch as `ActivityActivePercent`. Absent while there are none.
    pub active_percent: Option<f64>,
}
