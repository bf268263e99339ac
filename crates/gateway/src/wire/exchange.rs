//! One request: routed, admitted, sent to a target (to another one where that is safe), and its
//! answer passed on. Every way it can end is counted exactly once, here.

use std::future::poll_fn;
use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ark_model::gateway::RefusalKind;
use ark_model::route::RouteProtocol;
use tokio::net::TcpStream;

use super::answer::{self, About, Refusal};
use super::buffer::Buffer;
use super::conn::{After, Conn};
use super::h2;
use super::head::{
    self, Framing, HEAD_BYTES_MAX, HeadError, Method, RequestBody, RequestHead, ResponseHead,
    SayConnection, Shape, Version,
};
use super::in_flight::InFlight;
use super::mirror::Copy;
use super::passage::{self, Asked, CONNECT_MS, Passage, Unreached};
use super::relay::{self, Relay};
use super::slot::{Doing, Slot};
use super::tunnel;
use super::upload::Upload;
use super::upstream::{self, Upstream};
use super::wires::{Fault, Wires, check};
use super::without_target::{location, maintain, manner, prove, redirect, refuse, say};
use crate::acme::challenges::PATH;
use crate::counters::Outcome;
use crate::listen::Door;
use crate::rules;
use crate::worker::{Entry, LocalTarget, Worker};

/// Carries out the request whose head stands at the front of the client's buffer.
pub(crate) async fn carry_out(conn: &mut Conn, head: RequestHead) -> After {
    let begun = Instant::now();
    let bytes = conn.client.buffer.filled();
    let text = |range: Range<usize>| std::str::from_utf8(&bytes[range]).unwrap_or("");
    if let Entry::Http(_) = conn.entry
        && bytes[head.path.clone()].starts_with(PATH.as_bytes())
        && let Some(proof) =
            conn.worker.shared.proof(text(head.host.clone()), text(head.path.clone()))
    {
        conn.client.buffer.consume(head.length);
        return prove(conn, &head, &proof).await;
    }
    let found = match conn.entry {
        Entry::Http(Door { redirect_to: Some(port), .. }) => {
            let to = location(text(head.host.clone()), bytes, head.path.start, port);
            conn.client.buffer.consume(head.length);
            return redirect(conn, &head, to).await;
        }
        Entry::Http(_) => {
            let path = Some(text(head.path.clone())).filter(|path| !path.is_empty());
            conn.worker.find(text(head.host.clone()), path.unwrap_or("/"))
        }
        Entry::Port(slot) => conn.worker.find_slot(slot),
    };
    let Some(found) = found else {
        let host = text(head.host.clone()).to_owned();
        conn.worker.shared.refusals.count(RefusalKind::NoRoute);
        conn.client.buffer.consume(head.length);
        return refuse(conn, &head, Refusal::NoRoute, &About::Host(host)).await;
    };
    let mut passage = Passage::new(conn.worker.clone(), conn.slot.clone(), found, begun);
    let fields = rules::Head(&bytes[..head.length]);
    let method_end = memchr::memchr(b' ', bytes).unwrap_or(0);
    let asked = Asked {
        method: text(0..method_end),
        host: text(head.host.clone()),
        path: text(head.path.clone()),
        client: conn.peer,
        timeout_ms: head.timeout_ms,
        fields: &fields,
    };
    let entered = passage.enter(&asked);
    conn.client.buffer.consume(head.length);
    match (entered, passage.found.protocol) {
        // Boxed, so that other requests do not carry the room for it.
        (_, RouteProtocol::H2c | RouteProtocol::Grpc) => {
            Box::pin(h2::carry_out(conn, &head, passage, entered)).await
        }
        (Ok(()), RouteProtocol::Http | RouteProtocol::Tcp) => {
            Exchange::new(conn, &head, passage).run().await
        }
        (Err(refusal), RouteProtocol::Http | RouteProtocol::Tcp) => {
            Exchange::new(conn, &head, passage).answer_unreached(refusal).await
        }
    }
}

/// A request under way.
struct Exchange<'c> {
    conn: &'c mut Conn,
    head: &'c RequestHead,
    passage: Passage,
    upload: Upload,
    /// Whether kept connections may be used: not after one turned out to be closed.
    may_reuse: bool,
    /// Whether anything was sent back to the client: an interim answer, say.
    begun_answering: bool,
    /// Where in the request the target is told how long its answer is waited for.
    time_left_at: Range<usize>,
}

/// How an attempt at one target ended.
pub(super) enum Attempt {
    /// The answer was passed on as far as it goes.
    Done(After, Outcome),
    /// Nothing was answered, and nothing has happened that forbids another attempt.
    Again,
    /// Nothing was answered.
    Failed(Fault),
}

impl<'c> Exchange<'c> {
    fn new(conn: &'c mut Conn, head: &'c RequestHead, passage: Passage) -> Self {
        let upload = Upload::new(head.body, &passage.found.limits);
        Self {
            conn,
            head,
            passage,
            upload,
            may_reuse: true,
            begun_answering: false,
            time_left_at: 0..0,
        }
    }

    async fn run(mut self) -> After {
        if self.passage.found.protocol == RouteProtocol::Tcp {
            return self.answer_unreached(Refusal::Protocol).await;
        }
        let max = self.passage.found.limits.body_bytes_max;
        let too_large = matches!(self.head.body, RequestBody::Length(n) if max > 0 && n > max);
        if too_large {
            return self.answer_unreached(Refusal::BodyTooLarge).await;
        }
        self.time_left_at = head::add_number(
            &mut self.conn.out,
            head::TIMEOUT_FIELD,
            self.passage.answer_within_ms(),
        );
        match self.upload.join(&mut self.conn.client, &mut self.conn.out) {
            Ok(()) => {}
            Err(fault @ Fault::BadBody(what)) => {
                self.passage.count_refusal(fault);
                return self.answer_unreached(Refusal::Smuggling(what)).await;
            }
            Err(_) => return self.answer_unreached(Refusal::BodyTooLarge).await,
        }
        if self.upload.is_sent() && !self.head.upgrade {
            let request = &self.conn.out;
            let method = &request[..memchr::memchr(b' ', request).unwrap_or(0)];
            self.passage.mirror(method, || Copy::Http1(request.clone()));
        }
        loop {
            let mut in_flight = match self.admit().await {
                Ok(in_flight) => in_flight,
                Err(Unreached::Refused(refusal)) => return self.answer_unreached(refusal).await,
                Err(Unreached::ClientGone) => {
                    self.passage.count_unreached(Outcome::ClientGone, None);
                    return After::Close;
                }
                Err(Unreached::CallLate) => return self.answer_late().await,
            };
            if self.passage.time_left_ms() == Some(0) {
                return self.answer_failed(in_flight, Fault::CallLate).await;
            }
            self.say_time_left();
            match self.attempt(&mut in_flight).await {
                Attempt::Done(after, outcome) => {
                    in_flight.end(outcome);
                    return after;
                }
                Attempt::Again => {
                    in_flight.retried();
                    self.passage.waited = true;
                }
                Attempt::Failed(fault) => return self.answer_failed(in_flight, fault).await,
            }
        }
    }

    /// Tells the target what is left of the time that the client gave, when some of it was spent.
    fn say_time_left(&mut self) {
        if !self.passage.waited || self.passage.time_left_ms().is_none() {
            return;
        }
        let text = self.passage.answer_within_ms().to_string();
        let at = self.time_left_at.clone();
        self.time_left_at = at.start..at.start + text.len();
        self.conn.out.splice(at, text.into_bytes());
    }

    async fn admit(&mut self) -> Result<InFlight, Unreached> {
        let watch = !self.upload.is_active();
        let Conn { client, worker, .. } = &mut *self.conn;
        let is_there = |cx: &mut Context<'_>| match watch {
            true => client.poll_gone(&worker.buffers, cx),
            false => Ok(()),
        };
        self.passage.admit(is_there).await
    }

    /// Sends the request to one target and passes its answer on.
    async fn attempt(&mut self, in_flight: &mut InFlight) -> Attempt {
        let local = in_flight.local().clone();
        let kept = match self.may_reuse {
            true => upstream::take(&self.conn.worker, &local, self.head.method),
            false => None,
        };
        let mut upstream = match kept {
            Some(upstream) => upstream,
            None => match self.connect(&local).await {
                Ok(upstream) => upstream,
                Err(Fault::Unreachable) if self.passage.unreachable(&local) => {
                    return Attempt::Again;
                }
                Err(fault) => return Attempt::Failed(fault),
            },
        };
        let is_clients_time = self.passage.is_clients_time();
        let answered = self.converse(&mut upstream, in_flight).await;
        let head = match answered {
            Ok(head) => head,
            Err(fault) => {
                let closed_while_idle = fault == Fault::TargetGone
                    && upstream.reused
                    && upstream.buffer.is_empty()
                    && self.head.method != Method::Other
                    && !self.upload.sent_on;
                self.conn.worker.buffers.give_back(std::mem::take(&mut upstream.buffer));
                if closed_while_idle {
                    self.may_reuse = false;
                    return Attempt::Again;
                }
                let fault = match fault {
                    Fault::Late if self.upload.awaits_client() => Fault::BodyLate,
                    Fault::Late if is_clients_time && !self.upload.is_active() => Fault::CallLate,
                    fault => fault,
                };
                let repeatable = self.head.method != Method::Other
                    && !self.upload.sent_on
                    && !self.upload.is_active()
                    && !self.begun_answering;
                return match self.passage.failed(&local, fault, repeatable) {
                    true => Attempt::Again,
                    false => Attempt::Failed(fault),
                };
            }
        };
        self.pass_on(upstream, in_flight, &head).await
    }

    async fn connect(&mut self, local: &LocalTarget) -> Result<Upstream, Fault> {
        self.passage.waited = true;
        let conn = &*self.conn;
        conn.slot.set_deadline(conn.worker.deadline(CONNECT_MS));
        let stream = connect_until_told(&conn.worker, &conn.slot, local).await?;
        Ok(Upstream { stream, buffer: Buffer::default(), reused: false })
    }

    /// Sends the request and waits for the head of its answer, which then stands in `out` as it
    /// is passed on. Interim answers are passed on meanwhile.
    async fn converse(
        &mut self,
        upstream: &mut Upstream,
        in_flight: &mut InFlight,
    ) -> Result<ResponseHead, Fault> {
        let Conn { worker, slot, client, out, answer, .. } = &mut *self.conn;
        let mut wires = Wires {
            client,
            upstream,
            upload: &mut self.upload,
            slot,
            worker,
            limits: &self.passage.found.limits,
            answer_within_ms: self.passage.answer_within_ms(),
            answering: false,
        };
        wires.send_request(out).await?;
        self.passage.accepted(in_flight);
        loop {
            if !wires.upstream.buffer.is_empty() {
                // `out` is kept for another attempt until the answer is there.
                answer.clear();
                if let Some(head) = parse(&wires, self.head, answer)? {
                    wires.upstream.buffer.consume(head.length);
                    if head.status >= 200 || head.status == 101 {
                        if let Some(cookie) = &self.passage.set_cookie {
                            head::add_field(answer, "Set-Cookie", cookie);
                        }
                        std::mem::swap(out, answer);
                        return Ok(head);
                    }
                    if self.head.version == Version::Http11 {
                        self.begun_answering = true;
                        wires.send(answer).await?;
                    }
                    continue;
                }
                if wires.upstream.buffer.len() >= HEAD_BYTES_MAX {
                    return Err(Fault::BadResponse);
                }
                if wires.upstream.buffer.is_full() {
                    wires.upstream.buffer.grow();
                }
            }
            if wires.receive().await? == 0 {
                return Err(Fault::TargetGone);
            }
        }
    }

    /// Passes an answer on whose head stands in `out`.
    async fn pass_on(
        &mut self,
        mut upstream: Upstream,
        in_flight: &mut InFlight,
        head: &ResponseHead,
    ) -> Attempt {
        in_flight.answered_with(self.passage.counted_as(head.status));
        if head.status == 101 {
            in_flight.becomes_stream();
            let stall_ms = self.passage.found.limits.idle_body_ms;
            return tunnel::upgraded(self.conn, upstream, in_flight, head, stall_ms).await;
        }
        let keep = keeps_client(self.head, head, &self.upload) && !self.conn.worker.is_stopping();
        if head.event_stream {
            in_flight.becomes_stream();
        }
        let Conn { worker, slot, client, out, .. } = &mut *self.conn;
        let relay = Relay::new(head, self.head.version);
        let mut wires = Wires {
            client,
            upstream: &mut upstream,
            upload: &mut self.upload,
            slot,
            worker,
            limits: &self.passage.found.limits,
            answer_within_ms: 0,
            answering: true,
        };
        let outcome = relay.run(&mut wires, out, in_flight).await;
        match outcome {
            relay::End::Whole => {
                if head.keep_alive && self.upload.is_sent() {
                    upstream::keep(worker, in_flight.local(), upstream, head.keep_alive_s);
                } else {
                    worker.buffers.give_back(upstream.buffer);
                }
                let after = match (keep, self.upload.is_sent()) {
                    (true, _) => After::Next,
                    (false, true) => After::Close,
                    (false, false) => After::Linger,
                };
                Attempt::Done(after, Outcome::Answered)
            }
            relay::End::EndedInOrder => {
                worker.buffers.give_back(upstream.buffer);
                let after = if keep { After::Next } else { After::Close };
                Attempt::Done(after, Outcome::Answered)
            }
            relay::End::Broken(fault) => {
                worker.buffers.give_back(upstream.buffer);
                let fault = match fault {
                    Fault::Late if self.upload.awaits_client() => Fault::BodyLate,
                    fault => fault,
                };
                self.passage.count_refusal(fault);
                Attempt::Done(After::Break, passage::broken_by(fault))
            }
        }
    }

    /// Answers a request that failed at a target before anything was answered.
    async fn answer_failed(&mut self, mut in_flight: InFlight, fault: Fault) -> After {
        let Some((refusal, outcome)) = passage::explain(fault) else {
            in_flight.end(Outcome::ClientGone);
            return After::Close;
        };
        self.passage.count_refusal(fault);
        let keep = self.head.keep_alive
            && self.upload.is_sent()
            && outcome != Outcome::Cut
            && !self.conn.worker.is_stopping();
        let about = self.passage.about();
        self.conn.out.clear();
        let bytes = answer::write(refusal, &about, manner(self.head, keep), &mut self.conn.out);
        // The target has no more to do with it: a drain that goes on must not cut the answer.
        self.conn.slot.does(Doing::Request);
        in_flight.refused_with(passage::status_of(refusal, outcome));
        match self.conn.send_out().await {
            Ok(()) => {
                in_flight.passed_on(bytes);
                in_flight.end(outcome);
                if keep { After::Next } else { After::Linger }
            }
            Err(_) => {
                let outcome = if outcome == Outcome::Cut { outcome } else { Outcome::ClientGone };
                in_flight.end(outcome);
                After::Close
            }
        }
    }

    /// Answers a request whose time, as its client gave it, was over before a target was ready.
    async fn answer_late(&mut self) -> After {
        let about = self.passage.about();
        let after = refuse(self.conn, self.head, Refusal::ResponseLate, &about).await;
        self.passage.count_unreached(Outcome::ClientGone, Some(passage::GIVEN_UP));
        after
    }

    /// Answers a request that reached no target.
    async fn answer_unreached(&mut self, refusal: Refusal) -> After {
        let about = self.passage.about();
        let after = match (&self.passage.found.maintenance, refusal) {
            (Some(page), Refusal::Maintenance(_)) => maintain(self.conn, self.head, page).await,
            _ => refuse(self.conn, self.head, refusal, &about).await,
        };
        let outcome = match after {
            After::Next | After::Linger => Outcome::Answered,
            After::Close | After::Break => Outcome::ClientGone,
        };
        self.passage.count_unreached(outcome, Some(refusal.status()));
        after
    }
}

/// Connects, unless the slot says otherwise meanwhile. A target that refuses is unready at once.
pub(super) async fn connect_until_told(
    worker: &Worker,
    slot: &Slot,
    local: &LocalTarget,
) -> Result<TcpStream, Fault> {
    let mut connecting = std::pin::pin!(upstream::connect_at_all(worker, local.target.address));
    poll_fn(|cx| {
        match check(slot) {
            Ok(()) => {}
            Err(Fault::Late) => return Poll::Ready(Err(Fault::Unreachable)),
            Err(fault) => return Poll::Ready(Err(fault)),
        }
        let connected = ready!(connecting.as_mut().poll(cx));
        Poll::Ready(connected.map_err(|error| {
            let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
            if refused && local.target.refused() {
                worker.shared.readiness_changed();
            }
            Fault::Unreachable
        }))
    })
    .await
}

/// Parses the head of an answer and writes it as this client gets it.
fn parse(
    wires: &Wires<'_>,
    request: &RequestHead,
    out: &mut Vec<u8>,
) -> Result<Option<ResponseHead>, Fault> {
    let shape = |head: &ResponseHead| match head.status {
        101 if request.upgrade => {
            Some(Shape { chunked: false, connection: SayConnection::Upgrade })
        }
        100..=199 => Some(Shape { chunked: false, connection: SayConnection::Nothing }),
        _ => {
            let keep = keeps_client(request, head, wires.upload) && !wires.worker.is_stopping();
            let chunked = request.version == Version::Http11
                && matches!(head.framing, Framing::Chunked | Framing::UntilClose);
            Some(Shape { chunked, connection: say(request, keep) })
        }
    };
    let bytes = wires.upstream.buffer.filled();
    let to_head = request.method == Method::Head;
    match head::parse_response(bytes, to_head, out, shape) {
        Ok(Some(head)) if head.status == 101 && !request.upgrade => Err(Fault::BadResponse),
        Ok(head) => Ok(head),
        Err(HeadError::Malformed(_) | HeadError::Smuggling(_) | HeadError::TooLarge) => {
            Err(Fault::BadResponse)
        }
        Err(HeadError::Version | HeadError::Coding | HeadError::Method) => Err(Fault::BadResponse),
    }
}

/// Whether the client's connection serves another request after this answer.
fn keeps_client(request: &RequestHead, head: &ResponseHead, upload: &Upload) -> bool {
    let ends_by_closing = request.version == Version::Http10
        && matches!(head.framing, Framing::Chunked | Framing::UntilClose);
    request.keep_alive && upload.is_sent() && !ends_by_closing
}
