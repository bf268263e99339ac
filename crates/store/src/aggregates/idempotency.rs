//! Answers kept by idempotency key, so that a request sent twice is carried out once.
//!
//! To be read and written in the closure that carries the request out: key and effect are then one
//! transaction.

use ark_model::Sha256;
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page};

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body as it was sent. Never holds a secret value.
    pub body: String,
}

impl ReadTx {
    /// The answer that was given to `caller` under this key, `None` if the key is new or expired.
    ///
    /// # Errors
    /// [`StoreError::KeyReused`] when the key was used for a request with another digest.
    pub fn stored_answer(
        &self,
        caller: &str,
        key: &str,
        request: &Sha256,
        now: Timestamp,
    ) -> Result<Option<StoredAnswer>, StoreError> {
        let sql = "SELECT request, status, answer FROM idempotency
            WHERE caller = ?1 AND key = ?2 AND expires_at > ?3";
        let row: Option<(String, u16, String)> =
            self.row(sql, params![caller, key, micros(now)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        match row {
            None => Ok(None),
            Some((digest, ..)) if digest != request.to_string() => {
                Err(StoreError::KeyReused { key: key.to_owned() })
            }
            Some((_, status, body)) => Ok(Some(StoredAnswer { status, body })),
        }
    }
}

impl WriteTx {
    /// Keeps the answer to a request until `expires_at`.
    pub fn store_answer(
        &mut self,
        caller: &str,
        key: &str,
        request: &Sha256,
        answer: &StoredAnswer,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO idempotency
            (caller, key, request, status, answer, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let request = request.to_string();
        let expires_at = micros(expires_at);
        let params = params![caller, key, request, answer.status, answer.body, expires_at];
        self.change(sql, params)?;
        Ok(())
    }

    /// Forgets answers that have expired, at most `limit`. Answers how many.
    pub fn prune_answers(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM idempotency WHERE (caller, key) IN (
                SELECT caller, key FROM idempotency WHERE expires_at <= ?1 LIMIT ?2)";
        self.change(sql, params![micros(now), page(limit)])
    }
}
