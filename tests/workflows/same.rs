//! Whether an answer is the recorded one. Placeholders of the recording (`<uuid:1>`, account
//! 111111111111, `snf_role_arn`, ...) stand for any text; instants for any number; JSON inside of a
//! string is compared as JSON.

use serde_json::Value;

/// Members that AWS added to answers after some of the recordings were made: they may be there when
/// the recording has none.
const LATER: [&str; 6] = [
    "encryptionConfiguration",
    "variableReferences",
    "redriveCount",
    "redriveStatus",
    "redriveStatusReason",
    "__type",
];
/// Words that stand for an instant.
const INSTANTS: [&str; 7] =
    ["datetime", "timestamp", "date", "start-date", "stop-date", "start-time", "entered-time"];

/// Where two differ, as a path and what was expected and found there.
pub(crate) fn difference(expected: &Value, got: &Value, names: &[String]) -> Option<String> {
    differ(expected, got, names, "")
}

fn differ(expected: &Value, got: &Value, names: &[String], at: &str) -> Option<String> {
    let differs = || {
        let cut = |value: &Value| value.to_string().chars().take(400).collect::<String>();
        Some(format!("{at}: expected {} got {}", cut(expected), cut(got)))
    };
    match (expected, got) {
        (Value::String(word), Value::Number(_)) if INSTANTS.contains(&word.as_str()) => None,
        (Value::String(word), Value::String(_)) if INSTANTS.contains(&word.as_str()) => None,
        (Value::String(expected), Value::String(got)) => {
            if matches(expected, got, names) {
                return None;
            }
            // AWS hands some texts through as they came; Ark writes JSON without spaces.
            match (container(expected), container(got)) {
                (Some(expected), Some(got)) => differ(&expected, &got, names, at),
                _ => differs(),
            }
        }
        (Value::String(expected), _) if is_name(expected, names) => None,
        (_, Value::String(text)) if !expected.is_string() => {
            match serde_json::from_str::<Value>(text) {
                Ok(inner) if !inner.is_string() => differ(expected, &inner, names, at),
                _ => differs(),
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return differs();
            }
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (a, b))| differ(a, b, names, &format!("{at}[{i}]")))
        }
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a.iter().filter(|(key, _)| *key != "ResponseMetadata") {
                let found = b.get(key).or_else(|| {
                    // The key itself may hold a placeholder.
                    b.iter().find(|(k, _)| matches(key, k, names)).map(|(_, v)| v)
                });
                let Some(found) = found else {
                    return Some(format!("{at}.{key}: expected {value}, got nothing in {got}"));
                };
                if let Some(difference) = differ(value, found, names, &format!("{at}.{key}")) {
                    return Some(difference);
                }
            }
            let more = b.keys().find(|key| {
                !a.contains_key(*key)
                    && !LATER.contains(&key.as_str())
                    && !a.keys().any(|k| matches(k, key, names))
            });
            more.map(|key| format!("{at}.{key}: expected nothing got {}", b[key]))
        }
        (a, b) if a == b => None,
        _ => differs(),
    }
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
fn matches(expected: &str, got: &str, names: &[String]) -> bool {
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
    let same = |a: Value, b: Value| difference(&a, &b, &names).is_none();
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
}
