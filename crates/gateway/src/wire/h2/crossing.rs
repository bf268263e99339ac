//! One request, whichever protocol either side speaks: admitted, sent to a target (to another one
//! where that is safe), and its answer passed on. Every way it can end is counted exactly once,
//! here.

mod tunnel;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ark_model::route::RouteProtocol;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::fields::{Request, is_event_stream};
use super::grpc::{self, Messages};
use super::own_answer;
use super::shared;
use super::side::{Answer, Client, Side};
use super::target::{H1Target, H2Target, Head, Target};
use super::way::{Watch, Way};
use crate::clock::NEVER;
use crate::counters::Outcome;
use crate::wire::answer::{self, Refusal};
use crate::wire::buffer::Buffer;
use crate::wire::exchange::connect_until_told;
use crate::wire::head::Method;
use crate::wire::in_flight::InFlight;
use crate::wire::mirror::Copy;
use crate::wire::pace::Pace;
use crate::wire::passage::{self, CONNECT_MS, Passage, Unreached};
use crate::wire::relay::Events;
use crate::wire::upstream::{self, Upstream};
use crate::wire::wires::{Fault, check};
use crate::worker::{LocalTarget, Worker};

/// How long both sides of a WebSocket may take to close after a close frame, in milliseconds.
const CLOSE_MS: u64 = 5_000;
/// From how long after its head on a gRPC call that goes on counts as a stream, in milliseconds.
const STREAM_AFTER_MS: u64 = 10_000;

/// See the module.
pub(super) struct Crossing<'c, C> {
    passage: Passage,
    request: &'c Request,
    client: &'c mut C,
    upload: Way,
    pace: Pace,
    /// Until when the caller waits, on the gateway's clock.
    call_until_ms: u64,
    /// Whether kept connections may be used: not after one turned out to be closed.
    may_reuse: bool,
    /// Whether anything was sent back to the client: an interim answer, say.
    begun_answering: bool,
    /// Whether what is waited for now is the end of the caller's own time rather than the route's.
    awaits_caller: Cell<bool>,
}

/// How an attempt at one target ended.
enum Attempt {
    /// The answer was passed on as far as it goes.
    Done(Outcome),
    /// Nothing was answered, and nothing has happened that forbids another attempt.
    Again,
    /// Nothing was answered.
    Failed(Fault),
}

/// What is waited for from the target while a request's body is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The head of its answer.
    Head,
    /// What follows it.
    Body,
}

impl<'c, C: Client> Crossing<'c, C> {
    pub(super) fn new(passage: Passage, request: &'c Request, client: &'c mut C) -> Self {
        let mut upload = Way::new(Watch::Nothing, passage.found.limits.body_bytes_max);
        if request.grpc {
            upload.watch = Watch::Messages(Messages::default());
        }
        if !request.has_body {
            upload.finish();
        }
        // A gRPC deadline is for the whole call; another is for the beginning of the answer.
        let timeout = request.timeout.filter(|_| request.grpc);
        let call_until_ms = timeout.map_or(NEVER, |timeout| {
            let now_ms = passage.worker.shared.clock.now_ms();
            now_ms.saturating_add(crate::clock::millis(timeout)).min(NEVER - 1)
        });
        let pace = Pace::new(passage.found.limits.body_bytes_per_s_min);
        Self {
            passage,
            request,
            client,
            upload,
            pace,
            call_until_ms,
            may_reuse: true,
            begun_answering: false,
            awaits_caller: Cell::new(false),
        }
    }

    /// `entered` is what [`Passage::enter`] said.
    pub(super) async fn run(mut self, entered: Result<(), Refusal>) {
        if let Err(refusal) = entered {
            return self.answer_unreached(refusal).await;
        }
        if self.passage.found.protocol == RouteProtocol::Tcp {
            return self.answer_unreached(Refusal::Protocol).await;
        }
        let max = self.passage.found.limits.body_bytes_max;
        if max > 0 && self.request.length.is_some_and(|length| length > max) {
            return self.answer_unreached(Refusal::BodyTooLarge).await;
        }
        // What has a body streams it: a copy would have to be kept for as long.
        if !self.request.has_body && !self.request.web_socket {
            self.passage.mirror(self.request.method.as_str().as_bytes(), || self.copied());
        }
        loop {
            let client = &mut *self.client;
            let admitted = self.passage.admit(|cx: &mut Context<'_>| client.poll_gone(cx)).await;
            let mut in_flight = match admitted {
                Ok(in_flight) => in_flight,
                Err(Unreached::Refused(refusal)) => return self.answer_unreached(refusal).await,
                Err(Unreached::ClientGone) => {
                    return self.passage.count_unreached(Outcome::ClientGone, None);
                }
                Err(Unreached::CallLate) => return self.answer_late().await,
            };
            if self.passage.time_left_ms() == Some(0) {
                return self.answer_failed(in_flight, Fault::CallLate).await;
            }
            match self.attempt(&mut in_flight).await {
                Attempt::Done(outcome) => return in_flight.end(outcome),
                Attempt::Again => {
                    in_flight.retried();
                    self.passage.waited = true;
                }
                Attempt::Failed(fault) => return self.answer_failed(in_flight, fault).await,
            }
        }
    }

    /// The request as a target of this route gets it.
    fn copied(&self) -> Copy {
        match self.passage.found.protocol {
            RouteProtocol::H2c | RouteProtocol::Grpc => {
                Copy::Http2(Box::new(self.request.to_h2(self.time_left())))
            }
            RouteProtocol::Http | RouteProtocol::Tcp => {
                let mut head = Vec::new();
                self.request.to_h1(&mut head, self.time_left());
                Copy::Http1(head)
            }
        }
    }

    async fn attempt(&mut self, in_flight: &mut InFlight) -> Attempt {
        let local = in_flight.local().clone();
        let mut target = match self.reach(&local).await {
            Ok(target) => target,
            Err(Fault::Unreachable) if self.passage.unreachable(&local) => return Attempt::Again,
            Err(fault) => return self.failed(&local, fault, false),
        };
        let head = match self.converse(&mut target, in_flight).await {
            Ok(head) => head,
            Err(fault) => {
                let was_idle = target.was_idle();
                target.cancel();
                return self.failed(&local, fault, was_idle);
            }
        };
        let ended = if head.web_socket && self.request.web_socket {
            self.tunnel(&mut target, in_flight, head).await
        } else {
            self.pass_on(&mut target, in_flight, head).await
        };
        match ended {
            Ok(outcome) => {
                self.keep(target, &local);
                Attempt::Done(outcome)
            }
            Err(fault) => {
                target.cancel();
                Attempt::Done(self.broken(fault, in_flight))
            }
        }
    }

    /// An attempt that came to nothing: whether there may be another.
    fn failed(&mut self, local: &LocalTarget, fault: Fault, was_idle: bool) -> Attempt {
        let is_at_hand = !self.upload.begun && !self.begun_answering;
        let repeatable =
            is_at_hand && self.request.kind != Method::Other && !self.request.web_socket;
        let closed_while_idle = fault == Fault::TargetGone && was_idle && repeatable;
        if is_at_hand && self.may_reuse && (closed_while_idle || fault == Fault::NotTaken) {
            self.may_reuse = false;
            return Attempt::Again;
        }
        // Only a request without a body is at hand in whole.
        if self.passage.failed(local, fault, repeatable && !self.request.has_body) {
            return Attempt::Again;
        }
        Attempt::Failed(match fault {
            Fault::NotTaken => Fault::TargetGone,
            fault => fault,
        })
    }

    /// A connection to the target, with the request's head on its way.
    async fn reach(&mut self, local: &Rc<LocalTarget>) -> Result<Target, Fault> {
        let (worker, slot) = (self.passage.worker.clone(), self.passage.slot.clone());
        let speaks_h2 = match self.passage.found.protocol {
            RouteProtocol::H2c | RouteProtocol::Grpc => true,
            RouteProtocol::Http | RouteProtocol::Tcp => false,
        };
        if speaks_h2 {
            let share = shared::share(&worker, &slot, local, !self.may_reuse).await?;
            if self.request.web_socket && !share.takes_web_sockets(&slot).await? {
                return Err(Fault::BadResponse);
            }
            let left = self.time_left();
            return Ok(Target::H2(H2Target::begin(share, self.request, left)?));
        }
        let kept = self.may_reuse.then(|| upstream::take(&worker, local, self.request.kind));
        let mut target = match kept.flatten() {
            Some(kept) => {
                worker.buffers.give_back(kept.buffer);
                H1Target::new(kept.stream, kept.reused)
            }
            None => {
                self.passage.waited = true;
                slot.set_deadline(worker.deadline(CONNECT_MS));
                H1Target::new(connect_until_told(&worker, &slot, local).await?, false)
            }
        };
        target.begin(self.request, self.time_left(), worker.buffers.head());
        Ok(Target::H1(target))
    }

    fn time_left(&self) -> Duration {
        match (self.request.grpc, self.passage.time_left_ms()) {
            (true, Some(left_ms)) => Duration::from_millis(left_ms),
            (true, None) | (false, _) => Duration::from_millis(self.passage.answer_within_ms()),
        }
    }

    /// Sends what is there of the request and waits for the head of its answer. Interim answers
    /// are passed on meanwhile.
    async fn converse(&mut self, target: &mut Target, in_flight: &InFlight) -> Result<Head, Fault> {
        self.await_answer();
        let mut accepted = false;
        loop {
            let head = poll_fn(|cx| {
                self.check()?;
                let _ = target.poll_flushed(cx)?;
                if !std::mem::replace(&mut accepted, true) {
                    self.passage.accepted(in_flight);
                }
                self.poll_upload(target, cx, Awaited::Head)?;
                target.poll_head(cx)
            })
            .await?;
            let is_final =
                !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS;
            if is_final {
                let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
                return match switches && !(head.web_socket && self.request.web_socket) {
                    true => Err(Fault::BadResponse),
                    false => Ok(head),
                };
            }
            self.begun_answering = true;
            self.client.send_interim(head.status, head.fields)?;
            self.flushed().await?;
        }
    }

    /// Keeps the upload going, or notices that the client has left. A WebSocket's bytes wait until
    /// the target has agreed.
    fn poll_upload(
        &mut self,
        target: &mut Target,
        cx: &mut Context<'_>,
        awaited: Awaited,
    ) -> Result<(), Fault> {
        if self.upload.is_finished() || self.request.web_socket {
            let _ = target.poll_flushed(cx)?;
            return self.client.poll_gone(cx);
        }
        let before = self.upload.taken;
        let ended = self.upload.poll(self.client, target, cx)?.is_ready();
        let came = self.upload.taken - before;
        let moved = std::mem::take(&mut self.upload.moved);
        if awaited == Awaited::Body || !self.awaits_client() {
            // Both may talk from now on, each when it has something to say.
            self.pace.pause();
        } else if moved && self.pace.is_too_slow(came, self.passage.worker.now_ms()) {
            return Err(Fault::BodyLate);
        }
        if moved || ended {
            if ended && awaited == Awaited::Head { self.await_answer() } else { self.progress() }
        }
        Ok(())
    }

    /// Whether it is the client that must send for the request to go on: not while the target does not
    /// read, and a call may be silent between two messages.
    fn awaits_client(&self) -> bool {
        let may_be_silent = self.request.grpc && self.upload.begun && self.upload.is_between();
        !self.upload.is_finished()
            && !self.upload.is_blocked
            && !self.request.web_socket
            && !may_be_silent
    }

    /// Waits until the client has what was sent to it, for as long as the slot says. One that reads
    /// nothing meanwhile is as good as gone.
    async fn flushed(&mut self) -> Result<(), Fault> {
        own_answer::flushed(self.client, &self.passage.slot).await.map_err(|fault| match fault {
            Fault::Late => Fault::ClientGone,
            fault => fault,
        })
    }

    /// Passes an answer on, to its end.
    async fn pass_on(
        &mut self,
        target: &mut Target,
        in_flight: &mut InFlight,
        head: Head,
    ) -> Result<Outcome, Fault> {
        let status = head.status.as_u16();
        let status = grpc::status_of(&head.fields).map_or(status, grpc::counted_as);
        in_flight.answered_with(self.passage.counted_as(status));
        let bodiless = self.request.kind == Method::Head
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let last = head.is_empty || bodiless;
        let is_events = is_event_stream(&head.fields) && head.length.is_none() && !last;
        let watch = match (is_events, self.request.grpc) {
            (true, _) => Watch::Events(Events::default()),
            (false, true) => Watch::Messages(Messages::default()),
            (false, false) => Watch::Nothing,
        };
        let Head { status, mut fields, .. } = head;
        if let Some(cookie) = self.passage.set_cookie.take()
            && let Ok(cookie) = HeaderValue::try_from(cookie)
        {
            fields.append(header::SET_COOKIE, cookie);
        }
        self.client.send_head(Answer { status, fields, upgraded: false }, last)?;
        let mut download = Way::new(watch, 0);
        if is_events {
            in_flight.becomes_stream();
        }
        self.progress();
        if last {
            self.flushed().await?;
            return Ok(Outcome::Answered);
        }
        let begun_ms = self.passage.worker.now_ms();
        let passed = poll_fn(|cx| {
            match self.check() {
                Err(Fault::EndStream) => download.end_soon(),
                // A call that has gone on for long ends as streams do.
                Err(Fault::Drained)
                    if self.request.grpc
                        && !in_flight.is_stream()
                        && self.passage.worker.now_ms() > begun_ms + STREAM_AFTER_MS =>
                {
                    in_flight.becomes_stream();
                }
                // A client that reads nothing for so long is as good as gone.
                Err(Fault::Late) if download.is_blocked => {
                    return Poll::Ready(Err(Fault::ClientGone));
                }
                checked => checked?,
            }
            self.poll_upload(target, cx, Awaited::Body)?;
            let before = download.bytes;
            let polled = download.poll(target, self.client, cx);
            in_flight.passed_on(download.bytes - before);
            if std::mem::take(&mut download.moved) {
                self.progress();
            }
            if !in_flight.is_stream() && self.is_streaming(&download) {
                in_flight.becomes_stream();
            }
            polled
        })
        .await;
        if let Some(status) = download.grpc_status {
            in_flight.answered_with(match download.ended_in_order {
                true => 200,
                false => self.passage.counted_as(grpc::counted_as(status)),
            });
        }
        match passed {
            Ok(()) => {
                if download.ended_in_order {
                    target.cancel();
                }
                Ok(Outcome::Answered)
            }
            // Between two messages a call can be ended with words.
            Err(fault)
                if self.request.grpc && fault != Fault::ClientGone && download.is_between() =>
            {
                let (status, counted, outcome) = match fault {
                    Fault::CallLate => (504, passage::GIVEN_UP, Outcome::ClientGone),
                    Fault::BodyTooLarge => (413, 413, Outcome::Answered),
                    _ => (503, 503, passage::broken_by(fault)),
                };
                in_flight.answered_with(counted);
                self.client.finish(Some(grpc::refusal(status, words(fault))))?;
                self.passage.slot.set_deadline(self.passage.worker.deadline(CLOSE_MS));
                self.flushed().await?;
                target.cancel();
                Ok(outcome)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Whether a gRPC call has become a stream: more than one message has begun in a direction.
    fn is_streaming(&self, download: &Way) -> bool {
        let several = |way: &Way| matches!(&way.watch, Watch::Messages(m) if m.count > 1);
        several(download) || several(&self.upload)
    }

    /// Keeps the connection for the next request.
    fn keep(&self, target: Target, local: &LocalTarget) {
        let Target::H1(target) = target else { return };
        let worker: &Worker = &self.passage.worker;
        let (reusable, keep_alive_s) = (target.is_reusable(), target.keep_alive_s);
        let (stream, out) = target.into_parts();
        worker.buffers.give_back_head(out);
        if reusable && self.upload.is_finished() {
            let kept = Upstream { stream, buffer: Buffer::default(), reused: true };
            upstream::keep(worker, local, kept, keep_alive_s);
        }
    }

    /// The answer had begun.
    fn broken(&mut self, fault: Fault, in_flight: &mut InFlight) -> Outcome {
        if fault == Fault::CallLate {
            in_flight.answered_with(passage::GIVEN_UP);
        }
        self.passage.count_refusal(fault);
        self.client.break_off();
        passage::broken_by(fault)
    }

    /// Answers a request that failed at a target before anything was answered.
    async fn answer_failed(&mut self, mut in_flight: InFlight, fault: Fault) {
        let Some((refusal, outcome)) = passage::explain(fault) else {
            return in_flight.end(Outcome::ClientGone);
        };
        self.passage.count_refusal(fault);
        // The target has no more to do with it: a drain that goes on must not cut the answer.
        self.passage.slot.does(crate::wire::slot::Doing::Request);
        in_flight.refused_with(passage::status_of(refusal, outcome));
        match self.refuse(refusal).await {
            Ok(bytes) => {
                in_flight.passed_on(bytes);
                in_flight.end(outcome);
            }
            Err(_) if outcome == Outcome::Cut => in_flight.end(outcome),
            Err(_) => in_flight.end(Outcome::ClientGone),
        }
    }

    /// Answers a request whose time, as its caller gave it, was over before a target was ready.
    async fn answer_late(&mut self) {
        // Who has left needs no answer.
        let _ = self.refuse(Refusal::ResponseLate).await;
        self.passage.count_unreached(Outcome::ClientGone, Some(passage::GIVEN_UP));
    }

    /// Answers a request that reached no target.
    async fn answer_unreached(&mut self, refusal: Refusal) {
        let outcome = match self.refuse(refusal).await {
            Ok(_) => Outcome::Answered,
            Err(_) => Outcome::ClientGone,
        };
        self.passage.count_unreached(outcome, Some(refusal.status()));
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<u64, Fault> {
        let about = self.passage.about();
        self.passage.slot.set_deadline(self.passage.worker.deadline(CLOSE_MS));
        let slot = self.passage.slot.clone();
        let page = match (&self.passage.found.maintenance, refusal) {
            (Some(own), Refusal::Maintenance(_)) => answer::maintenance_page(own),
            _ => answer::page(refusal, &about, self.request.accepts_html),
        };
        own_answer::say(self.client, &slot, self.request, page).await
    }

    /// What the slot was told, and whether the caller still waits.
    fn check(&self) -> Result<(), Fault> {
        match check(&self.passage.slot) {
            Err(Fault::Late)
                if self.awaits_caller.get()
                    || self.passage.worker.shared.clock.now_ms() >= self.call_until_ms =>
            {
                Err(Fault::CallLate)
            }
            Err(Fault::Late) if self.awaits_client() => Err(Fault::BodyLate),
            checked => checked,
        }
    }

    /// The deadline of an answer runs from when the request is sent, so that a long upload does
    /// not use it up.
    fn await_answer(&self) {
        let limits = &self.passage.found.limits;
        // A WebSocket's bytes wait for the answer.
        let is_sent = self.upload.is_finished() || self.request.web_socket;
        self.arm(match is_sent {
            true => self.passage.answer_within_ms(),
            false => limits.idle_body_ms,
        });
        self.awaits_caller.set(is_sent && self.passage.is_clients_time());
    }

    /// Bytes have moved: the time of silence begins anew.
    fn progress(&self) {
        self.arm(self.passage.found.limits.idle_body_ms);
    }

    fn arm(&self, wait_ms: u64) {
        self.awaits_caller.set(false);
        let at_ms = self.passage.worker.deadline(wait_ms);
        self.passage.slot.set_deadline(at_ms.min(self.call_until_ms));
    }
}

/// What a call is told that the gateway ends.
fn words(fault: Fault) -> &'static str {
    match fault {
        Fault::CallLate => "the call's deadline has passed",
        Fault::Drained | Fault::EndStream => "the instance is being replaced; call again",
        Fault::BodyTooLarge => "the request is larger than the app allows",
        _ => "the instance broke off its answer",
    }
}
