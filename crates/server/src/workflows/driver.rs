//! What nobody calls for: timers, tasks that did not arrive, children that are left over, and the
//! sweep that finds what any hint may have missed. Recovery is this loop and nothing else: what a
//! killed server left is found as rows.

use std::sync::atomic::Ordering;

use ark_states::error::{Failure, names};
use ark_states::machine::{End, Event, TaskId, TaskTimeout, TimerId};
use ark_store::{TaskPhase, TimerRow};
use futures::future::{BoxFuture, Either, select, select_all};
use jiff::{SignedDuration, Timestamp};

use super::effects::kinds;
use super::error::WorkflowError;
use super::facts::kept_text;
use super::map_runs::Work;
use super::step::{Stepper, after, timers};
use super::{Workflows, hub, schedules};

/// Timers fired in one transaction.
const TIMERS_BATCH: usize = 200;
/// Transactions of timers in one round, before the rest of the round has its turn.
const TIMER_BATCHES: usize = 50;
/// Map runs served in one round, and tasks left over.
const RUNS_BATCH: usize = 50;
const TASKS_BATCH: usize = 100;
/// Confirmations and re-offers written in one transaction.
const NOTES_BATCH: usize = 1_000;
/// Time between two sweeps.
const SWEEP: SignedDuration = SignedDuration::from_secs(1);
/// Time between two looks at what is old or too much.
const TIDY: SignedDuration = SignedDuration::from_secs(60);
/// How long a round that failed is waited after.
const RETRY: SignedDuration = SignedDuration::from_millis(200);
/// A timer whose execution cannot be used is looked at again after this long.
const BROKEN: SignedDuration = SignedDuration::from_secs(60);
/// How long ended executions are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How long the outcome of a synchronous execution is kept for whoever waits.
const SYNC_KEPT: SignedDuration = SignedDuration::from_secs(60);
/// Executions pruned in one transaction, and transactions of it in one round.
const PRUNE_BATCH: usize = 200;
const PRUNE_BATCHES: usize = 20;
/// The longest an execution may last.
const EXECUTION_MAX: SignedDuration = SignedDuration::from_hours(24 * 365);
/// The most open executions (the quota of AWS).
const OPEN_MAX: u64 = 1_000_000;
/// Queues, and executions with waiting events, of which the sweep tells.
const QUEUES_MAX: usize = 1_000;

/// The loop's memory: when it did what. Nothing of it needs to be kept.
#[derive(Debug, Default)]
pub struct Driver {
    swept_at: Option<Timestamp>,
    tidied_at: Option<Timestamp>,
}

impl Workflows {
    /// Runs rounds, and beside them serves objects, takes costly steps, makes calls and waits for jobs,
    /// until the server ends or another one takes over.
    pub async fn run(&self) -> WorkflowError {
        let loops: [BoxFuture<'_, WorkflowError>; 5] = [
            Box::pin(self.rounds()),
            Box::pin(self.objects_rounds()),
            Box::pin(self.thinking_rounds()),
            Box::pin(self.call_rounds()),
            Box::pin(self.job_rounds()),
        ];
        select_all(loops).await.0
    }

    async fn objects_rounds(&self) -> WorkflowError {
        loop {
            let told = self.shared.hub.outbound.notified();
            match self.serve_objects().await {
                Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "objects of map runs could not be served"
                    );
                }
                Ok(()) => {}
            }
            if self.shared.hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            // The sweep tells every second.
            told.await;
        }
    }

    async fn rounds(&self) -> WorkflowError {
        let mut driver = Driver::default();
        loop {
            if self.shared.hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            let next = match driver.round(self).await {
                Ok(next) => next,
                Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a round of workflows failed"
                    );
                    after(self.world.clock.now(), RETRY)
                }
            };
            if next <= self.world.clock.now() {
                continue;
            }
            let told = self.shared.hub.driver.notified();
            // Whichever it is: the next round looks at everything.
            match select(std::pin::pin!(told), self.world.clock.sleep_until(next)).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }
}

impl Workflows {
    /// Takes care, once in a server's life, of what a killed one left. Before that nothing is
    /// handed out and nobody waits: it would be taken for the other's.
    pub(super) async fn recover(&self) -> Result<(), WorkflowError> {
        if self.shared.recovered.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.shared.recovering.lock().await;
        if !self.shared.recovered.load(Ordering::Acquire) {
            self.transact(recover).await?;
            self.shared.recovered.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl Driver {
    /// One round. Answers when the next is due.
    ///
    /// # Errors
    /// When the store does not answer or another server has taken over. The next round is the retry.
    pub async fn round(&mut self, workflows: &Workflows) -> Result<Timestamp, WorkflowError> {
        workflows.recover().await?;
        deliveries(workflows).await?;
        let mut due = false;
        for _ in 0..TIMER_BATCHES {
            due = workflows.transact(fire).await?;
            if !due {
                break;
            }
        }
        let mut busy = left_over(workflows).await?;
        busy |= runs(workflows).await?;
        let now = workflows.world.clock.now();
        if self.swept_at.is_none_or(|at| at > now || after(at, SWEEP) <= now) {
            self.swept_at = Some(now);
            sweep(workflows).await?;
            schedules::fire_due(workflows).await?;
        }
        if self.tidied_at.is_none_or(|at| at > now || after(at, TIDY) <= now) {
            self.tidied_at = Some(now);
            tidy(workflows, now).await?;
        }
        if due || busy {
            return Ok(now);
        }
        let next = workflows.shared.hub.next_timer();
        Ok(next.unwrap_or(Timestamp::MAX).min(after(now, SWEEP)))
    }
}

/// What a server that was killed left: tasks it had handed out and not confirmed are offered again,
/// synchronous executions have lost whoever waited.
fn recover(step: &mut Stepper<'_>) -> Result<(), WorkflowError> {
    let again = step.tx.reoffer_unconfirmed_tasks()?;
    if again > 0 {
        tracing::info!(
            tasks = again,
            "tasks whose workers may not have got them are offered again"
        );
    }
    loop {
        let waiting = step.tx.sync_executions(PRUNE_BATCH)?;
        for row in &waiting {
            step.tx.delete_execution(row.id)?;
        }
        if waiting.len() < PRUNE_BATCH {
            return Ok(());
        }
    }
}

/// Tasks that did not arrive are offered again; those that did are marked.
async fn deliveries(workflows: &Workflows) -> Result<(), WorkflowError> {
    let hub = &workflows.shared.hub;
    let undelivered = hub.take_undelivered();
    let confirmed = hub.take_confirmed();
    for notes in undelivered.chunks(NOTES_BATCH) {
        let notes = notes.to_vec();
        let written = workflows.transact({
            let notes = notes.clone();
            move |step| {
                for (execution, task) in notes {
                    step.offer_again(execution, task)?;
                }
                Ok(())
            }
        });
        if let Err(error) = written.await {
            // Still to be done: the next round tries again.
            notes.into_iter().for_each(|(execution, task)| hub.undelivered(execution, task));
            return Err(error);
        }
    }
    for notes in confirmed.chunks(NOTES_BATCH) {
        let notes = notes.to_vec();
        // Losing one costs at most that its task is offered once more after a crash.
        workflows
            .transact(move |step| {
                for (execution, task) in notes {
                    step.tx.confirm_task(execution, task)?;
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Fires timers that are due. Answers whether there may be more.
fn fire(step: &mut Stepper<'_>) -> Result<bool, WorkflowError> {
    let due = step.tx.due_timers(step.now, TIMERS_BATCH)?;
    let more = due.len() == TIMERS_BATCH;
    for timer in due {
        match step.fire_one(timer) {
            Ok(()) => {}
            Err(WorkflowError::Internal(why)) => {
                tracing::error!(execution = timer.execution, why, "an execution cannot go on");
                let due = after(step.now, BROKEN);
                step.tx.put_timer(TimerRow { due, ..timer })?;
            }
            Err(other) => return Err(other),
        }
    }
    let next = step.tx.next_timer()?;
    step.shared.hub.next_timer_is(next);
    Ok(more)
}

/// Children that tasks ask for and that were too many for the transaction that asked.
async fn left_over(workflows: &Workflows) -> Result<bool, WorkflowError> {
    let children = |tx: &ark_store::ReadTx| tx.outbound_tasks_of(kinds::CHILD, TASKS_BATCH);
    let tasks = workflows.world.store.read(children).await?;
    if tasks.is_empty() {
        return Ok(false);
    }
    workflows
        .transact(|step| {
            for row in step.tx.outbound_tasks_of(kinds::CHILD, TASKS_BATCH)? {
                if step.starts_left == 0 {
                    continue;
                }
                // An earlier one of this batch may have ended it.
                if step.tx.workflow_task(row.execution, row.task)?.is_none() {
                    continue;
                }
                step.starts_left -= 1;
                let input = kept_text(step.tx, row.execution, &row.input)?;
                step.start_child_of_task(row, &input)?;
                step.drain()?;
            }
            Ok(true)
        })
        .await
}

/// Serves map runs that have something to do. Answers whether some have more.
async fn runs(workflows: &Workflows) -> Result<bool, WorkflowError> {
    let busy = workflows.world.store.read(|tx| tx.busy_map_runs(RUNS_BATCH)).await?;
    let mut more = false;
    for row in busy {
        let id = row.id;
        more |= workflows
            .transact(move |step| {
                let run = step.run(id)?;
                match run.body.work {
                    Work::Aborting => Ok(!step.abort_children(id)?),
                    Work::Running => {
                        step.drain()?;
                        Ok(step.run(id)?.body.to_start > 0)
                    }
                    Work::Reading | Work::Writing | Work::Ended => Ok(false),
                }
            })
            .await?;
    }
    Ok(more)
}

/// Tells the hints anew.
async fn sweep(workflows: &Workflows) -> Result<(), WorkflowError> {
    let hub: &hub::Hub = &workflows.shared.hub;
    let (queues, next, waiting) = workflows
        .world
        .store
        .read(|tx| {
            let waiting = tx.executions_with_events(0, QUEUES_MAX)?;
            Ok::<_, WorkflowError>((tx.ready_queues(QUEUES_MAX)?, tx.next_timer()?, waiting))
        })
        .await?;
    for queue in queues {
        hub.tasks_ready(queue);
    }
    if let Some(next) = next {
        hub.timer_set(next);
    }
    hub.outbound.notify_one();
    let waiting = waiting.into_iter().map(|(execution, machine)| (machine, execution));
    hub.thinking.tell(waiting.collect());
    Ok(())
}

/// Forgets what is old, ends what is too old, and looks whether there is room.
async fn tidy(workflows: &Workflows, now: Timestamp) -> Result<(), WorkflowError> {
    let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
    let kept = before(KEPT);
    for _ in 0..PRUNE_BATCHES {
        let pruned = workflows
            .transact(move |step| Ok(step.tx.prune_executions(kept, PRUNE_BATCH)?))
            .await?;
        if pruned < PRUNE_BATCH {
            break;
        }
    }
    let (oldest, lost) = (before(EXECUTION_MAX), before(SYNC_KEPT));
    workflows
        .transact(move |step| {
            for row in step.tx.open_executions(0, PRUNE_BATCH)? {
                if row.started_at > oldest {
                    break;
                }
                let failure = Failure::new(names::TIMEOUT, "The execution ran for a year.");
                step.force_end(row.id, End::TimedOut(failure))?;
            }
            for row in step.tx.sync_executions(PRUNE_BATCH)? {
                if row.stopped_at.is_some_and(|at| at < lost) {
                    step.tx.delete_execution(row.id)?;
                }
            }
            let open = step.tx.open_execution_count()?;
            let full = open >= OPEN_MAX;
            step.shared.full.store(full, Ordering::Relaxed);
            Ok(())
        })
        .await
}

impl Stepper<'_> {
    fn fire_one(&mut self, timer: TimerRow) -> Result<(), WorkflowError> {
        let TimerRow { execution, kind, num, .. } = timer;
        // An earlier timer of this batch may have ended what this one belongs to.
        if !self.tx.delete_timer(execution, kind, num)? {
            return Ok(());
        }
        match kind {
            timers::INTERPRETER => {
                self.apply(execution, &Event::TimerFired { timer: TimerId(num) })?;
            }
            timers::TASK | timers::HEARTBEAT => {
                let Some(row) = self.tx.workflow_task(execution, num)? else { return Ok(()) };
                self.withdraw(&row)?;
                self.end_task(execution, num)?;
                let timeout = match kind {
                    timers::TASK => TaskTimeout::Total,
                    _ => TaskTimeout::Heartbeat,
                };
                self.apply(execution, &Event::TaskTimedOut { task: TaskId(num), timeout })?;
            }
            timers::CONTINUE => {
                self.apply(execution, &Event::Continue)?;
            }
            _ => {
                let failure = Failure { error: None, cause: None };
                self.force_end(execution, End::TimedOut(failure))?;
            }
        }
        Ok(())
    }

    /// A task that was handed out and did not arrive.
    pub(super) fn offer_again(&mut self, execution: u64, task: u64) -> Result<(), WorkflowError> {
        let Some(row) = self.tx.workflow_task(execution, task)? else { return Ok(()) };
        if row.phase != TaskPhase::Handed || row.confirmed {
            return Ok(());
        }
        self.tx.set_task_phase(execution, task, TaskPhase::Ready, row.handed_at)?;
        if let Some(queue) = row.queue {
            self.shared.hub.task_ready(queue);
        }
        Ok(())
    }
}
