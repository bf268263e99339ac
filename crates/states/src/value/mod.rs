//! JSON as the States Language needs it: cheap to copy, keys in the order they came, numbers that
//! keep what the text said.
//!
//! Payloads travel through many states and into many branches, so arrays, objects and strings are
//! shared: a clone is a counter. `serde_json::Value` would sort the keys (they are visible in the
//! recorded error texts) and turn integers above 64 bits into floats.

mod number;
mod parse;
mod write;

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use number::Number;
pub(crate) use parse::Step;
pub use parse::{DEPTH_MAX, ParseError};

/// The members of a JSON object, in order.
pub type Object = IndexMap<Arc<str>, Value>;

/// A JSON value. Cloning is cheap at any size.
///
/// Equality is deep and by value: `1` equals `1.0`, and the order of keys does not matter.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Arc<str>),
    /// An array.
    Array(Arc<Vec<Value>>),
    /// An object.
    Object(Arc<Object>),
}

impl Value {
    /// Reads one JSON text. At most [`DEPTH_MAX`] levels; of equal keys the last wins, as at AWS.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }

    /// The same, with the ways to the keys that an object holds again, where that object is the member
    /// `within` of another.
    pub(crate) fn parse_with_repeats(
        text: &str,
        within: &str,
    ) -> Result<(Self, Vec<Vec<Step>>), ParseError> {
        parse::parse_with_repeats(text, within)
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self::Object(Arc::default())
    }

    /// A string value.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// An object of these members.
    pub fn object<K: Into<Arc<str>>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(Arc::new(
            members.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        ))
    }

    /// An array of these items.
    pub fn array(items: impl IntoIterator<Item = Value>) -> Self {
        Self::Array(Arc::new(items.into_iter().collect()))
    }

    /// The member of an object; `None` for a missing one and for any other kind of value.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, if this is one.
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The number as a whole one of 64 bits, if it is that (also `1.0`).
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.as_i64()
    }

    /// The number as a float.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The name of its kind as error texts say it: `null`, `boolean`, `number`, `string`, `array`,
    /// `object`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Compact JSON, no spaces: `[1,2,"HelloWorld"]`. The same as `to_string`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        write::write(self, &mut out, usize::MAX);
        out
    }

    /// The same, if it is no longer than so many bytes; no more than that is written to find out.
    pub fn to_json_within(&self, bytes_max: usize) -> Option<String> {
        let mut out = String::new();
        write::write(self, &mut out, bytes_max);
        (out.len() <= bytes_max).then_some(out)
    }

    /// How many levels of arrays and objects are nested in it; 0 for a scalar. Counts no further
    /// than one beyond [`DEPTH_MAX`].
    pub fn depth(&self) -> usize {
        write::depth(self, DEPTH_MAX + 1)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Number::Int(number))
    }
}

impl From<f64> for Value {
    /// Whole or not, a float stays a float (`1.0`). See [`Number::from_f64_shortest`] for JSONata.
    fn from(number: f64) -> Self {
        Self::Number(Number::Float(number))
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }
}

impl From<Object> for Value {
    fn from(members: Object) -> Self {
        Self::Object(Arc::new(members))
    }
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(Number::parse(&number.to_string())),
            serde_json::Value::String(text) => Self::from(text.as_str()),
            serde_json::Value::Array(items) => Self::array(items.iter().map(Self::from)),
            serde_json::Value::Object(members) => {
                Self::object(members.iter().map(|(key, value)| (key.as_str(), Self::from(value))))
            }
        }
    }
}

/// A value is kept as its JSON text in one string: it survives every format, number texts and the
/// order of keys included, and costs no tree of serialiser calls.
impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_json())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A value together with its compact JSON text, each made once and shared: a state's output is the
/// next state's input and appears in both events.
#[derive(Clone, Debug)]
pub struct Document {
    value: Value,
    text: Arc<str>,
}

impl Document {
    /// Renders a value.
    pub fn new(value: Value) -> Self {
        let text = value.to_json().into();
        Self { value, text }
    }

    /// Renders a value, if its text is no longer than so many bytes.
    pub fn within(value: Value, bytes_max: usize) -> Option<Self> {
        let text = value.to_json_within(bytes_max)?.into();
        Some(Self { value, text })
    }

    /// Reads a JSON text; the kept text is the compact form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self::new(Value::parse(text)?))
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The compact text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Length of the text in UTF-8 bytes: what the data limits count.
    pub fn size_bytes(&self) -> usize {
        self.text.len()
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Document {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Arc::<str>::from(String::deserialize(deserializer)?);
        let value = Value::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Self { value, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round(text: &str, expect: &str) {
        assert_eq!(Value::parse(text).unwrap().to_json(), expect, "{text}");
    }

    #[test]
    fn texts_survive_where_aws_keeps_them() {
        round("[[1, 2, 3], [4, 5, 6]]", "[[1,2,3],[4,5,6]]");
        round("9007199254740993", "9007199254740993");
        round("123456789012345678901234567890", "123456789012345678901234567890");
        round("-0", "0");
        round("1.1", "1.1");
        round("1.10", "1.1");
        round("1.0", "1.0");
        round("1e3", "1000.0");
        round("1e400", "1e400");
        round("0.0001", "1.0E-4");
        round("12345678.5", "1.23456785E7");
        round(r#"{"b":1,"a":2,"b":3}"#, r#"{"b":3,"a":2}"#);
        round(r#""\u00e9\ud83d\ude00\ud800x\u0001\n\/""#, "\"é😀\u{fffd}x\\u0001\\n/\"");
        round(" null ", "null");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "tru",
            "nullx",
            "\"a",
            "\"\\x\"",
            "\"\u{1}\"",
            "{a:1}",
            "[1 2]",
            "1 2",
            "NaN",
            "'a'",
            "1e",
            "\"\\u12g4\"",
        ] {
            assert!(Value::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(Value::parse(&nested(DEPTH_MAX)).unwrap().depth(), DEPTH_MAX);
        assert!(Value::parse(&nested(DEPTH_MAX + 1)).is_err());
        assert!(Value::parse(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn serde_round_trip_keeps_everything() {
        let text = r#"{"z":[1,2.5,"x",null,true],"a":{"big":123456789012345678901234567890}}"#;
        let value = Value::parse(text).unwrap();
        let stored = serde_json::to_string(&value).unwrap();
        let back: Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(back.to_json(), text);
    }
}
