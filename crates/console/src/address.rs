//! Under which name the console is visited. Cookies belong to a host whatever its port, and at the
//! loopback addresses apps answer too (at the ports by which they find each other): a session that
//! began there would be shown to them. So visits there are sent to a name of the console's own,
//! which browsers take for the same machine. Stands before every page, signing in among them.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderValue, Method, header};

use crate::Shared;
use crate::visit::{SESSION_COOKIE, cookies};

/// The name of the console's own.
const OWN_HOST: &str = "ark.localhost";

/// See the module.
pub(crate) async fn own_host(State(host): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Some(port) = shared_host(&parts) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let path = match parts.method {
        Method::GET | Method::HEAD => parts.uri.path_and_query().map_or("/", |at| at.as_str()),
        // No form of the console is ever shown there.
        _ => "/",
    };
    let to = format!("http://{OWN_HOST}{port}{path}");
    let mut response = Redirect::to(&to).into_response();
    let sessions: Vec<&str> = cookies(&parts.headers, SESSION_COOKIE).collect();
    for session in &sessions {
        // Apps may have seen it: it is over. Whether it was known changes nothing for the answer.
        let _ = host.end(session).await;
    }
    if !sessions.is_empty() {
        let gone = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
        if let Ok(gone) = HeaderValue::from_str(&gone) {
            response.headers_mut().append(header::SET_COOKIE, gone);
        }
    }
    response
}

/// `:PORT`, or nothing, when the request names a host where apps answer too.
fn shared_host(parts: &Parts) -> Option<String> {
    let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str).or(named)?;
    let (host, port) = match authority.rfind(':') {
        // A colon within brackets belongs to the address.
        Some(at) if !authority[at..].contains(']') => authority.split_at(at),
        Some(_) | None => (authority, ""),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let shared = match bare.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            // Browsers take the unspecified address for this machine as well.
            address.is_loopback() || address.is_unspecified()
        }
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    };
    shared.then(|| port.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_where_apps_answer_are_known_by_all_their_names() {
        for (host, expect) in [
            ("127.0.0.1:7070", Some(":7070")),
            ("127.8.9.1", Some("")),
            ("[::1]:7070", Some(":7070")),
            ("[::1]", Some("")),
            ("[::ffff:127.0.0.1]:80", Some(":80")),
            ("0.0.0.0:7070", Some(":7070")),
            ("LocalHost:7070", Some(":7070")),
            ("localhost.:7070", Some(":7070")),
            ("ark.localhost:7070", None),
            ("ark.example.test", None),
            ("192.0.2.7:7070", None),
            ("localhost.example.test", None),
        ] {
            let request = Request::get("/").header(header::HOST, host).body(()).expect("a request");
            let (parts, ()) = request.into_parts();
            assert_eq!(shared_host(&parts).as_deref(), expect, "{host}");
        }
    }
}
