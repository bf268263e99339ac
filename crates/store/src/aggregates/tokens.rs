//! API tokens, known by the digest of their text only, and access keys, known by the digest of
//! their id, with their secret sealed: it is needed to verify signatures. What a role may do is the
//! server's to know.

use ark_model::Sha256;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::secrets::Sealed;
use crate::tx::{ReadTx, WriteTx, body, micros};

/// The most tokens, revoked ones included.
const TOKENS_MAX: u64 = 10_000;
/// The last use is noted to the minute: noting each would make a write of every read request.
const LAST_USED_EVERY_MICROS: i64 = 60_000_000;

/// A token as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names it in commands; not secret.
    pub id: String,
    /// Whose it is: stands in events and deployments as the one who caused them. Unique among
    /// tokens that are not revoked.
    pub name: String,
    /// SHA-256 of its text; of [`AwsKey::lookup`] when it is an access key.
    pub digest: Sha256,
    /// What its bearer may do.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Since when it is no longer valid.
    pub revoked_at: Option<Timestamp>,
    /// What makes it an access key, which signs requests instead of being sent with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsKey>,
}

/// An access key in the manner of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsKey {
    /// Its public half.
    pub access_key_id: String,
    /// The secret half, sealed to the public one.
    pub secret: Sealed,
}

impl AwsKey {
    /// The digest under which a key is found. The prefix is part of no token's text.
    pub fn lookup(access_key_id: &str) -> Sha256 {
        Sha256::of(format!("aws access key {access_key_id}").as_bytes())
    }
}

impl ReadTx {
    /// The token of that digest, revoked or not.
    pub fn token_by_digest(&self, digest: &Sha256) -> Result<Option<TokenRecord>, StoreError> {
        let sql = "SELECT body FROM tokens WHERE digest = ?1";
        self.record("token", sql, [digest.to_string()])
    }

    /// The token of that id, revoked or not.
    pub fn token(&self, id: &str) -> Result<Option<TokenRecord>, StoreError> {
        self.record("token", "SELECT body FROM tokens WHERE id = ?1", [id])
    }

    /// All tokens by name, revoked ones included: at most 10,000.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.records("token", "SELECT body FROM tokens ORDER BY name, id", [])
    }
}

impl WriteTx {
    /// Records a new token.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id, the digest, or the name of a valid token is taken;
    /// [`StoreError::Limit`].
    pub fn insert_token(&mut self, token: &TokenRecord) -> Result<(), StoreError> {
        if self.number("SELECT count(*) FROM tokens", [])? >= TOKENS_MAX {
            return Err(StoreError::Limit { noun: "tokens", max: TOKENS_MAX });
        }
        let sql = "INSERT INTO tokens (id, name, digest, revoked_at, body)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let params = params![
            token.id,
            token.name,
            token.digest.to_string(),
            token.revoked_at.map(micros),
            body("token", token)?,
        ];
        self.insert("token", &token.name, sql, params)
    }

    /// Makes a token invalid from `at` on. Nothing happens when it is already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn revoke_token(&mut self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut token = self.token(id)?.ok_or_else(|| StoreError::not_found("token", id))?;
        if token.revoked_at.is_none() {
            token.revoked_at = Some(at);
            let sql = "UPDATE tokens SET revoked_at = ?2, body = ?3 WHERE id = ?1";
            self.change(sql, params![id, micros(at), body("token", &token)?])?;
        }
        Ok(())
    }

    /// Notes that a token was used, unless its last use is less than a minute back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn touch_token(&mut self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut token = self.token(id)?.ok_or_else(|| StoreError::not_found("token", id))?;
        let recent = |last: Timestamp| micros(at) - micros(last) < LAST_USED_EVERY_MICROS;
        if !token.last_used_at.is_some_and(recent) {
            token.last_used_at = Some(at);
            let sql = "UPDATE tokens SET body = ?2 WHERE id = ?1";
            self.change(sql, params![id, body("token", &token)?])?;
        }
        Ok(())
    }

    /// Forgets tokens that were revoked before an instant. Answers how many.
    pub fn prune_tokens(&mut self, revoked_before: Timestamp) -> Result<usize, StoreError> {
        self.change("DELETE FROM tokens WHERE revoked_at < ?1", [micros(revoked_before)])
    }
}
