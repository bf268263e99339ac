//! Connections to targets: kept, taken again, made.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use tokio::net::TcpStream;

use super::buffer::Buffer;
use super::head::Method;
use crate::worker::{LocalTarget, Worker};

/// How many idle connections one worker keeps to one target.
/// As many as were busy at once, within reason: a thousand clients need a thousand again in a moment,
/// and each that is closed meanwhile costs a handshake.
const IDLE_MAX: usize = 1024;
/// How long a connection is kept when the target does not say how long it keeps it, in
/// milliseconds.
const IDLE_MS: u64 = 60_000;
/// Requests that must not be repeated only use connections that were used within this time, in
/// milliseconds: a target that closes idle connections after some seconds then never meets them.
const FRESH_MS: u64 = 1_000;

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    /// Lent once an answer comes.
    pub(crate) buffer: Buffer,
    /// Whether it served a request before: then its end before an answer may only mean that the
    /// target closed it for being idle.
    pub(crate) reused: bool,
}

/// A connection between requests.
#[derive(Debug)]
pub(crate) struct Idle {
    stream: TcpStream,
    since_ms: u64,
    until_ms: u64,
}

impl Idle {
    /// Whether it may carry another request: not kept too long, not closed, nothing unasked
    /// received. Costs no system call unless something was received.
    pub(crate) fn is_usable(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.until_ms {
            return false;
        }
        loop {
            match self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return true,
                Poll::Ready(Err(_)) => return false,
                // Either closed, or readiness left over from the last answer: reading tells.
                Poll::Ready(Ok(())) => match self.stream.try_read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return false,
                },
            }
        }
    }
}

/// A kept connection to `local`, for a request of this method.
pub(crate) fn take(worker: &Worker, local: &LocalTarget, method: Method) -> Option<Upstream> {
    let now_ms = worker.now_ms();
    let mut all = local.idle.borrow_mut();
    while let Some(mut idle) = all.pop() {
        if method == Method::Other && now_ms.saturating_sub(idle.since_ms) > FRESH_MS {
            // The one used last is too old, so are all others.
            all.push(idle);
            return None;
        }
        if idle.is_usable(now_ms) {
            let buffer = Buffer::default();
            return Some(Upstream { stream: idle.stream, buffer, reused: true });
        }
    }
    None
}

/// Keeps a connection whose last answer is complete, for as long as the target says.
pub(crate) fn keep(
    worker: &Worker,
    local: &LocalTarget,
    upstream: Upstream,
    keep_alive_s: Option<u64>,
) {
    let Upstream { stream, buffer, .. } = upstream;
    let clean = buffer.is_empty();
    worker.buffers.give_back(buffer);
    let mut all = local.idle.borrow_mut();
    if !clean || !local.target.keeps_idle() || all.len() >= IDLE_MAX {
        return;
    }
    // A second less than the target says, so that it is never the target that closes it first.
    let keep_ms = keep_alive_s.map_or(IDLE_MS, |s| (s.saturating_sub(1) * 1000).min(IDLE_MS));
    let now_ms = worker.now_ms();
    if keep_ms > 0 {
        all.push(Idle { stream, since_ms: now_ms, until_ms: now_ms + keep_ms });
    }
}

/// A new connection.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
