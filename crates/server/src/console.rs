//! The server behind the console: sessions, and calls of the API in a viewer's name. What a page
//! asks passes the same gates as a request from outside; only the token's place is taken by the
//! session.

use std::sync::Arc;

use ark_console::{Credential, Host, Viewer};
use ark_model::api::Problem;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use tower::ServiceExt as _;

use crate::api::{ApiError, Shared};
use crate::auth::{Caller, Proof, begin_session, end_session, session_caller};

/// See the module.
pub(crate) struct ConsoleHost {
    state: Shared,
    api: Router,
}

/// All pages, in front of this API.
pub(crate) fn router(state: Shared, api: Router) -> Router {
    ark_console::router(Arc::new(ConsoleHost { state, api }))
}

/// What a browser is shown where there is nothing.
pub(crate) fn nowhere(state: Shared, api: Router) -> Router {
    ark_console::nowhere(Arc::new(ConsoleHost { state, api }))
}

/// What a page may say of an error; the rest is for the log.
fn public(error: ApiError) -> Problem {
    if error.problem().status >= 500 {
        tracing::error!(?error, "a session could not be looked at");
    }
    error.into_problem()
}

#[async_trait]
impl Host for ConsoleHost {
    async fn begin(&self, credential: Credential<'_>) -> Result<Option<String>, Problem> {
        let proof = match credential {
            Credential::Token(text) => Proof::Token(text),
            Credential::Link(code) => Proof::Link(code),
        };
        begin_session(&self.state, proof).await.map_err(public)
    }

    async fn viewer(&self, session: &str) -> Result<Option<Viewer>, Problem> {
        let found = session_caller(&self.state, session).await.map_err(public)?;
        Ok(found.map(|Caller { name, role, token }| Viewer { name, role, token }))
    }

    async fn end(&self, session: &str) -> Result<(), Problem> {
        end_session(&self.state, session).await.map_err(public)
    }

    async fn call(&self, viewer: &Viewer, mut request: Request<Body>) -> Response {
        let Viewer { name, role, token } = viewer.clone();
        request.extensions_mut().insert(Caller { name, role, token });
        match self.api.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => never.into_response(),
        }
    }
}
