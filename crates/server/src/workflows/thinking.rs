//! Steps that cost too much for the store's writer.
//!
//! The writer tries each step on a little fuel ([`TRIAL_FUEL`], about a millisecond). One that wants
//! more is undone there, and its event is kept in the execution's inbox: a row, written in the same
//! transaction, so whoever sent the event is answered as ever. From then on the inbox is the
//! execution's only door: events that come later wait behind it. Here the first event of an inbox is
//! taken on another thread, with all the fuel the language grants, against what a reader sees; the
//! writer then only carries out what came of it. That is sound because nothing changes a state while
//! its inbox holds an event, but an end that needs no interpreter, and that empties the inbox.
//!
//! A machine that once cost too much goes through the inbox without a trial until it is cheap again.
//! Machines have their turns in circle, so one that is costly waits for itself, and nobody for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ark_states::error::names;
use ark_states::machine::{
    self, End, Env, Event, ExecutionInfo, ExecutionState, Host, Refused, Step, TaskId,
};
use ark_states::resource::Resource;
use ark_states::value::DEPTH_MAX;
use ark_states::{Document, Failure, Fuel, Value};
use ark_store::ReadTx;
use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::Workflows;
use super::error::WorkflowError;
use super::facts::{Facts, TokenUse};
use super::program::Program;
use super::resources;
use super::step::{Loaded, Stepper};

/// Units that a step may cost on the writer.
pub(super) const TRIAL_FUEL: u64 = 20_000;
/// A machine whose step cost less than this is tried on the writer again.
const CHEAP_FUEL: u64 = TRIAL_FUEL / 2;
/// Executions with waiting events that are looked for at once.
const EXECUTIONS_MAX: usize = 1_000;
/// How often a step is thought through anew because an answer of the runtime had changed meanwhile.
const AGAIN_MAX: u32 = 8;

/// The runtime's answers to the interpreter, by resource.
type Refusals = HashMap<Resource, Option<String>>;

/// What came of an event.
pub(super) enum Outcome {
    Taken(Step),
    Refused,
    Panicked,
}

/// One event to be taken, with all that this needs.
struct Question {
    execution: u64,
    seq: u64,
    event: Event,
    program: Arc<Program>,
    info: ExecutionInfo,
    facts: Facts,
    state: ExecutionState,
    seed: u128,
    now: Timestamp,
    /// What the runtime would answer, as far as it was asked before.
    refusals: Refusals,
}

/// The answer to a [`Question`].
struct Thought {
    execution: u64,
    seq: u64,
    event: Event,
    state: ExecutionState,
    outcome: Outcome,
    /// Answers it rests on.
    refusals: Refusals,
}

/// How the writer found a thought.
enum Verdict {
    /// It was carried out. Whether more events wait.
    CarriedOut { more: bool },
    /// The event is no longer there.
    Stale,
    /// The runtime now answers otherwise than the thought rests on.
    Otherwise(Refusals),
}

/// Answers from what is known, and takes down what was asked.
struct Known<'a> {
    question: &'a Question,
    asked: RefCell<Refusals>,
}

impl Host for Known<'_> {
    fn task_token(&self, task: TaskId) -> String {
        self.question.facts.token(self.question.execution, task.0, TokenUse::Task)
    }

    fn refusal(&self, resource: &Resource) -> Option<String> {
        let answer = self.question.refusals.get(resource).cloned().flatten();
        self.asked.borrow_mut().insert(resource.clone(), answer.clone());
        answer
    }
}

/// On how many threads costly work is done: half of the cores are left to what is cheap.
pub(super) fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).max(1)
}

/// Lets the interpreter take an event; a panic is an answer, too.
pub(super) fn step(
    program: &Program,
    state: &mut ExecutionState,
    event: Event,
    env: &Env<'_>,
) -> Result<Outcome, Refused> {
    let next = || machine::next(&program.definition, state, event, env);
    match catch_unwind(AssertUnwindSafe(next)) {
        Ok(Ok(step)) => Ok(Outcome::Taken(step)),
        Ok(Err(Refused::OutOfFuel)) => Err(Refused::OutOfFuel),
        Ok(Err(Refused::WrongStatus | Refused::NotWaitedFor)) => Ok(Outcome::Refused),
        Err(_) => Ok(Outcome::Panicked),
    }
}

/// Pure: no store, no clock.
fn think(question: &Question) -> Thought {
    let fuel = Fuel::ample();
    let mut state = question.state.clone();
    let host = Known { question, asked: RefCell::default() };
    let env = Env {
        now: question.now,
        seed: question.seed,
        execution: &question.info,
        host: &host,
        fuel: &fuel,
    };
    let outcome = step(&question.program, &mut state, question.event.clone(), &env)
        .unwrap_or(Outcome::Refused);
    if fuel.spent() < CHEAP_FUEL {
        question.program.set_costly(false);
    }
    let refusals = host.asked.take();
    Thought {
        execution: question.execution,
        seq: question.seq,
        event: question.event.clone(),
        state,
        outcome,
        refusals,
    }
}

impl Workflows {
    /// Takes every event that waits in an inbox, one after the other, where it is called. For tests
    /// and simulations; the server thinks beside its rounds.
    ///
    /// # Errors
    /// When the store does not answer or another server has taken over.
    pub async fn think(&self) -> Result<(), WorkflowError> {
        let mut after = 0;
        loop {
            let found = self
                .world
                .store
                .read(move |tx| tx.executions_with_events(after, EXECUTIONS_MAX))
                .await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = *last;
            for (execution, _) in found {
                while self.take_first(execution, false).await? {}
            }
        }
    }

    /// The units of fuel that a step may cost on the writer. With none every event goes through an
    /// inbox, as simulations want it now and then.
    #[must_use]
    pub fn with_trial_fuel(self, units: u64) -> Self {
        self.shared.trial_fuel.store(units, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// Thinks until the server ends or another one takes over.
    pub(super) async fn thinking_rounds(&self) -> WorkflowError {
        let most = threads();
        let hub = &self.shared.hub;
        let mut under_way = FuturesUnordered::new();
        loop {
            let told = hub.thinking.told.notified();
            if hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            while under_way.len() < most
                && let Some(execution) = hub.thinking.next()
            {
                under_way.push(async move { (execution, self.take_first(execution, true).await) });
            }
            if under_way.is_empty() {
                // The sweep tells every second.
                told.await;
                continue;
            }
            let done = match select(under_way.next(), std::pin::pin!(told)).await {
                Either::Left((done, _)) => done,
                Either::Right(_) => continue,
            };
            match done {
                None => {}
                Some((execution, Ok(more))) => hub.thinking.done(execution, more),
                Some((_, Err(WorkflowError::Fenced))) => return WorkflowError::Fenced,
                Some((execution, Err(error))) => {
                    tracing::warn!(
                        execution,
                        error = &error as &dyn std::error::Error,
                        "an event that waits could not be taken"
                    );
                    // The sweep tells of it again.
                    hub.thinking.done(execution, false);
                }
            }
        }
    }

    /// Takes the first event of an inbox. Answers whether more wait.
    async fn take_first(&self, execution: u64, beside: bool) -> Result<bool, WorkflowError> {
        let mut refusals = Refusals::new();
        for _ in 0..AGAIN_MAX {
            let known = std::mem::take(&mut refusals);
            let Some(question) = self.question(execution, known).await? else { return Ok(false) };
            let thought = if beside {
                let thought = tokio::task::spawn_blocking(move || think(&question)).await;
                thought.map_err(|e| WorkflowError::Internal(format!("thinking: {e}")))?
            } else {
                think(&question)
            };
            match self.transact(move |step| step.take_thought(thought)).await? {
                Verdict::CarriedOut { more } => return Ok(more),
                Verdict::Stale => return Ok(false),
                Verdict::Otherwise(now) => refusals = now,
            }
        }
        Err(WorkflowError::Internal(format!(
            "activities come and go too fast for execution {execution}"
        )))
    }

    /// The first event of an inbox with what taking it needs.
    async fn question(
        &self,
        execution: u64,
        refusals: Refusals,
    ) -> Result<Option<Question>, WorkflowError> {
        let shared = self.shared.clone();
        let entropy = &self.shared.entropy;
        let seed = (u128::from(entropy.bits()) << 64) | u128::from(entropy.bits());
        let now = self.world.clock.now();
        self.world
            .store
            .read(move |tx| {
                let Some((seq, event)) = tx.first_waiting_event(execution)? else {
                    return Ok(None);
                };
                let Some(row) = tx.execution(execution)? else { return Ok(None) };
                let event: Event = serde_json::from_str(&event).map_err(|e| {
                    WorkflowError::Internal(format!("event {seq} of execution {execution}: {e}"))
                })?;
                let Loaded { facts, program, info, state, .. } =
                    Loaded::unpack(tx, &shared.programs, row)?;
                Ok(Some(Question {
                    execution,
                    seq,
                    event,
                    program,
                    info,
                    facts,
                    state,
                    seed,
                    now,
                    refusals,
                }))
            })
            .await
    }
}

/// Why a resource cannot be used, if so.
pub(super) fn refusal(
    tx: &ReadTx,
    facts: &Facts,
    program: &Program,
    resource: &Resource,
) -> Option<String> {
    match resources::work(tx, resource, &program.region, facts.namespace.as_deref()) {
        Ok(Ok(_)) => None,
        Ok(Err(text)) => Some(text),
        // The store's failure shows again where it is reported: when the step is written.
        Err(_) => None,
    }
}

/// An event whose document is nested too deeply to be read again: what comes of it is decided, so it
/// waits as that. (A result as deep as any may be is deeper within what a service makes of it.)
fn as_judged(event: &Event) -> Option<Event> {
    let is_deep = |output: &Document| output.value().depth() > DEPTH_MAX;
    match event {
        Event::TaskSucceeded { task, output } if is_deep(output) => {
            let cause = format!("The result of the task has more than {DEPTH_MAX} levels.");
            let failure = Failure::new(names::DATA_LIMIT_EXCEEDED, cause);
            Some(Event::TaskFailed { task: *task, failure })
        }
        Event::TaskSubmitted { task, output } if is_deep(output) => {
            Some(Event::TaskSubmitted { task: *task, output: Document::new(Value::Null) })
        }
        _ => None,
    }
}

impl Stepper<'_> {
    /// Lets an event wait in the execution's inbox.
    pub(super) fn wait_in_inbox(&mut self, id: u64, event: &Event) -> Result<(), WorkflowError> {
        let text = match as_judged(event) {
            Some(judged) => serde_json::to_string(&judged),
            None => serde_json::to_string(event),
        };
        let text = text.map_err(|e| WorkflowError::Internal(format!("an event of {id}: {e}")))?;
        let Some(l) = self.load(id)? else { return Ok(()) };
        l.touch();
        l.facts.waiting += 1;
        l.facts.last_waiting += 1;
        let (seq, machine) = (l.facts.last_waiting, l.row.machine);
        self.tx.put_waiting_event(id, seq, &text)?;
        self.told.waiting.push((machine, id));
        Ok(())
    }

    fn take_thought(&mut self, thought: Thought) -> Result<Verdict, WorkflowError> {
        let Thought { execution: id, seq, event, state, outcome, refusals } = thought;
        let first = self.tx.first_waiting_event(id)?.map(|(seq, _)| seq);
        if first != Some(seq) || self.load(id)?.is_none() {
            return Ok(Verdict::Stale);
        }
        let Some(mut loaded) = self.take_out(id) else { return Ok(Verdict::Stale) };
        let answer = |(resource, _): (&Resource, &Option<String>)| {
            (resource.clone(), refusal(self.tx, &loaded.facts, &loaded.program, resource))
        };
        let now: Refusals = refusals.iter().map(answer).collect();
        if now != refusals {
            self.put_back(id, loaded);
            return Ok(Verdict::Otherwise(now));
        }
        loaded.facts.waiting = loaded.facts.waiting.saturating_sub(1);
        loaded.touch();
        loaded.state = state;
        self.put_back(id, loaded);
        self.tx.delete_waiting_event(id, seq)?;
        let taken = self.carry_out(id, &event, outcome)?;
        if matches!(event, Event::Redrive) && !taken {
            // It was reopened for this event and has nothing else to go on with.
            let cause = "The execution could not be continued.";
            self.force_end(id, End::Failed(Failure::new(names::RUNTIME, cause)))?;
        }
        self.drain()?;
        let more = self.load(id)?.is_some_and(|l| l.facts.waiting > 0);
        Ok(Verdict::CarriedOut { more })
    }
}
