//! The interpreter: `(state, event) -> (state, effects, history)`. No I/O, no clock.
//!
//! The runtime keeps one [`ExecutionState`] per execution, hands each [`Event`] to [`next`], and in one
//! transaction stores the changed state and appends the history; then it carries out the effects.
//! `next` runs on until outside work is needed, so a machine of Pass and Choice states is one call.
//!
//! It must not keep anything outside the state: an execution goes on after a restart from the stored
//! bytes alone.

mod effect;
mod event;
mod map_run;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, ScopeId};
use crate::error::Failure;
use crate::history::HistoryEvent;
use crate::resource::Resource;
use crate::value::Document;

pub use effect::{
    Effect, End, ItemSelection, MapItems, MapRunId, MapRunRequest, ReaderRequest, TaskId,
    TaskRequest, TimerId, WriterRequest,
};
pub use event::{Event, MapRunEnd, TaskTimeout, context_time};
pub use map_run::{
    ChildStatus, MapRunCounts, MapRunEffect, MapRunEvent, MapRunState, MapRunStatus,
};

/// What never changes about an execution; kept beside the state, not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutionInfo {
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

/// Where an execution stands. Small: the current state of each branch with its input, retry counters,
/// variables, results gathered; not the definition, not the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutionState {
    version: u32,
    scope: ScopeId,
    status: ExecutionStatus,
    last_event_id: u64,
    redrive_count: u32,
}

impl ExecutionState {
    /// A new execution of a machine, before [`Event::Start`].
    pub fn new() -> Self {
        Self::new_child(ScopeId(0))
    }

    /// A new execution of the processor of a distributed Map.
    pub fn new_child(scope: ScopeId) -> Self {
        Self {
            version: 1,
            scope,
            status: ExecutionStatus::Running,
            last_event_id: 0,
            redrive_count: 0,
        }
    }

    /// Reads what [`Self::to_bytes`] wrote, in this or an earlier version of Ark.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        serde_json::from_slice(bytes).map_err(|error| StateError { detail: error.to_string() })
    }

    /// For the store. Begins with its version.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it runs, and how it ended.
    pub fn status(&self) -> ExecutionStatus {
        self.status
    }

    /// Events made so far: the id of the last one.
    pub fn event_count(&self) -> u64 {
        self.last_event_id
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

/// Takes one event. On refusal the state is unchanged.
pub fn next(
    _definition: &Definition,
    _state: &mut ExecutionState,
    _event: Event,
    _env: &Env<'_>,
) -> Result<Step, Refused> {
    Err(Refused::WrongStatus)
}

/// Makes the inputs of a Map Run's children of items read one by one: selects (`ItemSelector`) and
/// batches (`ItemBatcher`).
pub struct ChildInputs<'a> {
    definition: &'a Definition,
    selection: &'a ItemSelection,
    batch: Vec<crate::value::Value>,
}

impl<'a> ChildInputs<'a> {
    /// For one Map Run, items beginning with index 0.
    pub fn new(definition: &'a Definition, selection: &'a ItemSelection) -> Self {
        Self { definition, selection, batch: Vec::new() }
    }

    /// Takes an item; gives an input when a batch is full (or when there is no batching).
    pub fn push(
        &mut self,
        item: crate::value::Value,
        _env: &Env<'_>,
    ) -> Result<Option<Document>, Failure> {
        let _ = (self.definition, self.selection, &self.batch);
        Ok(Some(Document::new(item)))
    }

    /// The last, not full batch.
    pub fn finish(self, _env: &Env<'_>) -> Result<Option<Document>, Failure> {
        Ok(None)
    }
}
