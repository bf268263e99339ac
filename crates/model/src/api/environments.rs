//! Environments.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::{EnvKind, EnvLease, EnvState};
use crate::freeze::{FreezeEffect, FreezeWindow, Frozen};
use crate::ids::EnvName;

/// Creates an environment. One that exists with the same kind is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentCreate {
    /// Its name.
    pub name: EnvName,
    /// Its kind; when absent `production` is permanent and every other is for development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EnvKind>,
    /// Destroys it after so many seconds, unless the lease is renewed: 60 to 31,622,400. Only for
    /// environments for development. One that exists is given the lease anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
}

/// Gives a development environment an end, or a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeasePut {
    /// How long it is kept from now on, in seconds: 60 to 31,622,400.
    pub seconds: u64,
}

/// The shortest lease, in seconds.
pub const LEASE_SECONDS_MIN: u64 = 60;
/// The longest lease, in seconds: 366 days.
pub const LEASE_SECONDS_MAX: u64 = 366 * 86_400;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvName,
    /// Permanent or for development.
    pub kind: EnvKind,
    /// In use or being destroyed.
    pub state: EnvState,
    /// Who made it.
    pub owner: String,
    /// When.
    pub created_at: Timestamp,
    /// Apps it holds.
    pub apps: Vec<String>,
    /// Instances that may still run.
    pub instances: u32,
    /// Its freeze windows.
    #[serde(default)]
    pub freeze: Vec<FreezeWindow>,
    /// That no deployment begins now, and until when.
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// When it ends by itself; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<EnvLease>,
}

/// A freeze window; its name is in the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezePut {
    /// Whether it refuses or allows.
    pub effect: FreezeEffect,
    /// When it opens: five fields, minute, hour, day, month, day of the week.
    pub cron: String,
    /// How long it stays open, in seconds.
    pub seconds: u64,
    /// The IANA time zone whose clock the cron expression follows.
    pub time_zone: String,
}
