//! What people look at of workflows: state machines with what goes on in them, executions found by
//! state and name, what happened in one. The wire API of Step Functions has the rest.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workflow::{ExecutionStatus, MachineType};

/// The longest text that is looked for in errors, in characters.
pub const ERROR_TEXT_CHARS_MAX: usize = 200;
/// Executions that are counted of each state; more are not.
pub const EXECUTIONS_COUNTED_MAX: u64 = 1_000;
/// The longest text of an event that is shown, in characters, when nothing is said.
pub const EVENT_TEXT_CHARS: u32 = 2_000;
/// The longest that may be asked for, in characters.
pub const EVENT_TEXT_CHARS_MAX: u32 = 300_000;

/// A state machine and what goes on in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: String,
    /// Standard or Express.
    pub kind: MachineType,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its newest published version, from 1; absent when none was published.
    pub version: Option<u64>,
    /// Executions that go on, counted up to 1,000.
    pub running: u64,
    /// Executions that failed or timed out and that nobody has resolved, among the newest 1,000 of each.
    pub unresolved: u64,
    /// The execution that was started last. Express executions leave none.
    pub last: Option<ExecutionSummary>,
}

/// An execution in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionSummary {
    /// Its workflow.
    pub workflow: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// How it failed.
    pub error: Option<String>,
    /// Why: the beginning of what was said, at most 300 characters.
    pub cause: Option<String>,
    /// The version it runs, when its definition was published.
    pub version: Option<u64>,
    /// Events in its history.
    pub events: u64,
    /// How often it was redriven.
    pub redrives: u64,
    /// Whether it failed and somebody has said that this is dealt with.
    pub resolved: bool,
}

/// Which executions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionsQuery {
    /// Only in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ExecutionStatus>,
    /// Only those that failed or timed out and that nobody has resolved.
    #[serde(default)]
    pub unresolved: bool,
    /// Only those whose name begins so; they come by name then, otherwise the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only those whose error or cause has this in it, letters of A to Z in either case; at most 200
    /// characters. A page looks through 10,000 executions that failed, timed out or were stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 500; 50 when absent. A page may be shorter and still have a `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which events of an execution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionEventsQuery {
    /// From this number on; with `newest`, from it down. The first, or the last, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Newest first.
    #[serde(default)]
    pub newest: bool,
    /// Texts are cut to so many characters, 0 to 300,000; 2,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<u32>,
    /// The most items wanted, 1 to 500; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A text of an event, cut to what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventText {
    /// Its beginning.
    pub text: String,
    /// Bytes of the whole.
    pub bytes: u64,
    /// Whether there is more of it.
    pub cut: bool,
}

/// One event of an execution's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionEvent {
    /// Its number, from 1.
    pub id: u64,
    /// The event it follows from; 0 for the first ones.
    pub previous: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in Step Functions' word: `TaskStateEntered`.
    pub kind: String,
    /// The state it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The number of a Map's iteration, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What does a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The worker that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The map run it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_run: Option<String>,
    /// Input, or the parameters of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<EventText>,
    /// Output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<EventText>,
    /// The name of an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EventText>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventText>,
    /// The last lines that the worker's command wrote before its task failed, where `ark worker` ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<EventText>,
}

/// That an execution is not where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionMoved {
    /// Events in its history.
    pub events: u64,
    /// Where it stands.
    pub status: ExecutionStatus,
}
