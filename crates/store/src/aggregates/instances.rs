//! Instances, recorded before the world is changed.

use ark_model::instance::InstanceRecord;
use ark_model::{AppName, EnvName, InstanceId};
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros, page, word};

/// The most instances alive at once: as many targets as a route table may have.
const ALIVE_MAX: u64 = ark_model::route::TARGETS_MAX as u64;

impl ReadTx {
    /// One instance, alive or not.
    pub fn instance(&self, id: InstanceId) -> Result<Option<InstanceRecord>, StoreError> {
        let sql = "SELECT body FROM instances WHERE id = ?1";
        self.record("instance", sql, [id.to_string()])
    }

    /// Instances of one app, stopped ones included, newest first.
    pub fn instances_of(
        &self,
        env: &EnvName,
        app: &AppName,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let sql = "SELECT body FROM instances WHERE env = ?1 AND app = ?2
            ORDER BY seq DESC LIMIT ?3";
        self.records("instance", sql, params![env.as_str(), app.as_str(), page(limit)])
    }

    /// Those of the newest `among` instances of one app that stopped after an instant, newest first.
    pub fn lately_stopped_of(
        &self,
        env: &EnvName,
        app: &AppName,
        among: usize,
        after: Timestamp,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let sql = "SELECT body FROM (
                SELECT seq, alive, stopped_at, body FROM instances WHERE env = ?1 AND app = ?2
                ORDER BY seq DESC LIMIT ?3)
            WHERE alive = 0 AND stopped_at > ?4 ORDER BY seq DESC";
        let params = params![env.as_str(), app.as_str(), page(among), micros(after)];
        self.records("instance", sql, params)
    }

    /// All instances of one app that may exist in the world, oldest first.
    pub fn alive_instances_of(
        &self,
        env: &EnvName,
        app: &AppName,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let sql = "SELECT body FROM instances WHERE env = ?1 AND app = ?2 AND alive = 1
            ORDER BY seq";
        self.records("instance", sql, [env.as_str(), app.as_str()])
    }

    /// How many instances of one environment may exist in the world.
    pub fn alive_count(&self, env: &EnvName) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM instances WHERE env = ?1 AND alive = 1";
        self.number(sql, [env.as_str()])
    }

    /// All instances that may exist in the world, by environment, app and age: at most 100,000.
    pub fn alive_instances(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        let sql = "SELECT body FROM instances WHERE alive = 1 ORDER BY env, app, seq";
        self.records("instance", sql, [])
    }
}

impl WriteTx {
    /// Records a new instance.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::NotFound`] without the environment,
    /// [`StoreError::Limit`].
    pub fn insert_instance(&mut self, instance: &InstanceRecord) -> Result<(), StoreError> {
        let alive = self.number("SELECT count(*) FROM instances WHERE alive = 1", [])?;
        if alive >= ALIVE_MAX {
            return Err(StoreError::Limit { noun: "instances alive", max: ALIVE_MAX });
        }
        let sql = "INSERT INTO instances (id, env, app, state, alive, stopped_at, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let id = instance.id.to_string();
        let params = params![
            id,
            instance.env.as_str(),
            instance.app.as_str(),
            word(instance.state),
            instance.state.is_alive(),
            instance.stopped_at.map(micros),
            body("instance", instance)?,
        ];
        self.insert("instance", &id, sql, params)
    }

    /// Replaces the record of an instance. Read it in the same closure.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn put_instance(&mut self, instance: &InstanceRecord) -> Result<(), StoreError> {
        let sql = "UPDATE instances SET state = ?2, alive = ?3, stopped_at = ?4, body = ?5
            WHERE id = ?1";
        let id = instance.id.to_string();
        let params = params![
            id,
            word(instance.state),
            instance.state.is_alive(),
            instance.stopped_at.map(micros),
            body("instance", instance)?,
        ];
        match self.change(sql, params)? {
            0 => Err(StoreError::not_found("instance", &id)),
            _ => Ok(()),
        }
    }

    /// Forgets an instance. Its ports stay held.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn delete_instance(&mut self, id: InstanceId) -> Result<(), StoreError> {
        match self.change("DELETE FROM instances WHERE id = ?1", [id.to_string()])? {
            0 => Err(StoreError::not_found("instance", &id)),
            _ => Ok(()),
        }
    }

    /// Forgets instances that had stopped before an instant, at most `limit`. Answers how many.
    pub fn prune_instances(
        &mut self,
        stopped_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM instances WHERE seq IN (
                SELECT seq FROM instances WHERE alive = 0 AND stopped_at < ?1 LIMIT ?2)";
        self.change(sql, params![micros(stopped_before), page(limit)])
    }
}
