//! Routing and choosing.

use super::*;
use crate::target::TargetSpec;
use ark_model::ids::{InstanceId, ReleaseNumber};
use proptest::prelude::{Just, any, prop, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

fn route(slot: u32, weights: &[(u32, bool)]) -> Route {
    let key = RouteKey {
        env: "test".parse().unwrap(),
        app: format!("app{slot}").parse().unwrap(),
        expose: "http".to_owned(),
    };
    let mut groups: Vec<(u32, Group)> = Vec::new();
    for (index, (weight, ready)) in weights.iter().enumerate() {
        let spec = TargetSpec {
            slot: index,
            route: key.clone(),
            instance: InstanceId(uuid::Uuid::now_v7()),
            release: ReleaseNumber(1),
            address: "127.0.0.1:1".parse().unwrap(),
            process: None,
        };
        let target = Arc::new(Target::new(spec, 1));
        if *ready {
            target.probe_succeeded(1);
        }
        match groups.iter_mut().find(|(w, _)| w == weight) {
            Some((_, group)) => {
                group.targets.push(target);
                group.share += u64::from(*weight);
            }
            None => {
                groups.push((*weight, Group { share: u64::from(*weight), targets: vec![target] }));
            }
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    Route {
        slot: RouteSlot(slot),
        key,
        protocol: RouteProtocol::Http,
        limits: RouteLimits::default(),
        share_total: groups.iter().map(|g| g.share).sum(),
        groups,
        has_targets: !weights.is_empty(),
    }
}

fn table(entries: &[(&str, &str)]) -> Table {
    let mut table = Table::default();
    for (index, (host, path)) in entries.iter().enumerate() {
        table.routes.push(route(u32::try_from(index).unwrap(), &[]));
        table.hosts.entry((*host).into()).or_default().push(((*path).into(), index));
    }
    for prefixes in table.hosts.values_mut() {
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.trim_end_matches('/').len()));
    }
    table
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

#[test]
fn the_longest_prefix_of_the_host_wins_by_whole_segments() {
    let table = table(&[
        ("a.test", "/"),
        ("a.test", "/api"),
        ("a.test", "/api/v2/"),
        ("b.test", "/only"),
        ("::1", "/"),
    ]);
    for (host, path, expected) in [
        ("a.test", "/", Some(0)),
        ("a.test", "/index", Some(0)),
        ("a.test", "/api", Some(1)),
        ("a.test", "/api/", Some(1)),
        ("a.test", "/apix", Some(0)),
        ("a.test", "/api/v2", Some(2)),
        ("a.test", "/api/v2x", Some(1)),
        ("a.test", "/api/v2/x", Some(2)),
        ("a.test", "*", Some(0)),
        ("A.Test:8080", "/api", Some(1)),
        ("a.test.", "/api", Some(1)),
        ("a.test.:80", "/api", Some(1)),
        ("b.test", "/", None),
        ("b.test", "/only/x", Some(3)),
        ("c.test", "/", None),
        ("", "/", None),
        ("[::1]:80", "/", Some(4)),
        ("xa.test", "/", None),
    ] {
        let found = table.find(host, path).map(|route| route.slot.0);
        assert_eq!(found, expected, "{host} {path}");
    }
}

#[test]
fn choosing_follows_readiness_and_panic() {
    let mut random = random();
    assert!(matches!(route(0, &[]).choose(&[], &mut random), Choice::NoTargets));
    assert!(matches!(route(0, &[(100, false)]).choose(&[], &mut random), Choice::NoneReady));
    let mixed = route(0, &[(100, false), (100, true), (100, false)]);
    for _ in 0..50 {
        let Choice::Target(target) = mixed.choose(&[], &mut random) else { panic!("none") };
        assert_eq!(target.slot, 1);
    }
    // The ready one was tried: the others were never ready, so nothing else may be used.
    assert!(matches!(mixed.choose(&[1], &mut random), Choice::NoneReady));
    // All unready, but these were ready once: used all the same, unless their process has ended.
    let fallen = route(0, &[(100, true), (100, true), (100, false)]);
    let targets: Vec<_> = fallen.targets().cloned().collect();
    targets[0].probe_failed("x".to_owned(), 1);
    targets[1].process_ended();
    for _ in 0..50 {
        let Choice::Target(target) = fallen.choose(&[], &mut random) else { panic!("none") };
        assert_eq!(target.slot, 0);
    }
    assert!(matches!(fallen.choose(&[0], &mut random), Choice::NoneReady));
}

#[test]
fn shares_are_kept_whatever_the_load_and_the_less_loaded_is_preferred() {
    let mut random = random();
    let canary = route(0, &[(95, true), (5, true)]);
    canary.groups[0].targets[0].cells[0].request_begins();
    let mut hits = [0_u32; 2];
    for _ in 0..20_000 {
        let Choice::Target(target) = canary.choose(&[], &mut random) else { panic!("none") };
        hits[target.slot] += 1;
    }
    assert!((800..1200).contains(&hits[1]), "5 % of 20,000 went {hits:?}");

    let pair = route(0, &[(100, true), (100, true)]);
    pair.groups[0].targets[0].cells[0].request_begins();
    for _ in 0..50 {
        let Choice::Target(target) = pair.choose(&[], &mut random) else { panic!("none") };
        assert_eq!(target.slot, 1);
    }
}

proptest! {
    #[test]
    fn routing_agrees_with_the_plain_definition(
        prefixes in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab")], 0..3), 0..6),
        path in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("")], 0..4),
    ) {
        let paths: Vec<String> = prefixes.iter().map(|p| format!("/{}", p.join("/"))).collect();
        let entries: Vec<_> = paths.iter().map(|p| ("h", p.as_str())).collect();
        let path = format!("/{}", path.join("/"));
        let found = table(&entries).find("h", &path).map(|route| paths[route.slot.0 as usize].clone());
        let segments: Vec<&str> = path[1..].split('/').collect();
        let expected = prefixes
            .iter()
            .filter(|prefix| segments.len() >= prefix.len() && segments[..prefix.len()] == prefix[..])
            .max_by_key(|prefix| prefix.len())
            .map(|prefix| format!("/{}", prefix.join("/")));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_choice_is_always_usable_and_untried(
        targets in prop::collection::vec((1..4u32, any::<bool>()), 0..8),
        tried in prop::collection::vec(0..8usize, 0..4),
        seed in 1..u64::MAX,
    ) {
        let route = route(0, &targets);
        let mut state = seed;
        let random = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
        match route.choose(&tried, random) {
            Choice::Target(target) => {
                prop_assert!(target.is_ready() && !tried.contains(&target.slot));
            }
            Choice::NoneReady => {
                prop_assert!(!targets.is_empty());
                let left = route.targets().any(|t| t.is_ready() && !tried.contains(&t.slot));
                prop_assert!(!left);
            }
            Choice::NoTargets => prop_assert!(targets.is_empty()),
        }
    }

    #[test]
    fn no_host_or_path_panics(host in ".{0,40}", path in ".{0,40}") {
        let _ = table(&[("a", "/"), ("b", "/x/")]).find(&host, &path);
    }
}
