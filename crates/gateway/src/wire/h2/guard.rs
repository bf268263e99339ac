//! A client's connection as the `h2` crate reads and writes it: bytes that arrived before it was
//! known to be HTTP/2 come first, and frame heads are counted as they pass. A connection has a
//! budget: frames that carry nothing cost, requests and bytes restore. Streams that are opened and
//! reset, floods of SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION and empty DATA all come to
//! the same: more cost than use. When the budget is spent nothing more is read.
//!
//! A frame of DATA restores nothing by being there, only its bytes do: else frames of one byte would
//! pay for any number of streams opened and reset. One PING or WINDOW_UPDATE goes free with each: many
//! clients of gRPC measure the way with a PING at each message, and two such frames are no more work
//! than the DATA alone.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::outlet::Outlet;
use crate::wire::buffer::Buffer;
use crate::worker::Worker;

/// What a connection begins with, and the most it can have.
const BUDGET: i64 = 2_000;
/// What each second gives back.
const PER_SECOND: i64 = 100;
/// For how many bytes, of bodies received or written at all, one is given back: a client must
/// acknowledge what it reads.
const BYTES_PER_POINT: usize = 4 << 10;
/// How many PING and WINDOW_UPDATE may go free with DATA that came before.
const FREE_MAX: u32 = 1_000;
/// The length of a frame's head, in bytes.
const HEAD_BYTES: usize = 9;

/// Whether the budget is spent.
pub(super) type Spent = Rc<Cell<bool>>;

/// See the module.
pub(super) struct Guarded {
    outlet: Outlet,
    begun: Buffer,
    worker: Rc<Worker>,
    frames: Frames,
    points: i64,
    restored_ms: u64,
    written: usize,
    spent: Spent,
}

/// Follows frames in the bytes received.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    filled: usize,
    /// Bytes of the preface or of a payload still to pass.
    left: usize,
    /// Bytes of DATA for which nothing was given back yet.
    data_bytes: usize,
    /// How many PING and WINDOW_UPDATE go free.
    free: u32,
}

impl Guarded {
    pub(super) fn new(outlet: Outlet, begun: Buffer, worker: Rc<Worker>, spent: Spent) -> Self {
        let restored_ms = worker.now_ms();
        let frames = Frames { left: PREFACE.len(), ..Frames::default() };
        let mut this =
            Self { outlet, begun, worker, frames, points: BUDGET, restored_ms, written: 0, spent };
        let cost = this.frames.scan(this.begun.filled());
        this.charge(cost);
        this
    }

    fn charge(&mut self, cost: i64) {
        let now_ms = self.worker.now_ms();
        let seconds = now_ms.saturating_sub(self.restored_ms) / 1000;
        self.restored_ms += seconds * 1000;
        let back = i64::try_from(seconds).unwrap_or(0).saturating_mul(PER_SECOND);
        let written = i64::try_from(self.written / BYTES_PER_POINT).unwrap_or(0);
        self.written %= BYTES_PER_POINT;
        self.points = (self.points + back + written - cost).min(BUDGET);
        if self.points < 0 {
            self.spent.set(true);
        }
    }
}

impl Frames {
    /// What the frames that begin in `data` cost; less than zero when they restore.
    fn scan(&mut self, mut data: &[u8]) -> i64 {
        let mut cost = 0;
        while !data.is_empty() {
            let passed = self.left.min(data.len());
            (self.left, data) = (self.left - passed, &data[passed..]);
            let count = (HEAD_BYTES - self.filled).min(data.len());
            self.head[self.filled..self.filled + count].copy_from_slice(&data[..count]);
            (self.filled, data) = (self.filled + count, &data[count..]);
            if self.filled == HEAD_BYTES {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                cost += self.price(kind, flags, length);
                (self.filled, self.left) = (0, length);
            }
        }
        cost
    }

    /// What a frame costs.
    fn price(&mut self, kind: u8, flags: u8, length: usize) -> i64 {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const PING: u8 = 6;
        const WINDOW_UPDATE: u8 = 8;
        const END_STREAM: u8 = 1;
        match kind {
            DATA if length > 0 => {
                self.free = (self.free + 1).min(FREE_MAX);
                self.data_bytes += length;
                let points = self.data_bytes / BYTES_PER_POINT;
                self.data_bytes %= BYTES_PER_POINT;
                -i64::try_from(points).unwrap_or(0)
            }
            DATA if flags & END_STREAM != 0 => 0,
            HEADERS => -1,
            // Opening a stream and resetting it is work for the target, so it must cost in sum.
            RST_STREAM => 5,
            PING | WINDOW_UPDATE if self.free > 0 => {
                self.free -= 1;
                0
            }
            _ => 1,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.spent.get() {
            // Who owns the connection looks, and closes it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !this.begun.is_empty() {
            let count = this.begun.len().min(space.remaining());
            space.put_slice(&this.begun.filled()[..count]);
            this.begun.consume(count);
            if this.begun.is_empty() {
                this.worker.buffers.give_back(std::mem::take(&mut this.begun));
            }
            return Poll::Ready(Ok(()));
        }
        let before = space.filled().len();
        ready!(this.outlet.poll_read(cx, space))?;
        let cost = this.frames.scan(&space.filled()[before..]);
        if cost != 0 {
            this.charge(cost);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(this.outlet.poll_write_vectored(cx, bytes))?;
        this.written += count;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_priced_in_any_split() {
        let frame = |kind: u8, flags: u8, payload: usize| {
            let mut bytes = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 1];
            bytes.resize(bytes.len() + payload, 0xff);
            bytes
        };
        // HEADERS, DATA, empty DATA, RST_STREAM, PING that goes with the DATA, another one, SETTINGS,
        // empty DATA that ends.
        let frames = [
            frame(1, 4, 20),
            frame(0, 0, 9),
            frame(0, 0, 0),
            frame(3, 0, 4),
            frame(6, 0, 8),
            frame(6, 0, 8),
            frame(4, 0, 0),
            frame(0, 1, 0),
        ];
        let bytes = [PREFACE, &frames.concat()].concat();
        for piece in 1..bytes.len() {
            let mut follower = Frames { left: PREFACE.len(), ..Frames::default() };
            let cost: i64 = bytes.chunks(piece).map(|part| follower.scan(part)).sum();
            assert_eq!(cost, 1 + 5 + 1 + 1 - 1, "in pieces of {piece}");
        }
    }

    #[test]
    fn bodies_restore_by_their_bytes() {
        let mut follower = Frames::default();
        let in_small: i64 = (0..BYTES_PER_POINT * 3).map(|_| follower.price(0, 0, 1)).sum();
        let in_large = follower.price(0, 0, BYTES_PER_POINT * 3);
        assert_eq!((in_small, in_large), (-3, -3));
    }
}
