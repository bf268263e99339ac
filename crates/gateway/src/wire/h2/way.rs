//! One direction of an exchange: pieces pass from one side to the other, one at a time. Where the
//! gateway must be able to end a stream in order (drain), it follows what passes: events, WebSocket
//! frames, gRPC messages.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::grpc::{self, Messages};
use super::side::{Piece, Side};
use crate::clock::NEVER;
use crate::wire::relay::Events;
use crate::wire::web_socket::Frames;
use crate::wire::wires::Fault;

/// Below how many bytes a piece waits for what else has arrived, and how much is joined to it.
const SMALL_BYTES: usize = 1 << 10;
const GATHERED_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Way {
    pending: Bytes,
    /// Whether `pending` is the gateway's own.
    is_own: bool,
    then: Then,
    state: State,
    pub(super) watch: Watch,
    ending: bool,
    /// Whether the gateway ended it in order.
    pub(super) ended_in_order: bool,
    /// Bytes passed on.
    pub(super) bytes: u64,
    /// Bytes taken from the sender, and how many may be.
    pub(super) taken: u64,
    bytes_max: u64,
    /// Whether anything was taken from the sender.
    pub(super) begun: bool,
    /// Whether bytes have moved since this was last cleared.
    pub(super) moved: bool,
    /// Whether it waits for the receiver.
    pub(super) is_blocked: bool,
    /// What the trailers said of a gRPC call.
    pub(super) grpc_status: Option<u16>,
}

/// What is followed.
#[derive(Debug)]
pub(super) enum Watch {
    Nothing,
    Events(Events),
    /// With the frame that closes this direction.
    Frames(Frames, Bytes),
    Messages(Messages),
}

/// What follows the pending bytes.
#[derive(Debug)]
enum Then {
    More,
    End(Option<HeaderMap>),
    /// Nothing that comes is passed on any more.
    Discard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Discarding,
    /// The receiver has been told the end.
    Finished,
}

impl Way {
    /// `bytes_max` of 0 means no limit.
    pub(super) fn new(watch: Watch, bytes_max: u64) -> Self {
        Self {
            pending: Bytes::new(),
            is_own: false,
            then: Then::More,
            state: State::Open,
            watch,
            ending: false,
            ended_in_order: false,
            bytes: 0,
            taken: 0,
            bytes_max: if bytes_max == 0 { u64::MAX } else { bytes_max },
            begun: false,
            moved: false,
            is_blocked: false,
            grpc_status: None,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Nothing is left to pass on.
    pub(super) fn finish(&mut self) {
        self.state = State::Finished;
    }

    /// Ends it at the next boundary, where it has any.
    pub(super) fn end_soon(&mut self) {
        self.ending = !matches!(self.watch, Watch::Nothing);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// When the receiver is given up: as said `before`, or at `at_ms` should it take nothing from now
    /// on.
    pub(super) fn stalls(&mut self, before: u64, at_ms: u64) -> u64 {
        let moved = std::mem::take(&mut self.moved);
        match self.is_blocked {
            false => NEVER,
            true if moved || before == NEVER => at_ms,
            true => before,
        }
    }

    /// Whether a message, event or frame has not passed as a whole.
    pub(super) fn is_between(&self) -> bool {
        self.pending.is_empty()
            && match &self.watch {
                Watch::Nothing => false,
                Watch::Events(events) => events.between(),
                Watch::Frames(frames, _) => frames.between(),
                Watch::Messages(messages) => messages.between(),
            }
    }

    /// Whether a WebSocket's close frame has passed this way, or the gateway's own.
    pub(super) fn has_closed(&self) -> bool {
        self.ended_in_order || matches!(&self.watch, Watch::Frames(frames, _) if frames.closed)
    }

    /// Passes on what there is. `Ready` when the receiver has the end.
    pub(super) fn poll(
        &mut self,
        from: &mut impl Side,
        to: &mut impl Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            if !self.pending.is_empty() {
                ready!(self.poll_pass_on(from, to, cx))?;
                continue;
            }
            match std::mem::replace(&mut self.then, Then::More) {
                Then::More => {}
                Then::End(trailers) => {
                    self.grpc_status = trailers.as_ref().and_then(grpc::status_of);
                    to.finish(trailers)?;
                    self.state = State::Finished;
                }
                Then::Discard => self.state = State::Discarding,
            }
            if self.state == State::Finished {
                return to.poll_flushed(cx);
            }
            if self.ending && self.state == State::Open && self.is_between() {
                self.end_here();
                continue;
            }
            let Poll::Ready(piece) = from.poll_next(cx) else {
                self.is_blocked = to.poll_flushed(cx)?.is_pending();
                return Poll::Pending;
            };
            self.take_in(piece?, from)?;
            if self.pending.len() < SMALL_BYTES && !self.pending.is_empty() {
                self.gather(from, cx)?;
            }
        }
    }

    /// Joins what has already arrived to a small piece: a sender of many small frames must not make
    /// the gateway send as many, on a connection that others share.
    fn gather(&mut self, from: &mut impl Side, cx: &mut Context<'_>) -> Result<(), Fault> {
        let mut joined = Vec::new();
        while joined.len() < GATHERED_BYTES && self.is_open_ended() {
            let Poll::Ready(piece) = from.poll_next(cx) else { break };
            joined.extend_from_slice(&std::mem::take(&mut self.pending));
            self.take_in(piece?, from)?;
        }
        if !joined.is_empty() {
            joined.extend_from_slice(&self.pending);
            self.pending = Bytes::from(joined);
        }
        Ok(())
    }

    /// Whether more may follow what is pending.
    fn is_open_ended(&self) -> bool {
        self.state == State::Open && !self.ending && matches!(self.then, Then::More)
    }

    /// Gives the receiver what it has room for.
    fn poll_pass_on(
        &mut self,
        from: &mut impl Side,
        to: &mut impl Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let Poll::Ready(room) = to.poll_room(self.pending.len(), cx) else {
            self.is_blocked = true;
            let _ = to.poll_flushed(cx)?;
            return Poll::Pending;
        };
        self.is_blocked = false;
        let piece = self.pending.split_to(room?.min(self.pending.len()));
        let count = piece.len();
        let last = self.pending.is_empty() && matches!(self.then, Then::End(None));
        to.send(piece, last)?;
        self.moved = true;
        if !self.is_own {
            self.bytes += count as u64;
            from.used(count);
        }
        if last {
            self.then = Then::More;
            self.state = State::Finished;
        }
        Poll::Ready(Ok(()))
    }

    fn take_in(&mut self, piece: Piece, from: &mut impl Side) -> Result<(), Fault> {
        self.begun = true;
        self.moved = true;
        match piece {
            Piece::Data(data, last) if self.state == State::Discarding => {
                from.used(data.len());
                if last {
                    self.then = Then::End(None);
                    self.state = State::Open;
                }
            }
            Piece::End(_) if self.state == State::Discarding => {
                self.then = Then::End(None);
                self.state = State::Open;
            }
            Piece::Data(mut data, last) => {
                if last {
                    self.then = Then::End(None);
                }
                if let Some(end) = self.watch.scan(&data, self.ending) {
                    // What follows the boundary is not passed on.
                    let rest = data.split_off(end);
                    from.used(rest.len());
                    self.pending = data;
                    self.then = Then::More;
                    return Ok(());
                }
                self.taken += data.len() as u64;
                if self.taken > self.bytes_max {
                    return Err(Fault::BodyTooLarge);
                }
                self.is_own = false;
                self.pending = data;
            }
            Piece::End(trailers) => self.then = Then::End(trailers),
        }
        Ok(())
    }

    /// Says the end at a boundary, in the words of what is followed.
    fn end_here(&mut self) {
        self.ending = false;
        self.ended_in_order = true;
        self.then = match &self.watch {
            Watch::Nothing | Watch::Events(_) => Then::End(None),
            Watch::Messages(_) => Then::End(Some(grpc::going_away())),
            Watch::Frames(_, close) => {
                self.pending = close.clone();
                self.is_own = true;
                Then::Discard
            }
        };
    }
}

impl Watch {
    /// Takes in `data`. With `stop`, says where the first boundary in it is.
    fn scan(&mut self, data: &[u8], stop: bool) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Events(events) => events.scan(data, stop),
            Self::Frames(frames, _) => frames.scan(data, stop),
            Self::Messages(messages) => messages.scan(data, stop),
        }
    }
}
