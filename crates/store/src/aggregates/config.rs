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
use crate::tx::{ReadTx, WriteTx, body, page, signed, unsigned};

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

/// Who gave a value the form it has, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSetter {
    /// The version in which that was.
    pub version: u64,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

impl ReadTx {
    /// For each name of the newest version, who set it last: kept beside the versions, so that it
    /// costs as much as there are values, however often they were changed.
    pub fn config_setters(
        &self,
        env: &EnvName,
        app: &AppName,
    ) -> Result<BTreeMap<String, ConfigSetter>, StoreError> {
        let sql = "SELECT name, version, changed_at, changed_by FROM config_setters
            WHERE env = ?1 AND app = ?2";
        let rows: Vec<(String, i64, String, String)> =
            self.rows(sql, [env.as_str(), app.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let setter = |(name, version, at, by): (String, i64, String, String)| {
            let at = at.parse().map_err(|source: jiff::Error| StoreError::Record {
                noun: "the setter of a value",
                key: name.clone(),
                source: std::sync::Arc::new(serde::de::Error::custom(source)),
            })?;
            Ok((name, ConfigSetter { version: unsigned(version), at, by }))
        };
        rows.into_iter().map(setter).collect()
    }

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
        let sql = "INSERT INTO config_setters (env, app, name, version, changed_at, changed_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (env, app, name)
            DO UPDATE SET version = ?4, changed_at = ?5, changed_by = ?6";
        for name in &summary.set {
            let at = at.to_string();
            self.change(sql, params![env.as_str(), app.as_str(), name, version, at, by])?;
        }
        let sql = "DELETE FROM config_setters WHERE env = ?1 AND app = ?2 AND name = ?3";
        for name in &summary.unset {
            self.change(sql, params![env.as_str(), app.as_str(), name])?;
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::open_memory;
    use crate::migrate::{migrate, migrate_to};

    /// What was set before it was kept who set it is found in the history, once.
    #[test]
    fn setters_of_old_configurations_are_found_by_the_migration() {
        let mut conn = rusqlite::Connection::open_in_memory().expect("a database");
        migrate_to(&mut conn, 17).expect("an earlier program");
        let sql = r#"
            INSERT INTO environments (name, body) VALUES ('dev', '{}'), ('prod', '{}');
            INSERT INTO configs (env, app, version, summary, body) VALUES
            ('dev', 'web', 1, '{"version":1,"at":"2026-01-01T00:00:00Z","by":"ana","set":["A","B","C"],"unset":[]}',
             '{"A":{},"B":{},"C":{}}'),
            ('dev', 'web', 2, '{"version":2,"at":"2026-01-02T00:00:00.5Z","by":"bo","set":["B"],"unset":["C"]}',
             '{"A":{},"B":{}}'),
            ('prod', 'web', 1, '{"version":1,"at":"2026-01-03T00:00:00Z","by":"cy","set":[],"unset":[]}', '{}')"#;
        conn.execute_batch(sql).expect("its records");
        migrate(&mut conn).expect("this program");
        let tx = ReadTx::new(conn);
        let of = |env: &str| {
            let (env, app) = (env.parse().expect("a name"), "web".parse().expect("a name"));
            let found = tx.config_setters(&env, &app).expect("the read succeeds");
            found
                .into_iter()
                .map(|(name, setter)| {
                    format!("{name} {} {} {}", setter.version, setter.at, setter.by)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(of("dev"), ["A 1 2026-01-01T00:00:00Z ana", "B 2 2026-01-02T00:00:00.5Z bo"]);
        assert_eq!(of("prod"), Vec::<String>::new());
    }

    #[test]
    fn it_is_kept_who_set_what_is_there() {
        let mut tx = WriteTx::new(open_memory(Timestamp::UNIX_EPOCH).expect("a database"));
        tx.change("INSERT INTO environments (name, body) VALUES ('dev', '{}')", []).expect("it");
        let (env, app) = ("dev".parse().expect("a name"), "web".parse().expect("a name"));
        let at = |second: i64| Timestamp::new(second, 123_456_789).expect("a small number");
        let values = |pairs: &[(&str, &str)]| -> BTreeMap<String, ConfigValue> {
            let value = |(name, value): &(&str, &str)| {
                ((*name).to_owned(), ConfigValue::Plain { value: (*value).to_owned() })
            };
            pairs.iter().map(value).collect()
        };
        for (base, by, pairs) in [
            (0, "ana", &[("A", "1"), ("B", "1"), ("C", "1")][..]),
            (1, "bo", &[("A", "1"), ("B", "2"), ("C", "1")]),
            (2, "cy", &[("A", "1"), ("B", "2")]),
            (3, "di", &[("A", "1"), ("B", "2"), ("C", "1")]),
        ] {
            let made = at(base as i64 + 1);
            tx.insert_config(&env, &app, base, &values(pairs), made, by).expect("a version");
        }
        let setter = |version: u64, by: &str| ConfigSetter {
            version,
            at: at(version as i64),
            by: by.to_owned(),
        };
        let found = tx.config_setters(&env, &app).expect("the read succeeds");
        let expected = [("A", setter(1, "ana")), ("B", setter(2, "bo")), ("C", setter(4, "di"))];
        assert_eq!(found, expected.map(|(name, setter)| (name.to_owned(), setter)).into());
    }
}
