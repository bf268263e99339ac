//! Requests that are carried out once, however often they are sent: the answer is kept under the
//! caller's key, in the same transaction as what the request did.

use ark_model::Sha256;
use ark_model::api::{IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_BYTES_MAX, ProblemCode};
use ark_store::{StoredAnswer, WriteTx};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::error::ApiError;
use super::operation::Shared;
use crate::auth::Caller;

/// For how long an answer is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Says that an answer was given before.
const REPLAYED: &str = "idempotency-replayed";

/// The key of a request, with what it must be the key of.
#[derive(Debug, Clone)]
pub(super) struct Key {
    caller: String,
    key: String,
    request: Sha256,
}

impl Key {
    /// Reads the key of a request; `None` when it has none. `operation` and `body` are what the
    /// key stands for.
    pub(super) fn of<T: Serialize>(
        caller: &Caller,
        headers: &HeaderMap,
        operation: &str,
        body: &T,
    ) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
            return Ok(None);
        };
        let visible = |text: &&str| {
            !text.is_empty()
                && text.len() <= IDEMPOTENCY_KEY_BYTES_MAX
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let key = value.to_str().ok().filter(visible).ok_or_else(|| {
            let detail = format!(
                "the idempotency key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible characters"
            );
            ApiError::new(ProblemCode::InvalidValue, detail)
        })?;
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::internal(format!("a request as JSON: {error}")))?;
        let request = Sha256::of(&[operation.as_bytes(), b"\n", &body].concat());
        Ok(Some(Self { caller: caller.token.clone(), key: key.to_owned(), request }))
    }
}

/// What a request that changes something answers.
#[derive(Debug)]
pub(super) struct Answer {
    stored: StoredAnswer,
    location: Option<String>,
    replayed: bool,
}

/// An answer is kept with its address, which is in a header and not in the body.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Kept {
    location: Option<String>,
    body: String,
}

impl Answer {
    fn of_kept(kept: &StoredAnswer) -> Result<Self, ApiError> {
        let Kept { location, body } = serde_json::from_str(&kept.body)
            .map_err(|error| ApiError::internal(format!("a kept answer: {error}")))?;
        let stored = StoredAnswer { status: kept.status, body };
        Ok(Self { stored, location, replayed: true })
    }
}

/// The answer given under this key before, if any.
pub(super) async fn replay(state: &Shared, key: Option<&Key>) -> Result<Option<Answer>, ApiError> {
    let Some(key) = key.cloned() else {
        return Ok(None);
    };
    let now = Timestamp::now();
    let kept = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            Ok(tx.stored_answer(&key.caller, &key.key, &key.request, now)?)
        })
        .await?;
    kept.as_ref().map(Answer::of_kept).transpose()
}

/// Carries out `work` in one transaction, unless the key says that it was carried out before.
/// `work` answers with a body and its address.
pub(super) async fn once<T, F>(
    state: &Shared,
    key: Option<Key>,
    status: StatusCode,
    work: F,
) -> Result<Answer, ApiError>
where
    T: Serialize + Send + 'static,
    F: FnOnce(&mut WriteTx) -> Result<(T, Option<String>), ApiError> + Send + 'static,
{
    let now = Timestamp::now();
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            if let Some(key) = &key
                && let Some(kept) = tx.stored_answer(&key.caller, &key.key, &key.request, now)?
            {
                return Answer::of_kept(&kept);
            }
            let (body, location) = work(tx)?;
            let body = json(&body)?;
            if let Some(key) = &key {
                let kept = Kept { location: location.clone(), body: body.clone() };
                let kept = StoredAnswer { status: status.as_u16(), body: json(&kept)? };
                let expires = now.saturating_add(KEPT).unwrap_or(Timestamp::MAX);
                tx.store_answer(&key.caller, &key.key, &key.request, &kept, expires)?;
            }
            let stored = StoredAnswer { status: status.as_u16(), body };
            Ok(Answer { stored, location, replayed: false })
        })
        .await
}

fn json<T: Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|error| ApiError::internal(format!("an answer: {error}")))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.stored.body));
        *response.status_mut() = StatusCode::from_u16(self.stored.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = self.location.and_then(|at| HeaderValue::from_str(&at).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
