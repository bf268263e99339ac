//! A request's way from its route to a target, and how its end is judged: the same whatever
//! protocol carries it. Admission, the hold, which targets were tried, and what a fault means to
//! the client and to the counters stand here, and only here. Nothing here reads or writes a byte.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use ark_model::gateway::RefusalKind;

use super::answer::{About, Refusal};
use super::in_flight::{InFlight, Note};
use super::mirror;
use super::slot::{Doing, Slot};
use super::wires::{Fault, check};
use crate::access_log::{Ending, Line};
use crate::counters::{Cells, Ended, Outcome};
use crate::limiter::{Exceeded, HeldInside, Rank};
use crate::rules::{Fields, any_matches};
use crate::split::{self, Side};
use crate::worker::{Admission, Found, LocalTarget, Released, Worker};

/// How long connecting to a target may take, in milliseconds.
pub(super) const CONNECT_MS: u64 = 5_000;
/// How long a held request waits for its turn once a target is ready, in milliseconds.
const TURN_MS: u64 = 30_000;
/// As what a request counts whose client gave it less time than it took.
pub(crate) const GIVEN_UP: u16 = 499;
/// On how many targets a request is tried.
const ATTEMPTS_MAX: usize = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) worker: Rc<Worker>,
    pub(super) slot: Rc<Slot>,
    pub(super) found: Found,
    pub(super) begun: Instant,
    /// Which side of the route's split it goes to.
    side: Side,
    /// How long the client waits, as it said.
    timeout_ms: Option<u64>,
    /// A cookie that the answer sets.
    pub(super) set_cookie: Option<String>,
    /// What goes with it to its end, where there is anything.
    note: Option<Rc<Note>>,
    /// Slots of targets that could not be reached.
    tried: Vec<usize>,
    /// Whether it was repeated because a target broke off after it was sent.
    repeated: bool,
    /// Whether it had to wait for anything before a target accepted it.
    pub(super) waited: bool,
    /// Whether it waited until a target was ready.
    was_held: bool,
}

/// What a route's rules want to know of a request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// Without the query.
    pub(super) path: &'a str,
    pub(super) client: IpAddr,
    /// How long the client waits, where it says so ([`super::head::TIMEOUT_FIELD`]).
    pub(super) timeout_ms: Option<u64>,
    pub(super) fields: &'a dyn Fields,
}

/// Why a request reached no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreached {
    /// The gateway answers for the app.
    Refused(Refusal),
    /// The client left while its request was held.
    ClientGone,
    /// The time that the client gave was over while its request was held.
    CallLate,
}

impl Passage {
    pub(super) fn new(worker: Rc<Worker>, slot: Rc<Slot>, found: Found, begun: Instant) -> Self {
        Self {
            worker,
            slot,
            found,
            begun,
            side: Side::Stable,
            timeout_ms: None,
            set_cookie: None,
            note: None,
            tried: Vec::new(),
            repeated: false,
            waited: false,
            was_held: false,
        }
    }

    /// The way of a connection whose bytes say nothing to the gateway: no rule can be asked of it, and it
    /// goes to either side by the share alone.
    pub(super) fn of_bytes(
        worker: Rc<Worker>,
        slot: Rc<Slot>,
        found: Found,
        begun: Instant,
    ) -> Self {
        let side = found.deal_side(&mut || worker.draw());
        found.state.retries.request(worker.now_ms());
        Self { side, ..Self::new(worker, slot, found, begun) }
    }

    /// The route's rules for a new request: whether it is let in, and to which side it goes. Called
    /// once, before it is admitted.
    pub(super) fn enter(&mut self, asked: &Asked<'_>) -> Result<(), Refusal> {
        self.timeout_ms = asked.timeout_ms;
        let line = self.worker.is_logged().then(|| {
            Line::new(self.found.clone(), asked.client, asked.method, asked.host, asked.path)
        });
        if line.is_some() {
            self.note = Some(Rc::new(Note::new(self.worker.clone(), None, line)));
        }
        let Self { worker, found, .. } = self;
        if let Some(page) = &found.maintenance {
            return Err(Refusal::Maintenance(page.status));
        }
        let is_health = found.health_paths.iter().any(|path| path == asked.path);
        let is_first = || is_health || any_matches(&found.limits.operators, asked.fields);
        let rank = if is_first() { Rank::First } else { Rank::Usual };
        match found.shared.enter(&found.limits, asked.client, rank) {
            Ok(None) => {}
            Ok(Some(permit)) => match &self.note {
                Some(note) => note.holds(permit),
                None => {
                    let note = Note::new(worker.clone(), Some(permit), None);
                    self.note = Some(Rc::new(note));
                }
            },
            Err(Exceeded::Rate) => {
                worker.with_route_cells(found.slot, Cells::rate_limited);
                return Err(Refusal::RateLimited);
            }
            Err(Exceeded::Concurrency) => {
                worker.with_route_cells(found.slot, Cells::shed);
                return Err(Refusal::Overloaded);
            }
        }
        found.state.retries.request(worker.now_ms());
        if let Some(split) = &found.split {
            let dealer = &found.state.split;
            let random = &mut || worker.draw();
            let decision = split::decide(split, &found.path, asked.fields, dealer, random);
            self.side = decision.side;
            self.set_cookie = decision.set_cookie;
        }
        Ok(())
    }

    /// A target, with the request counted in flight there. Waits for one where the route says so;
    /// `watch` is asked meanwhile whether the client is still there.
    pub(super) async fn admit(
        &mut self,
        watch: impl FnMut(&mut Context<'_>) -> Result<(), Fault>,
    ) -> Result<InFlight, Unreached> {
        let (local, held) = match self.worker.admit(self.found.slot, self.side, &self.tried) {
            // Held once, it stays one of those that were.
            Admission::To(local) => {
                (local, self.was_held.then(|| (self.found.shared.goes_inside(), None)))
            }
            Admission::NoTargets if !self.found.limits.hold_empty => {
                return Err(Unreached::Refused(Refusal::Stopped));
            }
            Admission::NoRoute => return Err(Unreached::Refused(Refusal::NoRoute)),
            Admission::NoneReady | Admission::NoTargets if self.found.limits.hold_ms == 0 => {
                return Err(Unreached::Refused(match self.tried.is_empty() {
                    true => Refusal::NoneReady,
                    false => Refusal::Unreachable,
                }));
            }
            Admission::NoneReady | Admission::NoTargets => {
                let (local, inside, released) = self.wait_for_target(watch).await?;
                (local, Some((inside, Some(released))))
            }
        };
        let in_flight = InFlight::new(local, self.slot.clone(), self.begun, self.note.clone());
        Ok(match held {
            Some((inside, released)) => in_flight.was_held(inside, released),
            None => in_flight,
        })
    }

    async fn wait_for_target(
        &mut self,
        watch: impl FnMut(&mut Context<'_>) -> Result<(), Fault>,
    ) -> Result<(Rc<LocalTarget>, HeldInside, Released), Unreached> {
        let state = self.found.state.clone();
        if !self.worker.hold(&self.slot, &state) {
            return Err(Unreached::Refused(Refusal::NoneReady));
        }
        (self.waited, self.was_held) = (true, true);
        self.tried.clear();
        // Counted until this is dropped, be it in the middle.
        let counted = self.found.shared.hold();
        let admitted = self.hold(watch).await;
        let admitted =
            admitted.map(|(local, released)| (local, self.found.shared.goes_inside(), released));
        drop(counted);
        self.worker.unhold(&self.slot, &state);
        admitted
    }

    /// Waits until a target is ready and it is this request's turn, the hold is over or the client
    /// has left.
    async fn hold(
        &mut self,
        mut watch: impl FnMut(&mut Context<'_>) -> Result<(), Fault>,
    ) -> Result<(Rc<LocalTarget>, Released), Unreached> {
        let held = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let allowed = self.found.limits.hold_ms.saturating_sub(held);
        let left = self.time_left_ms().map_or(allowed, |asked| asked.min(allowed));
        self.slot.does(Doing::Request);
        let until_ms = self.worker.deadline(left);
        self.slot.set_deadline(until_ms);
        let refused = |refusal| Poll::Ready(Err(Unreached::Refused(refusal)));
        let held = poll_fn(|cx| {
            match check(&self.slot) {
                Ok(()) => {}
                Err(Fault::Late) if left < allowed => return Poll::Ready(Err(Unreached::CallLate)),
                Err(_) => return refused(Refusal::NoneReady),
            }
            // A target that refused a moment ago and is usable only in panic would refuse again: a
            // held request waits for one that is ready.
            match self.worker.would_admit_ready(self.found.slot, self.side) {
                Admission::To(_) if self.worker.may_go_on(&self.slot) => {
                    if let Admission::To(local) =
                        self.worker.admit_ready(self.found.slot, self.side)
                    {
                        return Poll::Ready(Ok((local, self.worker.goes_on())));
                    }
                }
                // It waits for its turn alone: the hold does not end it.
                Admission::To(_) => {
                    self.slot.set_deadline(until_ms.max(self.worker.deadline(TURN_MS)));
                }
                Admission::NoTargets if !self.found.limits.hold_empty => {
                    return refused(Refusal::Stopped);
                }
                Admission::NoRoute => return refused(Refusal::NoRoute),
                Admission::NoneReady | Admission::NoTargets => {
                    self.worker.stays_held(&self.slot);
                    self.slot.set_deadline(until_ms);
                }
            }
            match watch(cx) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(Err(Unreached::ClientGone)),
            }
        })
        .await;
        // Of whatever became of it: a turn that was not taken is another's.
        self.worker.stays_held(&self.slot);
        held
    }

    /// Notes that `local` cannot be reached: nothing was sent, so any request may be tried
    /// elsewhere. Whether there is another attempt.
    pub(super) fn unreachable(&mut self, local: &LocalTarget) -> bool {
        self.worker.target_failed(self.found.slot, local);
        self.tried.push(local.target.slot);
        self.tried.len() < ATTEMPTS_MAX && self.budget_allows(local)
    }

    /// Notes how an attempt failed after the request was sent. Whether it may be tried once more, on
    /// another target: only when `repeatable` (the method is idempotent, all of its body is at hand,
    /// nothing was sent back), the target broke off, and there is another one.
    pub(super) fn failed(&mut self, local: &LocalTarget, fault: Fault, repeatable: bool) -> bool {
        match fault {
            Fault::TargetGone | Fault::Late => self.worker.target_failed(self.found.slot, local),
            Fault::Unreachable
            | Fault::BadResponse
            | Fault::ClientGone
            | Fault::BadBody(_)
            | Fault::BodyTooLarge
            | Fault::BodyLate
            | Fault::Drained
            | Fault::EndStream
            | Fault::NotTaken
            | Fault::CallLate => {}
        }
        if fault != Fault::TargetGone || !repeatable || self.repeated {
            return false;
        }
        self.repeated = true;
        self.tried.push(local.target.slot);
        let goes_on = self.worker.has_another(self.found.slot, self.side, &self.tried)
            && self.budget_allows(local);
        if goes_on {
            local.cells().broken_off();
        }
        goes_on
    }

    /// Copies the request to the canary where the route says so.
    pub(super) fn mirror(&self, method: &[u8], request: impl FnOnce() -> mirror::Copy) {
        if self.side == Side::Stable {
            mirror::copy(&self.worker, &self.found, method, request);
        }
    }

    /// By when there must be an answer because the client said so: how much of it is left, in
    /// milliseconds.
    pub(super) fn time_left_ms(&self) -> Option<u64> {
        let passed = crate::clock::millis(self.begun.elapsed());
        self.timeout_ms.map(|timeout_ms| timeout_ms.saturating_sub(passed))
    }

    /// How long the answer is waited for once the request is sent, in milliseconds.
    pub(super) fn answer_within_ms(&self) -> u64 {
        let allowed = self.found.limits.response_header_ms;
        self.time_left_ms().map_or(allowed, |left| left.min(allowed))
    }

    /// Whether [`Self::answer_within_ms`] is the client's own time rather than the route's. Whether it
    /// is kept says nothing of the target: anyone may ask for an answer within a millisecond.
    pub(super) fn is_clients_time(&self) -> bool {
        self.time_left_ms().is_some_and(|left| left < self.found.limits.response_header_ms)
    }

    /// As what a status of the target counts. One that gives up at the end of the time it was told
    /// says no more of itself than one that is not waited for.
    pub(super) fn counted_as(&self, status: u16) -> u16 {
        let is_over = status == 504 && self.time_left_ms().is_some_and(|left| left <= 1);
        if is_over { GIVEN_UP } else { status }
    }

    fn budget_allows(&self, local: &LocalTarget) -> bool {
        let (limits, worker) = (self.found.limits.retries, &self.worker);
        let allowed = self.found.state.retries.retry(limits, worker.count(), worker.now_ms());
        if !allowed {
            local.cells().retry_refused();
        }
        allowed
    }

    /// A target has accepted the request.
    pub(super) fn accepted(&self, in_flight: &InFlight) {
        if self.waited {
            in_flight.accepted_after_waiting();
        }
    }

    /// Counts a request that reached no target.
    pub(super) fn count_unreached(&self, outcome: Outcome, status: Option<u16>) {
        if let Some(note) = &self.note {
            let took = self.begun.elapsed();
            note.ended(Ending { target: None, outcome, status, bytes: 0, took });
        }
        let elapsed = Some(self.begun.elapsed());
        let ended = Ended { outcome, status, response_bytes: 0, elapsed };
        self.worker.count_unreached(self.found.slot, ended);
    }

    /// Counts what is wrong with a request whose head was good.
    pub(super) fn count_refusal(&self, fault: Fault) {
        let kind = match fault {
            Fault::BodyLate => RefusalKind::SlowBody,
            Fault::BadBody(_) => RefusalKind::Smuggling,
            _ => return,
        };
        self.worker.shared.refusals.count(kind);
    }

    /// Whom an answer of the gateway is about.
    pub(super) fn about(&self) -> About {
        self.worker.name(self.found.slot).map_or(About::Request, About::App)
    }
}

/// What the gateway answers, and how it counts, when a request failed at a target before anything
/// was answered. `None`: the client has left, and nobody is to be answered.
pub(super) fn explain(fault: Fault) -> Option<(Refusal, Outcome)> {
    Some(match fault {
        Fault::ClientGone => return None,
        Fault::Unreachable => (Refusal::Unreachable, Outcome::Answered),
        Fault::TargetGone | Fault::NotTaken => (Refusal::ClosedEarly, Outcome::Answered),
        Fault::BadResponse => (Refusal::BadResponse, Outcome::Answered),
        Fault::BadBody(what) => (Refusal::Smuggling(what), Outcome::Answered),
        Fault::BodyTooLarge => (Refusal::BodyTooLarge, Outcome::Answered),
        Fault::BodyLate => (Refusal::RequestLate, Outcome::Answered),
        Fault::Late => (Refusal::ResponseLate, Outcome::Answered),
        Fault::CallLate => (Refusal::ResponseLate, Outcome::ClientGone),
        Fault::Drained | Fault::EndStream => (Refusal::Drained, Outcome::Cut),
    })
}

/// As which status a request counts that was refused like that.
pub(super) fn status_of(refusal: Refusal, outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Answered | Outcome::Cut => refusal.status(),
        Outcome::ClientGone => GIVEN_UP,
    }
}

/// How a request counts whose answer broke off after it had begun.
pub(super) fn broken_by(fault: Fault) -> Outcome {
    match fault {
        Fault::ClientGone
        | Fault::BadBody(_)
        | Fault::BodyTooLarge
        | Fault::BodyLate
        | Fault::CallLate => Outcome::ClientGone,
        Fault::Unreachable
        | Fault::TargetGone
        | Fault::BadResponse
        | Fault::Late
        | Fault::Drained
        | Fault::EndStream
        | Fault::NotTaken => Outcome::Cut,
    }
}
