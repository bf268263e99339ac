//! A client's stream of HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode};

use super::side::{Answer, Client, Piece, Side};
use super::upgrade;
use crate::wire::wires::Fault;

/// See the module.
pub(super) struct H2Client {
    request: RecvStream,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
}

impl H2Client {
    pub(super) fn new(request: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self { request, respond, answer: None }
    }
}

fn gone<E>(_: E) -> Fault {
    Fault::ClientGone
}

/// The next piece of a body that arrives over HTTP/2.
pub(super) fn poll_body(
    body: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Result<Piece, h2::Error>> {
    loop {
        match ready!(body.poll_data(cx)) {
            // A frame that carries nothing: whether it was the end is known by the next.
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => return Poll::Ready(Ok(Piece::Data(data, body.is_end_stream()))),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return body.poll_trailers(cx).map_ok(Piece::End),
        }
    }
}

/// How many bytes a stream takes now, of `wanted`.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Option<usize>> {
    stream.reserve_capacity(wanted);
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Some(room));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
}

impl Side for H2Client {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        poll_body(&mut self.request, cx).map_err(gone)
    }

    fn used(&mut self, count: usize) {
        // Fails only when the stream is over, and then nobody waits for it.
        let _ = self.request.flow_control().release_capacity(count);
    }

    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(Fault::ClientGone)) };
        poll_room(answer, wanted, cx).map(|room| room.ok_or(Fault::ClientGone))
    }

    fn send(&mut self, data: Bytes, last: bool) -> Result<(), Fault> {
        let Some(answer) = &mut self.answer else { return Err(Fault::ClientGone) };
        answer.send_data(data, last).map_err(gone)
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        let Some(answer) = &mut self.answer else { return Err(Fault::ClientGone) };
        match trailers {
            Some(trailers) => answer.send_trailers(trailers).map_err(gone),
            None => answer.send_data(Bytes::new(), true).map_err(gone),
        }
    }

    fn poll_flushed(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // What was given has room in the client's window; the connection's task sends it.
        Poll::Ready(Ok(()))
    }
}

impl Client for H2Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let reset = match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        if reset.is_ready() { Err(Fault::ClientGone) } else { Ok(()) }
    }

    fn send_interim(&mut self, status: StatusCode, fields: HeaderMap) -> Result<(), Fault> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        self.respond.send_informational(response).map_err(gone)
    }

    fn send_head(&mut self, answer: Answer, last: bool) -> Result<(), Fault> {
        let mut response = Response::new(());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.fields;
        if answer.upgraded {
            *response.status_mut() = StatusCode::OK;
            upgrade::answer_to_h2(response.headers_mut());
        }
        self.answer = Some(self.respond.send_response(response, last).map_err(gone)?);
        Ok(())
    }

    fn break_off(&mut self) {
        match &mut self.answer {
            Some(answer) => answer.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}
