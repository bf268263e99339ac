//! Rate limits: a bucket of tokens, kept as the moment when it would be full again (GCRA), so that
//! one number is all there is to store and a request costs one atomic exchange. Time is passed in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ark_model::traffic::RateLimit;

/// How many client addresses are remembered; what is full again is forgotten first.
const CLIENTS_MAX: usize = 65_536;

/// One bucket, in microseconds on any clock: when it is full again.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes a token, if there is one.
    pub(crate) fn take(&self, limit: RateLimit, now_us: u64) -> bool {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |full_at| take(limit, full_at, now_us));
        taken.is_ok()
    }
}

/// When the bucket is full again after one more token is taken; `None` when there is none.
fn take(limit: RateLimit, full_at_us: u64, now_us: u64) -> Option<u64> {
    let token_us = 1_000_000 / u64::from(limit.per_s.max(1));
    let new = full_at_us.max(now_us) + token_us;
    (new - now_us <= token_us * u64::from(limit.burst.max(1))).then_some(new)
}

/// A bucket per client address (of IPv6, per /64: one client has as many as it likes of those).
#[derive(Debug, Default)]
pub(crate) struct Clients {
    full_at_us: Mutex<HashMap<IpAddr, u64>>,
}

impl Clients {
    /// Takes a token of this client's, if there is one. When too many clients are known, those
    /// without a bucket of their own are let through: a limit must not turn into an outage.
    pub(crate) fn take(&self, client: IpAddr, limit: RateLimit, now_us: u64) -> bool {
        let client = network(client);
        let mut known = self.full_at_us.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = known.get(&client).copied();
        if before.is_none() && known.len() >= CLIENTS_MAX {
            known.retain(|_, full_at| *full_at > now_us);
            if known.len() >= CLIENTS_MAX {
                return true;
            }
        }
        let after = take(limit, before.unwrap_or(0), now_us);
        if let Some(full_at) = after {
            known.insert(client, full_at);
        }
        after.is_some()
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (bucket, limit) = (Bucket::default(), RateLimit { per_s: 10, burst: 3 });
        let now = 5_000_000;
        let taken = |at: u64| bucket.take(limit, at);
        assert_eq!([0, 0, 0, 0].map(|_| taken(now)), [true, true, true, false]);
        assert!(!taken(now + 99_999));
        assert!(taken(now + 100_000));
        assert!(!taken(now + 100_000));
        let passed = (0..10_000).filter(|ms| taken(now + 1_000_000 + ms * 1_000)).count();
        assert!((100..=103).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn clients_do_not_share() {
        let (clients, limit) = (Clients::default(), RateLimit { per_s: 1, burst: 1 });
        let take = |address: &str| clients.take(address.parse().unwrap(), limit, 1);
        assert!(take("10.0.0.1") && take("10.0.0.2") && !take("10.0.0.1"));
        assert!(!take("::ffff:10.0.0.2"), "the same client in other clothes");
        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
    }

    #[test]
    fn too_many_clients_are_let_through() {
        let (clients, limit) = (Clients::default(), RateLimit { per_s: 1, burst: 1 });
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..=CLIENTS_MAX {
            assert!(clients.take(address(n), limit, 1));
        }
        assert!(clients.take(address(CLIENTS_MAX), limit, 1), "not known, so not limited");
        assert!(clients.take(address(CLIENTS_MAX), limit, 3_000_000));
        assert!(!clients.take(address(CLIENTS_MAX), limit, 3_000_000), "room was made");
    }
}
