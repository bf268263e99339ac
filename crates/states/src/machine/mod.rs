//! The interpreter: `(state, event) -> (state, effects, history)`. No I/O, no clock.
//!
//! The runtime keeps one [`ExecutionState`] per execution, hands each [`Event`] to [`next`], and in one
//! transaction stores the changed state and appends the history; then it carries out the effects.
//! `next` runs on until outside work is needed, so a machine of Pass and Choice states is one call.
//!
//! It must not keep anything outside the state: an execution goes on after a restart from the stored
//! bytes alone.

pub(crate) mod children;
mod effect;
pub(crate) mod evaluate;
mod event;
pub(crate) mod failure;
mod frame;
pub(crate) mod map;
mod map_run;
mod redrive;
mod run;
pub(crate) mod states;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::frame::{Doing, Frame, FrameId, ROOT};
use self::run::Run;
use crate::definition::{Definition, ScopeId};
use crate::error::{Failure, names};
use crate::fuel::Fuel;
use crate::history::{Details, EventType, HistoryEvent};
use crate::resource::Resource;
use crate::value::Document;

pub use effect::{
    Effect, End, ItemSelection, MapItems, MapRunId, MapRunRequest, ReaderRequest, TaskId,
    TaskRequest, TimerId, WriterRequest,
};
pub use event::{Event, MapRunEnd, TaskTimeout, context_time};
pub use map::{ChildInputs, InputsProgress};
pub use map_run::{
    ChildStatus, MapRunCounts, MapRunEffect, MapRunEvent, MapRunItems, MapRunState, MapRunStatus,
    Unsuccessful,
};

/// What never changes about an execution; kept beside the state, not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutionInfo {
    /// Express: no limit on events, no redrive.
    #[serde(default)]
    pub express: bool,
    /// `$$.Execution.Id`.
    pub arn: Arc<str>,
    /// `$$.Execution.Name`.
    pub name: Arc<str>,
    /// The input text as the caller sent it: the first event shows it so.
    pub input: Arc<str>,
    /// `$$.Execution.RoleArn`.
    pub role_arn: Arc<str>,
    /// `$$.Execution.StartTime`.
    pub start_time: Timestamp,
    /// `$$.StateMachine.Id`.
    pub state_machine_arn: Arc<str>,
    /// `$$.StateMachine.Name`.
    pub state_machine_name: Arc<str>,
    /// The alias it was started by, shown in the first event.
    pub alias_arn: Option<Arc<str>>,
    /// The version it was started by, shown in the first event.
    pub version_arn: Option<Arc<str>>,
}

/// What the machine asks of the runtime while it runs; the answers must depend on nothing but the
/// arguments and what is stored.
pub trait Host {
    /// The token of a task, for `$$.Task.Token`. Workers send it back; it must not be guessable.
    fn task_token(&self, task: TaskId) -> String;

    /// Why a resource cannot be used, if so: `The activity <arn> does not exist.` The state then fails
    /// with `States.Runtime` before anything is scheduled.
    fn refusal(&self, resource: &Resource) -> Option<String>;
}

/// The world at the time of one call.
pub struct Env<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// Fresh random bits for this call: jitter, UUIDs, `States.MathRandom`.
    pub seed: u128,
    /// The execution.
    pub execution: &'a ExecutionInfo,
    /// The runtime's answers.
    pub host: &'a dyn Host,
    /// What the call may cost: [`Refused::OutOfFuel`] when that is not enough.
    pub fuel: &'a Fuel,
}

/// What one call of [`next`] brought.
#[derive(Debug, Default)]
pub struct Step {
    /// To be appended, in order.
    pub history: Vec<HistoryEvent>,
    /// To be done once the step is durable, in order.
    pub effects: Vec<Effect>,
    /// The machine could go on at once but has used its share: store, then send [`Event::Continue`].
    pub yielded: bool,
}

/// Why an event was not taken; the state is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The execution has ended (or, for a redrive, has not ended badly).
    #[error("the execution is not in a state for this")]
    WrongStatus,
    /// The task, timer or Map Run is none of those waited for: answered before, or cancelled.
    #[error("nothing waits for this")]
    NotWaitedFor,
    /// The step costs more than [`Env::fuel`] holds.
    #[error("the step costs more than it may here")]
    OutOfFuel,
}

/// Whether an execution runs, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExecutionStatus {
    /// Not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended with a failure.
    Failed,
    /// `TimeoutSeconds` passed.
    TimedOut,
    /// Stopped.
    Aborted,
}

/// Version of the stored form of [`ExecutionState`].
const VERSION: u32 = 1;

/// Where an execution stands. Small: the current state of each branch with its input, retry counters,
/// variables, results gathered; not the definition, not the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutionState {
    version: u32,
    /// The list of states it runs: the machine, or a Map's processor.
    scope: ScopeId,
    status: ExecutionStatus,
    last_event_id: u64,
    #[serde(default)]
    redrive_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redrive_time: Option<Timestamp>,
    /// The last id given to a task, timer or Map Run.
    last_id: u64,
    /// The id of the next frame.
    next_frame: FrameId,
    /// The timer of the machine's `TimeoutSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<TimerId>,
    /// Bytes of all variables.
    #[serde(default)]
    variables_bytes: usize,
    /// Running lists of states; kept after a failure, for a redrive.
    frames: BTreeMap<FrameId, Frame>,
    /// Frames that can go on at once, in this order.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    ready: VecDeque<FrameId>,
}

impl ExecutionState {
    /// A new execution of a machine, before [`Event::Start`].
    pub fn new() -> Self {
        Self::new_child(ScopeId(0))
    }

    /// A new execution of the processor of a distributed Map.
    pub fn new_child(scope: ScopeId) -> Self {
        Self {
            version: VERSION,
            scope,
            status: ExecutionStatus::Running,
            last_event_id: 0,
            redrive_count: 0,
            redrive_time: None,
            last_id: 0,
            next_frame: ROOT,
            timeout: None,
            variables_bytes: 0,
            frames: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Reads what [`Self::to_bytes`] wrote, in this or an earlier version of Ark.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(bytes)
            .map_err(|error| StateError { detail: error.to_string() })?;
        if state.version != VERSION {
            let detail = format!("version {} is not known", state.version);
            return Err(StateError { detail });
        }
        Ok(state)
    }

    /// For the store. Carries its version.
    #[expect(clippy::expect_used, reason = "maps with integer keys and texts always serialise")]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a state is JSON")
    }

    /// Whether it runs, and how it ended.
    pub fn status(&self) -> ExecutionStatus {
        self.status
    }

    /// Events made so far: the id of the last one.
    pub fn event_count(&self) -> u64 {
        self.last_event_id
    }

    /// The tasks, timers and Map Runs it waits for: what a sweep after a crash must find open.
    pub fn waits_for(&self) -> (Vec<TaskId>, Vec<TimerId>, Vec<MapRunId>) {
        let (mut tasks, mut timers, mut map_runs) = (Vec::new(), Vec::new(), Vec::new());
        if self.status != ExecutionStatus::Running {
            return (tasks, timers, map_runs);
        }
        timers.extend(self.timeout);
        for frame in self.frames.values() {
            match &frame.doing {
                Doing::Task { task } => tasks.push(*task),
                Doing::Wait { timer } | Doing::Retry { timer } => timers.push(*timer),
                Doing::MapRun { map_run, .. } => map_runs.push(*map_run),
                Doing::Enter
                | Doing::Work
                | Doing::Parallel { .. }
                | Doing::Map(_)
                | Doing::Failed { .. } => {}
            }
        }
        (tasks, timers, map_runs)
    }

    /// How often it was redriven.
    pub fn redrive_count(&self) -> u32 {
        self.redrive_count
    }
}

impl Default for ExecutionState {
    fn default() -> Self {
        Self::new()
    }
}

/// Stored bytes that are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored state cannot be read: {detail}")]
pub struct StateError {
    detail: String,
}

/// Takes one event and runs on until outside work is needed. On refusal the state is unchanged.
pub fn next(
    definition: &Definition,
    state: &mut ExecutionState,
    event: Event,
    env: &Env<'_>,
) -> Result<Step, Refused> {
    let redrive = matches!(event, Event::Redrive);
    if state.status != ExecutionStatus::Running && !redrive {
        return Err(Refused::WrongStatus);
    }
    let begun = state.last_event_id > 0;
    if begun == matches!(event, Event::Start) {
        return Err(Refused::WrongStatus);
    }
    let before = env.fuel.is_limited().then(|| state.clone());
    let taken = take(Run::new(definition, state, env), event);
    match before {
        // What came out is not what more fuel would have made of it, not even a failure.
        Some(before) if env.fuel.is_dry() => {
            *state = before;
            Err(Refused::OutOfFuel)
        }
        Some(_) | None => taken,
    }
}

fn take(mut run: Run<'_>, event: Event) -> Result<Step, Refused> {
    match event {
        Event::Start => run.start()?,
        Event::Continue => {}
        Event::TaskStarted { task, worker } => run.task_started(task, worker)?,
        Event::TaskSubmitted { task, output } => run.task_submitted(task, &output)?,
        Event::TaskSucceeded { task, output } => run.task_succeeded(task, &output)?,
        Event::TaskFailed { task, failure } => run.task_failed(task, failure)?,
        Event::TaskTimedOut { task, timeout } => run.task_timed_out(task, timeout)?,
        Event::TimerFired { timer } => run.timer_fired(timer)?,
        Event::MapRunFinished { map_run, end } => run.map_run_finished(map_run, end)?,
        Event::Stop { failure } => run.end(End::Aborted(failure), 0),
        Event::Redrive => run.redrive()?,
    }
    Ok(run.drive())
}

impl Run<'_> {
    fn start(&mut self) -> Result<(), Refused> {
        let execution = self.env.execution;
        let start = self.definition.start(self.state.scope).ok_or(Refused::WrongStatus)?;
        let details = Details {
            input: Some(execution.input.clone()),
            role_arn: Some(execution.role_arn.clone()),
            state_machine_alias_arn: execution.alias_arn.clone(),
            state_machine_version_arn: execution.version_arn.clone(),
            ..Details::default()
        };
        self.record(EventType::ExecutionStarted, 0, details);
        self.env.fuel.burn_bytes(execution.input.len());
        match Document::parse(&execution.input) {
            Ok(input) => {
                self.start_frame(run::root_frame(self.state.scope, start, input, self.env.now));
                self.arm_timeout();
            }
            Err(error) => {
                let cause = format!("The input of the execution is not JSON: {error}");
                self.end(End::Failed(Failure::new(names::RUNTIME, cause)), 1);
            }
        }
        Ok(())
    }

    /// Arms the timer of `TimeoutSeconds`; the processor of a Map has none of its own.
    fn arm_timeout(&mut self) {
        let Some(seconds) = self.definition.timeout_seconds() else { return };
        if self.state.scope == ScopeId(0)
            && let Ok(at) = self.env.now.checked_add(SignedDuration::from_secs(seconds))
        {
            self.state.timeout = Some(self.arm(at));
        }
    }

    fn timer_fired(&mut self, timer: TimerId) -> Result<(), Refused> {
        if self.state.timeout == Some(timer) {
            self.state.timeout = None;
            let failure = Failure { error: Some(names::TIMEOUT.into()), cause: None };
            self.end(End::TimedOut(failure), 0);
            return Ok(());
        }
        let waits = |doing: &Doing| match doing {
            Doing::Wait { timer: waited } | Doing::Retry { timer: waited } => *waited == timer,
            Doing::Enter
            | Doing::Work
            | Doing::Task { .. }
            | Doing::Parallel { .. }
            | Doing::Map(_)
            | Doing::MapRun { .. }
            | Doing::Failed { .. } => false,
        };
        let found = self.state.frames.iter().find(|(_, frame)| waits(&frame.doing));
        let id = *found.ok_or(Refused::NotWaitedFor)?.0;
        if matches!(self.frame(id).doing, Doing::Wait { .. }) {
            if let Err(error) = self.wait_over(id) {
                self.state_error(id, error);
            }
        } else {
            self.frame(id).doing = Doing::Work;
            self.state.ready.push_back(id);
        }
        Ok(())
    }
}
