//! The arithmetic of balancing: when unhealthy targets are used all the same (panic), how much a
//! target gets that has just joined, when one is ejected and for how long. Pure; `pool` and
//! `ejection` ask it.

use std::time::Duration;

/// Below this share of healthy targets, in percent, all are used.
pub(crate) const PANIC_PERCENT: u32 = 50;
/// How many targets more than needed are taken to be there: with a factor of 1.4 a level is full
/// while 72 % of it are healthy.
const OVERPROVISIONING_PERCENT: u32 = 140;
/// The least share of a target that has just joined, in thousandths.
const SLOW_START_FLOOR: u64 = 100;
/// A target's full share, in thousandths.
pub(crate) const FULL: u64 = 1000;
/// Failures in a row after which a target is ejected.
pub(crate) const EJECT_AFTER: u32 = 5;
/// For how long, times the number of ejections.
const EJECT_FOR: Duration = Duration::from_secs(30);
/// The longest ejection.
const EJECT_FOR_MAX: Duration = Duration::from_secs(300);
/// The most targets that may be ejected at once, in percent (but always one).
const EJECT_PERCENT: usize = 10;

/// Targets of one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) healthy: u32,
    pub(crate) total: u32,
}

/// What a level gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelLoad {
    /// Of all requests, in percent.
    pub(crate) percent: u32,
    /// Whether its unhealthy targets are used too.
    pub(crate) panic: bool,
}

/// How requests are spread over levels, the first preferred. Envoy's rule: a level's health is
/// `min(100, 140 * healthy / total)`; all levels' health, added up to at most 100, is what there is;
/// each level takes of it what its health allows, in order, scaled so that all is given out. What
/// integer division leaves over goes to the first level that has any. A level panics when there is
/// less than 100 and fewer than [`PANIC_PERCENT`] of its targets are healthy. Returned with what
/// there is (100 or less).
///
/// Ark's routes have one level; the rule stands whole so that it can be compared with Envoy's.
pub(crate) fn spread_over_levels(levels: &[Level]) -> (Vec<LevelLoad>, u32) {
    let health = |level: &Level| match level.total {
        0 => 0,
        total => (OVERPROVISIONING_PERCENT * level.healthy / total).min(100),
    };
    let there_is = levels.iter().map(health).sum::<u32>().min(100);
    let mut left = 100;
    let mut loads: Vec<LevelLoad> = levels
        .iter()
        .map(|level| {
            let percent = (health(level) * 100).checked_div(there_is).unwrap_or(0).min(left);
            left -= percent;
            LevelLoad { percent, panic: there_is < 100 && is_below_threshold(*level) }
        })
        .collect();
    if there_is == 0 {
        // Nothing is healthy anywhere: the first level is used, and it panics.
        if let Some(first) = loads.first_mut() {
            first.percent = left;
        }
    } else if let Some(first) = loads.iter_mut().find(|load| load.percent > 0) {
        first.percent += left;
    }
    (loads, there_is)
}

fn is_below_threshold(level: Level) -> bool {
    level.healthy * 100 < PANIC_PERCENT * level.total
}

/// Whether a route's unhealthy targets are used too: [`spread_over_levels`] for a single level.
pub(crate) fn panics(healthy: usize, total: usize) -> bool {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX / 200).min(u32::MAX / 200);
    let level = Level { healthy: count(healthy), total: count(total) };
    level.total > 0 && spread_over_levels(&[level]).0[0].panic
}

/// A target's share `since_ms` after it joined others, in thousandths: from a tenth to all of it in
/// a straight line over `over_ms`.
pub(crate) fn slow_start(since_ms: u64, over_ms: u64) -> u64 {
    if since_ms >= over_ms {
        return FULL;
    }
    (since_ms * FULL / over_ms).max(SLOW_START_FLOOR)
}

/// Whether one more of `total` targets may be ejected when `ejected` are.
pub(crate) fn may_eject(ejected: usize, total: usize) -> bool {
    ejected < (total * EJECT_PERCENT / 100).max(1)
}

/// For how long a target is ejected that was `before` times already, the last time `returned_for`
/// ago: 30 s times the count, at most 5 min. Each 30 s without an ejection take one off. Returned
/// with the new count.
pub(crate) fn ejection(before: u32, returned_for: Duration) -> (Duration, u32) {
    let forgiven = returned_for.as_secs() / EJECT_FOR.as_secs();
    let count = before.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)) + 1;
    ((EJECT_FOR * count).min(EJECT_FOR_MAX), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lacking;

    /// The cases of Envoy's documentation; `None` (said aloud) where they are not at hand.
    fn cases() -> Option<serde_json::Value> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/tables/envoy_priority_panic_cases.json"
        );
        match std::fs::read(path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
            Err(_) => {
                let why = format!("{path} is not there");
                lacking::skip("panic of priorities", lacking::Lack::SharedData, &why);
                None
            }
        }
    }

    fn numbers(value: &serde_json::Value) -> Vec<u32> {
        let list = value.as_array().unwrap();
        list.iter().map(|n| u32::try_from(n.as_u64().unwrap()).unwrap()).collect()
    }

    fn levels(healthy: &[u32]) -> Vec<Level> {
        healthy.iter().map(|healthy| Level { healthy: *healthy, total: 100 }).collect()
    }

    /// The documentation rounds for display, so a percent is right within two.
    fn assert_load(healthy: &[u32], expected: &[u32]) {
        let (loads, _) = spread_over_levels(&levels(healthy));
        let found: Vec<u32> = loads.iter().map(|load| load.percent).collect();
        assert_eq!(found.iter().sum::<u32>(), 100, "{healthy:?}");
        let near = found.iter().zip(expected).all(|(one, other)| one.abs_diff(*other) <= 2);
        assert!(near && found.len() == expected.len(), "{healthy:?}: {found:?}, not {expected:?}");
    }

    #[test]
    fn loads_and_panic_are_envoys() {
        let Some(cases) = cases() else { return };
        for case in cases["one_level_vs_full_p1"].as_array().unwrap() {
            let p0 = u32::try_from(case["p0_healthy"].as_u64().unwrap()).unwrap();
            assert_load(&[p0, 100], &numbers(&case["load"]));
        }
        for name in ["two_levels", "three_levels", "panic"] {
            for case in cases[name].as_array().unwrap() {
                assert_load(&numbers(&case["healthy"]), &numbers(&case["load"]));
            }
        }
        for case in cases["panic"].as_array().unwrap() {
            let (loads, there_is) = spread_over_levels(&levels(&numbers(&case["healthy"])));
            let panic: Vec<bool> = loads.iter().map(|load| load.panic).collect();
            let expected: Vec<bool> =
                case["panic"].as_array().unwrap().iter().map(|p| p.as_bool().unwrap()).collect();
            assert_eq!(panic, expected, "{case}");
            assert_eq!(u64::from(there_is), case["normalized_total"].as_u64().unwrap(), "{case}");
        }
    }

    #[test]
    fn a_route_panics_below_half() {
        for (healthy, total, expected) in [
            (0, 0, false),
            (0, 1, true),
            (1, 1, false),
            (1, 2, false),
            (1, 3, true),
            (2, 4, false),
            (2, 5, true),
            (49, 100, true),
            (50, 100, false),
        ] {
            assert_eq!(panics(healthy, total), expected, "{healthy} of {total}");
        }
    }

    #[test]
    fn a_joining_target_gets_more_and_more() {
        for (since_ms, expected) in
            [(0, 100), (3_000, 100), (6_000, 200), (15_000, 500), (30_000, 1000), (90_000, 1000)]
        {
            assert_eq!(slow_start(since_ms, 30_000), expected, "{since_ms}");
        }
        assert_eq!(slow_start(0, 0), FULL);
    }

    #[test]
    fn ejections_are_few_and_grow() {
        for (ejected, total, expected) in [
            (0, 1, true),
            (1, 2, false),
            (0, 9, true),
            (1, 20, true),
            (2, 20, false),
            (1, 19, false),
        ] {
            assert_eq!(may_eject(ejected, total), expected, "{ejected} of {total}");
        }
        for (before, returned_s, expected) in [
            (0, 0, (30, 1)),
            (1, 0, (60, 2)),
            (2, 29, (90, 3)),
            (2, 61, (30, 1)),
            (20, 0, (300, 21)),
        ] {
            let (duration, count) = ejection(before, Duration::from_secs(returned_s));
            assert_eq!((duration.as_secs(), count), expected, "{before} {returned_s}");
        }
    }
}
