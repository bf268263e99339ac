//! The U test of Mann and Whitney: does one series tend to be higher than the other? By ranks, so
//! it asks nothing of the shape of either.
//!
//! H. B. Mann and D. R. Whitney, On a Test of Whether one of Two Random Variables is Stochastically
//! Larger than the Other, Annals of Mathematical Statistics 18, 1947. Interval and estimate of the
//! shift as in R's `wilcox.test(exact = FALSE, correct = TRUE, conf.int = TRUE)`.

use super::super::special::{normal_quantile, normal_upper};
use super::root::zero;

/// Which difference is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// Either.
    TwoSided,
    /// The first series is higher.
    Greater,
    /// The first series is lower.
    Less,
}

/// The shift from control to experiment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Lower end of the confidence interval.
    pub low: f64,
    /// Upper end of the confidence interval.
    pub high: f64,
    /// The estimate of Hodges and Lehmann.
    pub estimate: f64,
}

/// Ranks from 1, ties sharing their mean; and the sum of t^3 - t over groups of t ties.
pub fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut ties = 0.0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let size = group.len() as f64;
        // The group's first rank follows from the position of its first member.
        let first =
            order.partition_point(|i| values[*i].total_cmp(&values[group[0]]).is_lt()) as f64;
        for i in group {
            ranks[*i] = first + f64::midpoint(size, 1.0);
        }
        ties += size.powi(3) - size;
    }
    (ranks, ties)
}

/// U of the first series: pairs in which it is the higher, ties counting half.
pub fn u_statistic(x: &[f64], y: &[f64]) -> f64 {
    let all: Vec<f64> = x.iter().chain(y).copied().collect();
    let n = x.len() as f64;
    ranks(&all).0[..x.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0
}

/// The p-value by the normal approximation, corrected for ties and continuity.
pub fn p_asymptotic(x: &[f64], y: &[f64], alternative: Alternative) -> f64 {
    let (n, m) = (x.len() as f64, y.len() as f64);
    let all: Vec<f64> = x.iter().chain(y).copied().collect();
    let deviation = deviation(n, m, ranks(&all).1);
    let excess = u_statistic(x, y) - n * m / 2.0;
    let upper = |excess: f64| normal_upper((excess - 0.5) / deviation);
    match alternative {
        Alternative::Greater => upper(excess),
        Alternative::Less => upper(-excess),
        Alternative::TwoSided => (2.0 * upper(excess.abs())).min(1.0),
    }
}

/// The exact p-value of small series without ties: the distribution of U counted out.
pub fn p_exact(x: &[f64], y: &[f64], alternative: Alternative) -> f64 {
    let ways = ways(x.len(), y.len());
    let all: f64 = ways.iter().sum();
    let most = x.len() * y.len();
    let at_least =
        |u: f64| ways[(u.ceil().max(0.0) as usize).min(most)..].iter().sum::<f64>() / all;
    let u = u_statistic(x, y);
    let mirrored = most as f64 - u;
    match alternative {
        Alternative::Greater => at_least(u),
        Alternative::Less => at_least(mirrored),
        Alternative::TwoSided => (2.0 * at_least(u.max(mirrored))).min(1.0),
    }
}

/// For each U, in how many ways `n` and `m` values can be ordered to give it: the coefficients of
/// the Gaussian binomial, multiplied and divided one factor at a time.
fn ways(n: usize, m: usize) -> Vec<f64> {
    let mut ways = vec![0.0; n * m + 1];
    ways[0] = 1.0;
    for i in 1..=n {
        for u in (m + i..ways.len()).rev() {
            ways[u] -= ways[u - m - i];
        }
        for u in i..ways.len() {
            ways[u] += ways[u - i];
        }
    }
    ways
}

/// Standard deviation of U.
fn deviation(n: f64, m: f64, ties: f64) -> f64 {
    let all = n + m;
    (n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt()
}

/// How far, in standard deviations less `quantile`, U is from its mean when `x` is shifted by `-mu`.
/// Falls with `mu`, in steps.
pub fn wilcoxon_diff(mu: f64, quantile: f64, x: &[f64], y: &[f64]) -> f64 {
    let (n, m) = (x.len() as f64, y.len() as f64);
    let all: Vec<f64> = x.iter().map(|v| v - mu).chain(y.iter().copied()).collect();
    let (ranks, ties) = ranks(&all);
    let excess = ranks[..x.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let correction = if excess == 0.0 { 0.0 } else { 0.5 * excess.signum() };
    (excess - correction) / deviation(n, m, ties) - quantile
}

/// The shift from `control` to `experiment` at this confidence. Neither may be empty, and not all
/// values the same.
pub fn shift(control: &[f64], experiment: &[f64], confidence: f64) -> Shift {
    let (x, y) = (experiment, control);
    let least = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mu_min, mu_max) = (least(x) - most(y), most(x) - least(y));
    let bound = |quantile: f64| {
        if wilcoxon_diff(mu_min, quantile, x, y) <= 0.0 {
            mu_min
        } else if wilcoxon_diff(mu_max, quantile, x, y) >= 0.0 {
            mu_max
        } else {
            zero(|mu| wilcoxon_diff(mu, quantile, x, y), mu_min, mu_max)
        }
    };
    let quantile = normal_quantile((1.0 - confidence) / 2.0);
    Shift { low: bound(-quantile), high: bound(quantile), estimate: bound(0.0) }
}
