//! One request of somebody who is signed in: who it is, and how pages ask the API and answer.
//!
//! [`enter`] stands before every page: it finds the session, sends those without one to sign in,
//! refuses a `POST` that does not carry the token of its session, and turns a [`Fault`] into a
//! page. [`harden`] sets the headers of every answer.

use std::time::Duration;

use ark_model::Sha256;
use ark_model::api::{IDEMPOTENCY_KEY, Problem, ProblemCode};
use askama::Template;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::fault::Fault;
use crate::host::Viewer;
use crate::refusal::{Asked, bare, refusal};
use crate::shell::{Shell, Theme};
use crate::{FORM_BYTES_MAX, Shared, pages, sign_in};

/// The cookie of a session.
pub(crate) const SESSION_COOKIE: &str = "ark_session";
/// The field of every form that is posted.
pub(crate) const FORM_TOKEN: &str = "form_token";
/// The largest answer of the API that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How often a stream that goes on asks whether its session does.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Nothing inline, nothing from elsewhere, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What a handler answers.
pub(crate) type Answer = Result<Response, Fault>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Visit {
    host: Shared,
    pub(crate) viewer: Viewer,
    pub(crate) now: Timestamp,
    pub(crate) theme: Theme,
    pub(crate) form_token: String,
    session: String,
    /// Path and query of the request.
    pub(crate) address: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Fault::new(ProblemCode::Internal, "the page is not behind the session"))
    }
}

/// Whether a page's script asks for its page again, to exchange what has changed in it.
pub(crate) fn asks_anew(headers: &HeaderMap) -> bool {
    headers.contains_key("x-live")
}

/// The headers of a request for a stream that goes on after `last`: a page that opens a stream anew can
/// set no header. What the browser itself says it has seen is newer.
pub(crate) fn going_on(headers: &HeaderMap, last: Option<&str>) -> HeaderMap {
    let mut all = HeaderMap::new();
    let own = headers.get("last-event-id").cloned();
    if let Some(id) = own.or_else(|| last.and_then(|id| HeaderValue::from_str(id).ok())) {
        all.insert("last-event-id", id);
    }
    all
}

/// Sends the browser on after a form was carried out.
pub(crate) fn see(address: &str) -> Answer {
    Ok(Redirect::to(address).into_response())
}

impl Visit {
    /// Answers with a page.
    pub(crate) fn page<T: Template>(&self, page: &T) -> Answer {
        Ok(Html(page.render()?).into_response())
    }

    /// The frame of a page: its title, and which entry of the menu it belongs to.
    pub(crate) fn shell(&self, title: impl Into<String>, menu: &'static str) -> Shell {
        Shell::new(self, title.into(), menu)
    }

    /// What an operation answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<T, Fault> {
        read(self.send(Method::GET, address, Body::empty()).await).await
    }

    /// What an operation answers, `None` when there is no such thing.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        address: &str,
    ) -> Result<Option<T>, Fault> {
        match self.get(address).await {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.0.status == 404 => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Carries out an operation.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        address: &str,
        body: &B,
    ) -> Result<T, Fault> {
        let text = serde_json::to_vec(body).map_err(|error| unreadable(&error.to_string()))?;
        read(self.send(Method::POST, address, Body::from(text)).await).await
    }

    /// Replaces what stands at an address.
    pub(crate) async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        address: &str,
        body: &B,
    ) -> Result<T, Fault> {
        let text = serde_json::to_vec(body).map_err(|error| unreadable(&error.to_string()))?;
        read(self.send(Method::PUT, address, Body::from(text)).await).await
    }

    /// Carries out an operation once, however often it is asked for with this key.
    pub(crate) async fn post_once<B: Serialize, T: DeserializeOwned>(
        &self,
        address: &str,
        body: &B,
        key: &str,
    ) -> Result<T, Fault> {
        let text = serde_json::to_vec(body).map_err(|error| unreadable(&error.to_string()))?;
        let mut request = request(Method::POST, address, Body::from(text));
        let key = HeaderValue::from_str(key)
            .map_err(|_| Fault::new(ProblemCode::BadRequest, "the key of the form is not text"))?;
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        read(self.host.call(&self.viewer, request).await).await
    }

    /// The lines of an answer that is a list of JSON values.
    pub(crate) async fn lines(&self, address: &str) -> Result<String, Fault> {
        let response = self.send(Method::GET, address, Body::empty()).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
            .await
            .map_err(|error| unreadable(&error.to_string()))?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&body).into_owned()),
            false => Err(problem_of(status, &body).into()),
        }
    }

    /// Carries out an operation with another method and without a body.
    pub(crate) async fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        address: &str,
    ) -> Result<T, Fault> {
        read(self.send(method, address, Body::empty()).await).await
    }

    /// The answer of an operation as it is: streams.
    pub(crate) async fn pass(&self, address: &str, headers: &HeaderMap) -> Response {
        let mut request = request(Method::GET, address, Body::empty());
        if let Some(id) = headers.get("last-event-id") {
            request.headers_mut().insert("last-event-id", id.clone());
        }
        let events = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, events);
        let (parts, body) = self.host.call(&self.viewer, request).await.into_parts();
        let body = body.into_data_stream().take_until(self.clone().until_over());
        Response::from_parts(parts, Body::from_stream(body))
    }

    /// Resolves when the session has ended, its token was revoked, or is another's: what is open ends
    /// then, and not with the page.
    async fn until_over(self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            match self.host.viewer(&self.session).await {
                Ok(Some(viewer)) if viewer == self.viewer => {}
                // A store that cannot say now is asked again.
                Err(_) => {}
                Ok(_) => return,
            }
        }
    }

    /// What an operation of Step Functions' API answers.
    pub(crate) async fn states<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &Value,
    ) -> Result<T, Fault> {
        let mut request = request(Method::POST, "/", Body::from(input.to_string()));
        let target = HeaderValue::from_str(&format!("AWSStepFunctions.{operation}"))
            .map_err(|error| unreadable(&error.to_string()))?;
        request.headers_mut().insert("x-amz-target", target);
        let response = self.host.call(&self.viewer, request).await;
        match response.status().is_success() {
            true => read(response).await,
            false => Err(wire_problem(response).await.into()),
        }
    }

    async fn send(&self, method: Method, address: &str, body: Body) -> Response {
        self.host.call(&self.viewer, request(method, address, body)).await
    }
}

fn request(method: Method, address: &str, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Addresses are made of names that were parsed and of text that was encoded.
    *request.uri_mut() = address.parse().unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    request
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Fault> {
    let status = response.status();
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(|error| unreadable(&error.to_string()))?;
    if status.is_success() {
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        return serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()));
    }
    Err(problem_of(status, &body).into())
}

/// An error of Step Functions' API as a problem.
async fn wire_problem(response: Response) -> Problem {
    let status = response.status();
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default();
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let kind = word("__type");
    let code = match kind.as_str() {
        "AccessDeniedException" => ProblemCode::Forbidden,
        "ExecutionAlreadyExists" => ProblemCode::WorkflowConflict,
        missing if missing.ends_with("DoesNotExist") || missing == "ResourceNotFound" => {
            ProblemCode::WorkflowNotFound
        }
        _ if status.is_server_error() => ProblemCode::Internal,
        _ => ProblemCode::BadRequest,
    };
    let detail = match word("message") {
        words if words.is_empty() => format!("the API answered {status} {kind}"),
        words => words,
    };
    Problem::new(code, detail)
}

fn problem_of(status: StatusCode, body: &Bytes) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        Problem::new(ProblemCode::Internal, format!("the API answered {status} without a reason"))
    })
}

fn unreadable(why: &str) -> Fault {
    tracing::error!(why, "an answer of the API could not be read by the console");
    Fault::new(ProblemCode::Internal, "an answer of the API could not be read")
}

/// See the module.
pub(crate) async fn enter(State(host): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let session = match session(&parts.headers) {
        Ok(Some(session)) => session.to_owned(),
        Ok(None) => return sign_in::ask(&parts),
        Err(fault) => return refusal(&fault.0, &Asked::reader(&parts.headers)),
    };
    let viewer = match host.viewer(&session).await {
        Ok(Some(viewer)) => viewer,
        Ok(None) => return sign_in::ask(&parts),
        Err(problem) => return refusal(&problem, &Asked::reader(&parts.headers)),
    };
    let address = parts.uri.path_and_query().map_or("/", |at| at.as_str()).to_owned();
    let visit = Visit {
        host,
        viewer,
        now: Timestamp::now(),
        theme: Theme::of(&parts.headers),
        form_token: form_token(&session),
        session,
        address,
    };
    parts.extensions.insert(visit.clone());
    let mut response = match checked(&parts, body, &visit.form_token).await {
        Ok(body) => next.run(Request::from_parts(parts, body)).await,
        Err(fault) => fault.into_response(),
    };
    match response.extensions_mut().remove::<Fault>().or_else(|| bare(&response).map(Fault::from)) {
        Some(fault) => pages::fault::page(&visit, &fault),
        None => response,
    }
}

/// The token of a session's forms. It cannot be turned back into the session, and nobody without
/// the session can make it.
pub(crate) fn form_token(session: &str) -> String {
    Sha256::of(format!("form token of {session}").as_bytes()).to_string()
}

/// The body of a request that may change something, once it carries the token of its session.
async fn checked(parts: &Parts, body: Body, expected: &str) -> Result<Body, Fault> {
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(body);
    }
    let bytes = to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| Fault::new(ProblemCode::TooLarge, "the form is larger than it may be"))?;
    let given = form_urlencoded::parse(&bytes).find(|(name, _)| name == FORM_TOKEN);
    match given {
        Some((_, given)) if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) => {
            Ok(Body::from(bytes))
        }
        Some(_) | None => Err(Fault::new(
            ProblemCode::Forbidden,
            "the form is from before this sign-in; open its page again and repeat",
        )),
    }
}

/// A cookie of a request.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies(headers, name).next()
}

/// All cookies of a name: a browser sends those of several hosts and paths side by side.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim(), value.trim()));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

/// The session of a request.
///
/// # Errors
/// When it shows two: one is not of the console, and nothing says which.
fn session(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut all = cookies(headers, SESSION_COOKIE);
    let first = all.next();
    if all.any(|other| Some(other) != first) {
        let detail = "the browser shows two sessions, and one of them was set by somebody else; \
                      delete the cookies of this host, then sign in";
        return Err(Fault::new(ProblemCode::BadRequest, detail));
    }
    Ok(first)
}

/// The headers of every answer of the console.
pub(crate) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // A page that stands alone has said its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    harden_headers(headers);
    response
}

/// Those of them that do not differ.
pub(crate) fn harden_headers(headers: &mut HeaderMap) {
    for (name, value) in
        [(header::REFERRER_POLICY, "same-origin"), (header::X_FRAME_OPTIONS, "DENY")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("xark_session=no; a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("ark_session=yes;b=2"));
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("yes"));
        assert_eq!(cookie(&headers, "b"), Some("2"));
        assert_eq!(cookie(&headers, "session"), None);
    }

    #[test]
    fn of_two_sessions_none_counts() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static(text));
            session(&headers).map(|found| found.map(str::to_owned)).map_err(|fault| fault.code())
        };
        assert_eq!(of("a=1; ark_session=x"), Ok(Some("x".to_owned())));
        assert_eq!(of("ark_session=x; ark_session=x"), Ok(Some("x".to_owned())));
        assert_eq!(of("a=1"), Ok(None));
        assert_eq!(of("ark_session=x; a=1; ark_session=y"), Err(ProblemCode::BadRequest));
    }
}
