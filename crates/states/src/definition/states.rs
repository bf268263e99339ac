//! The states as parsed: one struct per type.

use std::sync::Arc;

use super::{
    NumberField, PathField, QueryLanguage, ResultPath, ScopeId, StateId, Template, TextField,
    TimeField,
};
use crate::choice::Condition;
use crate::jsonata::Expression;
use crate::jsonpath::Path;
use crate::resource::Resource;
use crate::value::Value;

/// A state. Fields that its type or language does not have are absent or neutral.
#[derive(Debug)]
pub struct State {
    /// Its number.
    pub id: StateId,
    /// The list it stands in.
    pub scope: ScopeId,
    /// Its name.
    pub name: Arc<str>,
    /// How its expressions are written.
    pub language: QueryLanguage,
    /// What is its own.
    pub kind: StateKind,
    /// Where it leads. [`Next::End`] for Choice, Succeed and Fail.
    pub next: Next,
    /// `InputPath`.
    pub input_path: PathField,
    /// `OutputPath`.
    pub output_path: PathField,
    /// `Parameters` (but a Map's), `Arguments`.
    pub parameters: Option<Template>,
    /// `ResultSelector`.
    pub result_selector: Option<Template>,
    /// `ResultPath`.
    pub result_path: ResultPath,
    /// `Output` (JSONata).
    pub output: Option<Template>,
    /// `Assign`.
    pub assign: Option<Template>,
    /// `Retry`, in order.
    pub retry: Vec<Retrier>,
    /// `Catch`, in order.
    pub catch: Vec<Catcher>,
}

/// Where a state leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To another state of the list.
    State(StateId),
    /// Nowhere: the list ends.
    End,
    /// To a state not in this text; only of a state parsed alone.
    Elsewhere(Arc<str>),
}

/// What is a type's own.
#[derive(Debug)]
pub enum StateKind {
    /// `Pass`.
    Pass(Pass),
    /// `Task`.
    Task(Task),
    /// `Choice`.
    Choice(Choice),
    /// `Wait`.
    Wait(Wait),
    /// `Succeed`.
    Succeed,
    /// `Fail`.
    Fail(Fail),
    /// `Parallel`.
    Parallel(Parallel),
    /// `Map`.
    Map(Box<Map>),
}

/// A Pass state.
#[derive(Debug)]
pub struct Pass {
    /// `Result`, taken as it is.
    pub result: Option<Value>,
}

/// A Task state.
#[derive(Debug)]
pub struct Task {
    /// `Resource`.
    pub resource: Resource,
    /// `TimeoutSeconds`, `TimeoutSecondsPath`.
    pub timeout: Option<NumberField>,
    /// `HeartbeatSeconds`, `HeartbeatSecondsPath`.
    pub heartbeat: Option<NumberField>,
    /// `Credentials`.
    pub credentials: Option<Template>,
}

/// A Choice state.
#[derive(Debug)]
pub struct Choice {
    /// `Choices`, in order.
    pub rules: Vec<ChoiceRule>,
    /// `Default`.
    pub default: Option<Next>,
}

/// A rule of a Choice state.
#[derive(Debug)]
pub struct ChoiceRule {
    /// When it is taken.
    pub condition: ChoiceCondition,
    /// `Next`.
    pub next: Next,
    /// `Assign` of the rule.
    pub assign: Option<Template>,
    /// `Output` of the rule.
    pub output: Option<Template>,
}

/// When a rule is taken.
#[derive(Debug)]
pub enum ChoiceCondition {
    /// JSONPath: operators.
    Rule(Condition),
    /// JSONata: an expression that gives true or false.
    Expression(Expression),
    /// JSONata: `true` or `false`.
    Literal(bool),
}

/// A Wait state.
#[derive(Debug)]
pub enum Wait {
    /// `Seconds`, `SecondsPath`.
    Seconds(NumberField),
    /// `Timestamp`, `TimestampPath`.
    Timestamp(TimeField),
}

/// A Fail state.
#[derive(Debug)]
pub struct Fail {
    /// `Error`, `ErrorPath`.
    pub error: Option<TextField>,
    /// `Cause`, `CausePath`.
    pub cause: Option<TextField>,
}

/// A Parallel state.
#[derive(Debug)]
pub struct Parallel {
    /// `Branches`, in order.
    pub branches: Vec<ScopeId>,
}

/// A Map state.
#[derive(Debug)]
pub struct Map {
    /// The states of `ItemProcessor` or `Iterator`.
    pub processor: ScopeId,
    /// How they run.
    pub mode: MapMode,
    /// Where the items come from.
    pub items: Items,
    /// `ItemSelector`, or the old `Parameters`.
    pub selector: Option<Template>,
    /// `MaxConcurrency`, `MaxConcurrencyPath`.
    pub max_concurrency: Option<NumberField>,
    /// `ToleratedFailureCount`, its `Path`.
    pub tolerated_failure_count: Option<NumberField>,
    /// `ToleratedFailurePercentage`, its `Path`.
    pub tolerated_failure_percentage: Option<NumberField>,
    /// `ItemReader`.
    pub reader: Option<ItemReader>,
    /// `ItemBatcher`.
    pub batcher: Option<ItemBatcher>,
    /// `ResultWriter`.
    pub writer: Option<ResultWriter>,
    /// `Label`.
    pub label: Option<Arc<str>>,
}

/// How iterations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapMode {
    /// Within the execution.
    Inline,
    /// As child executions.
    Distributed {
        /// Express ones.
        express: bool,
    },
}

/// Where the items of a Map come from.
#[derive(Debug)]
pub enum Items {
    /// The input itself.
    Input,
    /// `ItemsPath`.
    Path(Path),
    /// `Items` (JSONata).
    Template(Template),
}

/// `ItemReader`.
#[derive(Debug)]
pub struct ItemReader {
    /// `Resource`.
    pub resource: Arc<str>,
    /// `Parameters` or `Arguments`.
    pub parameters: Option<Template>,
    /// `ReaderConfig` as written, expressions compiled.
    pub config: Option<Template>,
    /// `MaxItems`, `MaxItemsPath` of it.
    pub max_items: Option<NumberField>,
}

/// `ItemBatcher`.
#[derive(Debug)]
pub struct ItemBatcher {
    /// `MaxItemsPerBatch`, its `Path`.
    pub max_items: Option<NumberField>,
    /// `MaxInputBytesPerBatch`, its `Path`.
    pub max_bytes: Option<NumberField>,
    /// `BatchInput`.
    pub input: Option<Template>,
}

/// `ResultWriter`.
#[derive(Debug)]
pub struct ResultWriter {
    /// `Resource`.
    pub resource: Option<Arc<str>>,
    /// `Parameters` or `Arguments`.
    pub parameters: Option<Template>,
    /// `WriterConfig`.
    pub config: Value,
}

/// One entry of `Retry`.
#[derive(Debug)]
pub struct Retrier {
    /// `ErrorEquals`.
    pub errors: Vec<Arc<str>>,
    /// `IntervalSeconds`.
    pub interval_seconds: f64,
    /// `MaxAttempts`.
    pub max_attempts: u32,
    /// `BackoffRate`.
    pub backoff_rate: f64,
    /// `MaxDelaySeconds`.
    pub max_delay_seconds: Option<f64>,
    /// `JitterStrategy` is `FULL`.
    pub jitter: bool,
}

/// One entry of `Catch`.
#[derive(Debug)]
pub struct Catcher {
    /// `ErrorEquals`.
    pub errors: Vec<Arc<str>>,
    /// `Next`.
    pub next: Next,
    /// `ResultPath` (JSONPath).
    pub result_path: ResultPath,
    /// `Output` (JSONata).
    pub output: Option<Template>,
    /// `Assign`.
    pub assign: Option<Template>,
}

impl State {
    /// Whether the state does work that can be retried and caught.
    pub fn is_work(&self) -> bool {
        matches!(self.kind, StateKind::Task(_) | StateKind::Parallel(_) | StateKind::Map(_))
    }
}

impl Map {
    /// Whether iterations are child executions.
    pub fn is_distributed(&self) -> bool {
        matches!(self.mode, MapMode::Distributed { .. })
    }
}
