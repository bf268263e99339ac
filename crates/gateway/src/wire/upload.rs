//! A request's body on its way to the target, passed on as it arrives: framing is checked, bytes
//! are not changed.

use std::task::{Context, Poll, ready};

use ark_model::route::RouteLimits;
use tokio::net::TcpStream;

use super::chunked::Decoder;
use super::conn::Client;
use super::head::RequestBody;
use super::pace::Pace;
use super::wires::Fault;

/// What is left to send of a request's body.
#[derive(Debug)]
pub(crate) struct Upload {
    rest: Rest,
    /// Bytes at the front of the client's buffer that belong to the body and are not sent yet.
    ready: usize,
    /// Bytes of data seen, and how many there may be.
    data_bytes: u64,
    data_bytes_max: u64,
    /// Whether anything was sent beyond what stands in the request's first write: then the
    /// request cannot be repeated.
    pub(crate) sent_on: bool,
    pace: Pace,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Decoder),
    /// All of it was seen.
    Seen,
    /// The target no longer reads.
    Unwanted,
}

impl Upload {
    pub(crate) fn new(body: RequestBody, limits: &RouteLimits) -> Self {
        let rest = match body {
            RequestBody::None => Rest::Seen,
            RequestBody::Length(length) => Rest::Length(length),
            RequestBody::Chunked => Rest::Chunked(Decoder::default()),
        };
        let max = limits.body_bytes_max;
        Self {
            rest,
            ready: 0,
            data_bytes: 0,
            data_bytes_max: if max == 0 { u64::MAX } else { max },
            sent_on: false,
            pace: Pace::new(limits.body_bytes_per_s_min),
        }
    }

    /// Whether nothing of it is left to be sent.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self.rest, Rest::Seen) && self.ready == 0
    }

    /// Whether there is still something to do for it.
    pub(crate) fn is_active(&self) -> bool {
        !self.is_sent() && !matches!(self.rest, Rest::Unwanted)
    }

    /// Whether it is the client that must send for it to go on: not while the target does not read.
    pub(crate) fn awaits_client(&self) -> bool {
        self.is_active() && self.ready == 0
    }

    /// Moves what has already arrived to the end of `out`, so that it leaves with the head.
    pub(crate) fn join(&mut self, client: &mut Client, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.claim(client)?;
        out.extend_from_slice(&client.buffer.filled()[..self.ready]);
        client.buffer.consume(self.ready);
        self.ready = 0;
        Ok(())
    }

    /// Sends what has arrived, until there is nothing to do but to wait. `Ready` when all is sent,
    /// or the target no longer reads. Calls `progress` when bytes have moved. A body that comes too
    /// slowly is late.
    pub(crate) fn poll_pump(
        &mut self,
        client: &mut Client,
        target: &TcpStream,
        cx: &mut Context<'_>,
        now_ms: u64,
        mut progress: impl FnMut(),
    ) -> Poll<Result<(), Fault>> {
        while self.is_active() {
            if self.ready > 0 {
                match target.try_write(&client.buffer.filled()[..self.ready]) {
                    Ok(count) => {
                        client.buffer.consume(count);
                        self.ready -= count;
                        self.sent_on = true;
                        progress();
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        // While the target does not read, the client is not waited for.
                        self.pace.pause();
                        if ready!(target.poll_write_ready(cx)).is_err() {
                            self.rest = Rest::Unwanted;
                        }
                    }
                    // It may have answered already: whoever reads its answer finds out.
                    Err(_) => self.rest = Rest::Unwanted,
                }
                continue;
            }
            if !client.buffer.is_empty() {
                self.claim(client)?;
                continue;
            }
            match ready!(client.buffer.poll_fill(&mut client.stream, cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
                Ok(count) if self.pace.is_too_slow(count as u64, now_ms) => {
                    return Poll::Ready(Err(Fault::BodyLate));
                }
                Ok(_) => progress(),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Finds out how many of the buffered bytes are the body's.
    fn claim(&mut self, client: &Client) -> Result<(), Fault> {
        let arrived = &client.buffer.filled()[self.ready..];
        match &mut self.rest {
            Rest::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived.len());
                *left -= count as u64;
                self.data_bytes += count as u64;
                self.ready += count;
                if *left == 0 {
                    self.rest = Rest::Seen;
                }
            }
            Rest::Chunked(decoder) => {
                let (count, data) = decoder.scan(arrived).map_err(|bad| Fault::BadBody(bad.0))?;
                self.data_bytes += data;
                self.ready += count;
                if decoder.is_done() {
                    self.rest = Rest::Seen;
                }
            }
            Rest::Seen | Rest::Unwanted => {}
        }
        if self.data_bytes > self.data_bytes_max {
            return Err(Fault::BodyTooLarge);
        }
        Ok(())
    }
}
