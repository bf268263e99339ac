//! HTTP/2 at the socket: all crossings with HTTP/1.1, gRPC, WebSockets, drain, and what clients may
//! not do.

mod crossings;
mod ends;
mod floods;
mod grpc;
#[path = "../support/h2.rs"]
mod h2_support;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tls.rs"]
mod tls_support;

use ark_model::route::{Route, RouteProtocol};
use h2_support::H2Backend;
use http::Request;
use support::{Ark, route};

/// A gateway with one route for host `a.test` to this target, ready.
async fn ark_for(backend: &H2Backend, protocol: RouteProtocol) -> (Ark, Route) {
    let mut ark = Ark::start().await;
    let mut route = route(vec![backend.target()]);
    route.protocol = protocol;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[backend.instance]).await;
    (ark, route)
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.test{path}")).body(()).unwrap()
}
