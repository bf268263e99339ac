//! Why the runtime refused: the error names of AWS's service model with a text for people, plus
//! what only Ark knows (the store, a server that was taken over, one that ends).

use ark_store::StoreError;

/// The name of a refusal. Its text is the name on the wire (`__type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are AWS's own and are described there")]
pub enum Refusal {
    ActivityAlreadyExists,
    ActivityDoesNotExist,
    ActivityLimitExceeded,
    ActivityWorkerLimitExceeded,
    ConflictException,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionLimitExceeded,
    ExecutionNotRedrivable,
    InvalidArn,
    InvalidDefinition,
    InvalidEncryptionConfiguration,
    InvalidExecutionInput,
    InvalidLoggingConfiguration,
    InvalidName,
    InvalidOutput,
    InvalidToken,
    InvalidTracingConfiguration,
    MissingRequiredParameter,
    ResourceNotFound,
    ServiceQuotaExceededException,
    StateMachineAlreadyExists,
    StateMachineDeleting,
    StateMachineDoesNotExist,
    StateMachineLimitExceeded,
    StateMachineTypeNotSupported,
    TaskDoesNotExist,
    TaskTimedOut,
    TooManyTags,
    ValidationException,
}

impl Refusal {
    /// The name on the wire.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// A refusal with its text.
    pub fn with(self, message: impl Into<String>) -> WorkflowError {
        WorkflowError::Refused { refusal: self, message: message.into() }
    }
}

/// Why the runtime refused or could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkflowError {
    /// The request is refused; asking again changes nothing unless the world changes.
    #[error("{message}")]
    Refused {
        /// Under which name.
        refusal: Refusal,
        /// Why, for people.
        message: String,
    },
    /// The store did not do it.
    #[error("the store did not answer")]
    Store(#[source] StoreError),
    /// Another server has taken over: nothing was written.
    #[error("another server controls the workflows now: send the request to it")]
    Fenced,
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A record of the runtime cannot be understood: a defect, or another version's.
    #[error("a record of the workflow runtime cannot be used: {0}")]
    Internal(String),
}

impl WorkflowError {
    /// The refusal, when it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            Self::Store(_) | Self::Fenced | Self::ShuttingDown | Self::Internal(_) => None,
        }
    }

    /// Whether whatever else is tried now would fail, too: the store is out of service, or the
    /// server is no longer in charge. Any other failure concerns what was tried alone.
    pub(super) fn is_everybodys(&self) -> bool {
        match self {
            Self::Fenced | Self::ShuttingDown => true,
            Self::Refused { .. } | Self::Internal(_) => false,
            Self::Store(error) => {
                error.is_transient()
                    || matches!(error, StoreError::Closed | StoreError::Corrupt { .. })
            }
        }
    }
}

impl From<StoreError> for WorkflowError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::StaleLease { .. } => Self::Fenced,
            other => Self::Store(other),
        }
    }
}
