//! Sessions of the console, and the one-time links that begin one. Both are known by the digest of
//! their text only, act in the name of a token, and are worth nothing once that is revoked.

use ark_model::Sha256;
use jiff::Timestamp;
use rusqlite::params;

use super::tokens::TokenRecord;
use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros};

/// The most sessions and links at once; the ones that end first give way.
const SESSIONS_MAX: u64 = 10_000;

/// What a browser holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A cookie, sent with each request.
    Session,
    /// The last part of an address that may be opened once.
    Link,
}

impl SessionKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Link => "link",
        }
    }
}

impl ReadTx {
    /// The token in whose name a session or link that has not expired acts. Revoked ones act for
    /// nobody.
    pub fn session_token(
        &self,
        kind: SessionKind,
        digest: &Sha256,
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let sql = "SELECT t.body FROM sessions s JOIN tokens t ON t.id = s.token
            WHERE s.digest = ?1 AND s.kind = ?2 AND s.expires_at > ?3 AND t.revoked_at IS NULL";
        self.record("token", sql, params![digest.to_string(), kind.as_str(), micros(now)])
    }
}

impl WriteTx {
    /// Begins a session, or makes a link. Expired ones are forgotten on the way, and so are those
    /// nearest to their end when there are too many.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the digest is known, which randomness rules out.
    pub fn insert_session(
        &mut self,
        kind: SessionKind,
        digest: &Sha256,
        token: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.change("DELETE FROM sessions WHERE expires_at <= ?1", [micros(now)])?;
        let many = self.number("SELECT count(*) FROM sessions", [])?;
        if let Some(over) = many.checked_sub(SESSIONS_MAX - 1) {
            let sql = "DELETE FROM sessions WHERE digest IN
                (SELECT digest FROM sessions ORDER BY expires_at LIMIT ?1)";
            self.change(sql, [i64::try_from(over).unwrap_or(i64::MAX)])?;
        }
        let sql = "INSERT INTO sessions (digest, kind, token, created_at, expires_at)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let params =
            params![digest.to_string(), kind.as_str(), token, micros(now), micros(expires_at)];
        self.insert("session", &kind.as_str(), sql, params)
    }

    /// Ends a session or uses up a link. Answers whether there was one.
    pub fn end_session(&mut self, kind: SessionKind, digest: &Sha256) -> Result<bool, StoreError> {
        let sql = "DELETE FROM sessions WHERE digest = ?1 AND kind = ?2";
        Ok(self.change(sql, params![digest.to_string(), kind.as_str()])? > 0)
    }
}
