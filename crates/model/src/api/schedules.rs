//! Schedules that start workflows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::Overlap;

/// A missed firing is made up for within a day, unless somebody says otherwise.
const CATCH_UP_SECONDS: u64 = 86_400;

const fn catch_up() -> u64 {
    CATCH_UP_SECONDS
}

fn utc() -> String {
    "UTC".to_owned()
}

fn empty_object() -> String {
    "{}".to_owned()
}

/// A schedule; its name is in the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchedulePut {
    /// What it starts: `NAME`, `NAME:VERSION` or `NAME:ALIAS`.
    pub workflow: String,
    /// When: five fields, minute, hour, day, month, day of the week.
    pub cron: String,
    /// The IANA time zone whose clock the fields follow; UTC when absent.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Input as JSON text; `{}` when absent. An object gets `_EXECUTION_NAME`.
    #[serde(default = "empty_object")]
    pub input: String,
    /// Whose workers do it: resource `x` is the activity `<namespace>--x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What a firing does while what an earlier one started still runs; `forbid` when absent.
    #[serde(default)]
    pub overlap: Overlap,
    /// Firings that were missed while no server ran are made up for by one start, if the newest of
    /// them is not older than so many seconds; 86,400 when absent, 0 leaves them out.
    #[serde(default = "catch_up")]
    pub catch_up_seconds: u64,
}

/// What a schedule did last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastFiring {
    /// The instant of the schedule.
    pub at: Timestamp,
    /// What it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_arn: Option<String>,
    /// Why it started nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// What it does, and when.
    pub schedule: SchedulePut,
    /// Whether it starts nothing until it is resumed.
    pub paused: bool,
    /// When it fires next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// What it did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastFiring>,
    /// When it was made.
    pub created_at: Timestamp,
}
