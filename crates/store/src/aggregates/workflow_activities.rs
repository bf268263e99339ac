//! Activities: the queues that workers poll.

use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

use super::workflow_executions::instant;

/// An activity as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRow {
    /// Its number, never given again: an activity that was deleted and made anew is another.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The region of the credentials that made it.
    pub region: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// JSON of whatever else belongs to it.
    pub body: String,
}

fn activity(row: &Row<'_>) -> rusqlite::Result<ActivityRow> {
    Ok(ActivityRow {
        id: unsigned(row.get(0)?),
        name: row.get(1)?,
        region: row.get(2)?,
        created_at: instant(row.get(3)?),
        body: row.get(4)?,
    })
}

impl ReadTx {
    /// The activity of that name.
    pub fn activity_by_name(&self, name: &str) -> Result<Option<ActivityRow>, StoreError> {
        let sql = "SELECT id, name, region, created_at, body FROM workflow_activities
            WHERE name = ?1";
        self.row(sql, [name], activity)
    }

    /// One activity.
    pub fn activity(&self, id: u64) -> Result<Option<ActivityRow>, StoreError> {
        let sql = "SELECT id, name, region, created_at, body FROM workflow_activities
            WHERE id = ?1";
        self.row(sql, [signed(id)], activity)
    }

    /// Activities with numbers above `after`, oldest first.
    pub fn activities(&self, after: u64, limit: usize) -> Result<Vec<ActivityRow>, StoreError> {
        let sql = "SELECT id, name, region, created_at, body FROM workflow_activities
            WHERE id > ?1 ORDER BY id LIMIT ?2";
        self.rows(sql, params![signed(after), page(limit)], activity)
    }

    /// How many activities there are.
    pub fn count_activities(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM workflow_activities", [])
    }
}

impl WriteTx {
    /// Deletes an activity. Nothing happens when there is none.
    pub fn delete_activity(&mut self, id: u64) -> Result<(), StoreError> {
        self.change("DELETE FROM workflow_activities WHERE id = ?1", [signed(id)])?;
        Ok(())
    }

    /// Adds an activity. Answers its number.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_activity(
        &mut self,
        name: &str,
        region: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO workflow_activities (name, region, created_at, body)
            VALUES (?1, ?2, ?3, ?4)";
        self.insert("activity", &name, sql, params![name, region, micros(now), body])?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }
}
