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

#[derive(Debug, Clone, Copy)]
struct Look {
    since: Timestamp,
    at: Timestamp,
    passed: Duration,
}

impl Looking {
    /// One look more. Answers since when there are any, by a clock that nobody set meanwhile.
    pub(super) fn since(&mut self, clock: &dyn Clock) -> Timestamp {
        let (at, passed) = (clock.now(), clock.passed());
        let went_on = |last: &Look| {
            let due = after(last.at, passed.saturating_sub(last.passed));
            at.duration_since(due).unsigned_abs() <= DRIFT_MAX
        };
        let since = self.last.filter(went_on).map_or(at, |last| last.since);
        self.last = Some(Look { since, at, passed });
        since
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
