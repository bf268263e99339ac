//! State machines: made, changed, described, listed, deleted. No runtime: an execution reads the
//! revision it was started with, and nothing here touches executions.

use std::collections::BTreeMap;

use ark_model::workflow::MachineType;
use ark_store::{MachineRow, ReadTx, RevisionRow, WriteTx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::types::{Page, PageRequest};
use super::versions::{self, Revision};
use super::{Workflows, definitions, names, tags};

/// The most state machines.
const MACHINES_MAX: u64 = 100_000;
/// The id of the revision a machine was made with. It is shown to nobody, but may be published.
pub(super) const INITIAL: &str = "INITIAL";

/// What a machine writes to logs. Kept and shown; Ark keeps histories and has no log groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// `OFF`, `FATAL`, `ERROR` or `ALL`.
    pub level: String,
    /// Whether inputs and outputs are written.
    pub include_execution_data: bool,
    /// ARNs of log groups.
    pub destinations: Vec<String>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "OFF".to_owned(), include_execution_data: false, destinations: Vec::new() }
    }
}

impl Logging {
    fn check(&self) -> Result<(), WorkflowError> {
        if self.level != "OFF" && self.destinations.len() != 1 {
            let message =
                "Invalid Logging Configuration: Must specify exactly one Log Destination.";
            return Err(Refusal::InvalidLoggingConfiguration.with(message));
        }
        Ok(())
    }
}

/// What belongs to a revision beside its definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) role_arn: String,
    pub(super) logging: Logging,
    pub(super) tracing: bool,
    /// What the request that made the machine asked to publish: it is part of whether another
    /// request is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_with: Option<Publishing>,
}

/// Whether and how a request publishes what it makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishing {
    /// Whether.
    pub publish: bool,
    /// What is said of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Publishing {
    fn check(&self) -> Result<(), WorkflowError> {
        if !self.publish && self.description.is_some() {
            let message = "Version description can only be set when publish is true";
            return Err(Refusal::ValidationException.with(message));
        }
        Ok(())
    }
}

/// What to make.
#[derive(Debug, Clone)]
pub struct CreateMachine {
    /// Its name.
    pub name: String,
    /// The region of the credentials: part of its ARN.
    pub region: String,
    /// Its definition's text, kept byte for byte.
    pub definition: String,
    /// ARN of a role: kept and shown, Ark assumes none.
    pub role_arn: String,
    /// Standard or Express.
    pub machine_type: MachineType,
    /// What it logs.
    pub logging: Logging,
    /// Whether it is traced: kept and shown.
    pub tracing: bool,
    /// Whether version 1 is made of it.
    pub publishing: Publishing,
    /// Its first tags.
    pub tags: BTreeMap<String, String>,
}

/// A machine that was made, or found to be the same as one made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedMachine {
    /// Its ARN.
    pub arn: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version, when one was asked for.
    pub version_arn: Option<String>,
}

/// What to change; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct UpdateMachine {
    /// Which.
    pub arn: String,
    /// Its definition's text.
    pub definition: Option<String>,
    /// Its role.
    pub role_arn: Option<String>,
    /// What it logs.
    pub logging: Option<Logging>,
    /// Whether it is traced.
    pub tracing: Option<bool>,
    /// Whether the encryption was named: there is one kind, so that it changes nothing.
    pub encryption_named: bool,
    /// Whether a version is made of it.
    pub publishing: Publishing,
}

/// A machine that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatedMachine {
    /// When.
    pub updated_at: Timestamp,
    /// The revision it has now; `None` for the one it was made with.
    pub revision_id: Option<String>,
    /// The version, when one was asked for.
    pub version_arn: Option<String>,
}

/// A machine, or a version of one, as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineView {
    /// The ARN that was asked for, in the machine's region.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Standard or Express.
    pub machine_type: MachineType,
    /// When it, or its version, was made.
    pub created_at: Timestamp,
    /// When the revision was made.
    pub revised_at: Timestamp,
    /// Its definition's text.
    pub definition: String,
    /// Its role.
    pub role_arn: String,
    /// What it logs.
    pub logging: Logging,
    /// Whether it is traced.
    pub tracing: bool,
    /// The revision; `None` for the one it was made with.
    pub revision_id: Option<String>,
    /// What was said of the version.
    pub description: Option<String>,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSummary {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Standard or Express.
    pub machine_type: MachineType,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Workflows {
    /// Makes a state machine. The same request again answers what the first one made.
    ///
    /// # Errors
    /// `InvalidName`, `InvalidArn` (role), `InvalidDefinition`, `InvalidLoggingConfiguration`,
    /// `StateMachineAlreadyExists`, `StateMachineDeleting` (executions of a deleted one of that name
    /// run), `StateMachineLimitExceeded`, `TooManyTags`, `ValidationException`.
    pub async fn create_machine(
        &self,
        create: CreateMachine,
    ) -> Result<CreatedMachine, WorkflowError> {
        names::check(&create.name)?;
        check_role(&create.role_arn)?;
        create.logging.check()?;
        create.publishing.check()?;
        tags::check(&create.tags)?;
        definitions::check(&create.definition, create.machine_type)?;
        let now = self.world.clock.now();
        self.world.store.write(move |tx| create_in(tx, &create, now)).await
    }

    /// Changes a state machine: new executions get what it becomes. A change that changes nothing
    /// makes no revision.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidDefinition`, `InvalidLoggingConfiguration`, `StateMachineDoesNotExist`,
    /// `MissingRequiredParameter`, `ServiceQuotaExceededException`, `ValidationException`.
    pub async fn update_machine(
        &self,
        update: UpdateMachine,
    ) -> Result<UpdatedMachine, WorkflowError> {
        let name = unqualified(&Arn::parse(&update.arn)?)?;
        let nothing = update.definition.is_none()
            && update.role_arn.is_none()
            && update.logging.is_none()
            && update.tracing.is_none()
            && !update.encryption_named;
        if nothing {
            let message = "Either the definition, the role ARN, the LoggingConfiguration, the \
                TracingConfiguration, or the EncryptionConfiguration must be specified";
            return Err(Refusal::MissingRequiredParameter.with(message));
        }
        update.role_arn.as_deref().map_or(Ok(()), check_role)?;
        update.logging.as_ref().map_or(Ok(()), Logging::check)?;
        update.publishing.check()?;
        if let Some(definition) = &update.definition {
            // The type never changes: it may be looked at before the transaction.
            let (asked, arn) = (name.clone(), update.arn.clone());
            let found = move |tx: &ReadTx| find(tx, &asked, &arn);
            let machine = self.world.store.read::<_, WorkflowError, _>(found).await?;
            definitions::check(definition, machine.machine_type)?;
        }
        let (now, fresh) = (self.world.clock.now(), self.world.entropy.uuid().to_string());
        self.world.store.write(move |tx| update_in(tx, &name, update, &fresh, now)).await
    }

    /// A state machine, or a version of it.
    ///
    /// # Errors
    /// `InvalidArn`, `StateMachineDoesNotExist`.
    pub async fn describe_machine(&self, arn: &str) -> Result<MachineView, WorkflowError> {
        let asked = arn.to_owned();
        self.world.store.read(move |tx| describe_in(tx, &asked)).await
    }

    /// The state machine as it was when this revision was made: what an execution runs.
    ///
    /// # Errors
    /// `StateMachineDoesNotExist` when nothing refers to it any more.
    pub async fn describe_revision(&self, revision: u64) -> Result<MachineView, WorkflowError> {
        self.world
            .store
            .read(move |tx| {
                let gone =
                    || Refusal::StateMachineDoesNotExist.with("State Machine Does Not Exist");
                let row = tx.machine_revision(revision)?.ok_or_else(gone)?;
                let machine = tx.machine(row.machine)?.ok_or_else(gone)?;
                let arn = machine_arn(&machine);
                view(&machine, row, arn, machine.created_at, None)
            })
            .await
    }

    /// State machines, in the order in which they were made.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub async fn list_machines(
        &self,
        page: PageRequest,
    ) -> Result<Page<MachineSummary>, WorkflowError> {
        let (after, limit) = page.after_number()?;
        let rows = self
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| Ok(tx.machines(after, limit)?))
            .await?;
        Ok(Page::of(
            rows,
            limit,
            |row| row.id.to_string(),
            |row| MachineSummary {
                arn: machine_arn(&row),
                name: row.name,
                machine_type: row.machine_type,
                created_at: row.created_at,
            },
        ))
    }

    /// Deletes a state machine with its versions, aliases and tags. Running executions go on.
    /// Nothing happens when there is none.
    ///
    /// # Errors
    /// `InvalidArn`, `ValidationException`.
    pub async fn delete_machine(&self, arn: &str) -> Result<(), WorkflowError> {
        let name = unqualified(&Arn::parse(arn)?)?;
        let now = self.world.clock.now();
        self.world
            .store
            .write(move |tx| {
                if let Some(machine) = tx.machine_by_name(&name)? {
                    tx.delete_machine(machine.id, now)?;
                    tx.delete_tags(&tags::of_machine(machine.id))?;
                }
                Ok(())
            })
            .await
    }
}

/// Refuses one machine more than there may be.
pub(super) fn check_room(tx: &ReadTx) -> Result<(), WorkflowError> {
    if tx.count_machines()? >= MACHINES_MAX {
        let message = format!("State Machine Limit Exceeded: {MACHINES_MAX}");
        return Err(Refusal::StateMachineLimitExceeded.with(message));
    }
    Ok(())
}

fn create_in(
    tx: &mut WriteTx,
    create: &CreateMachine,
    now: Timestamp,
) -> Result<CreatedMachine, WorkflowError> {
    let settings = Settings {
        role_arn: create.role_arn.clone(),
        logging: create.logging.clone(),
        tracing: create.tracing,
        created_with: Some(create.publishing.clone()),
    };
    if let Some(machine) = tx.machine_by_name(&create.name)? {
        return same_again(tx, &machine, create, &settings);
    }
    let arn = Arn::new(&create.region, Resource::Machine { name: create.name.clone() });
    if tx.is_machine_deleting(&create.name)? {
        let message = format!("State Machine Deleting: '{arn}' still has running executions");
        return Err(Refusal::StateMachineDeleting.with(message));
    }
    check_room(tx)?;
    let machine = tx.insert_machine(&create.name, &create.region, create.machine_type, now)?;
    let body = to_json(&settings)?;
    let revision = tx.insert_machine_revision(machine, INITIAL, &create.definition, &body, now)?;
    tx.put_tags(&tags::of_machine(machine), &create.tags)?;
    let version_arn = if create.publishing.publish {
        let description = create.publishing.description.clone();
        let number = tx.insert_machine_version(machine, revision, description, now)?;
        Some(versions::version_arn(&create.region, &create.name, number))
    } else {
        None
    };
    Ok(CreatedMachine { arn: arn.to_string(), created_at: now, version_arn })
}

/// A machine of that name is there. Role and tags may differ, nothing else; they are not changed.
fn same_again(
    tx: &ReadTx,
    machine: &MachineRow,
    create: &CreateMachine,
    wanted: &Settings,
) -> Result<CreatedMachine, WorkflowError> {
    let current = current(tx, machine)?;
    let settings = Settings { role_arn: wanted.role_arn.clone(), ..settings(&current)? };
    let same = current.definition == create.definition
        && machine.machine_type == create.machine_type
        && settings == *wanted;
    if !same {
        let arn = machine_arn(machine);
        let message = format!("State Machine Already Exists: '{arn}'");
        return Err(Refusal::StateMachineAlreadyExists.with(message));
    }
    let version = tx.version_of_revision(machine.id, current.id)?;
    let version = version.filter(|_| create.publishing.publish);
    Ok(CreatedMachine {
        arn: machine_arn(machine),
        created_at: machine.created_at,
        version_arn: version
            .map(|v| versions::version_arn(&machine.region, &machine.name, v.number)),
    })
}

fn update_in(
    tx: &mut WriteTx,
    name: &str,
    update: UpdateMachine,
    fresh: &str,
    now: Timestamp,
) -> Result<UpdatedMachine, WorkflowError> {
    let machine = find(tx, name, &update.arn)?;
    let before = current(tx, &machine)?;
    let old = settings(&before)?;
    let new = Settings {
        role_arn: update.role_arn.unwrap_or_else(|| old.role_arn.clone()),
        logging: update.logging.unwrap_or_else(|| old.logging.clone()),
        tracing: update.tracing.unwrap_or(old.tracing),
        created_with: None,
    };
    let definition = update.definition.unwrap_or_else(|| before.definition.clone());
    let same = definition == before.definition && new == Settings { created_with: None, ..old };
    let (revision, revision_id) = if same {
        (before.id, before.revision_id)
    } else {
        let body = to_json(&new)?;
        let id = tx.insert_machine_revision(machine.id, fresh, &definition, &body, now)?;
        (id, fresh.to_owned())
    };
    let version_arn = if update.publishing.publish {
        let description = update.publishing.description;
        let version = versions::publish(tx, machine.id, revision, description, now)?;
        Some(versions::version_arn(&machine.region, &machine.name, version.number))
    } else {
        None
    };
    Ok(UpdatedMachine { updated_at: now, revision_id: shown(revision_id), version_arn })
}

fn describe_in(tx: &ReadTx, arn: &str) -> Result<MachineView, WorkflowError> {
    let found = versions::find(tx, &Arn::parse(arn)?)?;
    let Revision { machine, version, .. } = &found;
    let row = tx.machine_revision(found.revision)?.ok_or_else(|| lost(found.revision))?;
    let (created_at, description) = match version {
        Some(version) => (version.created_at, version.description.clone()),
        None => (machine.created_at, None),
    };
    view(machine, row, found.arn(), created_at, description)
}

fn view(
    machine: &MachineRow,
    row: RevisionRow,
    arn: String,
    created_at: Timestamp,
    description: Option<String>,
) -> Result<MachineView, WorkflowError> {
    let settings = settings(&row)?;
    Ok(MachineView {
        arn,
        name: machine.name.clone(),
        machine_type: machine.machine_type,
        created_at,
        revised_at: row.created_at,
        definition: row.definition,
        role_arn: settings.role_arn,
        logging: settings.logging,
        tracing: settings.tracing,
        revision_id: shown(row.revision_id),
        description,
    })
}

/// The machine of that name.
pub(super) fn find(tx: &ReadTx, name: &str, arn: &str) -> Result<MachineRow, WorkflowError> {
    tx.machine_by_name(name)?.ok_or_else(|| missing(arn))
}

/// The refusal of a machine that is not there.
pub(super) fn missing(arn: &str) -> WorkflowError {
    Refusal::StateMachineDoesNotExist.with(format!("State Machine Does Not Exist: '{arn}'"))
}

/// The revision that new executions get.
pub(super) fn current(tx: &ReadTx, machine: &MachineRow) -> Result<RevisionRow, WorkflowError> {
    tx.machine_revision(machine.revision)?.ok_or_else(|| lost(machine.revision))
}

fn lost(revision: u64) -> WorkflowError {
    WorkflowError::Internal(format!("revision {revision} of a state machine is not there"))
}

fn settings(row: &RevisionRow) -> Result<Settings, WorkflowError> {
    serde_json::from_str(&row.body)
        .map_err(|error| WorkflowError::Internal(format!("revision {}: {error}", row.id)))
}

/// The settings of a machine that nobody said anything of but its role, as they are kept.
pub(super) fn first_settings(role_arn: &str) -> Result<String, WorkflowError> {
    to_json(&Settings {
        role_arn: role_arn.to_owned(),
        logging: Logging::default(),
        tracing: false,
        created_with: None,
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, WorkflowError> {
    serde_json::to_string(value).map_err(|error| WorkflowError::Internal(error.to_string()))
}

fn shown(revision_id: String) -> Option<String> {
    (revision_id != INITIAL).then_some(revision_id)
}

pub(super) fn machine_arn(machine: &MachineRow) -> String {
    Arn::new(&machine.region, Resource::Machine { name: machine.name.clone() }).to_string()
}

/// The name of a machine whose ARN must name no version, alias or label.
pub(super) fn unqualified(arn: &Arn) -> Result<String, WorkflowError> {
    match &arn.resource {
        Resource::Machine { name } => Ok(name.clone()),
        Resource::Labelled { .. } => Err(labelled()),
        _ => Err(arn.wrong_kind()),
    }
}

/// The refusal of a machine as a distributed Map state sees it.
pub(super) fn labelled() -> WorkflowError {
    Refusal::ValidationException.with("This operation does not support labeled state machine ARNs")
}

fn check_role(arn: &str) -> Result<(), WorkflowError> {
    let mut parts = arn.splitn(6, ':');
    let good = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("iam")
        && parts.nth(2).is_some_and(|resource| resource.starts_with("role/"));
    if good {
        return Ok(());
    }
    Err(Refusal::InvalidArn.with(format!("Invalid Role Arn: '{arn}'")))
}
