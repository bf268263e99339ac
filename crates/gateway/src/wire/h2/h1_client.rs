//! A client of HTTP/1.1 whose request goes to a target that speaks HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::crossing::Crossing;
use super::fields::{Request, push_answer, trailers};
use super::h1_sink::{Framing, H1Sink, push_field};
use super::side::{Answer, Client, Piece, Side};
use super::{SILENT_MS, upgrade};
use crate::wire::answer::{About, Refusal};
use crate::wire::chunked::{Decoder, Piece as Chunk};
use crate::wire::conn::{After, Conn};
use crate::wire::head::{Method, RequestBody, RequestHead, Version};
use crate::wire::passage::Passage;
use crate::wire::stream::watch_peer;
use crate::wire::wires::Fault;
use crate::wire::without_target;

/// Carries out a request whose head was written to `conn.out` for its target.
pub(in crate::wire) async fn carry_out(
    conn: &mut Conn,
    head: &RequestHead,
    passage: Passage,
    entered: Result<(), Refusal>,
) -> After {
    let request = match Request::of_h1(&conn.out, head.body == RequestBody::None) {
        Ok(request) => request,
        Err(refusal) => return without_target::refuse(conn, head, refusal, &About::Request).await,
    };
    let mut client = H1Client::new(conn, head, &request);
    Crossing::new(passage, &request, &mut client).run(entered).await;
    client.after()
}

struct H1Client<'c> {
    conn: &'c mut Conn,
    head: &'c RequestHead,
    body: Body,
    sink: H1Sink,
    accept: Option<(HeaderName, HeaderValue)>,
    keep: bool,
    has_answered: bool,
    is_broken: bool,
}

/// What is left of the request's body.
enum Body {
    Length(u64),
    Chunked(Box<Decoder>),
    /// The bytes of another protocol.
    Raw,
    Ended,
}

impl<'c> H1Client<'c> {
    fn new(conn: &'c mut Conn, head: &'c RequestHead, request: &Request) -> Self {
        let body = match head.body {
            RequestBody::None => Body::Ended,
            RequestBody::Length(length) => Body::Length(length),
            RequestBody::Chunked => Body::Chunked(Box::new(Decoder::keeping_trailers())),
        };
        let mut out = std::mem::take(&mut conn.out);
        out.clear();
        Self {
            conn,
            head,
            body,
            sink: H1Sink::new(out, Framing::Plain),
            accept: upgrade::accept(&request.fields),
            keep: false,
            has_answered: false,
            is_broken: false,
        }
    }

    /// What becomes of the connection.
    fn after(self) -> After {
        let mut out = self.sink.out;
        // After half an answer nothing may follow.
        let is_broken = self.is_broken || !out.is_empty();
        out.clear();
        self.conn.out = out;
        let is_read = matches!(self.body, Body::Ended);
        match (self.has_answered, is_broken) {
            (true, true) => After::Break,
            (true, false) if self.keep && is_read => After::Next,
            (true, false) if !is_read && !matches!(self.body, Body::Raw) => After::Linger,
            (_, _) => After::Close,
        }
    }

    /// The next piece of what has arrived.
    fn next_arrived(&mut self) -> Result<Option<Piece>, Fault> {
        let buffer = &mut self.conn.client.buffer;
        loop {
            let (data, last) = match &mut self.body {
                Body::Ended => return Ok(Some(Piece::End(None))),
                _ if buffer.is_empty() => return Ok(None),
                Body::Raw => (buffer.len(), false),
                Body::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= count as u64;
                    (count, *left == 0)
                }
                Body::Chunked(decoder) => {
                    let next = decoder.next(buffer.filled());
                    match next.map_err(|bad| Fault::BadBody(bad.0))? {
                        Chunk::Data(count) => (count, false),
                        Chunk::Framing(count) => {
                            buffer.consume(count);
                            continue;
                        }
                        Chunk::End(count) => {
                            let trailers = trailers(decoder.trailers());
                            buffer.consume(count);
                            self.body = Body::Ended;
                            return Ok(Some(Piece::End(trailers)));
                        }
                    }
                }
            };
            let bytes = Bytes::copy_from_slice(&buffer.filled()[..data]);
            buffer.consume(data);
            if last {
                self.body = Body::Ended;
            }
            return Ok(Some(Piece::Data(bytes, last)));
        }
    }
}

impl Side for H1Client<'_> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        loop {
            if let Some(piece) = self.next_arrived()? {
                return Poll::Ready(Ok(piece));
            }
            let client = &mut self.conn.client;
            if client.buffer.capacity() == 0 {
                client.buffer = self.conn.worker.buffers.small();
            }
            match ready!(client.buffer.poll_fill(&mut client.stream, cx)) {
                Ok(0) if matches!(self.body, Body::Raw) => self.body = Body::Ended,
                Ok(1..) => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
            }
        }
    }

    fn used(&mut self, _: usize) {}

    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        if self.sink.room() == 0 {
            ready!(self.poll_flushed(cx))?;
        }
        Poll::Ready(Ok(self.sink.room().min(wanted).max(1)))
    }

    fn send(&mut self, data: Bytes, last: bool) -> Result<(), Fault> {
        self.sink.push(&data, last);
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        self.sink.finish(trailers.as_ref());
        Ok(())
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let written = ready!(self.sink.poll_write(&mut self.conn.client.stream, cx));
        Poll::Ready(written.map_err(|_| Fault::ClientGone))
    }
}

impl Client for H1Client<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        match self.body {
            Body::Ended => self.conn.client.poll_gone(&self.conn.worker.buffers, cx),
            Body::Length(_) | Body::Chunked(_) | Body::Raw => Ok(()),
        }
    }

    fn send_interim(&mut self, status: StatusCode, fields: HeaderMap) -> Result<(), Fault> {
        if self.head.version == Version::Http11 {
            push_answer(&mut self.sink.out, status, &fields);
            self.sink.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn send_head(&mut self, mut answer: Answer, last: bool) -> Result<(), Fault> {
        self.has_answered = true;
        if answer.upgraded {
            watch_peer(self.conn.client.stream.tcp(), SILENT_MS);
            upgrade::answer_to_h2(&mut answer.fields);
            push_answer(&mut self.sink.out, StatusCode::SWITCHING_PROTOCOLS, &answer.fields);
            if let Some((name, value)) = &self.accept {
                push_field(&mut self.sink.out, name.as_str(), value.as_bytes());
            }
            self.sink.out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n\r\n");
            self.sink.framing = Framing::Raw;
            self.body = Body::Raw;
            return Ok(());
        }
        let bodiless = self.head.method == Method::Head
            || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let unframed = !bodiless && !answer.fields.contains_key(header::CONTENT_LENGTH);
        let chunked = unframed && !last && self.head.version == Version::Http11;
        let ends_by_closing = unframed && !last && !chunked;
        // A target may answer before it has the whole request; the rest of it usually follows.
        self.keep = self.head.keep_alive && !ends_by_closing && !self.conn.worker.is_stopping();
        let out = &mut self.sink.out;
        push_answer(out, answer.status, &answer.fields);
        if chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            self.sink.framing = Framing::Chunked;
        } else if unframed && last {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        out.extend_from_slice(match (self.keep, self.head.version) {
            (false, _) => b"connection: close\r\n\r\n",
            (true, Version::Http10) => b"connection: keep-alive\r\n\r\n",
            (true, Version::Http11) => b"\r\n",
        });
        Ok(())
    }

    fn break_off(&mut self) {
        self.is_broken = true;
    }
}
