//! Connections whose bytes are passed on both ways as they come: upgraded ones (WebSocket and
//! others) and those of `tcp` routes. A WebSocket whose target drains is closed with 1001 on both
//! sides, between two frames; other protocols have no such word, and are cut when the period for
//! streams is over.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::net::TcpStream;

use super::buffer::Buffer;
use super::conn::{After, Client, Conn};
use super::exchange::{Attempt, connect_until_told};
use super::head::ResponseHead;
use super::in_flight::InFlight;
use super::passage::{ATTEMPTS_MAX, CONNECT_MS};
use super::slot::{Doing, Slot};
use super::stream::{Socket, Stream};
use super::upstream::Upstream;
use super::web_socket::{self, Frames};
use super::wires::{Fault, check};
use crate::clock::NEVER;
use crate::counters::{Ended, Outcome};
use crate::worker::{Admission, Found, LocalTarget, Worker};

/// How long both sides may take to close after a close frame, in milliseconds.
const CLOSE_MS: u64 = 5_000;

/// One direction.
struct Way {
    buffer: Buffer,
    /// Follows frames, of a WebSocket.
    frames: Option<Frames>,
    /// What says that the gateway closes, in this direction.
    close: Vec<u8>,
    /// Whether that was said.
    told_close: bool,
    state: WayState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayState {
    /// Bytes are passed on.
    Open,
    /// They are, up to the end of the frame; then the close frame follows.
    Closing,
    /// The close frame stands in the buffer or was sent; what comes is not used.
    Closed,
    /// The sender has ended; it remains to send what is left and to say so.
    Ending,
    /// Done.
    Ended,
}

/// Which side a fault or end is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Target,
}

struct Tunnel<'a> {
    client: &'a mut Stream,
    target: &'a mut TcpStream,
    down: Way,
    up: Way,
    /// Who ended first, unless in order.
    first_end: Option<Side>,
}

/// After a 101 whose head stands in `out`.
pub(super) async fn upgraded(
    conn: &mut Conn,
    mut upstream: Upstream,
    in_flight: &mut InFlight,
    head: &ResponseHead,
) -> Attempt {
    if conn.send_out().await.is_err() {
        return Attempt::Done(After::Close, Outcome::ClientGone);
    }
    let random = conn.worker.shared.clock.now_ms().wrapping_mul(0x9e37_79b9).to_be_bytes();
    let mask = *random.last_chunk::<4>().unwrap_or(&[0x5a; 4]);
    let buffers = &conn.worker.buffers;
    let mut up = Way::new(std::mem::take(&mut conn.client.buffer), head.web_socket);
    let mut down = Way::new(std::mem::take(&mut upstream.buffer), head.web_socket);
    up.close = web_socket::close_to_server(mask).to_vec();
    down.close = web_socket::close_to_client().to_vec();
    if up.buffer.capacity() == 0 {
        up.buffer = buffers.small();
    }
    up.take_in_buffered();
    down.take_in_buffered();
    conn.slot.set_deadline(NEVER);
    let mut tunnel = Tunnel {
        client: &mut conn.client.stream,
        target: &mut upstream.stream,
        down,
        up,
        first_end: None,
    };
    let outcome = tunnel.run(&conn.worker, &conn.slot).await;
    buffers.give_back(tunnel.up.buffer);
    buffers.give_back(tunnel.down.buffer);
    in_flight.passed_on(0);
    Attempt::Done(After::Close, outcome)
}

/// A connection of a `tcp` route, from its beginning to its end.
pub(super) async fn serve_tcp(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    mut client: Client,
    found: Found,
) {
    let begun = Instant::now();
    let side = found.deal_side(&mut || worker.draw());
    let mut tried = Vec::new();
    let connected = loop {
        slot.does(Doing::Request);
        let Admission::To(local) = worker.admit(found.slot, side, &tried) else { break None };
        let in_flight = InFlight::new(local.clone(), slot.clone(), begun, None);
        match connect(worker, slot, &local).await {
            Ok(stream) => break Some((in_flight, stream)),
            Err(Fault::Unreachable) if tried.len() + 1 < ATTEMPTS_MAX => {
                tried.push(local.target.slot);
                in_flight.retried();
            }
            Err(_) => {
                // No status can be said; 502 is what it would be.
                let mut in_flight = in_flight;
                in_flight.refused_with(502);
                in_flight.end(Outcome::Answered);
                return client.stream.reset_on_close();
            }
        }
    };
    let Some((mut in_flight, mut target)) = connected else {
        let (outcome, status, elapsed) = (Outcome::Answered, Some(503), None);
        worker.count_unreached(found.slot, Ended { outcome, status, response_bytes: 0, elapsed });
        return client.stream.reset_on_close();
    };
    in_flight.accepted_after_waiting();
    in_flight.becomes_stream();
    slot.set_deadline(NEVER);
    let mut tunnel = Tunnel {
        client: &mut client.stream,
        target: &mut target,
        down: Way::new(worker.buffers.small(), false),
        up: Way::new(worker.buffers.small(), false),
        first_end: None,
    };
    let outcome = tunnel.run(worker, slot).await;
    worker.buffers.give_back(tunnel.up.buffer);
    worker.buffers.give_back(tunnel.down.buffer);
    in_flight.end(outcome);
}

async fn connect(worker: &Worker, slot: &Slot, local: &LocalTarget) -> Result<TcpStream, Fault> {
    slot.set_deadline(worker.deadline(CONNECT_MS));
    connect_until_told(worker, slot, local).await
}

impl Tunnel<'_> {
    async fn run(&mut self, worker: &Worker, slot: &Slot) -> Outcome {
        poll_fn(|cx| self.poll(worker, slot, cx)).await
    }

    fn poll(&mut self, worker: &Worker, slot: &Slot, cx: &mut Context<'_>) -> Poll<Outcome> {
        match check(slot) {
            Ok(()) => {}
            Err(Fault::EndStream) if self.down.frames.is_some() => {
                self.down.begin_closing();
                self.up.begin_closing();
                slot.set_deadline(worker.deadline(CLOSE_MS));
            }
            // A protocol without a word for it: it has until the end of the period.
            Err(Fault::EndStream) => {}
            Err(Fault::Late) if self.down.state == WayState::Closing => {
                // A frame that long has until the end of the period.
                slot.set_deadline(NEVER);
            }
            Err(_) => return Poll::Ready(self.outcome(Outcome::Cut)),
        }
        let down = self.down.poll(self.target, self.client, cx);
        if let Some(outcome) = self.noted(&down, Side::Target, Side::Client) {
            return Poll::Ready(outcome);
        }
        let up = self.up.poll(self.client, self.target, cx);
        if let Some(outcome) = self.noted(&up, Side::Client, Side::Target) {
            return Poll::Ready(outcome);
        }
        if down.is_ready() && up.is_ready() {
            return Poll::Ready(self.outcome(Outcome::Answered));
        }
        // A WebSocket of which one side has ended is over.
        if self.first_end.is_some() && self.down.frames.is_some() && slot.deadline_ms() == NEVER {
            slot.set_deadline(worker.deadline(CLOSE_MS));
        }
        Poll::Pending
    }

    /// Notes how one way stands; an outcome when it broke.
    fn noted(&mut self, way: &Poll<Result<(), WayFault>>, from: Side, to: Side) -> Option<Outcome> {
        let (reading, writing) = match from {
            Side::Client => (self.up.state, to),
            Side::Target => (self.down.state, to),
        };
        if matches!(reading, WayState::Ending | WayState::Ended) && self.first_end.is_none() {
            self.first_end = Some(from);
        }
        let broken = match way {
            Poll::Ready(Err(WayFault::Read)) => from,
            Poll::Ready(Err(WayFault::Write)) => writing,
            Poll::Ready(Ok(())) | Poll::Pending => return None,
        };
        self.first_end.get_or_insert(broken);
        Some(self.outcome(match broken {
            Side::Client => Outcome::ClientGone,
            Side::Target => Outcome::Cut,
        }))
    }

    /// How it ends: in order where a close frame has passed or was sent; else as `otherwise`.
    fn outcome(&self, otherwise: Outcome) -> Outcome {
        let (Some(down), Some(up)) = (&self.down.frames, &self.up.frames) else {
            return otherwise;
        };
        if down.closed || up.closed || self.down.told_close {
            return Outcome::Answered;
        }
        match self.first_end {
            Some(Side::Client) => Outcome::ClientGone,
            Some(Side::Target) => Outcome::Cut,
            None => otherwise,
        }
    }
}

/// Which side of a way broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayFault {
    Read,
    Write,
}

impl Way {
    fn new(buffer: Buffer, web_socket: bool) -> Self {
        let frames = web_socket.then(Frames::default);
        Self { buffer, frames, close: Vec::new(), told_close: false, state: WayState::Open }
    }

    /// Looks at what came together with the heads.
    fn take_in_buffered(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.scan(self.buffer.filled(), false);
        }
    }

    fn begin_closing(&mut self) {
        if self.state == WayState::Open {
            self.state = WayState::Closing;
        }
    }

    /// Passes on what there is. `Ready` when this way has ended.
    fn poll(
        &mut self,
        from: &mut impl Socket,
        to: &mut impl Socket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WayFault>> {
        loop {
            self.close_if_between();
            if !self.buffer.is_empty() {
                match to.try_write(self.buffer.filled()) {
                    Ok(count) => self.buffer.consume(count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(to.poll_write_ready(cx)).map_err(|_| WayFault::Write)?;
                    }
                    Err(_) => return Poll::Ready(Err(WayFault::Write)),
                }
                continue;
            }
            // What was encrypted but not sent would wait for the next bytes.
            if ready!(to.poll_flushed(cx)).is_err() {
                return Poll::Ready(Err(WayFault::Write));
            }
            match self.state {
                WayState::Ended => return Poll::Ready(Ok(())),
                WayState::Ending => {
                    // A side that is gone altogether cannot be told; reading from it says so.
                    let _ = to.end_writing();
                    self.state = WayState::Ended;
                }
                WayState::Open | WayState::Closing | WayState::Closed => {
                    match ready!(self.buffer.poll_fill(from, cx)) {
                        Ok(0) => self.state = WayState::Ending,
                        Ok(count) => self.take_in(count),
                        Err(_) => return Poll::Ready(Err(WayFault::Read)),
                    }
                }
            }
        }
    }

    /// Looks at `count` new bytes, the only ones in the buffer.
    fn take_in(&mut self, count: usize) {
        let closing = self.state == WayState::Closing;
        if self.state == WayState::Closed {
            self.buffer.clear();
            return;
        }
        let Some(frames) = &mut self.frames else { return };
        let bytes = &self.buffer.filled()[..count];
        if let Some(end) = frames.scan(bytes, closing) {
            self.buffer.truncate(end);
        }
    }

    /// Appends the close frame, once a frame has ended.
    fn close_if_between(&mut self) {
        let between = self.frames.is_some_and(|frames| frames.between());
        if self.state != WayState::Closing || !between {
            return;
        }
        if self.buffer.append(&self.close) {
            self.state = WayState::Closed;
            self.told_close = true;
        }
    }
}
