//! Requests that ended within the last hour, in buckets of ten seconds. Kept by `observations` for
//! each app and each environment, read by the API; lost with the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use ark_model::ReleaseNumber;
use ark_model::api::{SideSlice, TrafficSlice};
use ark_model::histogram::Histogram;
use ark_planner::judge::Slice;
use jiff::Timestamp;

/// Seconds of one bucket of recent traffic.
const BUCKET_SECONDS: i64 = 10;
/// Buckets kept per app: one hour.
const BUCKETS_MAX: usize = 360;
/// Buckets over which the rate is taken.
const RATE_BUCKETS: usize = 2;
/// Buckets over which the 99th percentile is taken: five minutes.
const QUANTILE_BUCKETS: usize = 30;

/// Recent traffic of an app in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AppTraffic {
    /// Requests a second over the last 20 s.
    pub requests_per_s: f64,
    /// Requests served within the last hour.
    pub served_1h: u64,
    /// Requests failed or cut within the last hour.
    pub failed_1h: u64,
    /// 99th percentile of the last five minutes, in milliseconds, rounded up.
    pub p99_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Bucket {
    at: i64,
    /// By release; of none are requests that reached no instance.
    sides: Vec<(Option<ReleaseNumber>, Flow)>,
}

/// What all buckets come to that nothing is added to any more.
#[derive(Debug)]
struct Closed {
    /// The bucket that was being filled.
    until: i64,
    served: u64,
    failed: u64,
    /// Requests of the buckets over which the rate is taken.
    rated: u64,
    /// Latencies of the buckets over which the percentile is taken.
    latency_us: Histogram,
}

/// The buckets of the last hour, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    buckets: VecDeque<Bucket>,
    /// Summed once for each bucket, however often it is asked: a page asks for hundreds of apps.
    closed: Mutex<Option<Closed>>,
}

impl Recent {
    /// Adds what ended now.
    pub(crate) fn add(&mut self, release: Option<ReleaseNumber>, flow: &Flow, now: Timestamp) {
        let at = now.as_second() / BUCKET_SECONDS;
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Told late, or by a clock that was set back.
        if closed.as_ref().is_some_and(|closed| at < closed.until) {
            *closed = None;
        }
        let buckets = &mut self.buckets;
        if buckets.back().is_none_or(|b| b.at != at) {
            buckets.push_back(Bucket { at, ..Bucket::default() });
            if buckets.len() > BUCKETS_MAX {
                buckets.pop_front();
            }
        }
        if let Some(bucket) = buckets.back_mut() {
            match bucket.sides.iter_mut().find(|(known, _)| *known == release) {
                Some((_, side)) => side.add(flow),
                None => bucket.sides.push((release, flow.clone())),
            }
        }
    }

    /// All of it, in slices of `slice_s` seconds, oldest first.
    pub(crate) fn flows(&self, slice_s: i64) -> BTreeMap<i64, Flows> {
        let mut slices: BTreeMap<i64, Flows> = BTreeMap::new();
        for bucket in &self.buckets {
            let slice = slices.entry(bucket.at * BUCKET_SECONDS / slice_s).or_default();
            for (release, flow) in &bucket.sides {
                slice.entry(*release).or_default().add(flow);
            }
        }
        slices
    }

    /// What it comes to.
    pub(crate) fn sum(&self, now: Timestamp) -> AppTraffic {
        let current = now.as_second() / BUCKET_SECONDS;
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = match &mut *closed {
            Some(closed) if closed.until == current => closed,
            closed => closed.insert(self.close(current)),
        };
        // The current bucket is still filling; the rate is taken over those before it.
        let mut traffic = AppTraffic {
            requests_per_s: closed.rated as f64 / (RATE_BUCKETS as f64 * BUCKET_SECONDS as f64),
            served_1h: closed.served,
            failed_1h: closed.failed,
            p99_ms: None,
        };
        let mut open = self.buckets.iter().filter(|b| b.at >= current).peekable();
        let quantile =
            |latency: &Histogram| Some((latency.quantile(0.99)? / 1_000.0).ceil() as u64);
        if open.peek().is_none() {
            traffic.p99_ms = quantile(&closed.latency_us);
            return traffic;
        }
        let mut latency_us = closed.latency_us.clone();
        for (_, flow) in open.flat_map(|b| &b.sides) {
            traffic.served_1h += flow.served;
            traffic.failed_1h += flow.failed;
            latency_us.merge(&flow.latency_us);
        }
        traffic.p99_ms = quantile(&latency_us);
        traffic
    }

    fn close(&self, until: i64) -> Closed {
        let mut closed =
            Closed { until, served: 0, failed: 0, rated: 0, latency_us: Histogram::default() };
        for bucket in self.buckets.iter().filter(|b| b.at < until) {
            let age = usize::try_from(until - bucket.at).unwrap_or(usize::MAX);
            for (_, flow) in bucket.sides.iter().filter(|_| age < BUCKETS_MAX) {
                closed.served += flow.served;
                closed.failed += flow.failed;
                if age <= RATE_BUCKETS {
                    closed.rated += flow.served + flow.failed;
                }
                if age < QUANTILE_BUCKETS {
                    closed.latency_us.merge(&flow.latency_us);
                }
            }
        }
        closed
    }
}

/// Requests that ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    pub(crate) served: u64,
    pub(crate) failed: u64,
    pub(crate) latency_us: Histogram,
}

impl Flow {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.latency_us.merge(&other.latency_us);
    }
}

impl From<&Slice> for Flow {
    /// What was cut failed, too.
    fn from(side: &Slice) -> Self {
        let failed = side.failed + side.cut;
        Self { served: side.served, failed, latency_us: side.latency_us.clone() }
    }
}

/// What ended, by release.
pub(crate) type Flows = BTreeMap<Option<ReleaseNumber>, Flow>;

/// A slice of a history, as the API answers it.
pub(crate) fn slice(at: Timestamp, flows: Option<&Flows>) -> TrafficSlice {
    let ms = |flow: &Flow, q: f64| flow.latency_us.quantile(q).map(|us| us / 1_000.0);
    let mut all = Flow::default();
    let side = |(release, flow): (&Option<ReleaseNumber>, &Flow)| {
        all.add(flow);
        SideSlice {
            release: *release,
            served: flow.served,
            failed: flow.failed,
            p50_ms: ms(flow, 0.5),
            p95_ms: ms(flow, 0.95),
            p99_ms: ms(flow, 0.99),
        }
    };
    let sides = flows.into_iter().flatten().map(side).collect();
    TrafficSlice {
        at,
        sides,
        p50_ms: ms(&all, 0.5),
        p95_ms: ms(&all, 0.95),
        p99_ms: ms(&all, 0.99),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the buckets say, without anything that is remembered.
    fn plain(recent: &Recent, now: Timestamp) -> AppTraffic {
        let current = now.as_second() / BUCKET_SECONDS;
        let age = |b: &&Bucket| usize::try_from(current - b.at).unwrap_or(0);
        let flows = |ages: std::ops::Range<usize>| {
            let within = recent.buckets.iter().filter(move |b| ages.contains(&age(b)));
            within.flat_map(|b| &b.sides).map(|(_, flow)| flow).collect::<Vec<_>>()
        };
        let rated: u64 = flows(1..RATE_BUCKETS + 1).iter().map(|f| f.served + f.failed).sum();
        let mut latency_us = Histogram::default();
        flows(0..QUANTILE_BUCKETS).iter().for_each(|f| latency_us.merge(&f.latency_us));
        AppTraffic {
            requests_per_s: rated as f64 / (RATE_BUCKETS as f64 * BUCKET_SECONDS as f64),
            served_1h: flows(0..BUCKETS_MAX).iter().map(|f| f.served).sum(),
            failed_1h: flows(0..BUCKETS_MAX).iter().map(|f| f.failed).sum(),
            p99_ms: latency_us.quantile(0.99).map(|us| (us / 1_000.0).ceil() as u64),
        }
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_the_buckets_say(
            steps in prop::collection::vec((-15_i64..40, 0_u64..5, 1_u64..3, prop::bool::ANY), 1..400),
        ) {
            let (mut recent, mut now) = (Recent::default(), 1_000_000_i64);
            for (passed, served, release, asked) in steps {
                now += passed;
                let at = Timestamp::from_second(now).unwrap();
                let mut flow = Flow { served, failed: served % 2, ..Flow::default() };
                (0..served).for_each(|n| flow.latency_us.record(1_000 * (n + release)));
                recent.add(Some(ReleaseNumber(release)), &flow, at);
                if asked {
                    prop_assert_eq!(recent.sum(at), plain(&recent, at));
                }
            }
        }
    }
}
