//! The monotonic clock all threads of one gateway share, in milliseconds since its start. Coarse
//! deadlines are plain numbers of it, so that a request costs no timer.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// Milliseconds since the gateway began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// When on this clock the wall clock will show `instant`, should it run evenly until then.
    pub(crate) fn at(&self, instant: Timestamp) -> u64 {
        let left = instant.duration_since(Timestamp::now());
        self.now_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(0))
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
