//! What people look at: machines with what goes on in them, executions found by state and name,
//! events with their texts cut. Every question is answered by an index and a limit, so that it
//! takes as long among a million executions as among ten.
//!
//! Called by `api/workflows`. Reads only.

use ark_model::api::{
    EXECUTIONS_COUNTED_MAX, EventText, ExecutionEvent, ExecutionMoved, ExecutionSummary,
    WorkflowSummary,
};
use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_states::history::HistoryEvent;
use ark_store::{ExecutionKind, ExecutionRow, MachineRow, ReadTx, RunFilter};

use super::Workflows;
use super::error::{Refusal, WorkflowError};
use super::facts::{Facts, kept_text};
use super::history;
use super::types::Page;

/// Characters of a cause in a list.
const CAUSE_CHARS: usize = 300;
/// Names that are looked through for one page, at most.
const NAMES_MAX: usize = 5_000;
/// How an execution ends that somebody should look at.
const FAILED: [ExecutionStatus; 2] = [ExecutionStatus::Failed, ExecutionStatus::TimedOut];

/// Which executions to find.
#[derive(Debug, Clone, Default)]
pub struct Find {
    /// Name of the machine.
    pub workflow: String,
    /// Only in this state.
    pub status: Option<ExecutionStatus>,
    /// Only those that failed and that nobody has resolved.
    pub unresolved: bool,
    /// Only those whose name begins so, by name.
    pub prefix: Option<String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// The most of them.
    pub limit: usize,
}

/// Which events to show.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    /// From this number on.
    pub from: Option<u64>,
    /// Down instead of up.
    pub newest: bool,
    /// Characters of each text.
    pub chars: usize,
    /// The most of them.
    pub limit: usize,
}

fn missing(what: &str, name: &str) -> WorkflowError {
    let name: String = name.chars().take(100).collect();
    Refusal::ResourceNotFound.with(format!("{what} `{name}` does not exist"))
}

/// A machine by its name, also one that was deleted while executions refer to it.
fn machine_of(tx: &ReadTx, name: &str) -> Result<MachineRow, WorkflowError> {
    tx.newest_machine_by_name(name)?.ok_or_else(|| missing("workflow", name))
}

fn execution_of(tx: &ReadTx, workflow: &str, name: &str) -> Result<ExecutionRow, WorkflowError> {
    let machine = machine_of(tx, workflow)?;
    let found = tx.execution_by_name(machine.id, name)?;
    // Express executions have no history to show, and are gone when they end.
    let found = found.filter(|row| row.kind == ExecutionKind::Standard);
    found.ok_or_else(|| missing(&format!("an execution of {workflow}"), name))
}

fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

fn is_failed(status: ExecutionStatus) -> bool {
    FAILED.contains(&status)
}

fn is_resolved(tx: &ReadTx, row: &ExecutionRow) -> Result<bool, WorkflowError> {
    // It holds for an end at or before it: one that was redriven and failed again is open again.
    Ok(is_failed(row.status)
        && tx.workflow_resolved_at(row.id)?.is_some_and(|at| Some(at) >= row.stopped_at))
}

fn summary(
    tx: &ReadTx,
    workflow: &str,
    row: &ExecutionRow,
) -> Result<ExecutionSummary, WorkflowError> {
    let facts: Facts = serde_json::from_str(&row.body)?;
    let cause = facts.cause.as_deref().map(|text| kept_text(tx, row.id, text)).transpose()?;
    let named = facts.version_arn.as_deref().and_then(|arn| arn.rsplit(':').next()?.parse().ok());
    let version = match named {
        Some(number) => Some(number),
        // Started without a version, it runs one all the same when its definition was published.
        None => tx.version_of_revision(row.machine, row.revision)?.map(|version| version.number),
    };
    Ok(ExecutionSummary {
        workflow: workflow.to_owned(),
        name: row.name.clone(),
        status: row.status,
        started_at: row.started_at,
        stopped_at: row.stopped_at,
        error: facts.error,
        cause: cause.map(|text| cut(&text, CAUSE_CHARS).to_owned()),
        version,
        events: row.events,
        redrives: facts.redrive_count,
        resolved: is_resolved(tx, row)?,
    })
}

impl Workflows {
    /// Machines after a name, by name, and whether there are more.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn overview(
        &self,
        after: String,
        limit: usize,
    ) -> Result<Page<WorkflowSummary>, WorkflowError> {
        self.world
            .store
            .read(move |tx| {
                let mut machines = tx.machines_by_name(&after, limit + 1)?;
                let more = machines.len() > limit;
                machines.truncate(limit);
                let next_token = machines.last().filter(|_| more).map(|last| last.name.clone());
                let items = machines.iter().map(|machine| overview_of(tx, machine));
                Ok(Page { items: items.collect::<Result<_, WorkflowError>>()?, next_token })
            })
            .await
    }

    /// Executions of a machine.
    ///
    /// # Errors
    /// `ResourceNotFound`, `InvalidToken`.
    pub async fn find(&self, find: Find) -> Result<Page<ExecutionSummary>, WorkflowError> {
        self.world
            .store
            .read(move |tx| match find.prefix.clone() {
                Some(prefix) => by_name(tx, &find, &prefix),
                None => newest(tx, &find),
            })
            .await
    }

    /// Events of an execution, and the number to go on from.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn look_at(
        &self,
        workflow: String,
        execution: String,
        which: Events,
    ) -> Result<Page<ExecutionEvent>, WorkflowError> {
        self.world
            .store
            .read(move |tx| {
                let row = execution_of(tx, &workflow, &execution)?;
                let most = which.limit + 1;
                let mut found = match which.newest {
                    true => history::down(tx, row.id, which.from.unwrap_or(row.events), most)?,
                    false => history::up(tx, row.id, which.from.unwrap_or(1), most)?,
                };
                let next = found.get(which.limit).map(|event| event.id.to_string());
                found.truncate(which.limit);
                let items = found.iter().map(|event| event_of(event, which.chars)).collect();
                Ok(Page { items, next_token: next })
            })
            .await
    }

    /// Where an execution stands: its number, and what moves.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn standing(
        &self,
        workflow: String,
        execution: String,
    ) -> Result<(ExecutionMoved, ExecutionSummary), WorkflowError> {
        self.world
            .store
            .read(move |tx| {
                let row = execution_of(tx, &workflow, &execution)?;
                let moved = ExecutionMoved { events: row.events, status: row.status };
                Ok((moved, summary(tx, &workflow, &row)?))
            })
            .await
    }
}

fn overview_of(tx: &ReadTx, machine: &MachineRow) -> Result<WorkflowSummary, WorkflowError> {
    let most = usize::try_from(EXECUTIONS_COUNTED_MAX).unwrap_or(usize::MAX);
    let mut newest: Option<ExecutionRow> = None;
    let mut unresolved = 0;
    if machine.machine_type == MachineType::Standard {
        for status in ExecutionStatus::ALL {
            let last = tx.executions_of_machine(machine.id, status, u64::MAX, 1)?.pop();
            newest = newest.into_iter().chain(last).max_by_key(|row| row.id);
        }
        for status in FAILED {
            unresolved += tx.count_unresolved(machine.id, status, most)?;
        }
    }
    Ok(WorkflowSummary {
        name: machine.name.clone(),
        kind: machine.machine_type,
        created_at: machine.created_at,
        version: tx.machine_versions(machine.id, u64::MAX, 1)?.first().map(|v| v.number),
        running: tx.count_executions(machine.id, ExecutionStatus::Running, most)?,
        unresolved,
        last: newest.map(|row| summary(tx, &machine.name, &row)).transpose()?,
    })
}

/// The newest first; a cursor is the number of the last one.
fn newest(tx: &ReadTx, find: &Find) -> Result<Page<ExecutionSummary>, WorkflowError> {
    let machine = machine_of(tx, &find.workflow)?;
    let before = match find.cursor.as_deref() {
        Some(text) => text.parse().map_err(|_| history::bad_token())?,
        None => u64::MAX,
    };
    let wanted = |status: &ExecutionStatus| {
        find.status.is_none_or(|asked| asked == *status) && (!find.unresolved || is_failed(*status))
    };
    let mut rows = Vec::new();
    for status in ExecutionStatus::ALL.into_iter().filter(wanted) {
        let filter = RunFilter {
            machine: machine.id,
            status,
            beyond: before,
            oldest_first: false,
            resolved: find.unresolved.then_some(false),
        };
        rows.extend(tx.workflow_runs_of(filter, find.limit + 1)?);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    let more = rows.len() > find.limit;
    rows.truncate(find.limit);
    let next_token = rows.last().filter(|_| more).map(|last| last.id.to_string());
    let standard = rows.iter().filter(|row| row.kind == ExecutionKind::Standard);
    let items = standard.map(|row| summary(tx, &machine.name, row));
    Ok(Page { items: items.collect::<Result<_, _>>()?, next_token })
}

/// By name; a cursor is the last name that was looked at.
fn by_name(
    tx: &ReadTx,
    find: &Find,
    prefix: &str,
) -> Result<Page<ExecutionSummary>, WorkflowError> {
    let machine = machine_of(tx, &find.workflow)?;
    let (mut after, mut seen, mut items) = (find.cursor.clone(), 0, Vec::new());
    loop {
        let batch = find.limit.clamp(50, 500);
        let rows = tx.executions_named(machine.id, prefix, after.as_deref(), batch)?;
        let last_batch = rows.len() < batch;
        seen += rows.len();
        for row in rows {
            after = Some(row.name.clone());
            let fits = row.kind == ExecutionKind::Standard
                && row.map_run.is_none()
                && find.status.is_none_or(|asked| asked == row.status)
                && (!find.unresolved || (is_failed(row.status) && !is_resolved(tx, &row)?));
            if fits {
                items.push(summary(tx, &machine.name, &row)?);
            }
            if items.len() == find.limit {
                return Ok(Page { items, next_token: after });
            }
        }
        if last_batch {
            return Ok(Page { items, next_token: None });
        }
        if seen >= NAMES_MAX {
            return Ok(Page { items, next_token: after });
        }
    }
}

fn event_of(event: &HistoryEvent, chars: usize) -> ExecutionEvent {
    let d = &event.details;
    let owned = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let shown = |text: &Option<std::sync::Arc<str>>| {
        text.as_deref().map(|whole| {
            let text = cut(whole, chars);
            EventText {
                cut: text.len() < whole.len(),
                bytes: whole.len() as u64,
                text: text.to_owned(),
            }
        })
    };
    ExecutionEvent {
        id: event.id,
        previous: event.previous_event_id,
        at: event.timestamp,
        kind: event.kind.name().to_owned(),
        state: owned(&d.name).or_else(|| owned(&d.state)),
        index: d.index,
        resource: owned(&d.resource),
        worker: owned(&d.worker_name),
        map_run: owned(&d.map_run_arn),
        input: shown(&d.input).or_else(|| shown(&d.parameters)),
        output: shown(&d.output),
        error: shown(&d.error),
        cause: shown(&d.cause),
    }
}
