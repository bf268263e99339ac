//! The books of a run: every attempt is entered when it starts and crossed out exactly
//! once when it ends. Drivers hold a [`Ticket`] for each attempt; dropping it unfinished
//! (an aborted or panicked task) enters `abandoned`, so that no attempt can vanish.
//! Knows nothing of sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::config::{Driver, Load};
use crate::outcome::{Class, Outcome};
use crate::report::{Failure, Latency, Report, Stall, Tally, VersionSeen};

/// Versions told apart; further ones are counted under `(other)`.
const VERSIONS_MAX: usize = 100;
const LATENCY_US_MAX: u64 = 3_600_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    started_unix_ms: u64,
    target: String,
    host: String,
    strict: bool,
    failures_kept_max: usize,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    drivers: [Book; 6],
    /// Requests (not streams) outstanding.
    outstanding: u64,
    /// Begin of the current stretch without a completion.
    quiet_since: Instant,
    longest_stall: Duration,
    stall_ended: Instant,
    last_end: Instant,
    versions: BTreeMap<String, VersionSeen>,
    overflow: u64,
    retried: u64,
    idle_discarded: u64,
    failures: Vec<Failure>,
    failures_omitted: u64,
}

/// The count of one driver.
#[derive(Debug)]
struct Book {
    started: u64,
    in_flight: u64,
    classes: BTreeMap<Class, u64>,
    latency: Histogram<u64>,
    service_time: Histogram<u64>,
    messages: u64,
    longest_message_gap: Duration,
}

impl Book {
    fn new() -> Self {
        // Auto-resizing: a driver that does nothing costs nothing.
        let histogram = || Histogram::new(3).expect("three significant digits are allowed");
        Self {
            started: 0,
            in_flight: 0,
            classes: BTreeMap::new(),
            latency: histogram(),
            service_time: histogram(),
            messages: 0,
            longest_message_gap: Duration::ZERO,
        }
    }
}

/// Why an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    First,
    /// After a `closed_idle_race`.
    Second,
}

impl Ledger {
    pub(crate) fn new(load: &Load) -> Self {
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let books = Books {
            drivers: std::array::from_fn(|_| Book::new()),
            outstanding: 0,
            quiet_since: now,
            longest_stall: Duration::ZERO,
            stall_ended: now,
            last_end: now,
            versions: BTreeMap::new(),
            overflow: 0,
            retried: 0,
            idle_discarded: 0,
            failures: Vec::new(),
            failures_omitted: 0,
        };
        let shared = Shared {
            started: now,
            started_unix_ms: millis(unix.unwrap_or_default()),
            target: load.target.to_string(),
            host: load.host.clone(),
            strict: load.strict,
            failures_kept_max: load.failures_kept_max,
            books: Mutex::new(books),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn started(&self) -> Instant {
        self.shared.started
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic while counting leaves whole numbers behind; go on counting.
        self.shared.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt that was meant to begin at `intended`.
    pub(crate) fn start(&self, driver: Driver, intended: Instant, which: Try) -> Ticket {
        let now = Instant::now();
        let mut books = self.books();
        let book = &mut books.drivers[driver.index()];
        book.started += 1;
        book.in_flight += 1;
        if which == Try::Second {
            books.retried += 1;
        }
        if !driver.is_stream() {
            if books.outstanding == 0 {
                // The server owes an answer from here on, or from the moment the
                // schedule wanted it, if this client itself was late.
                books.quiet_since = intended.max(books.quiet_since);
            }
            books.outstanding += 1;
        }
        drop(books);
        Ticket {
            ledger: self.clone(),
            driver,
            intended,
            began: now,
            local_port: None,
            version: None,
            last_message: None,
            open: true,
        }
    }

    pub(crate) fn overflow(&self) {
        self.books().overflow += 1;
    }

    pub(crate) fn idle_discarded(&self) {
        self.books().idle_discarded += 1;
    }

    /// The state of the books as a report.
    pub(crate) fn report(&self, finished: bool) -> Report {
        let shared = &self.shared;
        let books = self.books();
        let since = |instant: Instant| millis(instant.saturating_duration_since(shared.started));
        let elapsed_ms = if finished { since(books.last_end) } else { since(Instant::now()) };
        let drivers: BTreeMap<Driver, Tally> = Driver::ALL
            .into_iter()
            .filter(|driver| books.drivers[driver.index()].started > 0)
            .map(|driver| (driver, tally(&books.drivers[driver.index()])))
            .collect();
        Report {
            target: shared.target.clone(),
            host: shared.host.clone(),
            started_unix_ms: shared.started_unix_ms,
            elapsed_ms,
            strict: shared.strict,
            totals: total(&books.drivers),
            drivers,
            versions: books.versions.clone(),
            overflow: books.overflow,
            retried: books.retried,
            idle_discarded: books.idle_discarded,
            longest_stall: Stall {
                ms: millis(books.longest_stall),
                ended_at_ms: since(books.stall_ended),
            },
            failures: books.failures.clone(),
            failures_omitted: books.failures_omitted,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(LATENCY_US_MAX)
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    Latency {
        samples: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

fn tally(book: &Book) -> Tally {
    Tally {
        started: book.started,
        in_flight: book.in_flight,
        classes: book.classes.clone(),
        latency: latency(&book.latency),
        service_time: latency(&book.service_time),
        messages: book.messages,
        longest_message_gap_ms: millis(book.longest_message_gap),
    }
}

fn total(books: &[Book; 6]) -> Tally {
    let mut sum = Book::new();
    for book in books.iter().filter(|book| book.started > 0) {
        sum.started += book.started;
        sum.in_flight += book.in_flight;
        for (class, count) in &book.classes {
            *sum.classes.entry(*class).or_default() += count;
        }
        // Both sides resize by themselves and share their precision: adding cannot fail.
        let _ = sum.latency.add(&book.latency);
        let _ = sum.service_time.add(&book.service_time);
        sum.messages += book.messages;
        sum.longest_message_gap = sum.longest_message_gap.max(book.longest_message_gap);
    }
    tally(&sum)
}

/// One attempt in flight.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Ledger,
    driver: Driver,
    /// When the schedule wanted it to begin.
    intended: Instant,
    /// When it began.
    began: Instant,
    local_port: Option<u16>,
    version: Option<String>,
    last_message: Option<Instant>,
    /// Whether it is still to be crossed out.
    open: bool,
}

impl Ticket {
    pub(crate) fn driver(&self) -> Driver {
        self.driver
    }

    pub(crate) fn intended(&self) -> Instant {
        self.intended
    }

    pub(crate) fn connected(&mut self, local_port: u16) {
        self.local_port = Some(local_port);
    }

    /// Notes the head of an answer: whose it is and, for streams, how long it took.
    pub(crate) fn answered(&mut self, version: Option<String>) {
        let now = Instant::now();
        self.version = version;
        let at_ms = millis(now.saturating_duration_since(self.ledger.started()));
        let mut books = self.ledger.books();
        if self.driver.is_stream() {
            self.enter_latency(&mut books.drivers[self.driver.index()], now);
        }
        if let Some(seen) = self.seen(&mut books) {
            if seen.answers == 0 {
                seen.first_at_ms = at_ms;
            }
            seen.answers += 1;
            seen.last_at_ms = at_ms;
        }
    }

    fn seen<'a>(&self, books: &'a mut Books) -> Option<&'a mut VersionSeen> {
        let version = self.version.as_deref()?;
        let known = books.versions.contains_key(version);
        let key = if known || books.versions.len() < VERSIONS_MAX { version } else { "(other)" };
        if !books.versions.contains_key(key) {
            books.versions.insert(key.to_owned(), VersionSeen::default());
        }
        books.versions.get_mut(key)
    }

    fn enter_latency(&self, book: &mut Book, now: Instant) {
        let intended = now.saturating_duration_since(self.intended);
        let began = now.saturating_duration_since(self.began);
        // Values are capped below what a resizing histogram holds: recording cannot fail.
        let _ = book.latency.record(micros(intended));
        let _ = book.service_time.record(micros(began));
    }

    /// Notes a message on a stream.
    pub(crate) fn message(&mut self) {
        let now = Instant::now();
        let gap = self.last_message.map(|last| now - last);
        self.last_message = Some(now);
        let mut books = self.ledger.books();
        let book = &mut books.drivers[self.driver.index()];
        book.messages += 1;
        book.longest_message_gap = book.longest_message_gap.max(gap.unwrap_or_default());
    }

    /// Crosses the attempt out.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        self.open = false;
        let now = Instant::now();
        let at_ms = millis(now.saturating_duration_since(self.ledger.started()));
        let shared = Arc::clone(&self.ledger.shared);
        let mut books = self.ledger.books();
        let book = &mut books.drivers[self.driver.index()];
        book.in_flight -= 1;
        *book.classes.entry(outcome.class).or_default() += 1;
        if outcome.class == Class::Ok && !self.driver.is_stream() {
            self.enter_latency(book, now);
        }
        books.last_end = now;
        if !self.driver.is_stream() {
            books.outstanding -= 1;
            let quiet = now.saturating_duration_since(books.quiet_since);
            if quiet > books.longest_stall {
                books.longest_stall = quiet;
                books.stall_ended = now;
            }
            books.quiet_since = now;
        }
        let fine = matches!(outcome.class, Class::Ok | Class::Ended);
        if let Some(seen) = self.seen(&mut books) {
            if fine {
                seen.ok += 1;
            } else {
                seen.not_ok += 1;
            }
        }
        if fine {
            return;
        }
        if books.failures.len() >= shared.failures_kept_max {
            books.failures_omitted += 1;
            return;
        }
        books.failures.push(Failure {
            at_ms,
            driver: self.driver,
            class: outcome.class,
            text: outcome.text,
            local_port: self.local_port,
            version: self.version.clone(),
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            let text = "unfinished when the load was stopped";
            self.close(Outcome::new(Class::Abandoned, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    const CLASSES: [Class; 8] = [
        Class::Ok,
        Class::Ended,
        Class::ClosedIdleRace,
        Class::Status(503),
        Class::Reset,
        Class::Truncated,
        Class::Cut,
        Class::Timeout,
    ];

    fn ledger() -> Ledger {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        Ledger::new(&Load::builder(target, "a").failures_kept_max(3))
    }

    proptest! {
        /// Whatever happens to attempts, and in whatever order: each is in one class or
        /// in flight, failures add up, and no more texts are kept than allowed.
        #[test]
        fn every_attempt_is_in_exactly_one_class(
            steps in proptest::collection::vec((0_usize..6, 0_usize..9, any::<bool>()), 0..60)
        ) {
            let ledger = ledger();
            let mut held = Vec::new();
            let mut not_fine = 0;
            let mut started = 0;
            for (driver, ending, version) in steps {
                let mut ticket =
                    ledger.start(Driver::ALL[driver], Instant::now(), Try::First);
                started += 1;
                if version {
                    ticket.answered(Some(format!("{}", driver % 2)));
                }
                match CLASSES.get(ending) {
                    Some(class) => {
                        not_fine += u64::from(!matches!(class, Class::Ok | Class::Ended));
                        ticket.finish(Outcome::new(*class, "x"));
                    }
                    None => held.push(ticket),
                }
                if started % 16 == 0 {
                    prop_assert!(ledger.report(false).is_balanced());
                }
            }
            let report = ledger.report(false);
            prop_assert_eq!(report.totals.started, started);
            prop_assert_eq!(report.totals.in_flight, held.len() as u64);
            prop_assert_eq!(report.failures.len() as u64 + report.failures_omitted, not_fine);
            prop_assert!(report.failures.len() <= 3);
            let abandoned = held.len() as u64;
            drop(held);
            let report = ledger.report(true);
            prop_assert!(report.is_balanced());
            prop_assert_eq!(report.totals.in_flight, 0);
            prop_assert_eq!(report.count(Class::Abandoned), abandoned);
        }
    }

    #[test]
    fn versions_are_bounded() {
        let ledger = ledger();
        for version in 0..1000 {
            let mut ticket = ledger.start(Driver::Slow, Instant::now(), Try::First);
            ticket.answered(Some(version.to_string()));
            ticket.finish(Outcome::ok());
        }
        let report = ledger.report(true);
        assert_eq!(report.versions.len(), VERSIONS_MAX + 1);
        assert_eq!(report.versions["(other)"].answers, 900);
        assert_eq!(report.versions["7"].ok, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_only_while_something_is_outstanding() {
        let ledger = ledger();
        let second = Duration::from_secs(1);
        ledger.start(Driver::KeepAlive, Instant::now(), Try::First).finish(Outcome::ok());
        // Idle time is no stall, and neither is a silent stream.
        let stream = ledger.start(Driver::Ws, Instant::now(), Try::First);
        tokio::time::advance(10 * second).await;
        let first = ledger.start(Driver::KeepAlive, Instant::now(), Try::First);
        tokio::time::advance(second).await;
        let other = ledger.start(Driver::KeepAlive, Instant::now(), Try::First);
        tokio::time::advance(second).await;
        first.finish(Outcome::ok());
        tokio::time::advance(second).await;
        other.finish(Outcome::ok());
        drop(stream);
        let stall = ledger.report(true).longest_stall;
        assert_eq!((stall.ms, stall.ended_at_ms), (2000, 12_000));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_the_intended_start() {
        let ledger = ledger();
        let intended = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let ticket = ledger.start(Driver::KeepAlive, intended, Try::First);
        tokio::time::advance(Duration::from_secs(1)).await;
        ticket.finish(Outcome::ok());
        let tally = ledger.report(true).totals;
        assert!((3_990_000..=4_010_000).contains(&tally.latency.max_us));
        assert!((990_000..=1_010_000).contains(&tally.service_time.max_us));
    }
}
