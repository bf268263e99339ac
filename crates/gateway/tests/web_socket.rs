//! Autobahn's cases, written anew for a gateway: it passes WebSocket frames on, so each must arrive
//! as it was sent, in both directions, whichever protocol either side speaks and however the bytes
//! are split. What is no valid frame sequence is the endpoints' to refuse, and passes too.
//!
//! Not here: section 10 (how an endpoint fragments what it is told to send: a gateway sends nothing of its own), and
//! what 12 and 13 say of compressed contents. That both ends agree on compression through the gateway is here, and so
//! are frames with its bit.

#[path = "support/h2.rs"]
mod h2_support;
mod support;

use std::time::Duration;

use bytes::Bytes;
use h2_support::{H2, H2Backend, ark_for_both, send_all};
use http::{Request, Response};
use support::{Ark, Backend, Client, PATIENCE};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CONTINUES: u8 = 0x0;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
/// What a client asks for that would compress.
const OFFER: &str = "sec-websocket-extensions: permessage-deflate; client_max_window_bits";

/// A masked frame, as clients send them.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Each case with its name; numbers are those of Autobahn's sections.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, frames: &[Vec<u8>]| cases.push((name.to_owned(), frames.concat()));
    // 1: framing, every length at which the header changes.
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        add(&format!("1.1 text of {length}"), &[frame(FINAL | TEXT, &vec![b'*'; length])]);
        add(&format!("1.2 binary of {length}"), &[frame(FINAL | BINARY, &vec![0xfe; length])]);
    }
    // 2: pings and pongs.
    add("2.1 ping", &[frame(FINAL | PING, b"")]);
    add("2.4 ping of 125", &[frame(FINAL | PING, &[0xfe; 125])]);
    add("2.5 ping too long", &[frame(FINAL | PING, &[0xfe; 126])]);
    add("2.7 pong unasked", &[frame(FINAL | PONG, b"unsolicited")]);
    add("2.10 ten pings", &vec![frame(FINAL | PING, b"payload"); 10]);
    // 3 and 4: reserved bits and opcodes pass as they are.
    for bits in [0x10, 0x20, 0x30, 0x40, 0x70] {
        add(&format!("3 reserved bits {bits:x}"), &[frame(FINAL | bits | TEXT, b"bits")]);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(&format!("4 opcode {opcode}"), &[frame(FINAL | opcode, b"opcode")]);
    }
    // 5: fragmentation, with control frames within.
    add("5.1 ping in fragments", &[frame(PING, b"frag"), frame(FINAL | CONTINUES, b"ment")]);
    add("5.3 text in two", &[frame(TEXT, b"frag"), frame(FINAL | CONTINUES, b"ment")]);
    let with_ping =
        [frame(TEXT, b"frag"), frame(FINAL | PING, b"between"), frame(FINAL | CONTINUES, b"ment")];
    add("5.6 ping between fragments", &with_ping);
    add("5.9 continuation of nothing", &[frame(FINAL | CONTINUES, b"none")]);
    let many: Vec<_> = (0..50).map(|_| frame(CONTINUES, b"f")).collect();
    add(
        "5.19 many fragments",
        &[&[frame(TEXT, b"f")], &many[..], &[frame(FINAL | CONTINUES, b"")]].concat(),
    );
    // 6: UTF-8 at its edges, and beyond them.
    let texts: [&[u8]; 9] = [
        "κόσμε".as_bytes(),
        "\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}".as_bytes(),
        b"",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf8\x88\x80\x80\x80",
        b"\xc0\xaf",
        b"\xff\xfe",
        b"\xed\xbf\xbf",
        b"\xe1\x80",
    ];
    for (at, text) in texts.iter().enumerate() {
        add(&format!("6 text {at}"), &[frame(FINAL | TEXT, text)]);
        let bytes: Vec<_> = text.iter().map(|byte| frame(CONTINUES, &[*byte])).collect();
        add(
            &format!("6 text {at} byte by byte"),
            &[&[frame(TEXT, b"")], &bytes[..], &[frame(FINAL | CONTINUES, b"")]].concat(),
        );
    }
    // 9: large messages, whole and in fragments.
    add("9.1 text of a mebibyte", &[frame(FINAL | TEXT, &vec![b'*'; 1 << 20])]);
    let pieces: Vec<_> = (0..16).map(|_| frame(CONTINUES, &[0xfe; 1 << 14])).collect();
    add(
        "9.4 binary in pieces",
        &[&[frame(BINARY, b"")], &pieces[..], &[frame(FINAL | CONTINUES, b"")]].concat(),
    );
    // 7: closing, with every code that there is, and those that there are not.
    let codes = [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for code in codes.into_iter().chain([0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 5000, 65_535])
    {
        let payload = [&code.to_be_bytes()[..], b"reason"].concat();
        add(&format!("7 close {code}"), &[frame(FINAL | CLOSE, &payload)]);
    }
    add("7 close without a code", &[frame(FINAL | CLOSE, b"")]);
    add("7 close with half a code", &[frame(FINAL | CLOSE, b"\x03")]);
    add("7 data after a close", &[frame(FINAL | CLOSE, b"\x03\xe8"), frame(FINAL | TEXT, b"late")]);
    cases
}

/// A client's end of a WebSocket.
enum Socket {
    H1(Client),
    H2(h2::SendStream<Bytes>, h2::RecvStream, Vec<u8>),
}

impl Socket {
    async fn open(ark: &Ark, host: &str, over_h2: bool) -> Self {
        if over_h2 {
            let mut client = H2::connect(ark.http).await;
            while !client.send.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let mut request = Request::builder()
                .method(http::Method::CONNECT)
                .uri(format!("http://{host}/"))
                .body(())
                .unwrap();
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            let (response, send) = client.begin(request, false).await;
            let response = timeout(PATIENCE, response).await.unwrap().unwrap();
            assert_eq!(response.status(), 200);
            return Self::H2(send, response.into_body(), Vec::new());
        }
        let mut client = ark.client().await;
        client
            .say(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.status, 101);
        Self::H1(client)
    }

    /// Sends `bytes` in pieces and reads as many back.
    async fn echo(&mut self, bytes: &[u8], piece: usize) -> Vec<u8> {
        match self {
            Self::H1(client) => {
                let Client { stream, read } = client;
                let (mut from, mut to) = stream.split();
                let sending = async {
                    for part in bytes.chunks(piece) {
                        to.write_all(part).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let reading = async {
                    use tokio::io::AsyncReadExt;
                    while read.len() < bytes.len() {
                        assert!(from.read_buf(read).await.unwrap() > 0, "ended early");
                    }
                };
                timeout(PATIENCE, async { tokio::join!(sending, reading) }).await.unwrap();
                read.drain(..bytes.len()).collect()
            }
            Self::H2(send, body, read) => {
                let sending = async {
                    for part in bytes.chunks(piece) {
                        send_all(send, Bytes::copy_from_slice(part), false).await;
                    }
                };
                let reading = async {
                    while read.len() < bytes.len() {
                        let data = body.data().await.expect("ended early").unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                        read.extend_from_slice(&data);
                    }
                };
                timeout(PATIENCE, async { tokio::join!(sending, reading) }).await.unwrap();
                read.drain(..bytes.len()).collect()
            }
        }
    }
}

async fn start() -> (Ark, Backend, H2Backend) {
    let h1 = Backend::start(|mut peer| async move {
        let Some(head) = peer.head().await else { return };
        peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n").await;
        if head.to_ascii_lowercase().contains(OFFER) {
            peer.say("Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        }
        peer.say("Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n").await;
        let (mut read, mut write) = peer.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let h2 = H2Backend::start(|_, mut body, mut respond| async move {
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            send_all(&mut answer, data, false).await;
        }
        let _ = answer.send_data(Bytes::new(), true);
    })
    .await;
    let (ark, _) = ark_for_both(&h1, &h2).await;
    (ark, h1, h2)
}

#[tokio::test]
async fn compression_is_agreed_on_through_the_gateway() {
    let (ark, _h1, _h2) = start().await;
    let mut client = ark.client().await;
    client
        .say(&format!(
            "GET / HTTP/1.1\r\nHost: h1.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{OFFER}\r\n\r\n"
        ))
        .await;
    let answer = client.answer().await;
    let agreed = answer.field("sec-websocket-extensions");
    assert_eq!((answer.status, agreed), (101, Some("permessage-deflate")));
    let mut socket = Socket::H1(client);
    // "Hello", compressed: RFC 7692, 7.2.3.1.
    let hello = frame(FINAL | 0x40 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    assert_eq!(socket.echo(&hello, 3).await, hello);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_pass_unchanged_over_every_crossing() {
    let (ark, _h1, _h2) = start().await;
    let cases = cases();
    assert!(cases.len() > 80);
    for (host, over_h2) in
        [("h1.test", false), ("h1.test", true), ("h2.test", false), ("h2.test", true)]
    {
        let mut shared = Socket::open(&ark, host, over_h2).await;
        for (name, bytes) in &cases {
            // A close ends what may follow on a socket, so that each has its own.
            let closes = name.starts_with('7');
            let mut own = if closes { Some(Socket::open(&ark, host, over_h2).await) } else { None };
            let splits: &[usize] =
                if bytes.len() > 4096 || closes { &[16_384] } else { &[1, 7, 4096] };
            for piece in splits {
                let socket = own.as_mut().unwrap_or(&mut shared);
                let echoed = socket.echo(bytes, *piece).await;
                assert!(echoed == *bytes, "{name} over {host}, HTTP/2 {over_h2}, by {piece}");
            }
        }
    }
}
