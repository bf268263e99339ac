//! Which addresses the network of an environment gets. A daemon has address pools for about thirty
//! networks; Ark chooses small ones out of a range of its own, and keeps clear of what the host
//! routes elsewhere and of what other networks use. Pure but for [`routed`]; called by `network`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ark_model::Sha256;

/// The routes of all tables, as the kernel tells them.
const ROUTES: &str = "/proc/net/fib_trie";
/// Shorter prefixes than this say where everything else goes, and claim nothing.
const CLAIM_PREFIX_MIN: u8 = 8;

/// An address range of version 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self { first: u32::from(address) & mask(prefix), prefix })
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.first & mask == other.first & mask
    }
}

impl FromStr for Subnet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let address = address.parse().map_err(|_| ())?;
        Self::new(address, prefix.parse().map_err(|_| ())?).ok_or(())
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The range out of which environments get their networks, and how large each is. Written as Docker
/// writes its own: `base=10.208.0.0/14,size=24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    base: Subnet,
    size: u8,
}

impl Default for AddressPool {
    /// 1,024 networks of 253 containers, in a part of 10.0.0.0/8 that neither Docker, nor Kubernetes,
    /// nor the usual home or office network begins with.
    fn default() -> Self {
        Self {
            base: Subnet { first: u32::from(Ipv4Addr::new(10, 208, 0, 0)), prefix: 14 },
            size: 24,
        }
    }
}

impl FromStr for AddressPool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address pool such as base=10.208.0.0/14,size=24");
        let (mut base, mut size) = (None, None);
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some(("base", value)) => base = value.parse::<Subnet>().ok(),
                Some(("size", value)) => size = value.parse::<u8>().ok(),
                _ => return Err(wrong()),
            }
        }
        let (Some(base), Some(size)) = (base, size) else { return Err(wrong()) };
        if !(8..=28).contains(&base.prefix) || !(base.prefix..=29).contains(&size) {
            return Err(format!(
                "`{text}`: a base has 8 to 28 bits, a network at least as many as its base and at most 29"
            ));
        }
        Ok(Self { base, size })
    }
}

impl AddressPool {
    /// Subnets that overlap none of `taken`, each once. Where it begins depends on the network's name:
    /// an environment that comes back gets its old one, and two Arks seldom want the same.
    pub(super) fn free<'a>(
        self,
        name: &str,
        taken: &'a [Subnet],
    ) -> impl Iterator<Item = Subnet> + use<'a> {
        let count = 1_u32 << (self.size - self.base.prefix).min(31);
        let digest = Sha256::of(name.as_bytes()).to_string();
        let begin = u32::from_str_radix(&digest[..8], 16).unwrap_or(0) % count;
        (0..count)
            .map(move |step| {
                let index = (begin.wrapping_add(step)) % count;
                let first = self.base.first | (index << (32 - u32::from(self.size)));
                Subnet { first, prefix: self.size }
            })
            .filter(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
    }
}

/// What this host routes; nothing where it does not say.
pub(super) async fn routed() -> Vec<Subnet> {
    routes(&tokio::fs::read_to_string(ROUTES).await.unwrap_or_default())
}

/// `|-- 10.1.0.0` is an address, and each `/16 link UNICAST` under it a route.
fn routes(trie: &str) -> Vec<Subnet> {
    let (mut address, mut found) = (None, Vec::new());
    for line in trie.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.parse::<Ipv4Addr>().ok();
        } else if let (Some(rest), Some(address)) = (line.strip_prefix('/'), address) {
            let prefix = rest.split(' ').next().and_then(|prefix| prefix.parse().ok());
            found.extend(prefix.and_then(|prefix| Subnet::new(address, prefix)));
        }
    }
    found.retain(|route| route.prefix >= CLAIM_PREFIX_MIN);
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pool_is_written_as_docker_writes_one() {
        let default: AddressPool = "base=10.208.0.0/14,size=24".parse().unwrap();
        assert_eq!(default, AddressPool::default());
        assert!("size=29, base=192.168.4.0/28".parse::<AddressPool>().is_ok());
        for bad in [
            "",
            "10.0.0.0/8",
            "base=10.0.0.0/8",
            "size=24",
            "base=x,size=24",
            "size=x,base=10.0.0.0/8",
        ] {
            assert!(bad.parse::<AddressPool>().unwrap_err().contains("such as"), "{bad}");
        }
        for bad in ["base=0.0.0.0/0,size=24", "base=10.0.0.0/16,size=8", "base=10.0.0.0/16,size=30"]
        {
            assert!(bad.parse::<AddressPool>().unwrap_err().contains("bits"), "{bad}");
        }
    }

    #[test]
    fn what_others_have_is_left_alone() {
        let pool: AddressPool = "base=10.0.0.0/24,size=26".parse().unwrap();
        for (taken, expected) in [
            (&[][..], vec!["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26", "10.0.0.64/26"]),
            (&["10.0.0.0/25", "172.16.0.0/12"], vec!["10.0.0.128/26", "10.0.0.192/26"]),
            (&["10.0.0.7/32", "10.0.0.200/30"], vec!["10.0.0.128/26", "10.0.0.64/26"]),
            (&["10.0.0.0/8"], vec![]),
        ] {
            let taken = subnets(taken);
            let mut free: Vec<String> = pool.free("a", &taken).map(|s| s.to_string()).collect();
            let again: Vec<String> = pool.free("a", &taken).map(|s| s.to_string()).collect();
            assert_eq!(free, again, "the same name gives the same order");
            free.sort();
            assert_eq!(free, expected, "{taken:?}");
        }
        let begins = |name: &str| AddressPool::default().free(name, &[]).next();
        assert_ne!(begins("ark-11111111-production"), begins("ark-22222222-production"));
        assert_eq!(AddressPool::default().free("x", &[]).count(), 1_024);
    }

    #[test]
    fn the_hosts_routes_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    +-- 127.0.0.0/8 2 0 2\n           |-- 127.0.0.0\n              /8 host LOCAL\n     \
                    |-- 128.0.0.0\n        /1 universe UNICAST\n     |-- 10.9.0.0\n        \
                    /16 link UNICAST\n        /24 universe UNICAST\nLocal:\n     |-- 192.0.2.2\n        \
                    /32 host LOCAL\n";
        let expected = subnets(&["127.0.0.0/8", "10.9.0.0/16", "10.9.0.0/24", "192.0.2.2/32"]);
        assert_eq!(routes(trie), expected);
    }
}
