//! When attempts begin and which driver makes them. Pure: no clock and no randomness, so
//! that two runs of one mix do the same.

use std::time::Duration;

use crate::config::Driver;

/// The time of arrival number `index`, from the start of the run. Computed from the
/// index, so that rounding does not add up.
pub(crate) fn arrival_offset(index: u64, per_second: f64) -> Duration {
    Duration::from_secs_f64(index as f64 / per_second)
}

/// Deals out drivers by weight, spread evenly (smooth weighted round robin).
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    entries: Vec<Entry>,
    weight_sum: i64,
}

#[derive(Debug, Clone)]
struct Entry {
    driver: Driver,
    weight: i64,
    credit: i64,
}

impl Deal {
    pub(crate) fn new(mix: &[(Driver, u32)]) -> Self {
        let entry = |(driver, weight): &(Driver, u32)| Entry {
            driver: *driver,
            weight: i64::from(*weight),
            credit: 0,
        };
        let entries: Vec<Entry> = mix.iter().map(entry).collect();
        let weight_sum = entries.iter().map(|entry| entry.weight).sum();
        Self { entries, weight_sum }
    }

    /// The next driver; `None` when the mix is empty.
    pub(crate) fn next(&mut self) -> Option<Driver> {
        for entry in &mut self.entries {
            entry.credit += entry.weight;
        }
        let chosen = self.entries.iter_mut().max_by_key(|entry| entry.credit)?;
        chosen.credit -= self.weight_sum;
        Some(chosen.driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arrivals_do_not_drift() {
        for (index, rate, expect_ms) in [
            (0, 500.0, 0),
            (1, 500.0, 2),
            (500, 500.0, 1000),
            (3_000_000, 300.0, 10_000_000),
            (1, 0.5, 2000),
        ] {
            assert_eq!(arrival_offset(index, rate).as_millis(), expect_ms);
        }
    }

    proptest! {
        #[test]
        fn a_whole_round_deals_each_driver_its_weight(
            weights in proptest::collection::vec(1_u32..20, 1..6),
            rounds in 1_u32..4,
        ) {
            let mix: Vec<(Driver, u32)> = Driver::ALL.into_iter().zip(weights).collect();
            let total: u32 = mix.iter().map(|(_, weight)| weight).sum();
            let mut deal = Deal::new(&mix);
            let mut dealt = [0_u32; 6];
            for _ in 0..total * rounds {
                let driver = deal.next().expect("the mix is not empty");
                dealt[driver.index()] += 1;
            }
            for (driver, weight) in mix {
                prop_assert_eq!(dealt[driver.index()], weight * rounds);
            }
        }
    }

    #[test]
    fn an_empty_mix_deals_nothing() {
        assert_eq!(Deal::new(&[]).next(), None);
    }
}
