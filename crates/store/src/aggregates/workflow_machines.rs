//! State machines, and what each was at one time (revisions). Executions refer to a revision, so
//! that they keep the definition they were started with.

use ark_model::workflow::MachineType;
use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

use super::workflow_executions::{ExecutionRow, instant};

/// A state machine as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRow {
    /// Its number, never given again.
    pub id: u64,
    /// Its name, unique among those that are not deleted.
    pub name: String,
    /// The region of the credentials that made it: part of its ARN, and of nothing else.
    pub region: String,
    /// Standard or Express; never changes.
    pub machine_type: MachineType,
    /// The revision that new executions get.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set once it was deleted; running executions go on.
    pub deleted_at: Option<Timestamp>,
}

/// What a machine was at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRow {
    /// Its number, never given again.
    pub id: u64,
    /// Whose.
    pub machine: u64,
    /// The id that clients see.
    pub revision_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The definition's text, byte for byte as sent.
    pub definition: String,
    /// JSON of role, logging, tracing, encryption: whatever else belongs to it.
    pub body: String,
}

const MACHINE: &str = "id, name, region, type, revision, created_at, deleted_at";

fn machine(row: &Row<'_>) -> rusqlite::Result<MachineRow> {
    let word: String = row.get(3)?;
    Ok(MachineRow {
        id: unsigned(row.get(0)?),
        name: row.get(1)?,
        region: row.get(2)?,
        machine_type: MachineType::from_word(&word).unwrap_or(MachineType::Standard),
        revision: unsigned(row.get(4)?),
        created_at: instant(row.get(5)?),
        deleted_at: row.get::<_, Option<i64>>(6)?.map(instant),
    })
}

impl ReadTx {
    /// The machine of that name that is not deleted.
    pub fn machine_by_name(&self, name: &str) -> Result<Option<MachineRow>, StoreError> {
        let sql = format!(
            "SELECT {MACHINE} FROM workflow_machines WHERE name = ?1 AND deleted_at IS NULL"
        );
        self.row(&sql, [name], machine)
    }

    /// The newest machine of that name, deleted or not: executions outlive their machine.
    pub fn newest_machine_by_name(&self, name: &str) -> Result<Option<MachineRow>, StoreError> {
        let sql = format!(
            "SELECT {MACHINE} FROM workflow_machines WHERE name = ?1 ORDER BY id DESC LIMIT 1"
        );
        self.row(&sql, [name], machine)
    }

    /// The execution of that name under a machine of that name: of the newest machine that has one, for
    /// a deleted one's executions are there until they are forgotten.
    pub fn execution_by_names(
        &self,
        machine: &str,
        name: &str,
    ) -> Result<Option<ExecutionRow>, StoreError> {
        let sql = "SELECT e.id FROM workflow_machines m
            JOIN workflow_executions e ON e.machine = m.id AND e.name = ?2
            WHERE m.name = ?1 ORDER BY m.id DESC LIMIT 1";
        match self.row(sql, params![machine, name], |row| Ok(unsigned(row.get(0)?)))? {
            Some(id) => self.execution(id),
            None => Ok(None),
        }
    }

    /// Whether executions of a deleted machine of that name are running, children of map runs left out.
    pub fn is_machine_deleting(&self, name: &str) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM workflow_machines m
            WHERE m.name = ?1 AND m.deleted_at IS NOT NULL AND EXISTS
                (SELECT 1 FROM workflow_executions e
                WHERE e.machine = m.id AND e.status = 'RUNNING' AND e.map_run IS NULL)";
        Ok(self.number(sql, [name])? > 0)
    }

    /// One machine, deleted or not.
    pub fn machine(&self, id: u64) -> Result<Option<MachineRow>, StoreError> {
        let sql = format!("SELECT {MACHINE} FROM workflow_machines WHERE id = ?1");
        self.row(&sql, [signed(id)], machine)
    }

    /// Machines after a name, by name.
    pub fn machines_by_name(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<MachineRow>, StoreError> {
        let sql = format!(
            "SELECT {MACHINE} FROM workflow_machines WHERE name > ?1 AND deleted_at IS NULL
            ORDER BY name LIMIT ?2"
        );
        self.rows(&sql, params![after, page(limit)], machine)
    }

    /// Machines with numbers above `after` that are not deleted, oldest first.
    pub fn machines(&self, after: u64, limit: usize) -> Result<Vec<MachineRow>, StoreError> {
        let sql = format!(
            "SELECT {MACHINE} FROM workflow_machines WHERE id > ?1 AND deleted_at IS NULL
            ORDER BY id LIMIT ?2"
        );
        self.rows(&sql, params![signed(after), page(limit)], machine)
    }

    /// How many machines there are, deleted ones left out.
    pub fn count_machines(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM workflow_machines WHERE deleted_at IS NULL", [])
    }

    /// One revision.
    pub fn machine_revision(&self, id: u64) -> Result<Option<RevisionRow>, StoreError> {
        let sql = "SELECT id, machine, revision_id, created_at, definition, body
            FROM workflow_revisions WHERE id = ?1";
        self.row(sql, [signed(id)], |row| {
            Ok(RevisionRow {
                id: unsigned(row.get(0)?),
                machine: unsigned(row.get(1)?),
                revision_id: row.get(2)?,
                created_at: instant(row.get(3)?),
                definition: row.get(4)?,
                body: row.get(5)?,
            })
        })
    }

    /// The number of a machine's revision by the id that clients see.
    pub fn machine_revision_by_id(
        &self,
        machine: u64,
        revision_id: &str,
    ) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT id FROM workflow_revisions WHERE machine = ?1 AND revision_id = ?2
            ORDER BY id DESC LIMIT 1";
        self.row(sql, params![signed(machine), revision_id], |row| Ok(unsigned(row.get(0)?)))
    }
}

impl WriteTx {
    /// Deletes a machine with its versions and aliases: its name is free again. Rows stay as long
    /// as executions refer to them. Nothing happens when it is deleted already.
    pub fn delete_machine(&mut self, machine: u64, now: Timestamp) -> Result<(), StoreError> {
        let (id, at) = (signed(machine), micros(now));
        for sql in [
            "UPDATE workflow_machines SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL",
            "UPDATE workflow_versions SET deleted_at = ?2 WHERE machine = ?1
                AND deleted_at IS NULL",
        ] {
            self.change(sql, params![id, at])?;
        }
        self.change("DELETE FROM workflow_aliases WHERE machine = ?1", [id])?;
        Ok(())
    }

    /// Adds a machine without a revision (number 0): give it one in the same closure.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_machine(
        &mut self,
        name: &str,
        region: &str,
        machine_type: MachineType,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO workflow_machines (name, region, type, revision, created_at)
            VALUES (?1, ?2, ?3, 0, ?4)";
        let params = params![name, region, machine_type.as_str(), micros(now)];
        self.insert("state machine", &name, sql, params)?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }

    /// Adds a revision and makes it the one that new executions get. Answers its number.
    pub fn insert_machine_revision(
        &mut self,
        machine: u64,
        revision_id: &str,
        definition: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let id = self.insert_side_revision(machine, revision_id, definition, body, now)?;
        let sql = "UPDATE workflow_machines SET revision = ?2 WHERE id = ?1";
        self.change(sql, params![signed(machine), signed(id)])?;
        Ok(id)
    }

    /// Adds a revision that only executions that name it get. Answers its number.
    pub fn insert_side_revision(
        &mut self,
        machine: u64,
        revision_id: &str,
        definition: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO workflow_revisions
            (machine, revision_id, created_at, definition, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.change(sql, params![signed(machine), revision_id, micros(now), definition, body])?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }
}
