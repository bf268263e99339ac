//! What the loops share: why a round comes to nothing, and when the next one is due after that.
//! Called by the loops beside it; must not sleep or read a clock.

use std::error::Error;
use std::time::Duration;

use ark_planner::time::after;
use ark_store::StoreError;
use jiff::Timestamp;

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
