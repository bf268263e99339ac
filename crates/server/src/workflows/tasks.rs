//! Handing tasks to workers, and taking their answers.

use jiff::Timestamp;

use super::error::WorkflowError;
use super::types::HandedTask;
use super::{Workflows, not_yet};

/// What tells the runtime whether a worker got its task.
#[derive(Debug)]
pub struct Delivery {}

impl Delivery {
    pub(crate) fn confirm(self) {}
}

impl Workflows {
    /// Waits until the activity has a task for this worker, at most until `deadline` (the wire
    /// waits 60 s). `None` when none came, or the server ends. Drop the future to stop waiting:
    /// a task that was already taken for it is offered to others.
    ///
    /// # Errors
    /// `InvalidArn`, `ActivityDoesNotExist`, `ActivityWorkerLimitExceeded` (1,000 wait already).
    pub async fn poll_activity(
        &self,
        activity_arn: &str,
        worker: Option<String>,
        deadline: Timestamp,
    ) -> Result<Option<HandedTask>, WorkflowError> {
        not_yet((activity_arn, worker, deadline))
    }

    /// The task of a token (an activity's or a callback's) succeeded.
    ///
    /// # Errors
    /// `InvalidToken`, `InvalidOutput`, `TaskDoesNotExist`, `TaskTimedOut`.
    pub async fn task_succeeded(&self, token: &str, output: String) -> Result<(), WorkflowError> {
        not_yet((token, output))
    }

    /// The task of a token failed.
    ///
    /// # Errors
    /// `InvalidToken`, `TaskDoesNotExist`, `TaskTimedOut`.
    pub async fn task_failed(
        &self,
        token: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<(), WorkflowError> {
        not_yet((token, error, cause))
    }

    /// The task of a token is still being worked on.
    ///
    /// # Errors
    /// As [`Self::task_failed`].
    pub async fn task_heartbeat(&self, token: &str) -> Result<(), WorkflowError> {
        not_yet(token)
    }
}
