//! What was measured of both sides while a deployment ran, as its page shows it: out of the judge's
//! evidence ([`crate::measures`]), which covers a deployment from its beginning and outlives the server.
//! Asked for by the API while it goes on; written down with its end by `tasks/record`. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_model::api::TrafficHistory;
use ark_planner::Measured;
use jiff::{SignedDuration, Timestamp};

use crate::recent_traffic::{Flows, slice};

/// The most slices; those of a longer deployment are longer.
const SLICES_MAX: i64 = 90;
/// The shortest slice, in seconds.
const SLICE_S_MIN: i64 = 2;

/// Slices of equal length from an instant to another, oldest first. What was measured before and after
/// is left out.
pub(crate) fn history(
    measured: &[Arc<Measured>],
    from: Timestamp,
    until: Timestamp,
) -> TrafficHistory {
    let seconds = (until.as_second() - from.as_second()).max(0) + 1;
    let slice_s = (seconds as u64).div_ceil(SLICES_MAX as u64).max(SLICE_S_MIN as u64) as i64;
    let number = |at: Timestamp| (at.as_second() - from.as_second()).div_euclid(slice_s);
    let mut slices: BTreeMap<i64, Flows> = BTreeMap::new();
    let within = measured.iter().filter(|m| (0..=number(until)).contains(&number(m.from)));
    for one in within {
        let sides = slices.entry(number(one.from)).or_default();
        for (release, side) in &one.sides {
            sides.entry(Some(*release)).or_default().add(&side.into());
        }
    }
    let at = |n: i64| from.checked_add(SignedDuration::from_secs(n * slice_s)).unwrap_or(until);
    TrafficHistory {
        slice_s: u32::try_from(slice_s).unwrap_or(u32::MAX),
        slices: (0..=number(until)).map(|n| slice(at(n), slices.get(&n))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ark_model::ReleaseNumber;
    use ark_model::api::SideSlice;
    use ark_planner::judge::Slice;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    fn measured(from: i64, sides: &[(u64, u64, u64)]) -> Arc<Measured> {
        let side = |(release, served, failed): &(u64, u64, u64)| {
            let mut slice = Slice { served: *served, failed: *failed, cut: 1, ..Slice::default() };
            slice.latency_us.record(2_000);
            (ReleaseNumber(*release), slice)
        };
        Arc::new(Measured { from: at(from), sides: sides.iter().map(side).collect() })
    }

    #[test]
    fn a_deployment_has_its_own_slices_and_nothing_else_is_in_them() {
        let all = [
            measured(999, &[(1, 500, 0)]),
            measured(1_000, &[(1, 9, 0)]),
            measured(1_001, &[(1, 8, 0), (2, 1, 2)]),
            measured(1_004, &[(2, 7, 0)]),
            measured(1_007, &[(2, 500, 0)]),
        ];
        let found = history(&all, at(1_000), at(1_005));
        assert_eq!(found.slice_s, 2);
        let told: Vec<_> = found
            .slices
            .iter()
            .map(|slice| {
                let side = |s: &SideSlice| (s.release.map(|r| r.0), s.served, s.failed);
                (slice.at.as_second(), slice.sides.iter().map(side).collect::<Vec<_>>())
            })
            .collect();
        let first = vec![(Some(1), 17, 2), (Some(2), 1, 3)];
        let expected = vec![(1_000, first), (1_002, vec![]), (1_004, vec![(Some(2), 7, 1)])];
        assert_eq!(told, expected);
        assert!(found.slices[0].p99_ms.is_some_and(|ms| (1.5..2.5).contains(&ms)));
        assert_eq!(found.slices[1].p99_ms, None);
    }

    #[test]
    fn long_ones_have_longer_slices_and_a_clock_that_went_back_none_too_many() {
        for (seconds, expect) in [(-5, 2), (0, 2), (89, 2), (400, 5), (86_400, 961)] {
            let found = history(&[], at(10_000), at(10_000 + seconds));
            assert_eq!(found.slice_s, expect, "{seconds}");
            assert!(found.slices.len() <= 90, "{seconds}: {}", found.slices.len());
        }
    }
}
