//! What happens to an execution from outside.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::effect::{MapRunId, TaskId, TimerId};
use crate::error::Failure;
use crate::value::Document;

/// An event the machine takes. The runtime makes them of worker calls, due timers and user requests;
/// each is taken exactly once, in one transaction with the state it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The execution begins. Once, first.
    Start,
    /// Go on after a step that yielded ([`super::Step::yielded`]).
    Continue,
    /// A worker took the task (ActivityStarted, TaskStarted, LambdaFunctionStarted).
    TaskStarted {
        /// The task.
        task: TaskId,
        /// Name the worker gave itself; only activities show it.
        worker: Option<String>,
    },
    /// The other side accepted the request of a `.sync` or `.waitForTaskToken` task and works on it.
    TaskSubmitted {
        /// The task.
        task: TaskId,
        /// Its answer to the request.
        output: Document,
    },
    /// The task ended well.
    TaskSucceeded {
        /// The task.
        task: TaskId,
        /// Its result, at any size: the machine judges it against the data limit.
        output: Document,
    },
    /// The task ended badly.
    TaskFailed {
        /// The task.
        task: TaskId,
        /// Error and cause as given; `States.` names only from the runtime itself.
        failure: Failure,
    },
    /// `TimeoutSeconds` or `HeartbeatSeconds` of a task passed. The runtime watches both.
    TaskTimedOut {
        /// The task.
        task: TaskId,
        /// Which of the two.
        timeout: TaskTimeout,
    },
    /// A timer came due. Early or late does not matter, twice does not happen.
    TimerFired {
        /// The timer.
        timer: TimerId,
    },
    /// A Map Run ended.
    MapRunFinished {
        /// The run.
        map_run: MapRunId,
        /// What became of it.
        end: MapRunEnd,
    },
    /// `StopExecution`.
    Stop {
        /// Error and cause given by the caller, if any.
        failure: Failure,
    },
    /// `RedriveExecution`, on an execution that ended other than well. The runtime checks age, type
    /// and definition before.
    Redrive,
}

/// Which clock of a task ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskTimeout {
    /// `TimeoutSeconds`, counted from scheduling: `States.Timeout`.
    Total,
    /// `HeartbeatSeconds`, counted from the last heartbeat: `States.HeartbeatTimeout` matches, and so
    /// does `States.Timeout`.
    Heartbeat,
}

/// How a Map Run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MapRunEnd {
    /// The array of results in order, or the writer's answer (`{"MapRunArn":..,"ResultWriterDetails":..}`).
    Succeeded(Document),
    /// Beyond the tolerance, or reader or writer failed.
    Failed(Failure),
}

/// An instant as the context object shows it: `2026-11-21T11:35:00.123Z`.
pub fn context_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
