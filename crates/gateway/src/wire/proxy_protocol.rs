//! The PROXY protocol, versions 1 and 2: a balancer before the gateway says first for which client
//! it speaks. Only on listening sockets that were told to expect it; there it must come.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::slot::Slot;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, and the most of one of version 2, in bytes.
const V1_BYTES_MAX: usize = 107;
const V2_BYTES_MAX: usize = 4096;

/// How far a header has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// So many more bytes are the header's, whatever they are; at least 1.
    Needs(usize),
    /// It is whole. `None`: the balancer speaks for itself (a health check), or does not know for whom.
    Whole(Option<IpAddr>),
}

/// Reads the header and no byte more. See [`Header::Whole`].
pub(super) async fn read(slot: &Slot, tcp: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match look(&bytes)? {
            Header::Whole(client) => return Ok(client),
            Header::Needs(count) => {
                let at = bytes.len();
                bytes.resize(at + count, 0);
                fill(slot, tcp, &mut bytes[at..]).await?;
            }
        }
    }
}

/// What the bytes of a header that have come so far say.
pub(super) fn look(bytes: &[u8]) -> io::Result<Header> {
    let needs = |whole: usize| Ok(Header::Needs(whole - bytes.len()));
    if bytes.len() < SIGNATURE.len() {
        return needs(SIGNATURE.len());
    }
    if bytes.starts_with(&SIGNATURE) {
        let Some((fixed, addresses)) = bytes.split_first_chunk::<16>() else { return needs(16) };
        let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if length > V2_BYTES_MAX {
            return Err(bad("header too long"));
        }
        return match addresses.len() < length {
            true => needs(16 + length),
            false => parse_v2(fixed[12], fixed[13], addresses).map(Header::Whole),
        };
    }
    if !bytes.starts_with(b"PROXY ") {
        return Err(bad("no PROXY header"));
    }
    if bytes.ends_with(b"\r\n") {
        return parse_v1(bytes).map(Header::Whole);
    }
    match bytes.len() < V1_BYTES_MAX {
        true => needs(bytes.len() + 1),
        false => Err(bad("header too long")),
    }
}

fn parse_v1(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let text = std::str::from_utf8(line).map_err(|_| bad("header is not text"))?;
    let text = text.strip_suffix("\r\n").unwrap_or(text);
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words.as_slice() else {
        return Err(bad("header is incomplete"));
    };
    if [source_port, destination_port].iter().any(|port| port.parse::<u16>().is_err()) {
        return Err(bad("port"));
    }
    let both = |text: &str, other: &str| Some((text.parse().ok()?, other.parse().ok()?));
    let (source, destination): (IpAddr, IpAddr) =
        both(source, destination).ok_or_else(|| bad("address"))?;
    match (family, source, destination) {
        (Some("TCP4"), IpAddr::V4(_), IpAddr::V4(_))
        | (Some("TCP6"), IpAddr::V6(_), IpAddr::V6(_)) => Ok(Some(source)),
        _ => Err(bad("address family")),
    }
}

fn parse_v2(version_command: u8, family: u8, addresses: &[u8]) -> io::Result<Option<IpAddr>> {
    match version_command {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(bad("version or command")),
    }
    match (family >> 4, addresses) {
        (1, _) if addresses.len() >= 12 => {
            let source = addresses.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
            Ok(source.map(IpAddr::V4))
        }
        (2, _) if addresses.len() >= 36 => {
            let source = addresses.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes));
            Ok(source.map(IpAddr::V6))
        }
        (0 | 3, _) => Ok(None),
        _ => Err(bad("address family")),
    }
}

async fn fill(slot: &Slot, tcp: &mut TcpStream, space: &mut [u8]) -> io::Result<()> {
    let mut space = ReadBuf::new(space);
    poll_fn(|cx| {
        while space.remaining() > 0 {
            if slot.take_verdict().is_some() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let before = space.remaining();
            ready!(Pin::new(&mut *tcp).poll_read(cx, &mut space))?;
            if space.remaining() == before {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_version_1() {
        let cases: [(&str, Option<Option<&str>>); 9] = [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n", Some(Some("192.0.2.1"))),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n", Some(Some("2001:db8::1"))),
            ("PROXY UNKNOWN\r\n", Some(None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Some(None)),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 5000 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 5000\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 5000 65536\r\n", None),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 5000 443\r\n", None),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 5000 443\r\n", None),
        ];
        for (line, expected) in cases {
            let parsed = parse_v1(line.as_bytes()).ok();
            let expected = expected.map(|client| client.map(|text| text.parse().unwrap()));
            assert_eq!(parsed, expected, "{line:?}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187];
        assert_eq!(parse_v2(0x21, 0x11, &v4).unwrap(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(parse_v2(0x20, 0x11, &v4).unwrap(), None, "LOCAL");
        assert_eq!(parse_v2(0x21, 0x00, &[]).unwrap(), None, "UNSPEC");
        let mut v6 = [0; 40];
        v6[15] = 1;
        assert_eq!(parse_v2(0x21, 0x21, &v6).unwrap(), Some("::1".parse().unwrap()));
        for (command, family, length) in
            [(0x11, 0x11, 12), (0x22, 0x11, 12), (0x21, 0x11, 11), (0x21, 0x21, 35)]
        {
            assert!(parse_v2(command, family, &vec![0; length]).is_err());
        }
    }
}
