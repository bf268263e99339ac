//! Registries of images, by host. Passwords are sealed to their host.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::secrets::Sealed;
use crate::tx::{ReadTx, WriteTx, body};

/// The most registries.
const REGISTRIES_MAX: u64 = 100;

/// A registry as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRecord {
    /// Its host, with its port where that is not the usual one.
    pub host: String,
    /// Who signs in, and the password, sealed; neither where anybody may.
    pub login: Option<(String, Sealed)>,
    /// What images that are built are called there before their own name, when they are sent there.
    pub push: Option<String>,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

impl ReadTx {
    /// A registry.
    pub fn registry(&self, host: &str) -> Result<Option<RegistryRecord>, StoreError> {
        self.record("registry", "SELECT body FROM registries WHERE host = ?1", [host])
    }

    /// All registries, by host: at most 100.
    pub fn registries(&self) -> Result<Vec<RegistryRecord>, StoreError> {
        self.records("registry", "SELECT body FROM registries ORDER BY host", [])
    }
}

impl WriteTx {
    /// Records a registry, or changes it.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub fn put_registry(&mut self, registry: &RegistryRecord) -> Result<(), StoreError> {
        let known = self.registry(&registry.host)?.is_some();
        if !known && self.number("SELECT count(*) FROM registries", [])? >= REGISTRIES_MAX {
            return Err(StoreError::Limit { noun: "registries", max: REGISTRIES_MAX });
        }
        let sql = "INSERT INTO registries (host, body) VALUES (?1, ?2)
            ON CONFLICT (host) DO UPDATE SET body = excluded.body";
        self.change(sql, params![registry.host, body("registry", registry)?])?;
        Ok(())
    }

    /// Forgets a registry. Answers whether there was one.
    pub fn delete_registry(&mut self, host: &str) -> Result<bool, StoreError> {
        Ok(self.change("DELETE FROM registries WHERE host = ?1", [host])? > 0)
    }
}
