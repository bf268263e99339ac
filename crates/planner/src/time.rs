//! Instants plus durations, without overflow: a duration from a file may be absurd.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `start + duration`, or the last instant there is.
pub fn after(start: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|d| start.checked_add(d).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Time from `start` to `now`, zero when the clock went back.
pub fn since(start: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(start)).unwrap_or(Duration::ZERO)
}

/// [`since`] in milliseconds.
pub fn since_ms(start: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(since(start, now).as_millis()).unwrap_or(u64::MAX)
}
