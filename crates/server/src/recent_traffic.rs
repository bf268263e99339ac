//! Requests that ended within the last hour, in buckets of ten seconds. Kept by `observations` for
//! each app and each environment, read by the API; lost with the process.

use std::collections::{BTreeMap, VecDeque};

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

/// The buckets of the last hour, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Bucket>);

impl Recent {
    /// Adds what ended now.
    pub(crate) fn add(&mut self, release: Option<ReleaseNumber>, flow: &Flow, now: Timestamp) {
        let at = now.as_second() / BUCKET_SECONDS;
        if self.0.back().is_none_or(|b| b.at != at) {
            self.0.push_back(Bucket { at, ..Bucket::default() });
            if self.0.len() > BUCKETS_MAX {
                self.0.pop_front();
            }
        }
        if let Some(bucket) = self.0.back_mut() {
            match bucket.sides.iter_mut().find(|(known, _)| *known == release) {
                Some((_, side)) => side.add(flow),
                None => bucket.sides.push((release, flow.clone())),
            }
        }
    }

    /// All of it, in slices of `slice_s` seconds, oldest first.
    pub(crate) fn flows(&self, slice_s: i64) -> BTreeMap<i64, Flows> {
        let mut slices: BTreeMap<i64, Flows> = BTreeMap::new();
        for bucket in &self.0 {
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
        let age = |b: &Bucket| usize::try_from(current - b.at).unwrap_or(0);
        let recent = |max: usize| self.0.iter().filter(move |b| age(b) < max);
        let sum = |of: fn(&Flow) -> u64| {
            recent(BUCKETS_MAX).flat_map(|b| &b.sides).map(|(_, flow)| of(flow)).sum()
        };
        let (served_1h, failed_1h) = (sum(|flow| flow.served), sum(|flow| flow.failed));
        // The current bucket is still filling; the rate is taken over those before it.
        let full = self.0.iter().filter(|b| (1..=RATE_BUCKETS).contains(&age(b)));
        let requests: u64 =
            full.flat_map(|b| &b.sides).map(|(_, flow)| flow.served + flow.failed).sum();
        AppTraffic {
            requests_per_s: requests as f64 / (RATE_BUCKETS as f64 * BUCKET_SECONDS as f64),
            served_1h,
            failed_1h,
            p99_ms: p99(recent(QUANTILE_BUCKETS)),
        }
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

fn p99<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> Option<u64> {
    let mut sum = Histogram::default();
    let flows = buckets.flat_map(|bucket| &bucket.sides);
    flows.for_each(|(_, flow)| sum.merge(&flow.latency_us));
    Some((sum.quantile(0.99)? / 1_000.0).ceil() as u64)
}
