//! An execution played event by event.

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_states::definition::ScopeId;
use ark_states::history::HistoryEvent;
use ark_states::limits::FUEL_PER_STEP_MAX;
use ark_states::machine::{
    Effect, End, Env, Event, ExecutionInfo, ExecutionState, ExecutionStatus, Host, MapRunId,
    MapRunRequest, Refused, TaskId, TaskRequest, TimerId, next,
};
use ark_states::resource::Resource;
use ark_states::{Definition, Document, Failure, Fuel, Value};
use jiff::{SignedDuration, Timestamp};

use super::driver::info;

/// What a step may burn at most, in units: its share, and what one evaluation may go beyond it.
const FUEL_OF_A_STEP: u64 = 4 * FUEL_PER_STEP_MAX;

struct Permissive;

impl Host for Permissive {
    fn task_token(&self, task: TaskId) -> String {
        format!("token-{}", task.0)
    }

    fn refusal(&self, _resource: &Resource) -> Option<String> {
        None
    }
}

/// An execution, its history, and what is open outside.
pub(super) struct Play {
    definition: Arc<Definition>,
    info: ExecutionInfo,
    pub(super) state: ExecutionState,
    pub(super) now: Timestamp,
    seed: u128,
    pub(super) history: Vec<HistoryEvent>,
    pub(super) tasks: Vec<TaskRequest>,
    pub(super) timers: Vec<(Timestamp, TimerId)>,
    pub(super) map_runs: Vec<MapRunRequest>,
    /// All Map Runs that were ever asked for.
    pub(super) asked: Vec<MapRunRequest>,
    pub(super) redriven: Vec<MapRunId>,
    pub(super) end: Option<End>,
    pub(super) yields: usize,
}

impl Play {
    /// A machine started with an input.
    pub(super) fn start(definition: &str, input: &str) -> Self {
        let definition = Definition::parse(definition).expect("the definition can be read");
        Self::start_of(definition, input, 1)
    }

    /// A parsed machine started with an input.
    pub(super) fn start_of(definition: Definition, input: &str, seed: u128) -> Self {
        let state = ExecutionState::new();
        Self::start_at(Arc::new(definition), state, info(input, false), seed)
    }

    /// A child execution of a Map Run of another play, started with its input.
    pub(super) fn child_of(parent: &Self, processor: ScopeId, input: &str) -> Self {
        let state = ExecutionState::new_child(processor);
        Self::start_at(parent.definition.clone(), state, info(input, false), parent.seed)
    }

    fn start_at(
        definition: Arc<Definition>,
        state: ExecutionState,
        info: ExecutionInfo,
        seed: u128,
    ) -> Self {
        let mut play = Self {
            definition,
            state,
            now: info.start_time,
            info,
            seed: seed << 32,
            history: Vec::new(),
            tasks: Vec::new(),
            timers: Vec::new(),
            map_runs: Vec::new(),
            asked: Vec::new(),
            redriven: Vec::new(),
            end: None,
            yields: 0,
        };
        play.send(Event::Start).expect("a start is taken");
        play
    }

    /// Sends an event, and goes on while the machine yields.
    pub(super) fn send(&mut self, event: Event) -> Result<(), Refused> {
        self.step(event)?;
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<(), Refused> {
        self.seed += 1;
        let fuel = Fuel::ample();
        let env = self.env(&fuel);
        let before = self.state.to_bytes();
        let mut state = ExecutionState::from_bytes(&before).expect("a stored state can be read");
        let step = match next(&self.definition, &mut state, event, &env) {
            Ok(step) => step,
            Err(refused) => {
                assert_eq!(before, state.to_bytes(), "a refusal leaves the state as it was");
                return Err(refused);
            }
        };
        assert!(fuel.spent() < FUEL_OF_A_STEP, "a step burnt {}", fuel.spent());
        let bytes = state.to_bytes();
        let read = ExecutionState::from_bytes(&bytes).expect("a stored state can be read");
        assert_eq!(bytes, read.to_bytes(), "the stored form is stable");
        self.state = state;
        for event in step.history {
            assert_eq!(event.id, self.history.len() as u64 + 1, "ids are contiguous");
            assert!(event.previous_event_id < event.id, "an event follows from an earlier one");
            self.history.push(event);
        }
        for effect in step.effects {
            match effect {
                Effect::ScheduleTask(request) => self.tasks.push(*request),
                Effect::CancelTask { task } => self.tasks.retain(|open| open.task != task),
                Effect::ArmTimer { timer, at } => self.timers.push((at, timer)),
                Effect::CancelTimer { timer } => self.timers.retain(|(_, open)| *open != timer),
                Effect::StartMapRun(request) => {
                    self.asked.push((*request).clone());
                    self.map_runs.push(*request);
                }
                Effect::StopMapRun { map_run } => {
                    self.map_runs.retain(|open| open.map_run != map_run);
                    self.redriven.retain(|open| *open != map_run);
                }
                Effect::RedriveMapRun { map_run } => self.redriven.push(map_run),
                Effect::Finish(end) => {
                    assert!(self.end.is_none(), "an execution ends once");
                    self.end = Some(end);
                }
            }
        }
        if step.yielded {
            self.yields += 1;
            return self.step(Event::Continue);
        }
        self.check();
        Ok(())
    }

    fn env<'a>(&'a self, fuel: &'a Fuel) -> Env<'a> {
        Env { now: self.now, seed: self.seed, execution: &self.info, host: &Permissive, fuel }
    }

    /// Asks something of the definition as the runtime does beside the steps.
    pub(super) fn with_env<T>(&self, ask: impl FnOnce(&Definition, &Env<'_>) -> T) -> T {
        ask(&self.definition, &self.env(&Fuel::ample()))
    }

    /// What the state waits for is what is open outside, and its status is what the history says.
    fn check(&self) {
        let (tasks, timers, map_runs) = self.state.waits_for();
        let open: BTreeSet<TaskId> = self.tasks.iter().map(|task| task.task).collect();
        assert_eq!(tasks.into_iter().collect::<BTreeSet<_>>(), open, "tasks");
        let open: BTreeSet<TimerId> = self.timers.iter().map(|(_, timer)| *timer).collect();
        assert_eq!(timers.into_iter().collect::<BTreeSet<_>>(), open, "timers");
        let open: BTreeSet<MapRunId> = self
            .map_runs
            .iter()
            .map(|run| run.map_run)
            .chain(self.redriven.iter().copied())
            .collect();
        assert_eq!(map_runs.into_iter().collect::<BTreeSet<_>>(), open, "map runs");
        if self.state.status() == ExecutionStatus::Running {
            let waits =
                self.tasks.len() + self.timers.len() + self.map_runs.len() + self.redriven.len();
            assert!(waits > 0, "what runs waits for something, or it would never end");
        }
        let by_history = match self.history.last().map(|event| event.kind.name()) {
            Some("ExecutionSucceeded") => ExecutionStatus::Succeeded,
            Some("ExecutionFailed") => ExecutionStatus::Failed,
            Some("ExecutionTimedOut") => ExecutionStatus::TimedOut,
            Some("ExecutionAborted") => ExecutionStatus::Aborted,
            _ => ExecutionStatus::Running,
        };
        assert_eq!(self.state.status(), by_history);
        assert_eq!(self.end.is_some(), by_history != ExecutionStatus::Running);
        assert_eq!(self.state.event_count(), self.history.len() as u64);
    }

    /// Takes the oldest open task.
    pub(super) fn take(&mut self) -> TaskRequest {
        self.tasks.remove(0)
    }

    pub(super) fn succeed(&mut self, task: TaskId, output: &str) -> Result<(), Refused> {
        self.tasks.retain(|open| open.task != task);
        let output = Document::new(Value::parse(output).expect("an output"));
        self.send(Event::TaskSucceeded { task, output })
    }

    pub(super) fn fail(&mut self, task: TaskId, error: &str) -> Result<(), Refused> {
        self.tasks.retain(|open| open.task != task);
        self.send(Event::TaskFailed { task, failure: Failure::new(error, "cause") })
    }

    /// Lets the next timer fire; gives the seconds passed.
    pub(super) fn fire(&mut self) -> f64 {
        let next = *self.timers.iter().min().expect("a timer");
        self.timers.retain(|timer| *timer != next);
        let passed: SignedDuration = next.0.duration_since(self.now);
        self.now = self.now.max(next.0);
        self.send(Event::TimerFired { timer: next.1 }).expect("an armed timer is waited for");
        passed.as_secs_f64()
    }

    /// Redrives, forgetting the end.
    pub(super) fn redrive(&mut self) {
        self.end = None;
        self.send(Event::Redrive).expect("a redrive is taken");
    }

    /// The types of the events, from the n-th on.
    pub(super) fn types(&self, from: usize) -> Vec<&'static str> {
        self.history[from..].iter().map(|event| event.kind.name()).collect()
    }

    /// The output, as text.
    #[track_caller]
    pub(super) fn output(&self) -> &str {
        match &self.end {
            Some(End::Succeeded(output)) => output.text(),
            other => panic!("{other:?}"),
        }
    }

    /// The failure.
    #[track_caller]
    pub(super) fn failure(&self) -> &Failure {
        match &self.end {
            Some(End::Failed(failure) | End::TimedOut(failure) | End::Aborted(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }
}
