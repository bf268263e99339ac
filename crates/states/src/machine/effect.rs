//! What an execution wants done outside. The runtime does it after the step is durable.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::definition::{ScopeId, StateId};
use crate::error::Failure;
use crate::resource::Resource;
use crate::value::{Document, Object, Value};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);
    };
}

id! {
    /// One attempt of one task within an execution; never used again, not by a retry either.
    TaskId
}
id! {
    /// One timer within an execution; never used again.
    TimerId
}
id! {
    /// One Map Run within an execution. A redrive keeps it, a retry makes a new one.
    MapRunId
}

/// One thing to do. Each is done at least once; the ids make repeats harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Offer a task to its workers, and watch its two timeouts.
    ScheduleTask(Box<TaskRequest>),
    /// Withdraw a task: its state was left (timeout, a failed sibling, stop). Its token is dead.
    CancelTask {
        /// The task.
        task: TaskId,
    },
    /// Send [`super::Event::TimerFired`] at an instant, which may lie in the past.
    ArmTimer {
        /// The timer.
        timer: TimerId,
        /// When.
        at: Timestamp,
    },
    /// Forget a timer.
    CancelTimer {
        /// The timer.
        timer: TimerId,
    },
    /// Make a Map Run and its child executions.
    StartMapRun(Box<MapRunRequest>),
    /// Abort a Map Run and its children; no answer is wanted.
    StopMapRun {
        /// The run.
        map_run: MapRunId,
    },
    /// Run the children of a failed Map Run again that did not succeed; it answers with
    /// `MapRunFinished`.
    RedriveMapRun {
        /// The run.
        map_run: MapRunId,
    },
    /// The execution ended.
    Finish(End),
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// With this output.
    Succeeded(Document),
    /// With this failure.
    Failed(Failure),
    /// `TimeoutSeconds` of the machine passed.
    TimedOut(Failure),
    /// Stopped.
    Aborted(Failure),
}

/// A task to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// The attempt; answers carry it.
    pub task: TaskId,
    /// The state, for people.
    pub state: Arc<str>,
    /// What does it.
    pub resource: Resource,
    /// Its input (`Parameters` or `Arguments` evaluated).
    pub input: Document,
    /// Seconds from now until [`super::Event::TaskTimedOut`]; time in the queue counts.
    pub timeout_seconds: Option<i64>,
    /// Number of the event that says that it was scheduled.
    #[serde(default)]
    pub scheduled: u64,
    /// Seconds from start and from each heartbeat until [`super::Event::TaskTimedOut`].
    pub heartbeat_seconds: Option<i64>,
    /// `Credentials`, evaluated.
    pub credentials: Option<Value>,
    /// How often this state's work was tried before, 0 at first (`$$.State.RetryCount`).
    pub retry_count: u32,
}

/// A Map Run to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapRunRequest {
    /// The run; answers carry it.
    pub map_run: MapRunId,
    /// Its ARN, already in the history.
    pub arn: Arc<str>,
    /// The Map state, for people.
    pub state: Arc<str>,
    /// What each child runs: [`super::ExecutionState::new_child`].
    pub processor: ScopeId,
    /// Standard or Express children.
    pub express: bool,
    /// Children at once; 0 means the default.
    pub max_concurrency: u32,
    /// Failed items that are allowed, in number.
    pub tolerated_failure_count: u64,
    /// Failed items that are allowed, 0.0 to 100.0.
    pub tolerated_failure_percentage: f64,
    /// Whether a child may have several items (`ItemBatcher`).
    #[serde(default)]
    pub batched: bool,
    /// Where the children's inputs come from.
    pub items: MapItems,
    /// Where the results go; none: they come back as the result.
    pub writer: Option<WriterRequest>,
}

impl MapRunRequest {
    /// The items that a child with this input works on.
    pub fn items_in(&self, input: &Document) -> u64 {
        let items = input.value().get("Items").filter(|_| self.batched);
        items.and_then(Value::as_array).map_or(1, |items| items.len() as u64)
    }
}

/// Where the children's inputs come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "the request that holds it is boxed as a whole")]
pub enum MapItems {
    /// Here they are, selected and batched.
    Inputs(Vec<Document>),
    /// To be read, then selected and batched by [`super::ChildInputs`].
    Reader(ReaderRequest, ItemSelection),
}

/// Items to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReaderRequest {
    /// `arn:aws:states:::s3:getObject` or `...:listObjectsV2`.
    pub resource: Arc<str>,
    /// `Parameters` or `Arguments`, evaluated: Bucket, Key or Prefix.
    pub parameters: Value,
    /// `ReaderConfig`, every path in it evaluated: InputType, CSVHeaderLocation, CSVHeaders,
    /// CSVDelimiter, ItemsPointer, Transformation, MaxItems.
    pub config: Value,
    /// `MaxItems` of it; reading ends there.
    pub max_items: Option<u64>,
}

/// What making child inputs of read items needs, to be kept with the Map Run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemSelection {
    /// The Map state.
    pub state: StateId,
    /// Its input.
    pub input: Document,
    /// The context object there, without `Map`.
    pub context: Value,
    /// The variables there.
    pub variables: Object,
    /// Where the items come from, for `Map.Item.Source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
}

/// Results to be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriterRequest {
    /// `arn:aws:states:::s3:putObject`; absent when only the form of the results is set.
    pub resource: Option<Arc<str>>,
    /// `Parameters` or `Arguments`, evaluated: Bucket, Prefix.
    pub parameters: Value,
    /// `WriterConfig`: Transformation, OutputType.
    pub config: Value,
}
