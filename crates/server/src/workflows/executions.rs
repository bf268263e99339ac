//! Starting executions, looking at them, and steering them.

use jiff::Timestamp;

use super::error::WorkflowError;
use super::types::{
    Ended, ExecutionView, HistoryPage, ListExecutions, MapRunView, Page, PageRequest,
    StartExecution, Started, UpdateMapRun,
};
use super::{Workflows, not_yet};

impl Workflows {
    /// Starts an execution of a Standard or (asynchronously) of an Express machine. Answers once
    /// the start is durable. Standard: the same name with the same input answers the execution that
    /// runs under it already.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidName`, `InvalidExecutionInput` (no JSON, or above 262,144 bytes),
    /// `StateMachineDoesNotExist`, `ExecutionAlreadyExists` (that name with another input, or
    /// ended), `ExecutionLimitExceeded`.
    pub async fn start_execution(&self, start: StartExecution) -> Result<Started, WorkflowError> {
        not_yet(start)
    }

    /// Runs an execution of an Express machine and waits for its end, at most five minutes.
    ///
    /// # Errors
    /// As [`Self::start_execution`]; `StateMachineTypeNotSupported` for a Standard machine.
    pub async fn start_sync_execution(
        &self,
        start: StartExecution,
    ) -> Result<Ended, WorkflowError> {
        not_yet(start)
    }

    /// One execution, by its ARN.
    ///
    /// # Errors
    /// `InvalidArn`, `ExecutionDoesNotExist`, `StateMachineTypeNotSupported` for Express.
    pub async fn describe_execution(&self, arn: &str) -> Result<ExecutionView, WorkflowError> {
        not_yet(arn)
    }

    /// Ends an execution as ABORTED, with its children. Of one that has ended: nothing changes, and
    /// the answer says when it ended.
    ///
    /// # Errors
    /// `InvalidArn`, `ExecutionDoesNotExist`, `StateMachineTypeNotSupported`.
    pub async fn stop_execution(
        &self,
        arn: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<Timestamp, WorkflowError> {
        not_yet((arn, error, cause))
    }

    /// Executions, newest first. A page's token stays good while others are started.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `StateMachineDoesNotExist`, `StateMachineTypeNotSupported`,
    /// `ValidationException`, `ResourceNotFound` (map run).
    pub async fn list_executions(
        &self,
        list: ListExecutions,
    ) -> Result<Page<ExecutionView>, WorkflowError> {
        not_yet(list)
    }

    /// Events of an execution, oldest first or newest first.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `ExecutionDoesNotExist`.
    pub async fn history(
        &self,
        arn: &str,
        page: PageRequest,
        newest_first: bool,
    ) -> Result<HistoryPage, WorkflowError> {
        not_yet((arn, page, newest_first))
    }

    /// Lets an execution that failed, timed out or was aborted go on from where it failed. Answers
    /// when. The same client token again answers the same.
    ///
    /// # Errors
    /// `InvalidArn`, `ExecutionDoesNotExist`, `ExecutionNotRedrivable`, `ExecutionLimitExceeded`.
    pub async fn redrive_execution(
        &self,
        arn: &str,
        client_token: Option<String>,
    ) -> Result<Timestamp, WorkflowError> {
        not_yet((arn, client_token))
    }

    /// Waits until an execution has ended, or until `deadline`, and answers it as it stands then.
    ///
    /// # Errors
    /// As [`Self::describe_execution`].
    pub async fn wait_ended(
        &self,
        arn: &str,
        deadline: Timestamp,
    ) -> Result<ExecutionView, WorkflowError> {
        not_yet((arn, deadline))
    }

    /// One map run, by its ARN.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn describe_map_run(&self, arn: &str) -> Result<MapRunView, WorkflowError> {
        not_yet(arn)
    }

    /// Map runs of an execution, newest first.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `ExecutionDoesNotExist`.
    pub async fn list_map_runs(
        &self,
        execution_arn: &str,
        page: PageRequest,
    ) -> Result<Page<MapRunView>, WorkflowError> {
        not_yet((execution_arn, page))
    }

    /// Changes limits of a running map run.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`, `ValidationException` (it has ended, or a limit is wrong).
    pub async fn update_map_run(
        &self,
        arn: &str,
        change: UpdateMapRun,
    ) -> Result<(), WorkflowError> {
        not_yet((arn, change))
    }
}
