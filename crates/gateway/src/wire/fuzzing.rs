//! The wire's part of `crate::fuzzing`.

use super::chunked::Decoder;
use super::head::{
    self, FIELDS_MAX, Forward, Framing, RequestBody, SayConnection, Shape, parse_request,
    parse_response,
};

pub(crate) fn request(bytes: &[u8]) {
    let forward = Forward { client: "10.0.0.9", secure: false };
    let mut out = Vec::new();
    let Ok(Some(first)) = parse_request(bytes, forward, &mut out) else { return };
    assert!(first.length <= bytes.len());
    // More bytes after the head change nothing of what it says.
    let mut again = Vec::new();
    let longer = [&bytes[..first.length], b"GET / HTTP/1.1\r\n"].concat();
    let second = parse_request(&longer, forward, &mut again);
    assert!(matches!(&second, Ok(Some(head)) if head.length == first.length), "{second:?}");
    assert_eq!(out, again);
    // A strict reader finds one whole head in what is sent on, and nothing after it.
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + 8];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(&out), Ok(httparse::Status::Complete(out.len())));
    let count = |name: &str| {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
    };
    assert_eq!(count("host"), 1);
    let expected = match first.body {
        RequestBody::None => (0..=1, 0..=0),
        RequestBody::Length(_) => (1..=1, 0..=0),
        RequestBody::Chunked => (0..=0, 1..=1),
    };
    assert!(expected.0.contains(&count("content-length")), "{:?}", first.body);
    assert!(expected.1.contains(&count("transfer-encoding")), "{:?}", first.body);
    for hop in ["keep-alive", "proxy-connection", "te", "x-ark-timeout-ms"] {
        assert_eq!(count(hop), 0, "{hop}");
    }
    // The gateway's own additions keep it whole.
    head::add_field(&mut out, "X-Added", "1");
    head::add_number(&mut out, head::TIMEOUT_FIELD, 60_000);
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + 8];
    let whole = httparse::Request::new(&mut fields).parse(&out);
    assert_eq!(whole, Ok(httparse::Status::Complete(out.len())));
}

pub(crate) fn response(bytes: &[u8]) {
    for (to_head, chunked) in [(false, false), (true, false), (false, true)] {
        let mut out = Vec::new();
        let shape = |head: &head::ResponseHead| {
            let chunked = chunked && matches!(head.framing, Framing::Chunked | Framing::UntilClose);
            Some(Shape { chunked, connection: SayConnection::Close })
        };
        let Ok(Some(head)) = parse_response(bytes, to_head, &mut out, shape) else { return };
        assert!(head.length <= bytes.len() && head.status >= 100);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + 8];
        let mut response = httparse::Response::new(&mut fields);
        assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
        assert_eq!(response.code, Some(head.status));
        let count = |name: &str| {
            response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
        };
        assert!(count("content-length") + count("transfer-encoding") <= 1 || to_head);
    }
}

pub(crate) fn chunked(bytes: &[u8], piece: usize) {
    let mut whole = Decoder::default();
    let at_once = whole.scan(bytes);
    let mut decoder = Decoder::default();
    let (mut consumed, mut data) = (0, 0);
    for part in bytes.chunks(piece.max(1)) {
        match decoder.scan(part) {
            Ok((count, more)) => {
                consumed += count;
                data += more;
            }
            Err(error) => {
                assert_eq!(at_once, Err(error));
                return;
            }
        }
        if decoder.is_done() {
            break;
        }
    }
    assert_eq!(at_once, Ok((consumed, data)));
    assert_eq!(whole.is_done(), decoder.is_done());
}
