//! When an environment with a lease is to be warned of, and when it ends. Pure; called by the
//! server's housekeeping, which writes events and asks for the end.
//!
//! Nothing ends that was not warned of, nor while nobody could renew it: a server that was down, on a
//! machine that slept or whose clock was set, when a lease ran out warns (again) and gives a while.

use std::time::Duration;

use ark_model::environment::{EnvKind, EnvState, Environment};
use jiff::{SignedDuration, Timestamp};

use crate::time::after;

/// The longest time between the warning and the end, in seconds; a quarter of short leases.
const NOTICE_SECONDS_MAX: u64 = 3_600;

/// What is to be done about an environment's lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Say that it is about to run out, which it does at this instant.
    Warn(Timestamp),
    /// It has run out: the environment is to be destroyed.
    End,
}

/// See the module. The server has looked without a gap since `awake_since`.
pub fn due(environment: &Environment, awake_since: Timestamp, now: Timestamp) -> Due {
    let Some(lease) = &environment.lease else { return Due::Nothing };
    match (environment.kind, environment.state) {
        (EnvKind::Development, EnvState::Active) => {}
        // What is permanent has no lease; should a record say otherwise, it stays all the same.
        (EnvKind::Permanent, _) | (_, EnvState::Destroying) => return Due::Nothing,
    }
    let notice = Duration::from_secs((lease.seconds / 4).min(NOTICE_SECONDS_MAX));
    match lease.warned_at {
        Some(warned_at) if now >= lease.until => {
            let in_time = after(warned_at.max(awake_since), notice / 2);
            if now >= in_time { Due::End } else { Due::Warn(after(now, notice / 2)) }
        }
        Some(_) => Due::Nothing,
        None if after(now, notice) >= lease.until => {
            Due::Warn(lease.until.max(after(now, notice / 2)))
        }
        None => Due::Nothing,
    }
}

/// The instant at which a lease given now runs out.
pub fn until(seconds: u64, now: Timestamp) -> Timestamp {
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let end = after(whole, Duration::from_secs(seconds));
    // A fraction of a second more than asked for, not less.
    if whole < now { end.checked_add(SignedDuration::from_secs(1)).unwrap_or(end) } else { end }
}

#[cfg(test)]
mod tests {
    use ark_model::environment::EnvLease;

    use super::*;

    const HOUR: i64 = 3_600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    fn environment(seconds: u64, warned_at: Option<i64>) -> Environment {
        Environment {
            name: "eng1-env".parse().expect("a name"),
            kind: EnvKind::Development,
            state: EnvState::Active,
            owner: "ana".into(),
            created_at: at(0),
            freeze: Vec::new(),
            lease: Some(EnvLease {
                seconds,
                until: at(seconds as i64),
                by: "ana".into(),
                warned_at: warned_at.map(at),
            }),
        }
    }

    #[test]
    fn it_is_warned_of_and_then_ends() {
        let eight = 8 * HOUR as u64;
        let cases = [
            (eight, None, 0, Due::Nothing),
            (eight, None, 7 * HOUR - 1, Due::Nothing),
            (eight, None, 7 * HOUR, Due::Warn(at(8 * HOUR))),
            (eight, Some(7 * HOUR), 7 * HOUR + 5, Due::Nothing),
            (eight, Some(7 * HOUR), 8 * HOUR - 1, Due::Nothing),
            (eight, Some(7 * HOUR), 8 * HOUR, Due::End),
            // Nobody was there to warn: half the notice is left.
            (eight, None, 8 * HOUR - 60, Due::Warn(at(8 * HOUR - 60 + HOUR / 2))),
            (eight, None, 90 * HOUR, Due::Warn(at(90 * HOUR + HOUR / 2))),
            // A quarter of a short one.
            (80, None, 59, Due::Nothing),
            (80, None, 60, Due::Warn(at(80))),
            (80, Some(60), 80, Due::End),
        ];
        for (seconds, warned, now, expected) in cases {
            let found = due(&environment(seconds, warned), at(0), at(now));
            assert_eq!(found, expected, "{seconds} s, warned at {warned:?}, now {now}");
        }
    }

    #[test]
    fn nothing_ends_while_nobody_could_renew_it() {
        let eight = 8 * HOUR as u64;
        let warned = environment(eight, Some(7 * HOUR));
        let cases = [
            // Down, or asleep, since the warning: half the notice is left once more.
            (20 * HOUR, 20 * HOUR, Due::Warn(at(20 * HOUR + HOUR / 2))),
            // Back for a moment only.
            (8 * HOUR - 5, 8 * HOUR, Due::Warn(at(8 * HOUR + HOUR / 2))),
            // Back for long enough.
            (7 * HOUR + HOUR / 2, 8 * HOUR, Due::End),
            (7 * HOUR + HOUR / 2 + 1, 8 * HOUR, Due::Warn(at(8 * HOUR + HOUR / 2))),
            // Back before the end: nothing to do yet.
            (7 * HOUR + 100, 7 * HOUR + 200, Due::Nothing),
        ];
        for (awake_since, now, expected) in cases {
            let found = due(&warned, at(awake_since), at(now));
            assert_eq!(found, expected, "awake since {awake_since}, now {now}");
        }
        let again = |lease: EnvLease| Environment { lease: Some(lease), ..warned.clone() };
        let until = at(20 * HOUR + HOUR / 2);
        let lease =
            EnvLease { seconds: eight, until, by: "ana".into(), warned_at: Some(at(20 * HOUR)) };
        assert_eq!(due(&again(lease), at(20 * HOUR), until), Due::End, "it does end");
    }

    #[test]
    fn what_is_permanent_going_or_without_a_lease_never_ends_by_itself() {
        let ended = environment(80, Some(60));
        assert_eq!(due(&ended, at(0), at(100)), Due::End);
        for spared in [
            Environment { kind: EnvKind::Permanent, ..ended.clone() },
            Environment { state: EnvState::Destroying, ..ended.clone() },
            Environment { lease: None, ..ended },
        ] {
            assert_eq!(due(&spared, at(0), at(1_000_000)), Due::Nothing, "{spared:?}");
        }
    }

    #[test]
    fn a_lease_is_never_shorter_than_asked_for() {
        let now = Timestamp::from_millisecond(10_900).expect("an instant");
        assert_eq!(until(60, now), at(71));
        assert_eq!(until(60, at(10)), at(70));
        assert_eq!(until(u64::MAX, now), Timestamp::MAX);
    }
}
