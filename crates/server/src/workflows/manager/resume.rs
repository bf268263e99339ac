//! Going on from a state: a new workflow with what the old one's state was given, of the same
//! version without the states that are not reached any more.
//!
//! Unlike a redrive, which goes on within the same execution, this works for whatever has ended and
//! from any state that was entered. Variables are not carried over.

use ark_model::api::Workflow;
use ark_states::history::HistoryEvent;
use ark_states::{Definition, limits};
use ark_store::{ExecutionRow, ReadTx, RunRow, WriteTx};
use jiff::Timestamp;
use serde_json::Value;

use super::super::error::WorkflowError;
use super::super::facts::kept_text;
use super::super::{history, queues};
use super::runs::{RETRIES_MAX, RunBody, body_of, facts_of, named_input, spec, target};
use super::{Manager, conflict, conventions, execution_of, missing, refused};

/// What the old workflow says of the new one.
struct Before {
    execution: u64,
    input: String,
    definition: Value,
}

impl Manager<'_> {
    /// Starts a workflow that goes on for another from one of its states.
    ///
    /// # Errors
    /// `ResourceNotFound`, `ConflictException` (it, or one that goes on for it, has not ended),
    /// `ValidationException` (no such state, or it was never entered).
    pub async fn resume(&self, id: &str, start_at: &str) -> Result<Workflow, WorkflowError> {
        let (asked, state) = (id.to_owned(), start_at.to_owned());
        let before = self
            .0
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| before(tx, &asked, &state))
            .await?;
        let new_id = self.0.world.entropy.uuid().to_string();
        let input = named_input(&before.input, &new_id)?;
        let start_at = start_at.to_owned();
        let execution = self
            .0
            .transact(move |step| {
                // Looked at again: another may have gone on meanwhile.
                let gone = || missing("workflow", &before.execution.to_string());
                let row = step.tx.execution(before.execution)?.ok_or_else(gone)?;
                all_ended(step.tx, &row)?;
                let machine = step.tx.machine(row.machine)?.ok_or_else(gone)?;
                let facts = facts_of(&row)?;
                let old = body_of(step.tx.workflow_run(row.id)?.as_ref())?;
                let now = step.now;
                let revision = side_revision(step.tx, &row, &before.definition, &start_at, now)?;
                let target = target(&machine, revision, facts.version_arn);
                let priority = queues::priority(step.tx, &old.queue)?;
                let spec = spec(target, &new_id, input, facts.namespace, priority);
                let begun = step.start(spec)?;
                let body = RunBody { start_at: Some(start_at), ..old };
                step.tx.insert_workflow_run(&RunRow {
                    execution: begun.id,
                    id: new_id,
                    retry_for: Some(row.id),
                    body: serde_json::to_string(&body)?,
                })?;
                Ok(begun.id)
            })
            .await?;
        self.by_execution(execution).await
    }
}

fn before(tx: &ReadTx, id: &str, start_at: &str) -> Result<Before, WorkflowError> {
    let row = execution_of(tx, id)?;
    all_ended(tx, &row)?;
    let mut definition = super::definitions::text_of(tx, row.revision)?;
    conventions::begin_at(&mut definition, start_at).map_err(refused)?;
    let most = usize::try_from(limits::HISTORY_EVENTS_MAX).unwrap_or(usize::MAX);
    let events = history::up(tx, row.id, 1, most)?;
    let entered = |event: &&HistoryEvent| {
        event.kind.name().ends_with("StateEntered")
            && event.details.name.as_deref() == Some(start_at)
    };
    let input = events.iter().rev().find(entered).and_then(|event| event.details.input.as_deref());
    let input = input.ok_or_else(|| {
        refused(format!("the workflow never came to state `{start_at}`: go on from one before it"))
    })?;
    Ok(Before { execution: row.id, input: kept_text(tx, row.id, input)?, definition })
}

/// Refuses while the workflow, or any that goes on for it, runs.
fn all_ended(tx: &ReadTx, row: &ExecutionRow) -> Result<(), WorkflowError> {
    let running = |name: &str| {
        conflict(format!("workflow `{name}` is running: wait for its end, or cancel it"))
    };
    if !row.status.is_ended() {
        return Err(running(&row.name));
    }
    let (mut open, mut seen) = (vec![row.id], 0);
    while let Some(execution) = open.pop() {
        for run in tx.workflow_retries(execution, RETRIES_MAX)? {
            seen += 1;
            if seen >= RETRIES_MAX {
                return Err(conflict(format!("at most {RETRIES_MAX} workflows go on for one")));
            }
            let found = tx.execution(run.execution)?;
            if found.is_some_and(|found| !found.status.is_ended()) {
                return Err(running(&run.id));
            }
            open.push(run.execution);
        }
    }
    Ok(())
}

/// The revision that begins there: made once, not the one that new executions get.
fn side_revision(
    tx: &mut WriteTx,
    row: &ExecutionRow,
    definition: &Value,
    start_at: &str,
    now: Timestamp,
) -> Result<u64, WorkflowError> {
    let about = format!("revision {} from {start_at}", row.revision);
    let digest = ark_model::Sha256::of(about.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    let revision_id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();
    if let Some(known) = tx.machine_revision_by_id(row.machine, &revision_id)? {
        return Ok(known);
    }
    let text = definition.to_string();
    // What ran goes on, whatever is asked of new definitions by now: it need only be one that can be read.
    Definition::parse(&text).map_err(|error| refused(error.to_string()))?;
    let gone = || WorkflowError::Internal(format!("revision {} is gone", row.revision));
    let body = tx.machine_revision(row.revision)?.ok_or_else(gone)?.body;
    Ok(tx.insert_side_revision(row.machine, &revision_id, &text, &body, now)?)
}
