//! Intrinsic functions of the JSONPath mode: `States.Format('{}', $.x)`.
//!
//! `definition` parses them once; `machine` evaluates them. They are pure but for the randomness in
//! the scope.

use crate::error::{EvalError, SyntaxError};
use crate::scope::Scope;
use crate::value::Value;

/// A parsed call, nested ones included (at most 10 deep).
#[derive(Debug, Clone)]
pub struct Call {
    text: String,
}

impl Call {
    /// Parses `States.Name(arguments)`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned() })
    }

    /// The call as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value. Failures are `States.IntrinsicFailure`, or [`EvalError::NotFound`] for a path among
    /// the arguments.
    pub fn eval(&self, _scope: &Scope<'_>) -> Result<Value, EvalError> {
        Err(EvalError::intrinsic(format!("'{}' is not known", self.text)))
    }
}
