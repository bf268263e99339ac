//! What is counted, where. Each target and each route has one block of cells per worker thread;
//! only that thread writes it, so counting is a plain load and store without a locked instruction,
//! and no two threads share a cache line. The reporter adds the blocks up.
//!
//! Each request ends in exactly one of `served`, `failed`, `cut`, `client_gone`: see [`Outcome`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ark_model::gateway::Counters;

use crate::clock::millis;
use crate::lazy_histogram::LazyHistogram;
use crate::wire::GIVEN_UP;

/// How a request ended, as its counter is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered whole. A status of 500 or above counts as failed, any other as served.
    Answered,
    /// Broken by something other than the client.
    Cut,
    /// Given up by the client.
    ClientGone,
}

/// What is known of a request at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// The status of the answer; `None` when none was begun.
    pub(crate) status: Option<u16>,
    /// Bytes of the response body passed on.
    pub(crate) response_bytes: u64,
    /// How long it took; `None` for a stream, whose length says nothing of the app.
    pub(crate) elapsed: Option<Duration>,
}

/// The cells of one target or route on one worker thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Cells {
    in_flight: AtomicU32,
    streams: AtomicU32,
    served: AtomicU64,
    failed: AtomicU64,
    cut: AtomicU64,
    retried: AtomicU64,
    broken_off: AtomicU64,
    client_gone: AtomicU64,
    response_bytes: AtomicU64,
    by_class: [AtomicU64; 5],
    shed: AtomicU64,
    rate_limited: AtomicU64,
    retries_refused: AtomicU64,
    mirrored: AtomicU64,
    ejections: AtomicU64,
    /// Allocated with the first request.
    spreads: OnceLock<Box<Spreads>>,
    /// Also taken by the reporter; written on slow paths only.
    stall_max_ms: AtomicU64,
}

/// What was measured of single requests.
#[derive(Debug, Default)]
struct Spreads {
    latency_us: LazyHistogram,
    answer_bytes: LazyHistogram,
}

/// Adds without a locked instruction: correct because each block has one writer.
pub(crate) fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Cells {
    /// One block per worker.
    pub(crate) fn blocks(workers: usize) -> Box<[Self]> {
        (0..workers).map(|_| Self::default()).collect()
    }

    pub(crate) fn request_begins(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn request_leaves(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub(crate) fn stream_begins(&self) {
        self.streams.store(self.streams.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn stream_leaves(&self) {
        self.streams.store(self.streams.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub(crate) fn retried(&self) {
        bump(&self.retried, 1);
    }

    /// A request that was sent here was broken off, and goes on elsewhere.
    pub(crate) fn broken_off(&self) {
        bump(&self.broken_off, 1);
    }

    pub(crate) fn stalled(&self, stall: Duration) {
        self.stall_max_ms.fetch_max(millis(stall), Relaxed);
    }

    pub(crate) fn ended(&self, ended: Ended) {
        let cell = match (ended.outcome, ended.status) {
            (Outcome::Answered, Some(500..)) => &self.failed,
            (Outcome::Answered, _) => &self.served,
            (Outcome::Cut, _) => &self.cut,
            (Outcome::ClientGone, _) => &self.client_gone,
        };
        bump(cell, 1);
        // Whoever gives up says nothing of the app, whatever the client was told.
        let given_up = ended.outcome == Outcome::ClientGone && ended.status == Some(GIVEN_UP);
        if let Some(status) = ended.status
            && !given_up
        {
            bump(&self.by_class[usize::from(status / 100).clamp(1, 5) - 1], 1);
        }
        bump(&self.response_bytes, ended.response_bytes);
        let Some(elapsed) = ended.elapsed else { return };
        let spreads = self.spreads.get_or_init(Box::default);
        spreads.latency_us.record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        if ended.outcome == Outcome::Answered {
            spreads.answer_bytes.record(ended.response_bytes);
        }
    }

    pub(crate) fn shed(&self) {
        bump(&self.shed, 1);
    }

    pub(crate) fn rate_limited(&self) {
        bump(&self.rate_limited, 1);
    }

    pub(crate) fn retry_refused(&self) {
        bump(&self.retries_refused, 1);
    }

    pub(crate) fn mirrored(&self) {
        bump(&self.mirrored, 1);
    }

    pub(crate) fn ejected(&self) {
        bump(&self.ejections, 1);
    }

    /// Requests in flight, streams included: what a balancer calls load.
    pub(crate) fn load(&self) -> u32 {
        self.in_flight.load(Relaxed) + self.streams.load(Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// The longest stall since the last call.
    pub(crate) fn take_stall_ms(&self) -> u64 {
        self.stall_max_ms.swap(0, Relaxed)
    }
}

/// The sum of `blocks`, without stalls.
pub(crate) fn sum(blocks: &[Cells]) -> Counters {
    let mut total = Counters::default();
    for block in blocks {
        total.served += block.served.load(Relaxed);
        total.failed += block.failed.load(Relaxed);
        total.cut += block.cut.load(Relaxed);
        total.retried += block.retried.load(Relaxed);
        total.broken_off += block.broken_off.load(Relaxed);
        total.client_gone += block.client_gone.load(Relaxed);
        total.response_bytes += block.response_bytes.load(Relaxed);
        total.shed += block.shed.load(Relaxed);
        total.rate_limited += block.rate_limited.load(Relaxed);
        total.retries_refused += block.retries_refused.load(Relaxed);
        total.mirrored += block.mirrored.load(Relaxed);
        total.ejections += block.ejections.load(Relaxed);
        for (sum, cell) in total.by_class.iter_mut().zip(&block.by_class) {
            *sum += cell.load(Relaxed);
        }
        if let Some(spreads) = block.spreads.get() {
            spreads.latency_us.add_to(&mut total.latency_us);
            spreads.answer_bytes.add_to(&mut total.answer_bytes);
        }
    }
    total
}

/// The longest stall of reports that the server has not stored yet: a sliding maximum over report
/// numbers. Entries decrease in length, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    unstored: Vec<(u64, u64)>,
}

impl Stalls {
    /// Takes in what was measured since the report before `seq`, and says what `seq` reports.
    pub(crate) fn report(&mut self, seq: u64, measured_ms: u64) -> u64 {
        if measured_ms > 0 {
            self.unstored.retain(|(_, ms)| *ms > measured_ms);
            self.unstored.push((seq, measured_ms));
        }
        self.unstored.first().map_or(0, |(_, ms)| *ms)
    }

    /// Reports up to `seq` are stored.
    pub(crate) fn stored(&mut self, seq: u64) {
        self.unstored.retain(|(at, _)| *at > seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};

    #[test]
    fn the_longest_stall_is_told_until_it_is_stored() {
        let mut stalls = Stalls::default();
        assert_eq!(stalls.report(1, 5), 5);
        assert_eq!(stalls.report(2, 9), 9);
        assert_eq!(stalls.report(3, 4), 9);
        assert_eq!(stalls.report(4, 0), 9);
        stalls.stored(2);
        assert_eq!(stalls.report(5, 0), 4);
        stalls.stored(5);
        assert_eq!(stalls.report(6, 0), 0);
    }

    proptest! {
        #[test]
        fn every_request_is_counted_once(
            ends in prop::collection::vec((0..3u8, any::<Option<u16>>(), 0..100_000u64, 0..3usize), 0..200)
        ) {
            let blocks = Cells::blocks(3);
            for (outcome, status, us, worker) in &ends {
                let outcome = match outcome {
                    0 => Outcome::Answered,
                    1 => Outcome::Cut,
                    _ => Outcome::ClientGone,
                };
                blocks[*worker].request_begins();
                blocks[*worker].ended(Ended {
                    outcome,
                    status: *status,
                    response_bytes: 1,
                    elapsed: (*us > 0).then_some(Duration::from_micros(*us)),
                });
                blocks[*worker].request_leaves();
            }
            let total = sum(&blocks);
            let count = ends.len() as u64;
            prop_assert_eq!(total.served + total.failed + total.cut + total.client_gone, count);
            let timed = ends.iter().filter(|end| end.2 > 0).count() as u64;
            prop_assert_eq!(total.latency_us.count(), timed);
            prop_assert_eq!(total.response_bytes, count);
            // Whoever gave up was told nothing of the app.
            let told = |end: &&(u8, Option<u16>, u64, usize)| {
                end.1.is_some_and(|status| end.0 < 2 || status != GIVEN_UP)
            };
            let with_status = ends.iter().filter(told).count() as u64;
            prop_assert_eq!(total.by_class.iter().sum::<u64>(), with_status);
            prop_assert_eq!(blocks.iter().map(Cells::load).sum::<u32>(), 0);
        }
    }
}
