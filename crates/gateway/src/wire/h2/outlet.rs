//! What a connection writes, held back until its turn is over: the `h2` crate flushes after each
//! frame of data, which would be a system call for every 16 KiB and for every small answer. Small
//! pieces are gathered, so that they share a record of TLS; whoever runs the connection says when
//! its turn ends. What is held is bounded by this and by what TLS encrypts ahead.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::stream::{Socket, Stream};
use crate::worker::Worker;

/// How much is gathered, in bytes: what one record of TLS carries.
const GATHERED_BYTES_MAX: usize = 16 << 10;
/// The longest piece that is gathered, in bytes; a longer one is not worth copying.
const PIECE_BYTES_MAX: usize = 4 << 10;
/// The most slices that leave in one write, those of the caller.
const SLICES_MAX: usize = 4;

/// See the module. Clones are the same outlet.
#[derive(Clone)]
pub(super) struct Outlet(Rc<Inner>);

struct Inner {
    worker: Rc<Worker>,
    stream: RefCell<Stream>,
    gathered: RefCell<Vec<u8>>,
    holds: Cell<bool>,
}

impl Outlet {
    pub(super) fn new(stream: Stream, worker: Rc<Worker>) -> Self {
        let stream = RefCell::new(stream);
        Self(Rc::new(Inner {
            worker,
            stream,
            gathered: RefCell::default(),
            holds: Cell::new(false),
        }))
    }

    /// From now on flushing is left to [`Self::poll_turn_ended`].
    pub(super) fn hold(&self) {
        self.0.holds.set(true);
    }

    /// Sends what is held. `Ready` when the socket has all of it.
    pub(super) fn poll_turn_ended(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        self.0.stream.borrow_mut().poll_flushed(cx)
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, space)
    }

    pub(super) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = bytes.iter().map(|slice| slice.len()).sum();
        let mut gathered = self.0.gathered.borrow_mut();
        if self.0.holds.get()
            && length <= PIECE_BYTES_MAX
            && gathered.len() + length <= GATHERED_BYTES_MAX
        {
            if gathered.capacity() == 0 {
                *gathered = self.0.worker.buffers.head();
            }
            bytes.iter().for_each(|slice| gathered.extend_from_slice(slice));
            return Poll::Ready(Ok(length));
        }
        let mut stream = self.0.stream.borrow_mut();
        loop {
            if gathered.is_empty() {
                return Pin::new(&mut *stream).poll_write_vectored(cx, bytes);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX + 1];
            slices[0] = IoSlice::new(&gathered);
            for (place, slice) in slices[1..].iter_mut().zip(bytes) {
                *place = IoSlice::new(slice);
            }
            let count = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?;
            if count > gathered.len() {
                let of_caller = count - gathered.len();
                self.give_back(&mut gathered);
                return Poll::Ready(Ok(of_caller));
            }
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            gathered.drain(..count);
        }
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.holds.get() {
            return Poll::Ready(Ok(()));
        }
        self.poll_turn_ended(cx)
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_gathered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.gathered.borrow_mut();
        let mut stream = self.0.stream.borrow_mut();
        while !gathered.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &gathered))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => drop(gathered.drain(..count)),
            }
        }
        self.give_back(&mut gathered);
        Poll::Ready(Ok(()))
    }

    /// An idle connection holds no buffer.
    fn give_back(&self, gathered: &mut Vec<u8>) {
        if gathered.capacity() > 0 {
            self.0.worker.buffers.give_back_head(std::mem::take(gathered));
        }
    }
}
