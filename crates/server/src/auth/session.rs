//! Sessions of the console: a browser holds random text in a cookie, the store its digest. A session
//! acts in the name of the token it was begun with, and is worth nothing once that is revoked. A
//! link begins one session, once, within minutes.

use ark_model::Sha256;
use ark_store::{SessionKind, StoreError, TokenRecord};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq as _;

use super::caller::{Caller, note_use};
use super::token::role_of;
use crate::api::ApiError;
use crate::state::ServerState;

/// How long a session lasts, used or not.
const SESSION_LASTS: SignedDuration = SignedDuration::from_hours(24 * 7);
/// How long a link may be used.
const LINK_LASTS: SignedDuration = SignedDuration::from_mins(10);
const SECRET_BYTES: usize = 32;
/// The longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// What begins a session.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The text of a token.
    Token(&'a str),
    /// The code of a link, which is used up.
    Link(&'a str),
}

fn secret() -> Result<String, ApiError> {
    let mut bytes = [0; SECRET_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| ApiError::internal("the system gave no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn digest_of(text: &str) -> Option<Sha256> {
    (text.len() <= TEXT_BYTES_MAX).then(|| Sha256::of(text.as_bytes()))
}

/// Begins a session; answers the text for its cookie, `None` when the proof is worth nothing.
///
/// # Errors
/// When the store cannot say.
pub async fn begin_session(
    state: &ServerState,
    proof: Proof<'_>,
) -> Result<Option<String>, ApiError> {
    let (Proof::Token(text) | Proof::Link(text)) = proof;
    let Some(digest) = digest_of(text) else { return Ok(None) };
    let is_link = matches!(proof, Proof::Link(_));
    let session = secret()?;
    let key = Sha256::of(session.as_bytes());
    let now = Timestamp::now();
    let begun = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let token = match is_link {
                true => {
                    let token = tx.session_token(SessionKind::Link, &digest, now)?;
                    tx.end_session(SessionKind::Link, &digest)?;
                    token
                }
                false => tx
                    .token_by_digest(&digest)?
                    .filter(|record| bool::from(record.digest.0.ct_eq(&digest.0)))
                    .filter(|record| record.revoked_at.is_none() && record.aws.is_none()),
            };
            let Some(token) = token else { return Ok(None) };
            tx.insert_session(SessionKind::Session, &key, &token.id, now, now + SESSION_LASTS)?;
            Ok(Some(token))
        })
        .await?;
    Ok(begun.map(|token| {
        note_use(state, &token);
        session
    }))
}

/// Makes a link that begins a session in the name of `caller`; answers its code, and until when it
/// may be used.
///
/// # Errors
/// When the store cannot write.
pub async fn new_link(
    state: &ServerState,
    caller: &Caller,
) -> Result<(String, Timestamp), ApiError> {
    let code = secret()?;
    let (key, token, now) = (Sha256::of(code.as_bytes()), caller.token.clone(), Timestamp::now());
    let until = now + LINK_LASTS;
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            Ok(tx.insert_session(SessionKind::Link, &key, &token, now, until)?)
        })
        .await?;
    Ok((code, until))
}

/// In whose name a session acts.
///
/// # Errors
/// When the store cannot say.
pub async fn session_caller(
    state: &ServerState,
    session: &str,
) -> Result<Option<Caller>, ApiError> {
    let Some(key) = digest_of(session) else { return Ok(None) };
    let now = Timestamp::now();
    let found = state
        .store
        .read::<_, StoreError, _>(move |tx| tx.session_token(SessionKind::Session, &key, now))
        .await?;
    Ok(found.and_then(|record: TokenRecord| {
        let role = role_of(&record)?;
        note_use(state, &record);
        Some(Caller { name: record.name, role, token: record.id })
    }))
}

/// Ends a session.
///
/// # Errors
/// When the store cannot write.
pub async fn end_session(state: &ServerState, session: &str) -> Result<(), ApiError> {
    let Some(key) = digest_of(session) else { return Ok(()) };
    state
        .store
        .write::<_, ApiError, _>(move |tx| Ok(tx.end_session(SessionKind::Session, &key)?))
        .await?;
    Ok(())
}
