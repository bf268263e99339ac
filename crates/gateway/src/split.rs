//! Which side of a split a request goes to. Shares are dealt, not drawn: of each hundred requests
//! that one worker thread admits exactly the percent goes to the canary, in an order that is new for
//! each hundred. Users that are kept on their side are told by a cookie.

use std::cell::Cell;

use ark_model::ids::ReleaseNumber;
use ark_model::traffic::{Split, Sticky};

use crate::rules::{Fields, any_cookie, any_matches};

/// A side of a split. Routes without a split have the first alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    /// Every release but the canary.
    #[default]
    Stable,
    /// The canary.
    Canary,
}

/// Deals shares; one per route and worker thread.
#[derive(Debug, Default)]
pub(crate) struct Dealer {
    /// How many of this hundred were dealt.
    dealt: Cell<u32>,
    /// The order of this hundred: the n-th has the place `(step * n + start) mod 100`.
    step: Cell<u32>,
    start: Cell<u32>,
}

/// Numbers that share no divisor with 100: each takes every place once.
const STEPS: [u32; 40] = [
    1, 3, 7, 9, 11, 13, 17, 19, 21, 23, 27, 29, 31, 33, 37, 39, 41, 43, 47, 49, 51, 53, 57, 59, 61,
    63, 67, 69, 71, 73, 77, 79, 81, 83, 87, 89, 91, 93, 97, 99,
];

impl Dealer {
    /// Whether the next one belongs to the share.
    pub(crate) fn deal(&self, percent: u8, random: &mut dyn FnMut() -> u64) -> bool {
        if percent == 0 || percent >= 100 {
            return percent >= 100;
        }
        let dealt = self.dealt.get();
        if dealt == 0 {
            let draw = random();
            self.step.set(STEPS[(draw >> 32) as usize % STEPS.len()]);
            self.start.set((draw % 100) as u32);
        }
        self.dealt.set((dealt + 1) % 100);
        (self.step.get() * dealt + self.start.get()) % 100 < u32::from(percent)
    }
}

/// Where a request goes, and the cookie its answer sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) side: Side,
    pub(crate) set_cookie: Option<String>,
}

/// Decides for one request on a route with this path.
pub(crate) fn decide(
    split: &Split,
    path: &str,
    fields: &dyn Fields,
    dealer: &Dealer,
    random: &mut dyn FnMut() -> u64,
) -> Decision {
    if any_matches(&split.header, fields) {
        return Decision { side: Side::Canary, set_cookie: None };
    }
    let undecided = (1..100).contains(&split.percent);
    if let Some(sticky) = split.sticky.as_ref().filter(|_| undecided) {
        let mut known = None;
        any_cookie(&sticky.cookie, fields, &mut |value| {
            known = Some(place(value, split.canary));
            true
        });
        if let Some(place) = known {
            return Decision { side: side_of(place, split.percent), set_cookie: None };
        }
    }
    let side = if dealer.deal(split.percent, random) { Side::Canary } else { Side::Stable };
    let sets = split.sticky.as_ref().filter(|sticky| undecided && sticky.ttl_s > 0);
    let set_cookie = sets.map(|sticky| new_cookie(sticky, split, side, path, random));
    Decision { side, set_cookie }
}

/// Places a user may have: the share is exact to a hundredth of a percent.
const PLACES: u64 = 10_000;

fn side_of(place: u64, percent: u8) -> Side {
    if place < u64::from(percent) * (PLACES / 100) { Side::Canary } else { Side::Stable }
}

/// A user's place while this release is the canary: FNV-1a over the cookie's value and the release's
/// number, stirred once more, since FNV's upper bits change little with the last byte.
fn place(value: &[u8], canary: ReleaseNumber) -> u64 {
    let bytes = value.iter().copied().chain(canary.0.to_be_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash % PLACES
}

/// How often a value is drawn anew until its place is on the wanted side: with one percent, fewer
/// than one in a million users needs more.
const DRAWS_MAX: u32 = 1_400;

/// A cookie that keeps a new user on the side that was dealt.
fn new_cookie(
    sticky: &Sticky,
    split: &Split,
    side: Side,
    path: &str,
    random: &mut dyn FnMut() -> u64,
) -> String {
    let mut value = String::new();
    for _ in 0..DRAWS_MAX {
        value = format!("{:016x}", random());
        if side_of(place(value.as_bytes(), split.canary), split.percent) == side {
            break;
        }
    }
    let Sticky { cookie, ttl_s } = sticky;
    format!("{cookie}={value}; Path={path}; Max-Age={ttl_s}; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Head;
    use ark_model::traffic::{RequestPart, RequestRule};

    fn random() -> impl FnMut() -> u64 {
        let mut state = 88_172_645_463_325_252_u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    fn split(percent: u8) -> Split {
        Split { canary: ReleaseNumber(7), percent, sticky: None, header: vec![], mirror: None }
    }

    fn sticky(percent: u8) -> Split {
        let sticky = Some(Sticky { cookie: "ark".to_owned(), ttl_s: 60 });
        Split { sticky, ..split(percent) }
    }

    #[test]
    fn of_each_hundred_exactly_the_percent() {
        let mut random = random();
        for percent in 0..=100 {
            let dealer = Dealer::default();
            for _ in 0..5 {
                let dealt = (0..100).filter(|_| dealer.deal(percent, &mut random)).count();
                assert_eq!(dealt, usize::from(percent));
            }
        }
    }

    #[test]
    fn who_is_on_the_canary_stays_there_while_the_percent_grows() {
        let (mut random, dealer) = (random(), Dealer::default());
        let mut users = 0;
        for percent in [1, 5, 25, 50] {
            let mut decided = 0;
            for _ in 0..400 {
                let new = decide(
                    &sticky(percent),
                    "/",
                    &Head(b"GET / HTTP/1.1\r\n"),
                    &dealer,
                    &mut random,
                );
                let cookie = new.set_cookie.unwrap();
                assert!(
                    cookie.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"),
                    "{cookie}"
                );
                decided += usize::from(new.side == Side::Canary);
                let pair = cookie.split(';').next().unwrap();
                let head = format!("GET / HTTP/1.1\r\nCookie: x=y; {pair}\r\n\r\n");
                let mut before = new.side;
                for later in [percent, percent + 1, 60, 99, 100] {
                    let again =
                        decide(&sticky(later), "/", &Head(head.as_bytes()), &dealer, &mut random);
                    assert_eq!(again.set_cookie, None);
                    assert!(before == Side::Stable || again.side == Side::Canary);
                    if later == percent {
                        assert_eq!(again.side, new.side);
                    }
                    before = again.side;
                }
                assert_eq!(before, Side::Canary, "all are there at 100");
                users += 1;
            }
            assert_eq!(decided, 400 * usize::from(percent) / 100);
        }
        assert_eq!(users, 1600);
    }

    #[test]
    fn users_are_spread_evenly_and_anew_for_each_release() {
        let on_canary = |release: u64| -> Vec<bool> {
            let is = |user: u32| {
                let value = format!("session-{user}");
                side_of(place(value.as_bytes(), ReleaseNumber(release)), 20) == Side::Canary
            };
            (0..20_000).map(is).collect()
        };
        let (one, other) = (on_canary(1), on_canary(2));
        for side in [&one, &other] {
            let count = side.iter().filter(|canary| **canary).count();
            assert!((3_800..4_200).contains(&count), "{count} of 20,000");
        }
        let both = one.iter().zip(&other).filter(|(a, b)| **a && **b).count();
        assert!((700..900).contains(&both), "{both} are on both");
    }

    #[test]
    fn rules_stand_over_the_share() {
        let rule = |name: &str, value: Option<&str>| RequestRule {
            part: RequestPart::Header,
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let split = Split { header: vec![rule("x-a", Some("1")), rule("x-b", None)], ..sticky(0) };
        let (mut random, dealer) = (random(), Dealer::default());
        for (head, expected) in [
            ("X-A: 1\r\n", Side::Canary),
            ("X-A: 2\r\n", Side::Stable),
            ("X-B: any\r\n", Side::Canary),
            ("", Side::Stable),
        ] {
            let head = format!("GET / HTTP/1.1\r\n{head}\r\n");
            let decision = decide(&split, "/", &Head(head.as_bytes()), &dealer, &mut random);
            assert_eq!(decision, Decision { side: expected, set_cookie: None }, "{head:?}");
        }
    }
}
