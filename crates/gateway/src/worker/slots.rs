//! The slots of a worker: one per connection and per request that shares one, which the clock looks
//! at, and those that are held until a target is ready.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::route_local::RouteState;
use crate::wire::slot::{DoorSide, Slot, Verdict};

/// How many requests one worker holds while no target is ready; more are refused. Of these a route has
/// no more than it leaves free: one whose target never becomes ready must not keep others from holding.
const HELD_MAX: usize = 4096;
/// How many idle connections give way to new ones at once, at most.
const CLOSED_AT_ONCE: usize = 256;

impl Worker {
    /// Adds a connection's slot to those the clock looks at.
    pub(crate) fn enter(self: &Rc<Self>, side: DoorSide) -> SlotGuard {
        self.count_connections(self.connections.get() + 1);
        if side == DoorSide::Inside {
            self.count_inside(self.inside.get() + 1);
        }
        self.add_slot(Some(side))
    }

    /// Adds the slot of one of several requests that share a connection.
    pub(crate) fn enter_stream(self: &Rc<Self>) -> SlotGuard {
        self.add_slot(None)
    }

    fn add_slot(self: &Rc<Self>, side: Option<DoorSide>) -> SlotGuard {
        let slot = Rc::new(Slot::new());
        slot.side.set(side);
        slot.idle_since_ms.set(self.now_ms());
        let mut slots = self.slots.borrow_mut();
        slot.index.set(slots.len());
        slots.push(slot.clone());
        SlotGuard { worker: self.clone(), slot }
    }

    /// Closes the connections of this side on which nothing has been asked for the longest: a few at a
    /// time.
    pub(super) fn close_idle(&self, side: DoorSide) {
        // Every listener asks; what was closed is gone by the next tick.
        let now_ms = self.now_ms();
        if self.gave_way_ms[side as usize].replace(now_ms) == now_ms {
            return;
        }
        let slots = self.slots.borrow();
        let mut idle: Vec<_> = slots.iter().filter(|slot| slot.is_idle(side, now_ms)).collect();
        let count = CLOSED_AT_ONCE.min(self.shared.connections_max / 64).max(1).min(idle.len());
        if count > 0 && count < idle.len() {
            idle.select_nth_unstable_by_key(count - 1, |slot| slot.idle_since_ms.get());
        }
        idle[..count].iter().for_each(|slot| slot.tell(Verdict::Late));
    }

    fn count_inside(&self, count: usize) {
        self.inside.set(count);
        self.shared.loads[self.index].inside.store(count, Relaxed);
    }

    fn count_connections(&self, count: usize) {
        self.connections.set(count);
        self.shared.loads[self.index].all.store(count, Relaxed);
    }

    /// Queues a request of a route until [`Message::Nudge`]; whether there was room. `slot` is woken in
    /// its turn; the caller then says [`Worker::unhold`] once.
    pub(crate) fn hold(&self, slot: &Rc<Slot>, route: &RouteState) -> bool {
        let mut held = self.held.borrow_mut();
        if route.held.get() >= HELD_MAX.saturating_sub(held.len()) {
            return false;
        }
        self.shared.held.fetch_add(1, Relaxed);
        route.held.set(route.held.get() + 1);
        held.push_back(slot.clone());
        true
    }

    pub(crate) fn unhold(&self, slot: &Rc<Slot>, route: &RouteState) {
        let mut held = self.held.borrow_mut();
        if let Some(at) = held.iter().position(|other| Rc::ptr_eq(other, slot)) {
            held.remove(at);
            route.held.set(route.held.get().saturating_sub(1));
            self.shared.held.fetch_sub(1, Relaxed);
        }
    }
}

/// A connection's slot, taken out of the worker's list when the connection ends.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    worker: Rc<Worker>,
    slot: Rc<Slot>,
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
        let Some(side) = self.slot.side.get() else { return };
        self.worker.count_connections(self.worker.connections.get().saturating_sub(1));
        if side == DoorSide::Inside {
            self.worker.count_inside(self.worker.inside.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::NEVER;
    use crate::worker::Shared;

    #[test]
    fn who_has_been_idle_for_the_longest_gives_way_first() {
        let shared = Shared { connections_max: 8, ..Shared::new(1) };
        let worker = Worker::new(0, Arc::new(shared), 1);
        let enter = |begun_ms: u64, asked_ms: Option<u64>, wait_ms: u64| {
            worker.now_ms.set(begun_ms);
            let guard = worker.enter(DoorSide::Outside);
            if let Some(at_ms) = asked_ms {
                worker.now_ms.set(at_ms);
                guard.slot().idles_again(at_ms);
            }
            guard.slot().set_deadline(worker.deadline(wait_ms));
            guard
        };
        let entered = [
            ("two seconds after a request", enter(60_000, Some(98_000), 75_000)),
            ("a minute after a request", enter(10_000, Some(40_000), 75_000)),
            ("in its handshake, just begun", enter(99_000, None, 10_000)),
            ("begun, silent for six seconds", enter(94_000, None, 30_000)),
            ("just after a request", enter(10_000, Some(99_500), 75_000)),
            ("leaving", enter(10_000, Some(20_000), 5_000)),
            ("asking", enter(10_000, None, NEVER)),
        ];
        entered[5].1.slot().begin_leaving();
        entered[6].1.slot().set_deadline(NEVER);
        let mut gave_way = Vec::new();
        for now_ms in 100_000..100_007 {
            worker.now_ms.set(now_ms);
            worker.close_idle(DoorSide::Inside);
            worker.close_idle(DoorSide::Outside);
            for (name, guard) in &entered {
                if guard.slot().take_verdict() == Some(Verdict::Late) {
                    gave_way.push(*name);
                    guard.slot().begin_leaving();
                }
            }
        }
        let expected = [
            "a minute after a request",
            "begun, silent for six seconds",
            "two seconds after a request",
        ];
        assert_eq!(gave_way, expected);
    }

    #[test]
    fn a_route_that_holds_many_leaves_room_to_others() {
        let worker = Worker::new(0, Arc::new(Shared::new(1)), 1);
        let (cold, other) = (RouteState::default(), RouteState::default());
        let hold_all = |route: &RouteState| {
            let slots = std::iter::repeat_with(|| Rc::new(Slot::new()));
            slots.take_while(|slot| worker.hold(slot, route)).collect::<Vec<_>>()
        };
        let mut first = hold_all(&cold);
        assert_eq!(first.len(), HELD_MAX / 2);
        assert_eq!(hold_all(&other).len(), HELD_MAX / 4, "half of what is left");
        assert!(!worker.hold(&Rc::new(Slot::new()), &cold));
        for slot in first.drain(..) {
            worker.unhold(&slot, &cold);
        }
        assert_eq!(cold.held.get(), 0);
        assert_eq!(worker.shared.held.load(Relaxed), HELD_MAX / 4);
        assert!(worker.hold(&Rc::new(Slot::new()), &other));
    }
}
