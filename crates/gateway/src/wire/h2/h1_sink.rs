//! A body on its way to an HTTP/1.1 connection, framed as it must be there, with the head before
//! it. Used for either side.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::H1_AHEAD_BYTES;
use super::fields::is_name;
use crate::wire::head::Field;
use crate::wire::stream::Socket;

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As many bytes as the head says, or until the connection ends.
    Plain,
    Chunked,
    /// The bytes of another protocol; their end is the end of writing.
    Raw,
}

/// See the module.
#[derive(Debug)]
pub(super) struct H1Sink {
    /// Bytes to be written, and how many of them are.
    pub(super) out: Vec<u8>,
    written: usize,
    pub(super) framing: Framing,
    ends_writing: bool,
}

impl H1Sink {
    pub(super) fn new(out: Vec<u8>, framing: Framing) -> Self {
        Self { out, written: 0, framing, ends_writing: false }
    }

    /// How many bytes may be added; none while enough waits.
    pub(super) fn room(&self) -> usize {
        H1_AHEAD_BYTES.saturating_sub(self.out.len() - self.written)
    }

    pub(super) fn push(&mut self, data: &Bytes, last: bool) {
        if self.framing == Framing::Chunked && !data.is_empty() {
            self.out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            self.out.extend_from_slice(data);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.out.extend_from_slice(data);
        }
        if last {
            self.finish(None);
        }
    }

    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) {
        match self.framing {
            Framing::Plain => {}
            Framing::Raw => self.ends_writing = true,
            Framing::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    // What frames or routes a message may not follow it, and some names of HTTP/2
                    // do not exist here.
                    let follows = Field::of(name.as_str().as_bytes()) == Field::Other;
                    if follows && is_name(name) {
                        push_field(&mut self.out, name.as_str(), value.as_bytes());
                    }
                }
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// `Ready` when all is written; an error when the connection takes no more.
    pub(super) fn poll_write(
        &mut self,
        socket: &mut impl Socket,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.written < self.out.len() {
            match socket.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    ready!(socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.out.clear();
        self.written = 0;
        ready!(socket.poll_flushed(cx))?;
        if std::mem::take(&mut self.ends_writing) {
            // A side that is gone altogether cannot be told; reading from it says so.
            let _ = socket.end_writing();
        }
        Poll::Ready(Ok(()))
    }

    /// What has not been written is of no use any more.
    pub(super) fn abandon(&mut self) {
        self.out.clear();
        self.written = 0;
        self.ends_writing = false;
    }
}

pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
