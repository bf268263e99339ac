//! Environments.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::{EnvKind, EnvLease, EnvState};
use crate::freeze::{FreezeEffect, FreezeWindow, Frozen};
use crate::ids::{AppName, EnvName};

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

/// Which apps need which: as their launch files say, and as calls through discovery ports were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependenciesView {
    /// From and to the apps of the environment, by the one that needs; one page of them.
    pub items: Vec<DependencyView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are on all pages together.
    #[serde(default)]
    pub total: u64,
    /// Since when calls are looked at: what was not seen was not seen since then. A week at most;
    /// absent as long as the server has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why calls of apps that are processes cannot be told apart here; absent when they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
}

/// One app needs another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependencyView {
    /// The environment of the one that needs.
    pub from_env: EnvName,
    /// The one that needs.
    pub from: AppName,
    /// The environment of the one that is needed.
    pub to_env: EnvName,
    /// The one that is needed.
    pub to: AppName,
    /// By what it is known.
    pub known: DependencyKnown,
    /// When a call was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When a call was last seen, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// What is to be said of it; absent when it is as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// By what it is known that one app needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyKnown {
    /// The launch file says it; no call was seen.
    Declared,
    /// Calls were seen; no launch file says it.
    Observed,
    /// Both.
    Both,
}

impl DependencyKnown {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Declared => "declared, not seen",
            Self::Observed => "seen, not declared",
            Self::Both => "declared and seen",
        }
    }
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
