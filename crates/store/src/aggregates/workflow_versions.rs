//! Versions and aliases of state machines. A version is a revision under a number that is never
//! given again; an alias sends starts to one or two versions by weight.

use jiff::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros, page, parse, signed, unsigned};

use super::workflow_executions::instant;

/// A version as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Whose.
    pub machine: u64,
    /// Its number within the machine, from 1.
    pub number: u64,
    /// What it is.
    pub revision: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// What its publisher said of it.
    pub description: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct VersionBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

/// Where an alias sends starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRoute {
    /// A version's number.
    pub version: u64,
    /// Its share, in percent.
    pub weight: u8,
}

/// An alias as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// Its name, unique within the machine.
    pub name: String,
    /// What its maker said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// One or two routes; the weights make 100.
    pub routes: Vec<AliasRoute>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

const VERSION: &str = "machine, number, revision, created_at, body";

fn version(row: &Row<'_>) -> rusqlite::Result<(VersionRow, String)> {
    let version = VersionRow {
        machine: unsigned(row.get(0)?),
        number: unsigned(row.get(1)?),
        revision: unsigned(row.get(2)?),
        created_at: instant(row.get(3)?),
        description: None,
    };
    Ok((version, row.get(4)?))
}

fn with_body((row, body): (VersionRow, String)) -> Result<VersionRow, StoreError> {
    let body: VersionBody = parse("version", &body)?;
    Ok(VersionRow { description: body.description, ..row })
}

impl ReadTx {
    /// A version that is not deleted.
    pub fn machine_version(
        &self,
        machine: u64,
        number: u64,
    ) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!(
            "SELECT {VERSION} FROM workflow_versions
            WHERE machine = ?1 AND number = ?2 AND deleted_at IS NULL"
        );
        let found = self.row(&sql, params![signed(machine), signed(number)], version)?;
        found.map(with_body).transpose()
    }

    /// The newest version that is this revision and not deleted.
    pub fn version_of_revision(
        &self,
        machine: u64,
        revision: u64,
    ) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!(
            "SELECT {VERSION} FROM workflow_versions
            WHERE machine = ?1 AND revision = ?2 AND deleted_at IS NULL
            ORDER BY number DESC LIMIT 1"
        );
        let found = self.row(&sql, params![signed(machine), signed(revision)], version)?;
        found.map(with_body).transpose()
    }

    /// Versions with numbers below `before`, newest first.
    pub fn machine_versions(
        &self,
        machine: u64,
        before: u64,
        limit: usize,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let sql = format!(
            "SELECT {VERSION} FROM workflow_versions
            WHERE machine = ?1 AND number < ?2 AND deleted_at IS NULL
            ORDER BY number DESC LIMIT ?3"
        );
        let params = params![signed(machine), signed(before), page(limit)];
        self.rows(&sql, params, version)?.into_iter().map(with_body).collect()
    }

    /// How many versions a machine has, deleted ones left out.
    pub fn count_machine_versions(&self, machine: u64) -> Result<u64, StoreError> {
        let sql =
            "SELECT count(*) FROM workflow_versions WHERE machine = ?1 AND deleted_at IS NULL";
        self.number(sql, [signed(machine)])
    }

    /// One alias.
    pub fn machine_alias(
        &self,
        machine: u64,
        name: &str,
    ) -> Result<Option<AliasRecord>, StoreError> {
        let sql = "SELECT body FROM workflow_aliases WHERE machine = ?1 AND name = ?2";
        self.record("alias", sql, params![signed(machine), name])
    }

    /// Aliases with names after `after`, by name.
    pub fn machine_aliases(
        &self,
        machine: u64,
        after: &str,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, StoreError> {
        let sql = "SELECT body FROM workflow_aliases WHERE machine = ?1 AND name > ?2
            ORDER BY name LIMIT ?3";
        self.records("alias", sql, params![signed(machine), after, page(limit)])
    }
}

impl WriteTx {
    /// Publishes a revision under the next number, which is answered.
    pub fn insert_machine_version(
        &mut self,
        machine: u64,
        revision: u64,
        description: Option<String>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        // Deleted versions keep their rows: a number is never given twice.
        let sql = "SELECT max(number) FROM workflow_versions WHERE machine = ?1";
        let number = self.number(sql, [signed(machine)])? + 1;
        let sql = "INSERT INTO workflow_versions (machine, number, revision, created_at, body)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let body = body("version", &VersionBody { description })?;
        let params = params![signed(machine), signed(number), signed(revision), micros(now), body];
        self.insert("version", &number, sql, params)?;
        Ok(number)
    }

    /// Deletes a version. Nothing happens when there is none.
    pub fn delete_machine_version(
        &mut self,
        machine: u64,
        number: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE workflow_versions SET deleted_at = ?3
            WHERE machine = ?1 AND number = ?2 AND deleted_at IS NULL";
        self.change(sql, params![signed(machine), signed(number), micros(now)])?;
        Ok(())
    }

    /// Makes or replaces an alias.
    pub fn put_machine_alias(
        &mut self,
        machine: u64,
        alias: &AliasRecord,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_aliases (machine, name, body) VALUES (?1, ?2, ?3)
            ON CONFLICT (machine, name) DO UPDATE SET body = excluded.body";
        self.change(sql, params![signed(machine), alias.name, body("alias", alias)?])?;
        Ok(())
    }

    /// Deletes an alias. Answers whether there was one.
    pub fn delete_machine_alias(&mut self, machine: u64, name: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM workflow_aliases WHERE machine = ?1 AND name = ?2";
        Ok(self.change(sql, params![signed(machine), name])? > 0)
    }
}
