//! What a browser is shown that was refused before anybody knew who looks: at the server's guard (too
//! many requests at once, the server's end, a name that is not the server's, another site), by a form
//! that cannot be read, or because a session could not be looked at. Programs are answered with the
//! problem itself; [`Asked::by`] tells them apart.
//!
//! Such a page stands alone: its style is part of it, allowed by its digest, because whatever refused
//! the page would refuse the stylesheet as well.

use std::sync::LazyLock;

use ark_model::Sha256;
use ark_model::api::{Problem, ProblemCode};
use askama::Template;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::pages::fault;
use crate::shell::Theme;
use crate::sign_in::local;
use crate::visit::{asks_anew, harden_headers};

const STYLE: &str = include_str!("../assets/plain.css");

/// Nothing but the style that is part of the page.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::of(STYLE.as_bytes()).0);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Somebody who opened a page or sent a form in a browser.
#[derive(Debug, Clone)]
pub struct Asked {
    theme: Theme,
    /// What can be opened again.
    again: Option<String>,
}

impl Asked {
    /// Who sent a request, if it is somebody who reads pages: not a program, and not a page's script.
    pub fn by<B>(request: &http::Request<B>) -> Option<Self> {
        Self::of(request.method(), request.uri(), request.headers())
    }

    fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())?;
        if !accepts.contains("text/html") || asks_anew(headers) {
            return None;
        }
        let address = uri.path_and_query().map_or("/", |at| at.as_str());
        let again = (method == Method::GET).then(|| local(address).to_owned());
        Some(Self { theme: Theme::of(headers), again })
    }

    /// Somebody who is known to read pages.
    pub(crate) fn reader(headers: &HeaderMap) -> Self {
        Self { theme: Theme::of(headers), again: None }
    }
}

#[derive(Template)]
#[template(path = "plain_fault.html")]
struct Refusal<'a> {
    theme: &'static str,
    style: &'static str,
    title: String,
    advice: &'static str,
    again: Option<&'a str>,
    /// Whether the console is at this address at all.
    is_here: bool,
    problem: &'a Problem,
}

/// The page of a problem, with its status.
pub fn refusal(problem: &Problem, asked: &Asked) -> Response {
    let (advice, passes) = match problem.code {
        ProblemCode::Busy => ("Wait a few seconds, then try again.", true),
        ProblemCode::ShuttingDown => {
            ("What runs goes on and is served. Try again once the server is back.", true)
        }
        ProblemCode::ForeignOrigin => {
            ("Open the console at its own address: `ark open --console` prints one.", false)
        }
        ProblemCode::TooLarge => ("Go back and send less.", false),
        ProblemCode::MethodNotAllowed => ("Nothing is shown at this address.", false),
        ProblemCode::Internal => {
            ("Try again. If it stays so, `ark doctor` and the server's log say more.", true)
        }
        ProblemCode::StorageFailed | ProblemCode::Timeout => ("Try again.", true),
        _ => ("", false),
    };
    let page = Refusal {
        theme: asked.theme.as_str(),
        style: STYLE,
        title: fault::title(problem),
        advice,
        again: asked.again.as_deref().filter(|_| passes),
        is_here: problem.code != ProblemCode::ForeignOrigin,
        problem,
    };
    let mut response = fault::answer(page.render(), problem);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    harden_headers(headers);
    response
}

/// Before the pages of those who are not signed in: what their extractors refuse as plain text, a form
/// that is too large or not a form, is a page too.
pub(crate) async fn of_forms(request: Request, next: Next) -> Response {
    let asked = Asked::reader(request.headers());
    let response = next.run(request).await;
    match bare(&response) {
        Some(problem) => refusal(&problem, &asked),
        None => response,
    }
}

/// What extractors refuse as plain text: a name in the address that cannot be one, a form that cannot
/// be read.
pub(crate) fn bare(response: &Response) -> Option<Problem> {
    let kind = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !response.status().is_client_error() || !kind.starts_with("text/plain") {
        return None;
    }
    Some(match response.status().as_u16() {
        413 => Problem::new(ProblemCode::TooLarge, "the form is larger than it may be"),
        _ => Problem::new(
            ProblemCode::InvalidValue,
            "the address or the form names something that cannot exist",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_scripts_are_told_from_readers() {
        const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (method, accept, live, reads, again) in [
            ("GET", Some(BROWSER), false, true, Some("/e/dev/web?q=1")),
            ("POST", Some(BROWSER), false, true, None),
            ("GET", Some(BROWSER), true, false, None),
            ("GET", Some("*/*"), false, false, None),
            ("GET", Some("text/event-stream"), false, false, None),
            ("GET", Some("application/json"), false, false, None),
            ("GET", None, false, false, None),
        ] {
            let mut request = http::Request::builder().method(method).uri("/e/dev/web?q=1");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            if live {
                request = request.header("x-live", "1");
            }
            let asked = Asked::by(&request.body(()).expect("a request"));
            assert_eq!(asked.is_some(), reads, "{method} {accept:?} {live}");
            assert_eq!(
                asked.and_then(|asked| asked.again).as_deref(),
                again,
                "{method} {accept:?}"
            );
        }
    }
}
