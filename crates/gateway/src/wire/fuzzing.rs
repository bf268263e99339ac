//! The wire's part of `crate::fuzzing`.

use super::chunked::Decoder;
use super::h2::grpc::Messages;
use super::head::{
    self, FIELDS_MAX, Forward, Framing, RequestBody, SayConnection, Shape, parse_request,
    parse_response,
};
use super::proxy_protocol::{self, Header};
use super::relay::Events;
use super::web_socket::Frames;

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

pub(crate) fn crossing(text: &[u8], ended: bool) {
    super::h2::fuzzing::crossing(text, ended);
}

pub(crate) fn proxy_header(bytes: &[u8]) {
    let mut come = 0;
    let client = loop {
        match proxy_protocol::look(&bytes[..come]) {
            Err(_) => return,
            Ok(Header::Whole(client)) => break client,
            Ok(Header::Needs(more)) => {
                assert!(more > 0, "it asks for nothing after {come}");
                come += more;
                if come > bytes.len() {
                    return;
                }
            }
        }
    };
    // What it is by its definition, and not a byte of what follows.
    let header = &bytes[..come];
    match header.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        Some(rest) => {
            assert_eq!(rest.len() - 4, usize::from(rest[2]) << 8 | usize::from(rest[3]));
            let given = match client {
                Some(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
                Some(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
                None => Vec::new(),
            };
            assert!(rest[4..].starts_with(&given), "{client:?}");
        }
        None => {
            assert!(header.len() <= 107 && header.ends_with(b"\r\n"));
            let words: Vec<&[u8]> = header.split(|byte| *byte == b' ').collect();
            let text = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
            assert!(words[0] == b"PROXY" && (words[1].starts_with(b"UNKNOWN") || client.is_some()));
            assert_eq!(client, client.and_then(|_| text(words[2])));
        }
    }
}

/// Where frames, messages and events of a stream end does not depend on how they arrive, and is where
/// their definition says.
pub(crate) fn boundaries(bytes: &[u8], piece: usize) {
    let pieces = || bytes.chunks(piece.max(1));
    let ends = ends(bytes, frame);
    let (mut frames, mut stopping, mut stopped_at) = (Frames::default(), Frames::default(), None);
    for (index, part) in pieces().enumerate() {
        frames.scan(part, false);
        if stopped_at.is_none() {
            stopped_at = stopping.scan(part, true).map(|at| index * piece.max(1) + at);
        }
    }
    assert_eq!(frames.between(), ends.last().copied().unwrap_or(0) == bytes.len());
    assert_eq!(stopped_at, ends.first().copied());
    let begins = std::iter::once(0).chain(ends.iter().copied());
    let closes = begins.filter_map(|at| bytes.get(at)).any(|first| first & 0x0f == 8);
    assert_eq!(frames.closed, closes);

    let ends = self::ends(bytes, message);
    let (mut messages, mut stopping, mut stopped_at) =
        (Messages::default(), Messages::default(), None);
    for (index, part) in pieces().enumerate() {
        messages.scan(part, false);
        if stopped_at.is_none() {
            stopped_at = stopping.scan(part, true).map(|at| index * piece.max(1) + at);
        }
    }
    let whole = ends.last().copied().unwrap_or(0);
    assert_eq!(messages.between(), whole == bytes.len());
    assert_eq!(messages.count, (ends.len() + usize::from(whole < bytes.len())) as u64);
    assert_eq!(stopped_at, ends.first().copied());

    let (mut whole, mut parted) = (Events::default(), Events::default());
    whole.scan(bytes, false);
    for part in pieces() {
        parted.scan(part, false);
    }
    assert_eq!(whole.between(), parted.between());
    if let Some(end) = Events::default().scan(bytes, true) {
        let mut first = Events::default();
        first.scan(&bytes[..end], false);
        assert!(first.between());
    }
}

/// Where what `length` measures ends, one after the other.
fn ends(bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(end) = length(&bytes[at..]).and_then(|length| at.checked_add(length))
        && end <= bytes.len()
    {
        ends.push(end);
        at = end;
    }
    ends
}

/// The length of a WebSocket frame (RFC 6455, 5.2), if its head is there.
fn frame(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (head, payload) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes[2..].first_chunk()?)),
        short => (2, u64::from(short)),
    };
    usize::try_from(payload).ok()?.checked_add(head + mask)
}

/// The length of a gRPC message with its prefix, if that is there.
fn message(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
    (length as usize).checked_add(5)
}
