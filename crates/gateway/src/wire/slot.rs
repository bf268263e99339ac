//! A connection as the worker's clock sees it: until when it may wait, and what it is told when
//! that has passed. Once a tick the worker looks at all slots; a request itself arms no timer, it
//! only stores a number here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::clock::NEVER;
use crate::worker::LocalTarget;

/// For how long a connection that has asked for nothing yet does not give way to others: it may be in
/// its handshake, or its first request on the way. In milliseconds.
const FIRST_MS: u64 = 5_000;
/// For how long one does not after a request: the next one may be on the way. In milliseconds.
const BETWEEN_MS: u64 = 1_000;

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
    /// Since when nothing is asked on it, on the gateway's clock.
    pub(crate) idle_since_ms: Cell<u64>,
    /// Whether anything was asked on it.
    has_asked: Cell<bool>,
    /// Whether its end was said, and is awaited.
    is_leaving: Cell<bool>,
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
    /// A stream from a target, and how far its end has come.
    Stream(Rc<LocalTarget>, StreamEnd),
}

/// How far the end of a stream has come, in milliseconds of the gateway's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// It is not decided.
    Open,
    /// Then it is its turn.
    Turn(u64),
    /// Then it was told ([`Verdict::EndStream`]).
    Told(u64),
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            deadline_ms: Cell::new(NEVER),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
            doing: RefCell::new(Doing::Idle),
            idle_since_ms: Cell::new(0),
            has_asked: Cell::new(false),
            is_leaving: Cell::new(false),
            index: Cell::new(0),
            turn: Cell::new(Turn::None),
            side: Cell::new(None),
        }
    }

    /// Whether it is a connection of this side that may give way to another: nothing is asked on it, and
    /// not only since a moment ago.
    pub(crate) fn is_idle(&self, side: DoorSide, now_ms: u64) -> bool {
        let spared_ms = if self.has_asked.get() { BETWEEN_MS } else { FIRST_MS };
        self.side.get() == Some(side)
            && self.deadline_ms.get() != NEVER
            && !self.is_leaving.get()
            && matches!(*self.doing.borrow(), Doing::Idle | Doing::Connection)
            && now_ms >= self.idle_since_ms.get().saturating_add(spared_ms)
    }

    /// What was asked is done.
    pub(crate) fn idles_again(&self, now_ms: u64) {
        self.idle_since_ms.set(now_ms);
        self.has_asked.set(true);
    }

    /// Its end is said: it needs not give way any more. Whether that was so before.
    pub(crate) fn begin_leaving(&self) -> bool {
        self.is_leaving.replace(true)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
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
