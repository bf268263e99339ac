//! Errors as this protocol says them: a name, a text, a status. What only the operator may read goes
//! to the log.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use crate::workflows::{Refusal, WorkflowError};

/// An error on its way out.
#[derive(Debug)]
pub(super) struct WireError {
    pub(super) status: StatusCode,
    /// AWS's name for it.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// For the log only.
    context: Option<String>,
}

impl WireError {
    fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), context: None }
    }

    /// The request's fault: asking again changes nothing.
    pub(super) fn bad_request(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::bad_request("ValidationException", message)
    }

    /// A value of another type than the operation takes.
    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::bad_request("SerializationException", message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::bad_request("AccessDeniedException", message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::bad_request("UnknownOperationException", "The operation is not known.")
    }

    /// Clients wait and ask again.
    pub(super) fn throttled(message: impl Into<String>) -> Self {
        Self::bad_request("ThrottlingException", message)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The body is larger than {bytes_max} bytes, or ended early.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
    }

    /// Clients ask again.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// Ark's fault.
    pub(super) fn internal(context: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "InternalFailure", "An internal error; the server's log has more.")
            .context(context)
    }

    pub(super) fn context(self, context: impl Into<String>) -> Self {
        Self { context: Some(context.into()), ..self }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "__type": self.code, "message": self.message })
    }

    pub(super) fn log(&self, request: &str, parts: &Parts) {
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        let target = target.unwrap_or_default();
        let (code, status) = (self.code.as_str(), self.status.as_u16());
        let context = self.context.as_deref().unwrap_or_default();
        if status >= 500 {
            tracing::error!(request, target, code, status, context, "a wire request failed");
        } else {
            tracing::debug!(request, target, code, status, context, "a wire request was refused");
        }
    }
}

impl From<WorkflowError> for WireError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Refused { refusal, message } => {
                Self::bad_request(refusal.name(), message)
            }
            WorkflowError::Store(source) => {
                Self::unavailable("the store did not answer").context(source.to_string())
            }
            WorkflowError::Fenced | WorkflowError::ShuttingDown => {
                Self::unavailable(error.to_string())
            }
            WorkflowError::Internal(context) => Self::internal(context),
        }
    }
}

/// The refusal of a page token that is not ours, out of date, or another list's.
pub(super) fn invalid_token() -> WireError {
    Refusal::InvalidToken.with("Invalid Token: 'Invalid token'").into()
}
