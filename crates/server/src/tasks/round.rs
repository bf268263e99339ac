//! What the loops share: why a round comes to nothing, when the next one is due after that, and since
//! when a loop looks. Called by the loops beside it; must not sleep.

use std::error::Error;
use std::time::Duration;

use ark_planner::time::after;
use ark_store::StoreError;
use jiff::Timestamp;

use crate::world::Clock;

/// How far the wall clock and the time that passes may differ between two rounds, unless it was set.
const DRIFT_MAX: Duration = Duration::from_secs(1);

/// Since when a loop looks. What is patient with others counts from then: a time in which nobody looked,
/// because the clock was set forth or the machine slept, tried nobody's patience.
#[derive(Debug, Default)]
pub(super) struct Looking {
    last: Option<Look>,
}

/// An instant, and since when there were looks without a break before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) since: Timestamp,
    pub(super) at: Timestamp,
    passed: Duration,
}

impl Looking {
    /// One look more.
    pub(super) fn look(&mut self, clock: &dyn Clock) -> Look {
        let look = self.last.map_or_else(|| Look::first(clock), |last| last.again(clock));
        self.last = Some(look);
        look
    }
}

impl Look {
    /// Nobody looked before.
    pub(super) fn first(clock: &dyn Clock) -> Self {
        let at = clock.now();
        Self { since: at, at, passed: clock.passed() }
    }

    /// One look more in the same round: it may have waited for an answer while the clock was set.
    pub(super) fn again(&self, clock: &dyn Clock) -> Self {
        let (at, passed) = (clock.now(), clock.passed());
        let due = after(self.at, passed.saturating_sub(self.passed));
        let went_on = at.duration_since(due).unsigned_abs() <= DRIFT_MAX;
        Self { since: if went_on { self.since } else { at }, at, passed }
    }
}

/// What failed, or what the engine did not do, is looked at again after this time.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// Why a round, or one app's part of it, came to nothing. The next round is the retry.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The store refused or failed.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// What was planned on has changed meanwhile.
    #[error("the records changed while the plan was made")]
    Outdated,
    /// Another controller holds the lease: this one must stop.
    #[error("another server has taken over")]
    Fenced,
}

/// When the part of a round that ended so is to be looked at again; `None` when only something new
/// is a reason to. A failure is told to `log`.
///
/// # Errors
/// [`TaskError::Fenced`], and no other.
pub(super) fn part(
    now: Timestamp,
    outcome: Result<Option<Timestamp>, TaskError>,
    log: impl FnOnce(&(dyn Error + 'static)),
) -> Result<Option<Timestamp>, TaskError> {
    match outcome {
        Ok(at) => Ok(at),
        Err(TaskError::Outdated) => Ok(Some(now)),
        Err(TaskError::Fenced) => Err(TaskError::Fenced),
        Err(error @ TaskError::Store(_)) => {
            log(&error);
            Ok(Some(after(now, RETRY)))
        }
    }
}

/// When the next round is due after one that ended so. A failure is logged as one of `what`.
///
/// # Errors
/// [`TaskError::Fenced`], and no other.
pub(super) fn whole(
    now: Timestamp,
    outcome: Result<Timestamp, TaskError>,
    what: &str,
) -> Result<Timestamp, TaskError> {
    match outcome {
        Ok(next) => Ok(next),
        Err(TaskError::Fenced) => Err(TaskError::Fenced),
        Err(error @ (TaskError::Store(_) | TaskError::Outdated)) => {
            let cause: &(dyn Error + 'static) = &error;
            tracing::error!(error = cause, what, "a round failed");
            Ok(after(now, RETRY))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A wall clock, and the time that passes.
    #[derive(Debug)]
    struct Hands(Mutex<(i64, u64)>);

    impl Hands {
        fn pass(&self, seconds: u64) {
            let mut hands = self.0.lock().unwrap();
            *hands = (hands.0 + seconds.cast_signed(), hands.1 + seconds);
        }

        fn set(&self, by: i64) {
            self.0.lock().unwrap().0 += by;
        }
    }

    #[async_trait::async_trait]
    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.lock().unwrap().0).unwrap()
        }

        fn passed(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }

        async fn sleep_until(&self, _: Timestamp) {}
    }

    /// A round may wait for an answer while the clock is set: what it plans with then must not count the
    /// time by which it was set against anybody's patience.
    #[test]
    fn a_clock_that_is_set_in_the_middle_of_a_round_begins_a_new_look() {
        let clock = Hands(Mutex::new((1_000, 0)));
        let second = |look: Look| (look.since.as_second(), look.at.as_second());
        let mut looking = Looking::default();
        assert_eq!(second(looking.look(&clock)), (1_000, 1_000));
        clock.pass(30);
        let begun = looking.look(&clock);
        assert_eq!(second(begun), (1_000, 1_030));
        clock.pass(10);
        assert_eq!(second(begun.again(&clock)), (1_000, 1_040));
        clock.set(180);
        assert_eq!(second(begun.again(&clock)), (1_220, 1_220));
        // The next round knows it too, and goes on from there.
        assert_eq!(second(looking.look(&clock)), (1_220, 1_220));
        clock.pass(5);
        assert_eq!(second(looking.look(&clock)), (1_220, 1_225));
    }
}
