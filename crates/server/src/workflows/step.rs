//! The step: everything that happens to executions within one transaction.
//!
//! A [`Stepper`] loads executions as they are concerned, lets the interpreter take events, turns its
//! effects into rows (`effects`, `map_runs`), and writes each execution once at the end, showing the
//! revision it read. What one execution's step means for another (a child that ends, a map run that
//! goes on) is taken up in the same transaction, up to a limit; the rest is left to the driver.
//!
//! Runs on the store's writer; must not wait for anything.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_states::Fuel;
use ark_states::error::{Failure, names};
use ark_states::history::{Details, EventType, HistoryEvent};
use ark_states::machine::{
    self, End, Env, Event, ExecutionInfo, ExecutionState, Host, MapRunEvent, TaskId,
};
use ark_states::resource::Resource;
use ark_store::{ExecutionKind, ExecutionRow, ReadTx, TimerRow, WriteTx};
use jiff::{SignedDuration, Timestamp};

use super::Entropy;
use super::error::WorkflowError;
use super::facts::{Facts, Parent, TokenUse, child_type, is_kept_apart, keep_text, kept_text};
use super::hub::Hub;
use super::map_files::ITEMS_FUEL;
use super::map_runs::Run;
use super::program::{Program, Programs};
use super::thinking::{self, Outcome, TRIAL_FUEL};
use super::types::StartTarget;

mod start;

/// Whose clock a timer is.
pub(super) mod timers {
    /// The interpreter's.
    pub(crate) const INTERPRETER: u8 = 0;
    /// A task's whole time.
    pub(crate) const TASK: u8 = 1;
    /// A task's heartbeat.
    pub(crate) const HEARTBEAT: u8 = 2;
    /// The longest an execution may last.
    pub(crate) const EXECUTION: u8 = 3;
    /// A step that used up its share goes on.
    pub(crate) const CONTINUE: u8 = 4;
}

/// The most open executions (the quota of AWS).
const OPEN_MAX: u64 = 1_000_000;
/// The longest an Express execution may last.
pub(super) const EXPRESS_MAX: SignedDuration = SignedDuration::from_secs(300);
/// Executions started within one transaction on behalf of others; more are left to the driver.
const STARTS_MAX: u32 = 64;
/// Times that executions go on within one transaction after they used up their share.
const CONTINUES_MAX: u32 = 4;

/// What all steps of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) hub: Hub,
    pub(super) programs: Programs,
    pub(super) recovering: tokio::sync::Mutex<()>,
    /// Whether what a killed server left was taken care of.
    pub(super) recovered: std::sync::atomic::AtomicBool,
    /// The number given to an execution last; 0 before the first.
    last_execution: AtomicU64,
    /// Units of fuel that a step may cost on the writer.
    pub(super) trial_fuel: AtomicU64,
    /// Units of fuel that the selection of a map run's items may cost.
    pub(super) items_fuel: AtomicU64,
    /// Whether long work is done where it is asked for, as simulations want it.
    pub(super) inline: std::sync::atomic::AtomicBool,
    /// Places of those who do long work on other threads.
    pub(super) beside: Arc<tokio::sync::Semaphore>,
    /// The most open executions.
    pub(super) open_max: AtomicU64,
    /// Whether no more executions may be started, as the driver saw it last.
    pub(super) full: std::sync::atomic::AtomicBool,
}

impl Shared {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            hub: Hub::default(),
            programs: Programs::default(),
            recovering: tokio::sync::Mutex::default(),
            recovered: std::sync::atomic::AtomicBool::new(false),
            last_execution: AtomicU64::new(0),
            trial_fuel: AtomicU64::new(TRIAL_FUEL),
            items_fuel: AtomicU64::new(ITEMS_FUEL),
            inline: std::sync::atomic::AtomicBool::new(false),
            beside: Arc::new(tokio::sync::Semaphore::new(thinking::threads())),
            open_max: AtomicU64::new(OPEN_MAX),
            full: std::sync::atomic::AtomicBool::new(false),
        }
    }
}

/// An execution in hand.
pub(super) struct Loaded {
    pub(super) row: ExecutionRow,
    pub(super) facts: Facts,
    pub(super) program: Arc<Program>,
    pub(super) info: ExecutionInfo,
    pub(super) state: ExecutionState,
    history: Vec<HistoryEvent>,
    fresh: bool,
    touched: bool,
}

/// What to start.
pub(super) struct StartSpec {
    pub(super) target: StartTarget,
    pub(super) kind: ExecutionKind,
    pub(super) name: Option<String>,
    pub(super) input: Arc<str>,
    pub(super) trace_header: Option<String>,
    pub(super) priority: i64,
    pub(super) namespace: Option<String>,
    pub(super) parent: Option<Parent>,
}

/// What became of a start.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) arn: String,
    pub(super) started_at: Timestamp,
    /// Whether it was made by this start, and its first step is to be taken.
    pub(super) fresh: bool,
}

/// See the module.
pub(super) struct Stepper<'a> {
    pub(super) tx: &'a mut WriteTx,
    pub(super) shared: &'a Shared,
    pub(super) now: Timestamp,
    /// In the order of their numbers, so that the same step does the same wherever it runs.
    loaded: BTreeMap<u64, Box<Loaded>>,
    named: HashMap<(u64, String), u64>,
    pub(super) runs: BTreeMap<u64, Run>,
    pub(super) inbox: VecDeque<(u64, Event)>,
    pub(super) map_inbox: VecDeque<(u64, MapRunEvent)>,
    pub(super) starts_left: u32,
    continues_left: u32,
    /// Executions with texts that are kept apart from their rows.
    long_texts: Vec<u64>,
    pub(super) told: Told,
}

/// What is told once the transaction is committed: whoever looked before would find nothing, and not look
/// again until its next round.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Machines and executions for which events were put into inboxes.
    pub(super) waiting: Vec<(u64, u64)>,
    /// There are calls to be made.
    pub(super) calls: bool,
    /// Objects are to be read or written.
    pub(super) objects: bool,
}

/// The runtime's answers to the interpreter.
struct HostView<'a> {
    tx: &'a WriteTx,
    execution: u64,
    facts: &'a Facts,
    program: &'a Program,
}

impl Host for HostView<'_> {
    fn task_token(&self, task: TaskId) -> String {
        self.facts.token(self.execution, task.0, TokenUse::Task)
    }

    fn refusal(&self, resource: &Resource) -> Option<String> {
        thinking::refusal(self.tx, self.facts, self.program, resource)
    }
}

impl Loaded {
    /// What a row says.
    pub(super) fn unpack(
        tx: &ReadTx,
        programs: &Programs,
        row: ExecutionRow,
    ) -> Result<Self, WorkflowError> {
        let broken = |what: &str, why: String| {
            WorkflowError::Internal(format!("{what} of execution {}: {why}", row.id))
        };
        let facts: Facts =
            serde_json::from_str(&row.body).map_err(|e| broken("the facts", e.to_string()))?;
        let program = programs.get(tx, row.revision)?;
        let input = kept_text(tx, row.id, &facts.input)?;
        let state = match &row.state {
            Some(state) => ExecutionState::from_bytes(state.as_bytes())
                .map_err(|e| broken("the state", e.to_string()))?,
            None => ExecutionState::new(),
        };
        let info = info(&program, &row, &facts, input.into());
        Ok(Self {
            row,
            facts,
            program,
            info,
            state,
            history: Vec::new(),
            fresh: false,
            touched: false,
        })
    }

    /// It is to be written.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether its events are kept, and what it could be redriven from.
    fn is_recorded(&self) -> bool {
        self.row.kind == ExecutionKind::Standard
            && !matches!(&self.facts.parent, Some(Parent::Item { express: true, .. }))
    }

    /// Whether its state is kept when it is written.
    fn keeps_state(&self) -> bool {
        match self.row.status {
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => true,
            ExecutionStatus::Succeeded => false,
            // What an execution is redriven from.
            ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Aborted => {
                self.is_recorded() && self.state.status() != machine::ExecutionStatus::Running
            }
        }
    }

    /// Its row as it will stand once it is written, as far as a redrive asks: state (here an empty
    /// text) and number of events get into the row in hand only then.
    pub(super) fn row_to_be(&self) -> ExecutionRow {
        let mut row = self.row.clone();
        if self.touched {
            row.state = self.keeps_state().then(String::new);
            row.events = self.events_to_be();
        }
        row
    }

    /// The number of its events as it will stand once it is written.
    pub(super) fn events_to_be(&self) -> u64 {
        let last = self.history.last().filter(|_| self.touched && self.is_recorded());
        last.map_or(self.row.events, |last| last.id)
    }
}

impl<'a> Stepper<'a> {
    pub(super) fn new(tx: &'a mut WriteTx, shared: &'a Shared, now: Timestamp) -> Self {
        Self {
            tx,
            shared,
            now,
            loaded: BTreeMap::new(),
            named: HashMap::new(),
            runs: BTreeMap::new(),
            inbox: VecDeque::new(),
            map_inbox: VecDeque::new(),
            starts_left: STARTS_MAX,
            continues_left: CONTINUES_MAX,
            long_texts: Vec::new(),
            told: Told::default(),
        }
    }

    /// The execution, from hand or from the store; `None` when there is none.
    pub(super) fn load(&mut self, id: u64) -> Result<Option<&mut Loaded>, WorkflowError> {
        if !self.loaded.contains_key(&id) {
            let Some(row) = self.tx.execution(id)? else { return Ok(None) };
            let loaded = Loaded::unpack(self.tx, &self.shared.programs, row)?;
            self.loaded.insert(id, Box::new(loaded));
        }
        Ok(self.loaded.get_mut(&id).map(|l| &mut **l))
    }

    /// Lets an execution take an event, and carries out what follows. Answers whether it was
    /// taken; an event that nothing waits for changes nothing.
    pub(super) fn apply(&mut self, id: u64, event: &Event) -> Result<bool, WorkflowError> {
        let taken = self.take(id, event)?;
        self.drain()?;
        Ok(taken)
    }

    /// As [`Self::apply`], but leaves what follows in the inboxes.
    fn take(&mut self, id: u64, event: &Event) -> Result<bool, WorkflowError> {
        if self.load(id)?.is_none() {
            return Ok(false);
        }
        let Some(mut loaded) = self.loaded.remove(&id) else { return Ok(false) };
        let is_redrive = matches!(event, Event::Redrive);
        if loaded.row.status.is_ended() && !is_redrive {
            self.loaded.insert(id, loaded);
            return Ok(false);
        }
        let tried = match loaded.facts.waiting > 0 || loaded.program.is_costly() {
            true => None,
            false => self.try_step(id, &mut loaded, event),
        };
        let is_taken = !matches!(tried, Some(Outcome::Refused));
        if is_redrive && is_taken {
            loaded.row.status = ExecutionStatus::Running;
            loaded.row.stopped_at = None;
        }
        self.loaded.insert(id, loaded);
        match tried {
            Some(outcome) => self.carry_out(id, event, outcome),
            None => {
                self.wait_in_inbox(id, event)?;
                Ok(true)
            }
        }
    }

    /// Lets the interpreter take an event, if that costs no more than it may here.
    fn try_step(&mut self, id: u64, l: &mut Loaded, event: &Event) -> Option<Outcome> {
        let entropy = &self.shared.entropy;
        let seed = (u128::from(entropy.bits()) << 64) | u128::from(entropy.bits());
        let host = HostView { tx: &*self.tx, execution: id, facts: &l.facts, program: &l.program };
        let fuel = Fuel::of(self.shared.trial_fuel.load(Ordering::Relaxed));
        let env = Env { now: self.now, seed, execution: &l.info, host: &host, fuel: &fuel };
        let outcome = thinking::step(&l.program, &mut l.state, event.clone(), &env).ok();
        if outcome.is_none() {
            l.program.set_costly(true);
        }
        outcome
    }

    /// Takes an execution out of hand, to be given back with [`Self::put_back`].
    pub(super) fn take_out(&mut self, id: u64) -> Option<Box<Loaded>> {
        self.loaded.remove(&id)
    }

    pub(super) fn put_back(&mut self, id: u64, loaded: Box<Loaded>) {
        self.loaded.insert(id, loaded);
    }

    /// Carries out what the interpreter made of an event; the state is in place. Answers whether
    /// the event was taken.
    pub(super) fn carry_out(
        &mut self,
        id: u64,
        event: &Event,
        outcome: Outcome,
    ) -> Result<bool, WorkflowError> {
        let step = match outcome {
            Outcome::Taken(step) => step,
            Outcome::Refused => return Ok(false),
            Outcome::Panicked => {
                tracing::error!(execution = id, "the interpreter panicked; the execution fails");
                let cause = "The interpreter could not take this step. This is a defect of Ark.";
                self.force_end(id, End::Failed(Failure::new(names::RUNTIME, cause)))?;
                return Ok(true);
            }
        };
        let Some(loaded) = self.load(id)? else { return Ok(false) };
        loaded.touched = true;
        loaded.history.extend(step.history);
        for effect in step.effects {
            self.effect(id, effect)?;
        }
        self.has_taken(id, event)?;
        if step.yielded {
            if self.continues_left > 0 {
                self.continues_left -= 1;
                self.inbox.push_back((id, Event::Continue));
            } else {
                self.set_timer(id, timers::CONTINUE, 0, self.now)?;
            }
        }
        Ok(true)
    }

    /// Takes up what steps of some executions mean for others.
    pub(super) fn drain(&mut self) -> Result<(), WorkflowError> {
        loop {
            if let Some((id, event)) = self.inbox.pop_front() {
                self.take(id, &event)?;
            } else if let Some((run, event)) = self.map_inbox.pop_front() {
                self.take_map(run, event)?;
            } else if !self.start_children()? {
                return Ok(());
            }
        }
    }

    /// Ends an execution without the interpreter.
    pub(super) fn force_end(&mut self, id: u64, end: End) -> Result<(), WorkflowError> {
        let now = self.now;
        let Some(loaded) = self.load(id)? else { return Ok(()) };
        let kind = match &end {
            End::Succeeded(_) => EventType::ExecutionSucceeded,
            End::Failed(_) => EventType::ExecutionFailed,
            End::TimedOut(_) => EventType::ExecutionTimedOut,
            End::Aborted(_) => EventType::ExecutionAborted,
        };
        let details = match &end {
            End::Succeeded(output) => {
                Details { output: Some(output.text().clone()), ..Details::default() }
            }
            End::Failed(f) | End::TimedOut(f) | End::Aborted(f) => {
                Details { error: f.error.clone(), cause: f.cause.clone(), ..Details::default() }
            }
        };
        let last = loaded.history.last().map_or(loaded.row.events, |e| e.id);
        let event =
            HistoryEvent { id: last + 1, previous_event_id: last, timestamp: now, kind, details };
        loaded.history.push(event);
        loaded.touched = true;
        loaded.row.state = None;
        loaded.state = ExecutionState::new();
        self.finish(id, end)?;
        self.drain()
    }

    /// An execution has ended: its row, its work, and whoever waits for it.
    pub(super) fn finish(&mut self, id: u64, end: End) -> Result<(), WorkflowError> {
        let now = self.now;
        let (status, output, failure) = match end {
            End::Succeeded(output) => (ExecutionStatus::Succeeded, Some(output), None),
            End::Failed(failure) => (ExecutionStatus::Failed, None, Some(failure)),
            End::TimedOut(failure) => (ExecutionStatus::TimedOut, None, Some(failure)),
            End::Aborted(failure) => (ExecutionStatus::Aborted, None, Some(failure)),
        };
        let output_kept = match &output {
            Some(output) => Some(self.keep_text(id, output.text())?),
            None => None,
        };
        let Some(l) = self.load(id)? else { return Ok(()) };
        l.row.status = status;
        l.row.stopped_at = Some(now);
        l.facts.output = output_kept;
        l.facts.error = failure.as_ref().and_then(|f| f.error.as_deref().map(str::to_owned));
        l.facts.cause = failure.as_ref().and_then(|f| f.cause.as_deref().map(str::to_owned));
        let waiting = std::mem::take(&mut l.facts.waiting);
        let (map_runs, parent) = (l.facts.map_runs, l.facts.parent.clone());
        if waiting > 0 {
            self.tx.clear_waiting_events(id)?;
        }
        for task in self.tx.workflow_tasks_of(id)? {
            self.withdraw(&task)?;
        }
        if map_runs {
            self.stop_map_runs(id)?;
        }
        self.tx.clear_execution_work(id)?;
        self.shared.hub.ended(id);
        self.tell_parent(id, parent.as_ref())
    }

    /// A text as it is kept in a row: itself, or a reference to a payload.
    pub(super) fn keep_text(&mut self, id: u64, text: &str) -> Result<String, WorkflowError> {
        let kept = keep_text(self.tx, id, text)?;
        if kept != text && !self.long_texts.contains(&id) {
            self.long_texts.push(id);
        }
        Ok(kept)
    }

    pub(super) fn set_timer(
        &mut self,
        execution: u64,
        kind: u8,
        num: u64,
        due: Timestamp,
    ) -> Result<(), WorkflowError> {
        self.tx.put_timer(TimerRow { execution, kind, num, due })?;
        self.shared.hub.timer_set(due);
        Ok(())
    }

    /// Writes everything. The last call within the transaction.
    /// Answers what is to be told after the commit.
    pub(super) fn write(&mut self) -> Result<Told, WorkflowError> {
        for (id, mut loaded) in std::mem::take(&mut self.loaded) {
            if loaded.touched {
                self.write_one(id, &mut loaded)?;
            }
        }
        for (_, run) in std::mem::take(&mut self.runs) {
            run.write(self.tx)?;
        }
        Ok(std::mem::take(&mut self.told))
    }

    fn write_one(&mut self, id: u64, l: &mut Loaded) -> Result<(), WorkflowError> {
        let ended = l.row.status.is_ended();
        let kept = match l.row.kind {
            ExecutionKind::Standard => true,
            ExecutionKind::Express => !ended,
            // Whoever waits for it reads it once more, unless it ended before it was ever written.
            ExecutionKind::Sync => !(ended && l.fresh),
        };
        if !kept {
            if !l.fresh {
                self.tx.delete_execution(id)?;
            } else if self.long_texts.contains(&id) {
                self.tx.delete_payloads(id)?;
            }
            return Ok(());
        }
        if let (true, Some(first)) = (l.is_recorded(), l.history.first()) {
            let seq = first.id;
            if seq != l.row.events + 1 {
                let text = format!(
                    "execution {id} has {} events and was to get number {seq}",
                    l.row.events
                );
                return Err(WorkflowError::Internal(text));
            }
            let last = l.history.last().map_or(seq, |e| e.id);
            for event in &mut l.history {
                let d = &mut event.details;
                for text in [&mut d.input, &mut d.output, &mut d.parameters, &mut d.cause] {
                    if let Some(long) = text.as_ref().filter(|t| is_kept_apart(t)) {
                        *text = Some(self.keep_text(id, long)?.into());
                    }
                }
            }
            let events = serde_json::to_string(&l.history)
                .map_err(|e| WorkflowError::Internal(format!("the history of {id}: {e}")))?;
            self.tx.append_history(id, seq, &events)?;
            l.row.events = last;
        }
        let body = serde_json::to_string(&l.facts)
            .map_err(|e| WorkflowError::Internal(format!("the facts of {id}: {e}")))?;
        l.row.body = body;
        l.row.state = l
            .keeps_state()
            .then(|| String::from_utf8(l.state.to_bytes()))
            .transpose()
            .map_err(|_| WorkflowError::Internal(format!("the state of {id} is no text")))?;
        if l.fresh {
            self.tx.insert_execution(&l.row)?;
        } else {
            self.tx.put_execution(&mut l.row)?;
        }
        Ok(())
    }

    fn tell_parent(&mut self, id: u64, parent: Option<&Parent>) -> Result<(), WorkflowError> {
        match parent {
            None => Ok(()),
            Some(&Parent::Task { execution, task, json }) => {
                let event = self.child_outcome(id, task, json)?;
                if self.end_task(execution, task)? {
                    self.inbox.push_back((execution, event));
                }
                Ok(())
            }
            Some(&Parent::Item { map_run, index, .. }) => self.child_ended(id, map_run, index),
        }
    }
}

/// What never changes of an execution, as the interpreter sees it.
fn info(program: &Program, row: &ExecutionRow, facts: &Facts, input: Arc<str>) -> ExecutionInfo {
    let shown = row.name.split_once(':').map_or(row.name.as_str(), |(name, _)| name);
    ExecutionInfo {
        express: matches!(row.kind, ExecutionKind::Express | ExecutionKind::Sync),
        arn: program.execution_arn(row, facts).into(),
        name: shown.into(),
        input,
        role_arn: program.role_arn.clone(),
        start_time: row.started_at,
        state_machine_arn: program.machine_arn(facts).into(),
        state_machine_name: program.name.as_str().into(),
        alias_arn: facts.alias_arn.as_deref().map(Into::into),
        version_arn: facts.version_arn.as_deref().map(Into::into),
    }
}

/// An instant some time later; the end of time where no calendar reaches.
pub(super) fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Which kind of execution a start of a machine makes, when nobody waits for it.
pub(super) fn kind_of(machine_type: MachineType) -> ExecutionKind {
    match machine_type {
        MachineType::Standard => ExecutionKind::Standard,
        MachineType::Express => ExecutionKind::Express,
    }
}

/// Whether a child of a map run is kept like a Standard execution.
pub(super) fn kind_of_child(express: bool) -> ExecutionKind {
    kind_of(child_type(express))
}
