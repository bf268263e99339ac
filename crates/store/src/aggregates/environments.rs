//! Environments. Deleting one deletes everything in it.

use ark_model::EnvName;
use ark_model::environment::Environment;
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros};

/// The most environments of one store.
const ENVIRONMENTS_MAX: u64 = 10_000;

impl ReadTx {
    /// The environment of that name.
    pub fn environment(&self, name: &EnvName) -> Result<Option<Environment>, StoreError> {
        let sql = "SELECT body FROM environments WHERE name = ?1";
        self.record("environment", sql, [name.as_str()])
    }

    /// All environments by name: at most 10,000.
    pub fn environments(&self) -> Result<Vec<Environment>, StoreError> {
        self.records("environment", "SELECT body FROM environments ORDER BY name", [])
    }
}

impl WriteTx {
    /// Records a new environment.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Limit`].
    pub fn insert_environment(&mut self, environment: &Environment) -> Result<(), StoreError> {
        if self.number("SELECT count(*) FROM environments", [])? >= ENVIRONMENTS_MAX {
            return Err(StoreError::Limit { noun: "environments", max: ENVIRONMENTS_MAX });
        }
        let sql = "INSERT INTO environments (name, body) VALUES (?1, ?2)";
        let name = &environment.name;
        let body = body("environment", environment)?;
        self.insert("environment", name, sql, params![name.as_str(), body])
    }

    /// Replaces the record of an environment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn put_environment(&mut self, environment: &Environment) -> Result<(), StoreError> {
        let sql = "UPDATE environments SET body = ?2 WHERE name = ?1";
        let name = &environment.name;
        let body = body("environment", environment)?;
        match self.change(sql, params![name.as_str(), body])? {
            0 => Err(StoreError::not_found("environment", name)),
            _ => Ok(()),
        }
    }

    /// Deletes an environment with its apps, releases, deployments, instances, configuration and
    /// traffic. Its ports count as released `now`; its events stay until they are pruned.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn delete_environment(&mut self, name: &EnvName, now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE ports SET released_at = ?2 WHERE released_at IS NULL
            AND (env = ?1 OR instance IN (SELECT id FROM instances WHERE env = ?1))";
        self.change(sql, params![name.as_str(), micros(now)])?;
        match self.change("DELETE FROM environments WHERE name = ?1", [name.as_str()])? {
            0 => Err(StoreError::not_found("environment", name)),
            _ => Ok(()),
        }
    }
}
