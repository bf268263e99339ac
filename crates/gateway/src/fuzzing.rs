//! What fuzz targets call: each function takes any bytes, and panics where the gateway would be
//! wrong. Only built with the feature `fuzzing`.

use std::sync::Arc;

use ark_model::route::{RouteLimits, RouteProtocol};

use crate::table::{Route, RouteSlot, Table};
use crate::wire::fuzzing as wire;

/// A request's head: what is accepted must leave as exactly one head that says the same.
pub fn request(bytes: &[u8]) {
    wire::request(bytes);
}

/// A response's head, likewise.
pub fn response(bytes: &[u8]) {
    wire::response(bytes);
}

/// A chunked body: where it ends does not depend on how it arrives.
pub fn chunked(bytes: &[u8], piece: usize) {
    wire::chunked(bytes, piece);
}

/// A request's head that came over HTTP/2 (in lines: method, authority, path, fields): an HTTP/1.1 target
/// gets exactly one head that says the same.
pub fn crossing(text: &[u8], ended: bool) {
    wire::crossing(text, ended);
}

/// The header of the PROXY protocol: no byte after it is taken, and its client is the one it names.
pub fn proxy_header(bytes: &[u8]) {
    wire::proxy_header(bytes);
}

/// WebSocket frames, gRPC messages and events: where one ends does not depend on how it arrives.
pub fn boundaries(bytes: &[u8], piece: usize) {
    wire::boundaries(bytes, piece);
}

/// Host and path of a request find the same route as the plain definition says.
pub fn routing(host: &str, path: &str) {
    let places = [("a.test", "/"), ("a.test", "/api"), ("a.test", "/api/v2/"), ("::1", "/x")];
    let mut table = Table::default();
    for (index, (host, path)) in places.iter().enumerate() {
        table.routes.push(route(index, path));
        table.hosts.entry((*host).into()).or_default().push(((*path).into(), index));
    }
    for prefixes in table.hosts.values_mut() {
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.trim_end_matches('/').len()));
    }
    let found = table.find(host, path).map(|route| route.slot.0 as usize);
    let name = crate::table::host_name(host).to_ascii_lowercase();
    let covers = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let expected = (0..places.len())
        .filter(|index| places[*index].0 == name && covers(places[*index].1))
        .max_by_key(|index| places[*index].1.trim_end_matches('/').len());
    assert_eq!(found, expected, "{host:?} {path:?}");
}

fn route(index: usize, path: &str) -> Route {
    Route {
        slot: RouteSlot(u32::try_from(index).unwrap_or(0)),
        key: ark_model::route::RouteKey {
            env: "test".parse().unwrap_or_else(|_| unreachable!("a good name")),
            app: "web".parse().unwrap_or_else(|_| unreachable!("a good name")),
            expose: format!("e{index}"),
        },
        path: path.to_owned(),
        protocol: RouteProtocol::Http,
        limits: RouteLimits::default(),
        split: None,
        maintenance: None,
        health_paths: Vec::new(),
        active: Vec::new(),
        has_targets: false,
        shared: Arc::default(),
    }
}
