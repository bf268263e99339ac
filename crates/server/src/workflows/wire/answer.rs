//! Answers: JSON bodies, instants, and the one body that tells whether it was taken.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::WireError;

/// The protocol's media type.
pub(super) const JSON: &str = "application/x-amz-json-1.0";

/// The result of an operation.
pub(super) type Answered = Result<Response, WireError>;

/// An answer with a body of any type.
pub(super) fn response(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// An answer as the protocol wants it.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    response(status, JSON, Body::from(value.to_string()))
}

/// The answer of an operation that did it.
pub(super) fn done(value: &Value) -> Answered {
    Ok(json(StatusCode::OK, value))
}

/// The answer of an operation that has nothing to say.
pub(super) fn nothing() -> Answered {
    done(&Value::Object(Map::new()))
}

/// An answer that says `taken` once it was written to the client: the bytes first, then a pause in
/// which they go out, then the word and the end. A client that is gone meanwhile ends the connection
/// and the word is never said.
pub(super) fn confirmed(value: &Value, taken: impl FnOnce() + Send + 'static) -> Response {
    let bytes = Bytes::from(value.to_string());
    let parts =
        futures::stream::unfold((Some(bytes), Some(taken)), |(bytes, mut taken)| async move {
            if let Some(bytes) = bytes {
                return Some((Ok::<_, std::io::Error>(bytes), (None, taken)));
            }
            tokio::task::yield_now().await;
            if let Some(taken) = taken.take() {
                taken();
            }
            None
        });
    // Without a known length, so that the end is a chunk of its own.
    response(StatusCode::OK, JSON, Body::from_stream(parts))
}

/// What every answer carries.
pub(super) fn mark(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Seconds since 1970 with milliseconds.
pub(super) fn seconds(at: Timestamp) -> Value {
    #[allow(clippy::cast_precision_loss, reason = "exact up to the year 287,000")]
    let seconds = at.as_millisecond() as f64 / 1_000.0;
    Value::from(seconds)
}

/// An object whose absent members are left out.
#[derive(Debug, Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn done(self) -> Answered {
        done(&self.value())
    }
}
