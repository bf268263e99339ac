//! Connections to targets that speak HTTP/2: a few per worker and target, shared by requests. Made
//! when those there are have no room, one at a time, so that a burst does not open a hundred.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};

use super::{CONNECTION_WINDOW_BYTES, SEND_BUFFER_BYTES, SILENT_MS, STREAM_WINDOW_BYTES};
use crate::wire::exchange::connect_until_told;
use crate::wire::head::HEAD_BYTES_MAX;
use crate::wire::passage::CONNECT_MS;
use crate::wire::slot::Slot;
use crate::wire::stream::watch_peer;
use crate::wire::wires::{Fault, check};
use crate::worker::{LocalTarget, Worker};

/// How many connections one worker has to one target.
const CONNECTIONS_MAX: usize = 64;
/// How many requests share one, whatever the target allows.
const STREAMS_MAX: usize = 250;
/// How long one is kept without a request, in milliseconds.
const IDLE_MS: u64 = 60_000;

/// A worker's connections to one target.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    connections: RefCell<Vec<Rc<Connection>>>,
    is_connecting: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) requests: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// Whether it takes no more requests.
    is_closed: Cell<bool>,
    idle_since_ms: Cell<u64>,
    /// Whether it has carried a request: then its end before an answer may only mean that the
    /// target closed it for being idle.
    pub(super) is_used: Cell<bool>,
    pings: RefCell<Option<PingPong>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// A request's share of a connection.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) connection: Rc<Connection>,
    worker: Rc<Worker>,
}

impl Share {
    fn new(connection: Rc<Connection>, worker: Rc<Worker>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection, worker }
    }
}

impl Share {
    /// Notes what an error of a request here says of the connection. One whose target said goodbye, or that is
    /// torn, takes no more requests; those on it end on it, which may be long after.
    pub(super) fn failed(&self, error: &h2::Error) {
        if error.is_go_away() || error.is_io() {
            self.connection.is_closed.set(true);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get().saturating_sub(1));
        self.connection.idle_since_ms.set(self.worker.now_ms());
    }
}

impl Shares {
    /// Keeps no connection; those with requests on them end with these.
    pub(crate) fn clear(&self) {
        self.connections.borrow_mut().clear();
    }

    /// Drops what has ended or was not used for long.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.connections.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0
                && now_ms.saturating_sub(connection.idle_since_ms.get()) > IDLE_MS;
            !connection.is_closed.get() && !idle
        });
    }

    /// A connection with room, if there is one. `fresh`: only one that has carried nothing yet.
    fn find(&self, fresh: bool) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.is_closed.get());
        let has_room = |connection: &&Rc<Connection>| {
            let max = connection.requests.borrow().current_max_send_streams().min(STREAMS_MAX);
            connection.streams.get() < max && !(fresh && connection.is_used.get())
        };
        connections.iter().find(has_room).cloned()
    }
}

/// A share of a connection to `local`, made when there is none with room. `fresh`: not one that has
/// carried a request before.
pub(super) async fn share(
    worker: &Rc<Worker>,
    slot: &Slot,
    local: &Rc<LocalTarget>,
    fresh: bool,
) -> Result<Share, Fault> {
    if let Some(connection) = local.h2.find(fresh) {
        return Ok(Share::new(connection, worker.clone()));
    }
    slot.set_deadline(worker.deadline(CONNECT_MS));
    let pool = &local.h2;
    loop {
        if !pool.is_connecting.get() && pool.connections.borrow().len() < CONNECTIONS_MAX {
            break;
        }
        wait_for_change(pool, slot).await?;
        if let Some(connection) = pool.find(fresh) {
            return Ok(Share::new(connection, worker.clone()));
        }
    }
    let connecting = Connecting::begin(pool);
    let stream = connect_until_told(worker, slot, local).await?;
    // A WebSocket on it may be silent for as long as it likes.
    watch_peer(&stream, SILENT_MS);
    let (requests, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|_| Fault::Unreachable)?;
    let shared = Rc::new(Connection {
        requests: RefCell::new(requests),
        streams: Cell::new(0),
        is_closed: Cell::new(false),
        idle_since_ms: Cell::new(worker.now_ms()),
        is_used: Cell::new(false),
        pings: RefCell::new(connection.ping_pong()),
    });
    let driven = Rc::downgrade(&shared);
    let target = Rc::downgrade(local);
    tokio::task::spawn_local(async move {
        // Its requests learn of its end themselves.
        let _ = connection.await;
        if let Some(connection) = driven.upgrade() {
            connection.is_closed.set(true);
        }
        if let Some(target) = target.upgrade() {
            wake_all(&target.h2);
        }
    });
    if local.target.keeps_idle() {
        pool.connections.borrow_mut().push(shared.clone());
    }
    drop(connecting);
    Ok(Share::new(shared, worker.clone()))
}

async fn wait_for_change(pool: &Shares, slot: &Slot) -> Result<(), Fault> {
    let mut is_first = true;
    poll_fn(|cx| {
        match check(slot) {
            Ok(()) => {}
            Err(Fault::Late) => return Poll::Ready(Err(Fault::Unreachable)),
            Err(fault) => return Poll::Ready(Err(fault)),
        }
        if std::mem::take(&mut is_first) {
            pool.waiting.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn wake_all(pool: &Shares) {
    pool.waiting.take().into_iter().for_each(Waker::wake);
}

/// A connection is being made; whoever waits looks again when this ends, whichever way.
struct Connecting<'p>(&'p Shares);

impl<'p> Connecting<'p> {
    fn begin(pool: &'p Shares) -> Self {
        pool.is_connecting.set(true);
        Self(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.is_connecting.set(false);
        wake_all(self.0);
    }
}

impl Share {
    /// Waits until it is known whether the target takes extended CONNECT: its settings have
    /// arrived when it answers a ping. Whether it does.
    pub(super) async fn takes_web_sockets(&self, slot: &Slot) -> Result<bool, Fault> {
        let knows = || self.connection.requests.borrow().is_extended_connect_protocol_enabled();
        if knows() || self.connection.is_used.get() {
            return Ok(knows());
        }
        slot.set_deadline(self.worker.deadline(CONNECT_MS));
        let mut is_sent = false;
        poll_fn(|cx| {
            check(slot)?;
            ready!(self.poll_ping(&mut is_sent, cx))?;
            Poll::Ready(Ok(knows()))
        })
        .await
    }

    fn poll_ping(&self, is_sent: &mut bool, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut pings = self.connection.pings.borrow_mut();
        let Some(pings) = pings.as_mut() else { return Poll::Ready(Ok(())) };
        if !*is_sent {
            // Fails when one is on its way already: then its answer will do.
            let _ = pings.send_ping(Ping::opaque());
            *is_sent = true;
        }
        pings.poll_pong(cx).map(|pong| pong.map(drop).map_err(|_| Fault::TargetGone))
    }
}
