//! Tags of state machines and activities. A resource is named by its kind and number, so that tags
//! of a deleted one do not pass to another of the same name.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx};

impl ReadTx {
    /// All tags of a resource, by key. Their number is the caller's to bound.
    pub fn tags(&self, resource: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let sql = "SELECT key, value FROM workflow_tags WHERE resource = ?1";
        let rows = self.rows(sql, [resource], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }
}

impl WriteTx {
    /// Adds tags, replacing values of keys that are there.
    pub fn put_tags(
        &mut self,
        resource: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_tags (resource, key, value) VALUES (?1, ?2, ?3)
            ON CONFLICT (resource, key) DO UPDATE SET value = excluded.value";
        for (key, value) in tags {
            self.change(sql, params![resource, key, value])?;
        }
        Ok(())
    }

    /// Removes a tag, if it is there.
    pub fn delete_tag(&mut self, resource: &str, key: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM workflow_tags WHERE resource = ?1 AND key = ?2";
        self.change(sql, params![resource, key])?;
        Ok(())
    }

    /// Removes all tags of a resource.
    pub fn delete_tags(&mut self, resource: &str) -> Result<(), StoreError> {
        self.change("DELETE FROM workflow_tags WHERE resource = ?1", [resource])?;
        Ok(())
    }
}
