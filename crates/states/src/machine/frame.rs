//! What an execution remembers of each place where it stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::effect::{MapRunId, TaskId, TimerId};
use crate::definition::{ScopeId, StateId};
use crate::error::Failure;
use crate::value::{Document, Object, Value};

/// One running list of states. 0 is the machine itself; others are branches and iterations. Never used
/// again within an execution.
pub(super) type FrameId = u64;

/// The machine's own frame.
pub(super) const ROOT: FrameId = 0;

/// One running list of states.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Frame {
    /// The frame whose Parallel or Map state runs this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<FrameId>,
    /// Which branch or iteration of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) index: u64,
    pub(super) scope: ScopeId,
    /// What its own states assigned.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub(super) variables: Object,
    /// `Map.Item` of the context object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Item>,
    /// The current state.
    pub(super) at: StateId,
    /// Its raw input.
    pub(super) input: Document,
    /// When and by which event it was entered.
    pub(super) entered: Entered,
    /// The event the next one follows from.
    pub(super) previous: u64,
    /// Attempts used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retries: Vec<Retries>,
    /// All of them together.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub(super) retry_count: u32,
    /// What it does now.
    pub(super) doing: Doing,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

/// `Map.Item` of the context object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) index: u64,
    pub(super) value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Value>,
    /// Where the items of a distributed Map come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<std::sync::Arc<str>>,
}

/// Attempts that one error name of one retrier has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retries {
    pub(super) retrier: u32,
    /// Which name of its `ErrorEquals` matched.
    pub(super) name: u32,
    pub(super) used: u32,
}

/// The entry into a state.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Entered {
    /// The `StateEntered` event.
    pub(super) event: u64,
    /// The event before it.
    pub(super) previous: u64,
    pub(super) time: Timestamp,
}

/// What a frame does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Doing {
    /// Is to enter its state.
    Enter,
    /// Has entered and is to do the state's work (again).
    Work,
    /// Waits for the timer of a Wait state.
    Wait { timer: TimerId },
    /// Waits to try again.
    Retry { timer: TimerId },
    /// Waits for a task.
    Task { task: TaskId },
    /// Waits for its branches.
    Parallel { results: Vec<Option<Value>>, open: u32 },
    /// Waits for its iterations.
    Map(Box<MapWork>),
    /// Waits for a Map Run.
    MapRun {
        map_run: MapRunId,
        arn: std::sync::Arc<str>,
        /// How often it was redriven.
        #[serde(default)]
        redrives: u32,
    },
    /// Ended with this failure; only in a failed execution, for a redrive.
    Failed { failure: Failure },
}

/// An inline Map at work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MapWork {
    /// The items, for those not yet started.
    pub(super) items: Vec<(Option<Value>, Value)>,
    /// How many were started.
    pub(super) started: u64,
    /// Results in order of the items.
    pub(super) results: Vec<Option<Value>>,
    /// Iterations that run.
    pub(super) open: u64,
    /// Iterations that may.
    pub(super) most: u64,
}
