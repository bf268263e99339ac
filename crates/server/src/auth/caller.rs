//! Who sends a request: the bearer of a token.

use ark_model::Sha256;
use ark_model::api::{ProblemCode, Role};
use ark_store::{StoreError, TokenRecord};
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;

use super::roles::{Permission, allows};
use super::token::role_of;
use crate::api::ApiError;
use crate::state::ServerState;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;
/// The last use of a token is noted this often.
const LAST_USE_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// The bearer of a valid token, present in every handler but the public ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it stands in events and deployments.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Which token.
    pub token: String,
}

impl Caller {
    /// Refuses what the role does not allow.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may(&self, permission: Permission) -> Result<(), ApiError> {
        if allows(self.role, permission) {
            return Ok(());
        }
        let (name, role) = (&self.name, self.role.as_str());
        let words = permission.words();
        let needed = permission.weakest().as_str();
        let detail = format!("`{name}` has the role `{role}`, which may not {words}");
        Err(ApiError::new(ProblemCode::Forbidden, detail)
            .remedy("ask for a token that may", format!("ark token create NAME --role {needed}")))
    }
}

/// Finds out who calls, and refuses what they may not.
///
/// # Errors
/// `unauthorized`, `forbidden`.
pub async fn authorize(
    state: &ServerState,
    headers: &HeaderMap,
    permission: Permission,
) -> Result<Caller, ApiError> {
    let digest = Sha256::of(bearer(headers)?.as_bytes());
    let record = state
        .store
        .read::<_, StoreError, _>(move |tx| tx.token_by_digest(&digest))
        .await?
        // The index found it by comparing bytes in its own time; what decides compares in constant
        // time. Neither would help to guess 256 bits.
        .filter(|record| bool::from(record.digest.0.ct_eq(&digest.0)))
        .filter(|record| record.revoked_at.is_none() && record.aws.is_none())
        .ok_or_else(|| unauthorized("the token is not known, or was revoked"))?;
    let role = role_of(&record)
        .ok_or_else(|| unauthorized("the token has a role that this server does not know"))?;
    note_use(state, &record);
    let caller = Caller { name: record.name, role, token: record.id };
    caller.may(permission)?;
    Ok(caller)
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unauthorized("the request has no token"))?
        .to_str()
        .map_err(|_| unauthorized("the token is not text"))?;
    match value.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX =>
        {
            Ok(token.trim())
        }
        _ => Err(unauthorized("the request has no token of the form `Authorization: Bearer ...`")),
    }
}

fn unauthorized(detail: &str) -> ApiError {
    ApiError::new(ProblemCode::Unauthorized, detail)
        .remedy("give one", "--token TOKEN, ARK_TOKEN, or --data-dir of the server on this machine")
}

/// Beside the request: an answer must not wait for the note, nor fail with it.
pub(super) fn note_use(state: &ServerState, record: &TokenRecord) {
    let now = Timestamp::now();
    let recent = |last: Timestamp| now.duration_since(last) < LAST_USE_EVERY;
    if record.last_used_at.is_some_and(recent) {
        return;
    }
    let id = record.id.clone();
    let write = state.store.write::<_, StoreError, _>(move |tx| tx.touch_token(&id, now));
    tokio::spawn(async move {
        if let Err(error) = write.await {
            tracing::debug!(%error, "the last use of a token was not noted");
        }
    });
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a handler of a public operation asked who calls"))
    }
}
