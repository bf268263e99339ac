//! How fast a body comes: one that drips holds a connection to its target for as long as it likes.
//! Used by whoever passes a request's body on, in either protocol; who must not be judged (its target
//! does not read, or it may be silent) is paused.

/// Over how long a body's speed is taken, in milliseconds.
const WINDOW_MS: u64 = 10_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least speed, in bytes a second; 0 for none.
    bytes_per_s_min: u64,
    /// Since when the sender is waited for, and how many bytes came since.
    window: Option<(u64, u64)>,
}

impl Pace {
    pub(crate) fn new(bytes_per_s_min: u64) -> Self {
        Self { bytes_per_s_min, window: None }
    }

    /// The sender is not waited for.
    pub(crate) fn pause(&mut self) {
        self.window = None;
    }

    /// Whether it is too slow, now that so many bytes have come.
    pub(crate) fn is_too_slow(&mut self, count: u64, now_ms: u64) -> bool {
        let (since_ms, bytes) = self.window.get_or_insert((now_ms, 0));
        *bytes += count;
        let passed_ms = now_ms.saturating_sub(*since_ms);
        if passed_ms < WINDOW_MS {
            return false;
        }
        let is_slow = *bytes < self.bytes_per_s_min.saturating_mul(passed_ms / 1000);
        self.window = None;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_drips_is_too_slow() {
        // (bytes at a time, milliseconds between, what follows within a minute)
        for (bytes, gap_ms, expected) in [
            (1, 1_000, true),
            (1, 59_000, true),
            (9, 1_000, true),
            (10, 1_000, false),
            (200, 15_000, false),
        ] {
            let mut pace = Pace::new(10);
            let slow = (0..60_000).step_by(gap_ms).any(|ms| pace.is_too_slow(bytes, ms as u64));
            assert_eq!(slow, expected, "{bytes} bytes each {gap_ms} ms");
        }
        let mut free = Pace::new(0);
        assert!(!(0..60).any(|s| free.is_too_slow(1, s * 1_000)));
        let mut paused = Pace::new(10);
        for s in 0..60 {
            assert!(!paused.is_too_slow(1, s * 1_000));
            paused.pause();
        }
    }
}
