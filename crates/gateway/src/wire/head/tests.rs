//! What is accepted, what is refused, and what is written anew.

use super::*;
use proptest::prelude::{any, prop};
use proptest::proptest;

fn request(text: &str) -> Result<Option<(RequestHead, String)>, HeadError> {
    let mut out = Vec::new();
    let head =
        parse_request(text.as_bytes(), Forward { client: "10.0.0.9", secure: false }, &mut out)?;
    Ok(head.map(|head| (head, String::from_utf8_lossy(&out).into_owned())))
}

#[test]
fn requests_that_two_servers_might_read_differently_are_refused() {
    let malformed = [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\tfolded: 1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET relative HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "{} / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for text in malformed {
        let error = request(text).expect_err(text);
        let malformed = matches!(error, HeadError::Malformed(_) | HeadError::Smuggling(_));
        assert!(malformed, "{text:?} was {error:?}");
    }
    let many: String = (0..101).map(|n| format!("X{n}: 1\r\n")).collect();
    for (text, expected) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            HeadError::Coding,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", HeadError::Coding),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", HeadError::Coding),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            HeadError::Coding,
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Method),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Version),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", HeadError::Version),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), HeadError::TooLarge),
    ] {
        assert_eq!(request(text).map(|_| ()), Err(expected), "{text:?}");
    }
}

#[test]
fn heads_are_written_anew_for_the_target() {
    let added = "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\n";
    let cases = [
        (
            "GET /x?y=1 HTTP/1.1\r\nHost: a.test:80\r\nUser-Agent: t\r\n\r\n",
            format!(
                "GET /x?y=1 HTTP/1.1\r\nHost: a.test:80\r\nUser-Agent: t\r\n{added}\
                 X-Forwarded-Host: a.test:80\r\n\r\n"
            ),
        ),
        (
            // Fields of one hop go, those that Connection names too.
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             TE: trailers\r\nA: 1\r\nProxy-Authorization: secret\r\nProxy-Connection: x\r\nB: 2\r\n\r\n",
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n{added}X-Forwarded-Host: a\r\n\r\n"
            ),
        ),
        (
            // What frames and routes may not be named away.
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length\r\nContent-Length: 1\r\n\r\n",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n{added}X-Forwarded-Host: a\r\n\r\n"
            ),
        ),
        (
            // What was claimed of earlier hops is added to or replaced.
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: evil\r\nForwarded: for=x\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\r\n"
                .to_owned(),
        ),
        (
            // The absolute form's authority stands over Host.
            "GET HTTP://b.test/p?q HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
            format!(
                "GET /p?q HTTP/1.1\r\nHost: b.test\r\nX: 1\r\n{added}X-Forwarded-Host: b.test\r\n\r\n"
            ),
        ),
        (
            "GET http://b.test?q HTTP/1.1\r\nHost: a\r\n\r\n",
            format!("GET /?q HTTP/1.1\r\nHost: b.test\r\n{added}X-Forwarded-Host: b.test\r\n\r\n"),
        ),
        ("GET / HTTP/1.0\r\n\r\n", format!("GET / HTTP/1.1\r\nHost: localhost\r\n{added}\r\n")),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nX: 1\r\nContent-Length: 1\r\n\r\n",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nX: 1\r\n{added}\
                 X-Forwarded-Host: a\r\n\r\n"
            ),
        ),
        (
            "GET /w HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
            format!(
                "GET /w HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n{added}X-Forwarded-Host: a\r\n\
                 Connection: upgrade\r\n\r\n"
            ),
        ),
        (
            // An upgrade to HTTP/2 is not forwarded.
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             HTTP2-Settings: x\r\n\r\n",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{added}X-Forwarded-Host: a\r\n\r\n"),
        ),
    ];
    for (text, expected) in cases {
        let (head, out) = request(text).unwrap().expect(text);
        assert_eq!(out, expected, "{text:?}");
        assert_eq!(head.length, text.len());
        for cut in 0..text.len() {
            assert!(matches!(request(&text[..cut]), Ok(None)), "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn requests_are_judged() {
    let judge = |text: &str| {
        let (head, _) = request(text).unwrap().expect(text);
        (head.keep_alive, head.body, head.upgrade)
    };
    for (fields, expected) in [
        ("1.1\r\nHost: a", (true, RequestBody::None, false)),
        ("1.1\r\nHost: a\r\nConnection: Close", (false, RequestBody::None, false)),
        ("1.0\r\nHost: a", (false, RequestBody::None, false)),
        ("1.0\r\nHost: a\r\nConnection: keep-alive", (true, RequestBody::None, false)),
        ("1.1\r\nHost: a\r\nContent-Length: 0", (true, RequestBody::None, false)),
        ("1.1\r\nHost: a\r\nContent-Length: 12", (true, RequestBody::Length(12), false)),
        ("1.1\r\nHost: a\r\nTransfer-Encoding: Chunked", (true, RequestBody::Chunked, false)),
        ("1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade", (true, RequestBody::None, true)),
        ("1.1\r\nHost: a\r\nUpgrade: x", (true, RequestBody::None, false)),
        ("1.0\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade", (false, RequestBody::None, false)),
    ] {
        assert_eq!(judge(&format!("GET / HTTP/{fields}\r\n\r\n")), expected, "{fields}");
    }
}

#[test]
fn answers_are_judged_and_written_anew() {
    let plain = Shape { chunked: false, connection: SayConnection::Nothing };
    let chunked = Shape { chunked: true, connection: SayConnection::Close };
    let cases = [
        (
            "200 OK\r\nContent-Length: 3\r\nX: 1",
            false,
            plain,
            Ok((Framing::Length(3), true)),
            "200 OK\r\nContent-Length: 3\r\nX: 1\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 0",
            false,
            plain,
            Ok((Framing::None, true)),
            "200 OK\r\nContent-Length: 0\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 3",
            true,
            plain,
            Ok((Framing::None, true)),
            "200 OK\r\nContent-Length: 3\r\n",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\nA: 1",
            false,
            chunked,
            Ok((Framing::Chunked, true)),
            "200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
            false,
            chunked,
            Ok((Framing::Chunked, false)),
            "200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n",
        ),
        (
            "200 OK\r\nConnection: close\r\nA: 1",
            false,
            plain,
            Ok((Framing::UntilClose, false)),
            "200 OK\r\nA: 1\r\n",
        ),
        (
            "204 No Content\r\nContent-Length: 0\r\nA: 1",
            false,
            plain,
            Ok((Framing::None, true)),
            "204 No Content\r\nA: 1\r\n",
        ),
        (
            "304 Not Modified\r\nContent-Length: 9",
            false,
            plain,
            Ok((Framing::None, true)),
            "304 Not Modified\r\nContent-Length: 9\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 1\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: timeout=5",
            false,
            plain,
            Ok((Framing::Length(1), true)),
            "200 OK\r\nContent-Length: 1\r\n",
        ),
        (
            "200\r\nContent-Length: 1",
            false,
            plain,
            Ok((Framing::Length(1), true)),
            "200 \r\nContent-Length: 1\r\n",
        ),
        ("200 OK\r\nContent-Length: 1\r\nContent-Length: 2", false, plain, Err(()), ""),
        ("200 OK\r\nTransfer-Encoding: gzip", false, plain, Err(()), ""),
        ("200 OK\r\nX: 1\r\n folded", false, plain, Err(()), ""),
        ("099 No\r\nX: 1", false, plain, Err(()), ""),
    ];
    for (text, to_head, shape, expected, written) in cases {
        for ends in ["\r\n", "\n"] {
            let text = format!("HTTP/1.1 {text}\r\n\r\n").replace("\r\n", ends);
            let mut out = Vec::new();
            let head = parse_response(text.as_bytes(), to_head, &mut out, |_| Some(shape));
            let judged = head.map(|head| head.map(|head| (head.framing, head.keep_alive)));
            match expected {
                Ok(expected) => {
                    assert_eq!(judged, Ok(Some(expected)), "{text:?}");
                    let expected = format!("HTTP/1.1 {written}\r\n");
                    assert_eq!(String::from_utf8(out).unwrap(), expected, "{text:?}");
                }
                Err(()) => assert!(judged.is_err(), "{text:?}"),
            }
        }
    }
    let mut out = Vec::new();
    let text = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
        Keep-Alive: timeout=7, max=9\r\n\r\n";
    let head = parse_response(text, false, &mut out, |_| None).unwrap().unwrap();
    assert!(head.event_stream && head.keep_alive_s == Some(7) && out.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_request(&bytes, Forward { client: "::1", secure: true }, &mut Vec::new());
        let shape = Shape { chunked: true, connection: SayConnection::Close };
        let _ = parse_response(&bytes, false, &mut Vec::new(), |_| Some(shape));
    }

    #[test]
    fn heads_that_are_nearly_right_do_not_panic_and_never_grow_lines(
        method in "[A-Z]{1,8}", target in "[ -~]{1,30}",
        fields in prop::collection::vec(
            ("(host|connection|content-length|transfer-encoding|upgrade|x|x-forwarded-for)", "[ -~]{0,20}"), 0..8),
    ) {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        if let Ok(Some((head, out))) = request(&text) {
            // What is sent is one well-formed head again, with one host and one framing.
            let (again, _) = request(&out).unwrap().expect("complete");
            proptest::prop_assert_eq!(again.length, out.len());
            proptest::prop_assert_eq!(again.body, head.body);
        }
    }
}
