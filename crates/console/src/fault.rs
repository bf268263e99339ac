//! Why a page cannot be shown: a problem of the API, or one of the console's own. Turned into a
//! page by [`crate::visit::enter`], which knows the viewer.

use ark_model::api::{Problem, ProblemCode};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Fault(pub(crate) Box<Problem>);

impl Fault {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    pub(crate) fn code(&self) -> ProblemCode {
        self.0.code
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<askama::Error> for Fault {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a page could not be rendered");
        Self::new(ProblemCode::Internal, "the page could not be rendered; the log has the reason")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
