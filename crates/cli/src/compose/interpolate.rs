//! `${NAME:-default}` and `$$` in a Compose file, put in as Compose does it before it reads a value:
//! in every text of a service. The shell's own variables are not looked at: what is imported must not
//! depend on who imports it. So a text without a default is left out, and named.

use serde_json::{Map, Value};

use super::Notes;

/// Lists that are one thing: without one of their items they would mean something else.
const WHOLE: [&str; 3] = ["command", "entrypoint", "test"];
/// Why something is left out.
const WHY: &str = "made from the shell's variables: write the value into the file";

/// A service with its texts resolved. Its `environment` is left as it stands: a variable without a
/// value becomes one that the app needs.
pub(super) fn service(service: &Map<String, Value>, notes: &mut Notes) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in service {
        let kept = match key.as_str() {
            "environment" => Some(value.clone()),
            key if key.starts_with("x-") => None,
            key => resolved(key, key, value, notes),
        };
        out.extend(kept.map(|value| (key.clone(), value)));
    }
    out
}

/// A value with its texts resolved; `None` for one that cannot be, which is noted at `place`.
fn resolved(place: &str, key: &str, value: &Value, notes: &mut Notes) -> Option<Value> {
    match value {
        Value::String(text) => {
            let whole = interpolated(text);
            let text = whole.clone().or_else(|| inner_port(place, text));
            match (&whole, &text) {
                (Some(_), _) => {}
                (None, Some(inner)) => notes.add(
                    place,
                    format!("no port of the host is opened: the gateway serves {inner}"),
                ),
                (None, None) => notes.add(place, WHY),
            }
            text.map(Value::String)
        }
        Value::Array(items) if WHOLE.contains(&key) => {
            let text = |item: &Value| match item {
                Value::String(text) => interpolated(text).map(Value::String),
                other => Some(other.clone()),
            };
            let all: Option<Vec<Value>> = items.iter().map(text).collect();
            if all.is_none() {
                notes.add(place, WHY);
            }
            all.map(Value::Array)
        }
        Value::Array(items) => {
            let all = items.iter().filter_map(|item| resolved(place, "", item, notes)).collect();
            Some(Value::Array(all))
        }
        Value::Object(map) => {
            let one = |(key, value): (&String, &Value)| {
                let value = resolved(&format!("{place}.{key}"), key, value, notes)?;
                Some((key.clone(), value))
            };
            Some(Value::Object(map.iter().filter_map(one).collect()))
        }
        other => Some(other.clone()),
    }
}

/// `80` of `${PORT}:80`: the port of the host is not taken over anyway.
fn inner_port(place: &str, text: &str) -> Option<String> {
    let (_, inner) = text.rsplit_once(':').filter(|_| place == "ports")?;
    inner.bytes().next().filter(u8::is_ascii_digit)?;
    (!inner.contains(['$', '}'])).then(|| inner.to_owned())
}

/// A value with `${NAME:-default}` put in; `None` where there is no default.
pub(super) fn interpolated(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (inside, after) = rest.strip_prefix('{')?.split_once('}')?;
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let operator = inside.trim_start_matches(name);
        if operator.len() == inside.len() {
            return None;
        }
        let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'))?;
        if default.contains('$') {
            return None;
        }
        out.push_str(default);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_defaults_are_put_in() {
        for (text, expected) in [
            ("plain", Some("plain")),
            ("a $$HOME", Some("a $HOME")),
            ("${PORT:-80}/x", Some("80/x")),
            ("${PORT-80}", Some("80")),
            ("${A_1:-b-c}", Some("b-c")),
            ("${EMPTY:-}", Some("")),
            ("${NONE}", None),
            ("$NONE", None),
            ("${DB_URL:?set-me}", None),
            ("${IMAGE:?image-name required}", None),
            ("${DEBUG:+--verbose}", None),
            ("${A-$B}", None),
            ("${-x}", None),
        ] {
            assert_eq!(interpolated(text).as_deref(), expected, "{text}");
        }
    }
}
