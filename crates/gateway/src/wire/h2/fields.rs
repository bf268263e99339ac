//! Heads of messages on their way from one protocol to the other. What HTTP/1.1 says of one hop
//! (`Connection` and the like) does not exist in HTTP/2; what routes and frames is judged as
//! strictly as there.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};

use super::grpc;
use super::h1_sink::push_field;
use super::upgrade;
use crate::rules::Fields;
use crate::wire::answer::Refusal;
use crate::wire::head::{FIELDS_MAX, Field, Method, TIMEOUT_FIELD, is_host};
use crate::wire::is_token;
use crate::wire::passage::Asked;

/// A request as both protocols can say it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: http::Method,
    pub(super) kind: Method,
    /// Host and port.
    pub(super) authority: Authority,
    /// `None` for `*`.
    pub(super) target: Option<PathAndQuery>,
    /// Fields of the message, with those the gateway adds, without those of one hop.
    pub(super) fields: HeaderMap,
    /// The length of the body, where it is known.
    pub(super) length: Option<u64>,
    pub(super) has_body: bool,
    pub(super) accepts_html: bool,
    /// Whether it asks for a WebSocket.
    pub(super) web_socket: bool,
    pub(super) grpc: bool,
    /// How long its caller waits, where it says so.
    pub(super) timeout: Option<Duration>,
    wants_trailers: bool,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_ARK_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-ark-timeout-ms");
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Fields that concern one hop alone, beside `Connection` and what it names.
const HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::FORWARDED,
];

impl Request {
    /// What came over HTTP/2 from `client`.
    pub(super) fn of_h2(
        parts: http::request::Parts,
        ended: bool,
        client: &str,
        secure: bool,
    ) -> Result<Self, Refusal> {
        let http::request::Parts { method, uri, mut headers, extensions, .. } = parts;
        if headers.len() > FIELDS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        if !headers.keys().all(is_name) {
            return Err(Refusal::BadRequest("field name"));
        }
        let protocol = extensions.get::<h2::ext::Protocol>();
        let web_socket = match (method == http::Method::CONNECT, protocol) {
            (true, Some(protocol)) if protocol.as_str() == "websocket" => true,
            (true, _) => return Err(Refusal::Method),
            (false, Some(_)) => return Err(Refusal::BadRequest(":protocol without CONNECT")),
            (false, None) => false,
        };
        let authority = authority(&uri, &headers)?;
        HOP.iter().for_each(|name| drop(headers.remove(name)));
        let wants_trailers = headers.remove(header::TE).is_some();
        headers.remove(header::HOST);
        forwarded(&mut headers, &authority, client, secure);
        let target = uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        let target = match target.as_str() {
            "*" if method == http::Method::OPTIONS => None,
            text if text.starts_with('/') && text.is_ascii() => Some(target),
            _ => return Err(Refusal::BadRequest(":path")),
        };
        Self::of(method, authority, target, headers, ended && !web_socket).map(|request| Self {
            web_socket,
            wants_trailers,
            ..request
        })
    }

    /// What `head::parse_request` wrote for an HTTP/1.1 target: judged already.
    pub(super) fn of_h1(text: &[u8], ended: bool) -> Result<Self, Refusal> {
        let bad = Refusal::BadRequest("request line");
        let mut space = [httparse::EMPTY_HEADER; FIELDS_MAX + 8];
        let mut request = httparse::Request::new(&mut space);
        if !matches!(request.parse(text), Ok(httparse::Status::Complete(_))) {
            return Err(bad);
        }
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad)?;
            headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| bad)?);
        }
        let method = request.method.unwrap_or("").parse().map_err(|_| bad)?;
        let host = headers.remove(header::HOST).ok_or(bad)?;
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| bad)?;
        let target = match request.path.unwrap_or("/") {
            "*" => None,
            path => Some(PathAndQuery::try_from(path).map_err(|_| bad)?),
        };
        let web_socket = upgrade::is_asked_for(&headers);
        HOP.iter().for_each(|name| drop(headers.remove(name)));
        Self::of(method, authority, target, headers, ended)
            .map(|request| Self { web_socket, ..request })
    }

    fn of(
        method: http::Method,
        authority: Authority,
        target: Option<PathAndQuery>,
        mut fields: HeaderMap,
        ended: bool,
    ) -> Result<Self, Refusal> {
        let length = length(&fields)?;
        if fields.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some()
            && let Some(length) = length
        {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let accepts_html = fields
            .get_all(header::ACCEPT)
            .iter()
            .any(|value| memchr::memmem::find(value.as_bytes(), b"text/html").is_some());
        let grpc = grpc::is_grpc(&fields);
        let asked = fields.remove(TIMEOUT_FIELD).and_then(|ms| ms.to_str().ok()?.parse().ok());
        let timeout = match grpc {
            true => grpc::timeout(&fields),
            false => asked.map(Duration::from_millis),
        };
        Ok(Self {
            kind: Method::of(method.as_str()),
            method,
            authority,
            target,
            length,
            has_body: !ended,
            accepts_html,
            web_socket: false,
            grpc,
            timeout,
            wants_trailers: false,
            fields,
        })
    }

    /// What a route's rules want to know of it.
    pub(super) fn asked(&self, client: IpAddr) -> Asked<'_> {
        let timeout_ms = self.timeout.map(crate::clock::millis);
        Asked {
            method: self.method.as_str(),
            host: self.authority.as_str(),
            path: self.path(),
            client,
            timeout_ms,
            fields: &self.fields,
        }
    }

    /// Without the query.
    pub(super) fn path(&self) -> &str {
        self.target.as_ref().map_or("*", PathAndQuery::path)
    }

    /// With the query.
    pub(super) fn path_and_query(&self) -> &str {
        self.target.as_ref().map_or("*", PathAndQuery::as_str)
    }

    /// Whether its body goes to an HTTP/1.1 target in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        self.has_body && self.length.is_none() && !self.web_socket
    }

    /// The head as an HTTP/1.1 target gets it.
    pub(super) fn to_h1(&self, out: &mut Vec<u8>, left: Duration) {
        let method = if self.web_socket { "GET" } else { self.method.as_str() };
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.path_and_query().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_field(out, "host", self.authority.as_str().as_bytes());
        let mut cookies = Vec::new();
        for (name, value) in &self.fields {
            if name == header::COOKIE {
                // Clients may send it in crumbs, which HTTP/1.1 does not know.
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value.as_bytes());
            } else if name != GRPC_TIMEOUT {
                push_field(out, name.as_str(), value.as_bytes());
            }
        }
        if !cookies.is_empty() {
            push_field(out, "cookie", &cookies);
        }
        if self.grpc && self.timeout.is_some() {
            push_field(out, GRPC_TIMEOUT, grpc::timeout_field(left).as_bytes());
        }
        push_field(out, TIMEOUT_FIELD, crate::clock::millis(left).to_string().as_bytes());
        if self.is_chunked() {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if !self.has_body && self.length.is_none() && expects_body(&self.method) {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        if self.web_socket {
            upgrade::push_request(out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The head as an HTTP/2 target gets it.
    pub(super) fn to_h2(&self, left: Duration) -> http::Request<()> {
        let mut fields = self.fields.clone();
        if self.grpc || self.wants_trailers {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if self.grpc && self.timeout.is_some() {
            fields.insert(GRPC_TIMEOUT, grpc::timeout_field(left));
        }
        fields.insert(X_ARK_TIMEOUT_MS, HeaderValue::from(crate::clock::millis(left)));
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = self.target.clone().or(Some(PathAndQuery::from_static("*")));
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = fields;
        if self.web_socket {
            upgrade::to_h2(&mut request);
        }
        request
    }
}

impl Fields for HeaderMap {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| test(value.as_bytes()))
    }
}

/// Whom it is for: `:authority`, else `Host`. When both are there they must agree.
fn authority(uri: &Uri, fields: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadRequest("several host fields"));
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), Some(host)) if host.as_bytes() != authority.as_str().as_bytes() => {
            return Err(Refusal::BadRequest("host differs from :authority"));
        }
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => {
            Authority::try_from(host.as_bytes()).map_err(|_| Refusal::BadRequest("host"))?
        }
        (None, None) => return Err(Refusal::BadRequest("no host")),
    };
    match is_host(authority.as_str()) {
        true => Ok(authority),
        false => Err(Refusal::BadRequest("host")),
    }
}

/// Whom the gateway speaks for, as `head::parse_request` says it to HTTP/1.1.
fn forwarded(fields: &mut HeaderMap, authority: &Authority, client: &str, secure: bool) {
    let is_claimed =
        |name: &&HeaderName| Field::of(name.as_str().as_bytes()) == Field::ForwardedWhat;
    while let Some(name) = fields.keys().find(is_claimed).cloned() {
        fields.remove(name);
    }
    let mut through = Vec::new();
    for before in fields.get_all(X_FORWARDED_FOR) {
        through.extend_from_slice(before.as_bytes());
        through.extend_from_slice(b", ");
    }
    through.extend_from_slice(client.as_bytes());
    let put = |fields: &mut HeaderMap, name, value: Result<HeaderValue, _>| {
        // Made of what were field values already.
        if let Ok(value) = value {
            fields.insert(name, value);
        }
    };
    put(fields, X_FORWARDED_FOR, HeaderValue::from_maybe_shared(Bytes::from(through)));
    let scheme = if secure { "https" } else { "http" };
    fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    put(
        fields,
        X_FORWARDED_HOST,
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(authority.as_str().as_bytes())),
    );
}

/// The length that all `Content-Length` fields agree on.
fn length(fields: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut lengths = crate::wire::head::Lengths::default();
    for value in fields.get_all(header::CONTENT_LENGTH) {
        lengths.add_length(value.as_bytes()).map_err(Refusal::from)?;
    }
    Ok(lengths.length)
}

fn expects_body(method: &http::Method) -> bool {
    matches!(*method, http::Method::POST | http::Method::PUT | http::Method::PATCH)
}

/// Whether HTTP/1.1 can say this name too: the library lets a quotation mark pass.
pub(super) fn is_name(name: &HeaderName) -> bool {
    name.as_str().bytes().all(is_token)
}

/// Fields of an answer that came over HTTP/2, without those that have no business there. `None` when
/// one has a name that no field may have.
pub(super) fn of_h2_answer(mut fields: HeaderMap) -> Option<HeaderMap> {
    HOP.iter().for_each(|name| drop(fields.remove(name)));
    fields.keys().all(is_name).then_some(fields)
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(fields: &HeaderMap) -> bool {
    fields.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// The head of an answer as an HTTP/1 client gets it, framing and connection left out.
pub(super) fn push_answer(out: &mut Vec<u8>, status: http::StatusCode, fields: &HeaderMap) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        push_field(out, name.as_str(), value.as_bytes());
    }
}

/// Trailers that came over HTTP/1.1, line by line.
pub(super) fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        if Field::of(name.as_str().as_bytes()) == Field::Other {
            fields.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
    }
    (!fields.is_empty()).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_over_http2_is_judged_as_over_http1() {
        for (method, path, expected) in [
            ("GET", "/", Some("/")),
            ("GET", "/a?b", Some("/a?b")),
            ("OPTIONS", "*", Some("*")),
            ("GET", "*", None),
            ("GET", "a", None),
            ("GET", "*a", None),
            ("GET", "?a", None),
            ("GET", "/\u{e4}", None),
        ] {
            let Ok(target) = PathAndQuery::try_from(path) else {
                assert_eq!(expected, None, "{method} {path}");
                continue;
            };
            let mut uri = http::uri::Parts::default();
            uri.scheme = Some(Scheme::HTTP);
            uri.authority = Some(Authority::from_static("a.test"));
            uri.path_and_query = Some(target);
            let Ok(uri) = Uri::from_parts(uri) else {
                assert_eq!(expected, None, "{method} {path}");
                continue;
            };
            let (parts, ()) =
                http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            let request = Request::of_h2(parts, true, "127.0.0.1", false);
            let got = request.as_ref().ok().map(Request::path_and_query);
            assert_eq!(got, expected, "{method} {path}");
        }
    }

    /// Found by the fuzz target `crossing`.
    #[test]
    fn a_name_that_http1_does_not_have_is_refused() {
        let name = HeaderName::from_lowercase(b"content-len\"").unwrap();
        let request = http::Request::builder().uri("http://a.test/").header(name, "5").body(());
        let (parts, ()) = request.unwrap().into_parts();
        let request = Request::of_h2(parts, true, "127.0.0.1", false);
        assert!(matches!(request, Err(Refusal::BadRequest("field name"))), "{request:?}");
        let fields = |name: &[u8]| {
            let name = HeaderName::from_lowercase(name).unwrap();
            HeaderMap::from_iter([(name, HeaderValue::from_static("5"))])
        };
        assert_eq!(of_h2_answer(fields(b"content-len\"")), None);
        assert_eq!(of_h2_answer(fields(b"content-len")), Some(fields(b"content-len")));
    }
}
