//! The errors of the States Language: their names, and a failure as it travels through a machine.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The reserved error names.
pub mod names {
    #![expect(missing_docs, reason = "the names say it")]
    pub const ALL: &str = "States.ALL";
    pub const BRANCH_FAILED: &str = "States.BranchFailed";
    pub const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
    pub const EXCEED_TOLERATED_FAILURE_THRESHOLD: &str = "States.ExceedToleratedFailureThreshold";
    pub const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
    pub const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
    pub const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
    pub const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
    pub const PARAMETER_PATH_FAILURE: &str = "States.ParameterPathFailure";
    pub const PERMISSIONS: &str = "States.Permissions";
    pub const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
    pub const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";
    pub const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";
    pub const RUNTIME: &str = "States.Runtime";
    pub const TASK_FAILED: &str = "States.TaskFailed";
    pub const TIMEOUT: &str = "States.Timeout";
}

/// A failure: what Retry and Catch match, and what an execution ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error name; a Fail state without `Error` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// The cause, free text (often JSON).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Arc<str>>,
}

impl Failure {
    /// A failure with both parts.
    pub fn new(error: impl Into<Arc<str>>, cause: impl Into<Arc<str>>) -> Self {
        Self { error: Some(error.into()), cause: Some(cause.into()) }
    }

    /// The name, empty when there is none.
    pub fn name(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.cause.as_deref().unwrap_or_default())
    }
}

/// Why a path, an intrinsic function, a choice rule or an expression gave no value.
///
/// The cause holds only the detail; the machine puts `An error occurred while executing the state
/// 'S' (entered at the event id #2). ` before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A definite path led nowhere. It has no text of its own: each field words it differently
    /// (`Invalid path '$.X' : No results for path: $['X']`, `The JSONPath '$.X' specified for the
    /// field ...`).
    #[error("Invalid path '{path}' : {detail}")]
    NotFound {
        /// The path as written in the definition: `$.a.b`, `$$.Execution.X`, `$var.x`.
        path: String,
        /// The reader's own words: `No results for path: $['X']`, `Missing property in path $['no']`.
        detail: String,
    },
    /// JSONata gave nothing (undefined); the machine names expression and field.
    #[error("the expression returned nothing (undefined)")]
    Undefined,
    /// JSONata threw: code and message, such as `T1006: Attempted to invoke a non-function`; the
    /// machine names expression and field.
    #[error("{0}")]
    Thrown(String),
    /// Any other failure, worded in full.
    #[error("{cause}")]
    Failed {
        /// One of [`names`].
        error: &'static str,
        /// The detail of the cause.
        cause: String,
    },
}

impl EvalError {
    /// A `States.Runtime` failure.
    pub fn runtime(cause: impl Into<String>) -> Self {
        Self::Failed { error: names::RUNTIME, cause: cause.into() }
    }

    /// A `States.IntrinsicFailure`.
    pub fn intrinsic(cause: impl Into<String>) -> Self {
        Self::Failed { error: names::INTRINSIC_FAILURE, cause: cause.into() }
    }

    /// The error name it leads to when nothing says otherwise.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => names::RUNTIME,
            Self::Undefined | Self::Thrown(_) => names::QUERY_EVALUATION_ERROR,
            Self::Failed { error, .. } => error,
        }
    }
}

/// Why a path or an expression in a definition cannot be read: the part of the message after the
/// field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, for the author of the definition.
    pub message: String,
}

impl SyntaxError {
    /// With this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
