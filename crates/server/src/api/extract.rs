//! Extractors that refuse with a problem, and without repeating what was sent: a body may hold a
//! secret (I8).

use ark_model::api::{Page, ProblemCode};
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ApiError, chain};
use ark_model::api::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use axum::response::{IntoResponse, Response};

/// A JSON body, read or written.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(json_error(&rejection)),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn json_error(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
            let detail =
                format!("the body is not what it must be: {}", without_values(&chain(rejection)));
            ApiError::new(ProblemCode::BadRequest, detail)
        }
        JsonRejection::MissingJsonContentType(_) => {
            ApiError::new(ProblemCode::UnsupportedType, "the body must be application/json")
        }
        JsonRejection::BytesRejection(rejection) => bytes_error(rejection),
        other => ApiError::new(ProblemCode::BadRequest, "the body cannot be read")
            .context(other.to_string()),
    }
}

/// The problem of a body that could not be read whole.
pub(super) fn bytes_error(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(
            ProblemCode::TooLarge,
            "the body is larger than this operation allows",
        );
    }
    ApiError::new(ProblemCode::BadRequest, "the body ended early").context(chain(rejection))
}

/// What serde says of a body, without the part that repeats a value of it: "invalid type: string
/// "hunter2", expected ..." becomes "expected ...".
fn without_values(text: &str) -> String {
    let last = text.rsplit(": ").next().unwrap_or_default();
    for marker in ["invalid type", "invalid value", "invalid length"] {
        if text.contains(marker) {
            return match text.rfind(", expected ") {
                Some(at) => text[at + 2..].to_owned(),
                None => "a value of another type was expected".to_owned(),
            };
        }
    }
    // Names of fields are the schema's words or the caller's keys; keys are not secret.
    match text.find("unknown field").or_else(|| text.find("missing field")) {
        Some(at) => text[at..].to_owned(),
        None => last.to_owned(),
    }
}

/// Query parameters.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection: QueryRejection| {
                let detail = format!("the query cannot be understood: {}", source(&rejection));
                ApiError::new(ProblemCode::BadRequest, detail)
            })
    }
}

/// Parameters of the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection: PathRejection| {
                let detail = format!("the address cannot be understood: {}", source(&rejection));
                ApiError::new(ProblemCode::InvalidValue, detail)
            })
    }
}

/// The innermost reason.
fn source(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string()
}

/// The number of items asked for.
pub(super) fn page_limit(limit: Option<u32>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(PAGE_ITEMS_DEFAULT as usize),
        Some(limit @ 1..=PAGE_ITEMS_MAX) => Ok(limit as usize),
        Some(other) => Err(ApiError::new(
            ProblemCode::InvalidValue,
            format!("limit {other} is not allowed: 1 to {PAGE_ITEMS_MAX}"),
        )),
    }
}

/// A cursor's value.
pub(super) fn cursor<T: std::str::FromStr>(cursor: Option<&str>) -> Result<Option<T>, ApiError> {
    match cursor {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            ApiError::new(ProblemCode::InvalidValue, "the cursor is not one this list has given")
        }),
    }
}

/// A page of `items`, of which one more than `limit` was asked for to know whether there are more.
pub(super) fn page<T, U>(
    mut items: Vec<T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
    view: impl Fn(T) -> U,
) -> Page<U> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items: items.into_iter().map(view).collect(), next }
}

#[cfg(test)]
mod tests {
    use ark_model::api::{ConfigPatch, TokenCreate};

    use super::*;

    #[test]
    fn a_refused_body_is_not_repeated() {
        for body in [
            r#"{"set":{"DB":"hunter2"}}"#,
            r#"{"set":{"DB":{"value":{"hunter2":1}}}}"#,
            r#"{"set":{"DB":{"value":"x","secret":"hunter2"}}}"#,
            r#"{"set":["hunter2"]}"#,
            r#"{"set":{"DB":{"value":"hunter2"#,
            r#"{"set":"hunter2, expected hunter2"}"#,
        ] {
            let error = serde_json::from_str::<ConfigPatch>(body).expect_err("it is wrong");
            let text = without_values(&format!("failed: {error}"));
            let told = text.replace("expected hunter2\"}", "");
            assert!(!told.contains("hunter2"), "{body}: {text}");
        }
        let error = serde_json::from_str::<TokenCreate>(r#"{"name":"a","rol":"x"}"#).expect_err("");
        assert!(without_values(&error.to_string()).contains("unknown field `rol`"));
    }
}
