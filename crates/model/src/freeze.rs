//! Freeze windows: times at which an environment takes no deployments. What they mean is decided by
//! `ark-planner`'s `freeze`.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most windows of an environment.
pub const WINDOWS_MAX: usize = 50;
/// The longest a window may be open, in seconds: a year.
pub const SECONDS_MAX: u64 = 366 * 86_400;

/// Whether deployments are refused or allowed while a window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreezeEffect {
    /// Refused while it is open, whatever other windows say.
    Deny,
    /// Allowed while it is open; refused when no window that allows is.
    Allow,
}

/// A time that comes again: it opens when the cron expression says so, by the clock of the time
/// zone, and stays open for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    /// Its name within the environment: a letter, then letters, digits and `-`, at most 63.
    pub name: String,
    /// Whether it refuses or allows.
    pub effect: FreezeEffect,
    /// When it opens: five fields, minute, hour, day, month, day of the week (`0 17 * * FRI`).
    pub cron: String,
    /// How long it stays open, in seconds.
    pub seconds: u64,
    /// The IANA time zone whose clock the cron expression follows: `Europe/Berlin`.
    pub time_zone: String,
}

impl FreezeWindow {
    /// How long it stays open.
    pub fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// That no deployment begins now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frozen {
    /// The window that refuses; `None` when windows that allow exist and none is open.
    pub window: Option<String>,
    /// When deployments begin again; `None` when that is not within sight.
    pub until: Option<Timestamp>,
}
