//! The last lines of workers' logs, kept with the tasks that failed.

use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, page, signed};

impl ReadTx {
    /// The last lines of what a failed task's worker wrote, by the event that says that the task was
    /// scheduled.
    pub fn task_log(&self, execution: u64, event: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT lines FROM workflow_task_logs WHERE execution = ?1 AND event = ?2";
        self.row(sql, params![signed(execution), signed(event)], |row| row.get(0))
    }

    /// Whether any are kept of an execution.
    pub fn has_task_logs(&self, execution: u64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM workflow_task_logs WHERE execution = ?1)";
        Ok(self.number(sql, [signed(execution)])? > 0)
    }
}

impl WriteTx {
    /// Keeps the last lines of a failed task; of one execution those of the `most` newest tasks.
    pub fn put_task_log(
        &mut self,
        execution: u64,
        event: u64,
        lines: &str,
        most: usize,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO workflow_task_logs VALUES (?1, ?2, ?3)";
        self.change(sql, params![signed(execution), signed(event), lines])?;
        let sql = "DELETE FROM workflow_task_logs WHERE execution = ?1 AND event <= (
            SELECT event FROM workflow_task_logs WHERE execution = ?1
            ORDER BY event DESC LIMIT 1 OFFSET ?2)";
        self.change(sql, params![signed(execution), page(most)])?;
        Ok(())
    }
}
