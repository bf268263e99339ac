//! Fields that may be a literal, a path or an expression.

use std::sync::Arc;

use crate::intrinsics::Call;
use crate::jsonata::Expression;
use crate::jsonpath::{Path, ReferencePath};
use crate::value::Number;

/// `InputPath`, `OutputPath`.
#[derive(Debug, Default)]
pub enum PathField {
    /// Absent or `$`.
    #[default]
    Whole,
    /// `null`: `{}`.
    Empty,
    /// Something of it, or of the context object or variables.
    Path(Path),
}

/// `ResultPath`.
#[derive(Debug, Default)]
pub enum ResultPath {
    /// Absent or `$`: the result is the output.
    #[default]
    Whole,
    /// `null`: the input is the output.
    Discard,
    /// The result is put into the input.
    At(ReferencePath),
}

/// A number.
#[derive(Debug)]
pub enum NumberField {
    /// Written down.
    Literal(Number),
    /// `...Path`.
    Path(Path),
    /// `{% %}`.
    Expression(Expression),
}

/// A text.
#[derive(Debug)]
pub enum TextField {
    /// Written down.
    Literal(Arc<str>),
    /// `...Path` with a path.
    Path(Path),
    /// `...Path` with an intrinsic function.
    Call(Call),
    /// `{% %}`.
    Expression(Expression),
}

/// An instant.
#[derive(Debug)]
pub enum TimeField {
    /// Written down.
    Literal(Arc<str>),
    /// `TimestampPath`.
    Path(Path),
    /// `{% %}`.
    Expression(Expression),
}
