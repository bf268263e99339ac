//! Signing in with a token or a one-time link, and signing out. A session is new each time: what a
//! browser held before is ended, and a value that somebody else put there is worth nothing.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::middleware::from_fn;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use crate::Shared;
use crate::host::Credential;
use crate::refusal::{Asked, of_forms, refusal};
use crate::shell::Theme;
use crate::visit::{Answer, SESSION_COOKIE, Visit, asks_anew, cookies, see};

/// The cookie outlives no session by much: the server decides how long that lasts.
const COOKIE_SECONDS: u32 = 7 * 86_400;
/// The longest address that is returned to.
const NEXT_BYTES_MAX: usize = 2_000;

/// For everybody.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/sign-in", get(form).post(with_token))
        .route("/sign-in/{code}", get(link).post(with_link))
        .layer(from_fn(of_forms))
}

/// For those who are signed in.
pub(crate) fn routes_signed_in() -> Router<Shared> {
    Router::new().route("/sign-out", post(sign_out))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    theme: &'static str,
    ask: Ask<'a>,
    refused: bool,
}

/// What is asked for.
enum Ask<'a> {
    /// A token, then on to an address.
    Token { next: &'a str },
    /// One click, for a link that came from elsewhere.
    Link { code: &'a str },
    /// One click, so that the browser sends its cookie.
    Continue { address: &'a str },
}

fn page(headers: &HeaderMap, ask: Ask<'_>, refused: bool) -> Response {
    let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let theme = Theme::of(headers).as_str();
    match (SignIn { theme, ask, refused }).render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// An address of this server, `/` for anything else.
pub(crate) fn local(address: &str) -> &str {
    let plain = |c: char| c.is_ascii_graphic() && c != '\\';
    let good = address.starts_with('/')
        && !address.starts_with("//")
        && address.len() <= NEXT_BYTES_MAX
        && address.chars().all(plain);
    if good { address } else { "/" }
}

/// Whether a page's script asks, and not a person: for its page again, or for a stream. The address
/// says nothing of that: an app or a workflow may be named as a stream is.
fn asks_by_script(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    asks_anew(headers)
        || accepts.flat_map(|value| value.split(',')).any(|one| one.trim() == "text/event-stream")
}

/// What somebody without a session is answered.
pub(crate) fn ask(parts: &Parts) -> Response {
    if asks_by_script(&parts.headers) {
        // The page's script: it loads the page anew, which then asks.
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let address = parts.uri.path_and_query().map_or("/", |at| at.as_str());
    let from_elsewhere =
        parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if parts.method == Method::GET && from_elsewhere {
        // A link from another site comes without the cookie; a click on this page has it.
        return page(&parts.headers, Ask::Continue { address: local(address) }, false);
    }
    let next = if parts.method == Method::GET { local(address) } else { "/" };
    let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?next={query}")).into_response()
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

async fn form(headers: HeaderMap, Query(query): Query<Next>) -> Response {
    page(&headers, Ask::Token { next: local(query.next.as_deref().unwrap_or("/")) }, false)
}

#[derive(Deserialize)]
struct TokenForm {
    token: String,
    next: String,
}

async fn with_token(
    State(host): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Response {
    let next = local(&form.next);
    let refused = Ask::Token { next };
    begin(&host, &headers, Credential::Token(form.token.trim()), next, refused).await
}

async fn link(
    State(host): State<Shared>,
    headers: HeaderMap,
    Path(code): Path<String>,
) -> Response {
    // Typed or opened from a terminal; a link on a page must not sign anybody in by itself.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "none") {
        return with_link(State(host), headers, Path(code)).await;
    }
    page(&headers, Ask::Link { code: &code }, false)
}

async fn with_link(
    State(host): State<Shared>,
    headers: HeaderMap,
    Path(code): Path<String>,
) -> Response {
    begin(&host, &headers, Credential::Link(&code), "/", Ask::Token { next: "/" }).await
}

async fn begin(
    host: &Shared,
    headers: &HeaderMap,
    credential: Credential<'_>,
    next: &str,
    refused: Ask<'_>,
) -> Response {
    let session = match host.begin(credential).await {
        Ok(Some(session)) => session,
        Ok(None) => return page(headers, refused, true),
        Err(problem) => return refusal(&problem, &Asked::reader(headers)),
    };
    for before in cookies(headers, SESSION_COOKIE) {
        // One that was known is over; an answer must not wait on whether it was.
        let _ = host.end(before).await;
    }
    with_cookie(Redirect::to(next).into_response(), &session, COOKIE_SECONDS)
}

async fn sign_out(State(host): State<Shared>, _: Visit, headers: HeaderMap) -> Answer {
    for session in cookies(&headers, SESSION_COOKIE) {
        host.end(session).await?;
    }
    Ok(with_cookie(see("/sign-in")?, "", 0))
}

fn with_cookie(mut response: Response, session: &str, seconds: u32) -> Response {
    let text =
        format!("{SESSION_COOKIE}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (address, expect) in [
            ("/", "/"),
            ("/e/production/web?tab=logs", "/e/production/web?tab=logs"),
            ("", "/"),
            ("//evil.test/", "/"),
            ("/\\evil.test", "/"),
            ("https://evil.test/", "/"),
            ("javascript:alert(1)", "/"),
            ("/a\r\nset-cookie: x=y", "/"),
        ] {
            assert_eq!(local(address), expect, "{address:?}");
        }
    }
}
