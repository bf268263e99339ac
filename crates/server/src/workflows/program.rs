//! What executions of one revision share: the parsed definition and the names around it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ark_model::workflow::MachineType;
use ark_states::Definition;
use ark_store::{ExecutionKind, ExecutionRow, ReadTx};

use super::arn::{Arn, Resource};
use super::error::WorkflowError;
use super::facts::{Facts, Parent, RevisionBody};

/// Parsed definitions kept in memory. They never change, so forgetting them all costs only time.
const PROGRAMS_MAX: usize = 2_000;

/// A revision, ready to run.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) definition: Definition,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) machine_type: MachineType,
    pub(super) role_arn: Arc<str>,
    /// Whether its last step cost more than may be done on the writer.
    costly: AtomicBool,
}

impl Program {
    pub(super) fn is_costly(&self) -> bool {
        self.costly.load(Ordering::Relaxed)
    }

    pub(super) fn set_costly(&self, costly: bool) {
        self.costly.store(costly, Ordering::Relaxed);
    }

    /// ARN of the machine.
    pub(super) fn machine_arn(&self, facts: &Facts) -> String {
        let name = self.name.clone();
        let resource = match &facts.parent {
            Some(Parent::Item { label, .. }) => Resource::Labelled { name, label: label.clone() },
            Some(Parent::Task { .. }) | None => Resource::Machine { name },
        };
        Arn::new(&self.region, resource).to_string()
    }

    /// ARN of an execution.
    pub(super) fn execution_arn(&self, row: &ExecutionRow, facts: &Facts) -> String {
        let machine = self.name.clone();
        let resource = match (&facts.parent, row.kind, row.name.split_once(':')) {
            (Some(Parent::Item { label, .. }), _, _) => {
                Resource::Execution { machine, label: Some(label.clone()), name: row.name.clone() }
            }
            (_, ExecutionKind::Express | ExecutionKind::Sync, Some((name, id))) => {
                Resource::Express { machine, name: name.to_owned(), id: id.to_owned() }
            }
            (_, _, _) => Resource::Execution { machine, label: None, name: row.name.clone() },
        };
        Arn::new(&self.region, resource).to_string()
    }
}

/// The revisions that were run of late.
#[derive(Debug, Default)]
pub(super) struct Programs(Mutex<HashMap<u64, Arc<Program>>>);

impl Programs {
    /// A revision, from memory or from the store.
    pub(super) fn get(&self, tx: &ReadTx, revision: u64) -> Result<Arc<Program>, WorkflowError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&revision) {
            return Ok(program.clone());
        }
        let gone =
            |what: &str| WorkflowError::Internal(format!("{what} of revision {revision} is gone"));
        let row = tx.machine_revision(revision)?.ok_or_else(|| gone("the record"))?;
        let machine = tx.machine(row.machine)?.ok_or_else(|| gone("the machine"))?;
        let definition = Definition::parse(&row.definition)
            .map_err(|error| WorkflowError::Internal(format!("revision {revision}: {error}")))?;
        let body: RevisionBody = serde_json::from_str(&row.body).unwrap_or_default();
        let program = Arc::new(Program {
            definition,
            name: machine.name,
            region: machine.region,
            machine_type: machine.machine_type,
            role_arn: body.role_arn.into(),
            costly: AtomicBool::new(false),
        });
        if known.len() >= PROGRAMS_MAX {
            known.clear();
        }
        known.insert(revision, program.clone());
        Ok(program)
    }
}
