//! What the clock does to connections: deadlines, the end of those to draining targets, and of all
//! when the gateway ends or is replaced.

use super::{TICK_MS, Worker};
use crate::clock::NEVER;
use crate::target::DrainDeadlines;
use crate::wire::slot::{Doing, Slot, StreamEnd, Verdict};

/// After how long a connection without requests is closed while another gateway has taken over, in
/// milliseconds.
const RETIRING_IDLE_MS: u64 = 20_000;
/// The part of the drain period over which streams are ended; the rest is for those that must
/// come to an end of their own (a frame, an event) first.
const SPREAD_PERCENT: u64 = 90;
/// The least that a stream has from when it is told to end, in milliseconds: where a period is short, a
/// tenth of it would be less than the time between two events. A thread that was kept from running for a
/// while tells it late; it is not cut for that.
const END_MS_MIN: u64 = 500;
/// A tick that comes so long after the one before, in milliseconds, comes late: the thread did not run.
const LATE_TICK_MS: u64 = 4 * TICK_MS;

/// Over how long streams are told to end, of `period_ms`; at least 1.
fn spread_ms(period_ms: u64) -> u64 {
    let most = period_ms.saturating_mul(SPREAD_PERCENT) / 100;
    most.min(period_ms.saturating_sub(END_MS_MIN)).max(1)
}

/// What a stream from a draining target is told now. It is told to end before it is cut, whenever that
/// is, and has a moment for it.
fn judge_stream(
    end: &mut StreamEnd,
    drain: DrainDeadlines,
    draw: &mut dyn FnMut() -> u64,
    now_ms: u64,
) -> Option<Verdict> {
    let spread_ms = spread_ms(drain.streams_until_ms.saturating_sub(drain.since_ms));
    let turn_ms = match *end {
        StreamEnd::Told(at_ms) => {
            let until_ms = drain.streams_until_ms.max(at_ms.saturating_add(END_MS_MIN));
            return (now_ms >= until_ms).then_some(Verdict::CutStream);
        }
        StreamEnd::Turn(at_ms) if at_ms < drain.since_ms + spread_ms => at_ms,
        // A turn of another period, a longer one, would come too late.
        StreamEnd::Turn(_) | StreamEnd::Open => drain.since_ms + draw() % spread_ms,
    };
    *end = StreamEnd::Turn(turn_ms);
    (now_ms >= turn_ms).then(|| {
        *end = StreamEnd::Told(now_ms);
        Verdict::EndStream
    })
}

impl Worker {
    /// Tells connections what the time means to them. After a while in which this thread did not run
    /// nothing is told yet: what came meanwhile lies in sockets, unread, and an answer that is there
    /// is not late. The next tick tells, however late that is.
    pub(super) fn tick(&self) {
        let now_ms = self.shared.clock.now_ms();
        let is_late = now_ms >= self.now_ms.replace(now_ms).saturating_add(LATE_TICK_MS);
        if is_late && !self.spared.replace(true) {
            return;
        }
        self.spared.set(false);
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
            Doing::Stream(local, end) => {
                let drain = local.target.drain_deadlines()?;
                judge_stream(end, drain, &mut || self.draw(), now_ms)
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
            Doing::Stream(_, end) => {
                let streams_until_ms = self.stop_at_ms.get()?;
                let drain = DrainDeadlines { since_ms, requests_until_ms: NEVER, streams_until_ms };
                judge_stream(end, drain, &mut || self.draw(), now_ms)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::wire::slot::DoorSide;
    use crate::worker::Shared;

    /// The thread runs at these times: when the stream is told to end, and when it is cut.
    fn told(drain: DrainDeadlines, draw: u64, times: &[u64]) -> (Option<u64>, Option<u64>) {
        let (mut end, mut ends, mut cut) = (StreamEnd::Open, Vec::new(), None);
        for now_ms in times {
            match judge_stream(&mut end, drain, &mut || draw, *now_ms) {
                Some(Verdict::EndStream) => ends.push(*now_ms),
                Some(Verdict::CutStream) => cut = cut.or(Some(*now_ms)),
                other => assert_eq!(other, None),
            }
        }
        assert!(ends.len() <= 1, "told twice: {ends:?}");
        (ends.first().copied(), cut)
    }

    #[test]
    fn a_stream_is_told_to_end_before_it_is_cut_however_late_the_thread_runs() {
        let drain =
            DrainDeadlines { since_ms: 1_000, requests_until_ms: 0, streams_until_ms: 4_000 };
        let each_tick: Vec<u64> = (20..120).map(|tick| tick * TICK_MS).collect();
        // Its turn is 2,400 ms after the beginning; the last is 2,500 ms after it.
        assert_eq!(told(drain, 2_400, &each_tick), (Some(3_400), Some(4_000)));
        let kept_from_running = [3_350, 4_086, 4_136, 4_536, 4_586];
        assert_eq!(told(drain, 2_400, &kept_from_running), (Some(4_086), Some(4_586)));
        let over = DrainDeadlines { streams_until_ms: 1_000, ..drain };
        assert_eq!(told(over, 77, &[1_000, 1_499, 1_500]), (Some(1_000), Some(1_500)));
        let mut of_a_longer_period = StreamEnd::Turn(200_000);
        judge_stream(&mut of_a_longer_period, drain, &mut || 100, 1_050);
        assert_eq!(of_a_longer_period, StreamEnd::Turn(1_100));
    }

    proptest! {
        #[test]
        fn whenever_the_thread_runs_a_stream_has_a_moment_to_end(
            period_ms in 0..400_000u64,
            draw in 0..u64::MAX,
            mut times in proptest::collection::vec(0..500_000u64, 1..50),
        ) {
            times.sort_unstable();
            let drain =
                DrainDeadlines { since_ms: 0, requests_until_ms: 0, streams_until_ms: period_ms };
            let (ended, cut) = told(drain, draw, &times);
            if let Some(cut) = cut {
                prop_assert!(cut >= period_ms);
                prop_assert!(ended.is_some_and(|ended| cut >= ended + END_MS_MIN));
            }
            let turn_ms = draw % spread_ms(period_ms);
            prop_assert_eq!(ended, times.iter().copied().find(|at| *at >= turn_ms));
        }
    }

    #[test]
    fn a_thread_that_did_not_run_hears_what_came_before_it_judges() {
        let worker = Worker::new(0, Arc::new(Shared::new(1)), 1);
        let guard = worker.enter(DoorSide::Outside);
        worker.tick();
        guard.slot().set_deadline(worker.now_ms() + 1);
        std::thread::sleep(Duration::from_millis(LATE_TICK_MS + 1));
        worker.tick();
        assert_eq!(guard.slot().take_verdict(), None, "its answer may be there");
        // A machine on which each tick is late must not keep it for ever.
        std::thread::sleep(Duration::from_millis(LATE_TICK_MS + 1));
        worker.tick();
        assert_eq!(guard.slot().take_verdict(), Some(Verdict::Late));
    }
}
