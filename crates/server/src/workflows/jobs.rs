//! `ark:job`: a task that is a run of an app. The run is recorded in the step's own transaction, so a
//! task makes exactly one; with `.sync` the task ends when the run is over, found by a look at the
//! runs of all such tasks after each change of one.

use ark_model::RunId;
use ark_model::api::RunRequest;
use ark_model::event::EventKind;
use ark_model::run::{RunOutcome, RunRecord, RunState, RunStop};
use ark_states::error::Failure;
use ark_states::machine::{Event, TaskId};
use ark_states::{Document, Value};
use ark_store::{ReadTx, TaskPhase, TaskRow};
use futures::future::select;
use jiff::SignedDuration;

use super::Workflows;
use super::effects::TaskBody;
use super::error::WorkflowError;
use super::hub::Chore;
use super::step::{Stepper, after};
use crate::tasks::crons::event;

/// Tasks looked at in one read.
const LOOKED_AT: usize = 1_000;
/// Time between two looks when nothing was heard.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// Many commits in a row lead to one look.
const SETTLE: SignedDuration = SignedDuration::from_millis(20);
/// The error of a job that failed; the cause has its numbers.
const FAILED: &str = "Ark.JobFailed";
/// The error of a job that cannot be run at all.
const REFUSED: &str = "Ark.JobRefused";
/// Who asks for the runs.
const BY: &str = "workflow";

impl Stepper<'_> {
    /// Makes the run that a task asks for. The task's row is there, ready.
    pub(super) fn start_job(
        &mut self,
        row: TaskRow,
        wait: bool,
        input: &Value,
    ) -> Result<(), WorkflowError> {
        let (id, task) = (row.execution, TaskId(row.task));
        self.inbox.push_back((id, Event::TaskStarted { task, worker: None }));
        let namespace = self.load(id)?.and_then(|l| l.facts.namespace.clone());
        let made = match request(input, namespace.as_deref()) {
            Ok((env, app, request)) => {
                let (run, now) = (self.fresh_run(), self.now);
                crate::api::create_run(self.tx, run, (&env, &app), &request, BY, now)
                    .map_err(|error| error.problem().detail.clone())
            }
            Err(why) => Err(why),
        };
        let run = match made {
            Ok(run) => run,
            Err(why) => {
                self.end_task(id, task.0)?;
                let failure = Failure::new(REFUSED, why);
                self.inbox.push_back((id, Event::TaskFailed { task, failure }));
                return Ok(());
            }
        };
        let output = Document::new(shown(&run));
        if !wait {
            self.end_task(id, task.0)?;
            self.inbox.push_back((id, Event::TaskSucceeded { task, output }));
            return Ok(());
        }
        let body = TaskBody { run: Some(run.id), ..TaskBody::of(&row) };
        let row = TaskRow { body: body.text(), phase: TaskPhase::Waiting, ..row };
        self.tx.delete_workflow_task(id, task.0)?;
        self.tx.insert_workflow_task(&row)?;
        self.arm_heartbeat(&row)?;
        self.inbox.push_back((id, Event::TaskSubmitted { task, output }));
        Ok(())
    }

    /// A UUIDv7 from the step's clock and randomness.
    fn fresh_run(&self) -> RunId {
        let millis = u64::try_from(self.now.as_millisecond()).unwrap_or(0);
        let bits = self.shared.entropy.uuid().into_bytes();
        let mut random = [0; 10];
        random.copy_from_slice(&bits[6..]);
        RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A run that no task waits for any more is ended.
    pub(super) fn stop_job(&mut self, run: RunId) -> Result<(), WorkflowError> {
        let Some(mut run) = self.tx.run(run)? else { return Ok(()) };
        if !run.is_active() || run.stop.is_some() {
            return Ok(());
        }
        let why = "the workflow no longer waits for it".to_owned();
        let text = format!("run {} is to end: {why}", run.number);
        run.stop = Some(RunStop { by: BY.to_owned(), why, at: self.now });
        self.tx.put_run(&run)?;
        self.tx.append_event(event(&run, self.now, EventKind::RunProgress, BY, text))?;
        Ok(())
    }

    /// A task whose run is over ends with it.
    fn job_ended(&mut self, execution: u64, task: u64) -> Result<(), WorkflowError> {
        let Some(row) = self.tx.workflow_task(execution, task)? else { return Ok(()) };
        let Some(id) = TaskBody::of(&row).run else { return Ok(()) };
        let task = TaskId(task);
        let event = match self.tx.run(id)? {
            Some(run) if run.is_active() => return Ok(()),
            Some(run) if run.outcome == Some(RunOutcome::Succeeded) => {
                Event::TaskSucceeded { task, output: Document::new(shown(&run)) }
            }
            Some(run) => {
                Event::TaskFailed { task, failure: Failure::new(FAILED, shown(&run).to_json()) }
            }
            // Its environment was destroyed, and the run with it.
            None => Event::TaskFailed {
                task,
                failure: Failure::new(FAILED, "The run was forgotten with its environment."),
            },
        };
        if self.end_task(execution, task.0)? {
            self.inbox.push_back((execution, event));
        }
        Ok(())
    }
}

/// What a task's input asks for: `App`, and perhaps `Environment`, `Args`, `Retries` and
/// `TimeoutSeconds`.
fn request(
    input: &Value,
    namespace: Option<&str>,
) -> Result<(ark_model::EnvName, ark_model::AppName, RunRequest), String> {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let app = text("App").ok_or("`App` is missing: the name of the app whose job is run")?;
    let env = text("Environment").or(namespace).ok_or("`Environment` is missing")?;
    let args = match input.get("Args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(word).collect::<Result<_, _>>()?,
        Some(_) => return Err("`Args` must be a list of texts".to_owned()),
    };
    let number = |key: &str| match input.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64().and_then(|n| u64::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("`{key}` must be a whole number")),
        },
    };
    let retries = number("Retries")?.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let timeout_seconds = number("TimeoutSeconds")?;
    let named = |error: ark_model::NameError| error.to_string();
    Ok((
        env.parse().map_err(named)?,
        app.parse().map_err(named)?,
        RunRequest { args, retries, timeout_seconds },
    ))
}

/// An argument: a text as it is, anything else as its JSON.
fn word(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.to_string()),
        Value::Null => Err("an argument must not be null".to_owned()),
        other => Ok(other.to_json()),
    }
}

/// A run as the workflow sees it.
fn shown(run: &RunRecord) -> Value {
    let status = match (&run.outcome, run.state) {
        (Some(RunOutcome::Succeeded), _) => "SUCCEEDED",
        (Some(RunOutcome::Stopped { .. }), _) => "STOPPED",
        (Some(outcome), _) if outcome.exit_code() == 124 => "TIMED_OUT",
        (Some(_), _) => "FAILED",
        (None, RunState::Waiting | RunState::Ended) => "PENDING",
        (None, RunState::Starting | RunState::Running | RunState::Stopping) => "RUNNING",
    };
    let whole = |n: u64| Value::from(i64::try_from(n).unwrap_or(i64::MAX));
    let mut members = vec![
        ("App", Value::from(run.app.as_str())),
        ("Environment", Value::from(run.env.as_str())),
        ("Run", whole(run.number)),
        ("Release", whole(run.release.0)),
        ("Status", Value::from(status)),
        ("Attempts", whole(run.attempts.len() as u64)),
        ("CreatedAt", Value::from(run.created_at.as_millisecond())),
    ];
    if let Some(outcome) = &run.outcome {
        members.push(("ExitCode", Value::from(i64::from(outcome.exit_code()))));
        members.push(("Outcome", Value::from(outcome.words().as_str())));
    }
    if let Some(at) = run.ended_at {
        members.push(("EndedAt", Value::from(at.as_millisecond())));
    }
    Value::object(members)
}

impl Workflows {
    /// Ends tasks whose runs are over, until the server ends.
    pub(super) async fn job_rounds(&self) -> WorkflowError {
        let mut commits = self.world.store.commits();
        let mut seen = None;
        loop {
            commits.mark_unchanged();
            let latest = self.world.store.read(ReadTx::latest_event).await.ok();
            // Every end of a run is an event.
            if seen.is_none() || latest != seen {
                match self.end_jobs().await {
                    Ok(()) => seen = latest,
                    Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "jobs of workflows could not be looked at"
                    ),
                }
            }
            if self.shared.hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            let clock = &self.world.clock;
            clock.sleep_until(after(clock.now(), SETTLE)).await;
            let sleep = clock.sleep_until(after(clock.now(), LOOK));
            let changed = std::pin::pin!(commits.changed());
            let _ = select(changed, sleep).await;
        }
    }

    /// Looks at all tasks that wait for runs.
    async fn end_jobs(&self) -> Result<(), WorkflowError> {
        let mut last = (0, 0);
        loop {
            let rows = self.world.store.read(move |tx| ended_jobs(tx, last)).await?;
            for (execution, task) in rows.over {
                let chore = Chore::Job(execution, task);
                if self.shared.hub.resting.holds(chore, self.world.clock.now()) {
                    continue;
                }
                let ended = self.transact(move |step| step.job_ended(execution, task)).await;
                self.rest_if_broken(chore, ended)?;
            }
            let Some(next) = rows.next else { return Ok(()) };
            last = next;
        }
    }
}

/// What one read of tasks that wait for runs found.
struct Looked {
    /// Those whose runs are over.
    over: Vec<(u64, u64)>,
    /// The last one that was looked at, if there may be more.
    next: Option<(u64, u64)>,
}

fn ended_jobs(tx: &ReadTx, last: (u64, u64)) -> Result<Looked, WorkflowError> {
    let rows = tx.waiting_jobs(last, LOOKED_AT)?;
    let next = rows.last().filter(|_| rows.len() == LOOKED_AT);
    let next = next.map(|row| (row.execution, row.task));
    let mut over = Vec::new();
    for row in rows {
        let Some(id) = TaskBody::of(&row).run else { continue };
        if !tx.run(id)?.is_some_and(|run| run.is_active()) {
            over.push((row.execution, row.task));
        }
    }
    Ok(Looked { over, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_asks_for() {
        let value = |text: &str| Value::parse(text).expect("JSON");
        let asked = request(
            &value(r#"{"App": "import", "Args": ["a", 7], "Retries": 2, "TimeoutSeconds": 60}"#),
            Some("production"),
        );
        let (env, app, request_) = asked.expect("a request");
        assert_eq!((env.as_str(), app.as_str()), ("production", "import"));
        assert_eq!(request_.args, ["a", "7"]);
        assert_eq!((request_.retries, request_.timeout_seconds), (Some(2), Some(60)));
        for (text, said) in [
            ("{}", "`App` is missing"),
            (r#"{"App": "x"}"#, "`Environment` is missing"),
            (r#"{"App": "X y", "Environment": "e"}"#, "not allowed"),
            (r#"{"App": "x", "Environment": "e", "Args": "a"}"#, "list of texts"),
            (r#"{"App": "x", "Environment": "e", "Retries": -1}"#, "whole number"),
        ] {
            let why = request(&value(text), None).expect_err(text);
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
