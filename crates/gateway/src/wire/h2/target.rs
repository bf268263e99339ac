//! A target's end of an exchange, in whichever protocol the route says.

use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client::{poll_body, poll_room};
use super::fields::{self, Request};
use super::h1_sink::{Framing, H1Sink};
use super::shared::Share;
use super::side::{Piece, Side};
use crate::wire::buffer::{LARGE_BYTES, SMALL_BYTES};
use crate::wire::chunked::{Decoder, Piece as Chunk};
use crate::wire::head::{self, HEAD_BYTES_MAX, Method};
use crate::wire::wires::Fault;

/// The first read of an answer, in bytes: most heads and small bodies fit.
const FIRST_READ_BYTES: usize = 4 << 10;

/// See the module.
pub(super) enum Target {
    H1(H1Target),
    H2(H2Target),
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) length: Option<u64>,
    /// Whether it has no body.
    pub(super) is_empty: bool,
    /// Whether the target agreed to a WebSocket.
    pub(super) web_socket: bool,
}

/// A connection of HTTP/1.1.
pub(super) struct H1Target {
    pub(super) stream: TcpStream,
    pub(super) reused: bool,
    read: BytesMut,
    body: Body,
    sink: H1Sink,
    /// Whether it has stopped reading: what it answered decides.
    is_deaf: bool,
    to_head: bool,
    keep_alive: bool,
    pub(super) keep_alive_s: Option<u64>,
}

/// How its answer is framed.
enum Body {
    Unknown,
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Ended,
}

impl H1Target {
    pub(super) fn new(stream: TcpStream, reused: bool) -> Self {
        Self {
            stream,
            reused,
            read: BytesMut::new(),
            body: Body::Unknown,
            sink: H1Sink::new(Vec::new(), Framing::Plain),
            is_deaf: false,
            to_head: false,
            keep_alive: false,
            keep_alive_s: None,
        }
    }

    /// Gives it the request's head; it leaves with the next flush.
    pub(super) fn begin(&mut self, request: &Request, left: Duration, out: Vec<u8>) {
        self.sink =
            H1Sink::new(out, if request.is_chunked() { Framing::Chunked } else { Framing::Plain });
        request.to_h1(&mut self.sink.out, left);
        self.to_head = request.kind == Method::Head;
    }

    /// Whether anything of an answer has come.
    pub(super) fn has_answered(&self) -> bool {
        !self.read.is_empty() || !matches!(self.body, Body::Unknown)
    }

    /// Whether the connection can carry another request.
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive && matches!(self.body, Body::Ended) && self.read.is_empty() && !self.is_deaf
    }

    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.sink.out)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        loop {
            if !self.read.is_empty()
                && let Some((head, fields)) =
                    head::parse_answer(&self.read, self.to_head).map_err(|_| Fault::BadResponse)?
            {
                self.read.advance(head.length);
                let status = StatusCode::from_u16(head.status).map_err(|_| Fault::BadResponse)?;
                let length = match head.framing {
                    head::Framing::Length(length) => Some(length),
                    _ => None,
                };
                if head.status >= 200 || head.status == 101 {
                    self.keep_alive = head.keep_alive;
                    self.keep_alive_s = head.keep_alive_s;
                    self.body = match head.framing {
                        _ if head.status == 101 => Body::UntilClose,
                        head::Framing::None => Body::Ended,
                        head::Framing::Length(length) => Body::Length(length),
                        head::Framing::Chunked => {
                            Body::Chunked(Box::new(Decoder::keeping_trailers()))
                        }
                        head::Framing::UntilClose => Body::UntilClose,
                    };
                }
                let is_empty = matches!(self.body, Body::Ended);
                let web_socket = head.web_socket;
                if web_socket {
                    self.sink.framing = Framing::Raw;
                }
                return Poll::Ready(Ok(Head { status, fields, length, is_empty, web_socket }));
            }
            if self.read.len() >= HEAD_BYTES_MAX {
                return Poll::Ready(Err(Fault::BadResponse));
            }
            if ready!(self.poll_read(FIRST_READ_BYTES, cx))? == 0 {
                return Poll::Ready(Err(Fault::TargetGone));
            }
        }
    }

    fn poll_read(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        self.read.reserve(room);
        // The future keeps nothing between polls.
        let reading = pin!(self.stream.read_buf(&mut self.read));
        reading.poll(cx).map_err(|_| Fault::TargetGone)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        loop {
            if let Some(piece) = self.next_arrived()? {
                return Poll::Ready(Ok(piece));
            }
            let room = match &self.body {
                Body::Length(left) if *left <= SMALL_BYTES as u64 => SMALL_BYTES,
                Body::Length(_) => LARGE_BYTES,
                _ => SMALL_BYTES,
            };
            if ready!(self.poll_read(room, cx))? == 0 {
                if !matches!(self.body, Body::UntilClose) {
                    return Poll::Ready(Err(Fault::TargetGone));
                }
                self.body = Body::Ended;
            }
        }
    }

    /// The next piece of what has arrived.
    fn next_arrived(&mut self) -> Result<Option<Piece>, Fault> {
        loop {
            match &mut self.body {
                Body::Ended | Body::Unknown => return Ok(Some(Piece::End(None))),
                _ if self.read.is_empty() => return Ok(None),
                Body::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.read.len());
                    *left -= count as u64;
                    let last = *left == 0;
                    if last {
                        self.body = Body::Ended;
                    }
                    return Ok(Some(Piece::Data(self.read.split_to(count).freeze(), last)));
                }
                Body::UntilClose => {
                    return Ok(Some(Piece::Data(self.read.split().freeze(), false)));
                }
                Body::Chunked(decoder) => {
                    match decoder.next(&self.read).map_err(|_| Fault::BadResponse)? {
                        Chunk::Data(count) => {
                            let data = self.read.split_to(count).freeze();
                            return Ok(Some(Piece::Data(data, false)));
                        }
                        Chunk::Framing(count) => self.read.advance(count),
                        Chunk::End(count) => {
                            self.read.advance(count);
                            let trailers = fields::trailers(decoder.trailers());
                            self.body = Body::Ended;
                            return Ok(Some(Piece::End(trailers)));
                        }
                    }
                }
            }
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if ready!(self.sink.poll_write(&mut self.stream, cx)).is_err() {
            self.is_deaf = true;
            self.sink.abandon();
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream of HTTP/2.
pub(super) struct H2Target {
    /// Gives the place on the connection back.
    share: Share,
    send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    pub(super) reused: bool,
    is_deaf: bool,
}

impl H2Target {
    /// Sends the request's head.
    pub(super) fn begin(share: Share, request: &Request, left: Duration) -> Result<Self, Fault> {
        let ended = !request.has_body && !request.web_socket;
        let reused = share.connection.is_used.replace(true);
        let sent = share.connection.requests.borrow_mut().send_request(request.to_h2(left), ended);
        let (response, send) = sent.map_err(|error| fault(&share, &error))?;
        Ok(Self { share, send, response: Some(response), body: None, reused, is_deaf: false })
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(Fault::BadResponse));
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let (parts, ()) = interim.map_err(|error| fault(&self.share, &error))?.into_parts();
            let fields = fields::of_h2_answer(parts.headers).ok_or(Fault::BadResponse)?;
            let status = parts.status;
            let head = Head { status, fields, length: None, is_empty: true, web_socket: false };
            return Poll::Ready(Ok(head));
        }
        let response = ready!(std::pin::Pin::new(response).poll(cx));
        let (parts, body) = response.map_err(|error| fault(&self.share, &error))?.into_parts();
        let is_empty = body.is_end_stream();
        self.body = Some(body);
        self.response = None;
        let fields = fields::of_h2_answer(parts.headers).ok_or(Fault::BadResponse)?;
        let length = fields
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let status = parts.status;
        Poll::Ready(Ok(Head { status, fields, length, is_empty, web_socket: status.is_success() }))
    }
}

/// What an error of a request on this connection means; the connection hears of it.
fn fault(share: &Share, error: &h2::Error) -> Fault {
    share.failed(error);
    of_target(error)
}

/// What an error of a stream to a target means.
fn of_target(error: &h2::Error) -> Fault {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) && error.is_remote();
    // A stream that the target's GOAWAY does not cover was not looked at.
    let not_covered =
        error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    match (refused || not_covered, error.is_library()) {
        (true, _) => Fault::NotTaken,
        (false, true) => Fault::BadResponse,
        (false, false) => Fault::TargetGone,
    }
}

impl Target {
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        match self {
            Self::H1(target) => target.poll_head(cx),
            Self::H2(target) => target.poll_head(cx),
        }
    }

    /// Whether it may have been closed for being idle just before the request came.
    pub(super) fn was_idle(&self) -> bool {
        match self {
            Self::H1(target) => target.reused && !target.has_answered(),
            Self::H2(target) => target.reused && target.response.is_some(),
        }
    }

    /// Nothing more of the answer is wanted.
    pub(super) fn cancel(&mut self) {
        if let Self::H2(target) = self {
            target.send.send_reset(Reason::CANCEL);
        }
    }
}

impl Side for Target {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        match self {
            Self::H1(target) => target.poll_next(cx),
            Self::H2(target) => match &mut target.body {
                Some(body) => poll_body(body, cx).map_err(|error| of_target(&error)),
                None => Poll::Ready(Err(Fault::BadResponse)),
            },
        }
    }

    fn used(&mut self, count: usize) {
        if let Self::H2(H2Target { body: Some(body), .. }) = self {
            // Fails only when the stream is over, and then nobody waits for it.
            let _ = body.flow_control().release_capacity(count);
        }
    }

    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        match self {
            Self::H1(target) if target.is_deaf => Poll::Ready(Ok(wanted)),
            Self::H1(target) => {
                if target.sink.room() == 0 {
                    ready!(target.poll_flushed(cx))?;
                }
                Poll::Ready(Ok(target.sink.room().min(wanted).max(1)))
            }
            Self::H2(target) if target.is_deaf => Poll::Ready(Ok(wanted)),
            Self::H2(target) => match ready!(poll_room(&mut target.send, wanted, cx)) {
                Some(room) => Poll::Ready(Ok(room)),
                None => {
                    // It may have answered already: reading decides.
                    target.is_deaf = true;
                    Poll::Ready(Ok(wanted))
                }
            },
        }
    }

    fn send(&mut self, data: Bytes, last: bool) -> Result<(), Fault> {
        match self {
            Self::H1(target) if target.is_deaf => {}
            Self::H1(target) => target.sink.push(&data, last),
            Self::H2(target) if target.is_deaf => {}
            Self::H2(target) => target.is_deaf = target.send.send_data(data, last).is_err(),
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        match self {
            Self::H1(target) if target.is_deaf => {}
            Self::H1(target) => target.sink.finish(trailers.as_ref()),
            Self::H2(target) if target.is_deaf => {}
            Self::H2(target) => {
                let ended = match trailers {
                    Some(trailers) => target.send.send_trailers(trailers),
                    None => target.send.send_data(Bytes::new(), true),
                };
                target.is_deaf = ended.is_err();
            }
        }
        Ok(())
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::H1(target) => target.poll_flushed(cx),
            Self::H2(_) => Poll::Ready(Ok(())),
        }
    }
}
