//! Held requests go on in their order, a few at a time.
//!
//! All at once they would open hundreds of connections within a millisecond to an app that has just
//! begun to listen. Its queue of connections is short (128 places in many frameworks); when it is
//! full, the kernel answers with cookies or not at all, and breaks some of the connections with a
//! request already on them. So only so many requests that were held are without an answer at a time,
//! and that many more go on after each [`AGAIN`]: an app that answers slowly does not hold up the
//! rest. Used by `passage`; requests that were never held pass by.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::Worker;
use crate::wire::slot::{Slot, Turn};

/// Over all threads, how many requests that were held may be without an answer.
const AT_ONCE: usize = 64;
/// After how long as many more go on, answers or not.
const AGAIN: Duration = Duration::from_millis(50);

/// What a thread knows of the requests that it lets go on.
#[derive(Debug, Default)]
pub(super) struct Releasing {
    /// Those let go on lately whose answer has not begun.
    unanswered: Cell<usize>,
    /// Those woken for their turn that have not gone on yet.
    called: Cell<usize>,
    /// Those that found no room, in their order.
    turns: RefCell<VecDeque<Rc<Slot>>>,
    /// Whether somebody sees to those after [`AGAIN`].
    is_timed: Cell<bool>,
}

/// A request that was held and went on, until its answer begins or it ends.
#[derive(Debug)]
pub(crate) struct Released(Rc<Worker>);

impl Drop for Released {
    fn drop(&mut self) {
        let unanswered = &self.0.releasing.unanswered;
        // Those of an earlier turn are no longer counted.
        unanswered.set(unanswered.get().saturating_sub(1));
        self.0.next_turns();
    }
}

impl Worker {
    /// Whether the held request of this slot, for which a target is ready, may go on as far as others
    /// are concerned. If not, the slot is woken when it is its turn.
    pub(crate) fn may_go_on(self: &Rc<Self>, slot: &Rc<Slot>) -> bool {
        let called = &self.releasing.called;
        match slot.turn.get() {
            Turn::Called => {
                slot.turn.set(Turn::None);
                called.set(called.get().saturating_sub(1));
                return true;
            }
            Turn::None | Turn::Awaits if self.room() > 0 => return true,
            Turn::None => {
                slot.turn.set(Turn::Awaits);
                self.releasing.turns.borrow_mut().push_back(slot.clone());
            }
            Turn::Awaits => {}
        }
        self.time_turns();
        false
    }

    /// The held request of this slot does not go on: its turn, should it have come, is another's.
    pub(crate) fn stays_held(&self, slot: &Slot) {
        if slot.turn.get() == Turn::Called {
            slot.turn.set(Turn::None);
            let called = &self.releasing.called;
            called.set(called.get().saturating_sub(1));
            self.next_turns();
        }
    }

    /// Counts a request that goes on.
    pub(crate) fn goes_on(self: &Rc<Self>) -> Released {
        let unanswered = &self.releasing.unanswered;
        unanswered.set(unanswered.get() + 1);
        Released(self.clone())
    }

    fn room(&self) -> usize {
        let taken = self.releasing.unanswered.get() + self.releasing.called.get();
        AT_ONCE.div_ceil(self.count().max(1)).saturating_sub(taken)
    }

    fn next_turns(&self) {
        let mut turns = self.releasing.turns.borrow_mut();
        let count = self.room().min(turns.len());
        for slot in turns.drain(..count) {
            slot.turn.set(Turn::Called);
            slot.wake();
        }
        self.releasing.called.set(self.releasing.called.get() + count);
    }

    fn time_turns(self: &Rc<Self>) {
        if self.releasing.is_timed.replace(true) {
            return;
        }
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            while !worker.releasing.turns.borrow().is_empty() {
                tokio::time::sleep(AGAIN).await;
                worker.releasing.unanswered.set(0);
                // Who was called and has left does not come.
                worker.releasing.called.set(0);
                worker.next_turns();
            }
            worker.releasing.is_timed.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;
    use crate::worker::Shared;

    struct Quiet;

    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }

    /// Those of `slots` that were woken for their turn and go on.
    fn go_on(worker: &Rc<Worker>, slots: &[Rc<Slot>], since: &mut usize) -> Vec<Released> {
        let mut gone = Vec::new();
        while let Some(slot) = slots.get(*since)
            && slot.turn.get() != Turn::Awaits
            && worker.may_go_on(slot)
        {
            *since += 1;
            gone.push(worker.goes_on());
        }
        gone
    }

    #[tokio::test]
    async fn what_was_held_goes_on_in_order_with_the_answers_or_with_time() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let worker = Worker::new(0, Arc::new(Shared::new(1)), 1);
                let slots: Vec<Rc<Slot>> = (0..300).map(|_| Rc::new(Slot::new())).collect();
                for slot in &slots {
                    slot.attach(&Context::from_waker(&Waker::from(Arc::new(Quiet))));
                }
                let mut since = 0;
                let mut first = go_on(&worker, &slots, &mut since);
                assert_eq!(since, AT_ONCE);
                for slot in &slots[since..] {
                    assert!(!worker.may_go_on(slot));
                }
                // Three answers make room for three.
                first.truncate(AT_ONCE - 3);
                let awaiting =
                    || slots.iter().filter(|slot| slot.turn.get() == Turn::Awaits).count();
                assert_eq!(awaiting(), 300 - AT_ONCE - 3);
                // Of whom one has no target any more: its turn is the next one's.
                worker.stays_held(&slots[since]);
                assert_eq!(slots[since].turn.get(), Turn::None);
                assert_eq!(awaiting(), 300 - AT_ONCE - 4);
                since += 1;
                let second = go_on(&worker, &slots, &mut since);
                assert_eq!((second.len(), since), (3, AT_ONCE + 4));
                // No answers: as many as at first go on after a while, and again.
                while slots[since].turn.get() == Turn::Awaits {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let third = go_on(&worker, &slots, &mut since);
                assert_eq!(third.len(), AT_ONCE);
                // Answers of those before make no more room than there is.
                drop((first, second));
                let fourth = go_on(&worker, &slots, &mut since);
                assert!(fourth.len() <= AT_ONCE, "{}", fourth.len());
                drop((third, fourth));
                while since < slots.len() {
                    tokio::time::sleep(AGAIN).await;
                    drop(go_on(&worker, &slots, &mut since));
                }
                assert_eq!(awaiting(), 0);
            })
            .await;
    }
}
