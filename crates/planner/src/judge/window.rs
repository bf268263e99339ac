//! What the gateway measured of one side, as the judge reads it.
//!
//! A window is cut into slices of equal time (5 s, say), because requests are not independent: a
//! pause of one instance hits a hundred at once. How unevenly the slices differ tells how much less
//! a request says than an independent one would. One slice for the whole window is allowed; then
//! every request is taken to be independent.

use std::collections::BTreeMap;

use ark_model::ReleaseNumber;

/// Most slices of a window that are read; the caller merges older ones when there are more.
pub const SLICES_MAX: usize = 720;

/// One side over a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideWindow {
    /// The release that answered.
    pub release: ReleaseNumber,
    /// What was measured, oldest first. The slice at a place of one side and the one at the same
    /// place of the other cover the same time.
    pub slices: Vec<Slice>,
}

/// What was measured on one side in a slice of time. Each request is in exactly one of `by_class`,
/// `cut` and `client_gone`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// Answers by class: 1xx (upgrades), 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 5],
    /// Requests broken before their end by something other than the client.
    pub cut: u64,
    /// Requests that the client gave up.
    pub client_gone: u64,
    /// Time to the last byte of the answer, in microseconds. Streams do not belong here.
    pub latency_us: Spread,
    /// Sizes of answers' bodies, in bytes.
    pub answer_bytes: Spread,
}

/// How often each value was seen. Values come from the buckets of a histogram: both sides must use
/// the same buckets, and the same value (its upper bound, say) for the same bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread(pub BTreeMap<u64, u64>);

impl SideWindow {
    /// A window of one slice.
    pub fn whole(release: ReleaseNumber, slice: Slice) -> Self {
        Self { release, slices: vec![slice] }
    }

    /// The whole window as one slice.
    pub fn sum(&self) -> Slice {
        let mut sum = Slice::default();
        for slice in &self.slices {
            sum.add(slice);
        }
        sum
    }
}

impl Slice {
    /// Requests that ended.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum::<u64>() + self.cut + self.client_gone
    }

    /// Answers of 500 and above, and cut requests.
    pub fn errors(&self) -> u64 {
        self.by_class[4] + self.cut
    }

    /// Adds what another instance of the same side did in the same time.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine += theirs;
        }
        self.cut += other.cut;
        self.client_gone += other.client_gone;
        self.latency_us.add(&other.latency_us);
        self.answer_bytes.add(&other.answer_bytes);
    }
}

impl Spread {
    /// Counts `count` more of `value`.
    pub fn record(&mut self, value: u64, count: u64) {
        if count > 0 {
            *self.0.entry(value).or_default() += count;
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            self.record(*value, *count);
        }
    }

    /// How many values were seen.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The smallest value that at least this share (0 to 1) of all do not exceed.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total = self.count();
        let rank = ((share * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        self.0.iter().find_map(|(value, count)| {
            seen += count;
            (seen >= rank).then_some(*value)
        })
    }
}

impl FromIterator<u64> for Spread {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut spread = Self::default();
        for value in values {
            spread.record(value, 1);
        }
        spread
    }
}
