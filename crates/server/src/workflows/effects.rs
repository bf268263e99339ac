//! The interpreter's effects become rows: tasks, timers, children, map runs.

use ark_states::error::{Failure, names};
use ark_states::machine::{Effect, Event, TaskId, TaskRequest};
use ark_states::{Document, Value};
use ark_store::{TaskPhase, TaskRow};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::arn::Arn;
use super::error::{Refusal, WorkflowError};
use super::executions::redrivable;
use super::facts::{Parent, Token, TokenUse, is_zero};
use super::functions::{Invocation, how_to_invoke};
use super::resources::{ChildWait, SendTask, Work, function_name, work};
use super::step::{StartSpec, Stepper, after, kind_of, timers};
use super::types::Redrivable;
use super::versions::resolve;

/// What the states API says its answers are.
pub(super) const STATES_TYPE: &str = "application/x-amz-json-1.0";
/// `kind` of a task's row.
pub(super) mod kinds {
    pub(crate) const ACTIVITY: &str = "activity";
    pub(crate) const FUNCTION: &str = "function";
    pub(crate) const CHILD: &str = "child";
    pub(crate) const JOB: &str = "job";
    pub(crate) const HTTP: &str = "http";
}

/// `body` of a task's row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct TaskBody {
    /// Whether its whole time is limited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) timeout: bool,
    /// Whether a function's answer is wrapped as an invocation's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) invocation: bool,
    /// Whether the worker's answer only says that the work was accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) callback: bool,
    /// The child execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) child: Option<u64>,
    /// Until when a child is waited for, while it is not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<u8>,
    /// Number of the event that says that it was scheduled; 0 for tasks kept by an earlier version.
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    pub(super) scheduled: u64,
    /// The run that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<ark_model::RunId>,
}

impl TaskBody {
    pub(super) fn of(row: &TaskRow) -> Self {
        serde_json::from_str(&row.body).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// By their place here they stand in rows.
const WAITS: [ChildWait; 5] = [
    ChildWait::Started,
    ChildWait::EndedTexts,
    ChildWait::EndedJson,
    ChildWait::Callback,
    ChildWait::StartedBySdk,
];

impl Stepper<'_> {
    /// Turns one effect into rows.
    pub(super) fn effect(&mut self, id: u64, effect: Effect) -> Result<(), WorkflowError> {
        match effect {
            Effect::ScheduleTask(request) => self.schedule(id, &request),
            Effect::CancelTask { task } => {
                if let Some(row) = self.tx.workflow_task(id, task.0)? {
                    self.withdraw(&row)?;
                    self.end_task(id, task.0)?;
                }
                Ok(())
            }
            Effect::ArmTimer { timer, at } => self.set_timer(id, timers::INTERPRETER, timer.0, at),
            Effect::CancelTimer { timer } => {
                self.tx.delete_timer(id, timers::INTERPRETER, timer.0)?;
                Ok(())
            }
            Effect::StartMapRun(request) => self.start_map_run(id, *request),
            Effect::StopMapRun { map_run } => self.stop_map_run(id, map_run.0),
            Effect::RedriveMapRun { map_run } => self.redrive_map_run(id, map_run.0),
            Effect::Finish(end) => self.finish(id, end),
        }
    }

    /// A task that is no longer wanted: what works on it is stopped. Its row is left to the caller.
    pub(super) fn withdraw(&mut self, row: &TaskRow) -> Result<(), WorkflowError> {
        self.shared.hub.busy.ends(row.execution, row.task);
        match row.kind.as_str() {
            kinds::CHILD => {
                if let Some(child) = TaskBody::of(row).child {
                    let failure = Failure { error: None, cause: None };
                    self.inbox.push_back((child, Event::Stop { failure }));
                }
            }
            kinds::JOB => {
                if let Some(run) = TaskBody::of(row).run {
                    self.stop_job(run)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Removes a task with its timers. Answers whether it was there: whoever removes it may say
    /// how it ended, and nobody else.
    pub(super) fn end_task(&mut self, execution: u64, task: u64) -> Result<bool, WorkflowError> {
        let Some(row) = self.tx.workflow_task(execution, task)? else { return Ok(false) };
        if row.queue.is_some() {
            self.shared.hub.busy.ends(execution, task);
        }
        if TaskBody::of(&row).timeout {
            self.tx.delete_timer(execution, timers::TASK, task)?;
        }
        if row.heartbeat_s.is_some() {
            self.tx.delete_timer(execution, timers::HEARTBEAT, task)?;
        }
        Ok(self.tx.delete_workflow_task(execution, task)?)
    }

    fn schedule(&mut self, id: u64, request: &TaskRequest) -> Result<(), WorkflowError> {
        let now = self.now;
        let Some(l) = self.load(id)? else { return Ok(()) };
        let (machine, priority) = (l.row.machine, l.facts.priority);
        let (region, namespace) = (l.program.region.clone(), l.facts.namespace.clone());
        let task = request.task;
        let fail = |error: &str, cause: String| Event::TaskFailed {
            task,
            failure: Failure::new(error, cause),
        };
        let work = match work(self.tx, &request.resource, &region, namespace.as_deref())? {
            Ok(work) => work,
            Err(text) => {
                self.inbox.push_back((id, fail(names::RUNTIME, text)));
                return Ok(());
            }
        };
        let seconds = |s: i64| u64::try_from(s).unwrap_or(0);
        let mut row = TaskRow {
            execution: id,
            task: task.0,
            kind: kinds::ACTIVITY.to_owned(),
            phase: TaskPhase::Ready,
            queue: None,
            machine,
            priority,
            scheduled_at: now,
            handed_at: None,
            confirmed: false,
            heartbeat_s: request.heartbeat_seconds.map(seconds),
            input: String::new(),
            body: String::new(),
        };
        let mut body = TaskBody {
            timeout: request.timeout_seconds.is_some(),
            scheduled: request.scheduled,
            ..TaskBody::default()
        };
        let mut input = request.input.text().clone();
        match work.clone() {
            Work::Activity { queue } => row.queue = Some(queue),
            Work::Function { name, invocation, callback } => {
                row.kind = kinds::FUNCTION.to_owned();
                body.invocation = invocation;
                body.callback = callback;
                let value = request.input.value();
                let named = name.or_else(|| Some(value.get("FunctionName")?.as_str()?.to_owned()));
                let name = named.as_deref().map(function_name).unwrap_or_default().to_owned();
                // What a function named by its ARN is given is its payload, not how to call it.
                let how = match invocation && !callback {
                    true => how_to_invoke(value),
                    false => Ok(Invocation::Wait),
                };
                let how = match how {
                    Ok(how) => how,
                    Err(cause) => {
                        self.inbox.push_back((id, fail(names::RUNTIME, cause)));
                        return Ok(());
                    }
                };
                if invocation {
                    let payload = value.get("Payload").filter(|payload| !payload.is_null());
                    input = payload.map_or("{}".into(), |payload| payload.to_json().into());
                }
                match self.tx.activity_by_name(&name)? {
                    Some(_) if how == Invocation::DryRun => {
                        self.inbox.push_back((id, Event::TaskStarted { task, worker: None }));
                        let output = self.dry_run();
                        self.inbox.push_back((id, Event::TaskSucceeded { task, output }));
                        return Ok(());
                    }
                    Some(activity) => row.queue = Some(activity.id),
                    None => {
                        let cause = format!(
                            "Function not found: {name}. Functions are served by the workers of the activity of that name; create it."
                        );
                        let event = fail("Lambda.ResourceNotFoundException", cause);
                        self.inbox.push_back((id, Event::TaskStarted { task, worker: None }));
                        self.inbox.push_back((id, event));
                        return Ok(());
                    }
                }
            }
            Work::Child(wait) => {
                row.kind = kinds::CHILD.to_owned();
                body.wait =
                    WAITS.iter().position(|w| *w == wait).and_then(|n| u8::try_from(n).ok());
            }
            Work::Job { .. } => row.kind = kinds::JOB.to_owned(),
            Work::Http => row.kind = kinds::HTTP.to_owned(),
            Work::Send(call) => return self.send_task(id, task, call, request.input.value()),
        }
        row.input = self.keep_text(id, &input)?;
        row.body = body.text();
        self.tx.insert_workflow_task(&row)?;
        if let Some(s) = request.timeout_seconds {
            let due = after(now, SignedDuration::from_secs(s.max(0)));
            self.set_timer(id, timers::TASK, task.0, due)?;
        }
        match (row.queue, work) {
            (Some(queue), _) => self.shared.hub.task_ready(queue),
            (None, Work::Job { wait }) => self.start_job(row, wait, request.input.value())?,
            (None, Work::Http) => self.told.calls = true,
            (None, _) if self.starts_left > 0 => {
                self.starts_left -= 1;
                self.start_child_of_task(row, &input)?;
            }
            (None, _) => self.shared.hub.driver.notify_one(),
        }
        Ok(())
    }

    /// Starts the execution that a task asks for. The task's row is there, ready.
    pub(super) fn start_child_of_task(
        &mut self,
        row: TaskRow,
        input: &str,
    ) -> Result<(), WorkflowError> {
        let (id, task) = (row.execution, TaskId(row.task));
        let mut body = TaskBody::of(&row);
        let wait = body.wait.and_then(|n| WAITS.get(usize::from(n)).copied());
        let wait = wait.unwrap_or(ChildWait::Started);
        self.inbox.push_back((id, Event::TaskStarted { task, worker: None }));
        let begun = self.child_spec(id, task, wait, input).and_then(|spec| self.begin(spec));
        let waits = matches!(wait, ChildWait::EndedTexts | ChildWait::EndedJson);
        let begun = match begun {
            // It tells another one of its end, or nobody: this task would wait for ever.
            Ok(begun) if waits && !begun.fresh => Err(Refusal::ExecutionAlreadyExists
                .with(format!("Execution Already Exists: '{}'", begun.arn))),
            begun => begun,
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(WorkflowError::Refused { refusal, message }) => {
                let name = refusal.name();
                let request = self.shared.entropy.uuid();
                let cause = format!(
                    "{message} (Service: AWSStepFunctions; Status Code: 400; Error Code: {name}; \
                     Request ID: {request}; Proxy: null)"
                );
                let error = match name.ends_with("Exception") {
                    true => format!("StepFunctions.{name}"),
                    false => format!("StepFunctions.{name}Exception"),
                };
                self.end_task(id, task.0)?;
                let failure = Failure::new(error, cause);
                self.inbox.push_back((id, Event::TaskFailed { task, failure }));
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let child = begun.id;
        let mut answer = vec![
            ("ExecutionArn", Value::from(begun.arn.as_str())),
            ("StartDate", Value::from(begun.started_at.as_millisecond())),
        ];
        let bytes = Value::object(answer.clone()).to_json().len();
        if wait != ChildWait::StartedBySdk {
            answer.extend(self.call_metadata(200, bytes, STATES_TYPE, &[]));
        }
        let output = Document::new(sorted(answer));
        match wait {
            ChildWait::Started | ChildWait::StartedBySdk => {
                self.end_task(id, task.0)?;
                self.inbox.push_back((id, Event::TaskSucceeded { task, output }));
            }
            ChildWait::EndedTexts | ChildWait::EndedJson | ChildWait::Callback => {
                body.child = (wait != ChildWait::Callback).then_some(begun.id);
                let mut row = row;
                row.body = body.text();
                row.phase = TaskPhase::Waiting;
                self.tx.delete_workflow_task(id, task.0)?;
                self.tx.insert_workflow_task(&row)?;
                self.arm_heartbeat(&row)?;
                self.inbox.push_back((id, Event::TaskSubmitted { task, output }));
            }
        }
        if begun.fresh {
            self.inbox.push_back((child, Event::Start));
        }
        Ok(())
    }

    /// The worker must show signs of life from now on.
    pub(super) fn arm_heartbeat(&mut self, row: &TaskRow) -> Result<(), WorkflowError> {
        let Some(seconds) = row.heartbeat_s else { return Ok(()) };
        let by = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 4));
        self.set_timer(row.execution, timers::HEARTBEAT, row.task, after(self.now, by))
    }

    fn child_spec(
        &mut self,
        id: u64,
        task: TaskId,
        wait: ChildWait,
        input: &str,
    ) -> Result<StartSpec, WorkflowError> {
        let broken = |text: &str| Refusal::ValidationException.with(text);
        let arguments = Value::parse(input).map_err(|e| broken(&e.to_string()))?;
        let arn = arguments.get("StateMachineArn").and_then(Value::as_str);
        let arn = Arn::parse(arn.unwrap_or_default())?;
        let draw = self.shared.entropy.bits();
        let target = resolve(self.tx, &arn, draw)?;
        let text = match arguments.get("Input") {
            None | Some(Value::Null) => "{}".into(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_json().into(),
        };
        Value::parse(&text).map_err(|e| {
            Refusal::InvalidExecutionInput
                .with(format!("Invalid State Machine Execution Input: '{e}'"))
        })?;
        let parent = match wait {
            ChildWait::Started | ChildWait::StartedBySdk | ChildWait::Callback => None,
            ChildWait::EndedTexts | ChildWait::EndedJson => {
                let json = wait == ChildWait::EndedJson;
                Some(Parent::Task { execution: id, task: task.0, json })
            }
        };
        let text_of = |key: &str| arguments.get(key).and_then(Value::as_str).map(str::to_owned);
        let (priority, namespace) = match self.load(id)? {
            Some(l) => (l.facts.priority, l.facts.namespace.clone()),
            None => (0, None),
        };
        Ok(StartSpec {
            kind: kind_of(target.machine_type),
            target,
            name: text_of("Name"),
            input: text,
            trace_header: text_of("TraceHeader"),
            priority,
            namespace,
            parent,
        })
    }

    /// How a child that has ended looks to the task that waited for it.
    pub(super) fn child_outcome(
        &mut self,
        id: u64,
        task: u64,
        json: bool,
    ) -> Result<Event, WorkflowError> {
        let task = TaskId(task);
        let gone = || WorkflowError::Internal(format!("execution {id} is gone at its end"));
        let now = self.now;
        let l = self.load(id)?.ok_or_else(gone)?;
        let (input, kept) = (l.info.input.clone(), l.facts.output.clone());
        let text = |text: &str| match json {
            true => Value::parse(text).unwrap_or_else(|_| Value::from(text)),
            false => Value::from(text),
        };
        let included = || Value::object([("Included", Value::from(true))]);
        let mut members = vec![
            ("ExecutionArn", Value::from(&*l.info.arn)),
            ("Input", text(&input)),
            ("InputDetails", included()),
            ("Name", Value::from(&*l.info.name)),
            ("RedriveCount", Value::from(i64::try_from(l.facts.redrive_count).unwrap_or(i64::MAX))),
            ("StartDate", Value::from(l.row.started_at.as_millisecond())),
            ("StateMachineArn", Value::from(&*l.info.state_machine_arn)),
            ("Status", Value::from(l.row.status.as_str())),
        ];
        let (redrivable, reason) = match redrivable(&l.row_to_be(), &l.facts, now) {
            Redrivable::Yes => ("REDRIVABLE", None),
            Redrivable::ByMapRun => ("REDRIVABLE_BY_MAP_RUN", None),
            Redrivable::No(reason) => ("NOT_REDRIVABLE", Some(reason)),
        };
        members.push(("RedriveStatus", redrivable.into()));
        members.extend(reason.map(|reason| ("RedriveStatusReason", reason.into())));
        if let Some(at) = l.row.stopped_at {
            members.push(("StopDate", Value::from(at.as_millisecond())));
        }
        for (key, value) in [("Error", &l.facts.error), ("Cause", &l.facts.cause)] {
            if let Some(value) = value {
                members.push((key, Value::from(value.as_str())));
            }
        }
        match kept {
            Some(kept) => {
                let output = super::facts::kept_text(self.tx, id, &kept)?;
                members.push(("Output", text(&output)));
                members.push(("OutputDetails", included()));
                let output = Document::new(sorted(members));
                Ok(Event::TaskSucceeded { task, output })
            }
            None => {
                let cause = sorted(members).to_json();
                Ok(Event::TaskFailed { task, failure: Failure::new(names::TASK_FAILED, cause) })
            }
        }
    }

    /// A task that is a call of the States API itself, by the token of another task.
    fn send_task(
        &mut self,
        id: u64,
        task: TaskId,
        call: SendTask,
        arguments: &Value,
    ) -> Result<(), WorkflowError> {
        self.inbox.push_back((id, Event::TaskStarted { task, worker: None }));
        let text = |key: &str| match arguments.get(key) {
            Some(Value::String(text)) => Some(text.to_string()),
            Some(value) => Some(value.to_json()),
            None => None,
        };
        let token = text("TaskToken").unwrap_or_default();
        let answered = match call {
            SendTask::Success => self.task_answered(&token, |task| {
                let text = text("Output").unwrap_or_default();
                let output = Document::parse(&text)
                    .map_err(|e| Refusal::InvalidOutput.with(format!("Invalid Output: '{e}'")))?;
                Ok(Event::TaskSucceeded { task, output })
            }),
            SendTask::Failure => self.task_answered(&token, |task| {
                let failure = Failure {
                    error: text("Error").map(Into::into),
                    cause: text("Cause").map(Into::into),
                };
                Ok(Event::TaskFailed { task, failure })
            }),
            SendTask::Heartbeat => self.heartbeat(&token),
        };
        let event = match answered {
            Ok(()) => Event::TaskSucceeded { task, output: Document::new(Value::empty_object()) },
            Err(WorkflowError::Refused { refusal, message }) => {
                let name = refusal.name();
                let cause = format!("{message} (Service: Sfn, Status Code: 400)");
                Event::TaskFailed {
                    task,
                    failure: Failure::new(format!("Sfn.{name}Exception"), cause),
                }
            }
            Err(other) => return Err(other),
        };
        self.inbox.push_back((id, event));
        Ok(())
    }

    /// The task that a token names, if it still waits for an answer.
    pub(super) fn task_of_token(&mut self, token: &Token) -> Result<TaskRow, WorkflowError> {
        let Some(l) = self.load(token.execution)? else {
            return Err(Refusal::TaskDoesNotExist
                .with("Task Does Not Exist: 'Provided task does not exist'"));
        };
        if !l.facts.gave(token) {
            return Err(Refusal::InvalidToken.with("Invalid Token: 'Invalid token'"));
        }
        if l.row.status.is_ended() {
            return Err(no_such_task());
        }
        self.tx.workflow_task(token.execution, token.task)?.ok_or_else(no_such_task)
    }

    /// An answer to a task, by its token: the task is over, whatever others say later.
    pub(super) fn task_answered(
        &mut self,
        token: &str,
        event: impl FnOnce(TaskId) -> Result<Event, WorkflowError>,
    ) -> Result<(), WorkflowError> {
        let token = Token::parse(token)?;
        let row = self.task_of_token(&token)?;
        if token.use_ == TokenUse::Call && row.phase == TaskPhase::Waiting {
            // The call has been answered: only the callback is still to come.
            return Err(no_such_task());
        }
        let event = event(TaskId(row.task))?;
        let body = TaskBody::of(&row);
        let event = match event {
            Event::TaskSucceeded { task, output } if body.invocation => {
                let output = if token.use_ == TokenUse::Call || !body.callback {
                    self.invocation(&output)
                } else {
                    output
                };
                Event::TaskSucceeded { task, output }
            }
            other => other,
        };
        let (execution, task) = (row.execution, row.task);
        if token.use_ == TokenUse::Call
            && let Event::TaskSucceeded { task: id, output } = event
        {
            // The function has done its part; the callback is still to come.
            self.tx.set_task_phase(execution, task, TaskPhase::Waiting, row.handed_at)?;
            self.inbox.push_back((execution, Event::TaskSubmitted { task: id, output }));
            return Ok(());
        }
        self.end_task(execution, task)?;
        self.inbox.push_back((execution, event));
        Ok(())
    }

    /// A sign of life of a task.
    pub(super) fn heartbeat(&mut self, token: &str) -> Result<(), WorkflowError> {
        let token = Token::parse(token)?;
        let row = self.task_of_token(&token)?;
        self.tx.confirm_task(row.execution, row.task)?;
        self.arm_heartbeat(&row)
    }
}

fn no_such_task() -> WorkflowError {
    Refusal::TaskTimedOut.with("Task Timed Out: 'Provided task does not exist anymore'")
}

/// An object with its members in the order of their names, as AWS shows them.
pub(super) fn sorted(mut members: Vec<(&'static str, Value)>) -> Value {
    members.sort_by_key(|(name, _)| *name);
    Value::object(members)
}
