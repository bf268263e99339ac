//! Both connections of a request under way, and the few places where it waits. Each wait also
//! looks at the slot (deadline, drain), keeps the upload going, and notices that the client left.

use std::io;
use std::task::{Context, Poll, ready};

use ark_model::route::RouteLimits;

use super::conn::Client;
use super::slot::{Slot, Verdict};
use super::stream::Socket;
use super::upload::Upload;
use super::upstream::Upstream;
use crate::worker::Worker;

/// Why a request does not go on as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The target cannot be reached.
    Unreachable,
    /// The target ended the connection, or it broke.
    TargetGone,
    /// What the target sends is not HTTP.
    BadResponse,
    /// The client left.
    ClientGone,
    /// The client's body is not framed as it must be.
    BadBody(&'static str),
    /// The client's body is larger than allowed.
    BodyTooLarge,
    /// A deadline has passed.
    Late,
    /// The client's body comes too slowly, or not at all.
    BodyLate,
    /// The target drains, and the time for this request or stream is over.
    Drained,
    /// It is this stream's turn to end in order.
    EndStream,
    /// The target says that it has not looked at the request.
    NotTaken,
    /// The time is over that the caller gave, which is shorter than the route's: its own doing.
    CallLate,
}

/// See the module.
pub(crate) struct Wires<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) upstream: &'a mut Upstream,
    pub(crate) upload: &'a mut Upload,
    pub(crate) slot: &'a Slot,
    pub(crate) worker: &'a Worker,
    pub(crate) limits: &'a RouteLimits,
    /// How long the answer is waited for once the request is sent, in milliseconds.
    pub(crate) answer_within_ms: u64,
    /// Whether the answer has begun: then only its silence counts.
    pub(crate) answering: bool,
}

impl Wires<'_> {
    /// Sends the request's first bytes to the target.
    pub(crate) async fn send_request(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut sent = 0;
        self.slot.set_deadline(self.worker.deadline(self.limits.idle_body_ms));
        std::future::poll_fn(|cx| {
            loop {
                match self.upstream.stream.try_write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        check(self.slot)?;
                        let ready = ready!(self.upstream.stream.poll_write_ready(cx));
                        ready.map_err(|_| Fault::TargetGone)?;
                    }
                    // The answer may already be there; reading decides.
                    Err(_) => return Poll::Ready(Ok(())),
                }
                if sent == bytes.len() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await?;
        self.await_answer();
        Ok(())
    }

    /// Waits for more from the target. 0 is the end of its connection.
    pub(crate) async fn receive(&mut self) -> Result<usize, Fault> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Sends `bytes` to the client.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        std::future::poll_fn(|cx| {
            loop {
                match self.client.stream.try_write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.poll_writable(cx))?;
                    }
                    Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
                }
                if sent >= bytes.len() {
                    return self.poll_flushed(cx);
                }
                self.progress();
            }
        })
        .await
    }

    /// Sends the first `count` bytes received from the target to the client.
    pub(crate) async fn pass_on(&mut self, count: usize) -> Result<(), Fault> {
        let mut left = count;
        std::future::poll_fn(|cx| {
            while left > 0 {
                let bytes = &self.upstream.buffer.filled()[..left];
                match self.client.stream.try_write(bytes) {
                    Ok(count) => {
                        self.upstream.buffer.consume(count);
                        left -= count;
                        self.progress();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.poll_writable(cx))?;
                    }
                    Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
                }
            }
            self.poll_flushed(cx)
        })
        .await
    }

    /// Bytes have moved: the time of silence begins anew.
    pub(crate) fn progress(&self) {
        self.slot.set_deadline(self.worker.deadline(self.limits.idle_body_ms));
    }

    /// The deadline of an answer runs from when the request is sent, so that a long upload does
    /// not use it up.
    fn await_answer(&self) {
        let wait_ms = match self.upload.is_active() || self.answering {
            true => self.limits.idle_body_ms,
            false => self.answer_within_ms,
        };
        self.slot.set_deadline(self.worker.deadline(wait_ms));
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        check(self.slot)?;
        if self.upload.is_active() {
            let pumped = self.poll_pump(cx)?;
            if pumped.is_ready() {
                self.await_answer();
            }
        }
        if self.upstream.buffer.capacity() == 0 {
            // While the app thinks, nothing is lent: the next answer takes the buffer just given back.
            ready!(self.poll_answering(cx))?;
            self.upstream.buffer = self.worker.buffers.small();
        }
        match self.upstream.buffer.poll_fill(&mut self.upstream.stream, cx) {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(count)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Fault::TargetGone)),
            Poll::Pending => self.poll_client_gone(cx),
        }
    }

    /// `Ready` when something has come from the target, or its connection has ended.
    fn poll_answering(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self.upstream.stream.poll_read_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.map_err(|_| Fault::TargetGone)),
            Poll::Pending => self.poll_client_gone(cx),
        }
    }

    /// Nothing has come from the target; whether the client is still there.
    fn poll_client_gone<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Fault>> {
        if !self.upload.is_active() {
            self.client.poll_gone(&self.worker.buffers, cx)?;
        }
        Poll::Pending
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match check(self.slot) {
            // A stream whose turn has come ends after what is being written.
            Err(Fault::EndStream) => self.slot.remember(Verdict::EndStream),
            // A client that reads nothing for so long is as good as gone.
            Err(Fault::Late) => return Poll::Ready(Err(Fault::ClientGone)),
            checked => checked?,
        }
        if self.upload.is_active() {
            let _ = self.poll_pump(cx)?;
        }
        self.client.stream.poll_write_ready(cx).map_err(|_| Fault::ClientGone)
    }

    /// `Ready` when what was sent to the client is with the kernel.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            if let Poll::Ready(flushed) = self.client.stream.poll_flushed(cx) {
                return Poll::Ready(flushed.map_err(|_| Fault::ClientGone));
            }
            ready!(self.poll_writable(cx))?;
        }
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        let (slot, worker, idle_ms) = (self.slot, self.worker, self.limits.idle_body_ms);
        let progress = || slot.set_deadline(worker.deadline(idle_ms));
        match self.upload.poll_pump(
            self.client,
            &self.upstream.stream,
            cx,
            worker.now_ms(),
            progress,
        ) {
            Poll::Ready(done) => done.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

/// What the slot was told means for a request at a target.
pub(crate) fn check(slot: &Slot) -> Result<(), Fault> {
    match slot.take_verdict() {
        None | Some(Verdict::Leave) => Ok(()),
        Some(Verdict::Late) => Err(Fault::Late),
        Some(Verdict::CutRequest | Verdict::CutStream) => Err(Fault::Drained),
        Some(Verdict::EndStream) => Err(Fault::EndStream),
    }
}
