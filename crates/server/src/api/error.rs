//! The one error of the API. What the caller reads ([`Problem`]) and what the operator reads (the
//! internal half, in the log) are apart: `ApiError` has no `Display`, so the internal half cannot
//! slip into an answer.

use std::error::Error;
use std::fmt::Write as _;

use ark_console::Asked;
use ark_engine::{EngineError, EngineKind};
use ark_model::NodeName;
use ark_model::api::{DiagnosticView, Problem, ProblemCode, Remedy};
use ark_store::StoreError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The media type of every error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    internal: Option<String>,
}

/// What an error leaves on its response for the outermost layer, which gives it a request id and
/// writes the log.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) problem: Box<Problem>,
    pub(super) internal: Option<String>,
}

impl ApiError {
    /// A problem with what happened, for the caller.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), internal: None }
    }

    /// A fault of the server: the caller learns nothing but that.
    pub fn internal(context: impl Into<String>) -> Self {
        let detail = "the request could not be finished; the server's log has the reason";
        Self { internal: Some(context.into()), ..Self::new(ProblemCode::Internal, detail) }
    }

    /// What the engine of a host did not do, for a caller who asked for something there.
    pub(super) fn of_host(node: &NodeName, error: EngineError) -> Self {
        match &error {
            EngineError::Unavailable { engine, .. } => Self::unavailable(node, *engine, &error),
            EngineError::Unknown(_)
            | EngineError::NotRunning(_)
            | EngineError::StillThere(_)
            | EngineError::Refused { .. }
            | EngineError::ImageExists(_)
            | EngineError::ExecFailed { .. } => error.into(),
        }
    }

    fn unavailable(node: &NodeName, engine: EngineKind, error: &EngineError) -> Self {
        let api = Self::new(ProblemCode::EngineFailed, unavailable(node, engine, error))
            .context(chain(error));
        match node.is_local() {
            true => api.remedy("look closer", "ark doctor"),
            false => api.remedy("look at the hosts", "ark node list"),
        }
    }

    /// Adds a command to type.
    #[must_use]
    pub fn remedy(mut self, label: &str, command: impl Into<String>) -> Self {
        self.problem.remedy.push(Remedy { label: label.to_owned(), command: command.into() });
        self
    }

    /// Names everything that is missing.
    #[must_use]
    pub fn missing(mut self, names: Vec<String>) -> Self {
        self.problem.missing = names;
        self
    }

    /// Adds findings of a launch file.
    #[must_use]
    pub fn diagnostics(mut self, found: Vec<DiagnosticView>) -> Self {
        self.problem.diagnostics = found;
        self
    }

    /// Adds what only the log may say.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.internal = Some(context.into());
        self
    }

    /// What the caller reads.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The kind of problem.
    pub fn code(&self) -> ProblemCode {
        self.problem.code
    }

    /// What the caller reads, owned.
    pub fn into_problem(self) -> Problem {
        *self.problem
    }
}

/// That the engine of a host is away, and why: who runs Ark can mend that, so it is no secret of the log.
pub(super) fn unavailable(node: &NodeName, engine: EngineKind, error: &EngineError) -> String {
    format!("the {engine} engine of host {node} is not available: {}", error.cause())
}

/// An error with its causes, one after the other: for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        use ProblemCode::{
            AlreadyExists, Busy, IdempotencyConflict, InvalidValue, ShuttingDown, StaleWriter,
            StorageFailed,
        };
        let context = chain(&error);
        let public = match &error {
            StoreError::Busy { .. } | StoreError::Locked { .. } => {
                Self::new(Busy, error.to_string())
            }
            StoreError::Closed => Self::new(ShuttingDown, "the server is shutting down"),
            StoreError::DiskFull { .. } => Self::new(
                StorageFailed,
                "the disk that holds the store is full; nothing was changed",
            )
            .remedy("free space", "ark gc"),
            StoreError::Io { .. } | StoreError::File { .. } => {
                Self::new(StorageFailed, "the disk that holds the store failed")
                    .remedy("look closer", "ark doctor")
            }
            StoreError::Exists { .. } => Self::new(AlreadyExists, error.to_string()),
            StoreError::Conflict { .. } | StoreError::StaleLease { .. } => {
                Self::new(StaleWriter, error.to_string())
            }
            StoreError::KeyReused { .. } => Self::new(IdempotencyConflict, error.to_string()),
            StoreError::Limit { .. } => Self::new(InvalidValue, error.to_string()),
            // Existence is checked where the noun is known; what gets here is a defect.
            StoreError::NotFound { .. }
            | StoreError::Panicked { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Newer { .. }
            | StoreError::Migration { .. }
            | StoreError::InUse { .. }
            | StoreError::NoPort { .. }
            | StoreError::Record { .. }
            | StoreError::Sqlite { .. } => Self::internal(""),
        };
        public.context(context)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let context = chain(&error);
        let code = match &error {
            EngineError::Unknown(_) => ProblemCode::InstanceNotFound,
            EngineError::NotRunning(_) | EngineError::StillThere(_) => {
                ProblemCode::InstanceNotRunning
            }
            EngineError::Refused { .. } => ProblemCode::NotSupported,
            EngineError::ImageExists(_) => ProblemCode::AlreadyExists,
            EngineError::ExecFailed { .. } | EngineError::Unavailable { .. } => {
                ProblemCode::EngineFailed
            }
        };
        // The system's reason (`No such file or directory`, `Connection refused`) is what the caller needs.
        let detail = match &error {
            EngineError::ExecFailed { .. } | EngineError::Unavailable { .. } => context.clone(),
            EngineError::Unknown(_)
            | EngineError::NotRunning(_)
            | EngineError::StillThere(_)
            | EngineError::Refused { .. }
            | EngineError::ImageExists(_) => error.to_string(),
        };
        let api = Self::new(code, detail).context(context);
        match error {
            EngineError::Unavailable { .. } => api.remedy("look closer", "ark doctor"),
            _ => api,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = render(&self.problem);
        let failure = Failure { problem: self.problem, internal: self.internal };
        response.extensions_mut().insert(failure);
        response
    }
}

/// The response of a problem.
pub(super) fn render(problem: &Problem) -> Response {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if problem.code == ProblemCode::Unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    when_again(problem, headers);
    response
}

/// The same, for somebody who reads pages.
pub(super) fn page(problem: &Problem, asked: &Asked) -> Response {
    let mut response = ark_console::refusal(problem, asked);
    when_again(problem, response.headers_mut());
    response
}

fn when_again(problem: &Problem, headers: &mut HeaderMap) {
    if problem.code == ProblemCode::Busy {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internal_half_is_not_in_the_answer() {
        let error = ApiError::internal("secret detail of the store");
        let text = serde_json::to_string(error.problem()).expect("a problem is JSON");
        assert!(!text.contains("secret detail"), "{text}");
        assert_eq!(error.problem().exit_code, 1);
    }
}
