//! Definitions: made, given another version, shown. Numbers are given within the transaction, so
//! that no two writers get the same.

use std::collections::BTreeMap;

use ark_model::address::is_taken_away;
use ark_model::api::{NewWorkflowDefinition, WorkflowDefinition, WorkflowEngine};
use ark_model::event::{EventKind, NewEvent};
use ark_model::workflow::MachineType;
use ark_states::limits;
use ark_store::{MachineRow, ReadTx, VersionRow, WriteTx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::arn::DEFAULT_REGION;
use super::super::error::{Refusal, WorkflowError};
use super::super::{definitions, machines, tags, versions};
use super::{Manager, conflict, conventions, machine_of, missing, refused, version_of};

/// The longest name of a definition, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Ark assumes no roles; a machine has one all the same.
const ROLE: &str = "arn:aws:iam::000000000000:role/ark";
/// Definitions of one page.
const PAGE: usize = 500;

/// What was sent for a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) name: String,
    pub(super) state_machine: Value,
    #[serde(default)]
    pub(super) default_tags: BTreeMap<String, String>,
}

/// A definition that was judged, with the machine to run for it.
struct Judged {
    sent: Sent,
    machine: String,
    to_run: String,
}

fn judge(new: NewWorkflowDefinition) -> Result<Judged, WorkflowError> {
    let NewWorkflowDefinition { name, state_machine, default_tags, .. } = new;
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(refused(format!(
            "a definition needs a name of 1 to {NAME_CHARS_MAX} characters"
        )));
    }
    if is_taken_away(&name) {
        // Clients of that API write names into addresses as they are.
        return Err(refused(format!(
            "a definition cannot be called `{name}`: no address leads to it"
        )));
    }
    if !state_machine.is_object() {
        return Err(refused("stateMachine must be an object in the States Language"));
    }
    let text = state_machine.to_string();
    if text.len() > limits::DEFINITION_BYTES_MAX {
        let most = limits::DEFINITION_BYTES_MAX;
        return Err(refused(format!("the state machine has more than {most} bytes")));
    }
    let default_tags = default_tags.unwrap_or_default();
    tags::check(&default_tags)?;
    let to_run = conventions::to_run(&state_machine).map_err(refused)?.to_string();
    // Findings name places of the text as it was sent, wherever that is what is wrong.
    definitions::check(&text, MachineType::Standard)?;
    definitions::check(&to_run, MachineType::Standard)?;
    let machine = conventions::machine_name(&name);
    Ok(Judged { sent: Sent { name, state_machine, default_tags }, machine, to_run })
}

impl Manager<'_> {
    /// Makes a definition: its version 0.
    ///
    /// # Errors
    /// `InvalidDefinition`, `ValidationException`, `ConflictException` when it is there, or workflows
    /// of a deleted one of that name run, `StateMachineLimitExceeded` (100,000).
    pub async fn define(
        &self,
        new: NewWorkflowDefinition,
        by: &str,
    ) -> Result<WorkflowDefinition, WorkflowError> {
        let judged = judge(new)?;
        let (now, by) = (self.0.world.clock.now(), by.to_owned());
        self.0
            .world
            .store
            .write(move |tx| {
                if tx.machine_by_name(&judged.machine)?.is_some() {
                    let name = &judged.sent.name;
                    return Err(conflict(format!(
                        "workflow definition `{name}` exists: PUT makes a new version of it"
                    )));
                }
                if tx.is_machine_deleting(&judged.machine)? {
                    let name = &judged.sent.name;
                    return Err(conflict(format!(
                        "workflows of a deleted definition `{name}` are running: wait for their end, or cancel them"
                    )));
                }
                machines::check_room(tx)?;
                let kind = MachineType::Standard;
                let id = tx.insert_machine(&judged.machine, DEFAULT_REGION, kind, now)?;
                let settings = machines::first_settings(ROLE)?;
                let to_run = &judged.to_run;
                let revision =
                    tx.insert_machine_revision(id, machines::INITIAL, to_run, &settings, now)?;
                add_version(tx, id, revision, &judged.sent, &by, now)
            })
            .await
    }

    /// Makes a new version of a definition; always a new one.
    ///
    /// # Errors
    /// `InvalidDefinition`, `ValidationException`, `ResourceNotFound`,
    /// `ServiceQuotaExceededException` (1,000 versions).
    pub async fn redefine(
        &self,
        new: NewWorkflowDefinition,
        by: &str,
    ) -> Result<WorkflowDefinition, WorkflowError> {
        let judged = judge(new)?;
        let (now, by) = (self.0.world.clock.now(), by.to_owned());
        let fresh = self.0.world.entropy.uuid().to_string();
        self.0
            .world
            .store
            .write(move |tx| {
                let machine = machine_of(tx, &judged.sent.name)?;
                if machine.machine_type != MachineType::Standard {
                    return Err(refused("an Express workflow is changed by `ark workflow define`"));
                }
                versions::check_room(tx, machine.id)?;
                let current = machines::current(tx, &machine)?;
                let revision = if current.definition == judged.to_run {
                    current.id
                } else {
                    let (to_run, body) = (&judged.to_run, &current.body);
                    tx.insert_machine_revision(machine.id, &fresh, to_run, body, now)?
                };
                add_version(tx, machine.id, revision, &judged.sent, &by, now)
            })
            .await
    }

    /// One version; below 0 the latest.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn definition(
        &self,
        name: &str,
        version: i64,
    ) -> Result<WorkflowDefinition, WorkflowError> {
        let name = name.to_owned();
        self.0
            .world
            .store
            .read(move |tx| {
                let machine = machine_of(tx, &name)?;
                let version = version_of(tx, &machine, &name, version)?;
                view(tx, &machine, &version)
            })
            .await
    }

    /// All versions of a definition, newest first.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn definition_versions(
        &self,
        name: &str,
    ) -> Result<Vec<WorkflowDefinition>, WorkflowError> {
        let name = name.to_owned();
        self.0
            .world
            .store
            .read(move |tx| {
                let machine = machine_of(tx, &name)?;
                // A machine has at most a page of versions.
                let versions = tx.machine_versions(machine.id, u64::MAX, ark_store::PAGE_MAX)?;
                if versions.is_empty() {
                    return Err(missing("a version of workflow definition", &name));
                }
                versions.iter().map(|version| view(tx, &machine, version)).collect()
            })
            .await
    }

    /// The latest version of each definition after a machine's number, in the order in which they
    /// were made, and the number to go on from when there are more.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn definitions(
        &self,
        after: u64,
    ) -> Result<(Vec<WorkflowDefinition>, Option<u64>), WorkflowError> {
        self.0
            .world
            .store
            .read(move |tx| {
                let machines = tx.machines(after, PAGE)?;
                let next = machines.last().filter(|_| machines.len() == PAGE).map(|last| last.id);
                let mut found = Vec::new();
                for machine in machines {
                    // What was never published is no definition yet.
                    if let Some(latest) = tx.machine_versions(machine.id, u64::MAX, 1)?.first() {
                        found.push(view(tx, &machine, latest)?);
                    }
                }
                Ok((found, next))
            })
            .await
    }
}

fn add_version(
    tx: &mut WriteTx,
    machine: u64,
    revision: u64,
    sent: &Sent,
    by: &str,
    now: Timestamp,
) -> Result<WorkflowDefinition, WorkflowError> {
    let number = tx.insert_machine_version(machine, revision, None, now)?;
    tx.insert_workflow_definition(machine, number, &serde_json::to_string(sent)?)?;
    let text = format!("workflow {}: version {} was defined", sent.name, number - 1);
    tx.append_event(NewEvent::of_server(EventKind::WorkflowDefined, by, now, text))?;
    let row = tx.machine(machine)?.ok_or_else(|| missing("workflow definition", &sent.name))?;
    let version = tx.machine_version(machine, number)?;
    let version = version.ok_or_else(|| missing("workflow definition", &sent.name))?;
    view(tx, &row, &version)
}

/// What was sent for a version, if this API made it.
pub(super) fn sent(tx: &ReadTx, machine: u64, number: u64) -> Result<Option<Sent>, WorkflowError> {
    let body = tx.workflow_definition(machine, number)?;
    body.map(|body| serde_json::from_str(&body)).transpose().map_err(Into::into)
}

/// A version as it is shown, with its state machine.
fn view(
    tx: &ReadTx,
    machine: &MachineRow,
    version: &VersionRow,
) -> Result<WorkflowDefinition, WorkflowError> {
    let sent = sent(tx, machine.id, version.number)?;
    let state_machine = match &sent {
        Some(sent) => sent.state_machine.clone(),
        None => text_of(tx, version.revision)?,
    };
    let number = Some(version.number);
    Ok(WorkflowDefinition {
        state_machine: Some(state_machine),
        ..summary(machine, number, version.created_at, sent)
    })
}

/// The state machine of a revision.
pub(super) fn text_of(tx: &ReadTx, revision: u64) -> Result<Value, WorkflowError> {
    let gone = || WorkflowError::Internal(format!("revision {revision} is gone"));
    let row = tx.machine_revision(revision)?.ok_or_else(gone)?;
    Ok(serde_json::from_str(&row.definition)?)
}

/// A version without its state machine.
pub(super) fn summary(
    machine: &MachineRow,
    number: Option<u64>,
    created_at: Timestamp,
    sent: Option<Sent>,
) -> WorkflowDefinition {
    let (name, default_tags) = match sent {
        Some(sent) => (sent.name, sent.default_tags),
        None => (machine.name.clone(), BTreeMap::new()),
    };
    let version = number.and_then(|number| i64::try_from(number).ok()).map_or(-1, |n| n - 1);
    WorkflowDefinition {
        id: id_of(machine.id, version),
        name,
        version,
        created_at,
        manager: WorkflowEngine::StepFunctions,
        state_machine: None,
        default_tags,
    }
}

/// Always the same for a version, and for no other.
fn id_of(machine: u64, version: i64) -> String {
    let digest =
        ark_model::Sha256::of(format!("workflow definition {machine} {version}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

impl Refusal {
    /// Whether a thing that is named does not exist.
    pub fn is_missing(self) -> bool {
        matches!(
            self,
            Self::ResourceNotFound
                | Self::ExecutionDoesNotExist
                | Self::StateMachineDoesNotExist
                | Self::ActivityDoesNotExist
        )
    }
}
