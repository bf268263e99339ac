//! Quantiles of a histogram and how well they are known.

use ark_model::histogram::Histogram;

/// A quantile, with the interval that holds the true one 19 times of 20.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) value: f64,
    pub(super) high: f64,
}

/// Two-sided 95 %.
const Z: f64 = 1.959_964;

/// The interval between two order statistics: how many values lie below the true quantile is
/// binomial, whatever the distribution (H. A. David and H. N. Nagaraja, Order Statistics, 3rd
/// edition, 2003, section 7.1; the normal approximation of the binomial). `None` without values.
pub(super) fn interval(histogram: &Histogram, share: f64) -> Option<Interval> {
    let count = histogram.count() as f64;
    let spread = Z * (share * (1.0 - share) / count).sqrt();
    Some(Interval {
        low: histogram.quantile((share - spread).max(0.0))?,
        value: histogram.quantile(share)?,
        high: histogram.quantile((share + spread).min(1.0))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_narrows_with_the_count() {
        let of = |n: u64| {
            let mut histogram = Histogram::default();
            (1..=n).for_each(|i| histogram.record(i * 1_000_000 / n));
            interval(&histogram, 0.9).unwrap()
        };
        let (few, many) = (of(100), of(10_000));
        for interval in [few, many] {
            assert!(interval.low <= interval.value && interval.value <= interval.high);
            assert!(interval.low < 900_000.0 && interval.high > 900_000.0, "{interval:?}");
        }
        assert!(many.high - many.low < (few.high - few.low) / 3.0);
        assert_eq!(interval(&Histogram::default(), 0.5), None);
    }
}
