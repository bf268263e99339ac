//! Choosing among targets.

use super::*;
use crate::target::{Target, TargetSpec};
use ark_model::ids::InstanceId;
use ark_model::route::RouteKey;
use proptest::prelude::{any, prop};
use proptest::{prop_assert, proptest};
use std::sync::Arc;

/// How a target of a test is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    NeverReady,
    Ready,
    /// Was ready, fails its check.
    Failing,
    /// Was ready, its process has ended.
    Ended,
    /// Ready, but ejected.
    Ejected,
    /// Ready, joined others at this time.
    Joined(u64),
}

const KINDS: [Is; 6] =
    [Is::NeverReady, Is::Ready, Is::Failing, Is::Ended, Is::Ejected, Is::Joined(0)];

fn active(targets: &[(u32, u64, Is)]) -> Vec<Active> {
    let key = RouteKey {
        env: "test".parse().unwrap(),
        app: "web".parse().unwrap(),
        expose: "http".to_owned(),
    };
    let make = |(slot, (weight, release, is)): (usize, &(u32, u64, Is))| {
        let spec = TargetSpec {
            slot,
            route: key.clone(),
            instance: InstanceId(uuid::Uuid::now_v7()),
            release: ReleaseNumber(*release),
            address: "127.0.0.1:1".parse().unwrap(),
            process: None,
        };
        let target = Arc::new(Target::new(spec, 1));
        if *is != Is::NeverReady {
            target.probe_succeeded(1);
        }
        match is {
            Is::NeverReady | Is::Ready => {}
            Is::Failing => assert!(target.probe_failed("x".to_owned(), 1)),
            Is::Ended => assert!(target.process_ended()),
            Is::Ejected => target.eject(0),
            Is::Joined(at) => target.set_active(true, true, *at),
        }
        Active { weight: *weight, target }
    };
    targets.iter().enumerate().map(make).collect()
}

fn pool(targets: &[(u32, u64, Is)], split: Option<(u64, u8)>, now_ms: u64) -> Pool {
    let split = split.map(|(canary, percent)| (ReleaseNumber(canary), percent));
    let making = Making { split, slow_start_ms: 30_000, now_ms };
    Pool::make(&active(targets), making, |active| {
        Rc::new(LocalTarget::new(active.target.clone(), 0))
    })
}

fn random() -> impl FnMut() -> u64 {
    let mut state = 88_172_645_463_325_252_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// How often each target is chosen.
fn hits(pool: &Pool, side: Side, tried: &[usize], count: usize) -> Vec<usize> {
    let mut random = random();
    let mut hits = vec![0; 8];
    for _ in 0..count {
        if let Some(local) = pool.choose(side, tried, &mut random) {
            hits[local.target.slot] += 1;
        }
    }
    hits
}

fn chosen(pool: &Pool, side: Side, tried: &[usize]) -> Vec<usize> {
    let hits = hits(pool, side, tried, 200);
    (0..hits.len()).filter(|slot| hits[*slot] > 0).collect()
}

#[test]
fn who_is_used_follows_health_and_panic() {
    use Is::{Ejected, Ended, Failing, NeverReady, Ready};
    for (targets, tried, expected) in [
        (vec![], vec![], vec![]),
        (vec![NeverReady], vec![], vec![]),
        (vec![Ready, Failing], vec![], vec![0]),
        (vec![Ready, Ejected], vec![], vec![0]),
        // Healthy ones were tried: an ejected one is better than none, a failing one is not.
        (vec![Ready, Ejected], vec![0], vec![1]),
        (vec![Ready, Failing], vec![0], vec![]),
        // Below half healthy, all that were once ready are used, for first attempts.
        (vec![Ready, Failing, Failing], vec![], vec![0, 1, 2]),
        (vec![Ready, Failing, Failing], vec![1], vec![0]),
        (vec![Ready, Failing, Failing], vec![0], vec![1, 2]),
        (vec![Ready, Failing, NeverReady], vec![], vec![0, 1]),
        (vec![Ready, Failing, Ended], vec![], vec![0, 1]),
        (vec![Failing, Ended, NeverReady], vec![], vec![0]),
        (vec![Ended, NeverReady], vec![], vec![]),
        (vec![Ejected], vec![], vec![0]),
        (vec![Ejected, Ejected, Failing], vec![], vec![0, 1, 2]),
    ] {
        let list: Vec<_> = targets.iter().map(|is| (100, 1, *is)).collect();
        let found = chosen(&pool(&list, None, 1), Side::Stable, &tried);
        assert_eq!(found, expected, "{targets:?} without {tried:?}");
    }
}

#[test]
fn a_canary_that_is_not_ready_leaves_its_requests_to_the_other_side() {
    use Is::{Ejected, Failing, NeverReady, Ready};
    // Targets 0 and 1 are the old side's, 2 and 3 the canary's.
    for (targets, side, expected) in [
        ([Ready, Ready, Failing, Failing], Side::Canary, vec![0, 1]),
        ([Ready, Failing, Failing, NeverReady], Side::Canary, vec![0]),
        ([Ready, Ready, Ready, Failing], Side::Canary, vec![2]),
        // Left out for a while only: what becomes of its requests is to be known.
        ([Ready, Ready, Ejected, Failing], Side::Canary, vec![2, 3]),
        // Nobody is ready: it is the canary's own that are tried.
        ([Failing, Failing, Failing, Failing], Side::Canary, vec![2, 3]),
        // The canary is small: it does not get what all others had.
        ([Failing, Failing, Ready, Ready], Side::Stable, vec![0, 1]),
        ([NeverReady, NeverReady, Ready, Ready], Side::Stable, vec![2, 3]),
    ] {
        let of = |at: usize| if at < 2 { 1 } else { 2 };
        let list: Vec<_> = targets.iter().enumerate().map(|(at, is)| (100, of(at), *is)).collect();
        let found = chosen(&pool(&list, Some((2, 50)), 1), side, &[]);
        assert_eq!(found, expected, "{targets:?} from {side:?}");
    }
}

#[test]
fn held_requests_wait_for_what_is_ready() {
    let mut random = random();
    for (is, expected) in [(Is::Failing, false), (Is::Ready, true), (Is::Ejected, true)] {
        let pool = pool(&[(100, 1, is)], None, 1);
        assert_eq!(pool.choose_ready(Side::Stable, &mut random).is_some(), expected, "{is:?}");
    }
}

#[test]
fn shares_are_kept_whatever_the_load_and_the_less_loaded_is_preferred() {
    let canary = pool(&[(95, 1, Is::Ready), (5, 1, Is::Ready), (0, 1, Is::Ready)], None, 1);
    canary.stable.healthy.groups[0].targets[0].cells().request_begins();
    let hits_of = hits(&canary, Side::Stable, &[], 20_000);
    assert!((800..1200).contains(&hits_of[1]), "5 % of 20,000 went {hits_of:?}");
    assert_eq!(hits_of[2], 0, "weight 0");

    let pair = pool(&[(100, 1, Is::Ready), (100, 1, Is::Ready)], None, 1);
    pair.stable.healthy.groups[0].targets[0].cells().request_begins();
    assert_eq!(chosen(&pair, Side::Stable, &[]), [1]);
}

#[test]
fn a_target_that_joined_others_gets_its_share_slowly() {
    for (since_ms, low, high) in
        [(0, 800, 1_020), (15_000, 3_150, 3_520), (30_000, 4_850, 5_150), (90_000, 4_850, 5_150)]
    {
        let pair =
            pool(&[(100, 1, Is::Ready), (100, 1, Is::Joined(1_000))], None, 1_000 + since_ms);
        // A tenth beside a whole is an eleventh of all; half beside a whole is a third.
        let count = hits(&pair, Side::Stable, &[], 10_000)[1];
        assert!((low..=high).contains(&count), "{count} of 10,000 after {since_ms} ms");
        assert_eq!(pair.until_ms == NEVER, since_ms >= 30_000);
    }
    let alone = pool(&[(100, 1, Is::Joined(1_000))], None, 1_000);
    assert_eq!(chosen(&alone, Side::Stable, &[]), [0]);
}

#[test]
fn an_ejection_is_over_in_time() {
    let targets = active(&[(100, 1, Is::Ready), (100, 1, Is::Ejected)]);
    let make = |now_ms| {
        let making = Making { split: None, slow_start_ms: 0, now_ms };
        Pool::make(&targets, making, |a| Rc::new(LocalTarget::new(a.target.clone(), 0)))
    };
    let first = make(1);
    assert_eq!((chosen(&first, Side::Stable, &[]), first.until_ms), (vec![0], 30_000));
    let later = make(30_000);
    assert_eq!((chosen(&later, Side::Stable, &[]), later.until_ms), (vec![0, 1], NEVER));
}

#[test]
fn sides_are_apart_unless_one_has_nothing() {
    use Is::{Failing, NeverReady, Ready};
    // Two stable targets (0, 1) and two of the canary (2, 3).
    for (targets, percent, stable, canary) in [
        ([Ready, Ready, Ready, Ready], 5, vec![0, 1], vec![2, 3]),
        ([Ready, Ready, Ready, Failing], 5, vec![0, 1], vec![2]),
        ([Ready, Ready, NeverReady, NeverReady], 50, vec![0, 1], vec![0, 1]),
        ([NeverReady, NeverReady, Ready, Ready], 50, vec![2, 3], vec![2, 3]),
        // What no share of the requests may reach does not help out.
        ([NeverReady, NeverReady, Ready, Ready], 0, vec![], vec![2, 3]),
        ([Failing, Failing, Ready, Ready], 0, vec![0, 1], vec![2, 3]),
    ] {
        let list: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(at, is)| (100, if at < 2 { 1 } else { 2 }, *is))
            .collect();
        let pool = pool(&list, Some((2, percent)), 1);
        assert_eq!(chosen(&pool, Side::Stable, &[]), stable, "{targets:?}");
        assert_eq!(chosen(&pool, Side::Canary, &[]), canary, "{targets:?}");
    }
}

proptest! {
    #[test]
    fn a_choice_is_always_usable_and_untried(
        targets in prop::collection::vec((1..4u32, 1..3u64, 0..6u8), 0..8),
        tried in prop::collection::vec(0..8usize, 0..4),
        canary in any::<bool>(),
        seed in 1..u64::MAX,
    ) {
        let list: Vec<_> = targets
            .iter()
            .map(|(weight, release, is)| (*weight, *release, KINDS[usize::from(*is)]))
            .collect();
        let pool = pool(&list, Some((2, 50)), 1);
        let mut state = seed;
        let mut random = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
        let side = if canary { Side::Canary } else { Side::Stable };
        let usable = |slot: usize| !matches!(list[slot].2, Is::NeverReady | Is::Ended);
        match pool.choose(side, &tried, &mut random) {
            Some(local) => {
                prop_assert!(usable(local.target.slot) && !tried.contains(&local.target.slot));
            }
            None => {
                let ready = |is: Is| matches!(is, Is::Ready | Is::Ejected | Is::Joined(_));
                let left = (0..list.len()).any(|slot| ready(list[slot].2) && !tried.contains(&slot));
                prop_assert!(!left);
            }
        }
    }
}
