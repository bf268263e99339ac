//! Schedules that start executions.

use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page};

use super::workflow_executions::instant;

/// A schedule as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// When it starts an execution next; `None` while it is paused or never will again.
    pub next_at: Option<Timestamp>,
    /// JSON of whatever else belongs to it.
    pub body: String,
}

fn schedule(row: &rusqlite::Row<'_>) -> rusqlite::Result<ScheduleRow> {
    Ok(ScheduleRow {
        name: row.get(0)?,
        next_at: row.get::<_, Option<i64>>(1)?.map(instant),
        body: row.get(2)?,
    })
}

impl ReadTx {
    /// One schedule.
    pub fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        let sql = "SELECT name, next_at, body FROM workflow_schedules WHERE name = ?1";
        self.row(sql, [name], schedule)
    }

    /// Schedules by name, those after `after`.
    pub fn schedules(&self, after: &str, limit: usize) -> Result<Vec<ScheduleRow>, StoreError> {
        let sql = "SELECT name, next_at, body FROM workflow_schedules WHERE name > ?1
            ORDER BY name LIMIT ?2";
        self.rows(sql, params![after, page(limit)], schedule)
    }

    /// How many schedules there are.
    pub fn count_schedules(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM workflow_schedules", [])
    }

    /// Schedules due at an instant, the longest due first.
    pub fn due_schedules(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let sql = "SELECT name, next_at, body FROM workflow_schedules WHERE next_at <= ?1
            ORDER BY next_at LIMIT ?2";
        self.rows(sql, params![micros(at), page(limit)], schedule)
    }
}

impl WriteTx {
    /// Adds or replaces a schedule.
    pub fn put_schedule(&mut self, row: &ScheduleRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_schedules VALUES (?1, ?2, ?3)
            ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at, body = excluded.body";
        self.change(sql, params![row.name, row.next_at.map(micros), row.body])?;
        Ok(())
    }

    /// Forgets a schedule. Answers whether it was there.
    pub fn delete_schedule(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(self.change("DELETE FROM workflow_schedules WHERE name = ?1", [name])? > 0)
    }
}
