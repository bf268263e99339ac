//! Connections whose bytes are passed on both ways as they come: upgraded ones (WebSocket and
//! others) and those of `tcp` routes. A WebSocket whose target drains is closed with 1001 on both
//! sides, between two frames; other protocols have no such word, and are cut when the period for
//! streams is over. Both sides may be silent for as long as they like; but one that is gone without a
//! word, or takes nothing for as long as a body may be silent, ends it.

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
use super::passage::{CONNECT_MS, Passage, Unreached};
use super::slot::{Doing, Slot};
use super::stream::{Socket, Stream, watch_peer};
use super::upstream::Upstream;
use super::web_socket::{self, Frames};
use super::wires::{Fault, check};
use crate::clock::NEVER;
use crate::counters::{Ended, Outcome};
use crate::worker::{Found, LocalTarget, Worker};

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
    /// Whether the receiver takes nothing now, and whether it took anything since that was looked at.
    is_blocked: bool,
    moved: bool,
    /// When the receiver is given up.
    stalls_at_ms: u64,
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
    /// For how long either side may take nothing, in milliseconds.
    stall_ms: u64,
    /// Until when the closing may take, once it has begun.
    closed_by_ms: u64,
}

/// After a 101 whose head stands in `out`.
pub(super) async fn upgraded(
    conn: &mut Conn,
    mut upstream: Upstream,
    in_flight: &mut InFlight,
    head: &ResponseHead,
    stall_ms: u64,
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
    let mut tunnel =
        Tunnel::new((&mut conn.client.stream, &mut upstream.stream), (down, up), stall_ms);
    let outcome = tunnel.run(&conn.worker, &conn.slot).await;
    buffers.give_back(tunnel.up.buffer);
    buffers.give_back(tunnel.down.buffer);
    in_flight.passed_on(0);
    Attempt::Done(After::Close, outcome)
}

/// A connection of a `tcp` route, from its beginning to its end. Like a request it waits for a target
/// where the route says so; what the client says meanwhile is kept for it.
pub(super) async fn serve_tcp(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    mut client: Client,
    found: Found,
) {
    let (route, stall_ms) = (found.slot, found.limits.idle_body_ms);
    let mut passage = Passage::of_bytes(worker.clone(), slot.clone(), found, Instant::now());
    let connected = loop {
        slot.does(Doing::Request);
        let admitted = passage.admit(|cx| client.poll_gone(&worker.buffers, cx)).await;
        let in_flight = match admitted {
            Ok(in_flight) => in_flight,
            Err(why) => break Err(why),
        };
        match connect(worker, slot, in_flight.local()).await {
            Ok(stream) => break Ok((in_flight, stream)),
            Err(Fault::Unreachable) if passage.unreachable(in_flight.local()) => {
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
    let (mut in_flight, mut target) = match connected {
        Ok(connected) => connected,
        Err(why) => {
            let (outcome, status) = match why {
                Unreached::Refused(_) => (Outcome::Answered, Some(503)),
                Unreached::ClientGone | Unreached::CallLate => (Outcome::ClientGone, None),
            };
            worker.count_unreached(
                route,
                Ended { outcome, status, response_bytes: 0, elapsed: None },
            );
            return client.stream.reset_on_close();
        }
    };
    in_flight.accepted_after_waiting();
    in_flight.becomes_stream();
    slot.set_deadline(NEVER);
    let said = match std::mem::take(&mut client.buffer) {
        said if said.capacity() > 0 => said,
        _ => worker.buffers.small(),
    };
    let ways = (Way::new(worker.buffers.small(), false), Way::new(said, false));
    let mut tunnel = Tunnel::new((&mut client.stream, &mut target), ways, stall_ms);
    let outcome = tunnel.run(worker, slot).await;
    worker.buffers.give_back(tunnel.up.buffer);
    worker.buffers.give_back(tunnel.down.buffer);
    in_flight.end(outcome);
}

async fn connect(worker: &Worker, slot: &Slot, local: &LocalTarget) -> Result<TcpStream, Fault> {
    slot.set_deadline(worker.deadline(CONNECT_MS));
    connect_until_told(worker, slot, local).await
}

impl<'a> Tunnel<'a> {
    /// `ways` are down and up.
    fn new(ends: (&'a mut Stream, &'a mut TcpStream), ways: (Way, Way), stall_ms: u64) -> Self {
        let ((client, target), (down, up)) = (ends, ways);
        watch_peer(client.tcp(), stall_ms);
        watch_peer(target, stall_ms);
        Self { client, target, down, up, first_end: None, stall_ms, closed_by_ms: NEVER }
    }

    async fn run(&mut self, worker: &Worker, slot: &Slot) -> Outcome {
        poll_fn(|cx| self.poll(worker, slot, cx)).await
    }

    fn poll(&mut self, worker: &Worker, slot: &Slot, cx: &mut Context<'_>) -> Poll<Outcome> {
        match check(slot) {
            Ok(()) => {}
            Err(Fault::EndStream) if self.down.frames.is_some() => {
                self.down.begin_closing();
                self.up.begin_closing();
                self.closed_by_ms = worker.deadline(CLOSE_MS);
            }
            // A protocol without a word for it: it has until the end of the period.
            Err(Fault::EndStream) => {}
            Err(Fault::Late) => {
                if let Some(outcome) = self.late(worker.now_ms()) {
                    return Poll::Ready(outcome);
                }
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
        if self.first_end.is_some() && self.down.frames.is_some() && self.closed_by_ms == NEVER {
            self.closed_by_ms = worker.deadline(CLOSE_MS);
        }
        let stalls_at_ms = worker.deadline(self.stall_ms);
        let (down, up) = (self.down.stalls(stalls_at_ms), self.up.stalls(stalls_at_ms));
        slot.set_deadline(self.closed_by_ms.min(down).min(up));
        Poll::Pending
    }

    /// A deadline has passed: how it ends, if it does.
    fn late(&mut self, now_ms: u64) -> Option<Outcome> {
        let (side, outcome) = match (self.down.stalls_at_ms, self.up.stalls_at_ms) {
            (down, _) if down <= now_ms => (Side::Client, Outcome::ClientGone),
            (_, up) if up <= now_ms => (Side::Target, Outcome::Cut),
            (_, _) if self.closed_by_ms > now_ms => return None,
            (_, _) if self.down.state == WayState::Closing => {
                // A frame that long has until the end of the period.
                self.closed_by_ms = NEVER;
                return None;
            }
            (_, _) => return Some(self.outcome(Outcome::Cut)),
        };
        self.first_end.get_or_insert(side);
        Some(self.outcome(outcome))
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
        Self {
            buffer,
            frames,
            close: Vec::new(),
            told_close: false,
            state: WayState::Open,
            is_blocked: false,
            moved: false,
            stalls_at_ms: NEVER,
        }
    }

    /// When the receiver is given up: at `at_ms` should it take nothing from now on.
    fn stalls(&mut self, at_ms: u64) -> u64 {
        let moved = std::mem::take(&mut self.moved);
        self.stalls_at_ms = match self.is_blocked {
            false => NEVER,
            true if moved || self.stalls_at_ms == NEVER => at_ms,
            true => self.stalls_at_ms,
        };
        self.stalls_at_ms
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
                    Ok(count) => {
                        self.buffer.consume(count);
                        self.moved = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.is_blocked = true;
                        ready!(to.poll_write_ready(cx)).map_err(|_| WayFault::Write)?;
                    }
                    Err(_) => return Poll::Ready(Err(WayFault::Write)),
                }
                continue;
            }
            // What was encrypted but not sent would wait for the next bytes.
            self.is_blocked = true;
            if ready!(to.poll_flushed(cx)).is_err() {
                return Poll::Ready(Err(WayFault::Write));
            }
            self.is_blocked = false;
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
