//! Small raw servers for the tests of the load client: one that behaves, and one for each
//! way of misbehaving. They speak HTTP by hand, so that they can break it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A server for the length of a test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    frozen: AtomicBool,
}

/// An accepted connection, with what was read ahead.
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    counts: Arc<Counts>,
}

/// How a connection ends after its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Close,
    Reset,
    Never,
}

impl Server {
    pub(crate) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Socket) -> Fut + Send + 'static,
        Fut: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&shared);
                counts.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(Socket { stream, buffer: Vec::new(), counts }));
            }
        });
        Self { address, counts, accepting }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An address on which nobody listens.
pub(crate) fn unused_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// A listener that accepts nothing and whose backlog is full, with what fills it.
pub(crate) fn full_backlog() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a backlog of one");
    let address = listener.local_addr().expect("its address");
    let mut fill = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
        fill.push(stream);
        assert!(fill.len() < 100, "the backlog never fills");
    }
    (address, (listener, fill))
}

/// All of these return `None` when the client left.
impl Socket {
    async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.read_more().await?;
        }
    }

    async fn read_exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < bytes {
            self.read_more().await?;
        }
        Some(self.buffer.drain(..bytes).collect())
    }

    async fn read_more(&mut self) -> Option<()> {
        let bytes = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (bytes > 0).then_some(())
    }

    /// The head of the next request.
    async fn request(&mut self) -> Option<String> {
        let head = self.read_until(b"\r\n\r\n").await?;
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Some(String::from_utf8(head).expect("the load client speaks ASCII"))
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// One chunk of the request's body; empty at its end.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.read_until(b"\r\n").await?;
        let size = std::str::from_utf8(&size).expect("a chunk size").trim();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let mut chunk = self.read_exactly(size + 2).await?;
        chunk.truncate(size);
        Some(chunk)
    }

    /// The payload of the next frame, and its opcode.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = self.read_exactly(2).await?;
        let length = usize::from(header[1] & 0x7f);
        assert!(header[1] & 0x80 != 0, "a client masks its frames");
        assert!(length < 126, "the load client's messages are short");
        let mask = self.read_exactly(4).await?;
        let masked = self.read_exactly(length).await?;
        let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        Some((header[0] & 0x0f, payload.collect()))
    }

    async fn write_frame(&mut self, opcode: u8, payload: &[u8]) -> Option<()> {
        let length = u8::try_from(payload.len()).expect("a short frame");
        let mut frame = vec![0x80 | opcode, length];
        frame.extend_from_slice(payload);
        self.write(&frame).await
    }

    async fn accept_websocket(&mut self) -> Option<()> {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            x-ark-sample-version: 7\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        self.write(head.as_bytes()).await
    }

    /// Closes in an orderly way: all that was sent arrives, whatever is unread.
    async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        let mut rest = [0; 1024];
        while matches!(self.stream.read(&mut rest).await, Ok(bytes) if bytes > 0) {}
    }

    fn reset(self) {
        // Closing with a linger of zero is what sends a reset.
        self.stream.set_zero_linger().expect("a socket option");
    }

    async fn end(self, end: End) -> Option<()> {
        match end {
            End::Close => self.close().await,
            End::Reset => {
                // What was sent shall be read before the reset throws it away.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.reset();
            }
            End::Never => std::future::pending().await,
        }
        None
    }
}

const HELLO: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-ark-sample-version: 7\r\ncontent-length: 5\r\n\r\nhello";

/// Does all that the drivers ask for.
pub(crate) async fn behave(mut socket: Socket) -> Option<()> {
    loop {
        let head = socket.request().await?;
        let path = head.split(' ').nth(1).expect("a path");
        match path {
            "/sse" => return events(socket).await,
            "/ws" => return echo_websocket(socket).await,
            "/echo" => echo(&mut socket, |_| {}).await?,
            slow if slow.starts_with("/slow?ms=") => {
                let ms = slow["/slow?ms=".len()..].parse().expect("milliseconds");
                tokio::time::sleep(Duration::from_millis(ms)).await;
                socket.write(HELLO).await?;
            }
            _ => socket.write(HELLO).await?,
        }
        if head.contains("connection: close") {
            return socket.end(End::Close).await;
        }
    }
}

async fn events(mut socket: Socket) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\nx-ark-sample-version: 7\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\n\r\n";
    socket.write(head.as_bytes()).await?;
    for id in 1_u64.. {
        let event = format!("id: {id}\ndata: tick\n\n");
        socket.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    None
}

async fn echo_websocket(mut socket: Socket) -> Option<()> {
    socket.accept_websocket().await?;
    loop {
        let (opcode, payload) = socket.frame().await?;
        socket.write_frame(opcode, &payload).await?;
        // Echoing a close frame is the closing handshake.
        if opcode == 8 {
            return None;
        }
    }
}

/// Streams the request's body back, as `change` leaves each chunk.
async fn echo(socket: &mut Socket, change: impl Fn(&mut Vec<u8>)) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\nx-ark-sample-version: 7\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write(head.as_bytes()).await?;
    loop {
        let mut chunk = socket.chunk().await?;
        if chunk.is_empty() {
            return socket.write(b"0\r\n\r\n").await;
        }
        change(&mut chunk);
        let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
        framed.extend(chunk);
        framed.extend(b"\r\n");
        socket.write(&framed).await?;
    }
}

pub(crate) async fn echo_changed(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    echo(&mut socket, |chunk| chunk[0] ^= 1).await?;
    socket.end(End::Close).await
}

pub(crate) async fn echo_short(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    echo(&mut socket, |chunk| chunk.truncate(chunk.len() - 1)).await?;
    socket.end(End::Close).await
}

/// Answers before the upload ends.
pub(crate) async fn refuse_upload(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    socket.write(answer).await?;
    socket.end(End::Close).await
}

/// Reads a request, says this and ends so.
pub(crate) async fn say(mut socket: Socket, answer: &'static [u8], end: End) -> Option<()> {
    socket.request().await?;
    socket.write(answer).await?;
    socket.end(end).await
}

pub(crate) async fn stay_silent(mut socket: Socket) -> Option<()> {
    loop {
        socket.request().await?;
    }
}

/// The race: the second request of each connection is read and never answered.
pub(crate) async fn close_on_second_request(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    socket.write(HELLO).await?;
    socket.request().await?;
    socket.end(End::Close).await
}

/// No race: the second request of each connection is kept for a while and then dropped.
pub(crate) async fn drop_second_request(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    socket.write(HELLO).await?;
    socket.request().await?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    socket.end(End::Close).await
}

pub(crate) async fn reset_on_second_request(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    socket.write(HELLO).await?;
    socket.request().await?;
    socket.end(End::Reset).await
}

/// Promises to keep the connection, and closes it while it is idle.
pub(crate) async fn close_after_answer(mut socket: Socket) -> Option<()> {
    socket.request().await?;
    socket.write(HELLO).await?;
    socket.end(End::Close).await
}

/// Answers at once, but for one time at which every connection waits.
pub(crate) async fn freeze_once(mut socket: Socket, freeze: Duration) -> Option<()> {
    loop {
        socket.request().await?;
        let requests = socket.counts.requests.load(Ordering::SeqCst);
        if requests > 50 && !socket.counts.frozen.swap(true, Ordering::SeqCst) {
            // Blocking on purpose: the test's runtime has one thread, so all freeze.
            std::thread::sleep(freeze);
        }
        socket.write(HELLO).await?;
    }
}

/// Shows one fault after another, a connection each.
pub(crate) async fn faulty(socket: Socket, faults: Vec<u8>) -> Option<()> {
    let connection = socket.counts.connections.load(Ordering::SeqCst);
    let turn = usize::try_from(connection).expect("few connections") % faults.len();
    let half = b"HTTP/1.1 200 OK\r\nx-ark-sample-version: 8\r\ncontent-length: 9\r\n\r\nhalf";
    match faults[turn] {
        0 => say(socket, b"", End::Close).await,
        1 => say(socket, b"", End::Reset).await,
        2 => say(socket, half, End::Close).await,
        3 => say(socket, b"garbage", End::Close).await,
        4 => say(socket, b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n", End::Close).await,
        5 => close_on_second_request(socket).await,
        _ => behave(socket).await,
    }
}

/// How a WebSocket ends after three echoes, or never begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WebSocketEnd {
    CloseFrame(u16),
    Eof,
    Reset,
    Silence,
    WrongEcho,
    MaskedFrame,
    WrongAccept,
    NoUpgrade,
}

pub(crate) async fn websocket(mut socket: Socket, way: WebSocketEnd) -> Option<()> {
    socket.request().await?;
    match way {
        WebSocketEnd::WrongAccept => {
            let head =
                b"HTTP/1.1 101 x\r\nsec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
            socket.write(head).await?;
            return socket.end(End::Close).await;
        }
        WebSocketEnd::NoUpgrade => {
            socket.write(HELLO).await?;
            return socket.end(End::Close).await;
        }
        _ => socket.accept_websocket().await?,
    }
    for _ in 0..3 {
        let (opcode, payload) = socket.frame().await?;
        // A ping in between must be answered and not be taken for an echo.
        socket.write_frame(9, b"are you there").await?;
        assert_eq!(socket.pong().await?, b"are you there");
        socket.write_frame(opcode, &payload).await?;
    }
    let (_, payload) = socket.frame().await?;
    match way {
        WebSocketEnd::CloseFrame(code) => {
            socket.write_frame(8, &code.to_be_bytes()).await?;
            socket.end(End::Close).await
        }
        WebSocketEnd::Eof => socket.end(End::Close).await,
        WebSocketEnd::Reset => socket.end(End::Reset).await,
        WebSocketEnd::WrongEcho => {
            socket.write_frame(1, &payload[1..]).await?;
            socket.end(End::Never).await
        }
        WebSocketEnd::MaskedFrame => {
            socket.write(b"\x81\x80\0\0\0\0").await?;
            socket.end(End::Never).await
        }
        WebSocketEnd::Silence | WebSocketEnd::WrongAccept | WebSocketEnd::NoUpgrade => {
            socket.end(End::Never).await
        }
    }
}

impl Socket {
    async fn pong(&mut self) -> Option<Vec<u8>> {
        let (opcode, payload) = self.frame().await?;
        assert_eq!(opcode, 10, "a ping is answered before anything else");
        Some(payload)
    }
}
