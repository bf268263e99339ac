//! The hosts of the cluster beside Ark's own, by name. Keys are sealed to their host.

use std::net::IpAddr;

use ark_model::NodeName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use rusqlite::params;

use crate::error::StoreError;
use crate::secrets::Sealed;
use crate::tx::{ReadTx, WriteTx, body};

/// The most hosts.
const NODES_MAX: u64 = 1_000;

/// A host as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name. Of Ark's own only `draining` means anything.
    pub name: NodeName,
    /// How its daemon is reached: `tcp://HOST:PORT` or `unix:///PATH`.
    pub address: String,
    /// Where its instances are reached.
    pub reach: Option<IpAddr>,
    /// What is shown to its daemon, over TLS.
    pub credentials: Option<NodeCredentials>,
    /// Whether it is to be empty.
    pub draining: bool,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

/// Certificates in PEM, and the sealed key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCredentials {
    /// Of the authority that signed the daemon's.
    pub authority: String,
    /// Ark's own.
    pub certificate: String,
    /// Its private key.
    pub key: Sealed,
}

impl ReadTx {
    /// A host.
    pub fn node(&self, name: &NodeName) -> Result<Option<NodeRecord>, StoreError> {
        self.record("host", "SELECT body FROM nodes WHERE name = ?1", [name.as_str()])
    }

    /// All hosts, by name: at most 1,000.
    pub fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        self.records("host", "SELECT body FROM nodes ORDER BY name", [])
    }
}

impl WriteTx {
    /// Records a host, or changes it.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub fn put_node(&mut self, node: &NodeRecord) -> Result<(), StoreError> {
        let known = self.node(&node.name)?.is_some();
        if !known && self.number("SELECT count(*) FROM nodes", [])? >= NODES_MAX {
            return Err(StoreError::Limit { noun: "hosts", max: NODES_MAX });
        }
        let sql = "INSERT INTO nodes (name, body) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET body = excluded.body";
        self.change(sql, params![node.name.as_str(), body("host", node)?])?;
        Ok(())
    }

    /// Forgets a host. Answers whether there was one.
    pub fn delete_node(&mut self, name: &NodeName) -> Result<bool, StoreError> {
        Ok(self.change("DELETE FROM nodes WHERE name = ?1", [name.as_str()])? > 0)
    }
}
