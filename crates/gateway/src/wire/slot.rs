//! A connection as the worker's clock sees it: until when it may wait, and what it is told when
//! that has passed. Once a tick the worker looks at all slots; a request itself arms no timer, it
//! only stores a number here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::clock::NEVER;
use crate::worker::LocalTarget;

/// What a waiting connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its deadline has passed.
    Late,
    /// Its target drains, and the time for requests is over.
    CutRequest,
    /// Its target drains, and it is this stream's turn to end in order.
    EndStream,
    /// Its target drains, and the time for streams is over.
    CutStream,
    /// The gateway ends: nothing new is begun on this connection.
    Leave,
}

/// One connection's slot.
#[derive(Debug)]
pub(crate) struct Slot {
    /// When `Late` is due, on the gateway's clock.
    deadline_ms: Cell<u64>,
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
    doing: RefCell<Doing>,
    /// Where it stands in the worker's list.
    pub(crate) index: Cell<usize>,
    /// Where its held request stands.
    pub(crate) turn: Cell<Turn>,
    /// Through which kind of door it came; `None` of a request that shares a connection.
    pub(crate) side: Cell<Option<DoorSide>>,
}

/// For whom a listening socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoorSide {
    /// For clients of this host.
    Outside,
    /// For apps that call one another: a discovery port.
    Inside,
}

/// Where a held request stands among those that may go on; see `worker::release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nowhere: it did not ask, or it went on.
    None,
    /// It found no room and stands in the queue.
    Awaits,
    /// There is room for it; it was woken.
    Called,
}

/// What the connection does now.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// Between requests.
    Idle,
    /// A connection whose requests have slots of their own.
    Connection,
    /// A request that is not at a target (yet).
    Request,
    /// A request at a target.
    At(Rc<LocalTarget>),
    /// A stream from a target; when its turn to end comes, once that is decided.
    Stream(Rc<LocalTarget>, Option<u64>),
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            deadline_ms: Cell::new(NEVER),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
            doing: RefCell::new(Doing::Idle),
            index: Cell::new(0),
            turn: Cell::new(Turn::None),
            side: Cell::new(None),
        }
    }

    /// Whether it is a connection of this side on which nothing is asked now.
    pub(crate) fn is_idle(&self, side: DoorSide) -> bool {
        self.side.get() == Some(side)
            && self.deadline_ms.get() != NEVER
            && matches!(*self.doing.borrow(), Doing::Idle | Doing::Connection)
    }

    /// Remembers whom to wake. All waits of a connection are of one task, so once is enough.
    pub(crate) fn attach(&self, cx: &Context<'_>) {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// A verdict on the deadline before is void.
    pub(crate) fn set_deadline(&self, at_ms: u64) {
        self.deadline_ms.set(at_ms);
        if self.verdict.get() == Some(Verdict::Late) {
            self.verdict.set(None);
        }
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        self.deadline_ms.get()
    }

    pub(crate) fn tell(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
        self.wake();
    }

    /// Keeps a verdict for later: whoever is about to wait cannot act on it now.
    pub(crate) fn remember(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
    }

    /// What it was told, once.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// A verdict on what was done before is void.
    pub(crate) fn does(&self, doing: Doing) {
        *self.doing.borrow_mut() = doing;
        match self.verdict.get() {
            Some(Verdict::CutRequest | Verdict::EndStream | Verdict::CutStream) => {
                self.verdict.set(None);
            }
            Some(Verdict::Late | Verdict::Leave) | None => {}
        }
    }

    pub(crate) fn doing(&self) -> std::cell::RefMut<'_, Doing> {
        self.doing.borrow_mut()
    }
}
