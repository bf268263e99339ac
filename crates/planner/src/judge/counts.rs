//! Exact tests of counts: are so many hits on the new side more than chance allows, given those on
//! the old side? Exact, because what matters is sparse: three errors against none.

use super::special::{ln_choose, ln_factorial};

/// Hits among all, on two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Hits on the new side.
    pub new_hits: u64,
    /// All on the new side.
    pub new_all: u64,
    /// Hits on the old side.
    pub old_hits: u64,
    /// All on the old side.
    pub old_all: u64,
}

impl Table {
    /// Share of hits on the new side; 0 of 0 is 0.
    pub fn new_share(self) -> f64 {
        self.new_hits as f64 / (self.new_all.max(1)) as f64
    }

    /// Share of hits on the old side; 0 of 0 is 0.
    pub fn old_share(self) -> f64 {
        self.old_hits as f64 / (self.old_all.max(1)) as f64
    }

    /// The same with hits and others exchanged: fewer hits are more others.
    pub fn complement(self) -> Self {
        Self {
            new_hits: self.new_all - self.new_hits,
            old_hits: self.old_all - self.old_hits,
            ..self
        }
    }

    /// As if only one request in `factor` had been seen: what is left of requests that come in
    /// clusters of that size. Rounded against finding a difference.
    pub fn thinned(self, factor: f64) -> Self {
        let part = |count: u64| count as f64 / factor;
        let new_all = part(self.new_all).floor() as u64;
        let old_all = part(self.old_all).floor() as u64;
        Self {
            new_hits: (part(self.new_hits).floor() as u64).min(new_all),
            new_all,
            old_hits: (part(self.old_hits).ceil() as u64).min(old_all),
            old_all,
        }
    }

    fn hits(self) -> u64 {
        self.new_hits + self.old_hits
    }
}

/// Fisher's exact test, one-sided: the chance that at least so many of all hits fall on the new
/// side when each falls on any request alike (the upper tail of the hypergeometric distribution).
/// R. A. Fisher, Statistical Methods for Research Workers, 5th edition, 1934, section 21.02.
pub fn fisher_more(table: Table) -> f64 {
    upper_tail(table.new_all, table.old_all, table.hits(), table.new_hits)
}

/// Hits in all up to which [`boschloo_more`] is computed; with more, the two hardly differ.
const BOSCHLOO_HITS_MAX: u64 = 100;
/// Rates tried for the least favourable one.
const RATES: u32 = 48;
/// Chance with which the common rate is above those tried; it is added to the p-value.
const RATE_UNSEEN: f64 = 1e-5;

/// Boschloo's test, one-sided: Fisher's p-value as the statistic, and its chance at the least
/// favourable common rate of hits as the p-value. Fisher takes the number of all hits as given,
/// which wastes the information that there might have been fewer: five errors in a thousand against
/// none in two thousand are 1 in 240 by Fisher, 1 in 370 so. Only rates are tried that could have
/// given so few hits, and the chance that the rate is none of them is added.
///
/// R. D. Boschloo, Raised Conditional Level of Significance for the 2x2-table, Statistica
/// Neerlandica 24, 1970; R. L. Berger and D. D. Boos, P Values Maximized over a Confidence Set for
/// the Nuisance Parameter, Journal of the American Statistical Association 89, 1994.
pub fn boschloo_more(table: Table) -> f64 {
    let fisher = fisher_more(table);
    if table.hits() == 0 || table.hits() > BOSCHLOO_HITS_MAX || fisher >= 0.5 {
        return fisher;
    }
    let all = table.new_all + table.old_all;
    let expected_most = expected_hits_most(table.hits()).min(all as f64 * 0.999);
    let hits_most = (expected_most + 12.0 * expected_most.sqrt() + 20.0) as u64;
    // For each number of hits in all: the chance that Fisher's p-value is as small as ours.
    let mut extreme = Vec::new();
    let mut critical = 0;
    for hits in 0..=hits_most.min(all) {
        let is_extreme = |tail: f64| tail <= fisher * (1.0 + 1e-9);
        let mut tail = upper_tail(table.new_all, table.old_all, hits, critical);
        // The critical count grows with the number of all hits.
        while !is_extreme(tail) && critical <= hits {
            critical += 1;
            tail = upper_tail(table.new_all, table.old_all, hits, critical);
        }
        extreme.push(if critical <= hits { tail } else { 0.0 });
    }
    let chance_at = |expected: f64| -> f64 {
        let rate = expected / all as f64;
        let (ln_rate, ln_rest) = (rate.ln(), (-rate).ln_1p());
        let ln_chance = |hits: u64| {
            ln_choose(all, hits) + hits as f64 * ln_rate + (all - hits) as f64 * ln_rest
        };
        extreme.iter().zip(0..).map(|(tail, hits)| tail * ln_chance(hits).exp()).sum()
    };
    let rates = (1..=RATES).map(|i| expected_most * f64::from(i) / f64::from(RATES));
    let worst = rates.map(chance_at).fold(0.0, f64::max);
    (worst + RATE_UNSEEN).min(fisher)
}

/// The expected number of hits above which so few are seen with a chance of [`RATE_UNSEEN`] only
/// (Poisson, to 1 %).
fn expected_hits_most(hits: u64) -> f64 {
    let chance_of_so_few = |expected: f64| -> f64 {
        (0..=hits).map(|k| (k as f64 * expected.ln() - expected - ln_factorial(k)).exp()).sum()
    };
    let mut expected = hits as f64 + 1.0;
    while chance_of_so_few(expected) > RATE_UNSEEN {
        expected *= 1.01;
    }
    expected
}

/// Chance that at least `k` of `hits`, thrown on `new + old` places, fall on the `new` ones.
fn upper_tail(new: u64, old: u64, hits: u64, k: u64) -> f64 {
    let least = hits.saturating_sub(old);
    let most = hits.min(new);
    if k <= least {
        return 1.0;
    }
    if k > most {
        return 0.0;
    }
    let ln_all = ln_choose(new + old, hits);
    let at = |k: u64| (ln_choose(new, k) + ln_choose(old, hits - k) - ln_all).exp();
    let mode = ((hits + 1) as f64 * (new + 1) as f64 / (new + old + 2) as f64) as u64;
    // The terms fall away from the mode on both sides: sum the tail that does not hold it.
    if k > mode {
        sum_until_negligible((k..=most).map(at))
    } else {
        1.0 - sum_until_negligible((least..k).rev().map(at))
    }
    .clamp(0.0, 1.0)
}

/// Sums falling terms; the rest is left out when it can no longer be seen in the sum.
fn sum_until_negligible(terms: impl Iterator<Item = f64>) -> f64 {
    let mut sum = 0.0;
    for term in terms {
        sum += term;
        if term <= sum * 1e-16 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(new_hits: u64, new_all: u64, old_hits: u64, old_all: u64) -> Table {
        Table { new_hits, new_all, old_hits, old_all }
    }

    #[track_caller]
    fn check(got: f64, wanted: f64) {
        assert!((got / wanted - 1.0).abs() < 1e-9, "got {got}, wanted {wanted}");
    }

    #[test]
    fn fisher_agrees_with_counting() {
        // The tea lady: 3 of 4 and 4 of 4 right, of 70 ways.
        check(fisher_more(table(3, 4, 1, 4)), 17.0 / 70.0);
        check(fisher_more(table(4, 4, 0, 4)), 1.0 / 70.0);
        check(fisher_more(table(0, 4, 4, 4)), 1.0);
        // All hits on one of two equal sides of one each.
        check(fisher_more(table(1, 1, 0, 1)), 0.5);
        check(fisher_more(table(0, 100, 0, 100)), 1.0);
    }

    #[test]
    fn fisher_does_not_lose_itself_in_large_counts() {
        let p = fisher_more(table(500_500, 1_000_000, 500_000, 1_000_000));
        assert!((0.23..0.25).contains(&p), "{p}");
        assert!(fisher_more(table(20_000, 1_000_000, 10_000, 1_000_000)) < 1e-100);
    }

    /// The p-value of Boschloo's test, counted out over every outcome and a fine grid of rates.
    fn boschloo_by_force(t: Table) -> f64 {
        let seen = fisher_more(t);
        let pmf = |n: u64, k: u64, p: f64| {
            ln_choose(n, k).exp() * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
        };
        let extreme: Vec<(u64, u64)> = (0..=t.new_all)
            .flat_map(|x| (0..=t.old_all).map(move |y| (x, y)))
            .filter(|(x, y)| {
                fisher_more(table(*x, t.new_all, *y, t.old_all)) <= seen * (1.0 + 1e-9)
            })
            .collect();
        let most = expected_hits_most(t.hits()) / (t.new_all + t.old_all) as f64;
        (1..1000)
            .map(|i| f64::from(i) / 1000.0)
            .filter(|p| *p <= most.min(0.999))
            .map(|p| {
                extreme.iter().map(|(x, y)| pmf(t.new_all, *x, p) * pmf(t.old_all, *y, p)).sum()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn boschloo_agrees_with_counting_it_out() {
        for t in [table(5, 12, 0, 12), table(4, 10, 1, 25), table(7, 9, 3, 14), table(3, 30, 0, 12)]
        {
            let (got, wanted) = (boschloo_more(t), boschloo_by_force(t));
            let seen = fisher_more(t);
            assert!(
                got >= wanted * 0.99 && got <= (wanted * 1.01 + RATE_UNSEEN).min(seen),
                "{t:?}: got {got}, wanted {wanted}, Fisher {seen}"
            );
        }
    }

    #[test]
    fn boschloo_sees_sparse_errors() {
        let five_to_none = table(5, 1_000, 0, 2_000);
        assert!((0.0040..0.0042).contains(&fisher_more(five_to_none)));
        let p = boschloo_more(five_to_none);
        assert!((0.0025..0.0029).contains(&p), "{p}");
    }

    #[test]
    fn thinning_rounds_against_finding_a_difference() {
        assert_eq!(table(7, 100, 1, 100).thinned(2.0), table(3, 50, 1, 50));
        assert_eq!(table(7, 100, 1, 100).thinned(1.0), table(7, 100, 1, 100));
    }
}
