//! Starting executions, looking at one, and steering it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_states::error::Failure;
use ark_states::machine::Event;
use ark_states::{Value, limits};
use ark_store::{ExecutionKind, ExecutionRow, MapRunRow, ReadTx};
use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};

use super::Workflows;
use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::facts::{Facts, Parent, kept_text};
use super::map_runs::body_of;
use super::program::Programs;
use super::step::{EXPRESS_MAX, StartSpec, after, kind_of};
use super::types::{Ended, ExecutionView, Redrivable, StartExecution, Started};
use super::versions::resolve;

/// How long an execution may be redriven after its end.
const REDRIVE_MAX: SignedDuration = SignedDuration::from_hours(24 * 14);
const TOO_OLD: &str = "Execution redrivable period exceeded";
/// Of the children of a map run that tolerates their failures.
pub(super) const COMPLETED: &str = "Map Run was completed without the result of this execution";
/// A history that is this long leaves no room for a redrive.
const REDRIVE_EVENTS_MAX: u64 = limits::HISTORY_EVENTS_MAX - 1;
/// Somebody who waits for an end looks again after this long, should a hint be lost.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

fn missing(arn: &str) -> WorkflowError {
    Refusal::ExecutionDoesNotExist.with(format!("Execution Does Not Exist: '{arn}'"))
}

/// The row of an execution of a Standard machine.
pub(super) fn find(tx: &ReadTx, text: &str) -> Result<ExecutionRow, WorkflowError> {
    let arn = Arn::parse(text)?;
    // The label says nothing more: names of children are unique within their machine.
    let Resource::Execution { machine, label: _, name } = &arn.resource else {
        return Err(arn.wrong_kind());
    };
    tx.execution_by_names(machine, name)?.ok_or_else(|| missing(text))
}

/// Map runs of the children that are looked at, read once for all of them.
pub(super) type RunsSeen = BTreeMap<u64, Option<RunSeen>>;

/// What the children of a map run ask of it.
pub(super) struct RunSeen {
    uuid: String,
    /// Why it redrives no child any more, if so.
    never_again: Option<String>,
}

impl RunSeen {
    fn read(tx: &ReadTx, id: u64, now: Timestamp) -> Result<Option<Self>, WorkflowError> {
        let Some(run) = tx.map_run(id)? else { return Ok(None) };
        let never_again = never_again(tx, &run, now)?;
        Ok(Some(Self { uuid: run.uuid, never_again }))
    }
}

/// Why a map run redrives no child any more, if so.
fn never_again(
    tx: &ReadTx,
    run: &MapRunRow,
    now: Timestamp,
) -> Result<Option<String>, WorkflowError> {
    // What cannot be read says nothing against it; who redrives it will say so.
    if body_of(run).is_ok_and(|body| body.state.is_all_done()) {
        return Ok(Some(COMPLETED.to_owned()));
    }
    // Its children may have ended long before it, with which they are redriven.
    if run.stopped_at.is_some_and(|at| after(at, REDRIVE_MAX) < now) {
        return Ok(Some(TOO_OLD.to_owned()));
    }
    let parent = tx.execution(run.execution)?.filter(|parent| parent.status.is_ended());
    let Some(parent) = parent else { return Ok(None) };
    let Ok(facts) = serde_json::from_str::<Facts>(&parent.body) else { return Ok(None) };
    match redrivable(&parent, &facts, now) {
        Redrivable::Yes => Ok(None),
        Redrivable::No(why) => Ok(Some(format!("Parent execution cannot be redriven: {why}"))),
        Redrivable::ByMapRun => match parent.map_run.map(|id| tx.map_run(id)).transpose()? {
            Some(Some(run)) => never_again(tx, &run, now),
            Some(None) | None => Ok(None),
        },
    }
}

/// An execution as it is described.
pub(super) fn view(
    tx: &ReadTx,
    programs: &Programs,
    row: &ExecutionRow,
    now: Timestamp,
    runs: &mut RunsSeen,
) -> Result<ExecutionView, WorkflowError> {
    let facts: Facts = serde_json::from_str(&row.body)
        .map_err(|e| WorkflowError::Internal(format!("the facts of execution {}: {e}", row.id)))?;
    let program = programs.get(tx, row.revision)?;
    let output = facts.output.as_deref().map(|text| kept_text(tx, row.id, text)).transpose()?;
    let mut redrivable = redrivable(row, &facts, now);
    let map_run_arn = match (&facts.parent, row.map_run) {
        (Some(Parent::Item { label, .. }), Some(id)) => {
            let run = match runs.entry(id) {
                Entry::Occupied(seen) => seen.into_mut(),
                Entry::Vacant(place) => place.insert(RunSeen::read(tx, id, now)?),
            };
            run.as_ref().map(|run| {
                if let (Redrivable::ByMapRun, Some(why)) = (&redrivable, &run.never_again) {
                    redrivable = Redrivable::No(why.clone());
                }
                let (machine, label, uuid) =
                    (program.name.clone(), label.clone(), run.uuid.clone());
                let resource = Resource::MapRun { machine, label, uuid };
                Arn::new(&program.region, resource).to_string()
            })
        }
        _ => None,
    };
    let item_count = match &facts.parent {
        Some(Parent::Item { items, .. }) => Some(*items),
        Some(Parent::Task { .. }) | None => None,
    };
    Ok(ExecutionView {
        id: row.id,
        arn: program.execution_arn(row, &facts),
        machine_arn: program.machine_arn(&facts),
        revision: row.revision,
        name: row.name.split_once(':').map_or(row.name.clone(), |(name, _)| name.to_owned()),
        status: row.status,
        started_at: row.started_at,
        stopped_at: row.stopped_at,
        input: kept_text(tx, row.id, &facts.input)?,
        output,
        error: facts.error.clone(),
        cause: facts.cause.clone(),
        trace_header: facts.trace_header.clone(),
        version_arn: facts.version_arn.clone(),
        alias_arn: facts.alias_arn.clone(),
        map_run_arn,
        item_count,
        redrive_count: facts.redrive_count,
        redriven_at: facts.redriven_at,
        redrivable,
    })
}

/// Whether a history leaves no room for a redrive.
pub(super) fn is_full(events: u64) -> bool {
    events >= REDRIVE_EVENTS_MAX
}

pub(super) fn redrivable(row: &ExecutionRow, facts: &Facts, now: Timestamp) -> Redrivable {
    let no = |text: &str| Redrivable::No(text.to_owned());
    match (row.status, row.stopped_at) {
        (ExecutionStatus::Running | ExecutionStatus::PendingRedrive, _) => {
            no("Execution is RUNNING and cannot be redriven")
        }
        (ExecutionStatus::Succeeded, _) => no("Execution is SUCCEEDED and cannot be redriven"),
        (_, None) => no("Execution has not ended"),
        (
            ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Aborted,
            Some(at),
        ) => {
            if row.state.is_none() {
                no("Execution cannot be continued from its end")
            } else if is_full(row.events) {
                no("Execution history event limit exceeded")
            } else if matches!(facts.parent, Some(Parent::Item { .. })) {
                Redrivable::ByMapRun
            } else if after(at, REDRIVE_MAX) < now {
                no(TOO_OLD)
            } else {
                Redrivable::Yes
            }
        }
    }
}

/// Judges an execution's input; nothing is begun for one that is refused.
fn judge_input(text: &str) -> Result<(), WorkflowError> {
    let refused = |why: String| {
        Refusal::InvalidExecutionInput
            .with(format!("Invalid State Machine Execution Input: '{why}'"))
    };
    if text.len() > limits::PAYLOAD_BYTES_MAX {
        let most = limits::PAYLOAD_BYTES_MAX;
        return Err(refused(format!(
            "the input has {} bytes, at most {most} are allowed",
            text.len()
        )));
    }
    Value::parse(text).map(|_| ()).map_err(|e| refused(e.to_string()))
}

impl Workflows {
    /// Starts an execution of a Standard or (asynchronously) of an Express machine. Answers once
    /// the start is durable. Standard: the same name with the same input answers the execution that
    /// runs under it already.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidName`, `InvalidExecutionInput` (no JSON, or above 262,144 bytes),
    /// `StateMachineDoesNotExist`, `ExecutionAlreadyExists` (that name with another input, or
    /// ended), `ExecutionLimitExceeded`.
    pub async fn start_execution(&self, start: StartExecution) -> Result<Started, WorkflowError> {
        let spec = self.judge_start(start)?;
        let begun = self
            .transact(move |step| {
                let draw = step.shared.entropy.bits();
                let target = resolve(step.tx, &spec.0, draw)?;
                let kind = kind_of(target.machine_type);
                step.start(spec.1.with(target, kind))
            })
            .await?;
        Ok(Started { execution_arn: begun.arn, started_at: begun.started_at })
    }

    fn judge_start(&self, start: StartExecution) -> Result<(Arn, Wish), WorkflowError> {
        let arn = Arn::parse(&start.machine_arn)?;
        let input = start.input.unwrap_or_else(|| "{}".to_owned());
        judge_input(&input)?;
        if self.shared.hub.is_closing() {
            return Err(WorkflowError::ShuttingDown);
        }
        let wish = Wish {
            name: start.name,
            input,
            trace_header: start.trace_header,
            priority: start.priority,
            namespace: start.namespace,
        };
        Ok((arn, wish))
    }

    /// Runs an execution of an Express machine and waits for its end, at most five minutes.
    ///
    /// # Errors
    /// As [`Self::start_execution`]; `StateMachineTypeNotSupported` for a Standard machine.
    pub async fn start_sync_execution(
        &self,
        start: StartExecution,
    ) -> Result<Ended, WorkflowError> {
        let (arn, wish) = self.judge_start(start)?;
        self.recover().await?;
        let (id, ended) = self
            .transact(move |step| {
                let draw = step.shared.entropy.bits();
                let target = resolve(step.tx, &arn, draw)?;
                if target.machine_type != MachineType::Express {
                    return Err(Refusal::StateMachineTypeNotSupported
                        .with("This operation is not supported by this type of state machine"));
                }
                let begun = step.start(wish.with(target, ExecutionKind::Sync))?;
                Ok((begun.id, step.view_if_ended(begun.id)?))
            })
            .await?;
        if let Some(execution) = ended {
            return Ok(Ended { execution });
        }
        // Waited for as time: somebody may set the clock meanwhile.
        let clock = &self.world.clock;
        let longest = Duration::try_from(EXPRESS_MAX + LOOK_AGAIN).unwrap_or_default();
        let deadline = clock.passed().saturating_add(longest);
        loop {
            let watcher = self.shared.hub.watch(id);
            let told = watcher.notify.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            let now = clock.passed();
            // Read on the writer: the hint may be ahead of what readers see.
            let row = self.transact(move |step| step.take_ended_sync(id)).await?;
            match row {
                SyncEnd::Ended(execution) => return Ok(Ended { execution: *execution }),
                SyncEnd::Gone => return Err(missing("the execution waited for")),
                SyncEnd::Running if now >= deadline => {
                    return Err(WorkflowError::Internal(format!("execution {id} does not end")));
                }
                SyncEnd::Running => {}
            }
            let again = clock.sleep_until(after(clock.now(), LOOK_AGAIN));
            let waited = select(told, select(again, Box::pin(self.shared.hub.closed())));
            if matches!(waited.await, Either::Right((Either::Right(_), _))) {
                return Err(WorkflowError::ShuttingDown);
            }
        }
    }

    /// One execution, by its ARN.
    ///
    /// # Errors
    /// `InvalidArn` (that of an Express execution, too), `ExecutionDoesNotExist`.
    pub async fn describe_execution(&self, arn: &str) -> Result<ExecutionView, WorkflowError> {
        let (arn, shared, now) = (arn.to_owned(), self.shared.clone(), self.world.clock.now());
        self.world
            .store
            .read(move |tx| view(tx, &shared.programs, &find(tx, &arn)?, now, &mut RunsSeen::new()))
            .await
    }

    /// Ends an execution as ABORTED, with its children. Of one that has ended: nothing changes, and
    /// the answer says when it ended.
    ///
    /// # Errors
    /// `InvalidArn`, `ExecutionDoesNotExist`.
    pub async fn stop_execution(
        &self,
        arn: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<Timestamp, WorkflowError> {
        let arn = arn.to_owned();
        self.transact(move |step| {
            let row = find(step.tx, &arn)?;
            if let Some(at) = row.stopped_at {
                return Ok(at);
            }
            let failure = Failure { error: error.map(Into::into), cause: cause.map(Into::into) };
            step.apply(row.id, &Event::Stop { failure })?;
            Ok(step.now)
        })
        .await
    }

    /// Lets an execution that failed, timed out or was aborted go on from where it failed. Answers
    /// when. The same client token again answers the same.
    ///
    /// # Errors
    /// `InvalidArn`, `ExecutionDoesNotExist`, `ExecutionNotRedrivable`, `ExecutionLimitExceeded`.
    pub async fn redrive_execution(
        &self,
        arn: &str,
        client_token: Option<String>,
    ) -> Result<Timestamp, WorkflowError> {
        let arn = arn.to_owned();
        self.transact(move |step| {
            let row = find(step.tx, &arn)?;
            let now = step.now;
            let Some(l) = step.load(row.id)? else { return Err(missing(&arn)) };
            if let (Some(token), Some(at)) = (&client_token, l.facts.redriven_at)
                && l.facts.redrive_token.as_ref() == Some(token)
            {
                return Ok(at);
            }
            let refused = |text: String| {
                Refusal::ExecutionNotRedrivable.with(format!("Execution Not Redrivable: '{text}'"))
            };
            match redrivable(&l.row, &l.facts, now) {
                Redrivable::Yes => {}
                Redrivable::ByMapRun => {
                    return Err(refused("Redrive the execution of its Map Run instead".to_owned()));
                }
                Redrivable::No(text) => return Err(refused(text)),
            }
            if l.facts.map_runs && step.aborts_children(row.id)? {
                // They would be started again beside themselves.
                let text = "Children of its Map Runs are still being aborted";
                return Err(refused(text.to_owned()));
            }
            let Some(l) = step.load(row.id)? else { return Err(missing(&arn)) };
            l.facts.goes_on(now, client_token);
            if !step.apply(row.id, &Event::Redrive)? {
                return Err(refused("Execution cannot be continued from its end".to_owned()));
            }
            Ok(now)
        })
        .await
    }

    /// Waits until an execution has ended, or until `deadline`, and answers it as it stands then.
    ///
    /// # Errors
    /// As [`Self::describe_execution`].
    pub async fn wait_ended(
        &self,
        arn: &str,
        deadline: Timestamp,
    ) -> Result<ExecutionView, WorkflowError> {
        loop {
            let seen = self.describe_execution(arn).await?;
            let now = self.world.clock.now();
            if seen.status.is_ended() || now >= deadline {
                return Ok(seen);
            }
            let watcher = self.shared.hub.watch(seen.id);
            let told = watcher.notify.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            // The end may have come between the first look and the watch.
            let id = seen.id;
            let ended = self
                .transact(move |step| Ok(step.load(id)?.is_none_or(|l| l.row.status.is_ended())))
                .await?;
            if ended {
                continue;
            }
            let again = self.world.clock.sleep_until(deadline.min(after(now, LOOK_AGAIN)));
            let waited = select(told, select(again, Box::pin(self.shared.hub.closed())));
            if matches!(waited.await, Either::Right((Either::Right(_), _))) {
                return self.describe_execution(arn).await;
            }
        }
    }
}

/// A start without its target.
struct Wish {
    name: Option<String>,
    input: String,
    trace_header: Option<String>,
    priority: i64,
    namespace: Option<String>,
}

impl Wish {
    fn with(self, target: super::types::StartTarget, kind: ExecutionKind) -> StartSpec {
        StartSpec {
            target,
            kind,
            name: self.name,
            input: self.input.into(),
            trace_header: self.trace_header,
            priority: self.priority,
            namespace: self.namespace,
            parent: None,
        }
    }
}

/// What whoever waits for a synchronous execution finds.
pub(super) enum SyncEnd {
    Running,
    Ended(Box<ExecutionView>),
    Gone,
}

impl super::step::Stepper<'_> {
    /// The execution, if it has ended.
    fn view_if_ended(&mut self, id: u64) -> Result<Option<ExecutionView>, WorkflowError> {
        let (now, shared) = (self.now, self.shared);
        let Some(l) = self.load(id)? else { return Ok(None) };
        if !l.row.status.is_ended() {
            return Ok(None);
        }
        let mut row = l.row.clone();
        row.body = serde_json::to_string(&l.facts)
            .map_err(|e| WorkflowError::Internal(format!("the facts of {id}: {e}")))?;
        view(self.tx, &shared.programs, &row, now, &mut RunsSeen::new()).map(Some)
    }

    /// The execution, if it has ended; its row is no longer needed then.
    fn take_ended_sync(&mut self, id: u64) -> Result<SyncEnd, WorkflowError> {
        let Some(row) = self.tx.execution(id)? else { return Ok(SyncEnd::Gone) };
        if !row.status.is_ended() {
            return Ok(SyncEnd::Running);
        }
        let seen = view(self.tx, &self.shared.programs, &row, self.now, &mut RunsSeen::new())?;
        self.tx.delete_execution(id)?;
        Ok(SyncEnd::Ended(Box::new(seen)))
    }
}
