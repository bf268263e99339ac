//! Comparing with what was recorded, as `run_cases.py` does: numbers by value, placeholders match
//! anything, a recorded string holding one matches any string with the same fixed parts.

use serde_json::Value;

/// Strings that stand for anything by themselves.
const WHOLE: &[&str] = &["timestamp", "date", "start-date", "stop-date", "start-time"];
/// Parts of strings that stand for anything.
const PARTS: &[&str] = &[
    "111111111111",
    "snf_role_arn",
    "sfn_role_arn",
    "activity_arn",
    "activity_name",
    "lambda_function_1_name",
];

/// Whether what came is what was recorded.
pub(super) fn same(expected: &Value, got: &Value, placeholders: &[String]) -> bool {
    match (expected, got) {
        (Value::String(expected), _) if placeholders.iter().any(|known| known == expected) => true,
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => {
            same_text(a, b) || {
                // JSON within a text.
                let (inner_a, inner_b) = (unjson(expected), unjson(got));
                (&inner_a != expected && &inner_b != got) && same(&inner_a, &inner_b, placeholders)
            }
        }
        // The recorder parsed some texts that hold an object.
        (Value::Object(_), Value::String(_)) => {
            let inner = unjson(got);
            inner.is_object() && same(expected, &inner, placeholders)
        }
        (Value::Object(a), Value::Object(b)) => {
            let by_key = |(key, value): (&String, &Value)| {
                b.get(key).is_some_and(|other| same(value, other, placeholders))
            };
            // Recordings from before redrive existed lack this member of the context object.
            let old = !a.contains_key("RedriveCount") && b.contains_key("RedriveCount");
            a.len() + usize::from(old) == b.len()
                && (a.iter().all(by_key)
                    || a.iter().all(|(key, value)| {
                        b.iter().any(|(k, v)| same_text(key, k) && same(value, v, placeholders))
                    }))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, placeholders))
        }
        (a, b) => a == b,
    }
}

/// Whether two texts are the same but for placeholders; JSON within is compared as JSON.
pub(super) fn same_text(expected: &str, got: &str) -> bool {
    if expected == got || WHOLE.contains(&expected) {
        return true;
    }
    let parts = fixed_parts(expected);
    if parts.len() < 2 {
        return false;
    }
    let mut rest = got;
    for (index, part) in parts.iter().enumerate() {
        let at = if index == 0 {
            if !rest.starts_with(part.as_str()) {
                return false;
            }
            0
        } else if index == parts.len() - 1 && part.is_empty() {
            return true;
        } else if index == parts.len() - 1 {
            return rest.ends_with(part.as_str());
        } else {
            match rest.find(part.as_str()) {
                Some(at) => at,
                None => return false,
            }
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// The text between placeholders.
fn fixed_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text;
    while !rest.is_empty() {
        let skip =
            PARTS.iter().find(|part| rest.starts_with(**part)).map(|part| part.len()).or_else(
                || {
                    let inner = rest.strip_prefix('<')?;
                    let end = inner.find('>')?;
                    let name = &inner[..end];
                    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
                        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-:".contains(c));
                    plain.then_some(end + 2)
                },
            );
        if let Some(skip) = skip {
            parts.push(String::new());
            rest = &rest[skip..];
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            if let Some(last) = parts.last_mut() {
                last.push_str(&rest[..next]);
            }
            rest = &rest[next..];
        }
    }
    parts
}

/// A text that is JSON, as JSON; any other as it is.
pub(super) fn unjson(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        _ => value.clone(),
    }
}

#[test]
fn placeholders_match_anything_between_fixed_parts() {
    assert!(same_text("a <uuid:1> b", "a 123 b"));
    assert!(!same_text("a <uuid:1> b", "a 123 c"));
    assert!(same_text("activity_arn", "arn:x"));
    assert!(!same_text("plain", "other"));
    assert!(!same_text("1 < 2", "1 < 3"));
}
