//! One call of [`super::next`]: the working set, the loop over ready frames, the history.

use std::cell::OnceCell;
use std::sync::Arc;

use super::effect::{Effect, End, TaskId, TimerId};
use super::evaluate::{Eval, Evaluated};
use super::event::context_time;
use super::frame::{Doing, Entered, Frame, FrameId, Item, ROOT};
use super::{Env, ExecutionState, ExecutionStatus, Step};
use crate::definition::{Definition, State, StateKind};
use crate::error::Failure;
use crate::history::{Details, EventType, HistoryEvent};
use crate::limits::{FUEL_PER_STEP_MAX, HISTORY_EVENTS_MAX, STATES_PER_STEP_MAX};
use crate::scope::{Context, Random, Variables};
use crate::value::{Document, Object, Value};

/// What it costs to enter a state, whatever it does.
const STATE_FUEL: u64 = 20;
/// What it costs to begin a branch or an iteration.
const FRAME_FUEL: u64 = 20;
/// Frames that are looked through for one unit.
const FRAMES_PER_UNIT: u64 = 16;

pub(super) struct Run<'a> {
    pub(super) definition: &'a Definition,
    pub(super) state: &'a mut ExecutionState,
    pub(super) env: &'a Env<'a>,
    pub(super) random: Random,
    pub(super) step: Step,
    /// The execution's input, parsed when the context object is first wanted.
    execution_input: OnceCell<Value>,
    states_entered: usize,
    /// What the fuel's counter showed at the beginning.
    spent_before: u64,
    /// An event found no room in the history.
    overflowed: bool,
}

/// What sets one evaluation apart from the frame it happens in.
#[derive(Default)]
pub(super) struct Extra {
    /// `Task.Token` of the context object.
    pub(super) task: Option<TaskId>,
    /// `Map.Item` of the context object.
    pub(super) item: Option<Item>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        definition: &'a Definition,
        state: &'a mut ExecutionState,
        env: &'a Env<'a>,
    ) -> Self {
        Self {
            definition,
            state,
            env,
            random: Random::new(env.seed),
            step: Step::default(),
            execution_input: OnceCell::new(),
            states_entered: 0,
            spent_before: env.fuel.spent(),
            overflowed: false,
        }
    }

    /// Lets ready frames go on until none is ready, the execution has ended or the share is used.
    pub(super) fn drive(mut self) -> Step {
        loop {
            if self.overflowed && self.state.status == ExecutionStatus::Running {
                self.history_full();
            }
            if self.state.status != ExecutionStatus::Running {
                break;
            }
            if self.env.fuel.is_dry() {
                break;
            }
            let share_used = self.states_entered >= STATES_PER_STEP_MAX
                || self.env.fuel.spent() - self.spent_before >= FUEL_PER_STEP_MAX;
            if share_used {
                self.step.yielded = !self.state.ready.is_empty();
                break;
            }
            let Some(id) = self.state.ready.pop_front() else { break };
            self.turn(id);
        }
        self.step
    }

    fn turn(&mut self, id: FrameId) {
        match self.state.frames.get(&id).map(|frame| &frame.doing) {
            Some(Doing::Enter) => {
                self.states_entered += 1;
                self.enter(id);
                self.work(id);
            }
            Some(Doing::Work) => {
                self.states_entered += 1;
                self.work(id);
            }
            Some(
                Doing::Wait { .. }
                | Doing::Retry { .. }
                | Doing::Task { .. }
                | Doing::Parallel { .. }
                | Doing::Map(_)
                | Doing::MapRun { .. }
                | Doing::Failed { .. },
            )
            | None => {}
        }
    }

    fn enter(&mut self, id: FrameId) {
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        let (kind, previous) = (entered_type(state), frame.previous);
        self.env.fuel.burn(STATE_FUEL);
        self.env.fuel.burn_bytes(frame.input.size_bytes());
        let details = Details {
            name: Some(state.name.clone()),
            input: Some(frame.input.text().clone()),
            ..Details::default()
        };
        let event = self.record(kind, previous, details);
        let time = self.env.now;
        let frame = self.frame(id);
        frame.entered = Entered { event, previous, time };
        frame.previous = event;
        frame.retries.clear();
        frame.retry_count = 0;
        frame.doing = Doing::Work;
    }

    fn work(&mut self, id: FrameId) {
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        let done = match &state.kind {
            StateKind::Pass(pass) => self.pass(id, pass),
            StateKind::Choice(choice) => self.choice(id, choice),
            StateKind::Wait(wait) => self.wait(id, wait),
            StateKind::Succeed => self.succeed(id),
            StateKind::Fail(fail) => self.fail(id, fail),
            StateKind::Task(task) => self.task(id, task),
            StateKind::Parallel(parallel) => self.parallel(id, parallel),
            StateKind::Map(map) => self.map(id, map),
        };
        if let Err(error) = done {
            // Iterations may have begun before the one whose input could not be made.
            self.drop_children(id);
            self.state_error(id, error);
        }
    }

    /// A frame that exists; frames are removed only by the functions that then stop using them.
    #[expect(clippy::expect_used, reason = "a frame named by a live id is there")]
    pub(super) fn frame(&mut self, id: FrameId) -> &mut Frame {
        self.state.frames.get_mut(&id).expect("a live frame")
    }

    /// Starts a list of states.
    pub(super) fn start_frame(&mut self, frame: Frame) -> FrameId {
        self.env.fuel.burn(FRAME_FUEL);
        let id = self.state.next_frame;
        self.state.next_frame += 1;
        self.state.frames.insert(id, frame);
        self.state.ready.push_back(id);
        id
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.state.last_id += 1;
        self.state.last_id
    }

    pub(super) fn arm(&mut self, at: jiff::Timestamp) -> TimerId {
        let timer = TimerId(self.new_id());
        self.step.effects.push(Effect::ArmTimer { timer, at });
        timer
    }

    /// Appends an event and gives its id. The last place of the history is kept for the end.
    pub(super) fn record(&mut self, kind: EventType, previous: u64, details: Details) -> u64 {
        let is_end = matches!(
            kind,
            EventType::ExecutionSucceeded
                | EventType::ExecutionFailed
                | EventType::ExecutionTimedOut
                | EventType::ExecutionAborted
        );
        let full =
            self.state.last_event_id + 1 >= HISTORY_EVENTS_MAX && !self.env.execution.express;
        if full && !is_end {
            self.overflowed = true;
            return self.state.last_event_id;
        }
        self.state.last_event_id += 1;
        self.step.history.push(HistoryEvent {
            id: self.state.last_event_id,
            previous_event_id: previous,
            timestamp: self.env.now,
            kind,
            details,
        });
        self.state.last_event_id
    }

    fn history_full(&mut self) {
        let cause = format!(
            "The execution reached the maximum number of history events ({HISTORY_EVENTS_MAX})."
        );
        let last = self.state.last_event_id;
        self.end(End::Failed(Failure::new(crate::error::names::RUNTIME, cause)), last);
        // Nothing that was begun without an event may be carried out; what was cancelled stays so.
        self.step.effects.retain(|effect| {
            !matches!(
                effect,
                Effect::ScheduleTask(_) | Effect::StartMapRun(_) | Effect::ArmTimer { .. }
            )
        });
    }

    /// Ends the execution: the last event, everything open cancelled.
    pub(super) fn end(&mut self, end: End, previous: u64) {
        let failed = |failure: &Failure| Details {
            error: failure.error.clone(),
            cause: failure.cause.clone(),
            ..Details::default()
        };
        let (kind, status, details) = match &end {
            End::Succeeded(output) => (
                EventType::ExecutionSucceeded,
                ExecutionStatus::Succeeded,
                Details { output: Some(output.text().clone()), ..Details::default() },
            ),
            End::Failed(failure) => {
                (EventType::ExecutionFailed, ExecutionStatus::Failed, failed(failure))
            }
            End::TimedOut(failure) => {
                (EventType::ExecutionTimedOut, ExecutionStatus::TimedOut, failed(failure))
            }
            End::Aborted(failure) => {
                (EventType::ExecutionAborted, ExecutionStatus::Aborted, failed(failure))
            }
        };
        self.record(kind, previous, details);
        self.state.status = status;
        self.state.ready.clear();
        if let Some(timer) = self.state.timeout.take() {
            self.step.effects.push(Effect::CancelTimer { timer });
        }
        let ids: Vec<FrameId> = self.state.frames.keys().copied().collect();
        for id in ids {
            self.suspend(id);
        }
        if status == ExecutionStatus::Succeeded || self.env.execution.express {
            self.state.frames.clear();
        }
        self.step.effects.push(Effect::Finish(end));
    }

    /// Cancels what a frame waits for; it could then do its state's work anew.
    pub(super) fn suspend(&mut self, id: FrameId) {
        let frame = self.frame(id);
        let effect = match &frame.doing {
            Doing::Wait { timer } | Doing::Retry { timer } => Effect::CancelTimer { timer: *timer },
            Doing::Task { task } => Effect::CancelTask { task: *task },
            Doing::MapRun { map_run, .. } => {
                // Kept: a redrive goes on with the same run.
                let effect = Effect::StopMapRun { map_run: *map_run };
                self.step.effects.push(effect);
                return;
            }
            Doing::Enter
            | Doing::Work
            | Doing::Parallel { .. }
            | Doing::Map(_)
            | Doing::Failed { .. } => return,
        };
        frame.doing = Doing::Work;
        self.step.effects.push(effect);
    }

    /// The children of a frame, in order of their start.
    pub(super) fn children(&self, parent: FrameId) -> Vec<FrameId> {
        let of_parent =
            |(id, frame): (&FrameId, &Frame)| (frame.parent == Some(parent)).then_some(*id);
        self.env.fuel.burn(self.state.frames.len() as u64 / FRAMES_PER_UNIT);
        self.state.frames.iter().filter_map(of_parent).collect()
    }

    /// Removes all frames below one, cancelling what they wait for.
    pub(super) fn drop_children(&mut self, parent: FrameId) {
        for child in self.children(parent) {
            self.drop_children(child);
            self.suspend(child);
            self.remove(child);
        }
    }

    /// Takes a frame that has ended out of the state.
    pub(super) fn remove(&mut self, id: FrameId) -> Option<Frame> {
        let frame = self.state.frames.remove(&id)?;
        self.state.variables_bytes =
            self.state.variables_bytes.saturating_sub(variables_bytes(&frame.variables));
        self.state.ready.retain(|ready| *ready != id);
        Some(frame)
    }

    /// Lets `f` evaluate fields of a frame's state.
    pub(super) fn evaluating<R>(
        &self,
        id: FrameId,
        extra: &Extra,
        f: impl FnOnce(&Eval<'_>) -> Evaluated<R>,
    ) -> Evaluated<R> {
        let missing =
            || crate::definition::FieldError::runtime("the state is not part of the definition");
        let frame = self.state.frames.get(&id).ok_or_else(missing)?;
        let state = self.definition.state(frame.at).ok_or_else(missing)?;
        let build = || self.context(id, frame, state, extra);
        let context = Context::new(&build);
        let variables = self.variables(id);
        f(&Eval {
            state,
            input: frame.input.value(),
            context: &context,
            variables: &variables,
            random: &self.random,
            fuel: self.env.fuel,
            now: self.env.now,
        })
    }

    fn variables(&self, id: FrameId) -> Variables<'_> {
        let mut scopes = Vec::new();
        let mut at = Some(id);
        while let Some(frame) = at.and_then(|id| self.state.frames.get(&id)) {
            scopes.push(&frame.variables);
            at = frame.parent;
        }
        Variables::new(scopes)
    }

    /// The visible variables joined, for a Map Run's item selection.
    pub(super) fn all_variables(&self, id: FrameId) -> Object {
        let variables = self.variables(id);
        variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn item(&self, id: FrameId) -> Option<&Item> {
        let mut at = Some(id);
        while let Some(frame) = at.and_then(|id| self.state.frames.get(&id)) {
            if let Some(item) = &frame.item {
                return Some(item);
            }
            at = frame.parent;
        }
        None
    }

    fn context(&self, id: FrameId, frame: &Frame, state: &State, extra: &Extra) -> Value {
        let mut members = self.execution_context();
        let mut at_state = vec![
            ("Name", Value::String(state.name.clone())),
            ("EnteredTime", context_time(frame.entered.time).into()),
        ];
        if state.is_work() {
            at_state.push(("RetryCount", i64::from(frame.retry_count).into()));
        }
        members.insert("State".into(), Value::object(at_state));
        if let Some(item) = extra.item.as_ref().or_else(|| self.item(id)) {
            members.insert("Map".into(), map_context(item));
        }
        if let Some(task) = extra.task {
            let token = self.env.host.task_token(task);
            members.insert("Task".into(), Value::object([("Token", token.into())]));
        }
        members.into()
    }

    fn execution_context(&self) -> Object {
        let execution = self.env.execution;
        let input = self
            .execution_input
            .get_or_init(|| Value::parse(&execution.input).unwrap_or_default())
            .clone();
        let mut own = vec![
            ("Id", Value::String(execution.arn.clone())),
            ("Input", input),
            ("StartTime", context_time(execution.start_time).into()),
            ("Name", Value::String(execution.name.clone())),
            ("RoleArn", Value::String(execution.role_arn.clone())),
        ];
        if !execution.express {
            own.push(("RedriveCount", i64::from(self.state.redrive_count).into()));
        }
        if let Some(time) = self.state.redrive_time {
            own.push(("RedriveTime", context_time(time).into()));
        }
        let machine = Value::object([
            ("Id", Value::String(execution.state_machine_arn.clone())),
            ("Name", Value::String(execution.state_machine_name.clone())),
        ]);
        Object::from_iter([
            (Arc::from("Execution"), Value::object(own)),
            (Arc::from("StateMachine"), machine),
        ])
    }
}

/// `Map` of the context object.
pub(super) fn map_context(item: &Item) -> Value {
    let index = i64::try_from(item.index).unwrap_or(i64::MAX);
    let mut members = vec![("Index", Value::from(index)), ("Value", item.value.clone())];
    if let Some(key) = &item.key {
        members.push(("Key", key.clone()));
    }
    if let Some(source) = &item.source {
        members.push(("Source", Value::String(source.clone())));
    }
    Value::object([("Item", Value::object(members))])
}

/// Bytes that variables take, names included.
pub(super) fn variables_bytes(variables: &Object) -> usize {
    variables.iter().map(|(name, value)| name.len() + value.to_json().len()).sum()
}

pub(super) fn entered_type(state: &State) -> EventType {
    match state.kind {
        StateKind::Pass(_) => EventType::PassStateEntered,
        StateKind::Task(_) => EventType::TaskStateEntered,
        StateKind::Choice(_) => EventType::ChoiceStateEntered,
        StateKind::Wait(_) => EventType::WaitStateEntered,
        StateKind::Succeed => EventType::SucceedStateEntered,
        StateKind::Fail(_) => EventType::FailStateEntered,
        StateKind::Parallel(_) => EventType::ParallelStateEntered,
        StateKind::Map(_) => EventType::MapStateEntered,
    }
}

/// The event of leaving a state; a Fail state is never left.
pub(super) fn exited_type(state: &State) -> EventType {
    match state.kind {
        StateKind::Pass(_) => EventType::PassStateExited,
        StateKind::Task(_) => EventType::TaskStateExited,
        StateKind::Choice(_) => EventType::ChoiceStateExited,
        StateKind::Wait(_) => EventType::WaitStateExited,
        StateKind::Succeed | StateKind::Fail(_) => EventType::SucceedStateExited,
        StateKind::Parallel(_) => EventType::ParallelStateExited,
        StateKind::Map(_) => EventType::MapStateExited,
    }
}

/// The frame of a new execution.
pub(super) fn root_frame(
    scope: crate::definition::ScopeId,
    start: crate::definition::StateId,
    input: Document,
    now: jiff::Timestamp,
) -> Frame {
    Frame {
        parent: None,
        index: ROOT,
        scope,
        variables: Object::new(),
        item: None,
        at: start,
        input,
        entered: Entered { event: 0, previous: 0, time: now },
        previous: 0,
        retries: Vec::new(),
        retry_count: 0,
        doing: Doing::Enter,
    }
}
