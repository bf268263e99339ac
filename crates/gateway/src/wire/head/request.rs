//! Heads of requests.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::fields::{Connection, Lengths, connection_names, elements, line_start};
use super::{FIELDS_MAX, Field, HeadError, has_bare_lf};

/// The client's version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// The method, as far as a proxy must tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    /// May be repeated: the outcome is the same.
    Idempotent,
    Other,
}

/// A request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestBody {
    None,
    Length(u64),
    Chunked,
}

/// What the gateway must know of a request. Ranges are of the bytes that were parsed.
#[derive(Debug, Clone)]
pub(crate) struct RequestHead {
    pub(crate) length: usize,
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) body: RequestBody,
    /// Whether the client wants the connection kept.
    pub(crate) keep_alive: bool,
    /// Whether it asks to upgrade, in a way that is forwarded.
    pub(crate) upgrade: bool,
    /// Whether an error page may be HTML.
    pub(crate) accepts_html: bool,
    /// How long the client waits for the answer, in milliseconds.
    pub(crate) timeout_ms: Option<u64>,
    /// Empty when there is none (HTTP/1.0).
    pub(crate) host: Range<usize>,
    /// Without the query.
    pub(crate) path: Range<usize>,
}

/// What the gateway adds to a request it forwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward<'a> {
    /// Its address in text.
    pub(crate) client: &'a str,
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
}

/// Parses the head at the beginning of `bytes` and writes what is sent to the target into `out`.
/// `None` when the head has not ended yet.
pub(crate) fn parse_request(
    bytes: &[u8],
    forward: Forward<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<RequestHead>, HeadError> {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut space)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let head = &bytes[..length];
    if has_bare_lf(head) {
        return Err(HeadError::Smuggling("line ends without CR"));
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(HeadError::Malformed("request line"));
    };
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let target = Target::parse(method, target)?;
    let facts = Facts::collect(request.headers, version, &target)?;

    out.clear();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.origin_form(method).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = target.authority.or(facts.host.is_none().then_some("localhost")) {
        push_field(out, "Host", host);
    }
    copy_fields(head, request.headers, &facts, target.authority.is_some(), out);
    push_forwarded(out, request.headers, &facts, forward, target.authority);
    if facts.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    out.extend_from_slice(b"\r\n");

    let within = |text: &str| {
        let start = text.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + text.len()
    };
    Ok(Some(RequestHead {
        length,
        version,
        method: Method::of(method),
        body: facts.body,
        keep_alive: facts.keep_alive,
        upgrade: facts.upgrade,
        accepts_html: facts.accepts_html,
        timeout_ms: facts.timeout_ms,
        host: target.authority.or(facts.host).map_or(0..0, within),
        path: within(target.path),
    }))
}

impl Method {
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "GET" | "OPTIONS" | "PUT" | "DELETE" | "TRACE" => Self::Idempotent,
            _ => Self::Other,
        }
    }
}

/// The request target in its parts.
struct Target<'t> {
    /// Of the absolute form; stands over `Host`.
    authority: Option<&'t str>,
    path: &'t str,
    path_and_query: &'t str,
}

impl<'t> Target<'t> {
    fn parse(method: &str, target: &'t str) -> Result<Self, HeadError> {
        if method == "CONNECT" {
            return Err(HeadError::Method);
        }
        // A fragment is never sent; what carries one is trying something.
        if target.contains('#') || !target.is_ascii() {
            return Err(HeadError::Malformed("request target"));
        }
        let (authority, path_and_query) = if target.starts_with('/') || target == "*" {
            (None, target)
        } else {
            let rest = match target.get(..7) {
                Some(scheme) if scheme.eq_ignore_ascii_case("http://") => &target[7..],
                _ => return Err(HeadError::Malformed("request target")),
            };
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            if !is_host(authority) || authority.is_empty() {
                return Err(HeadError::Malformed("request target"));
            }
            (Some(authority), rest)
        };
        let end = path_and_query.find('?').unwrap_or(path_and_query.len());
        Ok(Self { authority, path: &path_and_query[..end], path_and_query })
    }

    /// What the target is asked for. An absolute form without a path means `/` (or `*`).
    fn origin_form(&self, method: &str) -> std::borrow::Cow<'t, str> {
        if !self.path.is_empty() {
            return self.path_and_query.into();
        }
        match (method, self.path_and_query) {
            ("OPTIONS", "") => "*".into(),
            (_, query) => format!("/{query}").into(),
        }
    }
}

/// What the fields say.
struct Facts<'h> {
    host: Option<&'h str>,
    body: RequestBody,
    keep_alive: bool,
    upgrade: bool,
    accepts_html: bool,
    timeout_ms: Option<u64>,
    names_others: bool,
    /// Whether a field stands there that is not copied as it is.
    forwarded_for: bool,
    repeats_length: bool,
}

impl<'h> Facts<'h> {
    fn collect(
        fields: &[httparse::Header<'h>],
        version: Version,
        target: &Target<'_>,
    ) -> Result<Self, HeadError> {
        let mut host = None;
        let mut lengths = Lengths::default();
        let mut connection = Connection::default();
        let (mut upgrade, mut h2c, mut accepts_html) = (false, false, false);
        let (mut forwarded_for, mut repeats_length) = (false, false);
        let mut timeout_ms = None;
        for field in fields {
            match Field::of(field.name.as_bytes()) {
                Field::Host if host.is_some() => {
                    return Err(HeadError::Smuggling("several host fields"));
                }
                Field::Host => {
                    let text = std::str::from_utf8(field.value).unwrap_or("/");
                    if !is_host(text) {
                        return Err(HeadError::Malformed("host"));
                    }
                    host = Some(text);
                }
                Field::Connection => connection.add(field.value),
                Field::ContentLength => repeats_length |= lengths.add_length(field.value)?,
                Field::TransferEncoding => lengths.add_coding(field.value)?,
                Field::Upgrade => {
                    upgrade = true;
                    // An upgrade to HTTP/2 would carry requests past the gateway's rules.
                    h2c |= elements(field.value).any(|e| e.eq_ignore_ascii_case(b"h2c"));
                }
                Field::Accept => {
                    accepts_html |= memchr::memmem::find(field.value, b"text/html").is_some();
                }
                Field::ForwardedFor => forwarded_for = true,
                // What is no number says nothing.
                Field::Timeout => {
                    let text = std::str::from_utf8(field.value).ok();
                    timeout_ms = text.and_then(|text| text.parse().ok()).or(timeout_ms);
                }
                Field::ContentType
                | Field::Forwarded
                | Field::ForwardedWhat
                | Field::KeepAlive
                | Field::Hop
                | Field::Other => {}
            }
        }
        if version == Version::Http11 && host.is_none() {
            return Err(HeadError::Malformed("no host field"));
        }
        let body = match (lengths.length, lengths.chunked) {
            (Some(_), true) => {
                return Err(HeadError::Smuggling("both content-length and transfer-encoding"));
            }
            (None, true) if version == Version::Http10 => {
                return Err(HeadError::Smuggling("transfer-encoding in HTTP/1.0"));
            }
            (None, true) => RequestBody::Chunked,
            (Some(0) | None, false) => RequestBody::None,
            (Some(length), false) => RequestBody::Length(length),
        };
        let keep_alive = match version {
            Version::Http11 => !connection.close,
            Version::Http10 => connection.keep_alive && !connection.close,
        };
        let upgrade = upgrade && connection.upgrade && !h2c && version == Version::Http11;
        let host = host.filter(|_| target.authority.is_none());
        Ok(Self {
            host,
            body,
            keep_alive,
            upgrade,
            accepts_html,
            timeout_ms,
            names_others: connection.names_others,
            forwarded_for,
            repeats_length,
        })
    }
}

/// Whether `text` may be a host with or without port: no user, no path, nothing that another
/// server would read as more than a name.
pub(crate) fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (text, ""),
    };
    let name_is_good = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => {
            !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
        }
        None => name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b)),
    };
    name_is_good && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())
}

/// Copies the lines of all fields that are forwarded, neighbours in one go.
fn copy_fields(
    head: &[u8],
    fields: &[httparse::Header<'_>],
    facts: &Facts<'_>,
    replaces_host: bool,
    out: &mut Vec<u8>,
) {
    let mut length_written = false;
    let mut run_start = None;
    for field in fields {
        let kind = Field::of(field.name.as_bytes());
        let keep = match kind {
            Field::Connection
            | Field::KeepAlive
            | Field::Hop
            | Field::Forwarded
            | Field::ForwardedFor
            | Field::ForwardedWhat
            | Field::Timeout => false,
            Field::Host => !replaces_host,
            Field::Upgrade => facts.upgrade,
            Field::ContentLength => {
                !(facts.repeats_length && std::mem::replace(&mut length_written, true))
            }
            Field::Accept | Field::ContentType | Field::TransferEncoding | Field::Other => true,
        };
        let named = facts.names_others && kind.removable() && connection_names(fields, field.name);
        let start = line_start(head, field);
        match (keep && !named, run_start) {
            (true, None) => run_start = Some(start),
            (false, Some(from)) => {
                out.extend_from_slice(&head[from..start]);
                run_start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if let Some(from) = run_start {
        // All lines end with CRLF, and an empty one ends the head.
        out.extend_from_slice(&head[from..head.len() - 2]);
    }
}

/// Whom the gateway speaks for. An incoming `X-Forwarded-For` is kept and added to; how the client
/// reached the gateway is the gateway's own to say.
fn push_forwarded(
    out: &mut Vec<u8>,
    fields: &[httparse::Header<'_>],
    facts: &Facts<'_>,
    forward: Forward<'_>,
    authority: Option<&str>,
) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if facts.forwarded_for {
        for field in fields {
            if Field::of(field.name.as_bytes()) == Field::ForwardedFor && !field.value.is_empty() {
                out.extend_from_slice(field.value);
                out.extend_from_slice(b", ");
            }
        }
    }
    out.extend_from_slice(forward.client.as_bytes());
    out.extend_from_slice(match forward.secure {
        true => b"\r\nX-Forwarded-Proto: https\r\n".as_slice(),
        false => b"\r\nX-Forwarded-Proto: http\r\n",
    });
    if let Some(host) = authority.or(facts.host) {
        push_field(out, "X-Forwarded-Host", host);
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
