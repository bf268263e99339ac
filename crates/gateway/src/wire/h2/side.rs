//! What a message is passed between: the client's end and the target's, each of either protocol.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::wire::wires::Fault;

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some of it; whether it is the last.
    Data(Bytes, bool),
    /// Its end, with trailers where there are any.
    End(Option<HeaderMap>),
}

/// One end of an exchange.
pub(super) trait Side {
    /// The next piece it sends.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>>;
    /// So many bytes of what it sent have left: it may send as many more.
    fn used(&mut self, count: usize);
    /// How many bytes it takes now, of `wanted`; at least one when `Ready`.
    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>>;
    /// Gives it bytes, as many as there is room for; with `last`, the body ends with them.
    fn send(&mut self, data: Bytes, last: bool) -> Result<(), Fault>;
    /// Ends the body.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault>;
    /// `Ready` when what was given has left this task.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;
}

/// The client's end.
pub(super) trait Client: Side {
    /// Whether the client has left, where that can be seen: over HTTP/1.1 once its body has arrived.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<(), Fault>;
    /// Passes on an interim answer, where the protocol has them.
    fn send_interim(&mut self, status: StatusCode, fields: HeaderMap) -> Result<(), Fault>;
    /// Begins the answer; with `last`, it has no body.
    fn send_head(&mut self, answer: Answer, last: bool) -> Result<(), Fault>;
    /// Makes sure that what was sent so far cannot be taken for a whole answer.
    fn break_off(&mut self);
}

/// An answer's head on its way to the client.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    /// Whether the connection becomes a WebSocket.
    pub(super) upgraded: bool,
}
