//! JSONata expressions: `{% $states.input.x %}`.
//!
//! `definition` parses them once; `machine` evaluates them and names field and expression in the
//! error. Hostile expressions are bounded in time, depth and memory and never panic:
//! [`STEPS_MAX`], [`BYTES_MAX`], [`ITEMS_MAX`], [`CALLS_MAX`].
//!
//! Own evaluator because the crates there are bound neither memory nor steps: a budget in steps,
//! unlike one in time, gives the same answer again when an execution is replayed.
//!
//! - [`lexer`], [`parser`], [`resolve`]: text to tree ([`ast`]).
//! - [`eval`]: the tree on [`value`]s, with [`closure`]s.
//! - [`functions`]: the library, with [`signature`]s and [`datetime`], [`numeral`], [`integer`]
//!   pictures.
//! - [`references`]: which variables an expression reads; [`top_level`]: which names it reads where it
//!   has no context.
//! - [`error`]: the reference's codes and texts.
//!
//! The language is that of the reference implementation 2.x without `$eval`, with the functions
//! that Step Functions adds (`$partition`, `$range`, `$hash`, `$random`, `$uuid`, `$parse`).

mod ast;
mod closure;
mod datetime;
mod error;
mod eval;
mod functions;
mod integer;
mod lexer;
mod numeral;
mod parser;
mod path;
mod references;
mod regexp;
mod resolve;
mod signature;
mod top_level;
mod value;

use std::fmt;
use std::sync::Arc;

use crate::error::{EvalError, SyntaxError};
use crate::patterns;
use crate::scope::StatesBinding;
use crate::value::Value;

/// Nodes of the tree that one evaluation may visit, and items it may look at. Less in unit tests,
/// which run unoptimised.
pub const STEPS_MAX: u64 = if cfg!(test) { 500_000 } else { 5_000_000 };
/// Bytes that one evaluation may allocate for strings, arrays and frames in all.
pub const BYTES_MAX: u64 = 128 << 20;
/// Items of one array.
pub const ITEMS_MAX: usize = 1_000_000;
/// Evaluations within each other: recursion that is not in tail position.
pub const CALLS_MAX: usize = 5_000;

/// A parsed expression. Cloning is a counter.
#[derive(Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

struct Inner {
    text: String,
    tree: ast::Node,
    /// The name under which each slot of `%` is bound.
    labels: Vec<Arc<str>>,
    /// Whether it can see `$states.context`, which costs to build.
    sees_context: bool,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.inner.text).finish()
    }
}

impl Expression {
    /// Parses what stands between `{%` and `%}`, surrounding white space removed.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let text = text.trim();
        let (tree, labels) = patterns::bounded(|| parser::parse(text))
            .and_then(resolve::resolve)
            .map_err(|error| SyntaxError::new(error.to_string()))?;
        let labels = labels.into_iter().map(|label| format!("!{label}").into()).collect();
        let sees_context = sees_context(text);
        let inner = Inner { text: text.to_owned(), tree, labels, sees_context };
        Ok(Self { inner: inner.into() })
    }

    /// The expression as written, without the marks and surrounding white space.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Tells the variables it reads and does not bind itself, without the `$`: functions of the language
    /// and `states` are among them.
    pub(crate) fn variables(&self, see: &mut dyn FnMut(&str)) {
        references::tell(&self.inner.tree, see);
    }

    /// Tells each variable, as [`Self::variables`] does, whose member is read by name, with that name.
    pub(crate) fn members(&self, see: &mut dyn FnMut(&str, &str)) {
        references::tell_members(&self.inner.tree, see);
    }

    /// The first `most` names it reads at its top level, where there is no context to read them from,
    /// each once; `$` among them.
    pub(crate) fn top_level_names(&self, most: usize) -> Vec<Arc<str>> {
        top_level::names(&self.inner.tree, most)
    }

    /// Its value. [`EvalError::Undefined`] when it gives nothing, [`EvalError::Thrown`] when it
    /// throws or costs more than it may.
    pub fn eval(&self, states: &StatesBinding<'_>) -> Result<Value, EvalError> {
        // As of an expression that is too costly by itself: `States.ALL` takes that.
        states.fuel.afford().map_err(|error| EvalError::Thrown(format!("D1012: {error}")))?;
        let run = eval::Run::new(states, &self.inner.labels, self.inner.sees_context);
        match run.evaluate(&self.inner.tree) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(EvalError::Undefined),
            Err(error) => Err(EvalError::Thrown(error.to_string())),
        }
    }
}

/// What a message says of a bound that an evaluation passed: bounds are ours, so that the causes of AWS
/// have no code for them.
pub(crate) fn bound(message: &str) -> Option<&str> {
    let (code, text) = message.split_once(": ")?;
    ["D1011", "D1012", "D1014", "D1015"].contains(&code).then_some(text)
}

/// Whether the language has a function of this name.
pub(crate) fn is_function(name: &str) -> bool {
    functions::Native::by_name(name).is_some()
}

/// Whether `$states` is used other than for a member that is not the context. Errs to true.
fn sees_context(text: &str) -> bool {
    text.split("$states").skip(1).any(|rest| {
        !["input", "result", "errorOutput"].iter().any(|member| {
            rest.strip_prefix('.')
                .and_then(|rest| rest.strip_prefix(member))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    })
}

#[cfg(test)]
mod tests;
