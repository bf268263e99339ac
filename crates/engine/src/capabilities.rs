//! What an engine promises of an instance, and whether it can hold that on this host. Read by plans
//! and `ark doctor`; it enforces nothing itself.

use serde::{Deserialize, Serialize};

/// What an engine can hold an instance to on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `StartSpec::memory_bytes` is a hard limit.
    pub memory_limit: Enforcement,
    /// `StartSpec::cpu_cores` is a hard limit.
    pub cpu_limit: Enforcement,
    /// `StartSpec::pids_max` is a hard limit.
    pub pids_limit: Enforcement,
    /// Whatever an instance started is found and ended with it, even if it tries to get away. When
    /// not enforced, it is still tried, by process group, session and environment.
    pub kill_everything: Enforcement,
    /// No app reads another app's files or memory, or Ark's own.
    pub app_isolation: Enforcement,
}

impl Capabilities {
    /// Each with its name as `ark doctor` shows it, in a fixed order.
    pub fn rows(&self) -> [(&'static str, &Enforcement); 5] {
        [
            ("memory limit", &self.memory_limit),
            ("cpu limit", &self.cpu_limit),
            ("process limit", &self.pids_limit),
            ("kill everything", &self.kill_everything),
            ("app isolation", &self.app_isolation),
        ]
    }
}

/// Whether a promise is held on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Enforcement {
    /// It is.
    Enforced,
    /// It is not.
    NotEnforced {
        /// Why, for people.
        reason: String,
    },
}

impl Enforcement {
    /// Whether it is held.
    pub fn is_enforced(&self) -> bool {
        match self {
            Self::Enforced => true,
            Self::NotEnforced { .. } => false,
        }
    }
}
