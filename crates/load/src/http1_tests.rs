//! Tables and properties of the response parser.

use proptest::prelude::*;

use super::*;

async fn inbox(bytes: &[u8]) -> Inbox {
    let mut inbox = Inbox::default();
    let mut from = bytes;
    while inbox.unread().len() < bytes.len() {
        inbox.fill(&mut from).await.expect("bytes are left");
    }
    inbox
}

#[tokio::test]
async fn heads_are_understood() {
    use Framing::{Chunked, Length, UntilClose};
    for (text, status, framing, reusable) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200, Length(5), true),
        ("HTTP/1.1 200\r\nContent-Length:5\r\n\r\n", 200, Length(5), true),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
            200,
            Length(0),
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n",
            200,
            Length(0),
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", 200, Length(1), false),
        ("HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n", 503, Chunked, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, Length(0), true),
        ("HTTP/1.1 200 OK\r\n\r\n", 200, UntilClose, false),
        ("HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n", 101, Length(0), true),
    ] {
        let mut whole = inbox(format!("{text}rest").as_bytes()).await;
        let head = parse_head(&mut whole).expect(text).expect(text);
        assert_eq!(
            (head.status, head.framing, head.reusable),
            (status, framing, reusable),
            "{text}"
        );
        assert_eq!(whole.unread(), b"rest", "{text}");
        for cut in 1..text.len() {
            let mut part = inbox(&text.as_bytes()[..cut]).await;
            assert_eq!(parse_head(&mut part).expect(text), None, "{text} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn heads_that_break_the_protocol_are_refused() {
    for text in [
        "FTP/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: \x01\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    ] {
        let parsed = parse_head(&mut inbox(text.as_bytes()).await);
        assert!(matches!(parsed, Err(Broken::Protocol(_))), "{text:?} gave {parsed:?}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_BYTES_MAX));
    assert!(parse_head(&mut inbox(endless.as_bytes()).await).is_err());
}

async fn decode(framing: Framing, wire: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut body = Vec::new();
    let mut sink = |piece: &[u8]| {
        body.extend_from_slice(piece);
        Ok(())
    };
    let mut from = wire;
    read_body(&mut from, &mut Inbox::default(), framing, &mut sink).await?;
    Ok(body)
}

#[tokio::test]
async fn bodies_end_where_their_framing_says() {
    use Framing::{Chunked, Length, UntilClose};
    for (framing, wire, body) in [
        (Length(0), "", ""),
        (Length(3), "abc", "abc"),
        (UntilClose, "abc", "abc"),
        (Chunked, "0\r\n\r\n", ""),
        (Chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde"),
        (Chunked, "00A\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n", "0123456789"),
    ] {
        let decoded = decode(framing, wire.as_bytes()).await;
        assert_eq!(decoded.expect(wire), body.as_bytes(), "{wire:?}");
        if framing != UntilClose {
            for cut in 0..wire.len() {
                let part = decode(framing, &wire.as_bytes()[..cut]).await;
                assert!(matches!(part, Err(Broken::Eof)), "{wire:?} cut at {cut}: {part:?}");
            }
        }
    }
    for wrong in ["x\r\n", "\r\n", "3\nabc", "3\r\nabcd\r\n", "-1\r\n", "fffffffffffffffff\r\n"] {
        let decoded = decode(Chunked, wrong.as_bytes()).await;
        assert!(matches!(decoded, Err(Broken::Protocol(_))), "{wrong:?} gave {decoded:?}");
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_within_a_limit() {
    let mut from =
        &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 x\r\n\r\n"[..];
    let head = read_head(&mut from, &mut Inbox::default()).await.expect("a head");
    assert_eq!(head.status, 204);
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let mut from = endless.as_bytes();
    assert!(read_head(&mut from, &mut Inbox::default()).await.is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..80),
        honest in any::<bool>(),
    ) {
        let mut bytes = if honest { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        bytes.extend(&tail);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let mut from = &bytes[..];
            let _ = read_head(&mut from, &mut Inbox::default()).await;
            let _ = decode(Framing::Chunked, &tail).await;
        });
    }

    #[test]
    fn a_chunked_body_survives_any_chunking(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let body = runtime.block_on(decode(Framing::Chunked, &wire)).expect("a whole body");
        prop_assert_eq!(body, chunks.concat());
    }
}
