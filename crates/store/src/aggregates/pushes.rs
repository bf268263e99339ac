//! Push hooks, and the pushes that Git hosting services told of. A delivery is recorded once, and the
//! newest push of a hook takes the place of those that wait.

use ark_model::api::PushState;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::secrets::Sealed;
use crate::tx::{ReadTx, WriteTx, body, micros, page};

/// The most hooks.
const HOOKS_MAX: u64 = 1_000;
/// Pushes of a hook that are remembered, the newest. A delivery older than these is new again.
const PUSHES_KEPT: usize = 1_000;

/// A push hook as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushHookRecord {
    /// Its name.
    pub name: String,
    /// What is built: a path on the server's disk, or an address that `git clone` understands.
    pub repository: String,
    /// The branch whose pushes count.
    pub branch: String,
    /// What deliveries are signed with, sealed to the hook.
    pub secret: Sealed,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

/// A push as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRecord {
    /// The hook it was told to.
    pub hook: String,
    /// What the hosting service calls this delivery.
    pub delivery: String,
    /// The commit that is the branch's newest.
    pub commit: String,
    /// When it was told.
    pub received_at: Timestamp,
    /// How far it is.
    pub state: PushState,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

impl ReadTx {
    /// A hook.
    pub fn push_hook(&self, name: &str) -> Result<Option<PushHookRecord>, StoreError> {
        self.record("push hook", "SELECT body FROM push_hooks WHERE name = ?1", [name])
    }

    /// All hooks, by name: at most 1,000.
    pub fn push_hooks(&self) -> Result<Vec<PushHookRecord>, StoreError> {
        self.records("push hook", "SELECT body FROM push_hooks ORDER BY name", [])
    }

    /// A push.
    pub fn push(&self, hook: &str, delivery: &str) -> Result<Option<PushRecord>, StoreError> {
        let sql = "SELECT body FROM pushes WHERE hook = ?1 AND delivery = ?2";
        self.record("push", sql, [hook, delivery])
    }

    /// Pushes of a hook, newest first.
    pub fn pushes(&self, hook: &str, limit: usize) -> Result<Vec<PushRecord>, StoreError> {
        let sql = "SELECT body FROM pushes WHERE hook = ?1
            ORDER BY received_at DESC, delivery DESC LIMIT ?2";
        self.records("push", sql, params![hook, page(limit)])
    }

    /// The push that has waited longest, or that was begun and is not over.
    pub fn next_push(&self) -> Result<Option<PushRecord>, StoreError> {
        let sql = "SELECT body FROM pushes WHERE open = 1 ORDER BY received_at, delivery LIMIT 1";
        self.record("push", sql, [])
    }
}

impl WriteTx {
    /// Records a hook, or changes it.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub fn put_push_hook(&mut self, hook: &PushHookRecord) -> Result<(), StoreError> {
        let known = self.push_hook(&hook.name)?.is_some();
        if !known && self.number("SELECT count(*) FROM push_hooks", [])? >= HOOKS_MAX {
            return Err(StoreError::Limit { noun: "push hooks", max: HOOKS_MAX });
        }
        let sql = "INSERT INTO push_hooks (name, body) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET body = excluded.body";
        self.change(sql, params![hook.name, body("push hook", hook)?])?;
        Ok(())
    }

    /// Forgets a hook and its pushes. Answers whether there was one.
    pub fn delete_push_hook(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(self.change("DELETE FROM push_hooks WHERE name = ?1", [name])? > 0)
    }

    /// Records a push that waits. Those of its hook that wait give way to it: it has what they have.
    /// Answers `false`, and changes nothing, when this delivery is known.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the hook is gone.
    pub fn insert_push(&mut self, push: &PushRecord) -> Result<bool, StoreError> {
        if self.push(&push.hook, &push.delivery)?.is_some() {
            return Ok(false);
        }
        if self.push_hook(&push.hook)?.is_none() {
            return Err(StoreError::not_found("push hook", &push.hook));
        }
        for mut older in self.pushes(&push.hook, PUSHES_KEPT)? {
            if older.state == PushState::Queued {
                older.state = PushState::Superseded;
                older.ended_at = Some(push.received_at);
                self.update_push(&older)?;
            }
        }
        let sql = "INSERT INTO pushes (hook, delivery, received_at, open, body)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let (at, open) = (micros(push.received_at), push.state.is_open());
        let params = params![push.hook, push.delivery, at, open, body("push", push)?];
        self.insert("push", &push.delivery, sql, params)?;
        let sql = "DELETE FROM pushes WHERE hook = ?1 AND open = 0 AND delivery NOT IN
            (SELECT delivery FROM pushes WHERE hook = ?1 ORDER BY received_at DESC LIMIT ?2)";
        self.change(sql, params![push.hook, page(PUSHES_KEPT)])?;
        Ok(true)
    }

    /// Records how far a push is. One that is gone stays gone.
    pub fn update_push(&mut self, push: &PushRecord) -> Result<(), StoreError> {
        let sql = "UPDATE pushes SET open = ?3, body = ?4 WHERE hook = ?1 AND delivery = ?2";
        let open = push.state.is_open();
        self.change(sql, params![push.hook, push.delivery, open, body("push", push)?])?;
        Ok(())
    }
}
