//! Copies of requests to the canary, whose answers are thrown away. A copy is a task of its own with
//! a connection of its own: the original neither waits for it nor shares anything with it. It is
//! counted as `mirrored` at its target and nowhere else, and holds up no drain.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{h2, upstream};
use crate::split::Side;
use crate::worker::{Found, LocalTarget, Worker};

/// How long a copy may take in all.
const COPY_MAX: Duration = Duration::from_secs(30);
/// The most of an answer that is read before the connection is closed, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Methods that change nothing (RFC 9110, 9.2.1), as far as apps know them.
const SAFE: [&[u8]; 3] = [b"GET", b"HEAD", b"OPTIONS"];
/// What says to the app that nobody will see the answer, and ends the connection with it.
const FIELDS: &[u8] = b"Connection: close\r\nX-Ark-Mirror: 1\r\n";

/// A request as its target gets it.
#[derive(Debug)]
pub(super) enum Copy {
    /// Its head, with all of its body.
    Http1(Vec<u8>),
    /// One without a body.
    Http2(Box<http::Request<()>>),
}

/// Copies a request of this method that goes to the stable side, should the route say so.
pub(super) fn copy(
    worker: &Rc<Worker>,
    found: &Found,
    method: &[u8],
    request: impl FnOnce() -> Copy,
) {
    let Some(mirror) = found.split.as_ref().and_then(|split| split.mirror.as_ref()) else { return };
    let state = &found.state;
    let wanted = (mirror.unsafe_methods || SAFE.contains(&method))
        && state.mirror.deal(mirror.percent, &mut || worker.draw());
    if !wanted || state.mirrored.get() >= mirror.in_flight_max {
        return;
    }
    let Some(local) = worker.ready_of(found.slot, Side::Canary) else { return };
    let copy = request();
    let under_way = UnderWay::new(found.clone());
    tokio::task::spawn_local(async move {
        let _under_way = under_way;
        // Whatever becomes of it: nobody waits for it.
        let _ = timeout(COPY_MAX, send(&local, copy)).await;
    });
}

async fn send(local: &LocalTarget, copy: Copy) -> std::io::Result<()> {
    let stream = upstream::connect(local.target.address).await?;
    local.cells().mirrored();
    match copy {
        Copy::Http1(request) => send_h1(stream, &request).await,
        Copy::Http2(mut request) => {
            request.headers_mut().insert("x-ark-mirror", HeaderValue::from_static("1"));
            h2::send_copy(stream, *request, ANSWER_BYTES_MAX).await.map_err(std::io::Error::other)
        }
    }
}

async fn send_h1(mut stream: TcpStream, request: &[u8]) -> std::io::Result<()> {
    let line_end = memchr::memchr(b'\n', request).ok_or(std::io::ErrorKind::InvalidData)?;
    let (line, rest) = request.split_at(line_end + 1);
    stream.write_all(&[line, FIELDS, rest].concat()).await?;
    let mut thrown_away = [0; 4096];
    let mut read = 0;
    while read < ANSWER_BYTES_MAX {
        match stream.read(&mut thrown_away).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}

/// A copy under way, for the limit of them.
struct UnderWay(Found);

impl UnderWay {
    fn new(found: Found) -> Self {
        found.state.mirrored.set(found.state.mirrored.get() + 1);
        Self(found)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state.mirrored.set(self.0.state.mirrored.get() - 1);
    }
}
