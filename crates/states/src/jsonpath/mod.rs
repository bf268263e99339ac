//! JSONPath as the States Language uses it: the Jayway dialect, not RFC 9535.
//!
//! [`Path`] is a parsed path, [`Path::eval`] reads a value through a [`Scope`] (input, context
//! object, variables); [`ReferencePath::put`] stores one (`ResultPath`). `definition` parses every
//! path of a machine once and `machine` evaluates them; the intrinsic functions do both for their
//! arguments.
//!
//! The dialect's rules that surprise: a *definite* path (only names, single indices and a trailing
//! function) yields one value and fails when nothing is there; any other path yields an array,
//! empty when nothing matches. A missing name in the middle of a definite path and one at its end
//! fail with different words, both of which appear in recorded causes.
//!
//! Bounds: [`MAX_PATH_CHARS`], [`MAX_STEPS`], [`MAX_VISITS`], [`MAX_RESULTS`]; a path beyond one of
//! them is an error, never a hang. It must not know of states, fields or error names.

mod eval;
mod filter;
mod parse;
mod write;

use crate::error::{EvalError, SyntaxError};
use crate::scope::Scope;
use crate::value::Value;

pub use write::ReferencePath;

/// Longest path text, in bytes.
pub const MAX_PATH_CHARS: usize = 16_384;
/// Most steps of one path, filters inside it included.
pub const MAX_STEPS: usize = 512;
/// Most nodes one evaluation may look at. Less in unit tests, which run unoptimised.
pub const MAX_VISITS: usize = if cfg!(test) { 200_000 } else { 2_000_000 };
/// Most values one evaluation may yield.
pub const MAX_RESULTS: usize = 500_000;

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// `$`
    Input,
    /// `$$`
    Context,
    /// `$name`
    Variable(String),
}

/// A parsed path. Its text is kept for error messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    text: String,
    root: Root,
    steps: Vec<Step>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `.name` or `['name']`
    Name(String),
    /// `['a','b']`
    Names(Vec<String>),
    /// `[3]`, `[-1]`
    Index(i64),
    /// `[0,2]`
    Indices(Vec<i64>),
    /// `[1:3]`, either end open
    Slice(Option<i64>, Option<i64>),
    /// `.*` or `[*]`
    Wildcard,
    /// `..` followed by the next step
    Scan,
    /// `[?(...)]`
    Filter(Box<filter::Filter>),
    /// `.length()` and the like; always the last step
    Function(Function, Vec<FunctionArg>),
}

/// A function at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Length,
    Size,
    Min,
    Max,
    Avg,
    Sum,
    StdDev,
    Keys,
    First,
    Last,
    Index,
    Concat,
    Append,
}

/// An argument of a path function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FunctionArg {
    Literal(Value),
    Path(Path),
}

/// Why a path yields nothing, before the path's own text is put to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathError {
    /// The path leads nowhere, or a function at its end cannot be applied: the words that follow
    /// `Invalid path '...' : `.
    NotFound(String),
    /// A bound of this module was passed.
    TooMuch(&'static str),
}

impl Path {
    /// Parses a path as it stands in `InputPath`, `Variable`, `...Path` and keys ending in `.$`:
    /// `$...`, `$$...` or `$name...`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::parse(text)
    }

    /// Parses the path that `text` begins with; also its length in bytes.
    pub(crate) fn parse_prefix(text: &str) -> Result<(Self, usize), SyntaxError> {
        parse::parse_prefix(text)
    }

    /// The path as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the path begins.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Whether the path names at most one place, so that it yields a value and not an array.
    pub fn is_definite(&self) -> bool {
        let last = self.steps.len().saturating_sub(1);
        self.steps.iter().enumerate().all(|(at, step)| match step {
            Step::Name(_) | Step::Index(_) | Step::Function(..) => true,
            // Several names at the end make one object of them.
            Step::Names(_) => at == last,
            Step::Indices(_) | Step::Slice(..) | Step::Wildcard | Step::Scan | Step::Filter(_) => {
                false
            }
        }) || matches!(self.steps.last(), Some(Step::Function(..)))
    }

    /// Whether the path may stand where something is written or one node is required (`ResultPath`
    /// and all `...Path` fields of numbers): names and single, non-negative indices only.
    pub fn is_reference(&self) -> bool {
        self.steps.iter().all(|step| match step {
            Step::Name(_) => true,
            Step::Index(index) => *index >= 0,
            _ => false,
        })
    }

    /// Whether the path is the bare root.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// The value it leads to, shared with the input. `$` reads [`Scope::input`], `$$` the context
    /// object, `$name` a variable.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        scope.fuel.afford()?;
        let not_found = |detail| EvalError::NotFound { path: self.text.clone(), detail };
        let root = match &self.root {
            Root::Input => scope.input,
            Root::Context => scope.context.value(),
            Root::Variable(name) => match scope.variables.get(name) {
                Some(value) => value,
                None => return Err(not_found(format!("No variable named '{name}' is set"))),
            },
        };
        eval::eval(self, root, scope.fuel).map_err(|error| match error {
            PathError::NotFound(detail) => not_found(detail),
            PathError::TooMuch(bound) => {
                EvalError::runtime(format!("Invalid path '{}' : {bound}", self.text))
            }
        })
    }

    /// Tells the variables that the path reads, those within its filters included.
    pub(crate) fn variables(&self, see: &mut dyn FnMut(&str)) {
        if let Root::Variable(name) = &self.root {
            see(name);
        }
        for step in &self.steps {
            match step {
                Step::Filter(filter) => filter.variables(see),
                Step::Function(_, arguments) => {
                    for argument in arguments {
                        if let FunctionArg::Path(path) = argument {
                            path.variables(see);
                        }
                    }
                }
                Step::Name(_)
                | Step::Names(_)
                | Step::Index(_)
                | Step::Indices(_)
                | Step::Slice(..)
                | Step::Wildcard
                | Step::Scan => {}
            }
        }
    }

    /// The path in bracket notation, as error messages show it: `$['a'][0]`.
    pub(crate) fn normalised(&self) -> String {
        // One `$` whatever the root is.
        let mut out = "$".to_owned();
        for step in &self.steps {
            step.push_to(&mut out);
        }
        out
    }
}

impl Step {
    /// Appends the step's bracket notation.
    fn push_to(&self, out: &mut String) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Name(name) => write!(out, "['{name}']"),
            Self::Names(names) => {
                let quoted: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
                write!(out, "[{}]", quoted.join(","))
            }
            Self::Index(index) => write!(out, "[{index}]"),
            Self::Indices(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(out, "[{}]", all.join(","))
            }
            Self::Slice(from, to) => {
                let show = |end: &Option<i64>| end.map_or(String::new(), |end| end.to_string());
                write!(out, "[{}:{}]", show(from), show(to))
            }
            Self::Wildcard => write!(out, "[*]"),
            Self::Scan => write!(out, ".."),
            Self::Filter(_) => write!(out, "[?]"),
            Self::Function(function, _) => write!(out, ".{}()", function.name()),
        };
    }
}

impl Function {
    const ALL: [(&'static str, Self); 13] = [
        ("length", Self::Length),
        ("size", Self::Size),
        ("min", Self::Min),
        ("max", Self::Max),
        ("avg", Self::Avg),
        ("sum", Self::Sum),
        ("stddev", Self::StdDev),
        ("keys", Self::Keys),
        ("first", Self::First),
        ("last", Self::Last),
        ("index", Self::Index),
        ("concat", Self::Concat),
        ("append", Self::Append),
    ];

    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
