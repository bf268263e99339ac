//! A route's concurrency limit and rate limits, shared by all worker threads and kept while tables
//! come and go. A route without limits never touches it.

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_model::route::RouteLimits;
use ark_model::traffic::Adaptive;

use crate::concurrency::{Aimd, Gradient2, Sample, Vegas, Windowed};
use crate::rate::{Bucket, Clients};

/// Where an adaptive limit begins, and the least it becomes.
const INITIAL: u32 = 20;
/// The most it becomes where the route says nothing.
const MAX: u32 = 1_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct RouteShared {
    in_flight: AtomicU32,
    /// Requests that wait for a target.
    held: AtomicU32,
    /// Requests that waited for a target and are at one now.
    held_inside: AtomicU32,
    /// The limit found last; 0 before there is one.
    found: AtomicU32,
    adapting: Mutex<Option<Adapting>>,
    bucket: Bucket,
    clients: Clients,
    began: Instant,
}

/// A request that waits for a target.
#[derive(Debug)]
pub(crate) struct Held(Arc<RouteShared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Release);
    }
}

/// A request that waited for a target and is at one now, until it has ended and is counted.
#[derive(Debug)]
pub(crate) struct HeldInside(Arc<RouteShared>);

impl Drop for HeldInside {
    fn drop(&mut self) {
        // Whoever reads that it is gone reads that it was counted.
        self.0.held_inside.fetch_sub(1, Release);
    }
}

/// A rule at work, and what it was made from.
#[derive(Debug)]
struct Adapting {
    kind: Adaptive,
    max: u32,
    window: Windowed,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Gradient2(Gradient2),
    Vegas(Vegas),
    Aimd(Aimd),
}

impl Rule {
    fn new(kind: Adaptive, max: u32) -> Option<Self> {
        let start = INITIAL.min(max);
        Some(match kind {
            Adaptive::Off => return None,
            Adaptive::Gradient2 => Self::Gradient2(Gradient2::new(start, start, max)),
            Adaptive::Vegas => Self::Vegas(Vegas::new(start, max)),
            Adaptive::Aimd => Self::Aimd(Aimd::new(start, start, max)),
        })
    }

    fn update(&mut self, sample: Sample) -> u32 {
        match self {
            Self::Gradient2(rule) => rule.update(sample),
            Self::Vegas(rule) => rule.update(sample, rand::random_range(0.5..1.0)),
            Self::Aimd(rule) => rule.update(sample),
        }
    }
}

/// Which limit a request ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Rate,
    Concurrency,
}

/// Whose a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// A health check's or an operator's: never refused, but counted.
    First,
    /// Anyone's.
    Usual,
}

impl Default for RouteShared {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            held: AtomicU32::new(0),
            held_inside: AtomicU32::new(0),
            found: AtomicU32::new(0),
            adapting: Mutex::new(None),
            bucket: Bucket::default(),
            clients: Clients::default(),
            began: Instant::now(),
        }
    }
}

impl RouteShared {
    /// Counts a request that waits for a target, until the answer is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.held.fetch_add(1, Relaxed);
        Held(self.clone())
    }

    /// Counts a request that waited and goes to a target now, until the answer is dropped. To be called
    /// before its [`Held`] is dropped: it is always one or the other.
    pub(crate) fn goes_inside(self: &Arc<Self>) -> HeldInside {
        self.held_inside.fetch_add(1, Relaxed);
        HeldInside(self.clone())
    }

    /// How many wait now, and how many waited and are at a target. Counters that are read after this
    /// hold everything that is in neither number any more.
    pub(crate) fn held(&self) -> (u32, u32) {
        // In the order in which a request goes through them.
        let waiting = self.held.load(Acquire);
        (waiting, self.held_inside.load(Acquire))
    }

    /// Lets a request in, or says which limit forbids it. `None` where the route has no
    /// concurrency limit.
    pub(crate) fn enter(
        self: &Arc<Self>,
        limits: &RouteLimits,
        client: IpAddr,
        rank: Rank,
    ) -> Result<Option<Permit>, Exceeded> {
        if rank == Rank::Usual && (limits.rate.is_some() || limits.rate_per_client.is_some()) {
            let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            // The client's own limit first: one that is refused must not use up the route's.
            let own = limits.rate_per_client.is_none_or(|l| self.clients.take(client, l, now_us));
            if !own || !limits.rate.is_none_or(|limit| self.bucket.take(limit, now_us)) {
                return Err(Exceeded::Rate);
            }
        }
        let Some(limit) = self.limit(limits) else { return Ok(None) };
        let inside = self.in_flight.fetch_add(1, Relaxed) + 1;
        let permit = Permit {
            shared: self.clone(),
            kind: limits.adaptive,
            max: max_of(limits),
            begun: Instant::now(),
            in_flight: inside,
            sampled: false,
        };
        if inside > limit && rank == Rank::Usual {
            drop(permit);
            return Err(Exceeded::Concurrency);
        }
        Ok(Some(permit))
    }

    /// The limit in force; `None` where there is none.
    pub(crate) fn limit(&self, limits: &RouteLimits) -> Option<u32> {
        if limits.adaptive == Adaptive::Off {
            return (limits.concurrency_max > 0).then_some(limits.concurrency_max);
        }
        let max = max_of(limits);
        Some(match self.found.load(Relaxed) {
            0 => INITIAL.min(max),
            found => found.min(max),
        })
    }

    fn learn(&self, kind: Adaptive, max: u32, sample: Sample) {
        // Of samples that come at the same moment one may be lost: there are enough.
        let Ok(mut adapting) = self.adapting.try_lock() else { return };
        if adapting.as_ref().is_none_or(|known| known.kind != kind || known.max != max) {
            let Some(rule) = Rule::new(kind, max) else { return };
            *adapting = Some(Adapting { kind, max, window: Windowed::default(), rule });
        }
        let Some(known) = adapting.as_mut() else { return };
        if let Some(whole) = known.window.add(sample, self.began.elapsed()) {
            self.found.store(known.rule.update(whole).max(1), Relaxed);
        }
    }
}

fn max_of(limits: &RouteLimits) -> u32 {
    if limits.concurrency_max > 0 { limits.concurrency_max } else { MAX }
}

/// A request inside; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<RouteShared>,
    kind: Adaptive,
    max: u32,
    begun: Instant,
    /// How many were inside when it came, itself included.
    in_flight: u32,
    sampled: bool,
}

impl Permit {
    /// The head of the answer is there, or it never came (`dropped`): what a limit is found from.
    /// The body is left out, since its time is often the client's.
    pub(crate) fn answered(&mut self, dropped: bool) {
        if self.kind == Adaptive::Off || std::mem::replace(&mut self.sampled, true) {
            return;
        }
        let rtt: Duration = self.begun.elapsed();
        let sample = Sample { rtt, in_flight: self.in_flight, dropped };
        self.shared.learn(self.kind, self.max, sample);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::traffic::RateLimit;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn no_more_are_let_in_than_allowed_but_operators_are() {
        let shared = Arc::new(RouteShared::default());
        let limits = RouteLimits { concurrency_max: 2, ..RouteLimits::default() };
        let enter = |rank| shared.enter(&limits, CLIENT, rank).map(Option::unwrap);
        let one = enter(Rank::Usual).unwrap();
        let two = enter(Rank::Usual).unwrap();
        assert_eq!(enter(Rank::Usual).unwrap_err(), Exceeded::Concurrency);
        let operator = enter(Rank::First).unwrap();
        drop((one, operator));
        drop(enter(Rank::Usual).unwrap());
        drop(two);
        assert_eq!(shared.in_flight.load(Relaxed), 0);
        let none = RouteLimits::default();
        assert!(shared.enter(&none, CLIENT, Rank::Usual).unwrap().is_none());
    }

    #[test]
    fn the_rate_concerns_those_who_are_not_first() {
        let shared = Arc::new(RouteShared::default());
        let rate = Some(RateLimit { per_s: 1, burst: 1 });
        let limits = RouteLimits { rate, ..RouteLimits::default() };
        assert!(shared.enter(&limits, CLIENT, Rank::Usual).is_ok());
        assert_eq!(shared.enter(&limits, CLIENT, Rank::Usual).unwrap_err(), Exceeded::Rate);
        assert!(shared.enter(&limits, CLIENT, Rank::First).is_ok());
    }

    #[test]
    fn an_adaptive_limit_begins_low_and_stays_below_the_routes() {
        let shared = Arc::new(RouteShared::default());
        for (kind, max, expected) in [
            (Adaptive::Gradient2, 0, Some(20)),
            (Adaptive::Vegas, 5, Some(5)),
            (Adaptive::Aimd, 50, Some(20)),
            (Adaptive::Off, 0, None),
        ] {
            let limits =
                RouteLimits { adaptive: kind, concurrency_max: max, ..RouteLimits::default() };
            assert_eq!(shared.limit(&limits), expected, "{kind:?} {max}");
        }
    }
}
