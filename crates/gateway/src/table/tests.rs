//! Routing.

use super::*;
use proptest::prelude::{Just, prop, prop_oneof};
use proptest::{prop_assert_eq, proptest};

fn route(slot: u32) -> Route {
    let key = RouteKey {
        env: "test".parse().unwrap(),
        app: format!("app{slot}").parse().unwrap(),
        expose: "http".to_owned(),
    };
    Route {
        slot: RouteSlot(slot),
        key,
        path: "/".to_owned(),
        protocol: RouteProtocol::Http,
        limits: RouteLimits::default(),
        split: None,
        maintenance: None,
        health_paths: Vec::new(),
        active: Vec::new(),
        has_targets: false,
        shared: Arc::default(),
    }
}

fn table(entries: &[(&str, &str)]) -> Table {
    let mut table = Table::default();
    for (index, (host, path)) in entries.iter().enumerate() {
        table.routes.push(route(u32::try_from(index).unwrap()));
        table.hosts.entry((*host).into()).or_default().push(((*path).into(), index));
    }
    for prefixes in table.hosts.values_mut() {
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.trim_end_matches('/').len()));
    }
    table
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
    fn no_host_or_path_panics(host in ".{0,40}", path in ".{0,40}") {
        let _ = table(&[("a", "/"), ("b", "/x/")]).find(&host, &path);
    }
}
