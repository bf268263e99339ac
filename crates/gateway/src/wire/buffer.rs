//! Byte buffers, and the free list from which each worker thread lends them. A connection holds a
//! buffer only while bytes are in it or expected soon: an idle one holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// What most messages fit into, in bytes.
pub(crate) const SMALL_BYTES: usize = 16 << 10;
/// For large bodies, and the most a head may take, in bytes.
pub(crate) const LARGE_BYTES: usize = 64 << 10;

/// What most heads, and small bodies that leave with them, fit into, in bytes.
const HEAD_BYTES: usize = 4 << 10;

/// How many free buffers of each size a worker keeps.
const FREE_SMALL_MAX: usize = 512;
const FREE_LARGE_MAX: usize = 32;

/// Bytes received and not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Always as long as the buffer is large; only `start..end` means anything.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Forgets all but the first `count` bytes.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// Adds `bytes` to the filled part; whether there was room.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if self.bytes.len() - self.len() < bytes.len() {
            return false;
        }
        if self.bytes.len() - self.end < bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// The free space after the filled part; makes room by moving the filled part to the front.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes of [`Self::spare`] are filled now.
    pub(crate) fn filled_more(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.bytes.len()
    }

    /// Doubles the buffer, up to [`LARGE_BYTES`].
    pub(crate) fn grow(&mut self) {
        let larger = (self.bytes.len() * 2).clamp(SMALL_BYTES, LARGE_BYTES);
        self.bytes.resize(larger.max(self.bytes.len()), 0);
    }

    /// One read into the free space. 0 is the end of the stream (or no free space). A read that
    /// does not fill the space costs no second call to learn that nothing more is there.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let spare = self.spare();
        if spare.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut space = ReadBuf::new(spare);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.filled_more(count);
        Poll::Ready(Ok(count))
    }
}

/// A worker's free buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    heads: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn small(&self) -> Buffer {
        let free = self.small.borrow_mut().pop();
        Buffer { bytes: free.unwrap_or_else(|| vec![0; SMALL_BYTES]), start: 0, end: 0 }
    }

    pub(crate) fn large(&self) -> Buffer {
        let free = self.large.borrow_mut().pop();
        Buffer { bytes: free.unwrap_or_else(|| vec![0; LARGE_BYTES]), start: 0, end: 0 }
    }

    /// An empty vector to build a head in.
    pub(crate) fn head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(HEAD_BYTES))
    }

    pub(crate) fn give_back(&self, buffer: Buffer) {
        let (list, max) = match buffer.bytes.len() {
            SMALL_BYTES => (&self.small, FREE_SMALL_MAX),
            LARGE_BYTES => (&self.large, FREE_LARGE_MAX),
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < max {
            list.push(buffer.bytes);
        }
    }

    pub(crate) fn give_back_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if head.capacity() <= LARGE_BYTES && heads.len() < FREE_SMALL_MAX {
            head.clear();
            heads.push(head);
        }
    }
}
