//! Which certificate is got next, and when. Pure: time is an argument, and jitter follows from the
//! host's name, so that many gateways do not come at once and one gateway always says the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Of a certificate's life, the part after which it is renewed, in thirds.
const RENEW_AFTER_THIRDS: i64 = 2;
/// Of its life, the part over which renewals are spread, towards its begin.
const JITTER_OF_LIFE: i64 = 30;
/// The wait after the first failure, by how much each further one multiplies it, and the most. An
/// authority that allows five failures an hour (Let's Encrypt) is not asked more often.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(2);
const WAIT_FACTOR: i32 = 4;
const WAIT_MAX: SignedDuration = SignedDuration::from_hours(6);
/// The wait after being told that it was too often, unless told how long.
const RATE_LIMITED: SignedDuration = SignedDuration::from_hours(1);
/// The longest wait that an authority may ask for.
const TOLD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A certificate that there is for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// Whether it came from here. Others are the operator's to renew, but once they have ended
    /// anything is better.
    pub(super) ours: bool,
}

/// What went wrong lately, for one host or with the authority at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    /// How often in a row.
    pub(super) times: u32,
    /// When it may be tried again.
    pub(super) until: Timestamp,
    /// What was said the last time.
    pub(super) reason: String,
    /// Whether it was that the authority was asked too often.
    #[serde(default)]
    pub(super) rate_limited: bool,
}

/// How a failure is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// This host could not be proven, or is not allowed.
    Host,
    /// The authority does not answer, or not in order: no host need be tried.
    Authority,
    /// It was asked too often.
    RateLimited,
}

/// Whose fault a failure of `host` is after all. An authority does not say whether a limit is one
/// host's or the whole account's: met by a second host while it holds the first, it is taken for the
/// account's, so that not every host is tried against it.
pub(super) fn whose(
    fault: Fault,
    host: &str,
    failed: &BTreeMap<String, Failed>,
    now: Timestamp,
) -> Fault {
    let holds = |(other, failed): (&String, &Failed)| {
        other != host && failed.rate_limited && failed.until > now
    };
    match fault {
        Fault::RateLimited if failed.iter().any(holds) => Fault::Authority,
        Fault::RateLimited | Fault::Host | Fault::Authority => fault,
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'h> {
    /// Get one for this host.
    Order(&'h str),
    /// Nothing until then, or until hosts or files change.
    Wait(Option<Timestamp>),
}

/// What is next, of `hosts`: first who has none, then who is nearest to the end.
pub(super) fn next<'h>(
    hosts: &'h [String],
    held: &BTreeMap<&str, Held>,
    failed: &BTreeMap<String, Failed>,
    authority: Option<&Failed>,
    now: Timestamp,
) -> Next<'h> {
    let due = |host: &'h String| {
        let held = held.get(host.as_str());
        let due = held.map_or(Timestamp::MIN, |held| renewal(host, held));
        let not_before = failed.get(host).map_or(Timestamp::MIN, |failed| failed.until);
        let end = held.map_or(Timestamp::MIN, |held| held.not_after);
        (due.max(not_before), end, host.as_str())
    };
    let not_before = authority.map_or(Timestamp::MIN, |failed| failed.until);
    let dues = || hosts.iter().map(due).map(|(at, end, host)| (at.max(not_before), end, host));
    let ready = dues().filter(|(at, _, _)| *at <= now);
    match ready.min_by_key(|(_, end, host)| (*end, *host)) {
        Some((_, _, host)) => Next::Order(host),
        None => Next::Wait(dues().map(|(at, _, _)| at).min()),
    }
}

/// When a certificate is renewed.
pub(super) fn renewal(host: &str, held: &Held) -> Timestamp {
    if !held.ours {
        return held.not_after;
    }
    let life = held.not_after.duration_since(held.not_before);
    let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX / 8).max(0);
    let jitter_ms = spread(host, held.not_after.as_second(), life_ms / JITTER_OF_LIFE);
    let after_ms = life_ms * RENEW_AFTER_THIRDS / 3 - jitter_ms;
    held.not_before.saturating_add(SignedDuration::from_millis(after_ms)).unwrap_or(held.not_after)
}

/// What is remembered of a failure, after `before`. `told` is how long the authority asks to wait.
pub(super) fn after_failure(
    host: &str,
    before: Option<&Failed>,
    fault: Fault,
    told: Option<SignedDuration>,
    reason: String,
    now: Timestamp,
) -> Failed {
    let times = before.map_or(0, |before| before.times).saturating_add(1);
    let mut wait = FIRST_WAIT;
    for _ in 1..times.min(16) {
        wait = (wait * WAIT_FACTOR).min(WAIT_MAX);
    }
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(0);
    wait += SignedDuration::from_millis(spread(host, i64::from(times), wait_ms / 5));
    if fault == Fault::RateLimited {
        wait = wait.max(told.unwrap_or(RATE_LIMITED));
    }
    let wait = wait.max(told.unwrap_or(SignedDuration::ZERO)).min(TOLD_MAX);
    let until = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    Failed { times, until, reason, rate_limited: fault == Fault::RateLimited }
}

/// A number below `range` that looks random and is always the same.
fn spread(host: &str, salt: i64, range: i64) -> i64 {
    let mut hasher = DefaultHasher::new();
    (host, salt).hash(&mut hasher);
    i64::try_from(hasher.finish() >> 2).unwrap_or(0) % range.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn held(from: i64, to: i64, ours: bool) -> Held {
        Held { not_before: at(from), not_after: at(to), ours }
    }

    #[test]
    fn renewed_after_two_thirds_of_its_life_a_little_earlier_by_host() {
        const LIFE: i64 = 90 * 86_400;
        let one = held(0, LIFE, true);
        let at_of = |host: &str| renewal(host, &one).as_second() - at(0).as_second();
        let times: Vec<i64> = (0..100).map(|n| at_of(&format!("h{n}.com"))).collect();
        let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        assert!(first > LIFE * 2 / 3 - LIFE / 30, "{first}");
        assert!(last <= LIFE * 2 / 3 && last - first > LIFE / 40, "{first} to {last}");
        assert_eq!(at_of("h1.com"), at_of("h1.com"));
        // One of the operator's is left alone until it has ended.
        assert_eq!(renewal("a.com", &held(0, LIFE, false)), at(LIFE));
    }

    #[test]
    fn who_has_none_comes_first_and_failures_wait() {
        let hosts: Vec<String> = ["a.com", "b.com", "c.com"].map(str::to_owned).into();
        let mut certificates = BTreeMap::from([
            ("a.com", held(-9_000, 1_000, true)),
            ("b.com", held(-9_000, 500, true)),
        ]);
        let mut failed = BTreeMap::new();
        let fail = |times, until| Failed {
            times,
            until: at(until),
            reason: String::new(),
            rate_limited: false,
        };
        assert_eq!(next(&hosts, &certificates, &failed, None, at(0)), Next::Order("c.com"));
        failed.insert("c.com".to_owned(), fail(1, 60));
        assert_eq!(next(&hosts, &certificates, &failed, None, at(0)), Next::Order("b.com"));
        certificates.insert("b.com", held(0, 9_000, true));
        assert_eq!(next(&hosts, &certificates, &failed, None, at(0)), Next::Order("a.com"));
        certificates.insert("a.com", held(0, 9_000, true));
        assert_eq!(next(&hosts, &certificates, &failed, None, at(0)), Next::Wait(Some(at(60))));
        assert_eq!(next(&hosts, &certificates, &failed, None, at(60)), Next::Order("c.com"));
        // An authority that is away is not asked for anything.
        let away = fail(3, 300);
        let wait = Next::Wait(Some(at(300)));
        assert_eq!(next(&hosts, &certificates, &failed, Some(&away), at(60)), wait);
        assert_eq!(next(&[], &certificates, &failed, None, at(0)), Next::Wait(None));
    }

    #[test]
    fn a_limit_that_a_second_host_meets_is_taken_for_the_accounts() {
        let failed = |fault| after_failure("a.com", None, fault, None, String::new(), at(0));
        let mut hosts = BTreeMap::new();
        let whose_is = |hosts: &_, host, second| whose(Fault::RateLimited, host, hosts, at(second));
        assert_eq!(whose_is(&hosts, "b.com", 0), Fault::RateLimited);
        hosts.insert("a.com".to_owned(), failed(Fault::Host));
        assert_eq!(whose_is(&hosts, "b.com", 0), Fault::RateLimited);
        hosts.insert("a.com".to_owned(), failed(Fault::RateLimited));
        assert_eq!(whose_is(&hosts, "a.com", 0), Fault::RateLimited);
        assert_eq!(whose_is(&hosts, "b.com", 0), Fault::Authority);
        assert_eq!(whose(Fault::Host, "b.com", &hosts, at(0)), Fault::Host);
        assert_eq!(whose_is(&hosts, "b.com", 8_000), Fault::RateLimited);
    }

    #[test]
    fn waits_grow_to_six_hours_and_heed_what_the_authority_says() {
        let mut failed = None;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let now = at(0);
            let next =
                after_failure("a.com", failed.as_ref(), Fault::Host, None, "no".to_owned(), now);
            waits.push(next.until.duration_since(now).as_secs());
            failed = Some(next);
        }
        let expected = [120, 480, 1_920, 7_680, 21_600, 21_600, 21_600, 21_600, 21_600];
        for (wait, least) in waits.iter().zip(expected) {
            assert!((least..=least * 6 / 5).contains(wait), "{waits:?}");
        }
        let wait = |fault, told: Option<i64>| {
            let told = told.map(SignedDuration::from_secs);
            let failed = after_failure("a.com", None, fault, told, String::new(), at(0));
            failed.until.duration_since(at(0)).as_secs()
        };
        assert_eq!(wait(Fault::RateLimited, None), 3_600);
        assert_eq!(wait(Fault::RateLimited, Some(7_200)), 7_200);
        assert_eq!(wait(Fault::Authority, Some(7_200)), 7_200);
        assert_eq!(wait(Fault::RateLimited, Some(i64::MAX / 2_000_000_000)), 7 * 86_400);
    }
}
