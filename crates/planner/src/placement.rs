//! On which host a new instance is placed: a pure function of what is where. Called by the server
//! when it records new instances; which hosts may take them at all is said by its argument.

use ark_model::NodeName;

/// A host that may take an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub node: NodeName,
    /// Instances of the app there: those meant to work when spreading, all that may exist for work
    /// of which each host has one.
    pub of_app: u32,
    /// Instances of all apps there.
    pub in_all: u32,
}

/// How instances are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// As evenly as may be.
    Spread,
    /// No host has two.
    OnePerHost,
}

/// Hosts for `count` new instances, in the order in which they are started: each on the host with the
/// fewest of its app, then with the fewest in all, then by name. Fewer when there is no room.
pub fn place(mut places: Vec<Place>, count: u32, rule: Rule) -> Vec<NodeName> {
    let mut chosen = Vec::new();
    for _ in 0..count {
        let free = places.iter_mut().filter(|p| rule == Rule::Spread || p.of_app == 0);
        let Some(best) =
            free.min_by(|a, b| (a.of_app, a.in_all, &a.node).cmp(&(b.of_app, b.in_all, &b.node)))
        else {
            break;
        };
        best.of_app += 1;
        best.in_all += 1;
        chosen.push(best.node.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(counts: &[(&str, u32, u32)]) -> Vec<Place> {
        let one = |(name, of_app, in_all): &(&str, u32, u32)| Place {
            node: name.parse().expect("a name"),
            of_app: *of_app,
            in_all: *in_all,
        };
        counts.iter().map(one).collect()
    }

    #[test]
    fn hosts_are_filled_evenly() {
        use Rule::{OnePerHost, Spread};
        for (name, counts, count, rule, expected) in [
            ("by name", &[("b", 0, 0), ("a", 0, 0)][..], 3, Spread, &["a", "b", "a"][..]),
            ("fewest of the app", &[("a", 1, 1), ("b", 0, 9)], 2, Spread, &["b", "a"]),
            ("then fewest in all", &[("a", 1, 5), ("b", 1, 2)], 2, Spread, &["b", "a"]),
            ("one each", &[("a", 1, 1), ("b", 0, 9), ("c", 0, 0)], 3, OnePerHost, &["c", "b"]),
            ("no room", &[], 2, Spread, &[]),
        ] {
            let got = place(places(counts), count, rule);
            let got: Vec<&str> = got.iter().map(NodeName::as_str).collect();
            assert_eq!(got, expected, "{name}");
        }
    }
}
