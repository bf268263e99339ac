//! Intrinsic functions of the JSONPath mode: `States.Format('{}', $.x)`.
//!
//! `definition` parses them once; `machine` evaluates them. They are pure but for the randomness in
//! the scope. [`parse`] knows the argument syntax and its escapes, [`functions`] what each of the
//! 18 does. A failing function is worded as AWS words it: `The function '...' had the following
//! error: ...`, with the whole outer call between the quotes.

mod functions;
mod parse;

use crate::error::{EvalError, SyntaxError};
use crate::jsonpath::Path;
use crate::scope::Scope;
use crate::value::Value;
use functions::Function;
pub(crate) use functions::digest;

/// How deeply calls may stand within each other.
pub const NESTING_MAX: usize = 10;
/// Longest string that `Base64Encode`, `Base64Decode` and `Hash` take, in characters.
pub const STRING_CHARS_MAX: usize = 10_000;
/// Longest text that `Format` and `JsonToString` make, in bytes: far above what a state can give, for
/// calls may stand within each other.
pub const TEXT_BYTES_MAX: usize = 10 * 1_048_576;
/// Most items that `ArrayRange` makes.
pub const RANGE_ITEMS_MAX: i128 = 1_000;

/// A parsed call, nested ones included.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    text: String,
    root: Node,
}

/// One call within a [`Call`].
#[derive(Debug, Clone, PartialEq)]
struct Node {
    function: Function,
    arguments: Vec<Argument>,
}

/// What may stand between a call's brackets.
#[derive(Debug, Clone, PartialEq)]
enum Argument {
    /// A single-quoted string.
    Quoted(Quoted),
    /// A number, `true`, `false` or `null`.
    Literal(Value),
    /// A path into the input, the context object or a variable.
    Path(Path),
    Call(Node),
}

/// A quoted string; `States.Format` needs to know which braces were escaped.
#[derive(Debug, Clone, PartialEq)]
struct Quoted {
    /// The text with its escapes resolved.
    text: Value,
    /// Pieces between the unescaped `{}`: one more than there are places.
    pieces: Vec<String>,
}

/// Why a call gives no value, before the call's own text is put to it.
enum Fault {
    /// `States.IntrinsicFailure`.
    Intrinsic(String),
    /// An argument's path leads nowhere.
    NoArgument(String),
    /// Anything worded already.
    Other(EvalError),
}

impl Call {
    /// Parses `States.Name(arguments)`. The function must exist, the number of arguments fit and no
    /// backslash stand before anything but `'`, `{`, `}` and `\`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned(), root: parse::parse(text)? })
    }

    /// The call as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tells the variables that its arguments read.
    pub(crate) fn variables(&self, see: &mut dyn FnMut(&str)) {
        self.root.variables(see);
    }

    /// Its value. Failures are `States.IntrinsicFailure`, or `States.Runtime` when a path among the
    /// arguments leads nowhere.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let told = |detail: String| {
            format!("The function '{}' had the following error: {detail}", self.text)
        };
        self.root.eval(scope).map_err(|fault| match fault {
            Fault::Intrinsic(detail) => EvalError::intrinsic(told(detail)),
            Fault::NoArgument(path) => EvalError::runtime(told(format!(
                "The JsonPath argument for the field '{path}' could not be found in the input '{}'",
                scope.input
            ))),
            Fault::Other(error) => error,
        })
    }
}

/// Burns what going through a call's arguments costs.
fn afford(scope: &Scope<'_>, values: &[Value]) -> Result<(), Fault> {
    for value in values {
        scope.fuel.afford().map_err(Fault::Other)?;
        scope.fuel.burn_values(std::slice::from_ref(value));
    }
    if !scope.fuel.is_dry() {
        return Ok(());
    }
    // Nobody reads it: without fuel the whole step is worth nothing.
    Err(Fault::Intrinsic("The call costs more than it may".to_owned()))
}

impl Node {
    fn variables(&self, see: &mut dyn FnMut(&str)) {
        for argument in &self.arguments {
            match argument {
                Argument::Quoted(_) | Argument::Literal(_) => {}
                Argument::Path(path) => path.variables(see),
                Argument::Call(node) => node.variables(see),
            }
        }
    }

    fn eval(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        if self.function == Function::Format
            && let Some((Argument::Quoted(template), rest)) = self.arguments.split_first()
        {
            let values = rest.iter().map(|a| a.eval(scope)).collect::<Result<Vec<_>, _>>()?;
            afford(scope, &values)?;
            return functions::format(&template.pieces, &values);
        }
        let values = self.arguments.iter().map(|a| a.eval(scope)).collect::<Result<Vec<_>, _>>()?;
        afford(scope, &values)?;
        self.function.apply(&values, scope.random)
    }
}

impl Argument {
    fn eval(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        match self {
            Self::Quoted(quoted) => Ok(quoted.text.clone()),
            Self::Literal(value) => Ok(value.clone()),
            Self::Path(path) => path.eval(scope).map_err(|error| match error {
                EvalError::NotFound { path, .. } => Fault::NoArgument(path),
                other => Fault::Other(other),
            }),
            Self::Call(node) => node.eval(scope),
        }
    }
}

#[cfg(test)]
mod tests;
