//! A parsed state machine definition.
//!
//! Parsed once, shared by every execution of it. Every path, function, rule and expression in it is
//! parsed here; `machine` only evaluates. `validate` judges the same text in full for people; parsing
//! here stops at the first thing that cannot be run.

mod fields;
mod parse;
mod references;
mod states;
mod template;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::patterns;
use crate::value::{ParseError, Value};

pub use fields::{NumberField, PathField, ResultPath, TextField, TimeField};
pub use states::{
    Catcher, Choice, ChoiceCondition, ChoiceRule, Fail, ItemBatcher, ItemReader, Items, Map,
    MapMode, Next, Parallel, Pass, ResultWriter, Retrier, State, StateKind, Task, Wait,
};
pub use template::{FieldError, Sight, Template};

/// One list of states: the machine itself, a branch of a Parallel, the processor of a Map. Numbered
/// from 0 (the machine) in the order of the text, outer ones first; running executions keep these
/// numbers, so the numbering must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeId(pub u32);

/// One state. Numbered from 0 in the order in which [`ScopeId`]s and, within them, the text come; as
/// lasting as [`ScopeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateId(pub u32);

/// The two languages of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum QueryLanguage {
    /// Paths and intrinsic functions.
    #[default]
    #[serde(rename = "JSONPath")]
    JsonPath,
    /// `{% %}` expressions.
    #[serde(rename = "JSONata")]
    Jsonata,
}

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
    timeout_seconds: Option<i64>,
    comment: Option<String>,
    scopes: Vec<StateList>,
    states: Vec<State>,
}

#[derive(Debug)]
struct StateList {
    start: StateId,
    names: HashMap<Arc<str>, StateId>,
}

impl Definition {
    /// Parses a definition's JSON text.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        Self::from_value(&Value::parse(text)?)
    }

    /// Parses a definition already read.
    pub fn from_value(root: &Value) -> Result<Self, DefinitionError> {
        Ok(Self { inner: Arc::new(patterns::bounded(|| parse::machine(root))?) })
    }

    /// Parses one state alone, for TestState: a machine whose only state it is. Its targets need not
    /// exist.
    pub fn of_single_state(name: &str, state: &Value) -> Result<Self, DefinitionError> {
        Ok(Self { inner: Arc::new(patterns::bounded(|| parse::single_state(name, state))?) })
    }

    /// `TimeoutSeconds` of the whole machine.
    pub fn timeout_seconds(&self) -> Option<i64> {
        self.inner.timeout_seconds
    }

    /// `Comment` of the machine.
    pub fn comment(&self) -> Option<&str> {
        self.inner.comment.as_deref()
    }

    /// The state a list of states begins with.
    pub fn start(&self, scope: ScopeId) -> Option<StateId> {
        Some(self.inner.scopes.get(scope.0 as usize)?.start)
    }

    /// A state by number; `None` for a number of another definition.
    pub fn state(&self, id: StateId) -> Option<&State> {
        self.inner.states.get(id.0 as usize)
    }

    /// A state of one list by name.
    pub fn find_in(&self, scope: ScopeId, name: &str) -> Option<StateId> {
        self.inner.scopes.get(scope.0 as usize)?.names.get(name).copied()
    }

    /// A state by name, wherever it stands: names are unique over the whole machine.
    pub fn find(&self, name: &str) -> Option<StateId> {
        self.inner.scopes.iter().find_map(|list| list.names.get(name).copied())
    }

    /// Every state, in order of their numbers.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.inner.states.iter()
    }
}
