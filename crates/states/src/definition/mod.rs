//! A parsed state machine definition.
//!
//! Parsed once, shared by every execution of it. Every path, function, rule and expression in it is
//! parsed here; `machine` only evaluates. `validate` judges the same text in full for people; parsing
//! here stops at what cannot be run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Object, ParseError, Value};

/// One list of states: the machine itself, a branch of a Parallel, the processor of a Map. Numbered
/// from 0 (the machine) in the order of the text, outer ones first; running executions keep these
/// numbers, so the numbering must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeId(pub u32);

/// One state. Numbered from 0 in the order of the text; as lasting as [`ScopeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateId(pub u32);

/// Why a definition cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It is not JSON.
    #[error("the definition is not JSON: {0}")]
    Json(#[from] ParseError),
    /// Something in it has the wrong shape.
    #[error("{message} at {location}")]
    Schema {
        /// What is wrong.
        message: String,
        /// JSON pointer-like place: `/States/A/Next`.
        location: String,
    },
}

/// A definition, shared: cloning is a counter.
#[derive(Debug, Clone)]
pub struct Definition {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Object,
}

impl Definition {
    /// Parses a definition's JSON text.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let value = Value::parse(text)?;
        let root = value.as_object().cloned().ok_or_else(|| DefinitionError::Schema {
            message: "expected an object".to_owned(),
            location: "/".to_owned(),
        })?;
        Ok(Self { inner: Arc::new(Inner { root }) })
    }

    /// `TimeoutSeconds` of the whole machine.
    pub fn timeout_seconds(&self) -> Option<i64> {
        self.inner.root.get("TimeoutSeconds").and_then(Value::as_i64)
    }
}
