//! A client's connection, with or without TLS, and what both kinds of socket have in common.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::HTTP_2;
use crate::tls::session::TlsStream;

/// How long a connection is silent before its peer is asked whether it is there, how often it is asked
/// then, and how long it may owe an answer at least.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EACH: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
const UNANSWERED_MS_MIN: u64 = 60_000;

/// Has the kernel find out when the other end vanishes without a word: for connections that may be
/// silent for long, and would keep their place for ever. `stall_ms` is for how long it may take nothing.
pub(crate) fn watch_peer(socket: &TcpStream, stall_ms: u64) {
    let socket = socket2::SockRef::from(socket);
    let probes = socket2::TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EACH)
        .with_retries(PROBES);
    // A socket that refuses the options is about to fail anyway.
    let _ = socket.set_tcp_keepalive(&probes);
    let unanswered = Duration::from_millis(stall_ms.max(UNANSWERED_MS_MIN));
    let _ = socket.set_tcp_user_timeout(Some(unanswered));
}

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

/// What is asked of either side's connection.
pub(crate) trait Socket: AsyncRead + Unpin {
    /// Writes what there is room for, without waiting.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// `Ready` when there is room.
    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// `Ready` when what was written is with the kernel.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Says that nothing more is written.
    fn end_writing(&mut self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TcpStream::poll_write_ready(self, cx)
    }

    fn poll_flushed(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn end_writing(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&*self).shutdown(Shutdown::Write)
    }
}

impl Socket for Stream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => TcpStream::try_write(tcp, bytes),
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => TcpStream::poll_write_ready(tcp, cx),
            Self::Tls(tls) => tls.poll_write_ready(cx),
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flushed(cx),
        }
    }

    fn end_writing(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.say_end();
        }
        socket2::SockRef::from(self.tcp()).shutdown(Shutdown::Write)
    }
}

impl Stream {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
        }
    }

    /// Says the end where the protocol has a word for it, before the socket is closed.
    pub(crate) fn say_end(&mut self) {
        if let Self::Tls(tls) = self {
            tls.say_end();
        }
    }

    /// Whether HTTP/2 was agreed on in the handshake.
    pub(crate) fn speaks_h2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.protocol() == Some(HTTP_2))
    }

    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Tls(tls) => tls.poll_read_ready(cx),
        }
    }

    /// Whether bytes lie in the kernel, whatever the runtime has heard of them.
    pub(crate) fn has_arrived(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(socket2::SockRef::from(self.tcp()).peek(&mut byte), Ok(1..))
    }

    /// Reads without waiting, after [`Self::poll_read_ready`].
    pub(crate) fn try_read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(space),
            Self::Tls(tls) => tls.try_read(space),
        }
    }

    /// Makes the coming close a reset: an answer that was cut must not look whole, even where only
    /// the end of the connection ends it.
    pub(crate) fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, space),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, space),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_asks_after_a_silent_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for (stall_ms, expected_ms) in [(300_000, 300_000), (1, UNANSWERED_MS_MIN)] {
            watch_peer(&stream, stall_ms);
            let socket = socket2::SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
            let unanswered = Some(Duration::from_millis(expected_ms));
            assert_eq!(socket.tcp_user_timeout().unwrap(), unanswered);
        }
    }
}
