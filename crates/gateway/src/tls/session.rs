//! A TLS connection over a socket, without blocking: the same few operations that a socket has, so
//! that what serves requests need not know which it has. Holds no bytes while it is idle but what
//! rustls holds.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is encrypted ahead of the socket, in bytes.
const AHEAD_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct TlsStream {
    pub(crate) tcp: TcpStream,
    session: ServerConnection,
    /// Decrypted bytes not yet read.
    plain: usize,
    /// Whether the client sends no more.
    ended: bool,
}

impl TlsStream {
    pub(crate) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(AHEAD_BYTES));
        Ok(Self { tcp, session, plain: 0, ended: false })
    }

    /// `Ready` when the handshake is done.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            if self.session.wants_write() {
                ready!(self.poll_flushed(cx))?;
            } else if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            } else {
                ready!(self.poll_take_in(cx))?;
            }
        }
        // What the client waits for need not wait for its first request.
        self.try_flush().map(|_| ()).into()
    }

    /// What was agreed on by ALPN.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// `Ready` when there is something to read, or never will be again.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.plain == 0 && !self.ended {
            // A new key or an alert may have to be sent while nothing else is.
            if self.session.wants_write() {
                let _ = self.poll_flushed(cx)?;
            }
            ready!(self.poll_take_in(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what was decrypted already.
    pub(crate) fn try_read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.plain == 0 {
            return if self.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = self.session.reader().read(space)?;
        self.plain = self.plain.saturating_sub(count);
        Ok(count)
    }

    /// Encrypts as much as there is room for and sends what the socket takes. What was accepted
    /// leaves with the next call, or with [`Self::poll_flushed`].
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.session.wants_write() && !self.try_flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.session.writer().write_vectored(bytes)?;
        self.try_flush()?;
        Ok(count)
    }

    /// `Ready` when there is room to write.
    pub(crate) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed(cx)
    }

    /// `Ready` when everything that was written is with the socket.
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.try_flush()? {
            ready!(self.tcp.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more is written, as far as the socket takes it.
    pub(crate) fn say_end(&mut self) {
        self.session.send_close_notify();
        // It is about to be closed, whether it takes it or not.
        let _ = self.try_flush();
    }

    /// Sends what was encrypted; whether all of it.
    fn try_flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// One read from the socket, decrypted.
    fn poll_take_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut reader = Reader { tcp: &mut self.tcp, cx };
        match self.session.read_tls(&mut reader) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match self.session.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                self.ended |= state.peer_has_closed();
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                // The alert that says why; the connection is over either way.
                let _ = self.try_flush();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_read_ready(cx))?;
        // No more of the space is touched than bytes are there for: it belongs to a connection that
        // will be idle, and pages that were never written to take no memory.
        let most = this.plain.min(space.remaining());
        let count = this.try_read(space.initialize_unfilled_to(most))?;
        space.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Only encrypts while there is room, so that several writes leave in one.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.session.writer().write_vectored(bytes) {
                Ok(0) if bytes.iter().any(|slice| !slice.is_empty()) => {
                    ready!(this.poll_flushed(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.say_end();
        ready!(this.poll_flushed(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

/// The socket as rustls writes to it.
struct Socket<'s>(&'s TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket as rustls reads from it: a read that does not fill the space clears readiness.
struct Reader<'s, 'c, 'w> {
    tcp: &'s mut TcpStream,
    cx: &'c mut Context<'w>,
}

impl Read for Reader<'_, '_, '_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut space = ReadBuf::new(space);
        match Pin::new(&mut *self.tcp).poll_read(self.cx, &mut space) {
            Poll::Ready(read) => read.map(|()| space.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
