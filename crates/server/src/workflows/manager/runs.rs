//! Workflows: started, shown, listed, cancelled, resolved.

use std::collections::BTreeMap;

use ark_model::api::{Job, JobStatus, StartWorkflow, Workflow, WorkflowDefinition, WorkflowStatus};
use ark_model::event::{EventKind, NewEvent};
use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_states::limits;
use ark_store::{ExecutionKind, ExecutionRow, MachineRow, ReadTx, RunFilter, RunRow};
use serde::{Deserialize, Serialize};

use super::super::error::WorkflowError;
use super::super::facts::{Facts, kept_text};
use super::super::lists::PageToken;
use super::super::queues::{self, NAME_CHARS_MAX as WORD_CHARS_MAX};
use super::super::step::StartSpec;
use super::super::types::StartTarget;
use super::super::{history, tags, versions};
use super::definitions::{self, Sent};
use super::{
    Manager, conflict, conventions, execution_of, jobs, machine_of, missing, refused, version_of,
};

/// The queue where none was named.
const QUEUE: &str = "default";
/// Events read for one page of a list; with more the page ends early.
const PAGE_EVENTS_MAX: usize = 100_000;
/// Ends that are passed over for one page of a list; with more the page ends early.
const PAGE_ENDS_MAX: usize = 5_000;
/// Workflows that go on for one.
pub(super) const RETRIES_MAX: usize = 1_000;

/// What belongs to a workflow and is not searched for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RunBody {
    pub(super) queue: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    /// Where it began, when that is not the definition's own beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_at: Option<String>,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Name of the definition.
    pub definition: String,
    /// The most of them.
    pub limit: usize,
    /// Whether the oldest come first.
    pub oldest_first: bool,
    /// Where the page before ended.
    pub page_token: Option<String>,
    /// Only in this status.
    pub status: Option<WorkflowStatus>,
    /// Only resolved ones, or only others.
    pub resolved: Option<bool>,
    /// Without state machine, output and jobs.
    pub summary: bool,
}

/// A page of workflows.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The workflows.
    pub workflows: Vec<Workflow>,
    /// Where the next page begins, when there is one.
    pub next_token: Option<String>,
}

/// How much of a workflow to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Summary,
    Whole,
    WithJobs,
}

fn status_of(status: ExecutionStatus) -> WorkflowStatus {
    match status {
        ExecutionStatus::Running | ExecutionStatus::PendingRedrive => WorkflowStatus::Running,
        ExecutionStatus::Succeeded => WorkflowStatus::Succeeded,
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => WorkflowStatus::Failed,
        ExecutionStatus::Aborted => WorkflowStatus::Cancelled,
    }
}

/// A workflow is resolved by a good end, by being cancelled, and by somebody's word after its end.
fn is_resolved(tx: &ReadTx, row: &ExecutionRow) -> Result<bool, WorkflowError> {
    Ok(match status_of(row.status) {
        WorkflowStatus::Succeeded | WorkflowStatus::Cancelled => true,
        WorkflowStatus::Queued | WorkflowStatus::Running => false,
        WorkflowStatus::Failed => {
            tx.workflow_resolved_at(row.id)?.is_some_and(|at| Some(at) >= row.stopped_at)
        }
    })
}

/// The id of an execution's workflow.
pub(super) fn id_of(run: Option<&RunRow>, machine: &MachineRow, row: &ExecutionRow) -> String {
    match run {
        Some(run) => run.id.clone(),
        None => format!("{}:{}", machine.name, row.name),
    }
}

pub(super) fn facts_of(row: &ExecutionRow) -> Result<Facts, WorkflowError> {
    serde_json::from_str(&row.body)
        .map_err(|e| WorkflowError::Internal(format!("the facts of execution {}: {e}", row.id)))
}

pub(super) fn body_of(run: Option<&RunRow>) -> Result<RunBody, WorkflowError> {
    let body = run.map(|run| serde_json::from_str(&run.body)).transpose()?;
    Ok(body.unwrap_or_else(|| RunBody { queue: QUEUE.to_owned(), ..RunBody::default() }))
}

/// What an execution runs, with its state machine where that is wanted.
fn definition_of(
    tx: &ReadTx,
    machine: &MachineRow,
    row: &ExecutionRow,
    facts: &Facts,
    begun_at: Option<&str>,
    whole: bool,
) -> Result<WorkflowDefinition, WorkflowError> {
    let named = facts.version_arn.as_deref().and_then(|arn| arn.rsplit(':').next()?.parse().ok());
    let version = match named {
        Some(number) => tx.machine_version(machine.id, number)?,
        None => tx.version_of_revision(machine.id, row.revision)?,
    };
    let number = version.as_ref().map(|version| version.number).or(named);
    let sent = match number {
        Some(number) => definitions::sent(tx, machine.id, number)?,
        None => None,
    };
    let state_machine = match (&sent, whole) {
        (_, false) => None,
        (Some(Sent { state_machine, .. }), true) => Some(state_machine.clone()),
        (None, true) => Some(definitions::text_of(tx, row.revision)?),
    };
    let state_machine = state_machine.map(|mut state_machine| {
        if let Some(start_at) = begun_at {
            // It began there, so it has that state.
            let _ = conventions::begin_at(&mut state_machine, start_at);
        }
        state_machine
    });
    let created_at = version.map_or(machine.created_at, |version| version.created_at);
    Ok(WorkflowDefinition {
        state_machine,
        ..definitions::summary(machine, number, created_at, sent)
    })
}

/// A workflow as it is shown, and how many events were read for it.
pub(super) fn view(
    tx: &ReadTx,
    row: &ExecutionRow,
    detail: Detail,
) -> Result<(Workflow, usize), WorkflowError> {
    let gone = || WorkflowError::Internal(format!("the machine of execution {} is gone", row.id));
    let machine = tx.machine(row.machine)?.ok_or_else(gone)?;
    let (run, facts) = (tx.workflow_run(row.id)?, facts_of(row)?);
    let body = body_of(run.as_ref())?;
    let id = id_of(run.as_ref(), &machine, row);
    let whole = detail != Detail::Summary;
    let begun_at = body.start_at.as_deref();
    let workflow_definition = definition_of(tx, &machine, row, &facts, begun_at, whole)?;
    let status = status_of(row.status);
    let input = kept_text(tx, row.id, &facts.input)?;
    let output = facts.output.as_deref().filter(|_| whole);
    let output = output.map(|text| kept_text(tx, row.id, text)).transpose()?;
    let history_wanted = detail == Detail::WithJobs || (whole && status == WorkflowStatus::Failed);
    let events = match history_wanted {
        true => history::whole(tx, row.id, history::up(tx, row.id, 1, events_max())?)?,
        false => Vec::new(),
    };
    let mut all = jobs::of(&events, &body.queue, facts.namespace.as_deref());
    let last_job = (whole && status == WorkflowStatus::Failed).then(|| last_job(&all)).flatten();
    if detail != Detail::WithJobs {
        all.clear();
    }
    let retry_for = match run.as_ref().and_then(|run| run.retry_for) {
        Some(before) => id_by_execution(tx, before)?,
        None => None,
    };
    let retries = tx.workflow_retries(row.id, RETRIES_MAX)?;
    let reason = match row.status {
        ExecutionStatus::TimedOut if facts.cause.is_none() => Some("Workflow timed out".to_owned()),
        _ => jobs::reason_of(facts.error.as_deref(), facts.cause.as_deref()),
    };
    let workflow = Workflow {
        input: conventions::without_name(&input, &id),
        created_at: row.started_at,
        stopped_at: row.stopped_at,
        last_updated: match row.stopped_at {
            Some(at) => at,
            None => {
                let last = history::down(tx, row.id, row.events, 1)?;
                last.first().map_or(row.started_at, |event| event.timestamp)
            }
        },
        workflow_definition,
        status,
        status_reason: reason,
        namespace: facts.namespace,
        queue: body.queue,
        output,
        resolved_by_user: is_resolved(tx, row)?,
        retry_for,
        retries: retries.into_iter().map(|run| run.id).collect(),
        tags: body.tags,
        last_job,
        jobs: all,
        id,
    };
    Ok((workflow, events.len()))
}

fn events_max() -> usize {
    usize::try_from(limits::HISTORY_EVENTS_MAX).unwrap_or(usize::MAX)
}

fn last_job(jobs: &[Job]) -> Option<Job> {
    let failed = jobs.iter().filter(|job| job.status == JobStatus::Failed);
    failed.max_by_key(|job| job.stopped_at).or(jobs.last()).cloned()
}

fn id_by_execution(tx: &ReadTx, execution: u64) -> Result<Option<String>, WorkflowError> {
    let Some(row) = tx.execution(execution)? else { return Ok(None) };
    let Some(machine) = tx.machine(row.machine)? else { return Ok(None) };
    Ok(Some(id_of(tx.workflow_run(execution)?.as_ref(), &machine, &row)))
}

/// A queue or namespace that may be named; the empty one is none.
fn word(what: &str, text: Option<String>) -> Result<Option<String>, WorkflowError> {
    let text = text.filter(|text| !text.is_empty());
    match &text {
        Some(text) if text.chars().count() > WORD_CHARS_MAX => {
            Err(refused(format!("{what} has more than {WORD_CHARS_MAX} characters")))
        }
        _ => Ok(text),
    }
}

/// The input of a workflow of that id, if it is not too large with it.
pub(super) fn named_input(input: &str, id: &str) -> Result<String, WorkflowError> {
    let input = conventions::with_name(input, id).map_err(refused)?;
    if input.len() > limits::PAYLOAD_BYTES_MAX {
        let (bytes, most) = (input.len(), limits::PAYLOAD_BYTES_MAX);
        return Err(refused(format!(
            "the input has {bytes} bytes with {}, at most {most} are allowed",
            conventions::EXECUTION_NAME
        )));
    }
    Ok(input)
}

impl Manager<'_> {
    /// Starts a workflow. Answers once the start is durable.
    ///
    /// # Errors
    /// `ResourceNotFound` (definition or version), `ValidationException` (input, tags, an Express
    /// definition), `ExecutionLimitExceeded`.
    pub async fn start(&self, start: StartWorkflow) -> Result<Workflow, WorkflowError> {
        let StartWorkflow { workflow_definition: asked, input, namespace, queue, tags, .. } = start;
        let id = self.0.world.entropy.uuid().to_string();
        let input = input.filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".to_owned());
        let input = named_input(&input, &id)?;
        let namespace = word("the namespace", namespace)?;
        let queue = word("the queue", queue)?.unwrap_or_else(|| QUEUE.to_owned());
        if self.0.shared.hub.is_closing() {
            return Err(WorkflowError::ShuttingDown);
        }
        let execution = self
            .0
            .transact(move |step| {
                let machine = machine_of(step.tx, &asked.name)?;
                if machine.machine_type != MachineType::Standard {
                    return Err(refused(format!(
                        "workflow `{}` is Express: it has no jobs to \
                        show. `ark workflow start` starts it",
                        asked.name
                    )));
                }
                let version = version_of(step.tx, &machine, &asked.name, asked.version)?;
                let sent = definitions::sent(step.tx, machine.id, version.number)?;
                let mut all = sent.map(|sent| sent.default_tags).unwrap_or_default();
                all.extend(tags.unwrap_or_default());
                tags::check(&all)?;
                let arn = versions::version_arn(&machine.region, &machine.name, version.number);
                let target = target(&machine, version.revision, Some(arn));
                let priority = queues::priority(step.tx, &queue)?;
                let spec = spec(target, &id, input, namespace, priority);
                let begun = step.start(spec)?;
                let body = RunBody { queue, tags: all, start_at: None };
                step.tx.insert_workflow_run(&RunRow {
                    execution: begun.id,
                    id,
                    retry_for: None,
                    body: serde_json::to_string(&body)?,
                })?;
                Ok(begun.id)
            })
            .await?;
        self.by_execution(execution).await
    }

    pub(super) async fn by_execution(&self, execution: u64) -> Result<Workflow, WorkflowError> {
        self.0
            .world
            .store
            .read(move |tx| {
                let row = tx.execution(execution)?;
                let row = row.ok_or_else(|| missing("workflow", &execution.to_string()))?;
                Ok(view(tx, &row, Detail::Whole)?.0)
            })
            .await
    }

    /// One workflow.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn workflow(&self, id: &str, with_jobs: bool) -> Result<Workflow, WorkflowError> {
        let id = id.to_owned();
        let detail = if with_jobs { Detail::WithJobs } else { Detail::Whole };
        self.0.world.store.read(move |tx| Ok(view(tx, &execution_of(tx, &id)?, detail)?.0)).await
    }

    /// Workflows of a definition, by the order of their starts. What is started meanwhile neither
    /// repeats nor hides another.
    ///
    /// # Errors
    /// `ResourceNotFound`, `InvalidToken`.
    pub async fn search(&self, search: Search) -> Result<Listed, WorkflowError> {
        self.0.world.store.read(move |tx| page_of(tx, &search)).await
    }

    /// Ends a workflow that runs. One that was cancelled before is left as it is.
    ///
    /// # Errors
    /// `ResourceNotFound`, `ValidationException` when it has succeeded or failed.
    pub async fn cancel(&self, id: &str, reason: String) -> Result<(), WorkflowError> {
        let ended = |status: ExecutionStatus| {
            refused(format!(
                "the workflow has {}: it cannot be cancelled",
                match status {
                    ExecutionStatus::Succeeded => "succeeded",
                    _ => "failed",
                }
            ))
        };
        let asked = id.to_owned();
        let arn = self
            .0
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| {
                let row = execution_of(tx, &asked)?;
                arn_of(tx, &row)
            })
            .await?;
        let cause: String = reason.chars().take(limits::CAUSE_CHARS_MAX).collect();
        self.0.stop_execution(&arn, None, Some(cause)).await?;
        match self.0.describe_execution(&arn).await?.status {
            ExecutionStatus::Aborted => Ok(()),
            status => Err(ended(status)),
        }
    }

    /// Notes that somebody has dealt with a workflow that failed.
    ///
    /// # Errors
    /// `ResourceNotFound`, `ConflictException` when it runs or is resolved.
    pub async fn resolve(&self, id: &str, by: &str) -> Result<(), WorkflowError> {
        let (id, by) = (id.to_owned(), by.to_owned());
        let now = self.0.world.clock.now();
        self.0
            .world
            .store
            .write(move |tx| {
                let row = execution_of(tx, &id)?;
                if is_resolved(tx, &row)? {
                    return Err(conflict(format!("workflow `{id}` is resolved already")));
                }
                // A clock that went back must not make the word older than the end.
                let at = row.stopped_at.ok_or_else(|| {
                    conflict(format!("workflow `{id}` is running: resolve it when it has failed"))
                })?;
                tx.resolve_workflow(row.id, now.max(at), &by)?;
                let text = format!("workflow {id} was resolved");
                let kind = EventKind::WorkflowResolved;
                tx.append_event(NewEvent::of_server(kind, by, now, text))?;
                Ok(())
            })
            .await
    }
}

/// What a start of a machine's revision runs.
pub(super) fn target(
    machine: &MachineRow,
    revision: u64,
    version_arn: Option<String>,
) -> StartTarget {
    StartTarget {
        machine: machine.id,
        name: machine.name.clone(),
        region: machine.region.clone(),
        machine_type: machine.machine_type,
        revision,
        version_arn,
        alias_arn: None,
    }
}

pub(super) fn spec(
    target: StartTarget,
    id: &str,
    input: String,
    namespace: Option<String>,
    priority: i64,
) -> StartSpec {
    StartSpec {
        target,
        kind: ExecutionKind::Standard,
        name: Some(id.to_owned()),
        input: input.into(),
        trace_header: None,
        priority,
        namespace,
        parent: None,
    }
}

fn arn_of(tx: &ReadTx, row: &ExecutionRow) -> Result<String, WorkflowError> {
    use super::super::arn::{Arn, Resource};
    let machine = tx.machine(row.machine)?.ok_or_else(|| missing("workflow", &row.name))?;
    let resource =
        Resource::Execution { machine: machine.name, label: None, name: row.name.clone() };
    Ok(Arn::new(&machine.region, resource).to_string())
}

/// Statuses to look through, each with what the store is to ask of resolutions.
fn wanted(search: &Search) -> Vec<(ExecutionStatus, Option<bool>)> {
    let asked =
        |status: &ExecutionStatus| search.status.is_none_or(|wanted| wanted == status_of(*status));
    let resolution = |status: ExecutionStatus| match (status_of(status), search.resolved) {
        (WorkflowStatus::Failed, resolved) => Some((status, resolved)),
        (_, None) => Some((status, None)),
        (WorkflowStatus::Succeeded | WorkflowStatus::Cancelled, Some(resolved)) => {
            resolved.then_some((status, None))
        }
        (WorkflowStatus::Running | WorkflowStatus::Queued, Some(resolved)) => {
            (!resolved).then_some((status, None))
        }
    };
    ExecutionStatus::ALL.into_iter().filter(asked).filter_map(resolution).collect()
}

fn page_of(tx: &ReadTx, search: &Search) -> Result<Listed, WorkflowError> {
    let Search { definition, oldest_first, status, resolved, .. } = search;
    let machine = machine_of(tx, definition)?;
    let scope = format!("workflows {definition:?} {oldest_first} {status:?} {resolved:?}");
    let token = search.page_token.as_deref();
    let begin = if *oldest_first { 0 } else { u64::MAX };
    let mut beyond = token.map_or(Ok(begin), |token| PageToken::parse(token, &scope))?;
    let detail = if search.summary { Detail::Summary } else { Detail::Whole };
    let (wanted, mut workflows) = (wanted(search), Vec::new());
    let (mut events_read, mut passed_over) = (0, 0);
    loop {
        // Of ends that are not asked for there may be any number between two that are.
        let batch = match resolved {
            Some(_) => ark_store::PAGE_MAX - 1,
            None => (search.limit + 1 - workflows.len()).min(ark_store::PAGE_MAX - 1),
        };
        let mut ends: Vec<(u64, bool)> = Vec::new();
        for &(status, resolved) in &wanted {
            let oldest_first = *oldest_first;
            let filter = RunFilter { machine: machine.id, status, oldest_first, beyond };
            let found = tx.workflow_ends_of(filter, batch + 1)?.into_iter();
            ends.extend(found.map(|(id, is)| (id, resolved.is_none_or(|asked| asked == is))));
        }
        match oldest_first {
            true => ends.sort_by_key(|(id, _)| *id),
            false => ends.sort_by_key(|(id, _)| std::cmp::Reverse(*id)),
        }
        let more = ends.len() > batch;
        for (id, is_asked_for) in ends.into_iter().take(batch) {
            let row = if is_asked_for { tx.execution(id)? } else { None };
            if let Some(row) = row.filter(|row| row.kind == ExecutionKind::Standard) {
                if workflows.len() >= search.limit || events_read > PAGE_EVENTS_MAX {
                    let next_token = Some(PageToken::text(beyond, &scope));
                    return Ok(Listed { workflows, next_token });
                }
                let (workflow, events) = view(tx, &row, detail)?;
                workflows.push(workflow);
                events_read += events;
            }
            passed_over += usize::from(!is_asked_for);
            beyond = id;
        }
        if !more {
            return Ok(Listed { workflows, next_token: None });
        }
        if passed_over >= PAGE_ENDS_MAX {
            return Ok(Listed { workflows, next_token: Some(PageToken::text(beyond, &scope)) });
        }
    }
}

#[cfg(test)]
mod tests {
    use ark_store::Store;
    use jiff::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[tokio::test]
    async fn a_page_passes_over_so_many_ends_and_no_more() {
        let store = Store::inline_in_memory(NOW).expect("a store");
        let all = 2 * PAGE_ENDS_MAX as u64;
        let written = store.write(move |tx| {
            let machine = tx.insert_machine("m", "us-east-1", MachineType::Standard, NOW)?;
            tx.insert_machine_revision(machine, "r", "{}", "{}", NOW)?;
            for id in 1..=all {
                tx.insert_execution(&ExecutionRow {
                    id,
                    machine,
                    revision: 1,
                    name: id.to_string(),
                    kind: ExecutionKind::Standard,
                    status: ExecutionStatus::Failed,
                    started_at: NOW,
                    stopped_at: Some(NOW),
                    map_run: None,
                    rev: 1,
                    events: 0,
                    body: serde_json::to_string(&Facts::default())?,
                    state: None,
                })?;
                if ![1, 2, all].contains(&id) {
                    tx.resolve_workflow(id, NOW, "somebody")?;
                }
            }
            Ok::<_, WorkflowError>(())
        });
        written.await.expect("rows");
        let pages = async |oldest_first: bool, limit: usize| {
            let (mut pages, mut page_token) = (Vec::new(), None);
            loop {
                let search = Search {
                    definition: "m".to_owned(),
                    limit,
                    oldest_first,
                    page_token,
                    status: Some(WorkflowStatus::Failed),
                    resolved: Some(false),
                    summary: true,
                };
                let page = store.read(move |tx| page_of(tx, &search)).await.expect("a page");
                let ids = page.workflows.into_iter().map(|one| one.id);
                pages.push(ids.collect::<Vec<_>>().join(" "));
                page_token = page.next_token;
                if page_token.is_none() {
                    return pages;
                }
            }
        };
        let newest = format!("m:{all}");
        assert_eq!(pages(false, 50).await, [newest.as_str(), "m:2 m:1"]);
        assert_eq!(pages(false, 1).await, [newest.as_str(), "m:2", "m:1"]);
        assert_eq!(pages(true, 50).await, ["m:1 m:2", newest.as_str()]);
        assert_eq!(pages(true, 2).await, ["m:1 m:2", newest.as_str()]);
    }
}
