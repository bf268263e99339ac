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
    use super::super::special::ln_choose;
    use super::*;

    /// The chance of `k` or more of `n`, each with chance `q`.
    fn or_more(n: u64, q: f64, k: u64) -> f64 {
        let ln = |i: u64| ln_choose(n, i) + i as f64 * q.ln() + (n - i) as f64 * (1.0 - q).ln();
        (k..=n).map(|i| ln(i).exp()).sum()
    }

    /// The percentile bootstrap with infinitely many draws: a redrawn quantile is at most the value of
    /// rank `k` when enough of `n` draws, each with chance `k / n`, are.
    #[test]
    fn a_bootstrap_would_end_at_the_same_values() {
        let n = 1_000;
        let all = n as f64;
        for (share, wanted) in [(0.5, 500), (0.9, 900), (0.99, 990)] {
            let rank = |chance: f64| {
                let reached = (1..n).find(|k| or_more(n, *k as f64 / all, wanted) >= chance);
                reached.unwrap_or(n) as f64
            };
            let spread = Z * (share * (1.0 - share) / all).sqrt();
            for (theirs, ours) in [(rank(0.025), share - spread), (rank(0.975), share + spread)] {
                assert!((theirs - ours * all).abs() <= 2.0, "{share}: {theirs}, {}", ours * all);
            }
        }
    }

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
