//! Lists of executions and map runs, and the tokens of pages.
//!
//! A page goes down by number, so one that was begun stays right while others are started. A token
//! holds the number to go on from, sealed with what it belongs to: it is good for that list alone.

use ark_model::workflow::ExecutionStatus;
use ark_states::machine::{MapRunEvent, MapRunStatus};
use ark_store::{ExecutionKind, ExecutionRow, ItemPhase, MapRunRow, ReadTx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::Workflows;
use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::executions::{RunsSeen, find, view};
use super::history::bad_token;
use super::map_runs::body_of;
use super::program::Programs;
use super::types::{
    ExecutionView, ListExecutions, MapRunCounts, MapRunView, Page, PageRequest, RedriveFilter,
    UpdateMapRun,
};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
const TOKEN_CHARS_MAX: usize = 1_024;

/// How many rows a page has.
pub(super) fn page_size(max_results: usize) -> usize {
    if max_results == 0 { PAGE_DEFAULT } else { max_results.min(PAGE_MAX) }
}

/// The token of a page.
pub(super) struct PageToken;

impl PageToken {
    /// A number, sealed with the list it belongs to.
    pub(super) fn text(number: u64, scope: &str) -> String {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend_from_slice(&Self::seal(number, scope));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The number, if the token belongs to that list.
    pub(super) fn parse(text: &str, scope: &str) -> Result<u64, WorkflowError> {
        let bytes = || -> Option<[u8; 20]> {
            (text.len() <= TOKEN_CHARS_MAX)
                .then(|| URL_SAFE_NO_PAD.decode(text).ok())??
                .try_into()
                .ok()
        };
        let bytes = bytes().ok_or_else(bad_token)?;
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        let number = u64::from_be_bytes(number);
        if bytes[8..] == Self::seal(number, scope) { Ok(number) } else { Err(bad_token()) }
    }

    fn seal(number: u64, scope: &str) -> [u8; 12] {
        let digest = ark_model::Sha256::of(format!("{number} {scope}").as_bytes());
        let mut seal = [0; 12];
        seal.copy_from_slice(&digest.0[..12]);
        seal
    }
}

/// What is listed.
enum Of {
    Machine(u64),
    MapRun(u64),
}

impl Workflows {
    /// Executions, newest first. A page's token stays good while others are started.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `StateMachineDoesNotExist`, `StateMachineTypeNotSupported`,
    /// `ValidationException`, `ResourceNotFound` (map run).
    pub async fn list_executions(
        &self,
        list: ListExecutions,
    ) -> Result<Page<ExecutionView>, WorkflowError> {
        let (shared, now) = (self.shared.clone(), self.world.clock.now());
        self.world.store.read(move |tx| page_of(tx, &shared.programs, &list, now)).await
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
        let (arn, shared) = (execution_arn.to_owned(), self.shared.clone());
        let size = page_size(page.max_results);
        let scope = format!("map runs {arn}");
        let token = page.next_token.as_deref().map(|t| PageToken::parse(t, &scope)).transpose()?;
        self.world
            .store
            .read(move |tx| {
                let row = find(tx, &arn)?;
                let mut rows = tx.map_runs_of(row.id, token.unwrap_or(u64::MAX), size + 1)?;
                let more = rows.len() > size;
                rows.truncate(size);
                let next_token =
                    rows.last().filter(|_| more).map(|last| PageToken::text(last.id, &scope));
                let items = rows
                    .iter()
                    .map(|run| map_run_view(tx, &shared.programs, run))
                    .collect::<Result<_, _>>()?;
                Ok(Page { items, next_token })
            })
            .await
    }

    /// One map run, by its ARN.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn describe_map_run(&self, arn: &str) -> Result<MapRunView, WorkflowError> {
        let (arn, shared) = (arn.to_owned(), self.shared.clone());
        self.world
            .store
            .read(move |tx| map_run_view(tx, &shared.programs, &find_map_run(tx, &arn)?))
            .await
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
        let refused = |text: &str| Refusal::ValidationException.with(text);
        if change.tolerated_failure_percentage.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
            return Err(refused("toleratedFailurePercentage must be between 0 and 100"));
        }
        let max_concurrency = change
            .max_concurrency
            .map(|n| u32::try_from(n).map_err(|_| refused("maxConcurrency is too large")))
            .transpose()?;
        let arn = arn.to_owned();
        self.transact(move |step| {
            let row = find_map_run(step.tx, &arn)?;
            if body_of(&row)?.state.status() != MapRunStatus::Running {
                return Err(Refusal::ValidationException
                    .with("The Map Run has ended: only a running one can be updated"));
            }
            let event = MapRunEvent::Update {
                max_concurrency,
                tolerated_failure_count: change.tolerated_failure_count,
                tolerated_failure_percentage: change.tolerated_failure_percentage,
            };
            step.map_inbox.push_back((row.id, event));
            Ok(())
        })
        .await
    }
}

fn page_of(
    tx: &ReadTx,
    programs: &Programs,
    list: &ListExecutions,
    now: Timestamp,
) -> Result<Page<ExecutionView>, WorkflowError> {
    let of = what(tx, list)?;
    let size = page_size(list.page.max_results);
    let ListExecutions { machine_arn, map_run_arn, status, redrive, .. } = list;
    let scope = format!("executions {machine_arn:?} {map_run_arn:?} {status:?} {redrive:?}");
    let token = list.page.next_token.as_deref().map(|t| PageToken::parse(t, &scope)).transpose()?;
    let statuses: &[ExecutionStatus] = match status {
        Some(status) => std::slice::from_ref(status),
        None => &ExecutionStatus::ALL,
    };
    let qualified = machine_arn.as_deref().and_then(qualified_name);
    let (mut before, mut items) = (token.unwrap_or(u64::MAX), Vec::new());
    let mut runs = RunsSeen::new();
    loop {
        let mut rows: Vec<ExecutionRow> = Vec::new();
        for status in statuses {
            rows.extend(match of {
                Of::Machine(id) => tx.executions_of_machine(id, *status, before, size)?,
                Of::MapRun(id) => tx.executions_of_map_run(id, *status, before, size)?,
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        rows.truncate(size);
        let Some(last) = rows.last() else { return Ok(Page { items, next_token: None }) };
        let whole = rows.len() < size;
        let last = last.id;
        for row in rows {
            if row.kind != ExecutionKind::Standard {
                continue;
            }
            let seen = view(tx, programs, &row, now, &mut runs)?;
            let wanted = match redrive {
                None => true,
                Some(RedriveFilter::Redriven) => seen.redrive_count > 0,
                Some(RedriveFilter::NotRedriven) => seen.redrive_count == 0,
            };
            if wanted && qualified.as_deref().is_none_or(|q| started_by(&seen, q)) {
                before = row.id;
                items.push(seen);
                if items.len() == size {
                    return Ok(Page { items, next_token: Some(PageToken::text(before, &scope)) });
                }
            }
        }
        if whole {
            return Ok(Page { items, next_token: None });
        }
        before = last;
    }
}

/// `:MACHINE:QUALIFIER` of the ARN of a version or alias.
fn qualified_name(text: &str) -> Option<String> {
    match Arn::parse(text).ok()?.resource {
        Resource::Qualified { name, qualifier } => Some(format!(":{name}:{qualifier}")),
        _ => None,
    }
}

/// Whether an execution was started by the version or alias of that name.
fn started_by(execution: &ExecutionView, qualified: &str) -> bool {
    [&execution.version_arn, &execution.alias_arn]
        .into_iter()
        .flatten()
        .any(|arn| arn.ends_with(qualified))
}

fn what(tx: &ReadTx, list: &ListExecutions) -> Result<Of, WorkflowError> {
    match (&list.machine_arn, &list.map_run_arn) {
        (Some(text), None) => {
            let arn = Arn::parse(text)?;
            let (Resource::Machine { name } | Resource::Qualified { name, .. }) = &arn.resource
            else {
                return Err(arn.wrong_kind());
            };
            let machine = tx.machine_by_name(name)?.ok_or_else(|| {
                Refusal::StateMachineDoesNotExist
                    .with(format!("State Machine Does Not Exist: '{text}'"))
            })?;
            if machine.machine_type != ark_model::workflow::MachineType::Standard {
                return Err(Refusal::StateMachineTypeNotSupported
                    .with("This operation is not supported by this type of state machine"));
            }
            Ok(Of::Machine(machine.id))
        }
        (None, Some(text)) => Ok(Of::MapRun(find_map_run(tx, text)?.id)),
        (Some(_), Some(_)) | (None, None) => Err(Refusal::ValidationException
            .with("Exactly one of stateMachineArn and mapRunArn must be given")),
    }
}

fn find_map_run(tx: &ReadTx, text: &str) -> Result<MapRunRow, WorkflowError> {
    let arn = Arn::parse(text)?;
    let Resource::MapRun { uuid, .. } = &arn.resource else { return Err(arn.wrong_kind()) };
    tx.map_run_by_uuid(uuid)?
        .ok_or_else(|| Refusal::ResourceNotFound.with(format!("Resource not found: '{text}'")))
}

fn map_run_view(
    tx: &ReadTx,
    programs: &Programs,
    run: &MapRunRow,
) -> Result<MapRunView, WorkflowError> {
    let body = body_of(run)?;
    let gone = || WorkflowError::Internal(format!("the execution of map run {} is gone", run.id));
    let row = tx.execution(run.execution)?.ok_or_else(gone)?;
    let parent = view(tx, programs, &row, row.started_at, &mut RunsSeen::new())?;
    let program = programs.get(tx, row.revision)?;
    let (machine, label) = (program.name.clone(), body.label.clone());
    let (counts, items) = (body.state.counts(), body.state.items());
    // What runs is known by the inputs, which are kept until the results are there.
    let running_items = match items.open() {
        open if open > 0 && body.state.status() == MapRunStatus::Running => {
            tx.map_items_in(run.id, ItemPhase::Running)?.min(open)
        }
        _ => 0,
    };
    let (waiting, waiting_items) = body.state.waiting();
    let (waiting, waiting_items) = (waiting.total(), waiting_items.total());
    let items = MapRunCounts {
        pending: (items.open() - running_items).saturating_sub(waiting_items),
        running: running_items,
        succeeded: items.succeeded,
        failed: items.failed,
        timed_out: items.timed_out,
        aborted: items.aborted,
        total: items.total,
        results_written: body.items_written.max(body.results_written),
        failures_not_redrivable: body.items_not_redrivable,
        pending_redrive: waiting_items,
    };
    let counts = MapRunCounts {
        pending: (counts.pending + body.to_start).saturating_sub(waiting),
        running: counts.running.saturating_sub(body.to_start),
        succeeded: counts.succeeded,
        failed: counts.failed,
        timed_out: counts.timed_out,
        aborted: counts.aborted,
        total: counts.total,
        results_written: body.results_written,
        failures_not_redrivable: body.not_redrivable,
        pending_redrive: waiting,
    };
    let resource =
        Resource::MapRun { machine: machine.clone(), label: label.clone(), uuid: run.uuid.clone() };
    Ok(MapRunView {
        arn: Arn::new(&program.region, resource).to_string(),
        execution_arn: parent.arn,
        machine_arn: Arn::new(&program.region, Resource::Labelled { name: machine, label })
            .to_string(),
        status: match body.state.status() {
            MapRunStatus::Running => ExecutionStatus::Running,
            MapRunStatus::Succeeded => ExecutionStatus::Succeeded,
            MapRunStatus::Failed => ExecutionStatus::Failed,
            MapRunStatus::Aborted => ExecutionStatus::Aborted,
        },
        started_at: run.started_at,
        stopped_at: run.stopped_at,
        max_concurrency: u64::from(body.state.max_concurrency()),
        tolerated_failure_percentage: body.state.tolerated_failure_percentage(),
        tolerated_failure_count: body.state.tolerated_failure_count(),
        items,
        executions: counts,
        redrive_count: u64::from(body.state.redrive_count()),
        redriven_at: body.redriven_at,
    })
}
