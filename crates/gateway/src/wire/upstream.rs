//! Connections to targets: kept, taken again, made.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use rustix::io::Errno;
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
    _counted: Counted,
}

/// How many idle connections a worker keeps, to all targets.
#[derive(Debug, Default, Clone)]
pub(crate) struct IdleCount(Rc<Cell<usize>>);

/// One of them, as long as it lives.
#[derive(Debug)]
struct Counted(IdleCount);

impl IdleCount {
    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }

    fn one(&self) -> Counted {
        self.0.set(self.0.get() + 1);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.set(count.get().saturating_sub(1));
    }
}

impl Idle {
    /// Whether it may carry another request: not kept too long, not closed, nothing unasked
    /// received. Costs no system call unless something was received.
    pub(crate) fn is_usable(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.until_ms {
            return false;
        }
        // Looks at what the poller said first, so it is no system call when nothing came. It takes no
        // part in the task's budget either, which would call the 129th closed one usable.
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
    let room = worker.has_room_for_idle() && all.len() < IDLE_MAX;
    if !clean || !local.target.keeps_idle() || !room {
        return;
    }
    // A second less than the target says, so that it is never the target that closes it first.
    let keep_ms = keep_alive_s.map_or(IDLE_MS, |s| (s.saturating_sub(1) * 1000).min(IDLE_MS));
    let now_ms = worker.now_ms();
    if keep_ms > 0 {
        let _counted = worker.idle_upstreams.one();
        all.push(Idle { stream, since_ms: now_ms, until_ms: now_ms + keep_ms, _counted });
    }
}

/// A new connection.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A new connection for a request. When this process has no descriptor left, it gives up those that
/// idle: that it has none is no fault of the target's.
pub(crate) async fn connect_at_all(worker: &Worker, address: SocketAddr) -> io::Result<TcpStream> {
    match connect(address).await {
        Err(error) if is_out_of_descriptors(&error) && worker.drop_idle_upstreams() > 0 => {
            connect(address).await
        }
        connected => connected,
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pairs(many: usize) -> (Vec<Idle>, Vec<TcpStream>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), IdleCount::default());
        let (mut idle, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..many {
            let stream = TcpStream::connect(address).await.unwrap();
            ends.push(listener.accept().await.unwrap().0);
            idle.push(Idle { stream, since_ms: 0, until_ms: 1_000, _counted: count.one() });
        }
        (idle, ends)
    }

    #[tokio::test]
    async fn each_of_hundreds_closed_at_once_is_known_to_be() {
        let (mut idle, ends) = pairs(300).await;
        assert_eq!(idle.iter_mut().filter_map(|i| i.is_usable(1).then_some(())).count(), 300);
        drop(ends);
        for idle in &idle {
            idle.stream.readable().await.unwrap();
        }
        assert_eq!(idle.iter_mut().filter_map(|i| i.is_usable(1).then_some(())).count(), 0);
    }

    #[tokio::test]
    async fn what_was_said_unasked_or_is_too_old_is_not_used_and_all_are_counted() {
        let (mut idle, mut ends) = pairs(3).await;
        let count = idle[0]._counted.0.clone();
        assert_eq!(count.get(), 3);
        tokio::io::AsyncWriteExt::write_all(&mut ends[1], b"x").await.unwrap();
        idle[1].stream.readable().await.unwrap();
        let (said, kept) =
            (idle[1].stream.local_addr().unwrap(), idle[0].stream.local_addr().unwrap());
        idle.retain_mut(|idle| idle.is_usable(999));
        let left: Vec<_> = idle.iter().map(|idle| idle.stream.local_addr().unwrap()).collect();
        assert!(left.contains(&kept) && !left.contains(&said));
        assert_eq!(count.get(), 2);
        assert!(!idle[0].is_usable(1_000));
    }
}
