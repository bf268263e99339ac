//! The client's half of RFC 6455 as data: handshake, masked frames out, frames in. Used
//! by the driver `ws`; holds no socket.

use crate::http1::{Broken, Inbox};

/// The handshake's key and its answer: the pair of RFC 6455, section 1.3. A fixed key
/// serves, for this client guards no cache; it only checks that the other side
/// understood the handshake.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server makes of [`KEY`].
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const PAYLOAD_BYTES_MAX: u64 = 1024 * 1024;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame; 1005 when it carries none.
    pub(crate) fn close_code(&self) -> u16 {
        match self.payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 1005,
        }
    }
}

/// Takes one frame off the buffer; `None` when it is not complete yet.
pub(crate) fn parse_frame(inbox: &mut Inbox) -> Result<Option<Frame>, Broken> {
    let wrong = |text: String| Err(Broken::Protocol(text));
    let [first, second, rest @ ..] = inbox.unread() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return wrong(format!("frame with reserved bits {first:#04x}"));
    }
    if second & 0x80 != 0 {
        return wrong("masked frame from a server".to_owned());
    }
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return wrong(format!("frame with opcode {:#x}", first & 0x0f));
    };
    let fin = first & 0x80 != 0;
    let (length, header_bytes) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 2),
    };
    if opcode.is_control() && (!fin || length > 125) {
        return wrong("control frame that is fragmented or too long".to_owned());
    }
    if length > PAYLOAD_BYTES_MAX {
        return wrong(format!("frame of {length} bytes"));
    }
    let end = header_bytes + usize::try_from(length).unwrap_or(usize::MAX);
    let Some(payload) = inbox.unread().get(header_bytes..end) else {
        return Ok(None);
    };
    let frame = Frame { fin, opcode, payload: payload.to_vec() };
    inbox.consume(end);
    Ok(Some(frame))
}

/// A masked frame, ready to be written. Payloads here are short: below 64 KiB.
pub(crate) fn masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode.bits()];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => bytes.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Masks for one connection. Their unpredictability protects browsers from hostile
/// scripts; this client needs only that they vary.
#[derive(Debug)]
pub(crate) struct Masks {
    state: u32,
}

impl Masks {
    pub(crate) fn new(seed: u16) -> Self {
        Self { state: u32::from(seed) | 0x5eed_0000 }
    }

    pub(crate) fn next(&mut self) -> [u8; 4] {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn inbox(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::default();
        let mut from = bytes;
        while inbox.unread().len() < bytes.len() {
            inbox.fill(&mut from).await.expect("bytes are left");
        }
        inbox
    }

    #[tokio::test]
    async fn frames_are_parsed_or_refused() {
        let text = |fin, opcode, payload: &[u8]| Frame { fin, opcode, payload: payload.to_vec() };
        for (bytes, expect) in [
            (&b"\x81\x02hi"[..], text(true, Opcode::Text, b"hi")),
            (b"\x01\x01a", text(false, Opcode::Text, b"a")),
            (b"\x80\x01b", text(true, Opcode::Continuation, b"b")),
            (b"\x82\x7e\x00\x01x", text(true, Opcode::Binary, b"x")),
            (b"\x88\x02\x03\xe9", text(true, Opcode::Close, b"\x03\xe9")),
            (b"\x89\x00", text(true, Opcode::Ping, b"")),
            (b"\x8a\x7f\0\0\0\0\0\0\0\0", text(true, Opcode::Pong, b"")),
        ] {
            let mut whole = inbox(bytes).await;
            assert_eq!(parse_frame(&mut whole).expect("a frame"), Some(expect), "{bytes:?}");
            assert!(whole.unread().is_empty());
            for cut in 1..bytes.len() {
                let mut part = inbox(&bytes[..cut]).await;
                assert_eq!(parse_frame(&mut part).expect("no frame yet"), None, "{bytes:?}");
            }
        }
        for wrong in [&b"\xc1\x00"[..], b"\x81\x80", b"\x83\x00", b"\x08\x00", b"\x89\x7e\x00\x7e"]
        {
            assert!(parse_frame(&mut inbox(wrong).await).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn close_codes() {
        for (payload, code) in [(&b"\x03\xe8"[..], 1000), (b"\x03\xe9bye", 1001), (b"", 1005)] {
            let payload = payload.to_vec();
            assert_eq!(Frame { fin: true, opcode: Opcode::Close, payload }.close_code(), code);
        }
    }

    #[test]
    fn the_masked_frame_of_the_standard() {
        let frame = masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    proptest! {
        #[test]
        fn masking_twice_gives_the_payload(
            payload in proptest::collection::vec(any::<u8>(), 0..70_000),
            seed: u16,
        ) {
            let mask = Masks::new(seed).next();
            let bytes = masked_frame(Opcode::Binary, &payload, mask);
            let body = &bytes[bytes.len() - payload.len()..];
            let back: Vec<u8> =
                body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            prop_assert_eq!(back, payload);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let mut inbox = runtime.block_on(inbox(&bytes));
            while let Ok(Some(_)) = parse_frame(&mut inbox) {}
        }
    }
}
