//! What the workflow manager's API keeps beside machines and executions: what was sent for a
//! version, what belongs to a run it started, what somebody has resolved, state resources.

use ark_model::workflow::ExecutionStatus;
use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

use super::workflow_executions::{COLUMNS, ExecutionRow, execution, instant};

/// What belongs to an execution that was started by the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its execution.
    pub execution: u64,
    /// Its id, unique.
    pub id: String,
    /// The execution it goes on for.
    pub retry_for: Option<u64>,
    /// JSON of whatever else belongs to it.
    pub body: String,
}

/// Which executions of a machine to list.
#[derive(Debug, Clone, Copy)]
pub struct RunFilter {
    /// Of which machine.
    pub machine: u64,
    /// In which status.
    pub status: ExecutionStatus,
    /// Whether numbers grow.
    pub oldest_first: bool,
    /// Beyond this number, in that order.
    pub beyond: u64,
}

impl RunFilter {
    /// How numbers compare with `beyond`, and their order.
    const fn order(self) -> (&'static str, &'static str) {
        if self.oldest_first { (">", "") } else { ("<", "DESC") }
    }
}

/// A state resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateResourceRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name within it.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// When it was recorded last.
    pub updated_at: Timestamp,
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        execution: unsigned(row.get(0)?),
        id: row.get(1)?,
        retry_for: row.get::<_, Option<i64>>(2)?.map(unsigned),
        body: row.get(3)?,
    })
}

impl ReadTx {
    /// What was sent for a version of a machine, as JSON.
    pub fn workflow_definition(
        &self,
        machine: u64,
        number: u64,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM workflow_definitions WHERE machine = ?1 AND number = ?2";
        self.row(sql, params![signed(machine), signed(number)], |row| row.get(0))
    }

    /// What belongs to an execution.
    pub fn workflow_run(&self, execution: u64) -> Result<Option<RunRow>, StoreError> {
        let sql = "SELECT execution, id, retry_for, body FROM workflow_runs WHERE execution = ?1";
        self.row(sql, [signed(execution)], run)
    }

    /// The run of that id.
    pub fn workflow_run_by_id(&self, id: &str) -> Result<Option<RunRow>, StoreError> {
        let sql = "SELECT execution, id, retry_for, body FROM workflow_runs WHERE id = ?1";
        self.row(sql, [id], run)
    }

    /// Runs that go on for an execution, oldest first.
    pub fn workflow_retries(
        &self,
        execution: u64,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let sql = "SELECT execution, id, retry_for, body FROM workflow_runs
            WHERE retry_for = ?1 ORDER BY execution LIMIT ?2";
        self.rows(sql, params![signed(execution), page(limit)], run)
    }

    /// When somebody last resolved an execution.
    pub fn workflow_resolved_at(&self, execution: u64) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT at FROM workflow_resolutions WHERE execution = ?1";
        self.row(sql, [signed(execution)], |row| Ok(instant(row.get(0)?)))
    }

    /// Executions of a machine, not those of map runs, by number.
    pub fn workflow_runs_of(
        &self,
        filter: RunFilter,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let (beyond, order) = filter.order();
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_executions e
            WHERE machine = ?1 AND status = ?2 AND id {beyond} ?3 AND map_run IS NULL
            ORDER BY id {order} LIMIT ?4"
        );
        let params = params![
            signed(filter.machine),
            filter.status.as_str(),
            signed(filter.beyond),
            page(limit)
        ];
        self.rows(&sql, params, execution)
    }

    /// The numbers of the same executions, each with whether somebody has resolved its end. Looks at
    /// no more rows than it answers.
    pub fn workflow_ends_of(
        &self,
        filter: RunFilter,
        limit: usize,
    ) -> Result<Vec<(u64, bool)>, StoreError> {
        let (beyond, order) = filter.order();
        let sql = format!(
            "SELECT id, EXISTS (SELECT 1 FROM workflow_resolutions r
                WHERE r.execution = e.id AND r.at >= e.stopped_at)
            FROM workflow_executions e
            WHERE machine = ?1 AND status = ?2 AND id {beyond} ?3 AND map_run IS NULL
            ORDER BY id {order} LIMIT ?4"
        );
        let params = params![
            signed(filter.machine),
            filter.status.as_str(),
            signed(filter.beyond),
            page(limit)
        ];
        self.rows(&sql, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// One state resource.
    pub fn state_resource(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<StateResourceRow>, StoreError> {
        let sql = "SELECT namespace, name, uri, updated_at FROM workflow_state_resources
            WHERE namespace = ?1 AND name = ?2";
        self.row(sql, [namespace, name], |row| {
            Ok(StateResourceRow {
                namespace: row.get(0)?,
                name: row.get(1)?,
                uri: row.get(2)?,
                updated_at: instant(row.get(3)?),
            })
        })
    }

    /// How many state resources there are.
    pub fn count_state_resources(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM workflow_state_resources", [])
    }
}

impl WriteTx {
    /// Keeps what was sent for a version.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_workflow_definition(
        &mut self,
        machine: u64,
        number: u64,
        body: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_definitions VALUES (?1, ?2, ?3)";
        self.insert("definition", &number, sql, params![signed(machine), signed(number), body])
    }

    /// Adds a run.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one of that id or of that execution.
    pub fn insert_workflow_run(&mut self, row: &RunRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_runs (execution, id, retry_for, body)
            VALUES (?1, ?2, ?3, ?4)";
        let params = params![signed(row.execution), row.id, row.retry_for.map(signed), row.body];
        self.insert("workflow", &row.id, sql, params)
    }

    /// Notes that somebody has dealt with an execution's end.
    pub fn resolve_workflow(
        &mut self,
        execution: u64,
        at: Timestamp,
        by: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_resolutions VALUES (?1, ?2, ?3)
            ON CONFLICT (execution) DO UPDATE SET at = excluded.at, by = excluded.by";
        self.change(sql, params![signed(execution), micros(at), by])?;
        Ok(())
    }

    /// Adds or replaces a state resource.
    pub fn put_state_resource(&mut self, row: &StateResourceRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_state_resources VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (namespace, name)
            DO UPDATE SET uri = excluded.uri, updated_at = excluded.updated_at";
        self.change(sql, params![row.namespace, row.name, row.uri, micros(row.updated_at)])?;
        Ok(())
    }

    /// Forgets a state resource. Answers whether it was there.
    pub fn delete_state_resource(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM workflow_state_resources WHERE namespace = ?1 AND name = ?2";
        Ok(self.change(sql, [namespace, name])? > 0)
    }
}
