//! What an input must be, member by member, as AWS's service model says it, and the refusal in its
//! words: all findings at once, in the order of the table.

use serde_json::{Map, Value};

use super::error::WireError;

/// One member of an input.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) kind: Kind,
}

/// What a member is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Characters, from and to.
    Text(usize, usize),
    /// The same; its value is not repeated in errors.
    Secret(usize, usize),
    /// The name of an alias: characters of a list, not all of them digits.
    AliasName,
    /// Printable ASCII without spaces.
    ClientToken,
    /// ASCII.
    Ascii(usize),
    /// A whole number, from and to.
    Int(i64, i64),
    /// A number, from and to.
    Float(f64, f64),
    Bool,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Members of its own.
    Object(&'static [Field]),
    /// So many of a kind.
    List(usize, usize, &'static Kind),
}

const ALIAS_PATTERN: &str = r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$";
const CLIENT_TOKEN_PATTERN: &str = "[!-~]+";
const ASCII_PATTERN: &str = r"\p{ASCII}*";
/// As much of a value as an error repeats, in characters.
const SHOWN_MAX: usize = 1_024;

/// Holds an input to its table. Members that are not in it are ignored, as AWS does.
pub(super) fn check(fields: &[Field], input: &Map<String, Value>) -> Result<(), WireError> {
    let mut found = Vec::new();
    check_object(fields, input, "", &mut found)?;
    if found.is_empty() {
        return Ok(());
    }
    let errors = if found.len() == 1 { "error" } else { "errors" };
    let count = found.len();
    Err(WireError::validation(format!(
        "{count} validation {errors} detected: {}",
        found.join("; ")
    )))
}

fn check_object(
    fields: &[Field],
    input: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) -> Result<(), WireError> {
    for field in fields {
        let path = format!("{at}{}", field.name);
        match input.get(field.name) {
            None | Some(Value::Null) if field.required => {
                found.push(broken("null", &path, "Member must not be null"));
            }
            None | Some(Value::Null) => {}
            Some(value) => check_value(&field.kind, value, &path, found)?,
        }
    }
    Ok(())
}

fn check_value(
    kind: &Kind,
    value: &Value,
    path: &str,
    found: &mut Vec<String>,
) -> Result<(), WireError> {
    match kind {
        Kind::Text(min, max) => {
            let length = check_length(typed(value, Value::as_str, "String")?, *min, *max);
            found.extend(length.map(|(text, rule)| broken(&quoted(text), path, &rule)));
        }
        Kind::Secret(min, max) => {
            let length = check_length(typed(value, Value::as_str, "String")?, *min, *max);
            found.extend(length.map(|(_, rule)| broken("", path, &rule)));
        }
        Kind::AliasName => {
            let text = typed(value, Value::as_str, "String")?;
            let length = check_length(text, 1, 80);
            found.extend(length.map(|(text, rule)| broken(&quoted(text), path, &rule)));
            let letter = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
            let good =
                text.chars().any(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit());
            found.extend((!good).then(|| off_pattern(text, path, ALIAS_PATTERN)));
        }
        Kind::ClientToken => {
            let text = typed(value, Value::as_str, "String")?;
            let length = check_length(text, 1, 64);
            found.extend(length.map(|(text, rule)| broken(&quoted(text), path, &rule)));
            let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
            found.extend((!good).then(|| off_pattern(text, path, CLIENT_TOKEN_PATTERN)));
        }
        Kind::Ascii(max) => {
            let text = typed(value, Value::as_str, "String")?;
            let length = check_length(text, 0, *max);
            found.extend(length.map(|(text, rule)| broken(&quoted(text), path, &rule)));
            found.extend((!text.is_ascii()).then(|| off_pattern(text, path, ASCII_PATTERN)));
        }
        Kind::Int(min, max) => {
            let number = typed(value, whole, "Integer")?;
            found.extend(off_range(&number, min, max, path));
        }
        Kind::Float(min, max) => {
            let number = typed(value, Value::as_f64, "Float")?;
            found.extend(off_range(&number, min, max, path));
        }
        Kind::Bool => {
            typed(value, Value::as_bool, "Boolean")?;
        }
        Kind::Word(words) => {
            let text = typed(value, Value::as_str, "String")?;
            if !words.contains(&text) {
                let rule = format!("Member must satisfy enum value set: [{}]", words.join(", "));
                found.push(broken(&quoted(text), path, &rule));
            }
        }
        Kind::Object(fields) => {
            let object = typed(value, Value::as_object, "Structure")?;
            check_object(fields, object, &format!("{path}."), found)?;
        }
        Kind::List(min, max, kind) => {
            let list = typed(value, Value::as_array, "List")?;
            if list.len() < *min || list.len() > *max {
                let shown = format!("'{}'", cut(&Value::from(list.clone()).to_string()));
                found.push(broken(&shown, path, &length_rule(list.len(), *min, *max)));
                return Ok(());
            }
            for (index, value) in list.iter().enumerate() {
                check_value(kind, value, &format!("{path}.{}.member", index + 1), found)?;
            }
        }
    }
    Ok(())
}

/// Also numbers like `5.0`, which some clients send for 5.
fn whole(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "whole and far below 2^53")]
    let from_float =
        |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(from_float))
}

fn typed<'a, T>(
    value: &'a Value,
    as_type: impl Fn(&'a Value) -> Option<T>,
    noun: &str,
) -> Result<T, WireError> {
    as_type(value).ok_or_else(|| {
        let kind = match value {
            Value::Null => "NULL_VALUE",
            Value::Bool(true) => "TRUE_VALUE",
            Value::Bool(false) => "FALSE_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::String(_) => "STRING_VALUE",
            Value::Array(_) => "START_ARRAY",
            Value::Object(_) => "START_OBJECT",
        };
        WireError::serialization(format!("{kind} can not be converted to a {noun}"))
    })
}

fn check_length(text: &str, min: usize, max: usize) -> Option<(&str, String)> {
    let chars = text.chars().count();
    (chars < min || chars > max).then(|| (text, length_rule(chars, min, max)))
}

fn length_rule(length: usize, min: usize, max: usize) -> String {
    if length < min {
        format!("Member must have length greater than or equal to {min}")
    } else {
        format!("Member must have length less than or equal to {max}")
    }
}

fn off_range<T: PartialOrd + std::fmt::Display>(
    number: &T,
    min: &T,
    max: &T,
    path: &str,
) -> Option<String> {
    let rule = if number < min {
        format!("Member must have value greater than or equal to {min}")
    } else if number > max {
        format!("Member must have value less than or equal to {max}")
    } else {
        return None;
    };
    Some(broken(&format!("'{number}'"), path, &rule))
}

fn off_pattern(text: &str, path: &str, pattern: &str) -> String {
    let rule = format!("Member must satisfy regular expression pattern: {pattern}");
    broken(&quoted(text), path, &rule)
}

/// A secret value is named by its place only.
fn broken(value: &str, path: &str, rule: &str) -> String {
    let space = if value.is_empty() { "" } else { " " };
    format!("Value{space}{value} at '{path}' failed to satisfy constraint: {rule}")
}

fn quoted(text: &str) -> String {
    format!("'{}'", cut(text))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "name", required: true, kind: Kind::Text(1, 5) },
        Field { name: "alias", required: false, kind: Kind::AliasName },
        Field { name: "output", required: false, kind: Kind::Secret(0, 4) },
        Field { name: "size", required: false, kind: Kind::Int(0, 1_000) },
        Field { name: "share", required: false, kind: Kind::Float(0.0, 100.0) },
        Field { name: "type", required: false, kind: Kind::Word(&["A", "B"]) },
        Field { name: "flag", required: false, kind: Kind::Bool },
        Field {
            name: "routes",
            required: false,
            kind: Kind::List(
                1,
                2,
                &Kind::Object(&[Field { name: "weight", required: true, kind: Kind::Int(0, 100) }]),
            ),
        },
    ];

    fn judged(input: Value) -> Result<(), (String, String)> {
        let Value::Object(input) = input else { panic!("an object") };
        check(FIELDS, &input).map_err(|error| (error.code, error.message))
    }

    #[test]
    fn findings_are_said_as_aws_says_them() {
        for (input, message) in [
            (
                json!({}),
                "Value null at 'name' failed to satisfy constraint: Member must not be null",
            ),
            (
                json!({ "name": "" }),
                "Value '' at 'name' failed to satisfy constraint: Member must have length greater \
                 than or equal to 1",
            ),
            (
                json!({ "name": "äöüäöü" }),
                "Value 'äöüäöü' at 'name' failed to satisfy constraint: Member must have length \
                 less than or equal to 5",
            ),
            (
                json!({ "name": "n", "alias": "123" }),
                "Value '123' at 'alias' failed to satisfy constraint: Member must satisfy regular \
                 expression pattern: ^(?=.*[a-zA-Z_\\-\\.])[a-zA-Z0-9_\\-\\.]+$",
            ),
            (
                json!({ "name": "n", "output": "secret" }),
                "Value at 'output' failed to satisfy constraint: Member must have length less \
                 than or equal to 4",
            ),
            (
                json!({ "name": "n", "size": 1_001 }),
                "Value '1001' at 'size' failed to satisfy constraint: Member must have value less \
                 than or equal to 1000",
            ),
            (
                json!({ "name": "n", "share": -0.5 }),
                "Value '-0.5' at 'share' failed to satisfy constraint: Member must have value \
                 greater than or equal to 0",
            ),
            (
                json!({ "name": "n", "type": "C" }),
                "Value 'C' at 'type' failed to satisfy constraint: Member must satisfy enum value \
                 set: [A, B]",
            ),
            (
                json!({ "name": "n", "routes": [{ "weight": 1 }, { "weight": 101 }] }),
                "Value '101' at 'routes.2.member.weight' failed to satisfy constraint: Member must \
                 have value less than or equal to 100",
            ),
            (
                json!({ "name": "n", "routes": [] }),
                "Value '[]' at 'routes' failed to satisfy constraint: Member must have length \
                 greater than or equal to 1",
            ),
        ] {
            let message = format!("1 validation error detected: {message}");
            assert_eq!(judged(input), Err(("ValidationException".to_owned(), message)));
        }
        let (_, two) = judged(json!({ "size": -1 })).expect_err("two findings");
        assert!(two.starts_with("2 validation errors detected: Value null at 'name'"), "{two}");
        let good = json!({ "name": "n", "size": 5.0, "flag": true, "type": "A", "more": [1] });
        assert_eq!(judged(good), Ok(()));
    }

    #[test]
    fn a_value_of_another_type_cannot_be_read() {
        for (value, message) in [
            (json!(1), "NUMBER_VALUE can not be converted to a String"),
            (json!(true), "TRUE_VALUE can not be converted to a String"),
            (json!([]), "START_ARRAY can not be converted to a String"),
            (json!({}), "START_OBJECT can not be converted to a String"),
        ] {
            let expected = ("SerializationException".to_owned(), message.to_owned());
            assert_eq!(judged(json!({ "name": value })), Err(expected));
        }
    }
}
