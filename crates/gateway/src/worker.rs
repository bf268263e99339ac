//! A worker thread: one current-thread runtime that accepts from the shared listening sockets and
//! serves what it accepts until the end. Nothing a request needs is shared with other workers but
//! read-only tables and cells that one worker writes.
//!
//! **How removal is acknowledged (I2).** Admission is [`Worker::admit`]: it looks up the route in
//! this worker's current table, chooses a target and counts the request in flight there, all in
//! one synchronous step of this thread. A new table is installed by a message handled on the same
//! thread. So once a worker has answered the message, every request it ever admits is admitted
//! under the new table, and every request it admitted before stands in the target's `in_flight`,
//! visible to whoever received the answer. `control` acknowledges a generation when all workers
//! have answered: from then on a target that left the table can only lose requests. A retry and a
//! request that was held are admitted again by the same step.

mod admission;
mod doors;
mod judging;
mod local_target;
mod log;
mod message;
mod release;
mod shared;
mod slots;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub(crate) use self::admission::Admission;
pub(crate) use self::local_target::LocalTarget;
pub(crate) use self::message::{Changes, Entry, Message};
pub(crate) use self::release::Released;
pub(crate) use self::shared::{Shared, Tls};
pub(crate) use self::slots::SlotGuard;
use crate::callers::Callers;
use crate::counters::{Cells, Ended};
pub(crate) use crate::route_local::Found;
use crate::route_local::{RouteLocal, RouteState};
use crate::table::{RouteSlot, Table};
use crate::wire::buffer::Buffers;
use crate::wire::slot::Slot;
use crate::wire::upstream::IdleCount;

/// How often deadlines are looked at: what is late is noticed at most two ticks after.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// [`TICK`] in milliseconds.
const TICK_MS: u64 = 50;
/// How many ticks pass between two looks at idle connections to targets.
const SWEEP_TICKS: u64 = 20;

/// A worker's state; lives on its thread alone.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: Buffers,
    /// The clock as of the last tick.
    now_ms: Cell<u64>,
    /// Whether the last tick came late, and told nothing.
    spared: Cell<bool>,
    table: RefCell<Arc<Table>>,
    locals: RefCell<Vec<Option<Rc<LocalTarget>>>>,
    /// By a route's number: made when a request first needs it, dropped with its table.
    routes: RefCell<Vec<Option<Rc<RouteLocal>>>>,
    /// By a route's number: what outlives tables.
    route_states: RefCell<Vec<Option<Rc<RouteState>>>>,
    slots: RefCell<Vec<Rc<Slot>>>,
    held: RefCell<VecDeque<Rc<Slot>>>,
    releasing: release::Releasing,
    /// Whose the connections to routes' own ports are.
    callers: Rc<Callers>,
    random: Cell<u64>,
    /// Lines of the access log that were not handed over yet.
    log: RefCell<Vec<u8>>,
    /// Requests until the next one is logged.
    log_skips: Cell<u32>,
    /// Open connections, and how many of them came through discovery ports.
    connections: Cell<usize>,
    inside: Cell<usize>,
    /// When idle connections last gave way to new ones, by side.
    gave_way_ms: [Cell<u64>; 2],
    /// Connections to targets between requests.
    pub(crate) idle_upstreams: IdleCount,
    /// When the worker must end; `None` while it accepts.
    stop_at_ms: Cell<Option<u64>>,
    /// Since when another gateway accepts.
    retiring_since_ms: Cell<Option<u64>>,
    accepting: RefCell<Vec<(Option<SocketAddr>, tokio::task::JoinHandle<()>)>>,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, seed: u64) -> Rc<Self> {
        let now_ms = shared.clock.now_ms();
        Rc::new(Self {
            index,
            shared,
            buffers: Buffers::default(),
            now_ms: Cell::new(now_ms),
            spared: Cell::new(false),
            table: RefCell::default(),
            locals: RefCell::default(),
            routes: RefCell::default(),
            route_states: RefCell::default(),
            slots: RefCell::default(),
            held: RefCell::default(),
            releasing: release::Releasing::default(),
            callers: Rc::default(),
            random: Cell::new(seed | 1),
            log: RefCell::default(),
            log_skips: Cell::new(0),
            connections: Cell::new(0),
            inside: Cell::new(0),
            gave_way_ms: Default::default(),
            idle_upstreams: IdleCount::default(),
            stop_at_ms: Cell::new(None),
            retiring_since_ms: Cell::new(None),
            accepting: RefCell::default(),
        })
    }

    /// Serves until told to stop.
    pub(crate) async fn run(self: Rc<Self>, mut mailbox: mpsc::UnboundedReceiver<Message>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count: u64 = 0;
        loop {
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                _ = ticks.tick() => {
                    count += 1;
                    self.tick();
                    self.callers.look_further(self.now_ms());
                    if count.is_multiple_of(SWEEP_TICKS) {
                        self.sweep();
                        self.callers.tell(self.now_ms(), &self.shared.calls);
                        self.callers.look_in_tables();
                        self.hand_over_log();
                    }
                    if self.has_ended() {
                        self.hand_over_log();
                        return;
                    }
                }
            }
        }
    }

    /// On how many threads a route's requests are spread.
    pub(crate) fn count(&self) -> usize {
        self.shared.loads.len()
    }

    /// Counts a request that ended without reaching a target.
    pub(crate) fn count_unreached(&self, slot: RouteSlot, ended: Ended) {
        if let Some(entry) = self.table.borrow().entry(slot) {
            entry.cells[self.index].ended(ended);
        }
    }

    /// The cells of a route on this thread, for what is counted of it beside the ends of requests.
    pub(crate) fn with_route_cells(&self, slot: RouteSlot, count: impl FnOnce(&Cells)) {
        if let Some(entry) = self.table.borrow().entry(slot) {
            count(&entry.cells[self.index]);
        }
    }

    /// Names app and environment of a route for an error page.
    pub(crate) fn name(&self, slot: RouteSlot) -> Option<ark_model::route::RouteKey> {
        self.table.borrow().route(slot).map(|route| route.key.clone())
    }

    /// The clock as of the last tick: may lag by one.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// A deadline that is not reached before `wait_ms` from now.
    pub(crate) fn deadline(&self, wait_ms: u64) -> u64 {
        self.now_ms.get().saturating_add(wait_ms).saturating_add(TICK_MS)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_at_ms.get().is_some()
    }

    /// Whether no further request is taken on connections that are open.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopping() && self.retiring_since_ms.get().is_none()
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Install { table, changes, done } => {
                self.install(table, &changes);
                let _ = done.send(());
            }
            Message::Listen { listener, entry, only } => self.listen(listener, entry, only),
            Message::Unlisten { address } => self.accepting.borrow_mut().retain(|(own, task)| {
                let it = *own == Some(address);
                if it {
                    task.abort();
                }
                !it
            }),
            Message::Serve { stream, peer, entry } => {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    self.serve(stream, peer, entry);
                }
            }
            Message::Nudge => self.nudge(),
            Message::Retire { until_ms } => self.retire(until_ms),
            Message::Stop { until_ms } => self.stop(until_ms),
        }
    }

    fn install(&self, table: Arc<Table>, changes: &Changes) {
        self.routes.borrow_mut().clear();
        for (at, state) in self.route_states.borrow_mut().iter_mut().enumerate() {
            if table.by_slot.get(at).is_none_or(Option::is_none) {
                *state = None;
            }
        }
        *self.table.borrow_mut() = table;
        let mut locals = self.locals.borrow_mut();
        for slot in &changes.retired {
            if let Some(Some(local)) = locals.get(*slot) {
                local.idle.borrow_mut().clear();
                local.h2.clear();
            }
        }
        for slot in &changes.forgotten {
            if let Some(local) = locals.get_mut(*slot) {
                *local = None;
            }
        }
        drop(locals);
        self.nudge();
    }

    fn nudge(&self) {
        self.held.borrow().iter().for_each(|slot| slot.wake());
    }

    /// Xorshift: quick, and good enough to spread load.
    pub(crate) fn draw(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state
    }
}

/// The place of a number in a list that grows as needed.
fn entry<T>(list: &mut Vec<Option<T>>, at: usize) -> &mut Option<T> {
    if list.len() <= at {
        list.resize_with(at + 1, || None);
    }
    &mut list[at]
}
