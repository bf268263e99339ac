//! Events that executions have still to take, first come first.

use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, page, signed, unsigned};

impl ReadTx {
    /// The event that an execution takes next, with its number.
    pub fn first_waiting_event(&self, execution: u64) -> Result<Option<(u64, String)>, StoreError> {
        let sql = "SELECT seq, event FROM workflow_inbox WHERE execution = ?1 ORDER BY seq LIMIT 1";
        self.row(sql, [signed(execution)], |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// Executions for which events wait, with numbers above `after`, each with its machine.
    pub fn executions_with_events(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let sql = "SELECT i.execution, e.machine FROM workflow_inbox i
            JOIN workflow_executions e ON e.id = i.execution
            WHERE i.execution > ?1 GROUP BY i.execution ORDER BY i.execution LIMIT ?2";
        self.rows(sql, params![signed(after), page(limit)], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
        })
    }
}

impl WriteTx {
    /// Lets an event wait behind those of lower numbers.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one of that number.
    pub fn put_waiting_event(
        &mut self,
        execution: u64,
        seq: u64,
        event: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_inbox VALUES (?1, ?2, ?3)";
        self.insert("event", &seq, sql, params![signed(execution), signed(seq), event])
    }

    /// Removes an event that was taken.
    pub fn delete_waiting_event(&mut self, execution: u64, seq: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM workflow_inbox WHERE execution = ?1 AND seq = ?2";
        self.change(sql, params![signed(execution), signed(seq)])?;
        Ok(())
    }

    /// Removes all events of an execution that has ended.
    pub fn clear_waiting_events(&mut self, execution: u64) -> Result<(), StoreError> {
        self.change("DELETE FROM workflow_inbox WHERE execution = ?1", [signed(execution)])?;
        Ok(())
    }
}
