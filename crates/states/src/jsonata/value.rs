//! Values while an expression runs: JSON as it came in, shared and unconverted, what the expression
//! made of it, and functions.
//!
//! Arrays carry the reference implementation's marks: a *sequence* of one value is that value, one
//! marked *keep* stays an array, a *constructed* one is not flattened into the path around it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::closure::Func;
use crate::value::{Number, Value};

/// Members of an object that an expression made.
pub(super) type Members = IndexMap<Arc<str>, Val>;

/// One row of a tuple stream: `@` and the names bound by `@$x`, `#$i` and `%`.
pub(super) type Tuple = IndexMap<Arc<str>, Val>;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Val {
    Undefined,
    Null,
    Bool(bool),
    Num(Number),
    Str(Arc<str>),
    /// An array or object of the data, untouched.
    Json(Value),
    Array(Rc<Array>),
    Object(Rc<Map>),
    /// An object inside a copy that a transform works on: seen changed by all who hold it.
    Cell(Rc<RefCell<Members>>),
    Func(Rc<Func>),
    /// Rows on their way through a path; never seen by functions.
    Tuples(Rc<Vec<Tuple>>),
}

/// An array made by an expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Array {
    pub(super) items: Vec<Val>,
    pub(super) sequence: bool,
    pub(super) keep: bool,
    pub(super) cons: bool,
    depth: usize,
    /// Whether one of its items is true: kept, for shared parts would be looked at again and again.
    pub(super) truth: bool,
}

/// An object made by an expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    pub(super) members: Members,
    depth: usize,
}

impl Array {
    pub(super) fn plain(items: Vec<Val>) -> Self {
        let depth = 1 + items.iter().map(Val::depth).max().unwrap_or(0);
        let truth = items.iter().any(|item| super::functions::truth(item) == Some(true));
        Self { items, depth, truth, ..Self::default() }
    }

    pub(super) fn sequence(items: Vec<Val>) -> Self {
        Self { sequence: true, ..Self::plain(items) }
    }
}

impl Map {
    pub(super) fn new(members: Members) -> Self {
        let depth = 1 + members.values().map(Val::depth).max().unwrap_or(0);
        Self { members, depth }
    }
}

impl From<&Value> for Val {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Num(number.clone()),
            Value::String(text) => Self::Str(text.clone()),
            Value::Array(_) | Value::Object(_) => Self::Json(value.clone()),
        }
    }
}

impl From<f64> for Val {
    fn from(number: f64) -> Self {
        Self::Num(Number::Float(number))
    }
}

impl From<usize> for Val {
    fn from(number: usize) -> Self {
        Self::Num(Number::Int(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<i64> for Val {
    fn from(number: i64) -> Self {
        Self::Num(Number::Int(number))
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<bool> for Val {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl Val {
    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Json(Value::Array(_)))
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Cell(_) | Self::Json(Value::Object(_)))
    }

    pub(super) fn is_function(&self) -> bool {
        matches!(self, Self::Func(_))
    }

    /// How deeply containers and closures are nested within.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Array(array) => array.depth,
            Self::Object(map) => map.depth,
            Self::Func(func) => func.depth(),
            // The members of a cell are frozen when they are put in, so one level is at most added
            // to what the data had.
            Self::Cell(_) => 1,
            _ => 0,
        }
    }

    /// Number of items of an array; 0 for all else.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Array(array) => array.items.len(),
            Self::Json(Value::Array(items)) => items.len(),
            _ => 0,
        }
    }

    /// An item of an array.
    pub(super) fn item(&self, index: usize) -> Option<Self> {
        match self {
            Self::Array(array) => array.items.get(index).cloned(),
            Self::Json(Value::Array(items)) => items.get(index).map(Self::from),
            _ => None,
        }
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Vec<Self> {
        match self {
            Self::Array(array) => array.items.clone(),
            Self::Json(Value::Array(items)) => items.iter().map(Self::from).collect(),
            _ => Vec::new(),
        }
    }

    /// The items of an array; any other value alone; nothing for undefined.
    pub(super) fn into_items(self) -> Vec<Self> {
        match self {
            Self::Undefined => Vec::new(),
            Self::Array(array) => match Rc::try_unwrap(array) {
                Ok(array) => array.items,
                Err(shared) => shared.items.clone(),
            },
            Self::Json(Value::Array(_)) => self.items(),
            other => vec![other],
        }
    }

    /// A member of an object.
    pub(super) fn member(&self, key: &str) -> Option<Self> {
        match self {
            Self::Object(map) => map.members.get(key).cloned(),
            Self::Cell(cell) => cell.borrow().get(key).cloned(),
            Self::Json(Value::Object(members)) => members.get(key).map(Self::from),
            _ => None,
        }
    }

    /// Number of members of an object; 0 for all else.
    pub(super) fn members(&self) -> usize {
        match self {
            Self::Object(map) => map.members.len(),
            Self::Cell(cell) => cell.borrow().len(),
            Self::Json(Value::Object(members)) => members.len(),
            _ => 0,
        }
    }

    /// The members of an object.
    pub(super) fn entries(&self) -> Vec<(Arc<str>, Self)> {
        match self {
            Self::Object(map) => {
                map.members.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            Self::Cell(cell) => {
                cell.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            Self::Json(Value::Object(members)) => {
                members.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        if let Self::Num(number) = self { Some(number.as_f64()) } else { None }
    }

    /// `null`, `number`, `string`, `boolean`, `array`, `object` or `function`.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Num(_) => "number",
            Self::Str(_) => "string",
            Self::Array(_) | Self::Json(Value::Array(_)) | Self::Tuples(_) => "array",
            Self::Object(_) | Self::Cell(_) | Self::Json(_) => "object",
            Self::Func(_) => "function",
        }
    }

    /// The value as JSON. What has none, undefined and functions, is left out of objects; a number
    /// that JSON has no text for is its name in JavaScript, as AWS shows it.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Undefined | Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Num(Number::Float(float)) => Number::from_f64_shortest(*float)
                .map_or_else(|| Value::from(not_finite(*float)), Value::Number),
            Self::Num(number) => Value::Number(number.clone()),
            Self::Str(text) => Value::String(text.clone()),
            Self::Json(value) => value.clone(),
            Self::Array(array) => Value::array(array.items.iter().map(Self::to_value)),
            Self::Object(map) => Value::object(
                map.members
                    .iter()
                    .filter(|(_, value)| !matches!(value, Self::Undefined | Self::Func(_)))
                    .map(|(key, value)| (key.clone(), value.to_value())),
            ),
            Self::Cell(cell) => Value::object(
                cell.borrow().iter().map(|(key, value)| (key.clone(), value.to_value())),
            ),
            Self::Func(_) => Value::Null,
            Self::Tuples(rows) => Value::array(
                rows.iter().map(|row| row.get("@").map_or(Value::Null, Self::to_value)),
            ),
        }
    }

    /// JSON text for a message, cut at `most` bytes.
    pub(super) fn shown(&self, most: usize) -> String {
        // A large container is not rendered only to be cut.
        let mut out = String::new();
        self.print(&mut out, None, 0, most);
        if out.len() > most {
            let end = (0..=most).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
            out.truncate(end);
            out.push_str("...");
        }
        out
    }

    /// JSON text as `$string` makes it: numbers to 15 digits, functions as `""`. `indent` is the
    /// number of spaces of one level. Stops soon after `most` bytes.
    pub(super) fn print(&self, out: &mut String, indent: Option<usize>, level: usize, most: usize) {
        if out.len() > most {
            return;
        }
        let line = |out: &mut String, level: usize| {
            if let Some(indent) = indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * level));
            }
        };
        match self {
            Self::Num(number) => out.push_str(&number_text(number)),
            Self::Array(_) | Self::Json(Value::Array(_)) => {
                let len = self.len();
                out.push('[');
                for index in 0..len {
                    if index > 0 {
                        out.push(',');
                    }
                    line(out, level + 1);
                    if let Some(item) = self.item(index) {
                        item.print(out, indent, level + 1, most);
                    }
                    if out.len() > most {
                        return;
                    }
                }
                if len > 0 {
                    line(out, level);
                }
                out.push(']');
            }
            Self::Object(_) | Self::Cell(_) | Self::Json(_) => {
                out.push('{');
                let mut first = true;
                for (key, value) in self.entries() {
                    if value.is_undefined() {
                        continue;
                    }
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    line(out, level + 1);
                    out.push_str(&Value::String(key).to_json());
                    out.push_str(if indent.is_some() { ": " } else { ":" });
                    value.print(out, indent, level + 1, most);
                    if out.len() > most {
                        return;
                    }
                }
                if !first {
                    line(out, level);
                }
                out.push('}');
            }
            Self::Func(_) => out.push_str("\"\""),
            other => out.push_str(&other.to_value().to_json()),
        }
    }
}

/// Equality of values that hold no others.
pub(super) fn same_leaf(left: &Val, right: &Val) -> bool {
    match (left, right) {
        (Val::Undefined, Val::Undefined) | (Val::Null, Val::Null) => true,
        (Val::Bool(left), Val::Bool(right)) => left == right,
        (Val::Num(left), Val::Num(right)) => left == right,
        (Val::Str(left), Val::Str(right)) => left == right,
        (Val::Func(left), Val::Func(right)) => Rc::ptr_eq(left, right),
        _ => false,
    }
}

/// A number as `$string` prints it: rounded to 15 digits, then as JavaScript prints.
pub(super) fn number_text(number: &Number) -> String {
    match number {
        Number::Int(whole) => whole.to_string(),
        Number::Text(text) if number.is_integer() => text.to_string(),
        _ => js_number(round_to_15(number.as_f64())),
    }
}

fn round_to_15(float: f64) -> f64 {
    if float.fract() == 0.0 { float } else { format!("{float:.14e}").parse().unwrap_or(float) }
}

/// JavaScript's name of a number that is none of JSON's.
fn not_finite(float: f64) -> &'static str {
    match float {
        _ if float.is_nan() => "NaN",
        _ if float > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// A float as JavaScript prints it (ECMA-262, Number::toString).
pub(super) fn js_number(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    if !float.is_finite() {
        return "null".to_owned();
    }
    let text = format!("{:e}", float.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = digits.chars().filter(|c| *c != '.').collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let mut out = String::new();
    if float < 0.0 {
        out.push('-');
    }
    // The place of the point, counted from before the first digit.
    let point = exponent + 1;
    if (count..=21).contains(&point) {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', usize::try_from(point - count).unwrap_or(0)));
    } else if (1..=21).contains(&point) {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else if (-5..=0).contains(&point) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-point).unwrap_or(0)));
        out.push_str(&digits);
    } else {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    out
}
