//! A runtime in miniature: a virtual clock, timers, scripted workers, Map Runs with their children.
//! It performs effects in order and checks at each step what must always hold.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ark_states::history::HistoryEvent;
use ark_states::machine::{
    ChildStatus, Effect, End, Env, Event, ExecutionInfo, ExecutionState, Host, MapItems,
    MapRunEffect, MapRunEnd, MapRunEvent, MapRunRequest, MapRunState, Step, TaskId, TaskRequest,
    TaskTimeout, TimerId, next,
};
use ark_states::resource::Resource;
use ark_states::{Definition, Document, Failure, Fuel, Value};
use jiff::{SignedDuration, Timestamp};

/// What a scripted worker does with a task.
pub(super) enum Work {
    /// Starts it (under this name) and answers.
    Answer(&'static str, Result<Value, Failure>),
    /// Starts it and never answers.
    Hang(&'static str),
}

/// The workers of a case.
pub(super) type Worker<'a> = dyn Fn(&TaskRequest) -> Work + 'a;

/// What became of an execution.
pub(super) struct Ended {
    /// How it ended.
    pub(super) end: End,
    /// All its events.
    pub(super) history: Vec<HistoryEvent>,
}

/// Settings of a run.
pub(super) struct World<'a> {
    /// The workers.
    pub(super) worker: &'a Worker<'a>,
    /// Resources that do not exist.
    pub(super) missing: &'a str,
    /// Stops the execution when it first waits.
    pub(super) stop: bool,
}

struct NoHost<'a>(&'a str);

impl Host for NoHost<'_> {
    fn task_token(&self, task: TaskId) -> String {
        format!("token-{}", task.0)
    }

    fn refusal(&self, resource: &Resource) -> Option<String> {
        (!self.0.is_empty() && &**resource.text() == self.0)
            .then(|| format!("The activity {resource} does not exist."))
    }
}

/// Facts of an execution of the tests.
pub(super) fn info(input: &str, express: bool) -> ExecutionInfo {
    ExecutionInfo {
        express,
        arn: if express {
            "arn:aws:states:us-east-1:111111111111:express:machine-1:run-1:0".into()
        } else {
            "arn:aws:states:us-east-1:111111111111:execution:machine-1:run-1".into()
        },
        name: "run-1".into(),
        input: input.into(),
        role_arn: "snf_role_arn".into(),
        start_time: Timestamp::from_second(1_700_000_000).unwrap(),
        state_machine_arn: "arn:aws:states:us-east-1:111111111111:stateMachine:machine-1".into(),
        state_machine_name: "machine-1".into(),
        alias_arn: None,
        version_arn: None,
    }
}

/// The same step on little fuel: it must come out the same or be refused as if it had never been
/// tried.
fn scantily(
    definition: &Definition,
    state: &ExecutionState,
    event: &Event,
    env: &Env<'_>,
    units: u64,
) -> Option<(Step, ExecutionState)> {
    let mut tried = state.clone();
    let env = Env { fuel: &Fuel::of(units), ..*env };
    match next(definition, &mut tried, event.clone(), &env) {
        Ok(step) => Some((step, tried)),
        Err(_) => {
            assert_eq!(state.to_bytes(), tried.to_bytes(), "a refusal leaves the state as it was");
            None
        }
    }
}

/// Steps after which an execution counts as endless.
const STEPS_MAX: usize = 20_000;

/// Runs an execution to its end.
pub(super) fn run(
    definition: &Definition,
    state: ExecutionState,
    info: &ExecutionInfo,
    world: &World<'_>,
    depth: usize,
) -> (ExecutionState, Ended) {
    let mut now = info.start_time;
    let mut state = state;
    let mut history: Vec<HistoryEvent> = Vec::new();
    let mut events = VecDeque::from([Event::Start]);
    let mut timers: BTreeMap<(Timestamp, TimerId), ()> = BTreeMap::new();
    // Timeouts of tasks, which the runtime watches.
    let mut deadlines: BTreeMap<(Timestamp, TaskId), TaskTimeout> = BTreeMap::new();
    let host = NoHost(world.missing);
    for step_number in 0..STEPS_MAX {
        let event = match events.pop_front() {
            Some(event) => event,
            None if world.stop => Event::Stop { failure: Failure { error: None, cause: None } },
            None => {
                let timer = timers.keys().next().copied();
                let deadline = deadlines.iter().next().map(|(key, kind)| (*key, *kind));
                match (timer, deadline) {
                    (Some((at, timer)), deadline)
                        if deadline.is_none_or(|((due, _), _)| at <= due) =>
                    {
                        timers.remove(&(at, timer));
                        now = now.max(at);
                        Event::TimerFired { timer }
                    }
                    (_, Some(((at, task), timeout))) => {
                        deadlines.remove(&(at, task));
                        now = now.max(at);
                        Event::TaskTimedOut { task, timeout }
                    }
                    _ => panic!("the execution waits for nothing; history: {}", types(&history)),
                }
            }
        };
        let env = Env {
            now,
            seed: step_number as u128 + 1,
            execution: info,
            host: &host,
            fuel: &Fuel::ample(),
        };
        let before = state.to_bytes();
        let scant = scantily(definition, &state, &event, &env, step_number as u64 * 40);
        let Ok(step) = next(definition, &mut state, event, &env) else {
            assert_eq!(before, state.to_bytes(), "a refusal must leave the state as it was");
            continue;
        };
        if let Some((scant, after)) = scant {
            let (state, after) = (state.to_bytes(), after.to_bytes());
            assert_eq!(
                (&step.history, &step.effects, state),
                (&scant.history, &scant.effects, after)
            );
        }
        // The state must survive the store, and go on from there alone.
        let bytes = state.to_bytes();
        state = ExecutionState::from_bytes(&bytes).expect("a stored state can be read");
        assert_eq!(bytes, state.to_bytes(), "the stored form is stable");
        for event in step.history {
            assert_eq!(event.id, history.len() as u64 + 1, "ids are contiguous");
            assert!(event.previous_event_id < event.id, "an event follows from an earlier one");
            history.push(event);
        }
        assert_eq!(state.event_count(), history.len() as u64);
        if step.yielded {
            events.push_front(Event::Continue);
        }
        let mut ended = None;
        for effect in step.effects {
            match effect {
                Effect::ArmTimer { timer, at } => {
                    timers.insert((at, timer), ());
                }
                Effect::CancelTimer { timer } => timers.retain(|(_, armed), ()| *armed != timer),
                Effect::CancelTask { task } => deadlines.retain(|(_, open), _| *open != task),
                Effect::ScheduleTask(request) => {
                    for (seconds, kind) in [
                        (request.timeout_seconds, TaskTimeout::Total),
                        (request.heartbeat_seconds, TaskTimeout::Heartbeat),
                    ] {
                        if let Some(seconds) = seconds {
                            let at = now + SignedDuration::from_secs(seconds);
                            deadlines.insert((at, request.task), kind);
                        }
                    }
                    let task = request.task;
                    let (name, answer) = match (world.worker)(&request) {
                        Work::Answer(name, answer) => (name, Some(answer)),
                        Work::Hang(name) => (name, None),
                    };
                    events.push_back(Event::TaskStarted { task, worker: Some(name.to_owned()) });
                    match answer {
                        Some(Ok(output)) => {
                            events.push_back(Event::TaskSucceeded {
                                task,
                                output: Document::new(output),
                            });
                        }
                        Some(Err(failure)) => events.push_back(Event::TaskFailed { task, failure }),
                        None => {}
                    }
                }
                Effect::StartMapRun(request) => {
                    let map_run = request.map_run;
                    let end = map_run_end(definition, &request, info, world, depth);
                    events.push_back(Event::MapRunFinished { map_run, end });
                }
                Effect::StopMapRun { .. } | Effect::RedriveMapRun { .. } => {}
                Effect::Finish(end) => ended = Some(end),
            }
        }
        // What was answered is no longer waited for.
        if let Some(end) = ended {
            return (state, Ended { end, history });
        }
    }
    panic!("the execution does not end; history: {}", types(&history));
}

/// Runs a Map Run to its end, children one after the other.
fn map_run_end(
    definition: &Definition,
    request: &MapRunRequest,
    info: &ExecutionInfo,
    world: &World<'_>,
    depth: usize,
) -> MapRunEnd {
    assert!(depth < 10, "Map Runs are nested too deeply");
    let MapItems::Inputs(inputs) = &request.items else { panic!("no reader here") };
    let mut map_run = MapRunState::new(request);
    let mut results: Vec<Value> = Vec::new();
    let mut started = 0;
    let mut events = VecDeque::from([MapRunEvent::ItemsReady {
        children: inputs.len() as u64,
        items: inputs.iter().map(|input| request.items_in(input)).sum(),
        last: true,
    }]);
    while let Some(event) = events.pop_front() {
        for effect in map_run.next(event) {
            match effect {
                MapRunEffect::StartChildren(count) => {
                    for input in &inputs[started..started + count as usize] {
                        let info = ExecutionInfo { input: input.text().clone(), ..info.clone() };
                        let child = ExecutionState::new_child(request.processor);
                        let (_, ended) = run(definition, child, &info, world, depth + 1);
                        let status = match ended.end {
                            End::Succeeded(output) => {
                                results.push(output.value().clone());
                                ChildStatus::Succeeded
                            }
                            End::Failed(_) => ChildStatus::Failed,
                            End::TimedOut(_) => ChildStatus::TimedOut,
                            End::Aborted(_) => ChildStatus::Aborted,
                        };
                        let items = request.items_in(input);
                        events.push_back(MapRunEvent::ChildEnded { status, items });
                    }
                    started += count as usize;
                }
                MapRunEffect::AbortChildren
                | MapRunEffect::ReadItems
                | MapRunEffect::ResetChildren => {}
                MapRunEffect::Complete => {
                    return MapRunEnd::Succeeded(Document::new(Value::from(results)));
                }
                MapRunEffect::Fail(failure) => return MapRunEnd::Failed(failure),
            }
        }
    }
    panic!("the Map Run does not end: {map_run:?}");
}

/// The types of events, for messages.
pub(super) fn types(history: &[HistoryEvent]) -> String {
    history.iter().map(|event| event.kind.name()).collect::<Vec<_>>().join(" ")
}

/// A failure with both parts.
pub(super) fn failure(error: &str, cause: impl Into<Arc<str>>) -> Failure {
    Failure::new(error, cause)
}
