//! Builds by BuildKit, which daemons have built in since 18.09: the same request as for the classic
//! builder with `version=2`, its context as the body, so that no session with the client is needed.
//! What it says of its progress are protobuf messages (`moby.buildkit.v1.StatusResponse`, in
//! `api/services/control/control.proto` of moby/buildkit), of which only the names of steps and their
//! output are read; bollard reads them too, at the price of a gRPC stack and a session that is not
//! needed here.
//!
//! Called by `build`. Only for a daemon whose socket is on this host.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use serde::Deserialize;

use super::raw;
use crate::engine::Built;

/// The longest message of the daemon.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// The most steps whose names are remembered as told.
const STEPS_MAX: usize = 10_000;

/// The request's target: the API's version, and what is built.
pub(super) fn target(version: (usize, usize), pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("/v{}.{}/build?version=2&{}", version.0, version.1, pairs.join("&"))
}

/// As it stands in a query (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// What the builder says, until it has ended or failed. Dropping it ends the build.
pub(super) fn build(
    socket: PathBuf,
    target: String,
    context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> BoxStream<'static, Built> {
    stream::once(async move {
        match begin(&socket, target, context).await {
            Ok(saying) => stream::unfold(saying, Saying::next).boxed(),
            Err(reason) => stream::once(std::future::ready(Built::Failed(reason))).boxed(),
        }
    })
    .flatten()
    .boxed()
}

/// An answer under way.
struct Saying {
    body: Incoming,
    /// What came and is no whole message yet.
    buffer: Vec<u8>,
    ready: VecDeque<Built>,
    /// Steps whose names were told.
    told: BTreeSet<Vec<u8>>,
    over: bool,
    /// The build ends with it.
    _connected: raw::Connected,
}

async fn begin(
    socket: &Path,
    target: String,
    context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<Saying, String> {
    let (mut sender, connected) = raw::connect(socket).await?;
    let broken = |error: hyper::Error| format!("the daemon broke off: {error}");
    let request = Request::post(target)
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/x-tar")
        .body(StreamBody::new(context.map_ok(Frame::data).boxed()))
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if !answer.status().is_success() {
        return Err(raw::refusal(answer).await);
    }
    Ok(Saying {
        body: answer.into_body(),
        buffer: Vec::new(),
        ready: VecDeque::new(),
        told: BTreeSet::new(),
        over: false,
        _connected: connected,
    })
}

/// One line of the daemon's answer.
#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    stream: Option<String>,
    aux: Option<serde_json::Value>,
    #[serde(rename = "errorDetail")]
    error: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: Option<String>,
}

impl Saying {
    async fn next(mut self) -> Option<(Built, Self)> {
        loop {
            if let Some(built) = self.ready.pop_front() {
                return Some((built, self));
            }
            if self.over {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    self.read();
                }
                Some(Err(error)) => self.fail(format!("the daemon broke off: {error}")),
                None => self.over = true,
            }
        }
    }

    fn fail(&mut self, reason: String) {
        self.ready.push_back(Built::Failed(reason));
        self.over = true;
    }

    /// Takes whole messages out of the buffer.
    fn read(&mut self) {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(message) => self.hear(message),
                Err(error) => self.fail(format!("the daemon's message cannot be read: {error}")),
            }
        }
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            self.fail(format!("a message of the daemon has more than {MESSAGE_BYTES_MAX} bytes"));
        }
    }

    fn hear(&mut self, message: Message) {
        if let Some(error) = message.error {
            let reason = error.message.unwrap_or_else(|| "the builder gave no reason".to_owned());
            return self.fail(reason.trim().to_owned());
        }
        if let Some(text) = message.stream {
            self.lines(text.as_bytes());
        }
        if message.id.as_deref() == Some("moby.buildkit.trace")
            && let Some(serde_json::Value::String(text)) = message.aux
            && let Ok(status) = STANDARD.decode(text)
        {
            self.trace(&status);
        }
    }

    fn lines(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        self.ready.extend(lines.map(|line| Built::Line(line.to_owned())));
    }

    /// A `StatusResponse`: field 1 are steps, field 3 is what they write.
    fn trace(&mut self, status: &[u8]) {
        for (number, field) in Fields(status) {
            match (number, field) {
                (1, Field::Bytes(step)) => self.step(step),
                (3, Field::Bytes(log)) => {
                    for (number, field) in Fields(log) {
                        if let (4, Field::Bytes(text)) = (number, field) {
                            self.lines(text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// A `Vertex`: its digest (1), its name (3), whether it was cached (4), when it began (5). Told
    /// once, when it begins.
    fn step(&mut self, step: &[u8]) {
        let (mut digest, mut name, mut cached, mut begun): (&[u8], &[u8], _, _) =
            (&[], &[], false, false);
        for (number, field) in Fields(step) {
            match (number, field) {
                (1, Field::Bytes(bytes)) => digest = bytes,
                (3, Field::Bytes(bytes)) => name = bytes,
                (4, Field::Number(value)) => cached = value != 0,
                (5, Field::Bytes(_)) => begun = true,
                _ => {}
            }
        }
        let new = (begun || cached) && self.told.len() < STEPS_MAX;
        if new && self.told.insert(digest.to_owned()) {
            let name = String::from_utf8_lossy(name).into_owned();
            let line = if cached { format!("{name} (cached)") } else { name };
            self.lines(line.as_bytes());
        }
    }
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, up to the first that cannot be read
/// (<https://protobuf.dev/programming-guides/encoding/>).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_holds_any_name() {
        assert_eq!(
            target((1, 41), &[("t", "shop/web:1"), ("labels", r#"{"a":"b"}"#)]),
            "/v1.41/build?version=2&t=shop%2Fweb%3A1&labels=%7B%22a%22%3A%22b%22%7D"
        );
    }

    #[test]
    fn what_is_no_message_ends_quietly() {
        // A length beyond the end, an endless number, a group (which proto3 has not).
        let endless = [0x80; 11];
        for bytes in [&[0x0a, 0x7f, 0x01][..], &endless, &[0x0b, 0x01], &[]] {
            assert_eq!(Fields(bytes).count(), 0, "{bytes:?}");
        }
        let whole = [0x20, 0x96, 0x01, 0x1a, 0x02, b'h', b'i', 0x0d, 1, 2, 3, 4, 0x20];
        let found: Vec<u64> = Fields(&whole).map(|(number, _)| number).collect();
        assert_eq!(found, [4, 3, 1]);
    }
}
