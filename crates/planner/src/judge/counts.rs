//! Exact tests of counts: are `new_hits` of `new_all` more than chance allows, given `old_hits` of
//! `old_all`?

use super::special::ln_choose;

/// Two counts of two sides.
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
}

/// Fisher's exact test, one-sided: the chance that at least so many of all hits fall on the new
/// side when each falls on any request alike (the upper tail of the hypergeometric distribution).
/// R. A. Fisher, Statistical Methods for Research Workers, 5th edition, 1934, section 21.02.
pub fn fisher_more(table: Table) -> f64 {
    let hits = table.new_hits + table.old_hits;
    upper_tail(table.new_all, table.old_all, hits, table.new_hits)
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
