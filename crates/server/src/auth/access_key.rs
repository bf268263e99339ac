//! Access keys: pairs with which AWS's clients sign. The secret half is kept sealed, because it is
//! needed to verify; it is opened for that moment only.

use std::fmt;

use ark_model::api::Role;
use ark_store::{AwsKey, Keyring, SecretValue, StoreError, TokenRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;
use zeroize::Zeroize;

use super::caller::{Caller, note_use};
use super::sigv4::{Request, SignatureError, Signer};
use super::token::role_of;
use crate::state::ServerState;

/// How the public half begins, as AWS's long-lived keys do: its clients and scanners know them.
const PREFIX: &str = "AKIA";
/// What follows the prefix.
const ID_LETTERS: usize = 16;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 240 random bits: 40 letters, as long as AWS's.
const SECRET_BYTES: usize = 30;

/// The secret half of a new key. Wiped from memory when dropped, never shown by `Debug`.
pub struct RawAccessKey(SecretValue);

impl RawAccessKey {
    /// The text: for the one answer that hands it out.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for RawAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawAccessKey(hidden)")
    }
}

/// A new pair, to be recorded with [`ark_store::WriteTx::insert_token`]. `None` when the system has
/// no randomness.
pub fn new_access_key(
    keyring: &Keyring,
    name: &str,
    role: Role,
    created_by: &str,
    now: Timestamp,
) -> Option<(RawAccessKey, TokenRecord)> {
    let random = SystemRandom::new();
    let mut letters = [0; ID_LETTERS];
    random.fill(&mut letters).ok()?;
    let mut access_key_id = String::from(PREFIX);
    access_key_id.extend(letters.map(|byte| char::from(ALPHABET[usize::from(byte % 32)])));
    let mut secret = [0; SECRET_BYTES];
    random.fill(&mut secret).ok()?;
    let raw = SecretValue::new(STANDARD_NO_PAD.encode(secret));
    secret.zeroize();
    let sealed = keyring.seal_access_key(&access_key_id, &raw).ok()?;
    let record = TokenRecord {
        id: Uuid::now_v7().to_string(),
        name: name.to_owned(),
        digest: AwsKey::lookup(&access_key_id),
        role: role.as_str().to_owned(),
        created_at: now,
        created_by: created_by.to_owned(),
        last_used_at: None,
        revoked_at: None,
        aws: Some(AwsKey { access_key_id, secret: sealed }),
    };
    Some((RawAccessKey(raw), record))
}

/// Who signed a request, and for which region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCaller {
    /// Who.
    pub caller: Caller,
    /// The region of the credential's scope: that of all ARNs in the answer.
    pub region: String,
}

/// Why nobody is known to have signed a request.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The request's fault.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The store's.
    #[error("the access key cannot be read")]
    Store(#[from] StoreError),
}

/// Finds out who signed a request to `service`.
///
/// # Errors
/// [`AuthenticationError`].
pub async fn authenticate_signed(
    state: &ServerState,
    request: Request<'_>,
    service: &str,
    now: Timestamp,
) -> Result<SignedCaller, AuthenticationError> {
    let signer = Signer::of(request.headers)?;
    let digest = AwsKey::lookup(&signer.access_key_id);
    let record = state
        .store
        .read::<_, StoreError, _>(move |tx| tx.token_by_digest(&digest))
        .await?
        .filter(|record| record.revoked_at.is_none());
    let (Some(record), false) = (record, request.headers.contains_key("x-amz-security-token"))
    else {
        // A session token belongs to keys that AWS made for a while; ours have none.
        return Err(SignatureError::UnknownKey.into());
    };
    let (Some(key), Some(role)) = (&record.aws, role_of(&record)) else {
        return Err(SignatureError::UnknownKey.into());
    };
    let secret =
        state.keyring.open_access_key(&key.access_key_id, &key.secret).map_err(|error| {
            tracing::error!(key = key.access_key_id, %error, "an access key cannot be opened");
            SignatureError::UnknownKey
        })?;
    signer.verify(request, service, secret.expose(), now)?;
    note_use(state, &record);
    let caller = Caller { name: record.name, role, token: record.id };
    Ok(SignedCaller { caller, region: signer.region })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_looks_like_one_of_aws_and_is_never_shown() {
        let keyring = Keyring::ephemeral().expect("randomness");
        let (raw, record) =
            new_access_key(&keyring, "ci", Role::Deployer, "ana", Timestamp::UNIX_EPOCH)
                .expect("randomness");
        let key = record.aws.clone().expect("an access key");
        assert_eq!((raw.expose().len(), key.access_key_id.len()), (40, 20));
        assert!(key.access_key_id.starts_with(PREFIX));
        assert!(!format!("{raw:?}{record:?}").contains(raw.expose()));
        assert!(!serde_json::to_string(&record).expect("JSON").contains(raw.expose()));
        let opened = keyring.open_access_key(&key.access_key_id, &key.secret).expect("ours");
        assert_eq!(opened.expose(), raw.expose());
        assert!(keyring.open_access_key("AKIAOTHER", &key.secret).is_err());
    }
}
