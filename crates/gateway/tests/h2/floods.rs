//! What clients may not do, however fast they do it.

use ark_model::gateway::RefusalKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::h2_support::H2;
use crate::support::{Ark, Backend};

/// Frames of HTTP/2, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends `flood` over and over until the gateway closes; the reason of its GOAWAY.
async fn until_goodbye(ark: &Ark, mut flood: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut stream = TcpStream::connect(ark.http).await.unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while matches!(read.read_buf(&mut bytes).await, Ok(1..)) {}
        bytes
    });
    for count in 0..200_000 {
        if write.write_all(&flood(count)).await.is_err() || reading.is_finished() {
            break;
        }
    }
    let bytes = tokio::time::timeout(crate::support::PATIENCE, reading).await.unwrap().unwrap();
    let mut rest = &bytes[..];
    let mut reason = None;
    while let [a, b, c, kind, _, _, _, _, _, tail @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, next)) = tail.split_at_checked(length) else { break };
        if *kind == 7 {
            reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = next;
    }
    reason
}

#[tokio::test]
async fn floods_are_answered_with_enhance_your_calm() {
    let backend = Backend::echo("ok").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    const CALM: Option<u32> = Some(0xb);
    // :method GET, :scheme http, :path /, :authority a.test, by HPACK's static table.
    let head = [&[0x82, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat();
    assert_eq!(until_goodbye(&ark, |_| frame(6, 0, 0, &[0; 8])).await, CALM, "PING");
    assert_eq!(until_goodbye(&ark, |_| frame(4, 0, 0, &[])).await, CALM, "SETTINGS");
    let rapid = |count: u32| {
        let stream = count * 2 + 1;
        [frame(1, 5, stream, &head), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    assert_eq!(until_goodbye(&ark, rapid).await, CALM, "rapid reset");
    let continuation = |count: u32| match count {
        0 => frame(1, 1, 1, &head),
        _ => frame(9, 0, 1, &[]),
    };
    assert_eq!(until_goodbye(&ark, continuation).await, CALM, "CONTINUATION");
    let empty = |count: u32| match count {
        0 => frame(1, 4, 1, &[&[0x83], &head[1..]].concat()),
        _ => frame(0, 0, 1, &[]),
    };
    assert_eq!(until_goodbye(&ark, empty).await, CALM, "empty DATA");
    // A body of small pieces, which may last, pays for none of them.
    let open = frame(1, 4, 1, &[&[0x83], &head[1..]].concat());
    let pieces = [0, 1, 2, 3, 4, 5].map(|_| frame(0, 0, 1, &[7])).concat();
    let paid = |count: u32| {
        let stream = count * 2 + 3;
        let begun = if count == 0 { open.clone() } else { Vec::new() };
        let reset = frame(3, 0, stream, &[0, 0, 0, 8]);
        [&begun[..], &pieces, &frame(1, 5, stream, &head), &reset].concat()
    };
    assert_eq!(until_goodbye(&ark, paid).await, CALM, "rapid reset beside small DATA");
    let settings = |count: u32| {
        let begun = if count == 0 { open.clone() } else { Vec::new() };
        [&begun[..], &pieces, &frame(4, 0, 0, &[])].concat()
    };
    assert_eq!(until_goodbye(&ark, settings).await, CALM, "SETTINGS beside small DATA");
    let counted = |known: &crate::support::Known| {
        let refusals = known.last.as_ref().map(|report| report.refusals.clone());
        refusals.is_some_and(|refusals| refusals.get(&RefusalKind::Http2Flood) == Some(&7))
    };
    ark.server.until("seven floods are counted", counted).await;
    // Others are served on.
    assert_eq!(H2::connect(ark.http).await.get("/").await.text(), "ok");
}
