//! Versions and aliases of state machines, and which revision an ARN leads to.

use ark_store::{AliasRecord, AliasRoute, MachineRow, ReadTx, VersionRow, WriteTx};
use jiff::Timestamp;

use super::Workflows;
use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::machines::{self, current, labelled, machine_arn, missing, unqualified};
use super::types::{Page, PageRequest, StartTarget};

/// The most versions of one machine.
const VERSIONS_MAX: u64 = 1_000;
/// The most aliases of one machine.
const ALIASES_MAX: usize = 100;
/// What is said of an alias or version that is not there.
const NO_SUCH_RESOURCE: &str = "Request references a resource that does not exist.";

/// A version, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionView {
    /// Its ARN.
    pub arn: String,
    /// When it was published.
    pub created_at: Timestamp,
}

/// Where an alias sends starts, as the wire says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// ARN of a version.
    pub version_arn: String,
    /// Its share, in percent.
    pub weight: u8,
}

/// An alias, as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasView {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// What its maker said of it.
    pub description: Option<String>,
    /// Where it sends starts.
    pub routes: Vec<Route>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What a machine's ARN leads to.
pub(super) struct Revision {
    pub(super) machine: MachineRow,
    pub(super) revision: u64,
    pub(super) version: Option<VersionRow>,
}

impl Revision {
    /// The ARN of the machine or version.
    pub(super) fn arn(&self) -> String {
        match &self.version {
            Some(version) => version_arn(&self.machine.region, &self.machine.name, version.number),
            None => machine_arn(&self.machine),
        }
    }
}

/// The machine or version an ARN names. An alias names neither.
pub(super) fn find(tx: &ReadTx, arn: &Arn) -> Result<Revision, WorkflowError> {
    let text = &arn.to_string();
    match &arn.resource {
        Resource::Machine { name } => {
            let machine = machines::find(tx, name, text)?;
            Ok(Revision { revision: machine.revision, machine, version: None })
        }
        Resource::Qualified { name, qualifier } => {
            let machine = machines::find(tx, name, text)?;
            let number = version_number(qualifier).ok_or_else(|| missing(text))?;
            let version = tx.machine_version(machine.id, number)?.ok_or_else(|| missing(text))?;
            Ok(Revision { revision: version.revision, machine, version: Some(version) })
        }
        Resource::Labelled { .. } => Err(labelled()),
        _ => Err(arn.wrong_kind()),
    }
}

/// What a start at this ARN runs; an alias chooses by `random`.
///
/// # Errors
/// `InvalidArn`, `StateMachineDoesNotExist`, `ValidationException`.
pub(super) fn resolve(tx: &ReadTx, arn: &Arn, random: u64) -> Result<StartTarget, WorkflowError> {
    let text = &arn.to_string();
    let alias = match &arn.resource {
        Resource::Qualified { name, qualifier } if version_number(qualifier).is_none() => {
            let machine = machines::find(tx, name, text)?;
            let alias = tx.machine_alias(machine.id, qualifier)?.ok_or_else(|| missing(text))?;
            Some((machine, alias))
        }
        _ => None,
    };
    let (found, alias_arn) = match alias {
        None => (find(tx, arn)?, None),
        Some((machine, alias)) => {
            let number = chosen(&alias.routes, random).ok_or_else(|| missing(text))?;
            let version = tx.machine_version(machine.id, number)?.ok_or_else(|| missing(text))?;
            let alias_arn = alias_arn(&machine, &alias.name);
            (
                Revision { revision: version.revision, machine, version: Some(version) },
                Some(alias_arn),
            )
        }
    };
    let version_arn = found.version.as_ref().map(|_| found.arn());
    Ok(StartTarget {
        machine: found.machine.id,
        name: found.machine.name,
        region: found.machine.region,
        machine_type: found.machine.machine_type,
        revision: found.revision,
        version_arn,
        alias_arn,
    })
}

/// The version whose share of the hundred `random` falls into.
fn chosen(routes: &[AliasRoute], random: u64) -> Option<u64> {
    // Of 2^64 numbers, 16 make the first share larger by that much: nobody will notice.
    let mut left = random % 100;
    for route in routes {
        let weight = u64::from(route.weight);
        if left < weight {
            return Some(route.version);
        }
        left -= weight;
    }
    None
}

/// Digits name a version: names of aliases hold something else.
fn version_number(qualifier: &str) -> Option<u64> {
    qualifier.bytes().all(|b| b.is_ascii_digit()).then(|| qualifier.parse().ok()).flatten()
}

pub(super) fn version_arn(region: &str, name: &str, number: u64) -> String {
    let resource = Resource::Qualified { name: name.to_owned(), qualifier: number.to_string() };
    Arn::new(region, resource).to_string()
}

fn alias_arn(machine: &MachineRow, alias: &str) -> String {
    let resource = Resource::Qualified { name: machine.name.clone(), qualifier: alias.to_owned() };
    Arn::new(&machine.region, resource).to_string()
}

/// The version of a revision: the one there is, or the next.
pub(super) fn publish(
    tx: &mut WriteTx,
    machine: u64,
    revision: u64,
    description: Option<String>,
    now: Timestamp,
) -> Result<VersionRow, WorkflowError> {
    if let Some(version) = tx.version_of_revision(machine, revision)? {
        return Ok(version);
    }
    check_room(tx, machine)?;
    let number = tx.insert_machine_version(machine, revision, description.clone(), now)?;
    Ok(VersionRow { machine, number, revision, created_at: now, description })
}

/// Refuses one more version than a machine may have.
pub(super) fn check_room(tx: &ReadTx, machine: u64) -> Result<(), WorkflowError> {
    if tx.count_machine_versions(machine)? >= VERSIONS_MAX {
        let message = format!("A state machine has at most {VERSIONS_MAX} versions: delete some.");
        return Err(Refusal::ServiceQuotaExceededException.with(message));
    }
    Ok(())
}

fn no_such_resource() -> WorkflowError {
    Refusal::ResourceNotFound.with(NO_SUCH_RESOURCE)
}

fn invalid_routes(message: String) -> WorkflowError {
    Refusal::ValidationException.with(message)
}

/// The machine that all routes are of, and the routes by number.
fn parse_routes(routes: &[Route]) -> Result<(String, Vec<AliasRoute>), WorkflowError> {
    let arns: Vec<&str> = routes.iter().map(|route| route.version_arn.as_str()).collect();
    let received = || arns.join(", ");
    let not_versions = || {
        invalid_routes(format!(
            "Routing configuration must contain state machine version ARNs. Received: [{}]",
            received()
        ))
    };
    let mut machine: Option<String> = None;
    let mut parsed: Vec<AliasRoute> = Vec::new();
    for route in routes {
        let Resource::Qualified { name, qualifier } = Arn::parse(&route.version_arn)?.resource
        else {
            return Err(not_versions());
        };
        let version = version_number(&qualifier).ok_or_else(not_versions)?;
        if machine.get_or_insert_with(|| name.clone()) != &name {
            return Err(invalid_routes(format!(
                "Routing configuration must contain versions of one state machine. Received: [{}]",
                received()
            )));
        }
        if parsed.iter().any(|other| other.version == version) {
            return Err(invalid_routes(format!(
                "Routing configuration must contain distinct state machine version ARNs. \
                 Received: [{}]",
                received()
            )));
        }
        parsed.push(AliasRoute { version, weight: route.weight });
    }
    let sum: u32 = routes.iter().map(|route| u32::from(route.weight)).sum();
    if sum != 100 {
        let weights: Vec<String> = routes.iter().map(|r| r.weight.to_string()).collect();
        return Err(invalid_routes(format!(
            "Sum of routing configuration weights must equal 100. Received: [{}]",
            weights.join(", ")
        )));
    }
    let machine = machine.ok_or_else(not_versions)?;
    Ok((machine, parsed))
}

fn check_versions(tx: &ReadTx, machine: u64, routes: &[AliasRoute]) -> Result<(), WorkflowError> {
    for route in routes {
        tx.machine_version(machine, route.version)?.ok_or_else(no_such_resource)?;
    }
    Ok(())
}

/// The machine and the name of an alias's ARN.
fn alias_parts(text: &str) -> Result<(String, String), WorkflowError> {
    let arn = Arn::parse(text)?;
    match &arn.resource {
        Resource::Qualified { name, qualifier } if version_number(qualifier).is_none() => {
            Ok((name.clone(), qualifier.clone()))
        }
        _ => Err(arn.wrong_kind()),
    }
}

fn alias_of(tx: &ReadTx, text: &str) -> Result<(MachineRow, AliasRecord), WorkflowError> {
    let (name, alias) = alias_parts(text)?;
    let machine = tx.machine_by_name(&name)?.ok_or_else(no_such_resource)?;
    let alias = tx.machine_alias(machine.id, &alias)?.ok_or_else(no_such_resource)?;
    Ok((machine, alias))
}

fn alias_view(machine: &MachineRow, alias: AliasRecord) -> AliasView {
    let route = |route: &AliasRoute| Route {
        version_arn: version_arn(&machine.region, &machine.name, route.version),
        weight: route.weight,
    };
    AliasView {
        arn: alias_arn(machine, &alias.name),
        routes: alias.routes.iter().map(route).collect(),
        name: alias.name,
        description: alias.description,
        created_at: alias.created_at,
        updated_at: alias.updated_at,
    }
}

impl Workflows {
    /// Publishes the revision a machine has now. Publishing it again answers the same version.
    ///
    /// # Errors
    /// `InvalidArn`, `StateMachineDoesNotExist`, `ConflictException` (it has another revision than
    /// was expected), `ServiceQuotaExceededException`, `ValidationException`.
    pub async fn publish_version(
        &self,
        arn: &str,
        expected: Option<String>,
        description: Option<String>,
    ) -> Result<VersionView, WorkflowError> {
        let (name, arn) = (unqualified(&Arn::parse(arn)?)?, arn.to_owned());
        let now = self.world.clock.now();
        self.world
            .store
            .write(move |tx| {
                let machine = machines::find(tx, &name, &arn)?;
                let revision = current(tx, &machine)?;
                if let Some(expected) = expected.filter(|id| *id != revision.revision_id) {
                    let message = format!(
                        "Failed to publish the State Machine version for revision {expected}. \
                         The current State Machine revision is {}.",
                        revision.revision_id
                    );
                    return Err(Refusal::ConflictException.with(message));
                }
                let version = publish(tx, machine.id, revision.id, description, now)?;
                let arn = version_arn(&machine.region, &machine.name, version.number);
                Ok(VersionView { arn, created_at: version.created_at })
            })
            .await
    }

    /// Versions of a machine, newest first.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `StateMachineDoesNotExist`, `ValidationException`.
    pub async fn list_versions(
        &self,
        arn: &str,
        page: PageRequest,
    ) -> Result<Page<VersionView>, WorkflowError> {
        let (name, arn) = (unqualified(&Arn::parse(arn)?)?, arn.to_owned());
        let (before, limit) = page.before_number()?;
        let (machine, rows) = self
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| {
                let machine = machines::find(tx, &name, &arn)?;
                let rows = tx.machine_versions(machine.id, before, limit)?;
                Ok((machine, rows))
            })
            .await?;
        Ok(Page::of(
            rows,
            limit,
            |row| row.number.to_string(),
            |row| VersionView {
                arn: version_arn(&machine.region, &machine.name, row.number),
                created_at: row.created_at,
            },
        ))
    }

    /// Deletes a version. Nothing happens when there is none.
    ///
    /// # Errors
    /// `InvalidArn`, `ConflictException` while an alias sends starts to it.
    pub async fn delete_version(&self, text: &str) -> Result<(), WorkflowError> {
        let arn = Arn::parse(text)?;
        let Resource::Qualified { name, qualifier } = &arn.resource else {
            return Err(arn.wrong_kind());
        };
        let number = version_number(qualifier).ok_or_else(|| arn.wrong_kind())?;
        let (name, now) = (name.clone(), self.world.clock.now());
        self.world
            .store
            .write(move |tx| {
                let Some(machine) = tx.machine_by_name(&name)? else { return Ok(()) };
                let aliases: Vec<String> = tx
                    .machine_aliases(machine.id, "", ALIASES_MAX)?
                    .into_iter()
                    .filter(|alias| alias.routes.iter().any(|route| route.version == number))
                    .map(|alias| alias.name)
                    .collect();
                if !aliases.is_empty() {
                    let message = format!(
                        "Version to be deleted must not be referenced by an alias. Current list \
                         of aliases referencing this version: [{}]",
                        aliases.join(", ")
                    );
                    return Err(Refusal::ConflictException.with(message));
                }
                Ok(tx.delete_machine_version(machine.id, number, now)?)
            })
            .await
    }

    /// Makes an alias. The same request again answers the same alias.
    ///
    /// # Errors
    /// `InvalidArn`, `ValidationException`, `ResourceNotFound`, `ConflictException`,
    /// `ServiceQuotaExceededException`.
    pub async fn create_alias(
        &self,
        alias: String,
        description: Option<String>,
        routes: Vec<Route>,
    ) -> Result<AliasView, WorkflowError> {
        let (name, routes) = parse_routes(&routes)?;
        let now = self.world.clock.now();
        self.world
            .store
            .write(move |tx| {
                let machine = tx.machine_by_name(&name)?.ok_or_else(no_such_resource)?;
                check_versions(tx, machine.id, &routes)?;
                if let Some(there) = tx.machine_alias(machine.id, &alias)? {
                    if there.routes == routes && there.description == description {
                        return Ok(alias_view(&machine, there));
                    }
                    let message = "Failed to create alias because an alias with the same name \
                        and a different routing configuration already exists.";
                    return Err(Refusal::ConflictException.with(message));
                }
                if tx.machine_aliases(machine.id, "", ALIASES_MAX)?.len() >= ALIASES_MAX {
                    let message =
                        format!("A state machine has at most {ALIASES_MAX} aliases: delete some.");
                    return Err(Refusal::ServiceQuotaExceededException.with(message));
                }
                let record = AliasRecord {
                    name: alias,
                    description,
                    routes,
                    created_at: now,
                    updated_at: now,
                };
                tx.put_machine_alias(machine.id, &record)?;
                Ok(alias_view(&machine, record))
            })
            .await
    }

    /// Changes an alias; `None` leaves it.
    ///
    /// # Errors
    /// `InvalidArn`, `ValidationException`, `ResourceNotFound`.
    pub async fn update_alias(
        &self,
        arn: &str,
        description: Option<String>,
        routes: Option<Vec<Route>>,
    ) -> Result<AliasView, WorkflowError> {
        let arn = arn.to_owned();
        let (wanted, _) = alias_parts(&arn)?;
        if description.is_none() && routes.is_none() {
            let message = "Either the description or the routing configuration must be specified.";
            return Err(Refusal::ValidationException.with(message));
        }
        let routes = match routes {
            Some(routes) => {
                let (name, routes) = parse_routes(&routes)?;
                if name != wanted {
                    return Err(invalid_routes(
                        "Routing configuration must contain versions of the alias's state machine."
                            .to_owned(),
                    ));
                }
                Some(routes)
            }
            None => None,
        };
        let now = self.world.clock.now();
        self.world
            .store
            .write(move |tx| {
                let (machine, before) = alias_of(tx, &arn)?;
                let after = AliasRecord {
                    description: description.or(before.description),
                    routes: routes.unwrap_or(before.routes),
                    updated_at: now,
                    ..before
                };
                check_versions(tx, machine.id, &after.routes)?;
                tx.put_machine_alias(machine.id, &after)?;
                Ok(alias_view(&machine, after))
            })
            .await
    }

    /// One alias.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn describe_alias(&self, arn: &str) -> Result<AliasView, WorkflowError> {
        let arn = arn.to_owned();
        self.world
            .store
            .read(move |tx| {
                let (machine, alias) = alias_of(tx, &arn)?;
                Ok(alias_view(&machine, alias))
            })
            .await
    }

    /// Deletes an alias.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn delete_alias(&self, arn: &str) -> Result<(), WorkflowError> {
        let arn = arn.to_owned();
        self.world
            .store
            .write(move |tx| {
                let (machine, alias) = alias_of(tx, &arn)?;
                tx.delete_machine_alias(machine.id, &alias.name)?;
                Ok(())
            })
            .await
    }

    /// Aliases of a machine, or those that send starts to a version, by name.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `StateMachineDoesNotExist`, `ResourceNotFound`.
    pub async fn list_aliases(
        &self,
        arn: &str,
        page: PageRequest,
    ) -> Result<Page<AliasView>, WorkflowError> {
        let arn = arn.to_owned();
        let (after, limit) = page.after_name();
        let (machine, rows) = self
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| {
                let found = find(tx, &Arn::parse(&arn)?)?;
                let mut rows = tx.machine_aliases(found.machine.id, &after, ALIASES_MAX)?;
                if let Some(version) = &found.version {
                    rows.retain(|a| a.routes.iter().any(|r| r.version == version.number));
                }
                rows.truncate(limit);
                Ok((found.machine, rows))
            })
            .await?;
        Ok(Page::of(rows, limit, |row| row.name.clone(), |row| alias_view(&machine, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_sends_each_version_its_share() {
        let route = |version, weight| AliasRoute { version, weight };
        for (routes, random, version) in [
            (vec![route(3, 100)], 99, Some(3)),
            (vec![route(3, 0), route(4, 100)], 0, Some(4)),
            (vec![route(3, 20), route(4, 80)], 119, Some(3)),
            (vec![route(3, 20), route(4, 80)], 120, Some(4)),
            (vec![route(3, 20), route(4, 80)], 99, Some(4)),
            (vec![], 0, None),
        ] {
            assert_eq!(chosen(&routes, random), version, "{routes:?} {random}");
        }
    }
}
