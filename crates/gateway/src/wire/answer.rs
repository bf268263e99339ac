//! What the gateway answers itself: one status, one code (`x-ark-error`), one page that says which
//! app and why. It tells nothing that is not the caller's to know: no address, no path of a file.

use ark_model::gateway::RefusalKind;
use ark_model::route::RouteKey;
use ark_model::traffic::Maintenance;

use super::head::{HeadError, SayConnection};

/// Why the gateway answers instead of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    /// Framing that two servers might read differently.
    Smuggling(&'static str),
    NoRoute,
    Method,
    RequestLate,
    BodyTooLarge,
    HeadTooLarge,
    Coding,
    Version,
    Unreachable,
    ClosedEarly,
    BadResponse,
    Protocol,
    Stopped,
    NoneReady,
    Drained,
    ResponseLate,
    /// With the route's status.
    Maintenance(u16),
    RateLimited,
    Overloaded,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::Smuggling(_) => 400,
            Self::NoRoute => 404,
            Self::Method => 405,
            Self::RequestLate => 408,
            Self::BodyTooLarge => 413,
            Self::HeadTooLarge => 431,
            Self::Coding => 501,
            Self::Unreachable | Self::ClosedEarly | Self::BadResponse | Self::Protocol => 502,
            Self::RateLimited => 429,
            Self::Stopped | Self::NoneReady | Self::Drained | Self::Overloaded => 503,
            Self::Maintenance(status) => status,
            Self::ResponseLate => 504,
            Self::Version => 505,
        }
    }

    /// How it is counted, when it concerns no route.
    pub(crate) fn kind(self) -> RefusalKind {
        match self {
            Self::NoRoute => RefusalKind::NoRoute,
            Self::Smuggling(_) => RefusalKind::Smuggling,
            Self::RequestLate => RefusalKind::SlowHead,
            Self::HeadTooLarge => RefusalKind::HeadTooLarge,
            Self::Method | Self::Coding | Self::Version => RefusalKind::Unsupported,
            Self::BadRequest(_)
            | Self::BodyTooLarge
            | Self::Unreachable
            | Self::ClosedEarly
            | Self::BadResponse
            | Self::Protocol
            | Self::Stopped
            | Self::NoneReady
            | Self::Drained
            | Self::ResponseLate
            | Self::Maintenance(_)
            | Self::RateLimited
            | Self::Overloaded => RefusalKind::Malformed,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::Smuggling(_) => "bad_request",
            Self::NoRoute => "no_route",
            Self::Method => "method_not_allowed",
            Self::RequestLate => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::Coding => "transfer_coding_unknown",
            Self::Version => "version_not_supported",
            Self::Unreachable => "upstream_unreachable",
            Self::ClosedEarly => "upstream_closed",
            Self::BadResponse => "upstream_malformed",
            Self::Protocol => "protocol_not_spoken",
            Self::Stopped => "stopped",
            Self::NoneReady => "none_ready",
            Self::Drained => "drained",
            Self::ResponseLate => "upstream_timeout",
            Self::Maintenance(_) => "maintenance",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
        }
    }

    fn reason(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            // A route's own choice for its maintenance.
            _ => "Maintenance",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::BadRequest(what) | Self::Smuggling(what) => what,
            Self::NoRoute => "no app answers there",
            Self::Method => "the method is not forwarded",
            Self::RequestLate => "the request did not arrive in time",
            Self::BodyTooLarge => "the request body is larger than the app allows",
            Self::HeadTooLarge => "the request has too many or too long header fields",
            Self::Coding => "only the transfer coding `chunked` is understood",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are understood here",
            Self::Unreachable => "the instance cannot be reached",
            Self::ClosedEarly => "the instance closed the connection without an answer",
            Self::BadResponse => "the instance's answer is not valid HTTP",
            Self::Protocol => "the app does not speak HTTP/1.1; it is reached on a port of its own",
            Self::Stopped => "the app is stopped",
            Self::NoneReady => "no instance is ready",
            Self::Drained => "the instance is being replaced and had no time left to answer",
            Self::ResponseLate => "the instance did not answer in time",
            Self::Maintenance(_) => "the app is under maintenance",
            Self::RateLimited => "too many requests in a short time",
            Self::Overloaded => "the app has more requests than it can answer",
        }
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(what) => Self::BadRequest(what),
            HeadError::Smuggling(what) => Self::Smuggling(what),
            HeadError::TooLarge => Self::HeadTooLarge,
            HeadError::Version => Self::Version,
            HeadError::Coding => Self::Coding,
            HeadError::Method => Self::Method,
        }
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) html: bool,
    /// The request was HEAD: no body.
    pub(crate) to_head: bool,
    pub(crate) connection: SayConnection,
}

impl Manner {
    fn connection_field(self) -> &'static str {
        match self.connection {
            SayConnection::Close => "Connection: close\r\n",
            SayConnection::KeepAlive => "Connection: keep-alive\r\n",
            SayConnection::Nothing | SayConnection::Upgrade => "",
        }
    }
}

/// Whom an answer is about.
#[derive(Debug, Clone)]
pub(crate) enum About {
    /// Nothing but the request itself.
    Request,
    /// A host nothing answers for.
    Host(String),
    App(RouteKey),
}

/// The longest part of a host that is shown.
const HOST_CHARS_MAX: usize = 100;

impl About {
    fn words(&self) -> String {
        match self {
            Self::Request => String::new(),
            Self::Host(host) if host.is_empty() => String::new(),
            Self::Host(host) => {
                let shown: String = host.chars().take(HOST_CHARS_MAX).collect();
                format!("{shown}: ")
            }
            Self::App(key) => format!("app {} in environment {}: ", key.app, key.env),
        }
    }
}

/// An answer without the words of a protocol.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// The media type of its body.
    pub(crate) kind: &'static str,
    pub(crate) body: String,
    /// What the body says, in one line.
    pub(crate) sentence: String,
    /// When to ask again, in seconds.
    pub(crate) retry_after_s: Option<u64>,
}

pub(crate) fn page(refusal: Refusal, about: &About, html: bool) -> Page {
    let (status, reason, code) = (refusal.status(), refusal.reason(), refusal.code());
    let sentence = format!("{}{}", about.words(), refusal.why());
    let (kind, body) = if html {
        let sentence = escape(&sentence);
        let body = format!(
            "<!doctype html><meta charset=utf-8><title>{status} {reason}</title>\n\
             <h1>{status} {reason}</h1>\n<p>{sentence}\n<p><small>Ark gateway, {code}</small>\n"
        );
        ("text/html; charset=utf-8", body)
    } else {
        ("text/plain; charset=utf-8", format!("{status} {reason}\n{sentence}\n"))
    };
    let retry_after_s = matches!(status, 429 | 503).then_some(1);
    Page { status, code, kind, body, sentence, retry_after_s }
}

/// Appends the whole answer to `out`; returns the bytes of its body.
pub(crate) fn write(refusal: Refusal, about: &About, manner: Manner, out: &mut Vec<u8>) -> u64 {
    let reason = refusal.reason();
    let Page { status, code, kind, body, retry_after_s, .. } = page(refusal, about, manner.html);
    let connection = manner.connection_field();
    let retry = if retry_after_s.is_some() { "Retry-After: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         X-Ark-Error: {code}\r\nCache-Control: no-store\r\n{retry}{connection}\r\n",
        length = body.len(),
    );
    out.extend_from_slice(head.as_bytes());
    if manner.to_head {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len() as u64
}

/// A route's maintenance page.
pub(crate) fn maintenance_page(page: &Maintenance) -> Page {
    let refusal = Refusal::Maintenance(page.status);
    let body = match page.page.is_empty() {
        true => format!("{} {}\n{}\n", page.status, refusal.reason(), refusal.why()),
        false => page.page.clone(),
    };
    let kind = match body.starts_with('<') {
        true => "text/html; charset=utf-8",
        false => "text/plain; charset=utf-8",
    };
    let sentence = refusal.why().to_owned();
    let retry_after_s = page.retry_after_s;
    Page { status: page.status, code: refusal.code(), kind, body, sentence, retry_after_s }
}

/// Appends a route's maintenance page to `out`.
pub(crate) fn write_maintenance(page: &Maintenance, manner: Manner, out: &mut Vec<u8>) {
    let reason = Refusal::Maintenance(page.status).reason();
    let Page { status, code, kind, body, retry_after_s, .. } = maintenance_page(page);
    let retry = retry_after_s.map_or_else(String::new, |s| format!("Retry-After: {s}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\nX-Ark-Error: {code}\r\nCache-Control: no-store\r\n\
         {retry}{connection}\r\n",
        length = body.len(),
        connection = manner.connection_field(),
    );
    out.extend_from_slice(head.as_bytes());
    if !manner.to_head {
        out.extend_from_slice(body.as_bytes());
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_app_and_reason_and_escapes_what_the_client_said() {
        let key = RouteKey {
            env: "production".parse().unwrap(),
            app: "web".parse().unwrap(),
            expose: "http".to_owned(),
        };
        let manner = Manner { html: false, to_head: false, connection: SayConnection::Nothing };
        let mut out = Vec::new();
        write(Refusal::NoneReady, &About::App(key), manner, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nX-Ark-Error: none_ready\r\n"), "{text}");
        assert!(text.ends_with("app web in environment production: no instance is ready\n"));

        let mut out = Vec::new();
        let about = About::Host("<script>".to_owned());
        let html = Manner { html: true, connection: SayConnection::Close, ..manner };
        write(Refusal::NoRoute, &about, html, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("&lt;script&gt;: no app") && !text.contains("<script>"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");

        let mut out = Vec::new();
        write(Refusal::NoRoute, &About::Request, Manner { to_head: true, ..manner }, &mut out);
        assert!(out.ends_with(b"\r\n\r\n"));
    }
}
