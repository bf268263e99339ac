//! A request at a target: counted in flight from its admission on, and counted once more at its
//! end. Dropping it in any way (a panic, a runtime that ends) still takes it out of flight, and
//! counts it as cut unless something else was said.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::slot::{Doing, Slot, StreamEnd};
use crate::access_log::{Ending, Line};
use crate::counters::{Ended, Outcome};
use crate::limiter::{HeldInside, Permit};
use crate::worker::{LocalTarget, Released, Worker};

/// What goes with a request from its first attempt to its last.
#[derive(Debug)]
pub(crate) struct Note {
    worker: Rc<Worker>,
    /// Its place among those let in, where the route has a concurrency limit.
    permit: RefCell<Option<Permit>>,
    /// What the access log says of it at its end.
    line: Option<Line>,
}

impl Note {
    pub(crate) fn new(worker: Rc<Worker>, permit: Option<Permit>, line: Option<Line>) -> Self {
        Self { worker, permit: RefCell::new(permit), line }
    }

    pub(crate) fn holds(&self, permit: Permit) {
        *self.permit.borrow_mut() = Some(permit);
    }

    /// Logs it, where it is to be logged.
    pub(crate) fn ended(&self, ending: Ending) {
        if let Some(line) = &self.line {
            self.worker.log(line, ending);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct InFlight {
    local: Rc<LocalTarget>,
    slot: Rc<Slot>,
    begun: Instant,
    note: Option<Rc<Note>>,
    /// Its turn among those that were held, until its answer begins.
    released: Option<Released>,
    /// That it was held, until it is counted or becomes a stream.
    was_held: Option<HeldInside>,
    kind: Kind,
    state: State,
    /// The status of the answer, once it is known.
    status: Option<u16>,
    response_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not ended: how it counts should it be dropped.
    Open,
    /// Counted, or not to be.
    Settled,
}

impl InFlight {
    /// For a request that `Worker::admit` has counted in flight at `local`.
    pub(crate) fn new(
        local: Rc<LocalTarget>,
        slot: Rc<Slot>,
        begun: Instant,
        note: Option<Rc<Note>>,
    ) -> Self {
        slot.does(Doing::At(local.clone()));
        Self {
            local,
            slot,
            begun,
            note,
            released: None,
            was_held: None,
            kind: Kind::Request,
            state: State::Open,
            status: None,
            response_bytes: 0,
        }
    }

    /// It was held before; just now, when it has a turn.
    pub(crate) fn was_held(mut self, inside: HeldInside, released: Option<Released>) -> Self {
        self.was_held = Some(inside);
        self.released = released;
        self
    }

    pub(crate) fn local(&self) -> &Rc<LocalTarget> {
        &self.local
    }

    /// The target has accepted the request after it waited in the gateway.
    pub(crate) fn accepted_after_waiting(&self) {
        self.local.cells().stalled(self.begun.elapsed());
    }

    /// The head of the target's answer is there.
    pub(crate) fn answered_with(&mut self, status: u16) {
        self.status = Some(status);
        self.released = None;
        self.local.target.answered();
        self.say_to_limit(false);
    }

    /// The gateway answers in the target's place.
    pub(crate) fn refused_with(&mut self, status: u16) {
        self.status = Some(status);
        // What a client did wrong says nothing about the target.
        if status >= 500 {
            self.say_to_limit(true);
        }
    }

    fn say_to_limit(&self, dropped: bool) {
        let Some(note) = &self.note else { return };
        if let Some(permit) = note.permit.borrow_mut().as_mut() {
            permit.answered(dropped);
        }
    }

    pub(crate) fn passed_on(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// From now on it is a stream: it ends when its turn comes rather than when requests end.
    pub(crate) fn becomes_stream(&mut self) {
        self.kind = Kind::Stream;
        (self.was_held, self.released) = (None, None);
        // It is no longer one of the requests that a limit concerns.
        if let Some(note) = &self.note {
            note.permit.take();
        }
        self.local.cells().stream_begins();
        self.local.cells().request_leaves();
        self.slot.does(Doing::Stream(self.local.clone(), StreamEnd::Open));
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.kind == Kind::Stream
    }

    /// It goes on elsewhere: not an end.
    pub(crate) fn retried(mut self) {
        self.state = State::Settled;
        self.local.cells().retried();
    }

    /// It leaves this target without having been tried there.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.state = State::Settled;
        if let Some(note) = &self.note {
            let target = &self.local.target;
            note.ended(Ending {
                target: Some((target.instance, target.release)),
                outcome,
                status: self.status,
                bytes: self.response_bytes,
                took: self.begun.elapsed(),
            });
        }
        self.local.cells().ended(Ended {
            outcome,
            status: self.status,
            response_bytes: self.response_bytes,
            elapsed: (self.kind == Kind::Request).then(|| self.begun.elapsed()),
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.settle(Outcome::Cut);
        }
        match self.kind {
            Kind::Request => self.local.cells().request_leaves(),
            Kind::Stream => self.local.cells().stream_leaves(),
        }
        self.slot.does(Doing::Request);
    }
}
