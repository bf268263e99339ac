//! A histogram that costs little and says enough: sparse counts in buckets whose width grows with
//! the value (log-linear, as in HdrHistogram). Filled by the gateway, sent in its reports, read by
//! the server and the judge. Pure: no clock, no unit of its own; whoever names a field says the
//! unit.
//!
//! **Buckets.** Values below 8 have one bucket each. From there on each power of two is cut into 8
//! buckets of equal width: with `e = floor(log2 v)` and the three bits after the leading one
//! `m = (v >> (e - 3)) & 7`, the bucket is `8 * (e - 2) + m`. A bucket is therefore at most an
//! eighth as wide as its lower bound (12.5 %), at best a fifteenth: a value that grows by 30 % is
//! always at least two buckets further on. Values of [`VALUE_MAX`] and above share the last
//! bucket.

use serde::{Deserialize, Deserializer, Serialize};

/// The least value that falls into the last bucket, with all above: 2^40 (12 days in microseconds,
/// 1 TiB in bytes).
pub const VALUE_MAX: u64 = 1 << 40;
/// How many buckets there are.
pub const BUCKETS: usize = 8 * (40 - 2) + 1;
/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 3;
const SUB: u64 = 1 << SUB_BITS;

/// The bucket of a value. See the module.
pub const fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    if value >= VALUE_MAX {
        return BUCKETS - 1;
    }
    let exponent = value.ilog2();
    let within = (value >> (exponent - SUB_BITS)) & (SUB - 1);
    (SUB as u32 * (exponent - SUB_BITS + 1)) as usize + within as usize
}

/// The least value of a bucket.
pub const fn lower_bound(bucket: usize) -> u64 {
    let (power, within) = (bucket as u64 / SUB, bucket as u64 % SUB);
    if power == 0 {
        return within;
    }
    (SUB + within) << (power - 1)
}

/// The least value that is above a bucket; of the last bucket, [`u64::MAX`].
pub const fn upper_bound(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS { u64::MAX } else { lower_bound(bucket + 1) }
}

/// Counts by bucket. On the wire a list of `[bucket, count]`, ascending, without zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Histogram {
    /// Ascending by bucket, no count is zero.
    counts: Vec<(u16, u64)>,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.add(bucket(value), 1);
    }

    /// Adds to the count of a bucket; one beyond the last counts as the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = u16::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u16::MAX);
        match self.counts.binary_search_by_key(&bucket, |(own, _)| *own) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(bucket, count)| self.add(usize::from(*bucket), *count));
    }

    /// What has come since `earlier`, an older state of the same cumulative histogram. A count that
    /// has shrunk gives none: it is from another life.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: u16| {
            let found = earlier.counts.binary_search_by_key(&bucket, |(own, _)| *own);
            found.map_or(0, |at| earlier.counts[at].1)
        };
        let counts = self.counts.iter().map(|(b, count)| (*b, count.saturating_sub(before(*b))));
        Self { counts: counts.filter(|(_, count)| *count > 0).collect() }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Buckets that hold anything, ascending, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().map(|(bucket, count)| (usize::from(*bucket), *count))
    }

    /// The value below or at which a share `q` (0 to 1) of all values lies: the rank is
    /// `ceil(q * count)`, at least 1, and values are taken as spread evenly over their bucket.
    /// `None` when nothing was counted. In the last bucket, its lower bound.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut below = 0;
        for (bucket, here) in self.iter() {
            if below + here >= rank {
                let low = lower_bound(bucket) as f64;
                if bucket + 1 >= BUCKETS {
                    return Some(low);
                }
                let width = upper_bound(bucket) as f64 - low;
                // A bucket of width 1 holds one value; a wider one is entered in its middle ranks.
                let into = if width <= 1.0 {
                    0.0
                } else {
                    ((rank - below) as f64 - 0.5) / here as f64 * width
                };
                return Some(low + into);
            }
            below += here;
        }
        None
    }

    /// The mean, each value taken as the middle of its bucket. `None` when nothing was counted.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        let sum: f64 = self
            .iter()
            .map(|(bucket, here)| {
                let (low, high) = (lower_bound(bucket), upper_bound(bucket));
                let middle =
                    if high == u64::MAX { low as f64 } else { (low + high - 1) as f64 / 2.0 };
                middle * here as f64
            })
            .sum();
        (count > 0).then(|| sum / count as f64)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts: Vec<(u16, u64)> = Vec::deserialize(deserializer)?;
        let ascending = counts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let within =
            counts.iter().all(|(bucket, count)| usize::from(*bucket) < BUCKETS && *count > 0);
        if !ascending || !within {
            return Err(serde::de::Error::custom(
                "a histogram is a list of [bucket, count], ascending, without zeros",
            ));
        }
        Ok(Self { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn buckets_follow_the_formula() {
        for (value, expected) in [
            (0, 0),
            (7, 7),
            (8, 8),
            (15, 15),
            (16, 16),
            (17, 16),
            (18, 17),
            (1_000, 63),
            (1_300, 66),
            (VALUE_MAX - 1, BUCKETS - 2),
            (VALUE_MAX, BUCKETS - 1),
            (u64::MAX, BUCKETS - 1),
        ] {
            assert_eq!(bucket(value), expected, "{value}");
        }
        for index in 0..BUCKETS {
            assert_eq!(bucket(lower_bound(index)), index);
            if index + 1 < BUCKETS {
                assert_eq!(bucket(upper_bound(index) - 1), index);
            }
        }
    }

    #[test]
    fn a_quantile_of_a_spread_is_near_the_true_one() {
        let mut histogram = Histogram::default();
        (1..=10_000_u64).for_each(|us| histogram.record(us));
        for (q, truth) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0)] {
            let found = histogram.quantile(q).unwrap();
            assert!((found / truth - 1.0).abs() < 0.03, "{q}: {found}");
        }
        assert!((histogram.mean().unwrap() / 5_000.5 - 1.0).abs() < 0.01);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_damaged_list_is_refused() {
        for bad in ["[[3,1],[3,1]]", "[[3,1],[2,1]]", "[[3,0]]", "[[400,1]]", "[1,2]"] {
            assert!(serde_json::from_str::<Histogram>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn thirty_percent_more_is_at_least_two_buckets_on(value in 16..VALUE_MAX / 2) {
            prop_assert!(bucket(value + value * 3 / 10) >= bucket(value) + 2 || value < 32);
            prop_assert!(lower_bound(bucket(value)) <= value);
            prop_assert!(value < upper_bound(bucket(value)));
        }

        #[test]
        fn merging_and_subtracting_are_inverse(
            one in prop::collection::vec(any::<u64>(), 0..50),
            other in prop::collection::vec(0..100_000_u64, 0..50),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.record(*value));
                histogram
            };
            let (before, added) = (of(&one), of(&other));
            let mut sum = before.clone();
            sum.merge(&added);
            prop_assert_eq!(sum.count(), (one.len() + other.len()) as u64);
            prop_assert_eq!(sum.since(&before), added);
            let json = serde_json::to_string(&sum).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), sum);
        }

        #[test]
        fn a_quantile_lies_in_the_bucket_of_the_true_one(
            mut values in prop::collection::vec(0..VALUE_MAX, 1..100), q in 0.0..=1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let found = histogram.quantile(q).unwrap();
            prop_assert_eq!(bucket(found as u64), bucket(values[rank - 1]));
        }
    }
}
