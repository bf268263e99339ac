//! Manifests of directory artifacts, by digest. Their blobs are files (`blobs`).

use std::collections::BTreeMap;

use ark_model::Sha256;
use ark_model::artifact::Manifest;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros, page};

/// A manifest as the store records it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// Digest of the manifest.
    pub digest: Sha256,
    /// What it says.
    pub manifest: Manifest,
    /// When it was first told of.
    pub created_at: Timestamp,
}

impl ReadTx {
    /// The manifest of that digest.
    pub fn artifact(&self, digest: &Sha256) -> Result<Option<ArtifactRecord>, StoreError> {
        let sql = "SELECT body FROM artifacts WHERE digest = ?1";
        self.record("artifact", sql, [digest.to_string()])
    }

    /// All blobs that recorded manifests name, with their lengths in bytes: what garbage
    /// collection of blobs must keep. Reads every manifest.
    pub fn named_blobs(&self) -> Result<BTreeMap<Sha256, u64>, StoreError> {
        let mut statement = self.conn().prepare_cached("SELECT body FROM artifacts")?;
        let mut rows = statement.query([])?;
        let mut blobs = BTreeMap::new();
        // One manifest at a time in memory: all of them may be large.
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let record: ArtifactRecord = crate::tx::parse("artifact", text)?;
            blobs.extend(record.manifest.blobs());
        }
        Ok(blobs)
    }
}

impl WriteTx {
    /// Records a manifest, before its blobs are sent: from then on garbage collection keeps them.
    /// One that is known counts as new from `now` on. Answers its digest. The caller has checked
    /// it ([`Manifest::check`]).
    pub fn put_artifact(
        &mut self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<Sha256, StoreError> {
        let digest = manifest.digest();
        let record = ArtifactRecord { digest, manifest: manifest.clone(), created_at: now };
        let sql = "INSERT INTO artifacts (digest, created_at, body) VALUES (?1, ?2, ?3)
            ON CONFLICT (digest) DO UPDATE SET
                created_at = excluded.created_at, body = excluded.body";
        let body = body("artifact", &record)?;
        self.change(sql, params![digest.to_string(), micros(now), body])?;
        Ok(digest)
    }

    /// Forgets manifests that no release names and that were recorded before an instant, at most
    /// `limit`. Answers how many.
    pub fn prune_artifacts(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM artifacts WHERE digest IN (
                SELECT digest FROM artifacts WHERE created_at < ?1 AND NOT EXISTS (
                    SELECT 1 FROM releases WHERE releases.artifact = artifacts.digest)
                LIMIT ?2)";
        self.change(sql, params![micros(before), page(limit)])
    }
}
