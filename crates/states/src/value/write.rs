//! Compact JSON, escaped as AWS's writer does.

use std::fmt::Write as _;

use super::Value;

/// Writes a value, and stops soon after `most` bytes: parts of a value are shared, so that a small one
/// can be an endless text.
pub(super) fn write(value: &Value, out: &mut String, most: usize) {
    if out.len() > most {
        return;
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out, most);
                if out.len() > most {
                    return;
                }
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(item, out, most);
                if out.len() > most {
                    return;
                }
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x8 => "\\b",
            0xc => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04X}");
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

pub(super) fn depth(value: &Value, most: usize) -> usize {
    if most == 0 {
        return 0;
    }
    match value {
        Value::Array(items) => {
            1 + items.iter().map(|item| depth(item, most - 1)).max().unwrap_or(0)
        }
        Value::Object(members) => {
            1 + members.values().map(|item| depth(item, most - 1)).max().unwrap_or(0)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
