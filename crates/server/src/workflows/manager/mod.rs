//! What the workflow manager's REST API (`/wm`) does, over the runtime: definitions with their
//! versions, workflows with their jobs, going on from a state, resolving.
//!
//! A definition is a state machine, its version `n` the machine's version `n + 1`; a workflow is a
//! Standard execution. So both APIs see the same things: what was defined or started elsewhere is
//! shown here, too. What this API alone knows (tags, queue, the text as it was sent, who goes on for
//! whom) stands in rows of its own, written in the transaction that makes the thing.
//!
//! Called by `api/workflow_manager`. Must not know HTTP.

pub mod conventions;
mod definitions;
pub mod jobs;
mod resume;
mod runs;

use ark_store::{ExecutionRow, MachineRow, ReadTx, VersionRow};

use super::Workflows;
use super::error::{Refusal, WorkflowError};

pub use runs::{Listed, Search};

/// The API's operations on a runtime.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a>(&'a Workflows);

impl Workflows {
    /// The workflow manager over this runtime.
    pub fn manager(&self) -> Manager<'_> {
        Manager(self)
    }
}

fn refused(message: impl Into<String>) -> WorkflowError {
    Refusal::ValidationException.with(message)
}

fn conflict(message: impl Into<String>) -> WorkflowError {
    Refusal::ConflictException.with(message)
}

fn missing(what: &str, name: &str) -> WorkflowError {
    let name: String = name.chars().take(100).collect();
    Refusal::ResourceNotFound.with(format!("{what} `{name}` does not exist"))
}

/// The machine of a definition.
fn machine_of(tx: &ReadTx, name: &str) -> Result<MachineRow, WorkflowError> {
    tx.machine_by_name(&conventions::machine_name(name))?
        .ok_or_else(|| missing("workflow definition", name))
}

/// A version as the API counts: from 0, below 0 the latest.
fn version_of(
    tx: &ReadTx,
    machine: &MachineRow,
    name: &str,
    version: i64,
) -> Result<VersionRow, WorkflowError> {
    let found = match u64::try_from(version) {
        Ok(version) => tx.machine_version(machine.id, version.saturating_add(1))?,
        Err(_) => tx.machine_versions(machine.id, u64::MAX, 1)?.pop(),
    };
    found.ok_or_else(|| match version {
        0.. => missing("workflow definition", &format!("{name}, version {version}")),
        _ => missing("a version of workflow definition", name),
    })
}

/// The execution of a workflow's id: one that this API gave, `NAME:EXECUTION`, or an ARN.
fn execution_of(tx: &ReadTx, id: &str) -> Result<ExecutionRow, WorkflowError> {
    let nothing = || missing("workflow", id);
    if id.starts_with("arn:") {
        return super::executions::find(tx, id).map_err(|error| match error.refusal() {
            Some(_) => nothing(),
            None => error,
        });
    }
    let found = match (tx.workflow_run_by_id(id)?, id.rsplit_once(':')) {
        (Some(run), _) => tx.execution(run.execution)?,
        (None, Some((machine, name))) => tx.execution_by_names(machine, name)?,
        (None, None) => None,
    };
    // Express executions have no history to show, and are gone when they end.
    found.filter(|row| row.kind == ark_store::ExecutionKind::Standard).ok_or_else(nothing)
}
