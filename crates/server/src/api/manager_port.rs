//! The workflow manager's API at the root of an address of its own, for clients that were made from that
//! API's document: they cannot be told a path before it, and have no token to send.
//!
//! Each request becomes the one under `/wm` and passes the same gates. On a loopback address one without a
//! token acts as `workflow-manager`, which may do what a deployer may, and nothing but what this API has;
//! on any other address a token is needed as ever.

use std::net::SocketAddr;

use ark_model::api::{ProblemCode, Role};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use tower::ServiceExt as _;

use super::error::ApiError;
use super::guard;
use super::operation::Shared;
use crate::auth::Caller;

/// Where that API is in Ark's own.
const UNDER: &str = "/wm";
/// Who acts where no token is asked for.
const NAME: &str = "workflow-manager";

#[derive(Clone)]
struct Port {
    state: Shared,
    api: Router,
    is_loopback: bool,
}

/// Everything that is served at `address`, out of this API.
pub(super) fn router(state: Shared, api: Router, address: SocketAddr) -> Router {
    let port = Port { state, api, is_loopback: address.ip().is_loopback() };
    Router::new().fallback(forward).with_state(port)
}

async fn forward(State(port): State<Port>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("{UNDER}{path}").parse() else {
        let text = "the address cannot be read";
        return ApiError::new(ProblemCode::BadRequest, text).into_response();
    };
    let mut permit = None;
    if port.is_loopback && !request.headers().contains_key(header::AUTHORIZATION) {
        // The guard takes a request that says who calls for a part of another one.
        match guard::enter(&port.state, &request) {
            Ok(entered) => permit = Some(entered),
            Err(error) => return error.into_response(),
        }
        let (name, token) = (NAME.to_owned(), NAME.to_owned());
        request.extensions_mut().insert(Caller { name, role: Role::Deployer, token });
    }
    *request.uri_mut() = uri;
    let answer = port.api.oneshot(request).await;
    drop(permit);
    match answer {
        Ok(response) => response,
        Err(never) => never.into_response(),
    }
}
