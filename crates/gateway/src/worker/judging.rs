//! What the clock does to connections: deadlines, the end of those to draining targets, and of all
//! when the gateway ends or is replaced.

use super::Worker;
use crate::clock::NEVER;
use crate::wire::slot::{Doing, Slot, Verdict};

/// After how long a connection without requests is closed while another gateway has taken over, in
/// milliseconds.
const RETIRING_IDLE_MS: u64 = 20_000;
/// The part of the drain period over which streams are ended; the rest is for those that must
/// come to an end of their own (a frame, an event) first.
const SPREAD_PERCENT: u64 = 90;
/// The least of it that is left for that, in milliseconds: where a period is short, a tenth of it
/// would be less than the time between two events.
const END_MS_MIN: u64 = 500;

/// Over how long streams are told to end, of `period_ms`; at least 1.
fn spread_ms(period_ms: u64) -> u64 {
    let most = period_ms.saturating_mul(SPREAD_PERCENT) / 100;
    most.min(period_ms.saturating_sub(END_MS_MIN)).max(1)
}

impl Worker {
    pub(super) fn tick(&self) {
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
                    drain.since_ms + self.draw() % spread_ms(period)
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

    pub(super) fn retire(&self, until_ms: u64) {
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
                let turn_ms =
                    *turn.get_or_insert_with(|| since_ms + self.draw() % spread_ms(period));
                (now_ms >= turn_ms).then(|| {
                    *turn = Some(NEVER);
                    Verdict::EndStream
                })
            }
        }
    }

    pub(super) fn stop(&self, until_ms: u64) {
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

    pub(super) fn has_ended(&self) -> bool {
        let Some(until_ms) = self.stop_at_ms.get() else { return false };
        if self.retiring_since_ms.get().is_some() {
            // The conductor says when: a connection may be on its way from another worker.
            return false;
        }
        self.slots.borrow().is_empty() || self.now_ms() >= until_ms
    }

    /// Whether one more connection to a target may be kept: over all targets as many as requests under
    /// way may have, which is half of the descriptors. Should both be used up at once, those that idle
    /// give way ([`Self::drop_idle_upstreams`]).
    pub(crate) fn has_room_for_idle(&self) -> bool {
        let share = self.shared.connections_max / self.shared.loads.len().max(1);
        self.idle_upstreams.get() < share
    }

    /// Gives up all connections to targets that are between requests; how many.
    pub(crate) fn drop_idle_upstreams(&self) -> usize {
        let before = self.idle_upstreams.get();
        for local in self.locals.borrow().iter().flatten() {
            local.idle.borrow_mut().clear();
        }
        before
    }

    /// Drops connections to targets that were closed by the target or kept long enough.
    pub(super) fn sweep(&self) {
        let now_ms = self.now_ms();
        for local in self.locals.borrow().iter().flatten() {
            local.idle.borrow_mut().retain_mut(|idle| idle.is_usable(now_ms));
            local.h2.sweep(now_ms);
        }
    }
}
