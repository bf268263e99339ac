//! A target as all threads see it: who it is, whether it is ready, whether it drains, and what was
//! counted of it. One object lives from the first table that names an instance until its last
//! counters are stored, whatever state the tables between give it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ark_model::gateway::Readiness;
use ark_model::ids::{InstanceId, ReleaseNumber};
use ark_model::instance::ProcessIdentity;
use ark_model::route::RouteKey;
use jiff::Timestamp;

use crate::balance::{self, EJECT_AFTER};
use crate::clock::{NEVER, millis};
use crate::counters::Cells;

/// An instance behind a route.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its number within this gateway process: where worker threads keep what is theirs of it.
    pub(crate) slot: usize,
    pub(crate) route: RouteKey,
    pub(crate) instance: InstanceId,
    pub(crate) release: ReleaseNumber,
    pub(crate) address: SocketAddr,
    /// One block per worker thread.
    pub(crate) cells: Box<[Cells]>,
    /// Whether a new request may be sent there, as far as probes know.
    ready: AtomicBool,
    /// Whether it was ever ready.
    ever_ready: AtomicBool,
    /// Whether the process that owns the address is known to have ended: then nothing may be sent
    /// there, not even in a panic, since another's process may own the address by now.
    ended: AtomicBool,
    /// Whether a probe has ended, whichever way.
    probed: AtomicBool,
    /// Whether connections may be kept for later requests.
    keeps_idle: AtomicBool,
    /// When it began to drain, on the gateway's clock; [`NEVER`] while it does not.
    draining_since_ms: AtomicU64,
    requests_until_ms: AtomicU64,
    streams_until_ms: AtomicU64,
    /// Whether the last table gave it traffic.
    active: AtomicBool,
    /// When it joined others that served already, on the gateway's clock; [`NEVER`] when it did not.
    joined_ms: AtomicU64,
    /// Failures in a row of the gateway to get an answer: connecting, resets, timeouts.
    failures_in_a_row: AtomicU32,
    /// Until when it is ejected, on the gateway's clock; 0 when it was never.
    ejected_until_ms: AtomicU64,
    /// How often it was ejected, less what was forgiven.
    ejections: AtomicU32,
    health: Mutex<Health>,
}

/// What probes found out; read by the reporter.
#[derive(Debug)]
struct Health {
    since: Timestamp,
    successes: u32,
    failures: u32,
    last_failure: Option<String>,
    process: Option<ProcessIdentity>,
}

/// When a draining target's requests and streams end, on the gateway's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainDeadlines {
    pub(crate) since_ms: u64,
    pub(crate) requests_until_ms: u64,
    pub(crate) streams_until_ms: u64,
}

/// What identifies a new target.
#[derive(Debug, Clone)]
pub(crate) struct TargetSpec {
    pub(crate) slot: usize,
    pub(crate) route: RouteKey,
    pub(crate) instance: InstanceId,
    pub(crate) release: ReleaseNumber,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<ProcessIdentity>,
}

impl Target {
    pub(crate) fn new(spec: TargetSpec, workers: usize) -> Self {
        Self {
            slot: spec.slot,
            route: spec.route,
            instance: spec.instance,
            release: spec.release,
            address: spec.address,
            cells: Cells::blocks(workers),
            ready: AtomicBool::new(false),
            ever_ready: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            keeps_idle: AtomicBool::new(true),
            draining_since_ms: AtomicU64::new(NEVER),
            requests_until_ms: AtomicU64::new(NEVER),
            streams_until_ms: AtomicU64::new(NEVER),
            active: AtomicBool::new(false),
            joined_ms: AtomicU64::new(NEVER),
            failures_in_a_row: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            health: Mutex::new(Health {
                since: Timestamp::now(),
                successes: 0,
                failures: 0,
                last_failure: None,
                process: spec.process,
            }),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Whether it may be used when no target of its route is ready: it was ready once, and its
    /// address is still its own.
    pub(crate) fn is_usable_in_panic(&self) -> bool {
        self.ever_ready.load(Relaxed) && !self.ended.load(Relaxed)
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.probed.load(Relaxed)
    }

    pub(crate) fn keeps_idle(&self) -> bool {
        self.keeps_idle.load(Relaxed)
    }

    /// Says whether connections may be kept: not to a target that drains or is gone.
    pub(crate) fn keep_idle(&self, keep: bool) {
        self.keeps_idle.store(keep, Relaxed);
    }

    /// Begins, changes or (for a target that is active again) ends draining.
    pub(crate) fn drain(&self, deadlines: Option<DrainDeadlines>) {
        let (since, requests, streams) = match deadlines {
            Some(d) => (d.since_ms, d.requests_until_ms, d.streams_until_ms),
            None => (NEVER, NEVER, NEVER),
        };
        self.requests_until_ms.store(requests, Relaxed);
        self.streams_until_ms.store(streams, Relaxed);
        let keeps_beginning = since != NEVER && self.draining_since_ms.load(Relaxed) != NEVER;
        if !keeps_beginning {
            self.draining_since_ms.store(since, Relaxed);
        }
    }

    pub(crate) fn drain_deadlines(&self) -> Option<DrainDeadlines> {
        let since_ms = self.draining_since_ms.load(Relaxed);
        (since_ms != NEVER).then(|| DrainDeadlines {
            since_ms,
            requests_until_ms: self.requests_until_ms.load(Relaxed),
            streams_until_ms: self.streams_until_ms.load(Relaxed),
        })
    }

    /// Whether the last table gave it traffic and it is ready for it.
    pub(crate) fn serves(&self) -> bool {
        self.active.load(Relaxed) && self.is_ready()
    }

    /// From now on the table gives it traffic (or not). `others_serve`: then it starts slowly.
    pub(crate) fn set_active(&self, active: bool, others_serve: bool, now_ms: u64) {
        let was = self.active.swap(active, Relaxed);
        match (was, active) {
            (false, true) if others_serve => self.joined_ms.store(now_ms, Relaxed),
            (true, false) => self.joined_ms.store(NEVER, Relaxed),
            (true, true) | (false, _) => {}
        }
    }

    /// When it joined others that served already; [`NEVER`] when it did not.
    pub(crate) fn joined_ms(&self) -> u64 {
        self.joined_ms.load(Relaxed)
    }

    /// Until when it is ejected; what is past is over.
    pub(crate) fn ejected_until_ms(&self) -> u64 {
        self.ejected_until_ms.load(Relaxed)
    }

    /// It has answered. In the usual case nothing is written.
    pub(crate) fn answered(&self) {
        if self.failures_in_a_row.load(Relaxed) > 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// It could not be reached, broke off or did not answer in time. Whether that was once too often
    /// in a row.
    pub(crate) fn failed_to_answer(&self) -> bool {
        self.failures_in_a_row.fetch_add(1, Relaxed) + 1 >= EJECT_AFTER
    }

    /// Leaves it out for a while.
    pub(crate) fn eject(&self, now_ms: u64) {
        let returned_for = Duration::from_millis(now_ms.saturating_sub(self.ejected_until_ms()));
        let (duration, count) = balance::ejection(self.ejections.load(Relaxed), returned_for);
        self.ejections.store(count, Relaxed);
        self.failures_in_a_row.store(0, Relaxed);
        self.ejected_until_ms.store(now_ms + millis(duration), Relaxed);
    }

    /// Requests and streams open now, over all threads.
    pub(crate) fn load(&self) -> u32 {
        self.cells.iter().map(Cells::load).sum()
    }

    pub(crate) fn process(&self) -> Option<ProcessIdentity> {
        self.health().process
    }

    /// The server may learn the process after the address.
    pub(crate) fn set_process(&self, process: Option<ProcessIdentity>) {
        let mut health = self.health();
        if health.process != process {
            health.process = process;
            self.ended.store(false, Relaxed);
        }
    }

    /// A probe succeeded. Returns whether the target has become ready by it.
    pub(crate) fn probe_succeeded(&self, needed: u32) -> bool {
        self.probed.store(true, Relaxed);
        let mut health = self.health();
        health.failures = 0;
        health.successes = health.successes.saturating_add(1);
        if self.is_ready() || health.successes < needed.max(1) {
            return false;
        }
        health.since = Timestamp::now();
        self.ended.store(false, Relaxed);
        self.ever_ready.store(true, Relaxed);
        self.ready.store(true, Relaxed);
        true
    }

    /// A probe failed. Returns whether the target has become unready by it.
    pub(crate) fn probe_failed(&self, reason: String, allowed: u32) -> bool {
        self.probed.store(true, Relaxed);
        let mut health = self.health();
        health.successes = 0;
        health.failures = health.failures.saturating_add(1);
        health.last_failure = Some(reason);
        let became_unready = self.is_ready() && health.failures >= allowed.max(1);
        if became_unready {
            health.since = Timestamp::now();
            self.ready.store(false, Relaxed);
        }
        became_unready
    }

    /// Nothing listens there: unready at once, until the next success. Returns whether it was
    /// ready.
    pub(crate) fn refused(&self) -> bool {
        if !self.is_ready() {
            return false;
        }
        let mut health = self.health();
        health.successes = 0;
        health.since = Timestamp::now();
        health.last_failure = Some(format!("connection to {} refused", self.address));
        self.ready.swap(false, Relaxed)
    }

    /// Its process has ended. Returns whether that is news.
    pub(crate) fn process_ended(&self) -> bool {
        self.probed.store(true, Relaxed);
        let mut health = self.health();
        let is_news = !self.ended.swap(true, Relaxed);
        self.keeps_idle.store(false, Relaxed);
        health.successes = 0;
        health.failures = health.failures.saturating_add(1);
        health.last_failure = Some("process ended".to_owned());
        let was_ready = self.ready.swap(false, Relaxed);
        if was_ready {
            health.since = Timestamp::now();
        }
        is_news || was_ready
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let health = self.health();
        Readiness {
            ready: self.is_ready(),
            since: health.since,
            ever: self.ever_ready.load(Relaxed),
            failures: health.failures,
            last_failure: health.last_failure.clone(),
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
