//! What people look at: machines with what goes on in them, executions found by state and name,
//! events with their texts cut. Every question is answered by an index and a limit of what is looked
//! at, so that it takes as long among a million executions as among ten.
//!
//! Called by `api/workflows`. Reads only.

use std::sync::Arc;

use ark_model::api::{
    EXECUTIONS_COUNTED_MAX, EventText, ExecutionEvent, ExecutionMoved, ExecutionSummary,
    WorkflowSummary,
};
use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_states::history::HistoryEvent;
use ark_store::{ExecutionKind, ExecutionRow, MachineRow, ReadTx, RunFilter};

use super::Workflows;
use super::error::{Refusal, WorkflowError};
use super::facts::{Facts, kept_beginning};
use super::history;
use super::task_logs;
use super::types::Page;

/// Characters of a cause in a list.
const CAUSE_CHARS: usize = 300;
/// Executions that are looked through for one page, at most.
const LOOKED_THROUGH_MAX: usize = 5_000;
/// The same where a text is looked for in how they failed.
const FAILURES_LOOKED_THROUGH_MAX: usize = 10_000;
/// How an execution ends with an error or a cause.
const WITH_ERRORS: [ExecutionStatus; 3] =
    [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Aborted];
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
    /// Only those whose error or cause has this in it, letters of A to Z in either case.
    pub error: Option<String>,
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
    machine_of(tx, workflow)?;
    let found = tx.execution_by_names(workflow, name)?;
    // Express executions have no history to show, and are gone when they end.
    let found = found.filter(|row| row.kind == ExecutionKind::Standard);
    found.ok_or_else(|| missing(&format!("an execution of {workflow}"), name))
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
    let cause = facts.cause.as_deref().map(|text| text.chars().take(CAUSE_CHARS).collect());
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
        cause,
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
                None if find.unresolved || find.error.is_some() => sifted(tx, &find),
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
                let logged = tx.has_task_logs(row.id)?;
                let items = found.iter().map(|event| {
                    let mut seen = event_of(tx, row.id, event, which.chars)?;
                    if logged {
                        let log = task_logs::log_of(tx, row.id, event)?;
                        seen.log = log.map(|whole| cut(&whole, which.chars));
                    }
                    Ok(seen)
                });
                Ok(Page { items: items.collect::<Result<_, WorkflowError>>()?, next_token: next })
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

fn number_of(cursor: Option<&str>) -> Result<u64, WorkflowError> {
    cursor.map_or(Ok(u64::MAX), |text| text.parse().map_err(|_| history::bad_token()))
}

/// The newest first; a cursor is the number of the last one.
fn newest(tx: &ReadTx, find: &Find) -> Result<Page<ExecutionSummary>, WorkflowError> {
    let machine = machine_of(tx, &find.workflow)?;
    let before = number_of(find.cursor.as_deref())?;
    let wanted = |status: &ExecutionStatus| find.status.is_none_or(|asked| asked == *status);
    let mut rows = Vec::new();
    for status in ExecutionStatus::ALL.into_iter().filter(wanted) {
        let filter = RunFilter { machine: machine.id, status, beyond: before, oldest_first: false };
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

/// Failures that nobody has resolved, or that say something, the newest first; a cursor is the number
/// of the last one that was looked at: there may be any number of others between two that fit.
fn sifted(tx: &ReadTx, find: &Find) -> Result<Page<ExecutionSummary>, WorkflowError> {
    let machine = machine_of(tx, &find.workflow)?;
    let wanted = |status: &ExecutionStatus| {
        find.status.is_none_or(|asked| asked == *status) && (!find.unresolved || is_failed(*status))
    };
    let (batch, most) = match find.error {
        Some(_) => (500, FAILURES_LOOKED_THROUGH_MAX),
        None => ((find.limit + 1).clamp(50, 500), LOOKED_THROUGH_MAX),
    };
    let (mut before, mut seen, mut items) = (number_of(find.cursor.as_deref())?, 0, Vec::new());
    loop {
        // Each with whether it is out of the question.
        let mut ends: Vec<(u64, bool)> = Vec::new();
        for status in WITH_ERRORS.into_iter().filter(wanted) {
            match &find.error {
                Some(text) => {
                    let said = tx.failures_saying(machine.id, status, text, before, batch)?;
                    ends.extend(said.into_iter().map(|(id, says)| (id, !says)));
                }
                None => ends.extend(tx.resolutions_of_machine(machine.id, status, before, batch)?),
            }
        }
        let last_batch = ends.len() < batch;
        ends.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        // Beyond the length of a batch one state's may be missing between the other's.
        for (id, is_out) in ends.into_iter().take(batch) {
            let row = if is_out { None } else { tx.execution(id)? };
            let row = row.filter(|row| row.kind == ExecutionKind::Standard);
            if let Some(row) = row
                && !(find.unresolved && find.error.is_some() && is_resolved(tx, &row)?)
            {
                if items.len() == find.limit {
                    return Ok(Page { items, next_token: Some(before.to_string()) });
                }
                items.push(summary(tx, &machine.name, &row)?);
            }
            (before, seen) = (id, seen + 1);
        }
        if last_batch {
            return Ok(Page { items, next_token: None });
        }
        if seen >= most {
            return Ok(Page { items, next_token: Some(before.to_string()) });
        }
    }
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
                && (!find.unresolved || (is_failed(row.status) && !is_resolved(tx, &row)?))
                && find.error.as_deref().map_or(Ok(true), |text| says(&row, text))?;
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
        if seen >= LOOKED_THROUGH_MAX {
            return Ok(Page { items, next_token: after });
        }
    }
}

/// Whether an execution's error or cause has a text in it, as the store looks for it.
fn says(row: &ExecutionRow, text: &str) -> Result<bool, WorkflowError> {
    let facts: Facts = serde_json::from_str(&row.body)?;
    let text = text.to_ascii_lowercase();
    let said = [facts.error, facts.cause].into_iter().flatten();
    Ok(said.into_iter().any(|said| said.to_ascii_lowercase().contains(&text)))
}

/// An event as it is shown; of its long texts no more is read than that.
fn event_of(
    tx: &ReadTx,
    execution: u64,
    event: &HistoryEvent,
    chars: usize,
) -> Result<ExecutionEvent, WorkflowError> {
    let d = &event.details;
    let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let shown = |text: Option<&Arc<str>>| -> Result<Option<EventText>, WorkflowError> {
        let Some(kept) = text else { return Ok(None) };
        let (text, bytes) = kept_beginning(tx, execution, kept, chars)?;
        Ok(Some(EventText { cut: (text.len() as u64) < bytes, bytes, text }))
    };
    Ok(ExecutionEvent {
        id: event.id,
        previous: event.previous_event_id,
        at: event.timestamp,
        kind: event.kind.name().to_owned(),
        state: owned(&d.name).or_else(|| owned(&d.state)),
        index: d.index,
        resource: owned(&d.resource),
        worker: owned(&d.worker_name),
        map_run: owned(&d.map_run_arn),
        input: shown(d.input.as_ref().or(d.parameters.as_ref()))?,
        output: shown(d.output.as_ref())?,
        // Errors are kept whole, whatever they begin with.
        error: d.error.as_deref().map(|whole| cut(whole, chars)),
        cause: shown(d.cause.as_ref())?,
        log: None,
    })
}

/// The beginning of a text that is here whole.
fn cut(whole: &str, chars: usize) -> EventText {
    let text: String = whole.chars().take(chars).collect();
    EventText { cut: text.len() < whole.len(), bytes: whole.len() as u64, text }
}

#[cfg(test)]
mod tests {
    use ark_states::history::{Details, EventType};
    use ark_store::{Store, WriteTx};
    use jiff::Timestamp;

    use super::super::facts::keep_text;
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn insert(tx: &mut WriteTx, machine: u64, status: ExecutionStatus) -> u64 {
        let row = ExecutionRow {
            id: 0,
            machine,
            revision: 1,
            name: format!("n-{}", tx.last_execution_id().expect("a number") + 1),
            kind: ExecutionKind::Standard,
            status,
            started_at: NOW,
            stopped_at: status.is_ended().then_some(NOW),
            map_run: None,
            rev: 1,
            events: 0,
            body: serde_json::to_string(&Facts::default()).expect("JSON"),
            state: None,
        };
        tx.insert_execution(&row).expect("a row")
    }

    #[tokio::test]
    async fn what_is_not_resolved_is_looked_for_page_by_page() {
        let store = Store::inline_in_memory(NOW).expect("a store");
        let all = 2 * LOOKED_THROUGH_MAX as u64 - 9;
        let done = store.write(move |tx| {
            let machine = tx.insert_machine("m", "us-east-1", MachineType::Standard, NOW)?;
            for n in 1..=all {
                let status = FAILED[usize::from(n % 3 == 0)];
                let id = insert(tx, machine, status);
                if ![2, 3, 4, all].contains(&id) {
                    tx.resolve_workflow(id, NOW, "somebody")?;
                }
            }
            insert(tx, machine, ExecutionStatus::Running);
            Ok::<_, WorkflowError>(())
        });
        done.await.expect("rows");
        let pages = async |limit: usize, status: Option<ExecutionStatus>| {
            let (mut pages, mut cursor) = (Vec::new(), None);
            loop {
                let workflow = "m".to_owned();
                let find =
                    Find { workflow, status, unresolved: true, cursor, limit, ..Find::default() };
                let page = store.read(move |tx| sifted(tx, &find)).await.expect("a page");
                let names = page.items.into_iter().map(|item| item.name);
                pages.push(names.collect::<Vec<_>>().join(" "));
                cursor = page.next_token;
                if cursor.is_none() {
                    return pages;
                }
            }
        };
        let newest = format!("n-{all}");
        let three = "n-4 n-3 n-2";
        // A page ends where it has looked far enough, also with less than was wanted.
        assert_eq!(pages(50, None).await, [newest.as_str(), three]);
        assert_eq!(pages(3, None).await, [newest.as_str(), three]);
        assert_eq!(pages(1, None).await, [newest.as_str(), "n-4", "n-3", "n-2"]);
        assert_eq!(pages(2, None).await, [newest.as_str(), "n-4 n-3", "n-2"]);
        assert_eq!(pages(50, Some(ExecutionStatus::TimedOut)).await, ["n-3"]);
        assert_eq!(pages(50, Some(ExecutionStatus::Running)).await, [""]);
        let resolved = store.write(move |tx| tx.resolve_workflow(all, NOW, "somebody"));
        resolved.await.expect("resolved");
        assert_eq!(pages(50, None).await, ["", three]);
    }

    #[tokio::test]
    async fn what_failed_is_found_by_what_it_says() {
        let store = Store::inline_in_memory(NOW).expect("a store");
        let all = FAILURES_LOOKED_THROUGH_MAX as u64 + 700;
        let done = store.write(move |tx| {
            let machine = tx.insert_machine("m", "us-east-1", MachineType::Standard, NOW)?;
            let said = |n: u64| match n {
                3 => (Some("Db.Refused"), Some("line 1\nconnection REFUSED by \"db\" 100%")),
                5 | 10_600 => (Some("States.Timeout"), None),
                7 => (None, Some("refused_too")),
                _ => (Some("Other"), Some("x")),
            };
            for n in 1..=all {
                let status = WITH_ERRORS[n as usize % 3];
                let id = insert(tx, machine, status);
                let mut row = tx.execution(id)?.expect("a row");
                let (error, cause) = said(n);
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let facts = Facts { error: owned(error), cause: owned(cause), ..Facts::default() };
                row.body = serde_json::to_string(&facts)?;
                tx.put_execution(&mut row)?;
            }
            tx.resolve_workflow(3, NOW, "somebody")?;
            insert(tx, machine, ExecutionStatus::Running);
            Ok::<_, WorkflowError>(())
        });
        done.await.expect("rows");
        let found = async |find: Find| {
            let (mut names, mut pages, mut cursor) = (Vec::new(), 0, None);
            loop {
                let find = Find { workflow: "m".to_owned(), cursor, limit: 50, ..find.clone() };
                let looked = store.read(move |tx| match find.prefix.clone() {
                    Some(prefix) => by_name(tx, &find, &prefix),
                    None => sifted(tx, &find),
                });
                let page = looked.await.expect("a page");
                names.extend(page.items.into_iter().map(|item| item.name));
                (pages, cursor) = (pages + 1, page.next_token);
                if cursor.is_none() {
                    return (names.join(" "), pages);
                }
            }
        };
        let with = |text: &str| Find { error: Some(text.to_owned()), ..Find::default() };
        // The oldest are beyond what one page looks through.
        assert_eq!(found(with("timeout")).await, ("n-10600 n-5".to_owned(), 2));
        assert_eq!(found(with("refused")).await, ("n-7 n-3".to_owned(), 2));
        assert_eq!(found(with("db.refused\nline 1")).await.0, "n-3");
        // What SQL or JSON would read something into is text.
        for (text, names) in
            [("\"db\" 100%", "n-3"), ("refused_", "n-7"), ("%", "n-3"), ("none", "")]
        {
            assert_eq!(found(with(text)).await.0, names, "{text}");
        }
        let open = Find { unresolved: true, ..with("refused") };
        let aborted = Find { status: Some(ExecutionStatus::Aborted), ..with("timeout") };
        let running = Find { status: Some(ExecutionStatus::Running), ..with("timeout") };
        let named = Find { prefix: Some("n-1".to_owned()), ..with("TIMEOUT") };
        for (find, names) in [(open, "n-7"), (aborted, "n-5"), (running, ""), (named, "n-10600")] {
            assert_eq!(found(find.clone()).await.0, names, "{find:?}");
        }
    }

    #[tokio::test]
    async fn no_more_of_a_long_text_is_read_than_is_shown() {
        let store = Store::inline_in_memory(NOW).expect("a store");
        let long = format!("\u{0}{}", "ä".repeat(100_000));
        let kept = long.clone();
        let written = store.write(move |tx| {
            let id = insert(tx, 1, ExecutionStatus::Running);
            let text = keep_text(tx, id, &kept)?;
            let details = Details {
                parameters: Some(text.as_str().into()),
                cause: Some(text.into()),
                output: Some("€€€€".into()),
                error: Some("\u{1}x".into()),
                ..Details::default()
            };
            let kind = EventType::TaskFailed;
            let event = HistoryEvent { id: 1, previous_event_id: 0, timestamp: NOW, kind, details };
            tx.append_history(id, 1, &serde_json::to_string(&[event])?)?;
            Ok::<_, WorkflowError>(id)
        });
        let id = written.await.expect("a history");
        let found = store.read(move |tx| {
            let up = history::up(tx, id, 1, 5)?;
            assert_eq!(history::down(tx, id, 1, 5)?, up);
            let shown = [3, 200_000].map(|chars| event_of(tx, id, &up[0], chars));
            Ok::<_, WorkflowError>((shown, history::whole(tx, id, up.clone())?, up))
        });
        let ([cut, uncut], whole, up) = found.await.expect("events");
        // What is read of a page before it is cut is short.
        assert!(up[0].details.cause.as_ref().is_some_and(|text| text.len() < 100), "{up:?}");
        assert_eq!(whole[0].details.cause.as_deref(), Some(long.as_str()));
        let (cut, uncut) = (cut.expect("an event"), uncut.expect("an event"));
        let bytes = long.len() as u64;
        let begun = EventText { text: "\u{0}ää".to_owned(), bytes, cut: true };
        assert_eq!((cut.input.as_ref(), cut.cause.as_ref()), (Some(&begun), Some(&begun)));
        let output = EventText { text: "€€€".to_owned(), bytes: 12, cut: true };
        assert_eq!(cut.output, Some(output));
        let error = EventText { text: "\u{1}x".to_owned(), bytes: 2, cut: false };
        assert_eq!(cut.error, Some(error));
        assert_eq!(uncut.cause, Some(EventText { text: long, bytes, cut: false }));
    }
}
