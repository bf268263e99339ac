//! What stands before every handler: the guard for all requests, the gate for one operation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use ark_console::Asked;
use ark_model::api::ProblemCode;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderValue, Method, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::error::{ApiError, Failure, page, render};
use super::operation::{Access, Deadline, Shared};
use crate::auth::{Caller, authorize, check_host, check_origin};

/// The header that names a request in answers and in the log.
const REQUEST_ID: &str = "x-request-id";
/// Where the workflow manager's API begins, whose clients read `message` of an error.
const WORKFLOW_MANAGER: &str = "/wm/";

/// Who asks at the addresses behind a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Programs: whatever is refused is a problem.
    Programs,
    /// Browsers, too: to them it is a page.
    Pages,
}

/// For all requests: refuses pages and too many at once, turns a panic into an answer, names the
/// request, and writes what only the operator may read to the log.
pub(super) async fn guard(
    State((state, door)): State<(Shared, Door)>,
    request: Request,
    next: Next,
) -> Response {
    let reader = (door == Door::Pages).then(|| Asked::by(&request)).flatten();
    let id = Uuid::now_v7().simple().to_string();
    let method = request.method().clone();
    let path = loggable(request.uri().path()).to_owned();
    // What the console asks for is part of a request that has its place already.
    let permit = match request.extensions().get::<Caller>() {
        Some(_) => Ok(None),
        None => enter(&state, &request).map(Some),
    };
    let mut response = match permit {
        Err(error) => error.into_response(),
        Ok(permit) => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            drop(permit);
            answer.unwrap_or_else(|panic| panicked(panic.as_ref()).into_response())
        }
    };
    if let Some(mut failure) = response.extensions_mut().remove::<Failure>() {
        let problem = &mut failure.problem;
        problem.request_id = Some(id.clone());
        if path.starts_with(WORKFLOW_MANAGER) {
            problem.message = Some(problem.detail.clone());
        }
        let (code, status) = (problem.code.as_str(), problem.status);
        let context = failure.internal.as_deref().unwrap_or_default();
        if status >= 500 {
            tracing::error!(request = id, %method, path, code, status, context, "request failed");
        } else {
            tracing::debug!(request = id, %method, path, code, status, context, "request refused");
        }
        response = match &reader {
            Some(asked) => page(problem, asked),
            None => render(problem),
        };
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What of a path may be written to the log (I8): it names environments, apps and ids, never values,
/// but for a link by which somebody signs in. The query is left out in any case.
fn loggable(path: &str) -> &str {
    const CODE_FOLLOWS: &str = "sign-in/";
    path.find(CODE_FOLLOWS).map_or(path, |at| &path[..at + CODE_FOLLOWS.len()])
}

pub(super) fn enter(state: &Shared, request: &Request) -> Result<OwnedSemaphorePermit, ApiError> {
    let (hosts, headers) = (&state.settings.allowed_hosts, request.headers());
    match is_visit(request) {
        true => check_host(hosts, request.uri(), headers)?,
        false => check_origin(hosts, request.uri(), headers)?,
    }
    if state.shutdown.is_requested() {
        return Err(ApiError::new(ProblemCode::ShuttingDown, "the server is shutting down"));
    }
    place(&state.requests, "requests")
}

/// Whether somebody follows a link to one of the console's pages. From another site that comes
/// without the session's cookie, and whoever made the link does not see the answer.
fn is_visit(request: &Request) -> bool {
    let is = |name: &str, value: &str| request.headers().get(name).is_some_and(|v| v == value);
    request.method() == Method::GET
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
        && !request.uri().path().starts_with("/v1/")
}

/// A place among the limited number of something, or 503.
pub(super) fn place(places: &Arc<Semaphore>, noun: &str) -> Result<OwnedSemaphorePermit, ApiError> {
    places
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::new(ProblemCode::Busy, format!("too many {noun} at once")))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> ApiError {
    let words = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::internal(format!("the handler panicked: {words}"))
}

/// What the gate of an operation holds a request to.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) state: Shared,
    pub(super) access: Access,
    pub(super) deadline: Deadline,
}

/// For one operation: who may, and for how long.
pub(super) async fn gate(rules: Rules, mut request: Request, next: Next) -> Response {
    if let Access::Needs(permission) = rules.access {
        // The console's call in the name of somebody who is signed in; no client can send one.
        let inside = request.extensions().get::<Caller>().cloned();
        let caller = match inside {
            Some(caller) => caller.may(permission).map(|()| caller),
            None => authorize(&rules.state, request.headers(), permission).await,
        };
        match caller {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(error) => return error.into_response(),
        }
    }
    match rules.deadline {
        Deadline::Stream => next.run(request).await,
        Deadline::Answer(limit) => match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let detail = format!(
                    "no answer within {} s; whether it was done shows when it is asked for again",
                    limit.as_secs()
                );
                ApiError::new(ProblemCode::Timeout, detail).into_response()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_of_a_sign_in_reaches_the_log() {
        for (path, logged) in [
            ("/v1/environments/dev/apps/web", "/v1/environments/dev/apps/web"),
            ("/sign-in", "/sign-in"),
            ("/sign-in/c0de", "/sign-in/"),
            ("/sign-in/c0de/more", "/sign-in/"),
            ("//sign-in/c0de", "//sign-in/"),
        ] {
            assert_eq!(loggable(path), logged);
        }
    }
}
