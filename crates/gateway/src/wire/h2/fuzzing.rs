//! A head that came over HTTP/2, as an HTTP/1.1 target gets it: the part of `crate::fuzzing` that knows
//! both.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::fields::Request;
use crate::wire::head::FIELDS_MAX;

/// `text`: method, authority and path in a line each, then fields, `name: value`.
pub(in crate::wire) fn crossing(text: &[u8], ended: bool) {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut next = || std::str::from_utf8(lines.next().unwrap_or(b"")).ok();
    let (Some(method), Some(authority), Some(path)) = (next(), next(), next()) else { return };
    let uri = http::Uri::builder().scheme("http").authority(authority).path_and_query(path);
    let Ok(uri) = uri.build() else { return };
    let Ok(mut request) = http::Request::builder().method(method).uri(uri).body(()) else { return };
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = HeaderName::from_lowercase(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let Ok(request) = Request::of_h2(request.into_parts().0, ended, "10.0.0.9", true) else {
        return;
    };
    if ended && request.length.is_some_and(|length| length > 0) {
        // Refused by the library before it comes here.
        return;
    }
    let mut out = Vec::new();
    request.to_h1(&mut out, Duration::from_secs(1));
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + 16];
    let mut head = httparse::Request::new(&mut fields);
    assert_eq!(head.parse(&out), Ok(httparse::Status::Complete(out.len())));
    assert_eq!(head.path, Some(request.path_and_query()));
    let count = |name: &str| {
        head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
    };
    assert_eq!((count("host"), count("x-ark-timeout-ms")), (1, 1));
    assert!(count("cookie") <= 1 && count("connection") == 0, "{:?}", head.headers);
    let framed = (count("content-length"), count("transfer-encoding"));
    match (request.has_body, request.length) {
        (_, Some(_)) => assert_eq!(framed, (1, 0)),
        (true, None) => assert_eq!(framed, (0, 1)),
        (false, None) => assert!(framed == (0, 0) || framed == (1, 0), "{framed:?}"),
    }
}
