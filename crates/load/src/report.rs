//! The result of a run, as data: for assertions in tests, for the quickstart's story and
//! as JSON. Made by the ledger; computes nothing but sums.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Driver;
use crate::outcome::Class;

/// All that a run (or a snapshot of one) counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The address that was loaded.
    pub target: String,
    /// The host header.
    pub host: String,
    /// Wall clock of the start, in milliseconds since 1970. All `*_at_ms` below count
    /// from here.
    pub started_unix_ms: u64,
    /// From the start to the end of the last attempt (or to the snapshot).
    pub elapsed_ms: u64,
    /// Whether `closed_idle_race` counts as a failure.
    pub strict: bool,
    /// All drivers together.
    pub totals: Tally,
    /// Each driver that started an attempt.
    pub drivers: BTreeMap<Driver, Tally>,
    /// Each value of the header `x-ark-sample-version` that was seen.
    pub versions: BTreeMap<String, VersionSeen>,
    /// Arrivals that were not started, because too many attempts were in flight.
    pub overflow: u64,
    /// Attempts that were second tries after a `closed_idle_race` (they count as started
    /// like any other).
    pub retried: u64,
    /// Persistent connections found closed by the server before a request was written on
    /// them. Harmless.
    pub idle_discarded: u64,
    /// The longest time without any completion while requests (not streams) were
    /// outstanding.
    pub longest_stall: Stall,
    /// The first failures, and first idle races, with their text.
    pub failures: Vec<Failure>,
    /// How many more there were.
    pub failures_omitted: u64,
}

/// The count of one driver, or of all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Attempts begun: requests, or streams.
    pub started: u64,
    /// Attempts not yet ended; 0 in the report of `stop`.
    pub in_flight: u64,
    /// How attempts ended. The sum, plus `in_flight`, is `started`.
    pub classes: BTreeMap<Class, u64>,
    /// Intended start to end of the complete answer, for `ok` attempts; for streams to the
    /// end of the answer's head. Arrivals begin up to about 1 ms after their intended
    /// start, by the granularity of timers.
    pub latency: Latency,
    /// The same from the moment the attempt really began: what the open loop adds is the
    /// difference.
    pub service_time: Latency,
    /// Messages received: SSE events, WebSocket echoes.
    pub messages: u64,
    /// The longest time between two messages of one stream, in milliseconds.
    pub longest_message_gap_ms: u64,
}

/// A distribution in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of samples.
    pub samples: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
}

/// A stretch of time without completions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Its length.
    pub ms: u64,
    /// When it ended, from the start of the run.
    pub ended_at_ms: u64,
}

/// What one version of the app answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSeen {
    /// Answers that carried the version (heads received).
    pub answers: u64,
    /// Attempts it answered that ended in `ok` or `ended`.
    pub ok: u64,
    /// Attempts it began to answer that ended otherwise.
    pub not_ok: u64,
    /// First answer, from the start of the run.
    pub first_at_ms: u64,
    /// Last answer, from the start of the run.
    pub last_at_ms: u64,
}

/// One attempt that failed (or lost the race with an idle close).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it ended, from the start of the run.
    pub at_ms: u64,
    /// Who made it.
    pub driver: Driver,
    /// How it ended.
    pub class: Class,
    /// What happened.
    pub text: String,
    /// This client's port, to be found in a packet capture or a log; absent when there was
    /// no connection.
    pub local_port: Option<u16>,
    /// The version that had begun to answer.
    pub version: Option<String>,
}

impl Report {
    /// Attempts that ended in `class`.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.totals.count(class)
    }

    /// Complete, right answers; and streams that this client closed in health.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.count(Class::Ok)
    }

    /// Attempts lost for their user, in every class that is a failure. Overflow is not in
    /// it: such an arrival was never sent.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.totals.failed(self.strict)
    }

    /// The count of one driver (zeros when it did nothing).
    #[must_use]
    pub fn driver(&self, driver: Driver) -> Tally {
        self.drivers.get(&driver).cloned().unwrap_or_default()
    }

    /// Whether every attempt is in exactly one class, in the totals and in each driver,
    /// and the drivers add up to the totals.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let started: u64 = self.drivers.values().map(|tally| tally.started).sum();
        self.totals.is_balanced()
            && self.drivers.values().all(Tally::is_balanced)
            && started == self.totals.started
    }
}

impl Tally {
    /// Attempts that ended in `class`.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.classes.get(&class).copied().unwrap_or(0)
    }

    /// Attempts that ended, in any class.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.classes.values().sum()
    }

    /// Attempts lost for their user.
    #[must_use]
    pub fn failed(&self, strict: bool) -> u64 {
        let failed = |(class, _): &(&Class, &u64)| class.is_failure(strict);
        let failed = self.classes.iter().filter(failed);
        failed.map(|(_, count)| count).sum()
    }

    fn is_balanced(&self) -> bool {
        self.finished() + self.in_flight == self.started
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} started", self.started)?;
        for (class, count) in &self.classes {
            write!(f, ", {count} {class}")?;
        }
        if self.in_flight > 0 {
            write!(f, ", {} in flight", self.in_flight)?;
        }
        if self.messages > 0 {
            write!(f, ", {} messages", self.messages)?;
        }
        let latency = self.latency;
        if latency.samples > 0 {
            let ms = |us: u64| us as f64 / 1000.0;
            write!(
                f,
                "; p50 {:.1} p90 {:.1} p99 {:.1} max {:.1} ms",
                ms(latency.p50_us),
                ms(latency.p90_us),
                ms(latency.p99_us),
                ms(latency.max_us)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "load on {} ({}) for {:.1} s: {} failed; longest stall {} ms; overflow {}; retried {}",
            self.target,
            self.host,
            self.elapsed_ms as f64 / 1000.0,
            self.failed(),
            self.longest_stall.ms,
            self.overflow,
            self.retried
        )?;
        writeln!(f, "  total: {}", self.totals)?;
        for (driver, tally) in &self.drivers {
            writeln!(f, "  {driver}: {tally}")?;
        }
        for (version, seen) in &self.versions {
            writeln!(
                f,
                "  version {version}: {} answers ({} ok, {} not) from {} to {} ms",
                seen.answers, seen.ok, seen.not_ok, seen.first_at_ms, seen.last_at_ms
            )?;
        }
        for failure in &self.failures {
            let port = failure.local_port.map_or_else(String::new, |port| format!(" port {port}"));
            writeln!(
                f,
                "  at {} ms {}{port} {}: {}",
                failure.at_ms, failure.driver, failure.class, failure.text
            )?;
        }
        if self.failures_omitted > 0 {
            writeln!(f, "  and {} more", self.failures_omitted)?;
        }
        Ok(())
    }
}
