//! A client's connection: heads are read, requests carried out one after the other (a pipelined
//! one waits its turn), until either side wants to end it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ark_model::gateway::RefusalKind;
use ark_model::route::RouteProtocol;
use tokio::net::TcpStream;

use super::answer::{self, About, Manner, Refusal};
use super::buffer::{Buffer, Buffers};
use super::h2::Caller;
use super::head::{self, Forward, HEAD_BYTES_MAX, RequestHead, SayConnection};
use super::slot::{Doing, Slot, Verdict};
use super::stream::{Socket, Stream};
use super::wires::Fault;
use super::{exchange, h2, proxy_protocol, tunnel};
use crate::acme;
use crate::listen::Door;
use crate::tls::session::TlsStream;
use crate::worker::{Entry, SlotGuard, Worker};

/// How long a connection may be idle between requests, in milliseconds.
const IDLE_MS: u64 = 75_000;
/// How long a head may take from its first byte, and a new connection until it, in milliseconds.
const HEAD_MS: u64 = 30_000;
/// How long may pass until the first request can begin: a PROXY header and TLS, in milliseconds.
const OPEN_MS: u64 = 10_000;
/// How long and for how many bytes a client is listened to after an answer it did not wait for:
/// closing at once would reset the connection, and the answer might be lost.
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: usize = 1 << 20;

/// The client's side.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// Bytes received and not yet used. Lent only while needed.
    pub(crate) buffer: Buffer,
}

/// A connection being served.
pub(crate) struct Conn {
    pub(crate) worker: Rc<Worker>,
    pub(crate) slot: Rc<Slot>,
    pub(crate) client: Client,
    /// A head, and what leaves with it, on its way out.
    pub(crate) out: Vec<u8>,
    /// The head of an answer while the request in `out` may still be needed.
    pub(crate) answer: Vec<u8>,
    pub(crate) entry: Entry,
    pub(crate) peer: IpAddr,
    address: String,
    /// Whether anything was received on it.
    has_spoken: bool,
}

/// What becomes of a connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request.
    Next,
    /// It is closed.
    Close,
    /// It is closed, but the client may still be sending.
    Linger,
    /// It is closed in a way the client cannot take for the end of an answer.
    Break,
}

/// Serves a connection until its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    guard: SlotGuard,
    stream: TcpStream,
    peer: IpAddr,
    entry: Entry,
) {
    let slot = guard.slot().clone();
    poll_fn(|cx| {
        slot.attach(cx);
        Poll::Ready(())
    })
    .await;
    // A socket that refuses the option is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let (stream, peer) = match entry {
        Entry::Http(door) if door.tls || door.proxy_protocol => {
            // Boxed, so that other connections do not carry the room for it.
            let opened = Box::pin(open(&worker, &slot, stream, peer, door)).await;
            let Some((stream, peer)) = opened else { return };
            (stream, peer)
        }
        Entry::Http(_) | Entry::Port(_) => (Stream::Tcp(stream), peer),
    };
    let client = Client { stream, buffer: Buffer::default() };
    if let Entry::Port(route) = entry {
        match worker.find_slot(route) {
            Some(found) if found.protocol == RouteProtocol::Tcp => {
                return tunnel::serve_tcp(&worker, &slot, client, found).await;
            }
            Some(_) => {}
            None => return,
        }
    }
    let address = peer.to_canonical().to_string();
    if client.stream.speaks_h2() {
        let Client { stream, buffer } = client;
        let caller = Caller { peer, address };
        return Box::pin(h2::serve(worker, slot, stream, buffer, entry, caller)).await;
    }
    let mut conn = Conn {
        worker,
        slot,
        client,
        out: Vec::new(),
        answer: Vec::new(),
        entry,
        peer,
        address,
        has_spoken: false,
    };
    if conn.run().await == Ended::IsHttp2 {
        let Conn { worker, slot, client, out, answer, address, .. } = conn;
        let Client { stream, buffer } = client;
        worker.buffers.give_back_head(out);
        worker.buffers.give_back_head(answer);
        let caller = Caller { peer, address };
        return Box::pin(h2::serve(worker, slot, stream, buffer, entry, caller)).await;
    }
    conn.give_back();
}

/// Why a connection is served no longer as HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It has ended.
    Closed,
    /// It began as HTTP/2 does.
    IsHttp2,
}

/// What comes before the first request where the door says so: for whom a balancer speaks, and the
/// handshake of TLS. `None` when either fails.
async fn open(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    mut tcp: TcpStream,
    mut peer: IpAddr,
    door: Door,
) -> Option<(Stream, IpAddr)> {
    slot.does(Doing::Idle);
    slot.set_deadline(worker.deadline(OPEN_MS));
    if door.proxy_protocol {
        match proxy_protocol::read(slot, &mut tcp).await {
            Ok(spoken_for) => peer = spoken_for.unwrap_or(peer),
            Err(error) => {
                tracing::debug!(%error, %peer, "connection without a PROXY header refused");
                worker.shared.refusals.count(RefusalKind::ProxyHeader);
                return None;
            }
        }
    }
    if !door.tls {
        return Some((Stream::Tcp(tcp), peer));
    }
    let config = worker.shared.tls.get()?.config.clone();
    let mut tls = Box::new(TlsStream::new(tcp, config).ok()?);
    let done = poll_fn(|cx| {
        if slot.take_verdict().is_some() {
            return Poll::Ready(false);
        }
        tls.poll_handshake(cx).map(|done| {
            if let Err(error) = &done {
                tracing::debug!(%error, %peer, "TLS handshake failed");
            }
            done.is_ok()
        })
    })
    .await;
    if !done {
        worker.shared.refusals.count(RefusalKind::TlsHandshake);
        return None;
    }
    if tls.protocol() == Some(acme::PROTOCOL) {
        // The handshake was all (RFC 8737, 3).
        tls.say_end();
        return None;
    }
    Some((Stream::Tls(tls), peer))
}

impl Conn {
    async fn run(&mut self) -> Ended {
        let mut wait_ms = HEAD_MS;
        let mut is_first = true;
        loop {
            let after = match self.read_head(wait_ms).await {
                Ok(Some(head)) => exchange::carry_out(self, head).await,
                Ok(None) => After::Close,
                // No version that HTTP/1 has: the preface of HTTP/2 reads like a request.
                Err(Refusal::Version) if is_first && self.is_http2().await => {
                    return Ended::IsHttp2;
                }
                Err(refusal) => self.refuse(refusal).await,
            };
            is_first = false;
            match after {
                After::Next => {
                    wait_ms = IDLE_MS;
                    continue;
                }
                After::Close => self.client.stream.say_end(),
                After::Linger => self.linger().await,
                After::Break => self.client.stream.reset_on_close(),
            }
            return Ended::Closed;
        }
    }

    /// Whether what was received is the preface of HTTP/2, waiting for the rest of it.
    async fn is_http2(&mut self) -> bool {
        loop {
            let arrived = self.client.buffer.filled();
            let count = arrived.len().min(h2::PREFACE.len());
            if arrived[..count] != h2::PREFACE[..count] {
                return false;
            }
            if count == h2::PREFACE.len() {
                return true;
            }
            if !matches!(self.fill().await, Ok(1..)) {
                return false;
            }
        }
    }

    /// The next head; `None` when the connection ends before one begins. Bytes of a body that
    /// came with the head stay in the buffer, after it.
    async fn read_head(&mut self, wait_ms: u64) -> Result<Option<RequestHead>, Refusal> {
        if self.client.buffer.is_empty() {
            if self.worker.is_ending() {
                return Ok(None);
            }
            self.slot.does(Doing::Idle);
            if self.has_spoken {
                self.slot.idles_again(self.worker.now_ms());
            }
            self.slot.set_deadline(self.worker.deadline(wait_ms));
            if !self.first_bytes().await {
                return Ok(None);
            }
        }
        self.slot.does(Doing::Request);
        self.slot.set_deadline(self.worker.deadline(HEAD_MS));
        if self.out.capacity() == 0 {
            self.out = self.worker.buffers.head();
            self.answer = self.worker.buffers.head();
        }
        // Bytes up to here hold no line end that was not looked at: a head that arrives byte by
        // byte must not be parsed once per byte.
        let mut seen = 0;
        loop {
            let bytes = self.client.buffer.filled();
            if memchr::memchr(b'\n', &bytes[seen..]).is_some() {
                let forward =
                    Forward { client: &self.address, secure: self.client.stream.is_secure() };
                if let Some(head) = head::parse_request(bytes, forward, &mut self.out)? {
                    return Ok(Some(head));
                }
            }
            seen = bytes.len();
            if self.client.buffer.len() >= HEAD_BYTES_MAX {
                return Err(Refusal::HeadTooLarge);
            }
            if self.client.buffer.is_full() {
                self.client.buffer.grow();
            }
            match self.fill().await {
                Ok(0) | Err(Fault::ClientGone) => return Ok(None),
                Ok(_) => {}
                Err(Fault::Late) => return Err(Refusal::RequestLate),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Waits for the first bytes of a request, holding no buffer meanwhile. Whether any came.
    async fn first_bytes(&mut self) -> bool {
        if self.out.capacity() > 0 {
            self.worker.buffers.give_back(std::mem::take(&mut self.client.buffer));
            self.worker.buffers.give_back_head(std::mem::take(&mut self.out));
            self.worker.buffers.give_back_head(std::mem::take(&mut self.answer));
        }
        let mut has_looked = false;
        poll_fn(|cx| {
            if let Poll::Ready(came) = self.poll_first_bytes(cx) {
                return Poll::Ready(came);
            }
            match self.slot.take_verdict() {
                Some(verdict @ (Verdict::Late | Verdict::Leave)) => {
                    // A request that is here already would be lost. The runtime may not know of it yet,
                    // and wakes this once it does.
                    if !std::mem::replace(&mut has_looked, true) && self.client.stream.has_arrived()
                    {
                        self.slot.remember(verdict);
                        return Poll::Pending;
                    }
                    if verdict == Verdict::Late && !self.has_spoken {
                        self.worker.shared.refusals.count(RefusalKind::Silent);
                    }
                    Poll::Ready(false)
                }
                Some(Verdict::CutRequest | Verdict::EndStream | Verdict::CutStream) | None => {
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if ready!(self.client.stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(false);
        }
        let mut buffer = self.worker.buffers.small();
        let filled = buffer.poll_fill(&mut self.client.stream, cx);
        if let Poll::Ready(Ok(1..)) = filled {
            self.client.buffer = buffer;
            self.has_spoken = true;
            return Poll::Ready(true);
        }
        self.worker.buffers.give_back(buffer);
        filled.map(|_| false)
    }

    async fn fill(&mut self) -> Result<usize, Fault> {
        poll_fn(|cx| {
            super::wires::check(&self.slot)?;
            let filled = ready!(self.client.buffer.poll_fill(&mut self.client.stream, cx));
            Poll::Ready(filled.map_err(|_| Fault::ClientGone))
        })
        .await
    }

    /// Answers a head that is no request.
    async fn refuse(&mut self, refusal: Refusal) -> After {
        let manner = Manner { html: false, to_head: false, connection: SayConnection::Close };
        self.worker.shared.refusals.count(refusal.kind());
        self.out.clear();
        answer::write(refusal, &About::Request, manner, &mut self.out);
        match self.send_out().await {
            Ok(()) => After::Linger,
            Err(_) => After::Close,
        }
    }

    /// Sends what stands in `out`, outside of any exchange with a target.
    pub(crate) async fn send_out(&mut self) -> Result<(), Fault> {
        self.slot.set_deadline(self.worker.deadline(HEAD_MS));
        let mut sent = 0;
        poll_fn(|cx| {
            while sent < self.out.len() {
                match self.client.stream.try_write(&self.out[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        super::wires::check(&self.slot)?;
                        let ready = ready!(self.client.stream.poll_write_ready(cx));
                        ready.map_err(|_| Fault::ClientGone)?;
                    }
                    Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
                }
            }
            // The client may wait for all of it, and nothing more is written until it has it.
            if let Poll::Ready(flushed) = self.client.stream.poll_flushed(cx) {
                return Poll::Ready(flushed.map_err(|_| Fault::ClientGone));
            }
            super::wires::check(&self.slot)?;
            Poll::Pending
        })
        .await
    }

    /// Listens on for a while without using what comes, so that the answer arrives.
    async fn linger(&mut self) {
        if self.client.stream.end_writing().is_err() {
            return;
        }
        self.slot.set_deadline(self.worker.deadline(LINGER_MS));
        if self.client.buffer.capacity() == 0 {
            self.client.buffer = self.worker.buffers.small();
        }
        let mut heard = 0;
        while heard < LINGER_BYTES_MAX {
            self.client.buffer.clear();
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(count) => heard += count,
            }
        }
    }

    fn give_back(self) {
        self.worker.buffers.give_back(self.client.buffer);
        self.worker.buffers.give_back_head(self.out);
        self.worker.buffers.give_back_head(self.answer);
    }
}

impl Client {
    /// Whether the client has left, for a request whose body has arrived: what it sends meanwhile
    /// is the next request, and is kept. A client that closes only its sending side is taken for
    /// gone, as by most servers: from here both look the same.
    pub(crate) fn poll_gone(
        &mut self,
        buffers: &Buffers,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        while self.buffer.capacity() == 0 || !self.buffer.is_full() {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Fault::ClientGone),
                Poll::Ready(Ok(())) => {}
            }
            if self.buffer.capacity() == 0 {
                self.buffer = buffers.small();
            }
            match self.stream.try_read(self.buffer.spare()) {
                Ok(0) => return Err(Fault::ClientGone),
                Ok(count) => self.buffer.filled_more(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Fault::ClientGone),
            }
        }
        Ok(())
    }
}
