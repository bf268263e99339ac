//! `http:invoke`: a task that is a call over HTTP, as AWS has it.
//!
//! - [`request`]: what a task's parameters ask for.
//! - [`connection`]: the credentials that are added, from configuration.
//! - [`caller`]: the call itself, and which addresses are refused.
//! - [`tested`]: calls of a TestState, which belong to no execution.
//!
//! The loop here takes such tasks, marks each as handed out before it calls, and writes down the answer
//! in a step. A call whose server was killed in the middle is made again when its method allows that,
//! and fails otherwise: nobody knows whether it arrived.

pub mod caller;
mod connection;
mod request;
mod tested;

use std::sync::Arc;
use std::time::Duration;

use ark_states::error::{Failure, names};
use ark_states::machine::{Event, TaskId};
use ark_states::{Document, Value, limits};
use ark_store::{Keyring, TaskPhase, TaskRow};
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::SignedDuration;

use super::Workflows;
use super::effects::kinds;
use super::error::WorkflowError;
use super::facts::kept_text;
use super::step::{Stepper, after};
pub use caller::{Answer, CallError, Caller, HttpCaller, Outgoing, Ranges};

/// Calls at once; more wait.
const CALLS_MAX: usize = 64;
/// How long one call may take (the limit of AWS).
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
/// Time between two looks when nothing was heard.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// How often an answer is written that the execution does not take, a look apart. A store that is
/// out of service is waited for as long as it takes.
const WRITES_MAX: u32 = 60;
/// The error of a call that got no answer.
const SOCKET: &str = "States.Http.Socket";
/// The error of a connection that cannot be used.
const CONNECTION: &str = "States.Http.Connection";

/// What calls are made with.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Makes them.
    pub caller: Arc<dyn Caller>,
    /// Opens the secrets of connections.
    pub keyring: Arc<Keyring>,
}

/// A call that was taken.
#[derive(Debug)]
struct Call {
    execution: u64,
    task: u64,
    /// Whether it was handed out before, in a life of the server that ended.
    again: bool,
    input: String,
    namespace: Option<String>,
}

impl Workflows {
    /// Makes the calls that tasks ask for, until the server ends.
    pub(super) async fn call_rounds(&self) -> WorkflowError {
        let mut running = FuturesUnordered::new();
        loop {
            if self.shared.hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            let told = std::pin::pin!(self.shared.hub.calls.notified());
            let room = CALLS_MAX - running.len();
            match self.take_calls(room).await {
                Ok(calls) => running.extend(calls.into_iter().map(|call| self.call(call))),
                Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "calls of workflows could not be taken"
                ),
            }
            let clock = &self.world.clock;
            let woken = select(told, clock.sleep_until(after(clock.now(), LOOK)));
            if running.is_empty() {
                let _ = woken.await;
                continue;
            }
            match select(running.next(), std::pin::pin!(woken)).await {
                Either::Left((Some(Err(WorkflowError::Fenced)), _)) => {
                    return WorkflowError::Fenced;
                }
                Either::Left((Some(Err(error)), _)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the answer to a call could not be written"
                ),
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }

    async fn take_calls(&self, room: usize) -> Result<Vec<Call>, WorkflowError> {
        let ready =
            self.world.store.read(move |tx| tx.outbound_tasks_of(kinds::HTTP, room.max(1))).await?;
        if ready.is_empty() || room == 0 {
            return Ok(Vec::new());
        }
        self.transact(move |step| step.take_calls(room)).await
    }

    async fn call(&self, call: Call) -> Result<(), WorkflowError> {
        let (execution, task) = (call.execution, TaskId(call.task));
        let event = match self.outcome(&call).await {
            Ok(output) => Event::TaskSucceeded { task, output },
            Err(failure) => Event::TaskFailed { task, failure },
        };
        // Nobody else knows the answer, and the call may not be made again: it is kept until it can
        // be written.
        let mut tried = 0;
        loop {
            let event = event.clone();
            let written = self.transact(move |step| {
                // It may have timed out meanwhile.
                if step.end_task(execution, task.0)? {
                    step.inbox.push_back((execution, event));
                }
                Ok(())
            });
            let error = match written.await {
                Ok(()) => return Ok(()),
                Err(WorkflowError::Fenced) => return Err(WorkflowError::Fenced),
                Err(error) => error,
            };
            if !error.is_everybodys() {
                tried += 1;
            }
            if tried == WRITES_MAX || self.shared.hub.is_closing() {
                return Err(error);
            }
            tracing::warn!(
                execution,
                error = &error as &dyn std::error::Error,
                "the answer to a call could not be written; it is tried again"
            );
            let clock = &self.world.clock;
            let again = clock.sleep_until(after(clock.now(), LOOK));
            let _ = select(again, Box::pin(self.shared.hub.closed())).await;
        }
    }

    async fn outcome(&self, call: &Call) -> Result<Document, Failure> {
        let invalid = |why: String| Failure::new(names::RUNTIME, why);
        let input = Value::parse(&call.input).map_err(|error| invalid(error.to_string()))?;
        let asked = request::read(&input).map_err(invalid)?;
        if call.again && !asked.outgoing.may_be_repeated() {
            return Err(Failure::new(
                SOCKET,
                "The server ended while the call was made; whether it arrived is not known.",
            ));
        }
        outcome(self.made(asked, call.namespace.as_deref()).await?)
    }

    /// Makes a call, with the credentials of its connection. A call that cannot be made at all is a
    /// failure; one that got no answer is an answer, too.
    async fn made(
        &self,
        mut asked: request::Asked,
        namespace: Option<&str>,
    ) -> Result<Result<Answer, CallError>, Failure> {
        let Some(calls) = &self.calls else {
            return Err(Failure::new(names::RUNTIME, "This server makes no calls over HTTP."));
        };
        if let Some(name) = &asked.connection {
            let found = connection::load(&self.world.store, &calls.keyring, name, namespace).await;
            let found = found.map_err(|why| Failure::new(CONNECTION, why))?;
            found.apply(&mut asked.outgoing).map_err(|why| Failure::new(CONNECTION, why))?;
        }
        let clock = &self.world.clock;
        let late = SignedDuration::try_from(DEADLINE).unwrap_or(SignedDuration::MAX);
        let deadline = clock.sleep_until(after(clock.now(), late));
        Ok(match select(calls.caller.call(asked.outgoing), deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                Err(CallError::Socket(format!("no answer within {} seconds", DEADLINE.as_secs())))
            }
        })
    }
}

/// How an answer looks to the state.
fn outcome(answer: Result<Answer, CallError>) -> Result<Document, Failure> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(CallError::Socket(why)) => return Err(Failure::new(SOCKET, why)),
        Err(CallError::Refused(why)) => return Err(Failure::new(names::RUNTIME, why)),
        Err(CallError::TooLarge) => {
            let why = format!(
                "The answer has more than the {} bytes allowed.",
                limits::PAYLOAD_BYTES_MAX
            );
            return Err(Failure::new(names::DATA_LIMIT_EXCEEDED, why));
        }
    };
    let status = answer.status;
    let shown = answer.shown();
    if (200..300).contains(&status) {
        return Ok(Document::new(shown));
    }
    Err(Failure::new(format!("States.Http.StatusCode.{status}"), shown.to_json()))
}

impl Stepper<'_> {
    fn take_calls(&mut self, room: usize) -> Result<Vec<Call>, WorkflowError> {
        let mut calls = Vec::new();
        for row in self.tx.outbound_tasks_of(kinds::HTTP, room)? {
            calls.extend(self.take_call(&row)?);
        }
        Ok(calls)
    }

    fn take_call(&mut self, row: &TaskRow) -> Result<Option<Call>, WorkflowError> {
        let (execution, task) = (row.execution, row.task);
        let again = row.handed_at.is_some();
        let at = row.handed_at.unwrap_or(self.now);
        self.tx.set_task_phase(execution, task, TaskPhase::Handed, Some(at))?;
        if !again {
            let event = Event::TaskStarted { task: TaskId(task), worker: None };
            if !self.apply(execution, &event)? {
                self.end_task(execution, task)?;
                return Ok(None);
            }
        }
        let input = kept_text(self.tx, execution, &row.input)?;
        let namespace = self.load(execution)?.and_then(|l| l.facts.namespace.clone());
        Ok(Some(Call { execution, task, again, input, namespace }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer {
            status,
            reason: "Some Reason".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: br#"{"a": 1}"#.to_vec(),
        }
    }

    #[test]
    fn an_answer_becomes_a_result_or_an_error_named_by_its_status() {
        let good = outcome(Ok(answer(201))).expect("a result");
        assert_eq!(
            good.text().to_string(),
            r#"{"Headers":{"content-type":["application/json"]},"ResponseBody":{"a":1},"StatusCode":201,"StatusText":"Some Reason"}"#
        );
        for (status, error) in [
            (302, "States.Http.StatusCode.302"),
            (404, "States.Http.StatusCode.404"),
            (503, "States.Http.StatusCode.503"),
        ] {
            let failure = outcome(Ok(answer(status))).expect_err(error);
            assert_eq!(failure.name(), error);
            assert!(failure.cause.as_deref().is_some_and(|c| c.contains(r#""a":1"#)));
        }
        for (error, name) in [
            (CallError::Socket("gone".to_owned()), SOCKET),
            (CallError::Refused("no".to_owned()), names::RUNTIME),
            (CallError::TooLarge, names::DATA_LIMIT_EXCEEDED),
        ] {
            assert_eq!(outcome(Err(error)).expect_err(name).name(), name);
        }
    }
}
