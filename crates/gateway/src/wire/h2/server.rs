//! A client's connection of HTTP/2: accepts streams, each of which becomes a task, and says goodbye
//! when the gateway ends or nothing has been asked for long. Every stream has a slot of its own, so
//! that deadlines and drain reach it alone.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use ark_model::gateway::RefusalKind;
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::client::H2Client;
use super::crossing::Crossing;
use super::fields::Request;
use super::guard::{Guarded, Spent};
use super::outlet::Outlet;
use super::own_answer;
use super::side::{Answer, Client, Side};
use super::{CONNECTION_WINDOW_BYTES, Caller, SEND_BUFFER_BYTES, SILENT_MS, STREAM_WINDOW_BYTES};
use crate::clock::NEVER;
use crate::listen::Door;
use crate::wire::answer::{About, Refusal};
use crate::wire::buffer::Buffer;
use crate::wire::head::HEAD_BYTES_MAX;
use crate::wire::passage::Passage;
use crate::wire::slot::{Doing, Slot, Verdict};
use crate::wire::stream::{Stream, watch_peer};
use crate::wire::without_target;
use crate::worker::{Entry, SlotGuard, Worker};

/// How many requests a client may have open on one connection.
const STREAMS_MAX: u32 = 128;
/// How long a connection may be without a request, in milliseconds.
const IDLE_MS: u64 = 75_000;
/// How long its end may take once it is said, in milliseconds.
const GOODBYE_MS: u64 = 5_000;
/// How long settings may take from the beginning, in milliseconds.
const BEGIN_MS: u64 = 30_000;

/// What all streams of a connection share.
struct Shared {
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    entry: Entry,
    caller: Caller,
    secure: bool,
    /// Streams open now.
    open: Cell<usize>,
}

/// Serves a connection until its end; `begun` holds what was read of it already.
pub(in crate::wire) async fn serve(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    stream: Stream,
    begun: Buffer,
    entry: Entry,
    caller: Caller,
) {
    // A WebSocket on it may be silent for as long as it likes.
    watch_peer(stream.tcp(), SILENT_MS);
    let secure = stream.is_secure();
    let spent = Spent::default();
    let outlet = Outlet::new(stream, worker.clone());
    let io = Guarded::new(outlet.clone(), begun, worker.clone(), spent.clone());
    slot.does(Doing::Connection);
    slot.set_deadline(worker.deadline(BEGIN_MS));
    let shared = Rc::new(Shared { worker, slot, entry, caller, secure, open: Cell::new(0) });
    let Some(mut connection) = begin(&shared, io).await else { return };
    shared.slot.set_deadline(shared.worker.deadline(IDLE_MS));
    outlet.hold();
    if shared.worker.is_stopping() {
        connection.graceful_shutdown();
    }
    loop {
        let next = poll_fn(|cx| {
            match shared.slot.take_verdict() {
                Some(Verdict::Leave) => connection.graceful_shutdown(),
                Some(Verdict::Late) if shared.open.get() == 0 => {
                    if shared.slot.begin_leaving() {
                        return Poll::Ready(None);
                    }
                    connection.graceful_shutdown();
                    shared.slot.set_deadline(shared.worker.deadline(GOODBYE_MS));
                }
                _ => {}
            }
            if spent.get() && !shared.slot.begin_leaving() {
                shared.worker.shared.refusals.count(RefusalKind::Http2Flood);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                shared.slot.set_deadline(shared.worker.deadline(GOODBYE_MS));
            }
            let next = poll_accept(&mut connection, spent.get(), cx);
            if next.is_pending()
                && let Poll::Ready(Err(_)) = outlet.poll_turn_ended(cx)
            {
                // The client has gone without a word; streams hear of it as this is dropped.
                return Poll::Ready(None);
            }
            next
        })
        .await;
        match next {
            Some(Ok((request, respond))) => accept(&shared, request, respond),
            Some(Err(error)) => return count(&shared.worker, &error),
            None => return,
        }
    }
}

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

fn poll_accept(
    connection: &mut Connection<Guarded, Bytes>,
    spent: bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Accepted, h2::Error>>> {
    if spent {
        // Nothing new is accepted; what is left is to say so.
        return connection.poll_closed(cx).map(|_| None);
    }
    connection.poll_accept(cx)
}

async fn begin(shared: &Shared, io: Guarded) -> Option<Connection<Guarded, Bytes>> {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    let mut handshake = std::pin::pin!(builder.handshake::<_, Bytes>(io));
    let begun = poll_fn(|cx| {
        if shared.slot.take_verdict().is_some() {
            return Poll::Ready(None);
        }
        handshake.as_mut().poll(cx).map(Some)
    })
    .await?;
    begun.map_err(|error| count(&shared.worker, &error)).ok()
}

/// Counts a connection that was closed for what its client did.
fn count(worker: &Worker, error: &h2::Error) {
    if !error.is_library() {
        return;
    }
    tracing::debug!(%error, "HTTP/2 connection closed");
    worker.shared.refusals.count(match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => RefusalKind::Http2Flood,
        _ => RefusalKind::Http2Protocol,
    });
}

fn accept(shared: &Rc<Shared>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    shared.open.set(shared.open.get() + 1);
    shared.slot.set_deadline(NEVER);
    let open = Open(shared.clone());
    let guard = shared.worker.enter_stream();
    tokio::task::spawn_local(async move {
        serve_stream(&open.0, &guard, request, respond).await;
    });
}

/// A stream that is open.
struct Open(Rc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.open.set(shared.open.get().saturating_sub(1));
        if shared.open.get() == 0 {
            let wait_ms = if shared.slot.is_leaving() { GOODBYE_MS } else { IDLE_MS };
            shared.slot.idles_again(shared.worker.now_ms());
            shared.slot.set_deadline(shared.worker.deadline(wait_ms));
        }
    }
}

async fn serve_stream(
    shared: &Shared,
    guard: &SlotGuard,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let begun = Instant::now();
    let (worker, slot) = (&shared.worker, guard.slot());
    poll_fn(|cx| {
        slot.attach(cx);
        Poll::Ready(())
    })
    .await;
    slot.does(Doing::Request);
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let mut client = H2Client::new(body, respond);
    let request = match Request::of_h2(parts, ended, &shared.caller.address, shared.secure) {
        Ok(request) => request,
        Err(refusal) => {
            worker.shared.refusals.count(refusal.kind());
            return refuse_head(&mut client, refusal);
        }
    };
    if let Entry::Http(_) = shared.entry
        && let Some(proof) = worker.shared.proof(request.authority.as_str(), request.path())
    {
        return prove(&mut client, proof);
    }
    let found = match shared.entry {
        Entry::Http(Door { redirect_to: Some(port), .. }) => {
            let (host, path) = (request.authority.as_str(), request.path_and_query());
            return redirect(&mut client, &without_target::secure_address(host, path, port));
        }
        Entry::Http(_) => worker.find(request.authority.as_str(), request.path()),
        Entry::Port(route) => worker.find_slot(route),
    };
    let Some(found) = found else {
        worker.shared.refusals.count(RefusalKind::NoRoute);
        let about = About::Host(request.authority.as_str().to_owned());
        slot.set_deadline(worker.deadline(GOODBYE_MS));
        // Who has left needs no answer.
        let _ = own_answer::refuse(&mut client, slot, &request, Refusal::NoRoute, &about).await;
        return;
    };
    let mut passage = Passage::new(worker.clone(), slot.clone(), found, begun);
    let entered = passage.enter(&request.asked(shared.caller.peer));
    Crossing::new(passage, &request, &mut client).run(entered).await;
}

/// Answers a head that is no request.
fn refuse_head(client: &mut H2Client, refusal: Refusal) {
    let mut fields = HeaderMap::new();
    fields.insert("x-ark-error", HeaderValue::from_static(refusal.code()));
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    // Who has left needs no answer.
    let _ = client.send_head(Answer { status, fields, upgraded: false }, true);
}

/// Answers the authority that asks whether this host is served here.
fn prove(client: &mut H2Client, proof: String) {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(proof.len()));
    let answer = Answer { status: StatusCode::OK, fields, upgraded: false };
    // Who has left needs no answer.
    let _ = client.send_head(answer, false).and_then(|()| client.send(Bytes::from(proof), true));
}

fn redirect(client: &mut H2Client, to: &str) {
    let mut fields = HeaderMap::new();
    if let Ok(to) = HeaderValue::try_from(to) {
        fields.insert(header::LOCATION, to);
    }
    let status = StatusCode::PERMANENT_REDIRECT;
    // Who has left needs no answer.
    let _ = client.send_head(Answer { status, fields, upgraded: false }, true);
}
