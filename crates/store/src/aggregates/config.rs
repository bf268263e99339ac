//! Configuration: every change is a new version with who, when, and all values. Versions are never
//! changed, and deleted only with their environment: releases name secrets by version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ark_model::{AppName, EnvName};
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::secrets::Sealed;
use crate::tx::{ReadTx, WriteTx, body, page, signed};

/// The most values of one version.
const VALUES_MAX: usize = 2_000;
/// The largest version, in bytes of JSON.
const VERSION_BYTES_MAX: usize = 4 << 20;

/// A value as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConfigValue {
    /// Readable.
    Plain {
        /// The value.
        value: String,
    },
    /// Encrypted.
    Secret {
        /// The version in which it was set: it is sealed to it, and stays the same in later
        /// versions, so that an unchanged secret makes no new release.
        version: u64,
        /// The value, sealed.
        sealed: Sealed,
    },
}

impl fmt::Debug for ConfigValue {
    /// Without the value: configuration often holds what should have been a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain { value } => write!(f, "Plain({} bytes)", value.len()),
            Self::Secret { version, .. } => write!(f, "Secret(of version {version})"),
        }
    }
}

/// One version of an app's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Its number: from 1; 0 is the empty configuration before the first change.
    pub version: u64,
    /// All values by name.
    pub values: BTreeMap<String, ConfigValue>,
}

/// What changed with one version; names only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSummary {
    /// Its number.
    pub version: u64,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Names that are new or have another value.
    pub set: BTreeSet<String>,
    /// Names that are gone.
    pub unset: BTreeSet<String>,
}

impl ReadTx {
    /// The newest version, or version 0 without values.
    pub fn config(&self, env: &EnvName, app: &AppName) -> Result<ConfigVersion, StoreError> {
        let sql = "SELECT max(version) FROM configs WHERE env = ?1 AND app = ?2";
        let version = self.number(sql, [env.as_str(), app.as_str()])?;
        let config = self.config_version(env, app, version)?;
        Ok(config.unwrap_or_else(|| ConfigVersion { version: 0, values: BTreeMap::new() }))
    }

    /// One version.
    pub fn config_version(
        &self,
        env: &EnvName,
        app: &AppName,
        version: u64,
    ) -> Result<Option<ConfigVersion>, StoreError> {
        let sql = "SELECT body FROM configs WHERE env = ?1 AND app = ?2 AND version = ?3";
        let params = params![env.as_str(), app.as_str(), signed(version)];
        let values = self.record("configuration", sql, params)?;
        Ok(values.map(|values| ConfigVersion { version, values }))
    }

    /// What changed with the versions below `before`, newest first.
    pub fn config_history(
        &self,
        env: &EnvName,
        app: &AppName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ConfigSummary>, StoreError> {
        let sql = "SELECT summary FROM configs WHERE env = ?1 AND app = ?2 AND version < ?3
            ORDER BY version DESC LIMIT ?4";
        let before = before.map_or(i64::MAX, signed);
        self.records("configuration", sql, params![env.as_str(), app.as_str(), before, page(limit)])
    }
}

impl WriteTx {
    /// Makes `values` the next version after `base`, the version they were derived from. Secrets
    /// that are new are sealed to version `base + 1`. Answers what changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when `base` is not the newest version, [`StoreError::NotFound`]
    /// without the environment, [`StoreError::Limit`].
    pub fn insert_config(
        &mut self,
        env: &EnvName,
        app: &AppName,
        base: u64,
        values: &BTreeMap<String, ConfigValue>,
        at: Timestamp,
        by: &str,
    ) -> Result<ConfigSummary, StoreError> {
        if values.len() > VALUES_MAX {
            let max = VALUES_MAX as u64;
            return Err(StoreError::Limit { noun: "configuration values of one app", max });
        }
        let current = self.config(env, app)?;
        let key = format!("{env}/{app}");
        if current.version != base {
            return Err(StoreError::Conflict {
                noun: "configuration of",
                key,
                expected: format!("version {base}"),
                found: format!("version {}", current.version),
            });
        }
        let json = body("configuration", values)?;
        if json.len() > VERSION_BYTES_MAX {
            let max = VERSION_BYTES_MAX as u64;
            return Err(StoreError::Limit { noun: "bytes of an app's configuration", max });
        }
        let changed =
            |(name, value): &(&String, &ConfigValue)| current.values.get(*name) != Some(*value);
        let summary = ConfigSummary {
            version: base + 1,
            at,
            by: by.to_owned(),
            set: values.iter().filter(changed).map(|(name, _)| name.clone()).collect(),
            unset: current.values.into_keys().filter(|name| !values.contains_key(name)).collect(),
        };
        let sql = "INSERT INTO configs (env, app, version, summary, body)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let summary_json = body("configuration", &summary)?;
        let version = signed(summary.version);
        let params = params![env.as_str(), app.as_str(), version, summary_json, json];
        self.insert("configuration", &key, sql, params)?;
        Ok(summary)
    }
}
