//! Records that cannot be read: changed by hand, hit by a disk's fault, written by another version. Each
//! holds up what it belongs to; here they are named.

use ark_model::environment::{AppState, Environment};
use ark_model::instance::InstanceRecord;
use ark_model::{AppName, Deployment, EnvName, Release};
use rusqlite::Row;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::tx::{ReadTx, parse};

/// The most that are named.
pub(super) const DAMAGED_MAX: usize = 100;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Of what kind; also the name of its table, without its `s`.
    pub noun: &'static str,
    /// Which.
    pub key: String,
    /// Of which environment.
    pub env: String,
    /// Of which app; empty when it is the environment's own.
    pub app: String,
}

impl DamagedRecord {
    /// A row that begins with key, environment and app.
    pub(crate) fn of_app(noun: &'static str, row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { noun, key: row.get(0)?, env: row.get(1)?, app: row.get(2)? })
    }

    /// Whether it belongs to this app.
    pub fn is_of(&self, env: &EnvName, app: &AppName) -> bool {
        self.env == env.as_str() && self.app == app.as_str()
    }
}

impl ReadTx {
    /// Records of environments, apps, releases, deployments and living instances that cannot be read, at
    /// most 100. Reads all of them: for `ark doctor`, not for loops.
    pub fn damaged_records(&self) -> Result<Vec<DamagedRecord>, StoreError> {
        let mut all = Vec::new();
        let environments = "SELECT name, name, '', body FROM environments ORDER BY name";
        self.damaged_of::<Environment>("environment", environments, &mut all)?;
        let apps = "SELECT env || '/' || app, env, app, body FROM apps ORDER BY env, app";
        self.damaged_of::<AppState>("app", apps, &mut all)?;
        let deployments = "SELECT id, env, app, body FROM deployments ORDER BY seq";
        self.damaged_of::<Deployment>("deployment", deployments, &mut all)?;
        let instances = "SELECT id, env, app, body FROM instances WHERE alive = 1 ORDER BY seq";
        self.damaged_of::<InstanceRecord>("instance", instances, &mut all)?;
        let releases = "SELECT env || '/' || app || '/v' || number, env, app, body
            FROM releases ORDER BY env, app, number";
        self.damaged_of::<Release>("release", releases, &mut all)?;
        Ok(all)
    }

    fn damaged_of<T: DeserializeOwned>(
        &self,
        noun: &'static str,
        sql: &str,
        all: &mut Vec<DamagedRecord>,
    ) -> Result<(), StoreError> {
        let mut statement = self.conn().prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if all.len() >= DAMAGED_MAX {
                return Ok(());
            }
            let body = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
            if parse::<T>(noun, body).is_err() {
                all.push(DamagedRecord::of_app(noun, row)?);
            }
        }
        Ok(())
    }
}
