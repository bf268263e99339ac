//! Children of Map Runs: started, counted at their end, and aborted. What a run is, and when it ends, stands in
//! `map_runs`; which child goes on in place at a redrive in `map_redrives`.

use std::sync::atomic::Ordering;

use ark_model::workflow::ExecutionStatus;
use ark_states::Value;
use ark_states::error::Failure;
use ark_states::machine::{ChildStatus, Event, MapRunEvent};
use ark_store::{ItemPhase, MapItemRow};

use super::error::WorkflowError;
use super::executions::is_full;
use super::facts::{Parent, kept_text};
use super::map_runs::{Work, request_of};
use super::step::{StartSpec, Stepper, kind_of_child};
use super::types::StartTarget;

/// Children aborted in one transaction.
const ABORTS_MAX: usize = 100;

impl Stepper<'_> {
    /// Starts children of map runs in hand, as many as this transaction may. Answers whether
    /// anything was started.
    pub(super) fn start_children(&mut self) -> Result<bool, WorkflowError> {
        if self.shared.full.load(Ordering::Relaxed) {
            // They are started once there is room: the driver looks each second.
            return Ok(false);
        }
        let mut started = false;
        let ids: Vec<u64> = self.runs.keys().copied().collect();
        for id in ids {
            let run = self.run(id)?;
            if run.body.work != Work::Running || run.body.to_start == 0 {
                continue;
            }
            let wanted = run.body.to_start;
            let most = wanted.min(u64::from(self.starts_left));
            if most == 0 {
                self.shared.hub.driver.notify_one();
                continue;
            }
            let limit = usize::try_from(most).unwrap_or(usize::MAX);
            let items = self.tx.map_items(id, ItemPhase::Pending, limit)?;
            if items.is_empty() {
                self.run(id)?.body.to_start = 0;
                continue;
            }
            let mut held = true;
            for item in items {
                if !self.start_item(id, &item)? {
                    continue;
                }
                self.starts_left = self.starts_left.saturating_sub(1);
                let run = self.run(id)?;
                run.touched = true;
                run.body.to_start = run.body.to_start.saturating_sub(1);
                (started, held) = (true, false);
            }
            self.run(id)?.held = held;
        }
        Ok(started)
    }

    /// Starts the child of an item from its first state.
    pub(super) fn start_anew(&mut self, id: u64, item: &MapItemRow) -> Result<(), WorkflowError> {
        self.waits_no_more(id, item)?;
        let index = item.index;
        let run = self.run(id)?;
        let (execution, label) = (run.row.execution, run.body.label.clone());
        let request = request_of(&run.row)?;
        let gone = || WorkflowError::Internal(format!("execution {execution} is gone"));
        let parent = self.load(execution)?.ok_or_else(gone)?;
        let target = StartTarget {
            machine: parent.row.machine,
            name: parent.program.name.clone(),
            region: parent.program.region.clone(),
            machine_type: parent.program.machine_type,
            revision: parent.row.revision,
            version_arn: parent.facts.version_arn.clone(),
            alias_arn: parent.facts.alias_arn.clone(),
        };
        let spec = StartSpec {
            target,
            kind: kind_of_child(request.express),
            name: None,
            input: item.input.as_str().into(),
            trace_header: None,
            priority: parent.facts.priority,
            namespace: parent.facts.namespace.clone(),
            parent: Some(Parent::Item {
                map_run: id,
                index,
                scope: request.processor.0,
                label,
                express: request.express,
                items: item.items,
            }),
        };
        let child = self.begin(spec)?;
        self.tx.set_map_item(id, index, ItemPhase::Running, Some(child.id), None)?;
        self.inbox.push_back((child.id, Event::Start));
        Ok(())
    }

    /// A child has ended.
    pub(super) fn child_ended(
        &mut self,
        child: u64,
        map_run: u64,
        index: u64,
    ) -> Result<(), WorkflowError> {
        let gone = || WorkflowError::Internal(format!("execution {child} is gone at its end"));
        let l = self.load(child)?.ok_or_else(gone)?;
        let is_full = is_full(l.events_to_be());
        let status = match l.row.status {
            ExecutionStatus::Succeeded => ChildStatus::Succeeded,
            ExecutionStatus::TimedOut => ChildStatus::TimedOut,
            ExecutionStatus::Aborted => ChildStatus::Aborted,
            ExecutionStatus::Failed
            | ExecutionStatus::Running
            | ExecutionStatus::PendingRedrive => ChildStatus::Failed,
        };
        let (output, error, cause) =
            (l.facts.output.clone(), l.facts.error.clone(), l.facts.cause.clone());
        let (phase, result) = match output {
            Some(kept) => (ItemPhase::Succeeded, kept_text(self.tx, child, &kept)?),
            None => {
                let text = |t: Option<String>| t.map_or(Value::Null, Value::from);
                let failure = Value::object([
                    ("Error", text(error)),
                    ("Cause", text(cause)),
                    (
                        "Status",
                        Value::from(match status {
                            ChildStatus::TimedOut => "TIMED_OUT",
                            ChildStatus::Aborted => "ABORTED",
                            ChildStatus::Failed | ChildStatus::Succeeded => "FAILED",
                        }),
                    ),
                ]);
                (ItemPhase::Failed, failure.to_json())
            }
        };
        // A child that was started anew, or a run that is gone, has nothing to tell.
        let item = self.tx.map_item(map_run, index)?;
        let Some(item) = item.filter(|item| item.execution == Some(child)) else { return Ok(()) };
        self.tx.set_map_item(map_run, index, phase, Some(child), Some(&result))?;
        if is_full && phase == ItemPhase::Failed {
            let run = self.run(map_run)?;
            run.touched = true;
            run.body.not_redrivable += 1;
            run.body.items_not_redrivable += item.items;
        }
        self.map_inbox.push_back((map_run, MapRunEvent::ChildEnded { status, items: item.items }));
        Ok(())
    }

    /// Aborts some of the children that a map run wants aborted. Answers whether there is more to do
    /// at once.
    pub(super) fn abort_children(&mut self, id: u64) -> Result<bool, WorkflowError> {
        let running = self.tx.map_items(id, ItemPhase::Running, ABORTS_MAX)?;
        let stopped_some = !running.is_empty();
        for item in running {
            if let Some(child) = item.execution {
                self.apply(child, &Event::Stop { failure: Failure { error: None, cause: None } })?;
            }
            self.tx.set_map_item(id, item.index, ItemPhase::Failed, item.execution, None)?;
        }
        // The stop of a costly child waits in its inbox, and map runs of children abort theirs by and
        // by. Until all is quiet a redrive would start them again beside themselves.
        if !stopped_some && !self.tx.map_run_has_life(id)? {
            let run = self.run(id)?;
            run.touched = true;
            run.body.work = Work::Ended;
        }
        Ok(stopped_some)
    }
}
