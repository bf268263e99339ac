//! Reference paths and storing a value at one (`ResultPath`).

use std::sync::Arc;

use super::{Path, Root, Step};
use crate::error::{EvalError, SyntaxError, names};
use crate::value::{Object, Value};

/// A path that names exactly one place (`$.a.b[0]`), as `ResultPath` must.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferencePath(Path);

impl ReferencePath {
    /// Parses a reference path: `$`, names and indexes only; no context object, no variable.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let path = Path::parse(text)?;
        if path.root != Root::Input || !path.is_reference() {
            return Err(SyntaxError::new(format!("'{text}' is not a reference path")));
        }
        Ok(Self(path))
    }

    /// The path as written.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// `input` with `result` put at this place; missing objects on the way are made. A place that
    /// cannot be is a `States.ResultPathMatchFailure`.
    pub fn put(&self, input: &Value, result: Value) -> Result<Value, EvalError> {
        put(input, &self.0.steps, result).ok_or_else(|| EvalError::Failed {
            error: names::RESULT_PATH_MATCH_FAILURE,
            cause: format!("Unable to apply ReferencePath {} to input {input}", self.text()),
        })
    }
}

/// The value with `result` below it; `None` when a step finds no place. Only the arrays and
/// objects on the way are copied, all else is shared.
fn put(value: &Value, steps: &[Step], result: Value) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(result) };
    match (step, value) {
        (Step::Name(name), Value::Object(members)) => {
            let inner = match members.get(name.as_str()) {
                Some(inner) => put(inner, rest, result)?,
                None => put(&Value::Object(Arc::new(Object::new())), rest, result)?,
            };
            let mut members = Object::clone(members);
            members.insert(name.as_str().into(), inner);
            Some(members.into())
        }
        (Step::Index(index), Value::Array(items)) => {
            let index = usize::try_from(*index).ok()?;
            let inner = put(items.get(index)?, rest, result)?;
            let mut items = Vec::clone(items);
            *items.get_mut(index)? = inner;
            Some(items.into())
        }
        _ => None,
    }
}
