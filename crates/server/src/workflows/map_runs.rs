//! Map Runs: begun, read, ended, stopped. How many children run and when it ends is decided by
//! `ark_states::machine::MapRunState`; here that meets rows. Its children are started and counted by `map_children`.
//! Reading items and writing results wait for files, so they are done by `map_files` outside of any transaction.

use ark_states::error::{Failure, names};
use ark_states::machine::{
    Event, MapItems, MapRunEffect, MapRunEnd, MapRunEvent, MapRunId, MapRunRequest, MapRunState,
    MapRunStatus,
};
use ark_states::{Document, Value, limits};
use ark_store::{ItemPhase, MapItemRow, MapRunRow, WriteTx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::arn::{Arn, Resource};
use super::error::WorkflowError;
use super::map_files::text;
use super::map_results::{Written, entries, is_told, told};
use super::step::{Loaded, Stepper};

/// Items forgotten in one transaction: a few milliseconds.
pub(super) const CLEARED_AT_ONCE: usize = 1_000;
/// Items looked at in one go when results are gathered.
const GATHER_PAGE: usize = 500;

/// What the runtime has to do for a map run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Read the items.
    Reading,
    /// Start children as the state says.
    Running,
    /// Abort children that still run.
    Aborting,
    /// Write the results.
    Writing,
    /// Forget the items, which nobody asks for any more.
    Clearing,
    /// Nothing more. Items are kept for a redrive, until the execution has taken the answer.
    Ended,
}

/// Where a map run stands: the `body` of its row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MapBody {
    pub(super) state: MapRunState,
    pub(super) work: Work,
    /// Children that may be started and are not yet.
    pub(super) to_start: u64,
    pub(super) label: String,
    /// Children whose results were written, and the items they worked on.
    #[serde(default)]
    pub(super) results_written: u64,
    #[serde(default)]
    pub(super) items_written: u64,
    #[serde(default)]
    pub(super) redriven_at: Option<Timestamp>,
    /// Children that did not succeed and whose histories have no room for a redrive, and their items.
    #[serde(default)]
    pub(super) not_redrivable: u64,
    #[serde(default)]
    pub(super) items_not_redrivable: u64,
}

/// A map run in hand.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) row: MapRunRow,
    pub(super) body: MapBody,
    pub(super) touched: bool,
    /// What is to be started next waits for work of its own to be aborted.
    pub(super) held: bool,
}

impl Run {
    /// The number of the reading under way, if one is: a redrive begins another.
    pub(super) fn reading(&self) -> Option<u32> {
        (self.body.work == Work::Reading).then(|| self.body.state.redrive_count())
    }

    /// Writes it, if anything changed.
    pub(super) fn write(mut self, tx: &mut WriteTx) -> Result<(), WorkflowError> {
        if !self.touched {
            return Ok(());
        }
        self.row.busy = match self.body.work {
            Work::Reading | Work::Aborting | Work::Writing | Work::Clearing => true,
            Work::Running => self.body.to_start > 0,
            Work::Ended => false,
        };
        self.row.body = json(&self.body)?;
        Ok(tx.put_map_run(&self.row)?)
    }
}

fn json(value: &impl Serialize) -> Result<String, WorkflowError> {
    serde_json::to_string(value).map_err(|e| WorkflowError::Internal(format!("a map run: {e}")))
}

/// What was asked for.
pub(super) fn request_of(row: &MapRunRow) -> Result<MapRunRequest, WorkflowError> {
    serde_json::from_str(&row.request)
        .map_err(|e| WorkflowError::Internal(format!("map run {}: {e}", row.id)))
}

/// Where it stands.
pub(super) fn body_of(row: &MapRunRow) -> Result<MapBody, WorkflowError> {
    serde_json::from_str(&row.body)
        .map_err(|e| WorkflowError::Internal(format!("map run {}: {e}", row.id)))
}

impl Stepper<'_> {
    /// The map run, from hand or from the store.
    pub(super) fn run(&mut self, id: u64) -> Result<&mut Run, WorkflowError> {
        if !self.runs.contains_key(&id) {
            let gone = || WorkflowError::Internal(format!("map run {id} is gone"));
            let row = self.tx.map_run(id)?.ok_or_else(gone)?;
            let body = body_of(&row)?;
            self.runs.insert(id, Run { row, body, touched: false, held: false });
        }
        let run = self.runs.get_mut(&id);
        run.ok_or_else(|| WorkflowError::Internal(format!("map run {id} is gone")))
    }

    pub(super) fn start_map_run(
        &mut self,
        execution: u64,
        mut request: MapRunRequest,
    ) -> Result<(), WorkflowError> {
        let (label, uuid) = match Arn::parse(&request.arn) {
            Ok(Arn { resource: Resource::MapRun { label, uuid, .. }, .. }) => (label, uuid),
            Ok(_) | Err(_) => (String::new(), request.arn.to_string()),
        };
        let state = MapRunState::new(&request);
        let num = request.map_run.0;
        let inputs = match &mut request.items {
            MapItems::Inputs(inputs) => Some(std::mem::take(inputs)),
            MapItems::Reader(..) => None,
        };
        let work = if inputs.is_some() { Work::Running } else { Work::Reading };
        let body = MapBody {
            state,
            work,
            to_start: 0,
            label,
            results_written: 0,
            items_written: 0,
            redriven_at: None,
            not_redrivable: 0,
            items_not_redrivable: 0,
        };
        let mut row = MapRunRow {
            id: 0,
            execution,
            num,
            uuid,
            started_at: self.now,
            stopped_at: None,
            busy: work == Work::Reading,
            request: json(&request)?,
            body: json(&body)?,
        };
        row.id = self.tx.insert_map_run(&row)?;
        let id = row.id;
        self.runs.insert(id, Run { row, body, touched: true, held: false });
        if let Some(l) = self.load(execution)? {
            l.facts.map_runs = true;
        }
        match inputs {
            Some(inputs) => {
                let (mut children, mut items) = (0, 0);
                for input in &inputs {
                    let of_child = request.items_in(input);
                    self.tx.insert_map_item(id, children, input.text(), of_child)?;
                    children += 1;
                    items += of_child;
                }
                let ready = MapRunEvent::ItemsReady { children, items, last: true };
                self.map_inbox.push_back((id, ready));
            }
            None => self.told.objects = true,
        }
        Ok(())
    }

    pub(super) fn stop_map_run(&mut self, execution: u64, num: u64) -> Result<(), WorkflowError> {
        if let Some(row) = self.tx.map_run_of(execution, num)? {
            self.map_inbox.push_back((row.id, MapRunEvent::Stop));
        }
        Ok(())
    }

    /// Stops all map runs of an execution that has ended.
    pub(super) fn stop_map_runs(&mut self, execution: u64) -> Result<(), WorkflowError> {
        // An execution has as many as its history can hold; only those not ended take the event.
        for row in self.tx.map_runs_of(execution, u64::MAX, ark_store::PAGE_MAX)? {
            if row.stopped_at.is_none() {
                self.map_inbox.push_back((row.id, MapRunEvent::Stop));
            }
        }
        Ok(())
    }

    /// Whether children of an execution's map runs are still to be aborted.
    pub(super) fn aborts_children(&mut self, execution: u64) -> Result<bool, WorkflowError> {
        for row in self.tx.map_runs_of(execution, u64::MAX, ark_store::PAGE_MAX)? {
            if row.busy && self.run(row.id)?.body.work == Work::Aborting {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a map run take an event.
    pub(super) fn take_map(&mut self, id: u64, event: MapRunEvent) -> Result<(), WorkflowError> {
        let now = self.now;
        let run = self.run(id)?;
        run.touched = true;
        let effects = run.body.state.next(event);
        let (execution, map_run) = (run.row.execution, MapRunId(run.row.num));
        for effect in effects {
            match effect {
                // Whoever reads them forgets first what was read before.
                MapRunEffect::ReadItems => {
                    self.run(id)?.body.work = Work::Reading;
                    self.told.objects = true;
                }
                MapRunEffect::ResetChildren => {
                    self.tx.move_map_items(id, ItemPhase::Failed, ItemPhase::Pending)?;
                    self.tx.move_map_items(id, ItemPhase::Running, ItemPhase::Pending)?;
                    let run = self.run(id)?;
                    run.body.work = Work::Running;
                    run.body.to_start = 0;
                }
                MapRunEffect::StartChildren(children) => self.run(id)?.body.to_start += children,
                MapRunEffect::AbortChildren => {
                    let items = self.tx.map_items_in(id, ItemPhase::Pending)?;
                    let run = self.run(id)?;
                    run.body.work = Work::Aborting;
                    let children = std::mem::take(&mut run.body.to_start);
                    run.body.state.not_begun(children, items);
                    self.shared.hub.driver.notify_one();
                }
                MapRunEffect::Fail(failure) => {
                    let end = MapRunEnd::Failed(failure);
                    self.inbox.push_back((execution, Event::MapRunFinished { map_run, end }));
                }
                MapRunEffect::Complete => self.complete_map_run(id)?,
            }
        }
        let run = self.run(id)?;
        if run.body.state.status() != MapRunStatus::Running && run.row.stopped_at.is_none() {
            run.row.stopped_at = Some(now);
            match run.body.work {
                Work::Running => run.body.work = Work::Ended,
                // A redrive reads them anew.
                Work::Reading => {
                    run.body.work = Work::Clearing;
                    self.shared.hub.driver.notify_one();
                }
                Work::Aborting | Work::Writing | Work::Clearing | Work::Ended => {}
            }
        }
        Ok(())
    }

    /// All children are done: the results go to the writer, or to the Map state.
    fn complete_map_run(&mut self, id: u64) -> Result<(), WorkflowError> {
        let run = self.run(id)?;
        let request = request_of(&run.row)?;
        if request.writer.as_ref().is_some_and(|w| w.resource.is_some()) {
            run.body.work = Work::Writing;
            self.told.objects = true;
            return Ok(());
        }
        let transformation =
            request.writer.map(|writer| match text(&writer.config, "Transformation") {
                "" => "COMPACT".to_owned(),
                named => named.to_owned(),
            });
        let outcome = self.gather(id, transformation.as_deref())?;
        self.completed(id, outcome)
    }

    /// The results of a map run are there, or will not be: it ends, and its Map state is told.
    fn completed(
        &mut self,
        id: u64,
        outcome: Result<Document, Failure>,
    ) -> Result<(), WorkflowError> {
        let run = self.run(id)?;
        run.touched = true;
        run.body.work = Work::Ended;
        let (execution, map_run) = (run.row.execution, MapRunId(run.row.num));
        let event = match outcome {
            Ok(output) => {
                let end = MapRunEnd::Succeeded(output);
                self.inbox.push_back((execution, Event::MapRunFinished { map_run, end }));
                MapRunEvent::Completed
            }
            Err(failure) => MapRunEvent::CompletionFailed(failure),
        };
        self.map_inbox.push_back((id, event));
        Ok(())
    }

    /// An execution has taken an event. If that was the answer of a map run, nobody asks for its items any
    /// more. An execution that ended before it could take the answer asks again when it is redriven.
    pub(super) fn has_taken(&mut self, execution: u64, event: &Event) -> Result<(), WorkflowError> {
        let Event::MapRunFinished { map_run, end: MapRunEnd::Succeeded(_) } = event else {
            return Ok(());
        };
        let Some(row) = self.tx.map_run_of(execution, map_run.0)? else { return Ok(()) };
        let run = self.run(row.id)?;
        if run.body.work == Work::Ended {
            run.body.work = Work::Clearing;
            run.touched = true;
            self.shared.hub.driver.notify_one();
        }
        Ok(())
    }

    /// The results of the children that succeeded, in order; with a transformation those of all, as a
    /// writer would write them. Stops once they are larger than any result may be; the interpreter
    /// refuses them then. Results that are as deep as any may be are too deep together.
    fn gather(
        &mut self,
        id: u64,
        transformation: Option<&str>,
    ) -> Result<Result<Document, Failure>, WorkflowError> {
        let mut gathered = String::from("[");
        let mut from = 0;
        'pages: loop {
            let page = self.tx.map_items_from(id, from, GATHER_PAGE)?;
            let Some(last) = page.last() else { break };
            from = last.index + 1;
            for item in &page {
                for result in self.gathered(item, transformation)? {
                    if gathered.len() > 1 {
                        gathered.push(',');
                    }
                    gathered.push_str(&result);
                }
                if gathered.len() > limits::PAYLOAD_BYTES_MAX + 1 {
                    break 'pages;
                }
            }
        }
        gathered.push(']');
        Ok(Document::parse(&gathered).map_err(|error| {
            let cause = format!("The results of the Map Run cannot be an array: {error}");
            Failure::new(names::DATA_LIMIT_EXCEEDED, cause)
        }))
    }

    /// What one child gives to the results.
    fn gathered(
        &mut self,
        item: &MapItemRow,
        transformation: Option<&str>,
    ) -> Result<Vec<String>, WorkflowError> {
        let kind = match (transformation, item.phase, &item.result) {
            (_, ItemPhase::Pending | ItemPhase::Running, _) | (None, ItemPhase::Failed, _) => {
                return Ok(Vec::new());
            }
            (None | Some("COMPACT"), ItemPhase::Succeeded, Some(result)) => {
                return Ok(vec![result.clone()]);
            }
            (kind, _, _) => kind.unwrap_or("COMPACT"),
        };
        let now = self.now;
        let told = match item.execution.filter(|_| is_told(item.phase, kind)) {
            Some(child) => {
                let told_of = |l: &mut Loaded| told(&l.program, &l.row_to_be(), &l.facts, now);
                self.load(child)?.map(told_of).unwrap_or_default()
            }
            None => Vec::new(),
        };
        Ok(entries(item, told, kind).iter().map(Value::to_json).collect())
    }

    /// Forgets some of the items of a map run. Answers whether there are more.
    pub(super) fn clear_items(&mut self, id: u64) -> Result<bool, WorkflowError> {
        let more = self.tx.delete_map_items(id, CLEARED_AT_ONCE)? == CLEARED_AT_ONCE;
        if !more {
            let run = self.run(id)?;
            run.touched = true;
            run.body.work = Work::Ended;
        }
        Ok(more)
    }

    /// The results of a map run were written, or could not be.
    pub(super) fn results_written(
        &mut self,
        id: u64,
        outcome: Result<(Document, Written), Failure>,
    ) -> Result<(), WorkflowError> {
        let run = self.run(id)?;
        if run.body.work != Work::Writing {
            return Ok(());
        }
        let outcome = outcome.map(|(answer, written)| {
            run.body.results_written = written.children;
            run.body.items_written = written.items;
            answer
        });
        self.completed(id, outcome)?;
        self.drain()
    }

    /// Items were read: the next inputs, with the number of items in each, and whether they are the last. Answers whether the run still
    /// wanted them: after a redrive another reading has begun, and `reading` is no longer its count.
    pub(super) fn items_read(
        &mut self,
        id: u64,
        reading: u32,
        first: u64,
        inputs: &[(Document, u64)],
        last: bool,
    ) -> Result<bool, WorkflowError> {
        if self.run(id)?.reading() != Some(reading) {
            return Ok(false);
        }
        let mut index = first;
        for (input, items) in inputs {
            self.tx.insert_map_item(id, index, input.text(), *items)?;
            index += 1;
        }
        if last {
            let run = self.run(id)?;
            run.touched = true;
            run.body.work = Work::Running;
            let (children, items) = (index, self.tx.map_items_count(id)?);
            let ready = MapRunEvent::ItemsReady { children, items, last: true };
            self.map_inbox.push_back((id, ready));
        }
        self.drain()?;
        Ok(true)
    }
}
