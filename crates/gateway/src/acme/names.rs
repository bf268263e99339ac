//! For which hosts an authority may be asked. Pure.

use std::net::IpAddr;

/// The most hosts that certificates are kept for.
const HOSTS_MAX: usize = 1_000;
/// The longest name of a host and of one of its labels, in bytes (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Names no public authority vouches for (RFC 6761, 6762, 7686, 8375 and ICANN's `internal`).
const RESERVED: [&str; 9] =
    ["test", "example", "invalid", "local", "internal", "onion", "arpa", "lan", "home"];

/// Those of `hosts`, sorted, each once. With `public_only`, without those that are reserved.
pub(super) fn wanted<'h>(hosts: impl Iterator<Item = &'h str>, public_only: bool) -> Vec<String> {
    let fits =
        |host: &&str| is_host(host) && !(public_only && RESERVED.contains(&last_label(host)));
    let mut wanted: Vec<String> = hosts.filter(fits).map(str::to_owned).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.len() > HOSTS_MAX {
        tracing::warn!(
            hosts = wanted.len(),
            at_most = HOSTS_MAX,
            "more hosts than certificates are got for by ACME; put files in place for the rest"
        );
        wanted.truncate(HOSTS_MAX);
    }
    wanted
}

/// Whether `host` is a full name in the domain name system, as routes have it: in lower case, with
/// a dot, no wildcard (which only DNS can prove) and no address. `localhost` has its own authority.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    host.len() <= NAME_BYTES_MAX
        && host.contains('.')
        && host.split('.').all(is_label)
        && last_label(host) != "localhost"
        && host.parse::<IpAddr>().is_err()
}

fn last_label(host: &str) -> &str {
    host.rsplit_once('.').map_or(host, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_can_be_proven_are_wanted() {
        let long = format!("{}.com", "a".repeat(64));
        let cases: [(&str, bool, bool); 14] = [
            ("a.com", true, true),
            ("x-1.b.co.uk", true, true),
            ("xn--bcher-kva.com", true, true),
            ("a.test", true, false),
            ("web.corp.internal", true, false),
            ("web.localhost", false, false),
            ("localhost", false, false),
            ("intranet", false, false),
            ("*.a.com", false, false),
            ("10.0.0.1", false, false),
            ("a..com", false, false),
            ("-a.com", false, false),
            ("../a.com", false, false),
            (&long, false, false),
        ];
        for (host, any, public) in cases {
            assert_eq!(!wanted([host].into_iter(), false).is_empty(), any, "{host}");
            assert_eq!(!wanted([host].into_iter(), true).is_empty(), public, "{host}, public");
        }
        assert_eq!(wanted(["b.com", "a.com", "b.com"].into_iter(), true), ["a.com", "b.com"]);
    }
}
