//! A history replayed: the interpreter is taken through an execution's history from the first event
//! on, and must come to the state that the row holds. Used by the simulation.
//!
//! The history says what was told to the interpreter only in part (which attempt of which task,
//! which timer), so each event that may have come next is tried, and the one whose step writes
//! exactly what the history says next is it. Events carry the one they follow from, so branches
//! cannot be taken for each other.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::{ExecutionView, PageRequest};
use ark_states::error::Failure;
use ark_states::history::HistoryEvent;
use ark_states::machine::{
    self, Env, Event, ExecutionInfo, ExecutionState, Host, TaskId, TaskTimeout,
};
use ark_states::resource::Resource;
use ark_states::value::Document;
use ark_states::{Definition, Fuel};
use ark_store::ExecutionRow;
use serde_json::json;

use crate::fixture::{Fixture, one_task};

/// Everything may be used, and nothing asks for its token.
struct Anything;

impl Host for Anything {
    fn task_token(&self, _task: TaskId) -> String {
        String::new()
    }

    fn refusal(&self, _resource: &Resource) -> Option<String> {
        None
    }
}

fn info(view: &ExecutionView, first: &HistoryEvent) -> ExecutionInfo {
    ExecutionInfo {
        express: false,
        arn: view.arn.as_str().into(),
        name: view.name.as_str().into(),
        input: view.input.as_str().into(),
        role_arn: first.details.role_arn.clone().unwrap_or_default(),
        start_time: view.started_at,
        state_machine_arn: view.machine_arn.as_str().into(),
        state_machine_name: view.machine_arn.rsplit(':').next().unwrap_or_default().into(),
        alias_arn: view.alias_arn.as_deref().map(Into::into),
        version_arn: view.version_arn.as_deref().map(Into::into),
    }
}

/// What may have been told to the interpreter for this event to be written.
fn candidates(state: &ExecutionState, next: &HistoryEvent) -> Vec<Event> {
    let details = &next.details;
    let failure = || Failure { error: details.error.clone(), cause: details.cause.clone() };
    let (tasks, timers, _) = state.waits_for();
    let of_tasks = |make: &dyn Fn(TaskId) -> Event| tasks.iter().map(|task| make(*task)).collect();
    match next.kind.name() {
        "ExecutionStarted" => vec![Event::Start],
        "ExecutionAborted" => vec![Event::Stop { failure: failure() }],
        "ExecutionRedriven" => vec![Event::Redrive],
        "ActivityStarted" | "TaskStarted" => {
            let worker = details.worker_name.as_deref().map(str::to_owned);
            of_tasks(&|task| Event::TaskStarted { task, worker: worker.clone() })
        }
        "TaskSubmitted" => {
            let output = Document::parse(details.output.as_deref().unwrap()).unwrap();
            of_tasks(&|task| Event::TaskSubmitted { task, output: output.clone() })
        }
        "ActivitySucceeded" | "TaskSucceeded" => {
            let output = Document::parse(details.output.as_deref().unwrap()).unwrap();
            of_tasks(&|task| Event::TaskSucceeded { task, output: output.clone() })
        }
        "ActivityFailed" | "TaskFailed" => {
            of_tasks(&|task| Event::TaskFailed { task, failure: failure() })
        }
        "ActivityTimedOut" | "TaskTimedOut" => {
            let heartbeat = details.error.as_deref() == Some("States.HeartbeatTimeout");
            let timeout = if heartbeat { TaskTimeout::Heartbeat } else { TaskTimeout::Total };
            of_tasks(&|task| Event::TaskTimedOut { task, timeout })
        }
        _ => timers.into_iter().map(|timer| Event::TimerFired { timer }).collect(),
    }
}

/// Events that the execution has still to take: how many its row says that there are.
fn waiting_events(row: &ExecutionRow) -> u64 {
    let facts: serde_json::Value = serde_json::from_str(&row.body).unwrap_or_default();
    facts["q"].as_u64().unwrap_or(0)
}

/// Looks whether the row is what its history makes of it.
///
/// # Errors
/// Where the two part, in words.
pub(crate) fn agrees(
    definition: &Definition,
    view: &ExecutionView,
    row: &ExecutionRow,
    events: &[HistoryEvent],
) -> Result<(), String> {
    if row.events != events.len() as u64 {
        return Err(format!("the row counts {} events of {}", row.events, events.len()));
    }
    let waits = waiting_events(row) > 0;
    let Some(first) = events.first() else {
        let unborn =
            row.state.as_deref().map(str::as_bytes) == Some(&ExecutionState::new().to_bytes());
        return if waits && unborn { Ok(()) } else { Err("no history".to_owned()) };
    };
    let info = info(view, first);
    let mut state = ExecutionState::new();
    let mut rest = events;
    while let Some(next) = rest.first() {
        let mut taken = None;
        for event in candidates(&state, next) {
            let mut tried = state.clone();
            let env = Env {
                now: next.timestamp,
                seed: 0,
                execution: &info,
                host: &Anything,
                fuel: &Fuel::ample(),
            };
            let Ok(step) = machine::next(definition, &mut tried, event, &env) else { continue };
            if !step.history.is_empty() && rest.starts_with(&step.history) {
                taken = Some((tried, step.history.len()));
                break;
            }
        }
        let Some((came_to, length)) = taken else {
            return Err(format!("nothing makes event {} of {:?}: {next:?}", next.id, view.status));
        };
        state = came_to;
        rest = &rest[length..];
    }
    let status = match state.status() {
        machine::ExecutionStatus::Running => ExecutionStatus::Running,
        machine::ExecutionStatus::Succeeded => ExecutionStatus::Succeeded,
        machine::ExecutionStatus::Failed => ExecutionStatus::Failed,
        machine::ExecutionStatus::TimedOut => ExecutionStatus::TimedOut,
        machine::ExecutionStatus::Aborted => ExecutionStatus::Aborted,
    };
    // An event that waits may be the one that lets it go on after its end.
    let reopened = waits && row.status == ExecutionStatus::Running && status != row.status;
    if status != row.status && !reopened {
        return Err(format!("the row is {:?}, its history makes {status:?}", row.status));
    }
    // Of what succeeded nothing is kept to go on from.
    let folded = (status != ExecutionStatus::Succeeded)
        .then(|| String::from_utf8(state.to_bytes()).unwrap_or_default());
    if row.state == folded {
        Ok(())
    } else {
        Err(format!("the row holds\n{:?}, its history makes\n{folded:?}", row.state))
    }
}

/// The check itself: it must not pass a row that is not what the history says.
#[tokio::test]
async fn a_row_that_its_history_does_not_make_is_found() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let retry = json!({"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5}]});
    let text = one_task(&activity, retry);
    let definition = Definition::parse(&text.to_string()).unwrap();
    let machine = f.machine("m", text).await;
    let arn = f.start(&machine, json!({})).await;
    let look = async || {
        let view = f.view(&arn).await;
        let events = f.wf.events(&arn, PageRequest::default(), false).await.unwrap().items;
        let id = view.id;
        let row = f.store.read(move |tx| tx.execution(id)).await.unwrap().unwrap();
        (view, row, events)
    };
    let (_, before, _) = look().await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
    let (view, row, events) = look().await;
    assert_eq!(agrees(&definition, &view, &row, &events), Ok(()));
    let stale = ExecutionRow { state: before.state, ..row.clone() };
    let ended = ExecutionRow { status: ExecutionStatus::Failed, ..row.clone() };
    let counted = ExecutionRow { events: before.events, ..row.clone() };
    for wrong in [stale, ended, counted] {
        assert!(agrees(&definition, &view, &wrong, &events).is_err(), "{wrong:?}");
    }
    let mut forged = events.clone();
    forged[1].previous_event_id = 1;
    assert!(agrees(&definition, &view, &row, &forged).is_err());
}
