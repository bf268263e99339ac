//! Filters, `[?(...)]`: what they are and how they judge one element.

use super::eval::{Walk, breadth_of_text, weight};
use super::{Path, PathError, Root};
use crate::patterns;
use crate::value::Value;
use regex::Regex;

/// Groups of a pattern within each other.
const NESTING_MAX: u32 = 64;

/// A condition over one element.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// A path that must lead somewhere.
    Exists(Operand),
    Constant(bool),
    Compare(Operand, Compare, Operand),
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// `@...`, read from the element
    Current(Path),
    /// `$...`, read from the root of the whole path
    Root(Path),
    Literal(Value),
    Regex(Pattern),
}

/// A compiled pattern; two are equal when their texts are.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Operators between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    SameType,
    NotSameType,
    Less,
    AtMost,
    More,
    AtLeast,
    Matches,
    In,
    NotIn,
    Contains,
    AllOf,
    SubsetOf,
    AnyOf,
    NoneOf,
    Size,
    Empty,
}

impl Compare {
    pub(super) fn by_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "in" => Self::In,
            "nin" => Self::NotIn,
            "contains" => Self::Contains,
            "all" => Self::AllOf,
            "subsetof" => Self::SubsetOf,
            "anyof" => Self::AnyOf,
            "noneof" => Self::NoneOf,
            "size" => Self::Size,
            "empty" => Self::Empty,
            _ => return None,
        })
    }
}

/// Compiles a pattern with flags `i`, `m`, `s`, `x`, `u`, `d`; size bounded.
pub(super) fn compile(pattern: &str, flags: &str) -> Result<Pattern, String> {
    // What `u`, `U` and `d` ask for is meant anyway.
    if let Some(flag) = flags.chars().find(|flag| !"imsxuUd".contains(*flag)) {
        return Err(format!("unknown pattern flag '{flag}'"));
    }
    let (regex, _) = patterns::compile(&format!("^(?:{pattern})$"), flags, NESTING_MAX)?;
    Ok(Pattern(regex))
}

impl Filter {
    /// Tells the variables that the paths of the filter read.
    pub(super) fn variables(&self, see: &mut dyn FnMut(&str)) {
        let mut operand = |operand: &Operand| match operand {
            Operand::Current(path) | Operand::Root(path) => path.variables(see),
            Operand::Literal(_) | Operand::Regex(_) => {}
        };
        match self {
            Self::All(filters) | Self::Any(filters) => {
                filters.iter().for_each(|filter| filter.variables(see));
            }
            Self::Not(filter) => filter.variables(see),
            Self::Exists(one) => operand(one),
            Self::Constant(_) => {}
            Self::Compare(left, _, right) => {
                operand(left);
                operand(right);
            }
        }
    }

    /// Whether `element` passes; `root` is what `$` means inside the filter.
    pub(super) fn accepts(
        &self,
        element: &Value,
        root: &Value,
        walk: &mut Walk,
    ) -> Result<bool, PathError> {
        match self {
            Self::All(all) => {
                for one in all {
                    if !one.accepts(element, root, walk)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(any) => {
                for one in any {
                    if one.accepts(element, root, walk)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(inner) => Ok(!inner.accepts(element, root, walk)?),
            Self::Constant(known) => Ok(*known),
            Self::Exists(operand) => Ok(operand.read(element, root, walk)?.is_some()),
            Self::Compare(left, compare, right) => {
                let (pattern, text) = match (left, right) {
                    (Operand::Regex(_), Operand::Regex(_)) => return Ok(false),
                    (text, Operand::Regex(pattern)) | (Operand::Regex(pattern), text) => {
                        (Some(pattern), text)
                    }
                    (left, _) => (None, left),
                };
                if let Some(pattern) = pattern {
                    let text = text.read(element, root, walk)?;
                    // A byte that is matched costs more than one that is compared.
                    walk.visits(16 * text.as_ref().map_or(0, |text| 1 + weight(text)))?;
                    return Ok(*compare == Compare::Matches && matches(pattern, text.as_ref()));
                }
                let left = left.read(element, root, walk)?;
                let right = right.read(element, root, walk)?;
                holds(left.as_ref(), *compare, right.as_ref(), walk)
            }
        }
    }
}

impl Operand {
    /// The operand's value; `None` when its path leads nowhere.
    fn read(
        &self,
        element: &Value,
        root: &Value,
        walk: &mut Walk,
    ) -> Result<Option<Value>, PathError> {
        let (path, from) = match self {
            Self::Literal(value) => return Ok(Some(value.clone())),
            Self::Regex(_) => return Ok(None),
            Self::Current(path) => (path, element),
            Self::Root(path) if path.root == Root::Input => (path, root),
            Self::Root(_) => return Ok(None),
        };
        match walk.nested(path, from, root) {
            Ok(Value::Array(found)) if !path.is_definite() && found.is_empty() => Ok(None),
            Ok(found) => Ok(Some(found)),
            Err(PathError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn matches(pattern: &Pattern, value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(items)) => items.iter().any(|item| matches_one(pattern, Some(item))),
        one => matches_one(pattern, one),
    }
}

/// What has no text of its own, or is not there, is the empty text.
fn matches_one(pattern: &Pattern, value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => pattern.0.is_match(text),
        Some(Value::Number(number)) => pattern.0.is_match(&number.to_string()),
        Some(Value::Bool(flag)) => pattern.0.is_match(if *flag { "true" } else { "false" }),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => pattern.0.is_match(""),
    }
}

fn holds(
    left: Option<&Value>,
    compare: Compare,
    right: Option<&Value>,
    walk: &mut Walk,
) -> Result<bool, PathError> {
    use std::cmp::Ordering;
    if let (Some(left), Some(right)) = (left, right) {
        walk.compares(left, right)?;
    }
    let order = || order(left?, right?);
    Ok(match compare {
        Compare::Equal => equal(left, right),
        Compare::NotEqual => !equal(left, right),
        Compare::SameType => same_kind(left, right) && equal(left, right),
        Compare::NotSameType => !(same_kind(left, right) && equal(left, right)),
        Compare::Less => order() == Some(Ordering::Less),
        Compare::AtMost => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
        Compare::More => order() == Some(Ordering::Greater),
        Compare::AtLeast => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
        Compare::Matches => false,
        Compare::In => is_in(left, right, walk)?,
        Compare::NotIn => !is_in(left, right, walk)?,
        Compare::Contains => match left {
            Some(Value::Array(items)) => contains(items, right, walk)?,
            Some(Value::String(text)) => {
                walk.visits(breadth_of_text(text))?;
                right.and_then(Value::as_str).is_some_and(|part| text.contains(part))
            }
            _ => false,
        },
        Compare::AllOf => both(left, right, |l, r| all(r, l, true, walk))?,
        Compare::SubsetOf => both(left, right, |l, r| all(l, r, true, walk))?,
        Compare::AnyOf => both(left, right, |l, r| Ok(!all(l, r, false, walk)?))?,
        Compare::NoneOf => both(left, right, |l, r| all(l, r, false, walk))?,
        Compare::Size => {
            let size = match left {
                Some(Value::Array(items)) => items.len(),
                Some(Value::String(text)) => {
                    walk.visits(breadth_of_text(text))?;
                    text.chars().count()
                }
                _ => return Ok(false),
            };
            right.and_then(Value::as_i64).is_some_and(|wanted| usize::try_from(wanted) == Ok(size))
        }
        Compare::Empty => {
            let empty = match left {
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::String(text)) => text.is_empty(),
                _ => return Ok(false),
            };
            right.and_then(Value::as_bool).is_some_and(|wanted| wanted == empty)
        }
    })
}

fn list(value: Option<&Value>) -> Option<&[Value]> {
    value.and_then(Value::as_array)
}

fn both(
    left: Option<&Value>,
    right: Option<&Value>,
    judge: impl FnOnce(&[Value], &[Value]) -> Result<bool, PathError>,
) -> Result<bool, PathError> {
    match (list(left), list(right)) {
        (Some(left), Some(right)) => judge(left, right),
        _ => Ok(false),
    }
}

fn is_in(value: Option<&Value>, items: Option<&Value>, walk: &mut Walk) -> Result<bool, PathError> {
    match list(items) {
        Some(items) => contains(items, value, walk),
        None => Ok(false),
    }
}

/// Whether all values are among the items (`among`), or none is.
fn all(values: &[Value], items: &[Value], among: bool, walk: &mut Walk) -> Result<bool, PathError> {
    for value in values {
        if contains(items, Some(value), walk)? != among {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains(items: &[Value], value: Option<&Value>, walk: &mut Walk) -> Result<bool, PathError> {
    let Some(value) = value else { return Ok(false) };
    for item in items {
        walk.compares(item, value)?;
        // The value that is looked for stands left: of a text and a number that decides.
        if equal(Some(value), Some(item)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn same_kind(left: Option<&Value>, right: Option<&Value>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => std::mem::discriminant(left) == std::mem::discriminant(right),
        _ => false,
    }
}

/// Equality with numbers by value. The left side decides how a number and a text are compared: a text
/// with the number's text, a number with the number that the text reads as. What is not there equals
/// nothing, not even what is not there either.
fn equal(left: Option<&Value>, right: Option<&Value>) -> bool {
    match (left, right) {
        (Some(Value::String(text)), Some(Value::Number(number))) => **text == *number.to_string(),
        (Some(Value::Number(number)), Some(Value::String(text))) => {
            text.parse().is_ok_and(|read: f64| read.is_finite() && read == number.as_f64())
        }
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// Numbers come before numbers and texts before texts; nothing else has an order.
fn order(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        _ => None,
    }
}
