//! Redriving map runs: children that did not succeed go on where they failed, within the same execution.
//! Those of which nothing is kept (Express), and those that were never started, begin as in the first
//! try. Which children these are, and when each has its turn, is decided where children are started
//! (`map_runs`), so a crash in the middle of a redrive leaves rows to go on from.

use ark_states::Value;
use ark_states::error::{Failure, names};
use ark_states::machine::{ChildStatus, Event, MapRunEnd, MapRunEvent, MapRunId, MapRunStatus};
use ark_store::{ItemPhase, MapItemRow};

use super::error::WorkflowError;
use super::executions::is_full;
use super::map_runs::Work;
use super::step::Stepper;

/// As at AWS.
const REDRIVES_MAX: u32 = 1_000;

/// What there was of an item's child before it is started.
enum Before {
    /// Nothing, or nothing to go on from.
    Nothing,
    /// An execution that goes on where it failed.
    Redrivable(u64),
    /// One whose history has no room for a redrive.
    Full(u64),
    /// One with map runs of its own whose children are still being aborted.
    Aborting,
}

impl Stepper<'_> {
    pub(super) fn redrive_map_run(
        &mut self,
        execution: u64,
        num: u64,
    ) -> Result<(), WorkflowError> {
        let Some(row) = self.tx.map_run_of(execution, num)? else { return Ok(()) };
        let now = self.now;
        let (unfinished, unfinished_items) = self.tx.map_items_unfinished(row.id)?;
        let is_cleared = self.run(row.id)?.body.work == Work::Clearing;
        let has_items = !is_cleared && !self.tx.map_items_from(row.id, 0, 1)?.is_empty();
        let run = self.run(row.id)?;
        let state = &run.body.state;
        let map_run = MapRunId(num);
        let refusal = |error: &str, cause: &str| Event::MapRunFinished {
            map_run,
            end: MapRunEnd::Failed(Failure::new(error, cause)),
        };
        if state.redrive_count() >= REDRIVES_MAX {
            let cause = "A Map Run can be redriven 1000 times at most";
            self.inbox.push_back((execution, refusal(names::RUNTIME, cause)));
            return Ok(());
        }
        if state.status() == MapRunStatus::Succeeded && state.counts().total > 0 && !has_items {
            // Kept by an earlier version, which forgot the items before the execution had taken the
            // answer. Written again the results would be empty.
            let cause = "The results were written before the redrive";
            self.inbox.push_back((execution, refusal(names::RESULT_WRITER_FAILED, cause)));
            return Ok(());
        }
        run.touched = true;
        run.row.stopped_at = None;
        run.body.redriven_at = Some(now);
        let redrive = MapRunEvent::Redrive { unfinished, unfinished_items };
        self.map_inbox.push_back((row.id, redrive));
        Ok(())
    }

    /// Starts the child of an item, or lets it go on where it failed. Answers whether that could be done
    /// at once.
    pub(super) fn start_item(&mut self, id: u64, item: &MapItemRow) -> Result<bool, WorkflowError> {
        match self.before(item)? {
            Before::Nothing => self.start_anew(id, item)?,
            Before::Redrivable(child) => self.redrive_item(id, item, child)?,
            Before::Full(child) => self.leave_item(id, item, child)?,
            Before::Aborting => return Ok(false),
        }
        Ok(true)
    }

    /// What there was of an item's child.
    fn before(&mut self, item: &MapItemRow) -> Result<Before, WorkflowError> {
        let Some(child) = item.execution else { return Ok(Before::Nothing) };
        let l = match self.load(child) {
            Ok(Some(l)) => l,
            Ok(None) => return Ok(Before::Nothing),
            Err(error) if error.is_everybodys() => return Err(error),
            // Its siblings are not to wait for it.
            Err(error) => {
                tracing::error!(
                    execution = child,
                    error = &error as &dyn std::error::Error,
                    "a child of a map run cannot be read: it begins anew instead of being redriven"
                );
                return Ok(Before::Nothing);
            }
        };
        if is_full(l.events_to_be()) {
            return Ok(Before::Full(child));
        }
        let row = l.row_to_be();
        // Express children keep no state, nor does what a defect ended.
        if row.state.is_none() || !l.state.is_redrivable() {
            return Ok(Before::Nothing);
        }
        let map_runs = l.facts.map_runs;
        if map_runs && self.aborts_children(child)? {
            return Ok(Before::Aborting);
        }
        Ok(Before::Redrivable(child))
    }

    /// The child of an item goes on where it failed.
    fn redrive_item(
        &mut self,
        id: u64,
        item: &MapItemRow,
        child: u64,
    ) -> Result<(), WorkflowError> {
        self.waits_no_more(id, item)?;
        let now = self.now;
        if let Some(l) = self.load(child)? {
            l.facts.goes_on(now, None);
        }
        self.tx.set_map_item(id, item.index, ItemPhase::Running, Some(child), None)?;
        self.inbox.push_back((child, Event::Redrive));
        Ok(())
    }

    /// The child of an item cannot go on: it counts as it ended.
    fn leave_item(&mut self, id: u64, item: &MapItemRow, child: u64) -> Result<(), WorkflowError> {
        let (status, items) = (self.waits_no_more(id, item)?, item.items);
        let result = item.result.as_deref();
        self.tx.set_map_item(id, item.index, ItemPhase::Failed, Some(child), result)?;
        self.map_inbox.push_back((id, MapRunEvent::ChildEnded { status, items }));
        Ok(())
    }

    /// The child of an item waits for its redrive no more, if it did. Answers how it had ended.
    pub(super) fn waits_no_more(
        &mut self,
        id: u64,
        item: &MapItemRow,
    ) -> Result<ChildStatus, WorkflowError> {
        let status = ended_as(item);
        if item.execution.is_some() {
            let run = self.run(id)?;
            run.touched = true;
            run.body.state.redriven(status, item.items);
        }
        Ok(status)
    }
}

/// How the child of an item ended that did not succeed. One that was aborted with its run says nothing.
fn ended_as(item: &MapItemRow) -> ChildStatus {
    let told = item.result.as_deref().and_then(|result| Value::parse(result).ok());
    match told.as_ref().and_then(|told| told.get("Status")).and_then(Value::as_str) {
        Some("FAILED") => ChildStatus::Failed,
        Some("TIMED_OUT") => ChildStatus::TimedOut,
        _ => ChildStatus::Aborted,
    }
}
