//! What each intrinsic function does with its evaluated arguments.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};

use super::{Fault, RANGE_ITEMS_MAX, STRING_CHARS_MAX, TEXT_BYTES_MAX};
use crate::scope::Random;
use crate::value::{Number, Object, Value};

/// The 18 functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Array,
    ArrayPartition,
    ArrayContains,
    ArrayRange,
    ArrayGetItem,
    ArrayLength,
    ArrayUnique,
    Base64Encode,
    Base64Decode,
    Hash,
    JsonMerge,
    StringToJson,
    JsonToString,
    MathRandom,
    MathAdd,
    StringSplit,
    Uuid,
    Format,
}

type Outcome = Result<Value, Fault>;

fn refuse<T>(detail: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Intrinsic(detail.into()))
}

impl Function {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("States.")? {
            "Array" => Self::Array,
            "ArrayPartition" => Self::ArrayPartition,
            "ArrayContains" => Self::ArrayContains,
            "ArrayRange" => Self::ArrayRange,
            "ArrayGetItem" => Self::ArrayGetItem,
            "ArrayLength" => Self::ArrayLength,
            "ArrayUnique" => Self::ArrayUnique,
            "Base64Encode" => Self::Base64Encode,
            "Base64Decode" => Self::Base64Decode,
            "Hash" => Self::Hash,
            "JsonMerge" => Self::JsonMerge,
            "StringToJson" => Self::StringToJson,
            "JsonToString" => Self::JsonToString,
            "MathRandom" => Self::MathRandom,
            "MathAdd" => Self::MathAdd,
            "StringSplit" => Self::StringSplit,
            "UUID" => Self::Uuid,
            "Format" => Self::Format,
            _ => return None,
        })
    }

    /// What is wrong with this number of arguments.
    pub(super) fn arity_problem(self, given: usize) -> Option<String> {
        let (least, most) = match self {
            Self::Array => (0, usize::MAX),
            Self::Format => (1, usize::MAX),
            Self::Uuid => (0, 0),
            Self::ArrayLength
            | Self::ArrayUnique
            | Self::Base64Encode
            | Self::Base64Decode
            | Self::StringToJson
            | Self::JsonToString => (1, 1),
            Self::ArrayPartition
            | Self::ArrayContains
            | Self::ArrayGetItem
            | Self::Hash
            | Self::MathAdd
            | Self::StringSplit => (2, 2),
            Self::ArrayRange | Self::JsonMerge => (3, 3),
            Self::MathRandom => (2, 3),
        };
        (given < least || given > most).then(|| match (least, most) {
            (least, most) if least == most => format!("takes {least} arguments, not {given}"),
            (least, usize::MAX) => format!("takes at least {least} arguments"),
            (least, most) => format!("takes {least} to {most} arguments, not {given}"),
        })
    }

    /// Applies the function. The parser has checked the number of arguments.
    pub(super) fn apply(self, given: &[Value], random: &Random) -> Outcome {
        match (self, given) {
            (Self::Array, items) => Ok(Value::array(items.iter().cloned())),
            (Self::ArrayPartition, [items, size]) => partition(array(items)?, integer(size)?),
            (Self::ArrayContains, [items, wanted]) => {
                Ok(Value::Bool(array(items)?.contains(wanted)))
            }
            (Self::ArrayRange, [from, to, step]) => {
                range(integer(from)?, integer(to)?, integer(step)?)
            }
            (Self::ArrayGetItem, [items, index]) => item(array(items)?, integer(index)?),
            (Self::ArrayLength, [items]) => {
                Ok(Value::from(i64::try_from(array(items)?.len()).unwrap_or(i64::MAX)))
            }
            (Self::ArrayUnique, [items]) => unique(array(items)?),
            (Self::Base64Encode, [text]) => Ok(BASE64.encode(short(text)?).into()),
            (Self::Base64Decode, [text]) => decode(short(text)?),
            (Self::Hash, [data, algorithm]) => hash(short(data)?, string(algorithm)?),
            (Self::JsonMerge, [first, second, deep]) => merge(first, second, deep),
            (Self::StringToJson, [text]) => to_json(string(text)?),
            (Self::JsonToString, [value]) => match value.to_json_within(TEXT_BYTES_MAX) {
                Some(text) => Ok(text.into()),
                None => too_long(),
            },
            (Self::MathRandom, [from, to]) => draw(integer(from)?, integer(to)?, random),
            (Self::MathRandom, [from, to, seed]) => {
                let seed = integer(seed)?;
                let random = Random::new(u128::from(seed.cast_unsigned()));
                draw(integer(from)?, integer(to)?, &random)
            }
            (Self::MathAdd, [first, second]) => match integer(first)?.checked_add(integer(second)?)
            {
                Some(sum) => Ok(Value::from(sum)),
                None => refuse("The sum is out of the range of integers"),
            },
            (Self::StringSplit, [text, separators]) => {
                let (text, separators) = (string(text)?, string(separators)?);
                Ok(Value::array(
                    text.split(|c| separators.contains(c))
                        .filter(|piece| !piece.is_empty())
                        .map(Value::from),
                ))
            }
            (Self::Uuid, []) => Ok(random.uuid().into()),
            (Self::Format, [template, values @ ..]) => {
                let pieces: Vec<String> =
                    string(template)?.split("{}").map(str::to_owned).collect();
                format(&pieces, values)
            }
            _ => refuse("Wrong number of arguments"),
        }
    }
}

/// `States.Format` with the template cut at its places.
pub(super) fn format(pieces: &[String], values: &[Value]) -> Outcome {
    let places = pieces.len().saturating_sub(1);
    if places != values.len() {
        return refuse(format!(
            "Number of arguments ({}) does not match the number of occurrences of {{}} ({places})",
            values.len()
        ));
    }
    let mut out = pieces.first().cloned().unwrap_or_default();
    for (value, piece) in values.iter().zip(pieces.iter().skip(1)) {
        show(value, &mut out);
        out.push_str(piece);
        if out.len() > TEXT_BYTES_MAX {
            return too_long();
        }
    }
    Ok(out.into())
}

fn too_long() -> Outcome {
    refuse(format!("The text would be longer than {TEXT_BYTES_MAX} bytes"))
}

/// A value as Java prints it: `{Arg1=1, Arg2=[]}`, strings bare at every depth.
fn show(value: &Value, out: &mut String) {
    if out.len() > TEXT_BYTES_MAX {
        return;
    }
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                show(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(key);
                out.push('=');
                show(member, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_json()),
    }
}

fn array(value: &Value) -> Result<&[Value], Fault> {
    match value.as_array() {
        Some(items) => Ok(items),
        None => refuse(format!("Expected an array but was: {value}")),
    }
}

fn string(value: &Value) -> Result<&str, Fault> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => refuse(format!("Expected a string but was: {value}")),
    }
}

/// A string within [`STRING_CHARS_MAX`].
fn short(value: &Value) -> Result<&str, Fault> {
    let text = string(value)?;
    if text.chars().count() > STRING_CHARS_MAX {
        return refuse(format!("The string is longer than {STRING_CHARS_MAX} characters"));
    }
    Ok(text)
}

/// A number rounded half up toward positive infinity: 1.5 is 2, -1.5 is -1, -1.51 is -2.
fn integer(value: &Value) -> Result<i64, Fault> {
    let rounded = match value {
        Value::Number(Number::Int(whole)) => return Ok(*whole),
        Value::Number(number) => (number.as_f64() + 0.5).floor(),
        _ => return refuse(format!("Expected a number but was: {value}")),
    };
    // 2^63 is the first float that no integer of 64 bits holds.
    if rounded.abs() < 9_223_372_036_854_775_808.0 {
        #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
        return Ok(rounded as i64);
    }
    refuse(format!("Expected an integer but was: {value}"))
}

fn partition(items: &[Value], size: i64) -> Outcome {
    match usize::try_from(size) {
        Ok(size) if size > 0 => {
            Ok(Value::array(items.chunks(size).map(|chunk| Value::array(chunk.iter().cloned()))))
        }
        _ => refuse(format!("The chunk size must be a positive number but was: {size}")),
    }
}

fn range(from: i64, to: i64, step: i64) -> Outcome {
    if step == 0 {
        return refuse("The step must not be zero");
    }
    let (first, last, step) = (i128::from(from), i128::from(to), i128::from(step));
    let count = ((last - first) / step) + 1;
    // A step that leads away from the end makes no item.
    let away = (step > 0 && first > last) || (step < 0 && first < last);
    if away {
        return Ok(Vec::new().into());
    }
    if count > RANGE_ITEMS_MAX {
        return refuse(format!("The range has more than {RANGE_ITEMS_MAX} items"));
    }
    Ok(Value::array(
        (0..count).filter_map(|at| i64::try_from(first + at * step).ok()).map(Value::from),
    ))
}

fn item(items: &[Value], index: i64) -> Outcome {
    match usize::try_from(index).ok().and_then(|index| items.get(index)) {
        Some(item) => Ok(item.clone()),
        None => refuse(format!(
            "The index {index} is out of the bounds of an array of {} items",
            items.len()
        )),
    }
}

/// The first of each group of equals. Values are grouped by their text with keys in order and
/// numbers by value, so that a large array costs no quadratic comparison.
fn unique(items: &[Value]) -> Outcome {
    let mut seen = std::collections::HashSet::new();
    let mut key = String::new();
    Ok(Value::array(
        items
            .iter()
            .filter(|item| {
                key.clear();
                identity(item, &mut key);
                seen.insert(key.clone())
            })
            .cloned(),
    ))
}

/// A text that is equal for values that are equal.
fn identity(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => out.push_str(&whole.to_string()),
            None => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for item in items.iter() {
                identity(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (name, member) in sorted {
                out.push_str(&Value::String(name.clone()).to_json());
                out.push(':');
                identity(member, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_json()),
    }
}

/// As Java's decoder: padding may be left out, but not in part, and bits behind the last byte are not
/// looked at.
fn decode(text: &str) -> Outcome {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let mode = match text.ends_with('=') {
        true => DecodePaddingMode::RequireCanonical,
        false => DecodePaddingMode::RequireNone,
    };
    let base64 = GeneralPurpose::new(&alphabet::STANDARD, config.with_decode_padding_mode(mode));
    match base64.decode(text) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned().into()),
        Err(_) => refuse("The string is not valid Base64"),
    }
}

/// The digest of a text in lower-case hex; shared with JSONata's `$hash`.
pub(crate) fn digest(data: &str, algorithm: &str) -> Option<String> {
    use md5::Digest as _;
    let bytes: Vec<u8> = match algorithm {
        "MD5" => md5::Md5::digest(data).to_vec(),
        "SHA-1" => sha1::Sha1::digest(data).to_vec(),
        "SHA-256" => sha2::Sha256::digest(data).to_vec(),
        "SHA-384" => sha2::Sha384::digest(data).to_vec(),
        "SHA-512" => sha2::Sha512::digest(data).to_vec(),
        _ => return None,
    };
    Some(hex::encode(bytes))
}

fn hash(data: &str, algorithm: &str) -> Outcome {
    match digest(data, algorithm) {
        Some(digest) => Ok(digest.into()),
        None => refuse(format!("The hash algorithm '{algorithm}' is not supported")),
    }
}

fn merge(first: &Value, second: &Value, deep: &Value) -> Outcome {
    let (Some(first), Some(second)) = (first.as_object(), second.as_object()) else {
        return refuse("Both arguments to merge must be JSON objects");
    };
    if deep.as_bool() != Some(false) {
        return refuse("Only shallow merging is supported: the third argument must be false");
    }
    let mut merged = Object::clone(first);
    for (name, value) in second {
        merged.insert(name.clone(), value.clone());
    }
    Ok(merged.into())
}

fn to_json(text: &str) -> Outcome {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    match Value::parse(text) {
        Ok(value) => Ok(value),
        Err(error) => refuse(format!("The string is not valid JSON: {error}")),
    }
}

fn draw(from: i64, to: i64, random: &Random) -> Outcome {
    let span = i128::from(to) - i128::from(from);
    let Some(span) = u64::try_from(span).ok().filter(|span| *span > 0) else {
        return refuse("The end of the range must be larger than its start");
    };
    // Multiply and shift (Lemire 2019): the bias is below 2^-64 times the span.
    let offset = (u128::from(random.next_u64()) * u128::from(span)) >> 64;
    let drawn = i128::from(from) + i128::try_from(offset).unwrap_or_default();
    Ok(Value::from(i64::try_from(drawn).unwrap_or(from)))
}
