//! What the gateway measured of one side, as the judge reads it.
//!
//! A window is cut into slices of equal time (1 s, say), because requests are not independent: a
//! pause of one instance hits a hundred at once. How unevenly the slices differ tells how much less
//! a request says than an independent one would. One slice for the whole window is allowed; then
//! every request is taken to be independent.

use ark_model::ReleaseNumber;
use ark_model::gateway::Counters;
use ark_model::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// One side over a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideWindow {
    /// The release that answered.
    pub release: ReleaseNumber,
    /// What was measured, oldest first. The slice at a place of one side and the one at the same
    /// place of the other cover the same time. A few hundred are plenty: a caller that has more
    /// merges neighbours.
    pub slices: Vec<Slice>,
}

/// What was measured on one side in a slice of time. Each request that ended here is in exactly one of
/// `served`, `failed`, `cut` and `client_gone`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Answered whole, with any status below 500.
    pub served: u64,
    /// Answered with 500 or above.
    pub failed: u64,
    /// Broken before their end by something other than the client.
    pub cut: u64,
    /// Broken off here after it was sent, and then answered by another instance, of the other side where this
    /// one has no other. The client did not notice; it is this side's error all the same.
    #[serde(default)]
    pub broken_off: u64,
    /// Given up by the client.
    pub client_gone: u64,
    /// Answered from 300 to 399.
    pub redirects: u64,
    /// Answered from 400 to 499 by the app: what a rate limit refused is not counted.
    pub client_errors: u64,
    /// Time to the last byte of the answer, in microseconds; streams left out.
    pub latency_us: Histogram,
    /// Sizes of answers' bodies, in bytes; streams left out.
    pub answer_bytes: Histogram,
}

impl SideWindow {
    /// A window of one slice.
    pub fn whole(release: ReleaseNumber, slice: Slice) -> Self {
        Self { release, slices: vec![slice] }
    }

    /// The whole window as one slice.
    pub fn sum(&self) -> Slice {
        let mut sum = Slice::default();
        self.slices.iter().for_each(|slice| sum.add(slice));
        sum
    }
}

impl Slice {
    /// What one target did between two states of its counters, the later one first. Counters that
    /// shrank are from another life of the gateway and say nothing.
    pub fn between(later: &Counters, earlier: &Counters) -> Self {
        let since = |of: fn(&Counters) -> u64| of(later).saturating_sub(of(earlier));
        Self {
            served: since(|c| c.served),
            failed: since(|c| c.failed),
            cut: since(|c| c.cut),
            broken_off: since(|c| c.broken_off),
            client_gone: since(|c| c.client_gone),
            redirects: since(|c| c.by_class[2]),
            client_errors: since(|c| c.by_class[3].saturating_sub(c.rate_limited)),
            latency_us: later.latency_us.since(&earlier.latency_us),
            answer_bytes: later.answer_bytes.since(&earlier.answer_bytes),
        }
    }

    /// Requests that ended, here or by being broken off here.
    pub fn requests(&self) -> u64 {
        self.served + self.failed + self.cut + self.client_gone + self.broken_off
    }

    /// Answers of 500 and above, and requests that were cut or broken off.
    pub fn errors(&self) -> u64 {
        self.failed + self.cut + self.broken_off
    }

    /// Adds what another instance of the same side did in the same time, or the same side next.
    pub fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.cut += other.cut;
        self.broken_off += other.broken_off;
        self.client_gone += other.client_gone;
        self.redirects += other.redirects;
        self.client_errors += other.client_errors;
        self.latency_us.merge(&other.latency_us);
        self.answer_bytes.merge(&other.answer_bytes);
    }
}
