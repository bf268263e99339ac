//! What the gateway measured of apps that are judged, in parts whose bodies are the server's own: the
//! judge's evidence, which a restart must not lose. Never read but by the next server.

use ark_model::{AppName, EnvName};
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, signed};
use crate::{BODY_BYTES_MAX, PAGE_MAX};

/// The most parts of an app: the newest slices and every target that was measured. What is beyond is
/// not read again.
const PARTS_MAX: usize = 10 * PAGE_MAX;

/// What changed in an app's measurements since they were last written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasuresChange {
    /// Whether everything that was kept goes first.
    pub anew: bool,
    /// Parts by name, new or changed.
    pub put: Vec<(String, String)>,
    /// Parts that are gone, by name.
    pub remove: Vec<String>,
}

impl ReadTx {
    /// All parts of an app's measurements, by name.
    pub fn measures(&self, env: &EnvName, app: &AppName) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT body FROM measures WHERE env = ?1 AND app = ?2 ORDER BY part LIMIT ?3";
        let limit = signed(PARTS_MAX as u64);
        self.rows(sql, params![env.as_str(), app.as_str(), limit], |row| row.get(0))
    }
}

impl WriteTx {
    /// Writes down what changed. Of an environment that does not exist any more nothing is.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when a part is larger than a record may be.
    pub fn put_measures(
        &mut self,
        env: &EnvName,
        app: &AppName,
        change: &MeasuresChange,
    ) -> Result<(), StoreError> {
        let (env, app) = (env.as_str(), app.as_str());
        if change.anew {
            self.change("DELETE FROM measures WHERE env = ?1 AND app = ?2", [env, app])?;
        }
        if self.row("SELECT 1 FROM environments WHERE name = ?1", [env], |_| Ok(()))?.is_none() {
            return Ok(());
        }
        for (part, body) in &change.put {
            if body.len() > BODY_BYTES_MAX {
                let max = BODY_BYTES_MAX as u64;
                return Err(StoreError::Limit { noun: "bytes of one record", max });
            }
            let sql = "INSERT INTO measures (env, app, part, body) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (env, app, part) DO UPDATE SET body = excluded.body";
            self.change(sql, params![env, app, part, body])?;
        }
        for part in &change.remove {
            let sql = "DELETE FROM measures WHERE env = ?1 AND app = ?2 AND part = ?3";
            self.change(sql, params![env, app, part])?;
        }
        Ok(())
    }
}
