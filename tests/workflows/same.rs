//! Whether an answer is the recorded one. Placeholders of the recording (`<uuid:1>`, account
//! 111111111111, `snf_role_arn`, ...) stand for any text; instants for any number; JSON inside of a
//! string is compared as JSON.

use serde_json::{Map, Value};

/// Members that AWS added to answers after some of the recordings were made: they may be there when
/// the recording has none.
const LATER: [&str; 9] = [
    "encryptionConfiguration",
    "variableReferences",
    "redriveCount",
    "redriveStatus",
    "redriveStatusReason",
    "RedriveCount",
    "RedriveStatus",
    "RedriveStatusReason",
    "__type",
];
/// Words that stand for an instant.
const INSTANTS: [&str; 7] =
    ["datetime", "timestamp", "date", "start-date", "stop-date", "start-time", "entered-time"];

/// Where two differ: each place with what was expected and found there. Of a list only the first item
/// that differs is gone into, since the others may be shifted by it.
pub(crate) fn differences(expected: &Value, got: &Value, names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    differ(expected, got, names, "", &mut found);
    found
}

fn differ(expected: &Value, got: &Value, names: &[String], at: &str, found: &mut Vec<String>) {
    let differs = || {
        let cut = |value: &Value| value.to_string().chars().take(400).collect::<String>();
        format!("{at}: expected {} got {}", cut(expected), cut(got))
    };
    match (expected, got) {
        (Value::String(word), Value::Number(_) | Value::String(_))
            if INSTANTS.contains(&word.as_str()) => {}
        (Value::String(expected), Value::String(got)) => {
            if fits_text(expected, got, names) {
                return;
            }
            // AWS hands some texts through as they came; Ark writes JSON without spaces.
            match (container(expected), container(got)) {
                (Some(expected), Some(got)) => differ(&expected, &got, names, at, found),
                _ => found.push(differs()),
            }
        }
        (Value::String(expected), _) if is_name(expected, names) => {}
        (_, Value::String(text)) if !expected.is_string() => {
            match serde_json::from_str::<Value>(text) {
                Ok(inner) if !inner.is_string() => differ(expected, &inner, names, at, found),
                _ => found.push(differs()),
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                found.push(format!("{at}: expected {} items got {}", a.len(), b.len()));
            }
            let before = found.len();
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differ(a, b, names, &format!("{at}[{i}]"), found);
                if found.len() > before {
                    return;
                }
            }
        }
        (Value::Object(a), Value::Object(b)) => members_differ(a, b, names, at, found),
        (a, b) if a == b => {}
        _ => found.push(differs()),
    }
}

fn members_differ(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    names: &[String],
    at: &str,
    found: &mut Vec<String>,
) {
    for (key, value) in a.iter().filter(|(key, _)| *key != "ResponseMetadata") {
        let other = b.get(key).or_else(|| {
            // The key itself may hold a placeholder.
            b.iter().find(|(k, _)| fits_text(key, k, names)).map(|(_, v)| v)
        });
        match other {
            None => found.push(format!("{at}.{key}: expected {value} got nothing")),
            Some(_) if stands_for_itself(key, value) => {}
            Some(other) if key == "Content-Length" && is_length(value) && is_length(other) => {}
            Some(other) => differ(value, other, names, &format!("{at}.{key}"), found),
        }
    }
    for (key, value) in b {
        let known = a.contains_key(key) || LATER.contains(&key.as_str());
        if !known && !a.keys().any(|k| fits_text(k, key, names)) {
            found.push(format!("{at}.{key}: expected nothing got {value}"));
        }
    }
}

/// Whether the recorder put a member's own name in place of its text: `"RequestId": "RequestId"`,
/// `"StateMachineArn": "state-machine-arn"`.
fn stands_for_itself(key: &str, value: &Value) -> bool {
    let Some(word) = value.as_str() else { return false };
    let mut dashed = String::new();
    for (index, c) in key.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            dashed.push('-');
        }
        dashed.push(c.to_ascii_lowercase());
    }
    word == key || word == dashed
}

/// The length of a body, as a text or as the one text of a list. It goes with the length of the names
/// that the recorder made up.
fn is_length(value: &Value) -> bool {
    let text = value.get(0).unwrap_or(value);
    text.as_str().is_some_and(|text| text.parse::<u32>().is_ok())
}

/// The array, object or string a text holds.
fn container(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_array() || value.is_object() || value.is_string()).then_some(value)
}

fn is_name(text: &str, names: &[String]) -> bool {
    parts(text, names) == [None]
}

/// Whether a text fits one with placeholders.
pub(crate) fn fits_text(expected: &str, got: &str, names: &[String]) -> bool {
    expected == got || fits(&parts(expected, names), got)
}

fn fits(parts: &[Option<&str>], got: &str) -> bool {
    match parts {
        [] => got.is_empty(),
        [Some(fixed), rest @ ..] => got.strip_prefix(fixed).is_some_and(|got| fits(rest, got)),
        [None] => true,
        [None, rest @ ..] => {
            let ends = got.char_indices().map(|(at, _)| at).chain([got.len()]);
            ends.into_iter().any(|at| fits(rest, &got[at..]))
        }
    }
}

/// The text taken apart: fixed parts, and `None` where a placeholder stands.
fn parts<'a>(text: &'a str, names: &[String]) -> Vec<Option<&'a str>> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let named = names
            .iter()
            .map(String::as_str)
            .chain(["111111111111", "<"])
            .filter(|name| !name.is_empty() && rest.starts_with(name))
            .map(|name| if name == "<" { bracketed(rest) } else { name.len() })
            .max()
            .unwrap_or(0);
        if named == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        if from < at {
            parts.push(Some(&text[from..at]));
        }
        if parts.last() != Some(&None) {
            parts.push(None);
        }
        at += named;
        from = at;
    }
    if from < text.len() {
        parts.push(Some(&text[from..]));
    }
    parts
}

/// The length of `<word>` or `<word:7>` at the beginning, or 0.
fn bracketed(text: &str) -> usize {
    let Some(end) = text.find('>') else { return 0 };
    let word = &text[1..end];
    let good = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_: ".contains(c));
    if good { end + 1 } else { 0 }
}

#[test]
fn placeholders_stand_for_any_text_and_nothing_else_does() {
    use serde_json::json;
    let names = vec!["snf_role_arn".to_owned()];
    let same = |a: Value, b: Value| differences(&a, &b, &names).is_empty();
    assert!(same(json!("arn:<partition>:x:111111111111:<a>"), json!("arn:aws:x:0:n")));
    assert!(!same(json!("arn:<partition>:x:111111111111:<a>"), json!("arn:aws:y:0:n")));
    assert!(same(json!({"at": "datetime"}), json!({"at": 1.5})));
    assert!(same(json!({"r": "snf_role_arn"}), json!({"r": "arn:role"})));
    assert!(same(json!({"input": {"a": 1}}), json!({"input": "{\"a\": 1.0}"})));
    assert!(!same(json!({"input": {"a": 1}}), json!({"input": "{\"a\": 2}"})));
    assert!(!same(json!({"a": 1}), json!({})));
    assert!(!same(json!({}), json!({"a": 1})));
    assert!(!same(json!(["a", "b"]), json!(["b", "a"])));
    assert!(!same(json!("a < b"), json!("a < c")));
    assert!(same(json!("[1, 2]"), json!("[1,2]")) && !same(json!("[1, 2]"), json!("[1,3]")));
    assert!(same(json!({"ExecutionArn": "execution-arn"}), json!({"ExecutionArn": "arn:x"})));
    assert!(!same(json!({"ExecutionArn": "execution-arn"}), json!({})));
    assert!(!same(json!({"Name": "execution-arn"}), json!({"Name": "arn:x"})));
    assert!(same(json!({"Content-Length": ["2"]}), json!({"Content-Length": ["12"]})));
    assert!(!same(json!({"Content-Length": "2"}), json!({"Content-Length": "two"})));
    let found =
        differences(&json!({"a": [1, 2, 3], "b": 1}), &json!({"a": [1, 3], "b": 2}), &names);
    let expected =
        [".a: expected 3 items got 2", ".a[1]: expected 2 got 3", ".b: expected 1 got 2"];
    assert_eq!(found, expected);
}
