//! AWS's API of Step Functions: `POST /` of the API's address, awsJson 1.0, signed with access keys.
//!
//! One table ([`table`]) says of each operation who may call it, what its input is, how long it may
//! take and what does it; what is not in it is answered `UnknownOperationException`. A request is
//! read, its signature verified, its permission looked up, its input held to the operation's
//! constraints, and then one call is made to [`super::Workflows`]. Nothing here knows the store or
//! the language.
//!
//! Besides, calls that workers make to other services in passing are answered so that they do no
//! harm: [`quiet`].
//!
//! A request to Step Functions may carry one of Ark's own tokens (`Authorization: Bearer ...`) instead
//! of a signature: so the command line and its worker call the same operations. The console calls
//! them for whoever is signed in.

mod activities;
mod answer;
mod call;
mod constraints;
mod error;
mod executions;
mod machines;
mod map_runs;
mod page_token;
mod quiet;
mod table;
mod tags;
mod tasks;
mod test_state;
mod validate;
mod versions;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::FutureExt as _;
use http::header;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api::Shared;
use crate::auth::{
    AuthenticationError, Caller, Permission, SignedCaller, SignedRequest, allows,
    authenticate_signed, authorize, check_origin,
};
use crate::workflows::arn::DEFAULT_REGION;
use call::Call;
use error::WireError;
use table::{Operation, Places};

/// The largest body, in bytes: a definition of 1 MiB whose every second letter is escaped, and the
/// rest of the request.
const BODY_BYTES_MAX: usize = 4 << 20;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How requests to Step Functions begin their target.
const TARGET_PREFIX: &str = "AWSStepFunctions.";
/// The service in the scope of their credentials.
const SERVICE: &str = "states";

/// The routes. They stand beside the guard of the other API: errors, limits and deadlines of this
/// protocol are its own.
pub(crate) fn router(state: Shared) -> Router {
    Router::new()
        .route("/", post(answer))
        .route("/service/{service}/operation/{operation}", post(answer))
        .with_state(state)
}

async fn answer(State(state): State<Shared>, request: Request) -> Response {
    let id = Uuid::new_v4().to_string();
    let (parts, body) = request.into_parts();
    let protocol = quiet::protocol_of(&parts);
    let answered = AssertUnwindSafe(serve(&state, &parts, body)).catch_unwind().await;
    let result = answered.unwrap_or_else(|_| Err(WireError::internal("the handler panicked")));
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            error.log(&id, &parts);
            protocol.error(&error, &id)
        }
    };
    answer::mark(&mut response, &id);
    response
}

async fn serve(state: &Shared, parts: &Parts, body: Body) -> Result<Response, WireError> {
    // The console's call in the name of somebody who is signed in; no client can send one.
    if parts.extensions.get::<Caller>().is_none() {
        check_origin(&state.settings.allowed_hosts, &parts.uri, &parts.headers).map_err(|_| {
            WireError::denied("The request names another host, or comes from a page.")
        })?;
    }
    if state.shutdown.is_requested() {
        return Err(WireError::unavailable("the server is shutting down"));
    }
    let body = tokio::time::timeout(BODY_DEADLINE, to_bytes(body, BODY_BYTES_MAX))
        .await
        .map_err(|_| WireError::bad_request("RequestTimeout", "The body did not arrive in time."))?
        .map_err(|_| WireError::too_large(BODY_BYTES_MAX))?;
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    match target.and_then(|target| target.strip_prefix(TARGET_PREFIX)) {
        Some(name) => step_functions(state, parts, name, body).await,
        None => quiet::answer(state, parts, target, body).await,
    }
}

async fn step_functions(
    state: &Shared,
    parts: &Parts,
    name: &str,
    body: Bytes,
) -> Result<Response, WireError> {
    let who = match parts.extensions.get::<Caller>() {
        Some(caller) => SignedCaller { caller: caller.clone(), region: DEFAULT_REGION.to_owned() },
        None if bears_token(parts) => bearer(state, parts).await?,
        None => authenticate(state, parts, &body, SERVICE).await?,
    };
    let operation = table::find(name).ok_or_else(WireError::unknown_operation)?;
    if !allows(who.caller.role, operation.permission) {
        return Err(WireError::denied(format!(
            "User: {} is not authorized to perform: states:{name} because its role is {}",
            who.caller.name,
            who.caller.role.as_str(),
        )));
    }
    let input = read_input(&body)?;
    constraints::check(operation.input, &input)?;
    run(state, operation, who, input).await
}

async fn run(
    state: &Shared,
    operation: &'static Operation,
    who: SignedCaller,
    input: Map<String, Value>,
) -> Result<Response, WireError> {
    let places = match operation.places {
        Places::Requests => &state.requests,
        Places::Polls => &state.polls,
        Places::Tests => &state.tests,
    };
    let _place =
        places.try_acquire().map_err(|_| WireError::throttled("too many requests at once"))?;
    let call = Call { state: state.clone(), operation, who, input, now: Timestamp::now() };
    tokio::time::timeout(operation.deadline, (operation.run)(call))
        .await
        .unwrap_or_else(|_| Err(WireError::unavailable("no answer in time")))
}

/// Whether a request carries a token of Ark's own. A signature's scheme is `AWS4-HMAC-SHA256`.
fn bears_token(parts: &Parts) -> bool {
    let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}

/// Whose token it is. What the operation needs is looked up by the caller of this.
async fn bearer(state: &Shared, parts: &Parts) -> Result<SignedCaller, WireError> {
    let caller = authorize(state, &parts.headers, Permission::Read).await.map_err(|error| {
        let problem = error.problem();
        match problem.status {
            401 => WireError::bad_request("UnrecognizedClientException", problem.detail.clone()),
            403 => WireError::denied(problem.detail.clone()),
            _ => WireError::unavailable("the token cannot be read").context(problem.detail.clone()),
        }
    })?;
    Ok(SignedCaller { caller, region: DEFAULT_REGION.to_owned() })
}

/// Who signed a request to a service.
async fn authenticate(
    state: &Shared,
    parts: &Parts,
    body: &Bytes,
    service: &str,
) -> Result<SignedCaller, WireError> {
    let request = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    };
    match authenticate_signed(state, request, service, Timestamp::now()).await {
        Ok(who) => Ok(who),
        Err(AuthenticationError::Signature(error)) => {
            Err(WireError::bad_request(error.code(), error.to_string()))
        }
        Err(AuthenticationError::Store(error)) => {
            Err(WireError::unavailable("the access key cannot be read").context(error.to_string()))
        }
    }
}

/// An empty body is an empty input.
fn read_input(body: &Bytes) -> Result<Map<String, Value>, WireError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(input)) => Ok(input),
        _ => Err(WireError::serialization("The body is no JSON object.")),
    }
}
