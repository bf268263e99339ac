//! Tokens: 256 random bits, known to the store by their SHA-256 only. A fast hash is enough for
//! what cannot be guessed.

use std::fmt;

use ark_model::Sha256;
use ark_model::api::Role;
use ark_store::TokenRecord;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

/// How every token begins, so that a leaked one is recognised for what it is.
const PREFIX: &str = "ark_";
const SECRET_BYTES: usize = 32;

/// The text of a token. Wiped from memory when dropped, never shown by `Debug`.
pub struct RawToken(Zeroizing<String>);

impl RawToken {
    /// The text: for the one answer, or the one file, that hands it out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(hidden)")
    }
}

/// A new token, to be recorded with [`ark_store::WriteTx::insert_token`]. `None` when the system
/// has no randomness.
pub fn new_token(
    name: &str,
    role: Role,
    created_by: &str,
    now: Timestamp,
) -> Option<(RawToken, TokenRecord)> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).ok()?;
    let mut text = String::with_capacity(64);
    text.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(secret, &mut text);
    secret.zeroize();
    let record = TokenRecord {
        id: Uuid::now_v7().to_string(),
        name: name.to_owned(),
        digest: Sha256::of(text.as_bytes()),
        role: role.as_str().to_owned(),
        created_at: now,
        created_by: created_by.to_owned(),
        last_used_at: None,
        revoked_at: None,
        aws: None,
    };
    Some((RawToken(Zeroizing::new(text)), record))
}

/// The role a record names.
pub(crate) fn role_of(record: &TokenRecord) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.as_str() == record.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_and_never_shown() {
        let (raw, record) =
            new_token("ana", Role::Deployer, "ark", Timestamp::UNIX_EPOCH).expect("randomness");
        assert_eq!(record.digest, Sha256::of(raw.expose().as_bytes()));
        assert_eq!(role_of(&record), Some(Role::Deployer));
        assert_eq!(raw.expose().len(), PREFIX.len() + 43);
        assert!(!format!("{raw:?}{record:?}").contains(&raw.expose()[PREFIX.len()..]));
        let (other, _) = new_token("ana", Role::Deployer, "ark", Timestamp::UNIX_EPOCH).expect("");
        assert_ne!(raw.expose(), other.expose());
    }
}
