//! Handing tasks to workers, and taking their answers.
//!
//! A task is handed out by a transaction of its own, which says so in the history; the worker gets
//! it after the commit. Whoever carries the answer to the worker confirms that it was written
//! ([`super::HandedTask::delivered`]); a task that was not is offered to the next worker, with the
//! same token, so that only one of them can end it. Confirmations reach the store with a delay of
//! about a second; what a killed server had handed out and not confirmed is offered again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ark_states::error::Failure;
use ark_states::machine::{Event, TaskId};
use ark_states::{Document, limits};
use ark_store::TaskPhase;
use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};

use super::Workflows;
use super::effects::{TaskBody, kinds};
use super::error::{Refusal, WorkflowError};
use super::facts::{TokenUse, kept_text};
use super::step::{Shared, Stepper, after};
use super::types::HandedTask;

/// A waiting worker's task is looked for this often even if no hint came.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// Tasks that turn out to be no longer wanted, passed over in one transaction.
const STALE_MAX: usize = 100;

/// What tells the runtime whether a worker got its task.
#[derive(Debug)]
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    execution: u64,
    task: u64,
    confirmed: bool,
}

impl Delivery {
    pub(crate) fn confirm(mut self) {
        self.confirmed = true;
        self.shared.hub.confirmed(self.execution, self.task);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.confirmed {
            self.shared.hub.undelivered(self.execution, self.task);
        }
    }
}

impl Workflows {
    /// Waits until the activity has a task for this worker, at most until `deadline` (the wire
    /// waits 60 s). `None` when none came, or the server ends. Drop the future to stop waiting:
    /// a task that was already taken for it is offered to others.
    ///
    /// # Errors
    /// `InvalidArn`, `ActivityDoesNotExist`, `ActivityWorkerLimitExceeded` (1,000 wait already).
    pub async fn poll_activity(
        &self,
        activity_arn: &str,
        worker: Option<String>,
        deadline: Timestamp,
    ) -> Result<Option<HandedTask>, WorkflowError> {
        let name = super::activities::name_of(activity_arn)?;
        let activity = self.world.store.read(move |tx| tx.activity_by_name(&name)).await?;
        let Some(activity) = activity else {
            let text = format!("Activity Does Not Exist: '{activity_arn}'");
            return Err(Refusal::ActivityDoesNotExist.with(text));
        };
        self.recover().await?;
        let hub = &self.shared.hub;
        let queue = hub.queue(activity.id);
        let Some(_waiting) = hub.wait_in(&queue) else {
            return Err(Refusal::ActivityWorkerLimitExceeded
                .with("1000 workers wait for this activity already: lower their number"));
        };
        // Told as an instant, waited for as time: somebody may set the clock meanwhile.
        let clock = &self.world.clock;
        let wait = Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default();
        let enough = clock.passed().saturating_add(wait);
        loop {
            let told = queue.notify.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            if hub.is_closing() {
                return Ok(None);
            }
            if let Some(handed) = self.hand_out(activity.id, worker.clone()).await? {
                return Ok(Some(handed));
            }
            let left = enough.saturating_sub(clock.passed());
            if left.is_zero() {
                return Ok(None);
            }
            let again = SignedDuration::try_from(left).unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            let again = clock.sleep_until(after(clock.now(), again));
            let waited = select(told, select(again, Box::pin(hub.closed())));
            if matches!(waited.await, Either::Right((Either::Right(_), _))) {
                return Ok(None);
            }
        }
    }

    fn hand_out(
        &self,
        activity: u64,
        worker: Option<String>,
    ) -> impl Future<Output = Result<Option<HandedTask>, WorkflowError>> + Send + use<> {
        let shared = self.shared.clone();
        // The task is in the hands of the closure's answer: should nobody take that, it is dropped
        // like any other that did not arrive.
        self.transact(move |step| {
            let Some((execution, task, token, input)) =
                step.hand_out(activity, worker.as_deref())?
            else {
                return Ok(None);
            };
            // Here on the writer, where ends are noted too: nobody can end it before.
            shared.hub.busy.begins(activity, execution, task);
            let delivery = Delivery { shared, execution, task, confirmed: false };
            Ok(Some(HandedTask { token, input, delivery }))
        })
    }

    /// The task of a token (an activity's or a callback's) succeeded.
    ///
    /// # Errors
    /// `InvalidToken`, `InvalidOutput`, `TaskDoesNotExist`, `TaskTimedOut`.
    pub async fn task_succeeded(&self, token: &str, output: String) -> Result<(), WorkflowError> {
        let refused = |why: String| Refusal::InvalidOutput.with(format!("Invalid Output: '{why}'"));
        if output.len() > limits::PAYLOAD_BYTES_MAX {
            let most = limits::PAYLOAD_BYTES_MAX;
            return Err(refused(format!("{} bytes, at most {most} are allowed", output.len())));
        }
        let output = Document::parse(&output).map_err(|e| refused(e.to_string()))?;
        let token = token.to_owned();
        self.transact(move |step| {
            step.task_answered(&token, |task| Ok(Event::TaskSucceeded { task, output }))
        })
        .await
    }

    /// The task of a token failed.
    ///
    /// # Errors
    /// `InvalidToken`, `TaskDoesNotExist`, `TaskTimedOut`.
    pub async fn task_failed(
        &self,
        token: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<(), WorkflowError> {
        self.task_failed_with_log(token, error, cause, None).await
    }

    /// The same; `log` is what its worker wrote last (8 KiB and 50 lines of it are kept).
    ///
    /// # Errors
    /// As [`Self::task_failed`].
    pub async fn task_failed_with_log(
        &self,
        token: &str,
        error: Option<String>,
        cause: Option<String>,
        log: Option<String>,
    ) -> Result<(), WorkflowError> {
        let token = token.to_owned();
        let failure = Failure { error: error.map(Into::into), cause: cause.map(Into::into) };
        self.transact(move |step| {
            if let Some(log) = &log {
                step.keep_log(&token, log)?;
            }
            step.task_answered(&token, |task| Ok(Event::TaskFailed { task, failure }))
        })
        .await
    }

    /// The task of a token is still being worked on.
    ///
    /// # Errors
    /// As [`Self::task_failed`].
    pub async fn task_heartbeat(&self, token: &str) -> Result<(), WorkflowError> {
        let token = token.to_owned();
        self.transact(move |step| step.heartbeat(&token)).await
    }
}

impl Stepper<'_> {
    /// Takes the activity's next task: its execution and number, token and input.
    fn hand_out(
        &mut self,
        activity: u64,
        worker: Option<&str>,
    ) -> Result<Option<(u64, u64, String, String)>, WorkflowError> {
        let queue = self.shared.hub.queue(activity);
        for _ in 0..STALE_MAX {
            let last = queue.last_machine.load(Ordering::Relaxed);
            let Some(row) = self.tx.next_ready_task(activity, last)? else { return Ok(None) };
            queue.last_machine.store(row.machine, Ordering::Relaxed);
            let (execution, task) = (row.execution, row.task);
            let first = row.handed_at.is_none();
            let at = row.handed_at.unwrap_or(self.now);
            self.tx.set_task_phase(execution, task, TaskPhase::Handed, Some(at))?;
            self.arm_heartbeat(&row)?;
            if first {
                let worker = worker.filter(|_| row.kind == kinds::ACTIVITY).map(str::to_owned);
                let event = Event::TaskStarted { task: TaskId(task), worker };
                if !self.apply(execution, &event)? {
                    // Its execution does not know it any more.
                    self.end_task(execution, task)?;
                    continue;
                }
            }
            let callback = TaskBody::of(&row).callback;
            let use_ = if callback { TokenUse::Call } else { TokenUse::Task };
            let Some(l) = self.load(execution)? else { continue };
            let token = l.facts.token(execution, task, use_);
            let input = kept_text(self.tx, execution, &row.input)?;
            return Ok(Some((execution, task, token, input)));
        }
        Ok(None)
    }
}
