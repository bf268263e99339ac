//! What nobody calls for: timers, tasks that did not arrive, children that are left over, and the
//! sweep that finds what any hint may have missed. Recovery is this loop and nothing else: what a
//! killed server left is found as rows.

use std::sync::atomic::Ordering;

use ark_states::error::{Failure, names};
use ark_states::machine::{End, Event, TaskId, TaskTimeout, TimerId};
use ark_store::{TaskPhase, TaskRow, TimerRow};
use futures::future::{BoxFuture, Either, select, select_all};
use jiff::{SignedDuration, Timestamp};

use super::effects::kinds;
use super::error::WorkflowError;
use super::facts::kept_text;
use super::hub::{self, Chore};
use super::map_runs::Work;
use super::step::{Stepper, after, timers};
use super::{Workflows, schedules};

/// Timers fired in one transaction.
const TIMERS_BATCH: usize = 200;
/// Transactions of timers in one round, before the rest of the round has its turn.
const TIMER_BATCHES: usize = 50;
/// Map runs served in one round, and tasks left over.
pub(super) const RUNS_BATCH: usize = 50;
const TASKS_BATCH: usize = 100;
/// Confirmations and re-offers written in one transaction.
const NOTES_BATCH: usize = 1_000;
/// Time between two sweeps.
const SWEEP: SignedDuration = SignedDuration::from_secs(1);
/// Time between two looks at what is old or too much.
const TIDY: SignedDuration = SignedDuration::from_secs(60);
/// How long a round that failed is waited after.
const RETRY: SignedDuration = SignedDuration::from_millis(200);
/// What cannot be done because a record is broken is looked at again after this long.
pub(super) const BROKEN: SignedDuration = SignedDuration::from_secs(60);
/// How long ended executions are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How long the outcome of a synchronous execution is kept for whoever waits.
const SYNC_KEPT: SignedDuration = SignedDuration::from_secs(60);
/// Executions pruned in one transaction, and transactions of it in one round.
const PRUNE_BATCH: usize = 200;
const PRUNE_BATCHES: usize = 20;
/// Executions whose long texts are looked at in one round.
const TEXTS_BATCH: usize = 500;
/// The longest an execution may last.
const EXECUTION_MAX: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Queues, and executions with waiting events, of which the sweep tells.
const QUEUES_MAX: usize = 1_000;

/// The loop's memory: when it did what. Nothing of it needs to be kept.
#[derive(Debug, Default)]
pub struct Driver {
    swept_at: Option<Timestamp>,
    tidied_at: Option<Timestamp>,
    /// Map runs have their turns in circle: the one that had its turn last, and whether any since
    /// the first went on.
    last_run: u64,
    runs_go_on: bool,
    /// The execution whose long texts were looked at last.
    last_texts: u64,
}

/// The failures of a round's parts: each part has its turn, whatever became of those before it.
#[derive(Debug, Default)]
struct Failures(Option<WorkflowError>);

impl Failures {
    /// What a part answered, or what stands for it. Only another server's takeover ends the round.
    fn or<T>(&mut self, part: Result<T, WorkflowError>, otherwise: T) -> Result<T, WorkflowError> {
        match part {
            Ok(answer) => Ok(answer),
            Err(WorkflowError::Fenced) => Err(WorkflowError::Fenced),
            Err(error) => {
                self.0.get_or_insert(error);
                Ok(otherwise)
            }
        }
    }
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
        let mut failures = Failures::default();
        failures.or(deliveries(workflows).await, ())?;
        let mut due = false;
        for _ in 0..TIMER_BATCHES {
            due = failures.or(fire_due(workflows).await, false)?;
            if !due {
                break;
            }
        }
        let mut busy = failures.or(left_over(workflows).await, false)?;
        let served = self.serve_runs(workflows).await;
        busy |= failures.or(served, false)?;
        let now = workflows.world.clock.now();
        if self.swept_at.is_none_or(|at| at > now || after(at, SWEEP) <= now) {
            self.swept_at = Some(now);
            failures.or(sweep(workflows).await, ())?;
            failures.or(schedules::fire_due(workflows).await, ())?;
        }
        if self.tidied_at.is_none_or(|at| at > now || after(at, TIDY) <= now) {
            self.tidied_at = Some(now);
            failures.or(tidy(workflows, now).await, ())?;
            failures.or(self.forget_texts(workflows).await, ())?;
        }
        if let Some(error) = failures.0 {
            return Err(error);
        }
        if due || busy {
            return Ok(now);
        }
        let next = workflows.shared.hub.next_timer();
        Ok(next.unwrap_or(Timestamp::MAX).min(after(now, SWEEP)))
    }

    /// Serves map runs that have something to do. Answers whether some have more.
    async fn serve_runs(&mut self, workflows: &Workflows) -> Result<bool, WorkflowError> {
        let (last, now) = (self.last_run, workflows.world.clock.now());
        let busy = workflows.world.store.read(move |tx| tx.busy_map_runs(last, RUNS_BATCH)).await?;
        let more = busy.len() == RUNS_BATCH;
        let resting = &workflows.shared.hub.resting;
        for row in busy {
            self.last_run = row.id;
            let chore = Chore::MapRun(row.id);
            if resting.holds(chore, now) {
                continue;
            }
            let served = workflows.transact(move |step| step.serve_run(row.id)).await;
            self.runs_go_on |= workflows.rest_if_broken(chore, served)?.unwrap_or(false);
        }
        if more {
            return Ok(true);
        }
        self.last_run = 0;
        Ok(std::mem::take(&mut self.runs_go_on))
    }

    /// Forgets long texts of executions that are gone: earlier versions left some behind. Looks at a
    /// part of them each time, in circle.
    async fn forget_texts(&mut self, workflows: &Workflows) -> Result<(), WorkflowError> {
        let last = self.last_texts;
        let looked = workflows.world.store.read(move |tx| tx.owners_of_texts(last, TEXTS_BATCH));
        let owners: Vec<(u64, bool)> = looked.await?;
        let next = owners.last().filter(|_| owners.len() == TEXTS_BATCH);
        self.last_texts = next.map_or(0, |(id, _)| *id);
        let gone: Vec<u64> =
            owners.into_iter().filter(|(_, is_there)| !is_there).map(|(id, _)| id).collect();
        for some in gone.chunks(PRUNE_BATCH) {
            let some = some.to_vec();
            let forget = move |step: &mut Stepper<'_>| {
                // Looked up again: the number may have been given to an execution meanwhile.
                some.iter().try_for_each(|id| match step.tx.execution(*id)? {
                    Some(_) => Ok(()),
                    None => Ok(step.tx.delete_payloads(*id)?),
                })
            };
            workflows.transact(forget).await?;
        }
        Ok(())
    }
}

impl Workflows {
    /// A chore that fails by itself is left alone for a while; `None` stands for its answer.
    pub(super) fn rest_if_broken<T>(
        &self,
        chore: Chore,
        done: Result<T, WorkflowError>,
    ) -> Result<Option<T>, WorkflowError> {
        match done {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_everybodys() => Err(error),
            Err(error) => {
                tracing::error!(
                    ?chore,
                    error = &error as &dyn std::error::Error,
                    "something of the workflows cannot go on"
                );
                self.shared.hub.resting.put(chore, after(self.world.clock.now(), BROKEN));
                Ok(None)
            }
        }
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
    let (undelivered, confirmed) = (hub.take_undelivered(), hub.take_confirmed());
    let mut done = 0;
    for notes in undelivered.chunks(NOTES_BATCH) {
        let owned = notes.to_vec();
        let written = workflows.transact(move |step| {
            for (execution, task) in owned {
                step.offer_again(execution, task)?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            hub.not_written(&undelivered[done..], &confirmed);
            return Err(error);
        }
        done += notes.len();
    }
    done = 0;
    for notes in confirmed.chunks(NOTES_BATCH) {
        let owned = notes.to_vec();
        let written = workflows.transact(move |step| {
            for (execution, task) in owned {
                step.tx.confirm_task(execution, task)?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            hub.not_written(&[], &confirmed[done..]);
            return Err(error);
        }
        done += notes.len();
    }
    Ok(())
}

/// Fires timers that are due, many in one transaction. Answers whether there may be more.
async fn fire_due(workflows: &Workflows) -> Result<bool, WorkflowError> {
    match workflows.transact(fire).await {
        Err(error) if !error.is_everybodys() => {
            // One of them spoiled the transaction for all: nothing of it is kept.
            tracing::warn!(error = &error as &dyn std::error::Error, "timers are fired one by one");
            fire_alone(workflows).await
        }
        fired => fired,
    }
}

fn fire(step: &mut Stepper<'_>) -> Result<bool, WorkflowError> {
    let due = step.tx.due_timers(step.now, TIMERS_BATCH)?;
    let more = due.len() == TIMERS_BATCH;
    for timer in due {
        step.fire_one(timer)?;
    }
    let next = step.tx.next_timer()?;
    step.shared.hub.next_timer_is(next);
    Ok(more)
}

/// The same, each timer in a transaction of its own: one that fails is put off.
async fn fire_alone(workflows: &Workflows) -> Result<bool, WorkflowError> {
    let now = workflows.world.clock.now();
    let due = workflows.world.store.read(move |tx| tx.due_timers(now, TIMERS_BATCH)).await?;
    let more = due.len() == TIMERS_BATCH;
    for timer in due {
        let fired = workflows.transact(move |step| match step.has_timer(timer)? {
            true => step.fire_one(timer),
            false => Ok(()),
        });
        match fired.await {
            Ok(()) => continue,
            Err(error) if error.is_everybodys() => return Err(error),
            Err(error) => tracing::error!(
                execution = timer.execution,
                error = &error as &dyn std::error::Error,
                "an execution cannot go on"
            ),
        }
        workflows
            .transact(move |step| {
                if step.has_timer(timer)? {
                    step.tx.put_timer(TimerRow { due: after(step.now, BROKEN), ..timer })?;
                }
                Ok(())
            })
            .await?;
    }
    workflows
        .transact(|step| {
            let next = step.tx.next_timer()?;
            step.shared.hub.next_timer_is(next);
            Ok(())
        })
        .await?;
    Ok(more)
}

/// Children that tasks ask for and that were too many for the transaction that asked. Answers
/// whether there are more.
async fn left_over(workflows: &Workflows) -> Result<bool, WorkflowError> {
    let (hub, now) = (&workflows.shared.hub, workflows.world.clock.now());
    let most = TASKS_BATCH + hub.resting.count();
    let children = move |tx: &ark_store::ReadTx| tx.outbound_tasks_of(kinds::CHILD, most);
    let mut tasks = workflows.world.store.read(children).await?;
    tasks.retain(|row| !hub.resting.holds(Chore::Child(row.execution, row.task), now));
    tasks.truncate(TASKS_BATCH);
    if tasks.is_empty() {
        return Ok(false);
    }
    let together = tasks.clone();
    let started = workflows
        .transact(move |step| together.into_iter().try_for_each(|row| step.start_left_over(&row)));
    match started.await {
        Ok(()) => return Ok(true),
        Err(error) if error.is_everybodys() => return Err(error),
        // One of them spoiled the transaction for all: each has one of its own now.
        Err(_) => {}
    }
    for row in tasks {
        let chore = Chore::Child(row.execution, row.task);
        let started = workflows.transact(move |step| step.start_left_over(&row)).await;
        workflows.rest_if_broken(chore, started)?;
    }
    Ok(true)
}

/// Tells the hints anew.
async fn sweep(workflows: &Workflows) -> Result<(), WorkflowError> {
    let hub: &hub::Hub = &workflows.shared.hub;
    hub.look_at_workers();
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
    let (open, first, most) = workflows
        .world
        .store
        .read(|tx| -> Result<_, WorkflowError> {
            let open = tx.open_execution_count()?;
            Ok((open, tx.open_executions(0, PRUNE_BATCH)?, tx.sync_executions(PRUNE_BATCH)?))
        })
        .await?;
    let shared = &workflows.shared;
    shared.full.store(open >= shared.open_max.load(Ordering::Relaxed), Ordering::Relaxed);
    let lost: Vec<u64> =
        most.iter().filter(|r| r.stopped_at.is_some_and(|at| at < lost)).map(|r| r.id).collect();
    if !lost.is_empty() {
        let forget = move |step: &mut Stepper<'_>| {
            lost.iter().try_for_each(|id| Ok(step.tx.delete_execution(*id)?))
        };
        workflows.transact(forget).await?;
    }
    for row in first.into_iter().take_while(|row| row.started_at <= oldest) {
        let failure = Failure::new(names::TIMEOUT, "The execution ran for a year.");
        let end = move |step: &mut Stepper<'_>| step.force_end(row.id, End::TimedOut(failure));
        match workflows.transact(end).await {
            Err(error) if error.is_everybodys() => return Err(error),
            Err(error) => tracing::error!(
                execution = row.id,
                error = &error as &dyn std::error::Error,
                "an execution that is too old cannot be ended"
            ),
            Ok(()) => {}
        }
    }
    Ok(())
}

impl Stepper<'_> {
    /// One turn of a map run. Answers whether it has more to do now.
    fn serve_run(&mut self, id: u64) -> Result<bool, WorkflowError> {
        match self.run(id)?.body.work {
            Work::Aborting => self.abort_children(id),
            Work::Clearing => self.clear_items(id),
            Work::Running => {
                self.drain()?;
                let room = !self.shared.full.load(Ordering::Relaxed);
                let run = self.run(id)?;
                Ok(room && run.body.to_start > 0 && !run.held)
            }
            Work::Reading | Work::Writing | Work::Ended => Ok(false),
        }
    }

    /// Starts the child that a task asked for earlier, if this transaction may start one more.
    fn start_left_over(&mut self, row: &TaskRow) -> Result<(), WorkflowError> {
        if self.starts_left == 0 {
            return Ok(());
        }
        // It may have ended meanwhile.
        let Some(row) = self.tx.workflow_task(row.execution, row.task)? else { return Ok(()) };
        if row.phase != TaskPhase::Ready {
            return Ok(());
        }
        self.starts_left -= 1;
        let input = kept_text(self.tx, row.execution, &row.input)?;
        self.start_child_of_task(row, &input)?;
        self.drain()
    }

    /// Whether a timer still is what it was when it was read.
    fn has_timer(&self, timer: TimerRow) -> Result<bool, WorkflowError> {
        Ok(self.tx.timers_of(timer.execution)?.contains(&timer))
    }

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
        self.shared.hub.busy.ends(execution, task);
        if let Some(queue) = row.queue {
            self.shared.hub.task_ready(queue);
        }
        Ok(())
    }
}
