//! Who calls which route through its own port (discovery): a peer that is no address of this machine
//! is a container, told by its address; a peer on this machine is a process, told by the user of its
//! socket, for which the kernel is asked. What a number or an address means is the server's to say.
//!
//! Called by workers for connections to such ports alone: those that come through the public doors
//! cost one comparison. A worker asks the kernel for a few connections each tick, a call of some
//! microseconds; of more, those are asked for later that are still open then. So a connection that
//! stays is always told, and of those that come and go a sample is. What is told is when somebody
//! was last seen, not how often. It must never be waited for, and a failure here costs no request.

mod socket_table;
mod user_of;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark_model::gateway::{CallReport, CallerSeen};
use ark_model::route::RouteKey;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpStream;

use self::user_of::{Told, UserOf};
use crate::table::RouteSlot;

/// How many new connections a worker asks the kernel for between two ticks, and how many of one
/// route, so that a busy one leaves some for others: 60 and 40 a second.
const NEW_PER_TICK: usize = 3;
const NEW_OF_ROUTE_PER_TICK: usize = 2;
/// How many that had to wait it asks for at each tick: 20 a second.
const WAITED_PER_TICK: usize = 1;
/// How many may wait.
const WAITING_MAX: usize = 1_024;
/// How many callers of routes a worker, and all workers together, remember.
const KNOWN_MAX: usize = 4_096;
/// A caller that goes on is told of again after this time, in milliseconds.
const TELL_AGAIN_MS: u64 = 10_000;
/// The same, over all workers.
const TELL_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// A worker forgets who was not seen for so long, in milliseconds.
const FORGET_MS: u64 = 15_000;

/// Which caller of which route.
type Pair = (RouteSlot, CallerSeen);

/// What one worker knows of callers. Lives on its thread alone.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    user_of: UserOf,
    /// The routes of connections asked for since the last tick.
    asked: RefCell<Vec<RouteSlot>>,
    /// Open connections of which it is not known yet whose they are.
    waiting: RefCell<VecDeque<Weak<Call>>>,
    known: RefCell<HashMap<Pair, Known>>,
    /// Whether tables of the kernel are being read.
    reading: Cell<bool>,
}

/// Of one caller of one route.
#[derive(Debug)]
struct Known {
    /// Connections open now of which it is known.
    open: usize,
    seen_ms: u64,
    /// What was last told of it.
    told_ms: Option<u64>,
}

/// A connection to a route's own port, as long as it is open.
#[derive(Debug)]
pub(crate) struct Call {
    callers: Rc<Callers>,
    route: RouteSlot,
    /// The caller's end, and the gateway's.
    ends: (SocketAddr, SocketAddr),
    caller: Cell<Option<CallerSeen>>,
    /// As of the last tick when it was opened.
    opened_ms: u64,
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(caller) = self.caller.get() else { return };
        if let Some(known) = self.callers.known.borrow_mut().get_mut(&(self.route, caller)) {
            known.open = known.open.saturating_sub(1);
        }
    }
}

impl Callers {
    /// A connection to a route's own port begins.
    pub(crate) fn begin(
        self: &Rc<Self>,
        route: RouteSlot,
        peer: SocketAddr,
        stream: &TcpStream,
        now_ms: u64,
    ) -> Option<Rc<Call>> {
        let own = stream.local_addr().ok()?;
        let call = Rc::new(Call {
            callers: self.clone(),
            route,
            ends: (peer, own),
            caller: Cell::new(None),
            opened_ms: now_ms,
        });
        if !is_of_this_machine(peer.ip(), own.ip()) {
            self.is_of(&call, CallerSeen::Address { ip: peer.ip().to_canonical() }, now_ms);
        } else if !self.may_ask(route) || !self.ask(&call, now_ms) {
            self.wait(&call);
        }
        Some(call)
    }

    /// A tick has passed: looks at some of those that had to wait.
    pub(crate) fn look_further(&self, now_ms: u64) {
        self.asked.borrow_mut().clear();
        for _ in 0..WAITED_PER_TICK {
            let Some(call) = self.next_waiting() else { return };
            if !self.ask(&call, now_ms) {
                self.waiting.borrow_mut().push_front(Rc::downgrade(&call));
                return;
            }
        }
    }

    /// Where the kernel is not asked for single connections: looks for those that wait in its tables,
    /// away from this thread, at most once at a time.
    pub(crate) fn look_in_tables(self: &Rc<Self>) {
        if self.reading.get() || !self.user_of.needs_tables() {
            return;
        }
        let waiting: Vec<Rc<Call>> =
            self.waiting.borrow_mut().drain(..).filter_map(|call| call.upgrade()).collect();
        if waiting.is_empty() {
            return;
        }
        self.reading.set(true);
        let callers = self.clone();
        tokio::task::spawn_local(async move {
            let ends: Vec<_> = waiting.iter().map(|call| call.ends).collect();
            let found = tokio::task::spawn_blocking(move || socket_table::users(&ends)).await;
            for (call, user) in waiting.iter().zip(found.unwrap_or_default()) {
                if let Some(uid) = user {
                    callers.is_of(call, CallerSeen::User { uid }, call.opened_ms);
                }
            }
            callers.reading.set(false);
        });
    }

    /// Tells what is news, and forgets who has gone.
    pub(crate) fn tell(&self, now_ms: u64, all: &CallsSeen) {
        let mut known = self.known.borrow_mut();
        if known.is_empty() {
            return;
        }
        let mut news = Vec::new();
        known.retain(|pair, known| {
            if known.open > 0 {
                known.seen_ms = now_ms;
            }
            if known.told_ms.is_none_or(|told| known.seen_ms >= told + TELL_AGAIN_MS) {
                known.told_ms = Some(known.seen_ms);
                news.push((*pair, Duration::from_millis(now_ms.saturating_sub(known.seen_ms))));
            }
            known.open > 0 || now_ms < known.seen_ms + FORGET_MS
        });
        drop(known);
        if !news.is_empty() {
            all.take_in(&news, Timestamp::now());
        }
    }

    /// Whether one more new connection of this route may be asked for before the next tick.
    fn may_ask(&self, route: RouteSlot) -> bool {
        let mut asked = self.asked.borrow_mut();
        let of_route = asked.iter().filter(|other| **other == route).count();
        let may = asked.len() < NEW_PER_TICK && of_route < NEW_OF_ROUTE_PER_TICK;
        if may {
            asked.push(route);
        }
        may
    }

    /// Asks the kernel whose a connection is; `false` when that has to be found out otherwise.
    fn ask(&self, call: &Rc<Call>, now_ms: u64) -> bool {
        match self.user_of.ask(call.ends.0, call.ends.1) {
            Told::User(uid) => self.is_of(call, CallerSeen::User { uid }, now_ms),
            Told::Nobody => {}
            Told::Unable => return false,
        }
        true
    }

    fn wait(&self, call: &Rc<Call>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|call| call.strong_count() > 0);
        }
        if waiting.len() < WAITING_MAX {
            waiting.push_back(Rc::downgrade(call));
        }
    }

    /// The next one that is still open.
    fn next_waiting(&self) -> Option<Rc<Call>> {
        if self.user_of.needs_tables() {
            return None;
        }
        let mut waiting = self.waiting.borrow_mut();
        loop {
            if let Some(call) = waiting.pop_front()?.upgrade() {
                return Some(call);
            }
        }
    }

    fn is_of(&self, call: &Rc<Call>, caller: CallerSeen, now_ms: u64) {
        let mut all = self.known.borrow_mut();
        let pair = (call.route, caller);
        if all.len() >= KNOWN_MAX && !all.contains_key(&pair) {
            return;
        }
        let known = all.entry(pair).or_insert(Known { open: 0, seen_ms: now_ms, told_ms: None });
        known.open += 1;
        known.seen_ms = known.seen_ms.max(now_ms);
        call.caller.set(Some(caller));
    }
}

/// Whether a peer is a process of this machine: it comes over loopback, or from the very address
/// that it calls.
fn is_of_this_machine(peer: IpAddr, own: IpAddr) -> bool {
    let (peer, own) = (peer.to_canonical(), own.to_canonical());
    peer == own || (peer.is_loopback() && own == IpAddr::from([127, 0, 0, 1]))
}

/// What all workers have told, for reports.
#[derive(Debug, Default)]
pub(crate) struct CallsSeen(Mutex<HashMap<Pair, Timestamp>>);

impl CallsSeen {
    /// These were seen so long before `now`. Of too many, those seen longest ago give way.
    fn take_in(&self, news: &[(Pair, Duration)], now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pair, before) in news {
            let seen = now.checked_sub(*before).unwrap_or(now);
            let last = all.entry(*pair).or_insert(seen);
            // Workers tell of the same caller each for itself.
            if seen.duration_since(*last) >= TELL_AGAIN {
                *last = seen;
            }
        }
        while all.len() > KNOWN_MAX {
            let Some(oldest) = all.iter().min_by_key(|(_, seen)| **seen).map(|(pair, _)| *pair)
            else {
                return;
            };
            all.remove(&oldest);
        }
    }

    /// All that is remembered. What was seen of a route that is gone is forgotten.
    pub(crate) fn report<'a>(
        &self,
        key: impl Fn(RouteSlot) -> Option<&'a RouteKey>,
    ) -> Vec<CallReport> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = Vec::with_capacity(all.len());
        all.retain(|(route, caller), seen| {
            let Some(key) = key(*route) else { return false };
            told.push(CallReport { route: key.clone(), caller: *caller, seen: *seen });
            true
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_comes_over_loopback_or_from_the_address_called_is_of_this_machine() {
        for (peer, own, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.9", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("10.208.1.1", "10.208.1.1", true),
            ("10.208.1.7", "10.208.1.1", false),
            // Stands for a network of containers in tests.
            ("127.0.77.9", "127.0.77.1", false),
        ] {
            assert_eq!(is_of_this_machine(ip(peer), ip(own)), expected, "{peer} to {own}");
        }
    }

    #[test]
    fn a_caller_is_told_at_once_then_every_ten_seconds_until_it_is_gone() {
        let callers = Callers::default();
        let all = CallsSeen::default();
        let pair = (RouteSlot(0), CallerSeen::User { uid: 7 });
        let known = Known { open: 1, seen_ms: 100, told_ms: None };
        callers.known.borrow_mut().insert(pair, known);
        let told = |now_ms| {
            callers.tell(now_ms, &all);
            callers.known.borrow().get(&pair).and_then(|known| known.told_ms)
        };
        assert_eq!(told(1_000), Some(1_000));
        assert_eq!(told(10_999), Some(1_000));
        assert_eq!(told(11_000), Some(11_000));
        assert_eq!(told(12_000), Some(11_000));
        callers.known.borrow_mut().get_mut(&pair).expect("it").open = 0;
        assert_eq!(told(26_999), Some(11_000));
        assert_eq!(told(27_000), None, "forgotten");
    }

    #[test]
    fn workers_that_tell_of_the_same_caller_are_one_for_ten_seconds() {
        let all = CallsSeen::default();
        let pair = (RouteSlot(0), CallerSeen::User { uid: 7 });
        let at = |second| Timestamp::from_second(second).expect("an instant");
        for (second, before, expected) in
            [(20, 1, 19), (20, 0, 19), (28, 0, 19), (29, 0, 29), (10, 0, 29)]
        {
            all.take_in(&[(pair, Duration::from_secs(before))], at(second));
            assert_eq!(all.0.lock().expect("no panic")[&pair], at(expected), "at {second}");
        }
    }

    #[test]
    fn a_busy_route_leaves_some_for_others_until_the_next_tick() {
        let callers = Callers::default();
        let may = |route| callers.may_ask(RouteSlot(route));
        assert_eq!([may(1), may(1), may(1), may(2), may(3)], [true, true, false, true, false]);
        callers.look_further(0);
        assert!(may(3));
    }

    #[test]
    fn of_too_many_those_seen_longest_ago_are_forgotten() {
        let all = CallsSeen::default();
        let now = Timestamp::from_second(1_000_000).expect("an instant");
        let pair = |n: u32| (RouteSlot(n), CallerSeen::User { uid: n });
        let many = u32::try_from(KNOWN_MAX).expect("a number") + 2;
        let news: Vec<_> =
            (0..many).map(|n| (pair(n), Duration::from_secs(u64::from(n)))).collect();
        all.take_in(&news, now);
        let key = RouteKey {
            env: "dev".parse().expect("a name"),
            app: "web".parse().expect("a name"),
            expose: "http".to_owned(),
        };
        let report = all.report(|slot| (slot.0 < 5_000).then_some(&key));
        assert_eq!(report.len(), KNOWN_MAX);
        assert!(report.iter().all(|call| call.caller != pair(many - 1).1));
        assert_eq!(all.report(|slot| (slot.0 == 3).then_some(&key)).len(), 1);
    }
}
