//! Payload templates: `Parameters`, `Arguments`, `Assign`, `Output` and their like.
//!
//! In JSONPath mode a key ending in `.$` holds a path or an intrinsic function; in JSONata mode a
//! string `{% .. %}` anywhere is an expression. Parts without either are kept as values and shared.

use std::sync::Arc;

use super::QueryLanguage;
use crate::error::{EvalError, SyntaxError, names};
use crate::intrinsics::Call;
use crate::jsonata::{self, Expression};
use crate::jsonpath::Path;
use crate::scope::{Scope, StatesBinding};
use crate::value::{Object, Value};

/// A compiled template.
#[derive(Debug)]
pub enum Template {
    /// No expression in it.
    Literal(Value),
    /// An object with some.
    Object(Vec<(Arc<str>, Template)>),
    /// An array with some.
    Array(Vec<Template>),
    /// A path under the key `key` (with its `.$`).
    Path {
        /// The key as written.
        key: Arc<str>,
        /// The path.
        path: Path,
    },
    /// An intrinsic function.
    Call {
        /// The call.
        call: Call,
    },
    /// A JSONata expression.
    Expression {
        /// Where it stands below the field: empty, `/result`, `/items[0]/x`.
        place: Arc<str>,
        /// The expression.
        expression: Expression,
    },
}

/// What the expressions of a field may see.
#[derive(Clone, Copy)]
pub enum Sight<'a> {
    /// JSONPath mode.
    Path(Scope<'a>),
    /// JSONata mode.
    Jsonata(StatesBinding<'a>),
}

/// Why a field gave no value: the failure, worded, and the place for `EvaluationFailed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// One of [`names`].
    pub error: &'static str,
    /// The detail of the cause.
    pub cause: String,
    /// `Output/result`; only of JSONata fields.
    pub location: Option<String>,
}

impl FieldError {
    /// A `States.Runtime` failure.
    pub fn runtime(cause: impl Into<String>) -> Self {
        Self { error: names::RUNTIME, cause: cause.into(), location: None }
    }

    /// A `States.QueryEvaluationError` at a field.
    pub fn query(cause: impl Into<String>, location: impl Into<String>) -> Self {
        Self {
            error: names::QUERY_EVALUATION_ERROR,
            cause: cause.into(),
            location: Some(location.into()),
        }
    }

    /// Words the failure of an expression at a place.
    pub fn of_expression(error: &EvalError, expression: &str, location: String) -> Self {
        let told = match error {
            EvalError::Undefined => "returned nothing (undefined).".to_owned(),
            EvalError::Thrown(message) => match jsonata::bound(message) {
                Some(bound) => format!("threw an error during evaluation: {bound}"),
                None => format!("threw an error during evaluation. {message}"),
            },
            EvalError::NotFound { .. } | EvalError::Failed { .. } => {
                return Self {
                    error: error.name(),
                    cause: error.to_string(),
                    location: Some(location),
                };
            }
        };
        let cause = format!(
            "The JSONata expression '{expression}' specified for the field '{location}' {told}"
        );
        Self { error: names::QUERY_EVALUATION_ERROR, cause, location: Some(location) }
    }

    /// Words a result of the wrong type.
    pub fn of_type(expression: &str, location: &str, expected: &str, value: &Value) -> Self {
        let cause = format!(
            "The JSONata expression '{expression}' specified for the field '{location}' returned an \
             unexpected result type. Expected '{expected}', but was '{}' for value: {value}",
            value.kind()
        );
        Self::query(cause, location)
    }
}

impl From<EvalError> for FieldError {
    fn from(error: EvalError) -> Self {
        Self { error: error.name(), cause: error.to_string(), location: None }
    }
}

/// The text between `{%` and `%}`, if the string is an expression.
pub(crate) fn expression_text(text: &str) -> Option<&str> {
    Some(text.strip_prefix("{%")?.strip_suffix("%}")?.trim())
}

/// Levels of a field that holds expressions: compiling and evaluating it recurse. Without expressions
/// it is only as deep as JSON may be.
const DEPTH_MAX: usize = 200;

/// Whether a path would be applied to an input that is null: AWS refuses that.
fn reads_null(path: &Path, sight: &Sight<'_>) -> bool {
    let of_input =
        path.text() == "$" || path.text().starts_with("$.") || path.text().starts_with("$[");
    matches!(sight, Sight::Path(scope) if scope.input.is_null()) && of_input
}

fn has_expressions(value: &Value, language: QueryLanguage) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, member)| {
            (language == QueryLanguage::JsonPath && key.ends_with(".$"))
                || has_expressions(member, language)
        }),
        Value::Array(items) => items.iter().any(|item| has_expressions(item, language)),
        Value::String(text) => {
            language == QueryLanguage::Jsonata && expression_text(text).is_some()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Template {
    /// Compiles a value. The error carries the place below the field.
    pub fn compile(value: &Value, language: QueryLanguage) -> Result<Self, (String, SyntaxError)> {
        if !has_expressions(value, language) {
            return Ok(Self::Literal(value.clone()));
        }
        if value.depth() > DEPTH_MAX {
            let message =
                format!("a field with expressions is nested deeper than {DEPTH_MAX} levels");
            return Err((String::new(), SyntaxError::new(message)));
        }
        match language {
            QueryLanguage::JsonPath => Self::paths(value),
            QueryLanguage::Jsonata => Self::expressions(value, ""),
        }
    }

    fn paths(value: &Value) -> Result<Self, (String, SyntaxError)> {
        match value {
            Value::Object(members) => {
                let mut parts = Vec::with_capacity(members.len());
                for (key, member) in members.iter() {
                    let (name, part) = match (key.strip_suffix(".$"), member) {
                        (Some(name), Value::String(text)) => {
                            let part = Self::path(key, text);
                            (Arc::from(name), part.map_err(|error| (format!("/{key}"), error))?)
                        }
                        (Some(_), _) => {
                            let message = format!(
                                "The value for the field '{key}' must be a valid JSONPath or a valid \
                                 intrinsic function call"
                            );
                            return Err((format!("/{key}"), SyntaxError::new(message)));
                        }
                        (None, _) => {
                            let part = Self::paths(member);
                            (
                                key.clone(),
                                part.map_err(|(place, error)| (format!("/{key}{place}"), error))?,
                            )
                        }
                    };
                    parts.push((name, part));
                }
                Ok(Self::join_object(value, parts))
            }
            Value::Array(items) => {
                let mut parts = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let part = Self::paths(item);
                    parts
                        .push(part.map_err(|(place, error)| (format!("[{index}]{place}"), error))?);
                }
                Ok(Self::join_array(value, parts))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Ok(Self::Literal(value.clone()))
            }
        }
    }

    fn path(key: &Arc<str>, text: &str) -> Result<Self, SyntaxError> {
        if text.starts_with('$') {
            Ok(Self::Path { key: key.clone(), path: Path::parse(text)? })
        } else {
            Ok(Self::Call { call: Call::parse(text)? })
        }
    }

    fn expressions(value: &Value, place: &str) -> Result<Self, (String, SyntaxError)> {
        match value {
            Value::Object(members) => {
                let mut parts = Vec::with_capacity(members.len());
                for (key, member) in members.iter() {
                    parts
                        .push((key.clone(), Self::expressions(member, &format!("{place}/{key}"))?));
                }
                Ok(Self::join_object(value, parts))
            }
            Value::Array(items) => {
                let mut parts = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    parts.push(Self::expressions(item, &format!("{place}[{index}]"))?);
                }
                Ok(Self::join_array(value, parts))
            }
            Value::String(text) if expression_text(text).is_some() => {
                let expression = Expression::parse(expression_text(text).unwrap_or_default())
                    .map_err(|error| (place.to_owned(), error))?;
                Ok(Self::Expression { place: place.into(), expression })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Ok(Self::Literal(value.clone()))
            }
        }
    }

    fn join_object(value: &Value, parts: Vec<(Arc<str>, Self)>) -> Self {
        if parts.iter().all(|(_, part)| matches!(part, Self::Literal(_))) {
            return Self::Literal(value.clone());
        }
        Self::Object(parts)
    }

    fn join_array(value: &Value, parts: Vec<Self>) -> Self {
        if parts.iter().all(|part| matches!(part, Self::Literal(_))) {
            return Self::Literal(value.clone());
        }
        Self::Array(parts)
    }

    /// Evaluates it for the field of this name.
    pub fn eval(&self, field: &str, sight: &Sight<'_>) -> Result<Value, FieldError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Object(parts) => {
                let mut members = Object::with_capacity(parts.len());
                for (key, part) in parts {
                    members.insert(key.clone(), part.eval(field, sight)?);
                }
                Ok(members.into())
            }
            Self::Array(parts) => {
                let items: Result<Vec<Value>, FieldError> =
                    parts.iter().map(|part| part.eval(field, sight)).collect();
                Ok(items?.into())
            }
            Self::Path { path, .. } if reads_null(path, sight) => {
                Err(FieldError::runtime("Unable to apply Path transformation to null or empty input."))
            }
            Self::Path { key, path } => match sight {
                Sight::Path(scope) => path.eval(scope).map_err(|error| match error {
                    EvalError::NotFound { path, .. } => {
                        let input = if path.starts_with("$$") { scope.context.value() } else { scope.input };
                        FieldError::runtime(format!(
                            "The JSONPath '{path}' specified for the field '{key}' could not be found in \
                             the input '{input}'"
                        ))
                    }
                    EvalError::Undefined | EvalError::Thrown(_) | EvalError::Failed { .. } => error.into(),
                }),
                Sight::Jsonata(_) => Err(FieldError::runtime("a path in a JSONata state")),
            },
            Self::Call { call } => match sight {
                Sight::Path(scope) => Ok(call.eval(scope)?),
                Sight::Jsonata(_) => Err(FieldError::runtime("an intrinsic function in a JSONata state")),
            },
            Self::Expression { place, expression } => match sight {
                Sight::Jsonata(states) => expression.eval(states).map_err(|error| {
                    FieldError::of_expression(&error, expression.text(), format!("{field}{place}"))
                }),
                Sight::Path(_) => Err(FieldError::runtime("an expression in a JSONPath state")),
            },
        }
    }
}
