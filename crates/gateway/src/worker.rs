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

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::access_log::{Ending, Line, Sink};
use crate::balance;
use crate::clock::{Clock, NEVER};
use crate::counters::{Cells, Ended};
use crate::listen::Door;
use crate::pool::{Making, Pool};
use crate::refusals::Refusals;
pub(crate) use crate::route_local::Found;
use crate::route_local::{RouteLocal, RouteState};
use crate::split::Side;
use crate::table::{Active, RouteSlot, Table};
use crate::target::Target;
use crate::wire::buffer::Buffers;
use crate::wire::conn;
use crate::wire::h2::shared::Shares;
use crate::wire::slot::{Doing, Slot, Verdict};
use crate::wire::upstream::Idle;

/// How often deadlines are looked at: what is late is noticed at most two ticks after.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// [`TICK`] in milliseconds.
const TICK_MS: u64 = 50;
/// How many ticks pass between two looks at idle connections to targets.
const SWEEP_TICKS: u64 = 20;
/// How many requests one worker holds while no target is ready; more are refused.
const HELD_MAX: usize = 4096;
/// Descriptors kept for what is not a connection: discovery ports, probes, files.
const DESCRIPTORS_KEPT: usize = 2048;
/// After how long a connection without requests is closed while another gateway has taken over, in
/// milliseconds.
const RETIRING_IDLE_MS: u64 = 20_000;
/// The part of the drain period over which streams are ended; the rest is for those that must
/// come to an end of their own (a frame, an event) first.
const SPREAD_PERCENT: u64 = 90;

/// What all threads of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// Rung when the readiness of any target changes.
    pub(crate) readiness_changed: tokio::sync::Notify,
    /// Grows with each change of what targets may be used; pools are made from one state of it.
    health: AtomicU64,
    /// Held while a target is ejected, so that two threads do not eject one too many.
    ejecting: Mutex<()>,
    /// Connections open per worker.
    pub(crate) loads: Box<[Load]>,
    /// How many there may be; more wait in the backlog. Each may need a second descriptor, for
    /// its target.
    pub(crate) connections_max: usize,
    /// Requests held over all workers.
    pub(crate) held: AtomicUsize,
    /// Requests refused before any route was looked for.
    pub(crate) refusals: Refusals,
    /// Where TLS is spoken.
    pub(crate) tls: std::sync::OnceLock<Tls>,
    /// Where requests are logged, if at all.
    pub(crate) access_log: std::sync::OnceLock<Sink>,
    /// Filled in before the first worker starts.
    pub(crate) mailboxes: std::sync::OnceLock<Vec<mpsc::UnboundedSender<Message>>>,
}

/// What workers need to speak TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) certificates: Arc<crate::tls::Certificates>,
}

/// A worker's open connections.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load(AtomicUsize);

impl Shared {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            clock: Clock::start(),
            readiness_changed: tokio::sync::Notify::new(),
            health: AtomicU64::new(1),
            ejecting: Mutex::new(()),
            loads: (0..workers).map(|_| Load::default()).collect(),
            connections_max: connections_max(),
            held: AtomicUsize::new(0),
            refusals: Refusals::default(),
            access_log: std::sync::OnceLock::new(),
            tls: std::sync::OnceLock::new(),
            mailboxes: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn send(&self, worker: usize, message: Message) {
        if let Some(mailbox) = self.mailboxes.get().and_then(|all| all.get(worker)) {
            // A worker that has ended serves nothing, so it need not be told anything.
            let _ = mailbox.send(message);
        }
    }

    /// The readiness of a target has changed: the server is told, and who waits for it.
    pub(crate) fn readiness_changed(&self) {
        self.health_changed();
        self.readiness_changed.notify_one();
        if self.held.load(Relaxed) > 0 {
            (0..self.loads.len()).for_each(|worker| self.send(worker, Message::Nudge));
        }
    }

    /// Pools of targets are made anew.
    fn health_changed(&self) {
        self.health.fetch_add(1, Release);
    }

    pub(crate) fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.0.load(Relaxed)).sum()
    }
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A new table. Answered when it is in force on this worker.
    Install { table: Arc<Table>, changes: Arc<Changes>, done: oneshot::Sender<()> },
    /// Accept from this socket.
    Listen { listener: std::net::TcpListener, entry: Entry },
    /// No longer accept from this route's own port.
    Unlisten { entry: Entry },
    /// Serve a connection that another worker accepted.
    Serve { stream: std::net::TcpStream, peer: SocketAddr, entry: Entry },
    /// A target may have become ready: requests that are held look again.
    Nudge,
    /// Stop accepting: another gateway does. What is open goes on; clients are told to come back on
    /// another connection as they are answered, streams are ended one by one, and what is left at
    /// `until_ms` is cut.
    Retire { until_ms: u64 },
    /// Stop accepting; end when all connections have, at the latest at `until_ms`.
    /// Connections between requests are closed, streams that can end in order do.
    Stop { until_ms: u64 },
}

/// What a new table means for connections kept to targets.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Slots of targets to which no connection may be kept.
    pub(crate) retired: Vec<usize>,
    /// Slots that are free: whatever is kept of their last target is dropped.
    pub(crate) forgotten: Vec<usize>,
}

/// Through which door a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An HTTP port: requests are routed by host and path.
    Http(Door),
    /// A route's own port.
    Port(RouteSlot),
}

/// A target as one worker knows it.
#[derive(Debug)]
pub(crate) struct LocalTarget {
    pub(crate) target: Arc<Target>,
    worker: usize,
    /// Connections kept for the next request, last used last.
    pub(crate) idle: RefCell<Vec<Idle>>,
    /// Connections that requests share, where it speaks HTTP/2.
    pub(crate) h2: Shares,
}

impl LocalTarget {
    pub(crate) fn new(target: Arc<Target>, worker: usize) -> Self {
        Self { target, worker, idle: RefCell::default(), h2: Shares::default() }
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.target.cells[self.worker]
    }
}

/// A worker's state; lives on its thread alone.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: Buffers,
    /// The clock as of the last tick.
    now_ms: Cell<u64>,
    table: RefCell<Arc<Table>>,
    locals: RefCell<Vec<Option<Rc<LocalTarget>>>>,
    /// By a route's number: made when a request first needs it, dropped with its table.
    routes: RefCell<Vec<Option<Rc<RouteLocal>>>>,
    /// By a route's number: what outlives tables.
    route_states: RefCell<Vec<Option<Rc<RouteState>>>>,
    slots: RefCell<Vec<Rc<Slot>>>,
    held: RefCell<VecDeque<Rc<Slot>>>,
    random: Cell<u64>,
    /// Lines of the access log that were not handed over yet.
    log: RefCell<Vec<u8>>,
    /// Requests until the next one is logged.
    log_skips: Cell<u32>,
    /// Open connections.
    connections: Cell<usize>,
    /// When the worker must end; `None` while it accepts.
    stop_at_ms: Cell<Option<u64>>,
    /// Since when another gateway accepts.
    retiring_since_ms: Cell<Option<u64>>,
    accepting: RefCell<Vec<(Entry, tokio::task::JoinHandle<()>)>>,
}

/// What [`Worker::admit`] says.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Counted in flight there.
    To(Rc<LocalTarget>),
    /// No target may be used now.
    NoneReady,
    /// The route has no targets.
    NoTargets,
    /// The route is gone.
    NoRoute,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, seed: u64) -> Rc<Self> {
        let now_ms = shared.clock.now_ms();
        Rc::new(Self {
            index,
            shared,
            buffers: Buffers::default(),
            now_ms: Cell::new(now_ms),
            table: RefCell::default(),
            locals: RefCell::default(),
            routes: RefCell::default(),
            route_states: RefCell::default(),
            slots: RefCell::default(),
            held: RefCell::default(),
            random: Cell::new(seed | 1),
            log: RefCell::default(),
            log_skips: Cell::new(0),
            connections: Cell::new(0),
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
                    if count.is_multiple_of(SWEEP_TICKS) {
                        self.sweep();
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

    /// The route of a request that came through the HTTP port.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Found> {
        let slot = self.table.borrow().find(host, path)?.slot;
        self.find_slot(slot)
    }

    /// The route of this number.
    pub(crate) fn find_slot(&self, slot: RouteSlot) -> Option<Found> {
        let at = slot.0 as usize;
        if let Some(Some(known)) = self.routes.borrow().get(at) {
            return Some(Found(known.clone()));
        }
        let table = self.table.borrow();
        let index = table.entry(slot)?.index?;
        let state = entry(&mut self.route_states.borrow_mut(), at).get_or_insert_default().clone();
        let local = Rc::new(RouteLocal::new(table.clone(), index, state));
        *entry(&mut self.routes.borrow_mut(), at) = Some(local.clone());
        Some(Found(local))
    }

    /// Chooses a target and counts the request in flight there. See the head of this module.
    pub(crate) fn admit(&self, slot: RouteSlot, side: Side, tried: &[usize]) -> Admission {
        self.admit_by(slot, |pool, random| pool.choose(side, tried, random))
    }

    /// As [`Worker::admit`], to a target that is ready now: for requests that were held.
    pub(crate) fn admit_ready(&self, slot: RouteSlot, side: Side) -> Admission {
        self.admit_by(slot, |pool, random| pool.choose_ready(side, random))
    }

    fn admit_by(
        &self,
        slot: RouteSlot,
        choose: impl for<'p> FnOnce(&'p Pool, &mut dyn FnMut() -> u64) -> Option<&'p Rc<LocalTarget>>,
    ) -> Admission {
        // The route of the table in force now, which need not be the one the request was routed by.
        let Some(route) = self.find_slot(slot) else { return Admission::NoRoute };
        self.refresh(&route);
        let pool = route.pool.borrow();
        match choose(&pool, &mut || self.draw()) {
            Some(local) => {
                local.cells().request_begins();
                Admission::To(local.clone())
            }
            None if route.has_targets => Admission::NoneReady,
            None => Admission::NoTargets,
        }
    }

    /// Whether a request that was tried on `tried` could be tried on another ready target.
    pub(crate) fn has_another(&self, slot: RouteSlot, side: Side, tried: &[usize]) -> bool {
        let Some(route) = self.find_slot(slot) else { return false };
        self.refresh(&route);
        let pool = route.pool.borrow();
        pool.choose(side, tried, &mut || self.draw()).is_some()
    }

    /// A ready target of this side alone, for what is no request of a client.
    pub(crate) fn ready_of(&self, slot: RouteSlot, side: Side) -> Option<Rc<LocalTarget>> {
        let route = self.find_slot(slot)?;
        self.refresh(&route);
        let pool = route.pool.borrow();
        pool.choose_own(side, &mut || self.draw()).cloned()
    }

    /// Makes the route's pool anew where something has changed.
    fn refresh(&self, route: &RouteLocal) {
        let health = self.shared.health.load(Acquire);
        let now_ms = self.now_ms();
        if route.pool_of.get() == health && now_ms < route.pool.borrow().until_ms {
            return;
        }
        let making = Making {
            split: route.split.as_ref().map(|split| (split.canary, split.percent)),
            slow_start_ms: route.limits.slow_start_ms,
            now_ms,
        };
        let local = |active: &Active| self.local(&active.target);
        *route.pool.borrow_mut() = Pool::make(&route.active, making, local);
        route.pool_of.set(health);
    }

    /// A target could not be reached, broke off or did not answer in time. After several in a row it
    /// is left out for a while, unless too many are.
    pub(crate) fn target_failed(&self, slot: RouteSlot, local: &LocalTarget) {
        if !local.target.failed_to_answer() {
            return;
        }
        let Some(route) = self.find_slot(slot) else { return };
        let _ejecting = self.shared.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.now_ms();
        let is_ejected = |active: &&Active| active.target.ejected_until_ms() > now_ms;
        let ejected = route.active.iter().filter(is_ejected).count();
        if local.target.ejected_until_ms() > now_ms
            || !balance::may_eject(ejected, route.active.len())
        {
            return;
        }
        local.target.eject(now_ms);
        local.cells().ejected();
        self.shared.health_changed();
        tracing::info!(
            app = %route.key.app, env = %route.key.env, instance = %local.target.instance,
            for_ms = local.target.ejected_until_ms() - now_ms, "target ejected"
        );
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

    /// Whether the request that has come is one to be logged.
    pub(crate) fn is_logged(&self) -> bool {
        let Some(sink) = self.shared.access_log.get() else { return false };
        let skips = self.log_skips.get();
        self.log_skips.set(skips.checked_sub(1).unwrap_or(sink.one_in - 1));
        skips == 0
    }

    pub(crate) fn log(&self, line: &Line, ending: Ending) {
        let Some(sink) = self.shared.access_log.get() else { return };
        let mut buffer = self.log.borrow_mut();
        line.write(ending, &mut buffer);
        sink.hand_over(&mut buffer, false);
    }

    fn hand_over_log(&self) {
        if let Some(sink) = self.shared.access_log.get() {
            sink.hand_over(&mut self.log.borrow_mut(), true);
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

    /// Adds a connection's slot to those the clock looks at.
    pub(crate) fn enter(self: &Rc<Self>) -> SlotGuard {
        self.count_connections(self.connections.get() + 1);
        self.add_slot(true)
    }

    /// Adds the slot of one of several requests that share a connection.
    pub(crate) fn enter_stream(self: &Rc<Self>) -> SlotGuard {
        self.add_slot(false)
    }

    fn add_slot(self: &Rc<Self>, is_connection: bool) -> SlotGuard {
        let slot = Rc::new(Slot::new());
        let mut slots = self.slots.borrow_mut();
        slot.index.set(slots.len());
        slots.push(slot.clone());
        SlotGuard { worker: self.clone(), slot, is_connection }
    }

    fn count_connections(&self, count: usize) {
        self.connections.set(count);
        self.shared.loads[self.index].0.store(count, Relaxed);
    }

    /// Queues a request until [`Message::Nudge`]; whether there was room. `slot` is woken in its
    /// turn; the caller then says [`Worker::unhold`] once.
    pub(crate) fn hold(&self, slot: &Rc<Slot>) -> bool {
        let mut held = self.held.borrow_mut();
        if held.len() >= HELD_MAX {
            return false;
        }
        self.shared.held.fetch_add(1, Relaxed);
        held.push_back(slot.clone());
        true
    }

    pub(crate) fn unhold(&self, slot: &Rc<Slot>) {
        let mut held = self.held.borrow_mut();
        if let Some(at) = held.iter().position(|other| Rc::ptr_eq(other, slot)) {
            held.remove(at);
            self.shared.held.fetch_sub(1, Relaxed);
        }
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Install { table, changes, done } => {
                self.install(table, &changes);
                let _ = done.send(());
            }
            Message::Listen { listener, entry } => self.listen(listener, entry),
            Message::Unlisten { entry } => self.accepting.borrow_mut().retain(|(own, task)| {
                if *own == entry {
                    task.abort();
                }
                *own != entry
            }),
            Message::Serve { stream, peer, entry } => {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    self.serve(stream, peer.ip(), entry);
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

    fn listen(self: &Rc<Self>, listener: std::net::TcpListener, entry: Entry) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, ?entry, "listening socket cannot be used");
                return;
            }
        };
        let worker = self.clone();
        let task = tokio::task::spawn_local(async move {
            loop {
                while worker.shared.connections() >= worker.shared.connections_max {
                    tokio::time::sleep(TICK).await;
                }
                match listener.accept().await {
                    Ok((stream, peer)) => worker.place(stream, peer, entry),
                    Err(error) if is_of_connection(&error) => {}
                    Err(error) => {
                        // Out of descriptors or memory: connections wait in the backlog.
                        tracing::error!(%error, "cannot accept connections");
                        tokio::time::sleep(TICK).await;
                    }
                }
            }
        });
        self.accepting.borrow_mut().push((entry, task));
    }

    /// Serves an accepted connection here, or hands it to a worker that has clearly fewer:
    /// whichever worker wakes first would otherwise take a whole burst.
    fn place(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, entry: Entry) {
        let loads = &self.shared.loads;
        let own = loads[self.index].0.load(Relaxed);
        let least = (0..loads.len()).min_by_key(|worker| loads[*worker].0.load(Relaxed));
        if let Some(least) = least.filter(|w| loads[*w].0.load(Relaxed) + 2 + own / 16 <= own) {
            if let Ok(stream) = stream.into_std() {
                // Counted at once, so that the next connection of the burst sees it.
                loads[least].0.fetch_add(1, Relaxed);
                self.shared.send(least, Message::Serve { stream, peer, entry });
            }
            return;
        }
        self.serve(stream, peer.ip(), entry);
    }

    fn serve(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: IpAddr, entry: Entry) {
        let guard = self.enter();
        tokio::task::spawn_local(conn::serve(self.clone(), guard, stream, peer, entry));
    }

    fn retire(&self, until_ms: u64) {
        self.accepting.borrow_mut().drain(..).for_each(|(_, task)| task.abort());
        self.stop_at_ms.set(Some(until_ms));
        if self.retiring_since_ms.get().is_none() {
            self.retiring_since_ms.set(Some(self.shared.clock.now_ms()));
        }
        let slots = self.slots.borrow();
        let with_streams = slots.iter().filter(|s| matches!(&*s.doing(), Doing::Connection));
        with_streams.for_each(|slot| slot.tell(Verdict::Leave));
    }

    /// What a connection of a gateway that is being replaced is told now. One between requests is
    /// closed only after a while without any: a client may be about to send the next one, and would
    /// find the connection closed.
    fn judge_retiring(&self, slot: &Slot, since_ms: u64, now_ms: u64) -> Option<Verdict> {
        match &mut *slot.doing() {
            Doing::Idle => (now_ms >= since_ms + RETIRING_IDLE_MS).then_some(Verdict::Leave),
            // Told at once, in a way that loses no request.
            Doing::Connection => None,
            Doing::Request | Doing::At(_) => None,
            Doing::Stream(_, turn) => {
                let period = self.stop_at_ms.get()?.saturating_sub(since_ms);
                let spread = period.saturating_mul(SPREAD_PERCENT) / 100;
                let turn_ms = *turn.get_or_insert_with(|| since_ms + self.draw() % spread.max(1));
                (now_ms >= turn_ms).then(|| {
                    *turn = Some(NEVER);
                    Verdict::EndStream
                })
            }
        }
    }

    fn stop(&self, until_ms: u64) {
        self.retiring_since_ms.set(None);
        self.accepting.borrow_mut().drain(..).for_each(|(_, task)| task.abort());
        self.stop_at_ms.set(Some(until_ms));
        for slot in self.slots.borrow().iter() {
            let verdict = match &*slot.doing() {
                Doing::Idle | Doing::Connection => Verdict::Leave,
                Doing::Stream(..) => Verdict::EndStream,
                Doing::Request | Doing::At(_) => continue,
            };
            slot.tell(verdict);
        }
    }

    fn has_ended(&self) -> bool {
        let Some(until_ms) = self.stop_at_ms.get() else { return false };
        if self.retiring_since_ms.get().is_some() {
            // The conductor says when: a connection may be on its way from another worker.
            return false;
        }
        self.slots.borrow().is_empty() || self.now_ms() >= until_ms
    }

    fn tick(&self) {
        let now_ms = self.shared.clock.now_ms();
        self.now_ms.set(now_ms);
        let any_draining = self.table.borrow().any_draining;
        for slot in self.slots.borrow().iter() {
            if slot.deadline_ms() <= now_ms {
                slot.tell(Verdict::Late);
            }
            if let Some(since_ms) = self.retiring_since_ms.get()
                && let Some(verdict) = self.judge_retiring(slot, since_ms, now_ms)
            {
                slot.tell(verdict);
            }
            if any_draining && let Some(verdict) = self.judge(slot, now_ms) {
                slot.tell(verdict);
            }
        }
    }

    /// What a connection to a draining target is told now.
    fn judge(&self, slot: &Slot, now_ms: u64) -> Option<Verdict> {
        match &mut *slot.doing() {
            Doing::Idle | Doing::Connection | Doing::Request => None,
            Doing::At(local) => {
                let drain = local.target.drain_deadlines()?;
                (now_ms >= drain.requests_until_ms).then_some(Verdict::CutRequest)
            }
            Doing::Stream(local, turn) => {
                let drain = local.target.drain_deadlines()?;
                let turn_ms = *turn.get_or_insert_with(|| {
                    let period = drain.streams_until_ms.saturating_sub(drain.since_ms);
                    let spread = period.saturating_mul(SPREAD_PERCENT) / 100;
                    drain.since_ms + self.draw() % spread.max(1)
                });
                if now_ms >= drain.streams_until_ms {
                    return Some(Verdict::CutStream);
                }
                (now_ms >= turn_ms).then(|| {
                    *turn = Some(NEVER);
                    Verdict::EndStream
                })
            }
        }
    }

    /// Drops connections to targets that were closed by the target or kept long enough.
    fn sweep(&self) {
        let now_ms = self.now_ms();
        for local in self.locals.borrow().iter().flatten() {
            local.idle.borrow_mut().retain_mut(|idle| idle.is_usable(now_ms));
            local.h2.sweep(now_ms);
        }
    }

    fn local(&self, target: &Arc<Target>) -> Rc<LocalTarget> {
        let mut locals = self.locals.borrow_mut();
        let new = || Rc::new(LocalTarget::new(target.clone(), self.index));
        entry(&mut locals, target.slot).get_or_insert_with(new).clone()
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

/// Half of what the limit of open files leaves after what is not a connection.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    (limit.saturating_sub(DESCRIPTORS_KEPT) / 2).max(64)
}

/// The place of a number in a list that grows as needed.
fn entry<T>(list: &mut Vec<Option<T>>, at: usize) -> &mut Option<T> {
    if list.len() <= at {
        list.resize_with(at + 1, || None);
    }
    &mut list[at]
}

/// Errors of `accept` that concern the accepted connection, not the listener.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A connection's slot, taken out of the worker's list when the connection ends.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    is_connection: bool,
}

impl SlotGuard {
    pub(crate) fn slot(&self) -> &Rc<Slot> {
        &self.slot
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut slots = self.worker.slots.borrow_mut();
        let index = self.slot.index.get();
        slots.swap_remove(index);
        if let Some(moved) = slots.get(index) {
            moved.index.set(index);
        }
        drop(slots);
        if self.is_connection {
            self.worker.count_connections(self.worker.connections.get().saturating_sub(1));
        }
    }
}
