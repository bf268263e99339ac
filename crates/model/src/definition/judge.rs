//! Walks the tree of a file along the tables of the format, names everything that is wrong, and
//! keeps what is right as plain JSON, from which the types are read.
//!
//! Rules about one value are here; rules about several values at once are in `rules`.

use std::collections::HashSet;

use serde_json::{Map as JsonMap, Value as Json};

use super::diagnostic::Code;
use super::duration::DurationText;
use super::quantity::Quantity;
use super::report::{Report, closest, shown};
use super::shape::{Entries, Key, List, Map, Repeats, Shape, TextRule, Unknown};
use super::text::{self, Fault};
use super::yaml::{Entry, Node, Number, Place, Value};

/// Where a value stands: its path, and the key before it.
#[derive(Clone, Copy)]
struct At<'p> {
    path: &'p str,
    key: Option<Place>,
}

impl At<'_> {
    /// What to underline when `node` as a whole is wrong: a list or mapping starts on a line of
    /// its own and a missing value has none, so there the key speaks for it.
    fn whole(&self, node: &Node) -> Option<Place> {
        match node.value {
            Value::Null | Value::List(_) | Value::Map(_) => Some(self.key.unwrap_or(node.place)),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => Some(node.place),
        }
    }
}

/// Judges a root mapping; the result holds every part that is right.
pub(super) fn judge_root(
    map: &Map,
    entries: &[Entry],
    report: &mut Report<'_>,
) -> JsonMap<String, Json> {
    let at = At { path: "", key: None };
    Judge { report }.entries_of(map, entries, at).0
}

struct Judge<'r, 'a> {
    report: &'r mut Report<'a>,
}

impl Judge<'_, '_> {
    fn value(&mut self, shape: &Shape, node: &Node, at: At<'_>) -> Option<Json> {
        match shape {
            Shape::Text(rule) => self.text(*rule, node, at),
            Shape::Word(words) => self.word(words, node, at),
            Shape::Scalar => self.scalar(node, at),
            Shape::Bool => self.bool(node, at),
            Shape::Int { min, max } => self.int(*min, *max, node, at),
            Shape::Number { min, max } => self.number(*min, *max, node, at),
            Shape::Duration { min_ms, max_ms } => self.duration(*min_ms, *max_ms, node, at),
            Shape::OpenDuration { min_ms, max_ms } => match &node.value {
                Value::Null => Some(Json::Null),
                Value::Map(entries) if entries.is_empty() => Some(Json::Null),
                _ => self.duration(*min_ms, *max_ms, node, at),
            },
            Shape::Quantity => self.quantity(node, at),
            Shape::List(list) => self.list(list, node, at),
            Shape::Map(map) => self.map(map, node, at),
            Shape::Entries(entries) => self.entries(entries, node, at),
            Shape::Any => Some(json_of(node)),
        }
    }

    fn wrong_type(
        &mut self,
        wanted: &str,
        node: &Node,
        at: At<'_>,
        meant: Option<String>,
    ) -> Option<Json> {
        let message =
            format!("{} must be {wanted}, found {}", subject(at.path), node.value.type_name());
        self.report.add_with(Code::WrongType, at.whole(node), at.path, message, meant);
        None
    }

    fn refuse(
        &mut self,
        code: Code,
        node: &Node,
        at: At<'_>,
        words: &str,
        meant: Option<String>,
    ) -> Option<Json> {
        let message = format!("{} {words}", subject(at.path));
        self.report.add_with(code, at.whole(node), at.path, message, meant);
        None
    }

    fn text(&mut self, rule: TextRule, node: &Node, at: At<'_>) -> Option<Json> {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Number(Number { text, .. }) => {
                return self.wrong_type("a text", node, at, Some(format!("\"{text}\"")));
            }
            Value::List(items) => {
                let only = match items.as_slice() {
                    [Node { value: Value::Text(text), .. }] => Some(text.clone()),
                    _ => None,
                };
                return self.wrong_type("a text", node, at, only);
            }
            Value::Null | Value::Bool(_) | Value::Map(_) => {
                return self.wrong_type("a text", node, at, None);
            }
        };
        if let Some(fault) = text::check(rule, text) {
            let error = fault.code.severity() == super::Severity::Error;
            self.fault(fault, at.whole(node), at.path);
            if error {
                return None;
            }
        }
        Some(Json::from(match rule {
            TextRule::Host => text.to_ascii_lowercase(),
            _ => text.clone(),
        }))
    }

    /// A fault that quotes the text stands apart from the key that holds it.
    fn fault(&mut self, fault: Fault, place: Option<Place>, path: &str) {
        let join = if fault.message.starts_with('`') { ": " } else { " " };
        let message = format!("{}{join}{}", subject(path), fault.message);
        self.report.add_with(fault.code, place, path, message, fault.suggestion);
    }

    fn word(&mut self, words: &[(&str, &str)], node: &Node, at: At<'_>) -> Option<Json> {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wanted = format!("one of {}", all.join(", "));
        let Value::Text(text) = &node.value else {
            return self.wrong_type(&wanted, node, at, None);
        };
        if all.contains(&text.as_str()) {
            return Some(Json::from(text.as_str()));
        }
        let meant = closest(text, all.iter().copied()).map(str::to_owned);
        let words = format!("must be {wanted}; found `{}`", shown(text));
        self.refuse(Code::UnknownValue, node, at, &words, meant)
    }

    fn scalar(&mut self, node: &Node, at: At<'_>) -> Option<Json> {
        match &node.value {
            Value::Text(text) | Value::Number(Number { text, .. }) => {
                if text.contains('\0') {
                    return self.refuse(Code::BadFormat, node, at, "holds a NUL character", None);
                }
                Some(Json::from(text.as_str()))
            }
            Value::Bool(value) => Some(Json::from(value.to_string())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_type("a text", node, at, None)
            }
        }
    }

    fn bool(&mut self, node: &Node, at: At<'_>) -> Option<Json> {
        let meant = match &node.value {
            Value::Bool(value) => return Some(Json::from(*value)),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Some("true".to_owned()),
                "no" | "off" | "n" | "false" => Some("false".to_owned()),
                _ => None,
            },
            Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
        };
        self.wrong_type("true or false", node, at, meant)
    }

    fn int(&mut self, min: i64, max: i64, node: &Node, at: At<'_>) -> Option<Json> {
        let range = format!("must be a whole number from {min} to {max}");
        match &node.value {
            Value::Number(Number { int: Some(int), .. }) if (min..=max).contains(int) => {
                Some(Json::from(*int))
            }
            Value::Number(Number { int: None, float, .. })
                if float.fract() == 0.0 && float.abs() < 1e9 =>
            {
                let meant = Some(format!("{float:.0}"));
                self.wrong_type("a whole number", node, at, meant)
            }
            Value::Number(Number { text, .. }) => {
                let words = format!("{range}; found {}", shown(text));
                self.refuse(Code::OutOfRange, node, at, &words, None)
            }
            other => {
                let meant = quoted_number(other);
                self.wrong_type("a whole number", node, at, meant)
            }
        }
    }

    fn number(&mut self, min: f64, max: f64, node: &Node, at: At<'_>) -> Option<Json> {
        match &node.value {
            Value::Number(Number { float, .. }) if (min..=max).contains(float) => {
                // -0.0 and 0.0 are equal; their digests must be, too.
                Some(Json::from(*float + 0.0))
            }
            Value::Number(Number { text, .. }) => {
                let words = format!("must be a number from {min} to {max}; found {}", shown(text));
                self.refuse(Code::OutOfRange, node, at, &words, None)
            }
            other => {
                let meant = quoted_number(other);
                self.wrong_type("a number", node, at, meant)
            }
        }
    }

    fn duration(&mut self, min_ms: u64, max_ms: u64, node: &Node, at: At<'_>) -> Option<Json> {
        let text = match &node.value {
            Value::Text(text) | Value::Number(Number { text, .. }) => text,
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                return self.wrong_type("a duration (30s, 5m, 1h30m, 500ms)", node, at, None);
            }
        };
        let duration: DurationText = match text.parse() {
            Ok(duration) => duration,
            Err(error) => {
                let meant = format!("{text}s");
                let meant = meant.parse::<DurationText>().is_ok().then_some(meant);
                let words = format!("is `{}`: {error}", shown(text));
                return self.refuse(Code::BadDuration, node, at, &words, meant);
            }
        };
        let (min, max) = (DurationText::from_millis(min_ms), DurationText::from_millis(max_ms));
        if duration < min || duration > max {
            let words = format!("must be a duration from {min} to {max}; found {duration}");
            return self.refuse(Code::OutOfRange, node, at, &words, None);
        }
        Some(Json::from(duration.to_string()))
    }

    fn quantity(&mut self, node: &Node, at: At<'_>) -> Option<Json> {
        let text = match &node.value {
            Value::Text(text) | Value::Number(Number { text, .. }) => text,
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                return self.wrong_type(
                    "a number of instances (2) or a share (25%)",
                    node,
                    at,
                    None,
                );
            }
        };
        match text.parse::<Quantity>() {
            Ok(Quantity::Count(count)) => Some(Json::from(count)),
            Ok(percent @ Quantity::Percent(_)) => Some(Json::from(percent.to_string())),
            Err(error) => {
                let words = format!("is `{}`: {error}", shown(text));
                self.refuse(Code::BadQuantity, node, at, &words, None)
            }
        }
    }

    fn list(&mut self, list: &List, node: &Node, at: At<'_>) -> Option<Json> {
        let Value::List(items) = &node.value else {
            let meant = match &node.value {
                Value::Text(text) if text.len() <= 60 && !text.contains(['[', ',', '"']) => {
                    Some(format!("[{text}]"))
                }
                _ => None,
            };
            return self.wrong_type("a list", node, at, meant);
        };
        if items.len() < list.min {
            return self.refuse(Code::BadFormat, node, at, "must not be empty", None);
        }
        let mut out: Vec<Json> = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", at.path);
            let at = At { path: &path, key: None };
            if matches!(item.value, Value::Null) {
                let words = format!("is empty where {} belongs", list.noun);
                self.refuse(Code::WrongType, item, at, &words, None);
                continue;
            }
            let Some(value) = self.value(&list.item, item, at) else {
                continue;
            };
            if list.repeats == Repeats::Warn
                && let Json::String(text) = &value
                && !seen.insert(text.clone())
            {
                let words = format!("stands in the list already: {value}");
                self.refuse(Code::RepeatedValue, item, at, &words, None);
                continue;
            }
            out.push(value);
        }
        Some(Json::from(out))
    }

    fn map(&mut self, map: &Map, node: &Node, at: At<'_>) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return self.wrong_type("a mapping", node, at, None);
        };
        let (out, mut whole) = self.entries_of(map, entries, at);
        if map.one_of && entries.len() != 1 {
            let names: Vec<&str> = map.keys.iter().map(|key| key.name).collect();
            let words = format!("must have exactly one of {}", names.join(", "));
            self.refuse(Code::Contradiction, node, at, &words, None);
            whole = false;
        }
        for key in map.keys {
            if key.required && !entries.iter().any(|entry| entry.key == key.name) {
                let words = format!("lacks the key `{}`", key.name);
                self.refuse(Code::MissingKey, node, at, &words, None);
            }
        }
        (whole && (!map.one_of || out.len() == 1)).then(|| Json::from(out))
    }

    /// The parts that are right, and whether all that must be there is.
    fn entries_of(
        &mut self,
        map: &Map,
        entries: &[Entry],
        at: At<'_>,
    ) -> (JsonMap<String, Json>, bool) {
        let mut out = JsonMap::new();
        for entry in entries {
            let path = join(at.path, &entry.key);
            let Some(key) = map.keys.iter().find(|key| key.name == entry.key) else {
                if let Some(kept) = self.unknown(map, entry, at.path, &path) {
                    out.insert(entry.key.clone(), kept);
                }
                continue;
            };
            if let Some(value) = self.known(key, map.one_of, entry, &path) {
                out.insert(entry.key.clone(), value);
            }
        }
        let whole = map.keys.iter().all(|key| !key.required || out.contains_key(key.name));
        (out, whole)
    }

    fn known(&mut self, key: &Key, one_of: bool, entry: &Entry, path: &str) -> Option<Json> {
        let at = At { path, key: Some(entry.key_place) };
        if let Some(why) = key.legacy {
            let message = format!("{} is an old key: {why}", subject(path));
            self.report.add(Code::LegacyKey, Some(entry.key_place), path, message);
        }
        if matches!(entry.node.value, Value::Null) && !matches!(key.shape, Shape::Any) {
            // `- analysis:` says all there is to say.
            if let Shape::Map(map) = key.shape
                && one_of
                && map.keys.is_empty()
            {
                return Some(Json::from(JsonMap::new()));
            }
            if let (Shape::OpenDuration { .. }, true) = (&key.shape, one_of) {
                return Some(Json::Null);
            }
            let (code, words) = if key.required {
                (Code::MissingKey, "has no value")
            } else {
                (Code::NullValue, "has no value; it is taken as absent")
            };
            let message = format!("{} {words}", subject(path));
            self.report.add(code, Some(entry.key_place), path, message);
            return None;
        }
        self.value(&key.shape, &entry.node, at)
    }

    fn unknown(&mut self, map: &Map, entry: &Entry, parent: &str, path: &str) -> Option<Json> {
        let belongs = map.moved.iter().find(|(wrong, _)| *wrong == entry.key);
        let meant = match belongs {
            Some((_, right)) => Some((*right).to_owned()),
            // Nobody reads the hundred-and-first; what was meant need not be worked out.
            None if self.report.is_full() => None,
            None => closest(&entry.key, map.keys.iter().map(|key| key.name)).map(str::to_owned),
        };
        let place = if parent.is_empty() { String::new() } else { format!(" in {parent}") };
        let name = shown(&entry.key);
        if map.unknown == Unknown::Kept && meant.is_none() {
            let message = format!("Ark does not know the key `{name}`{place}; it is kept as it is");
            self.report.add(Code::UnknownStoreKey, Some(entry.key_place), path, message);
            return Some(json_of(&entry.node));
        }
        let message = format!("unknown key `{name}`{place}");
        self.report.add_with(Code::UnknownKey, Some(entry.key_place), path, message, meant);
        None
    }

    fn entries(&mut self, shape: &Entries, node: &Node, at: At<'_>) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return self.wrong_type("a mapping", node, at, None);
        };
        let mut out = JsonMap::new();
        for entry in entries {
            let path = join(at.path, &entry.key);
            if let Some(fault) = text::check(shape.key, &entry.key) {
                self.fault(fault, Some(entry.key_place), &path);
                continue;
            }
            let at = At { path: &path, key: Some(entry.key_place) };
            if let Some(value) = self.value(&shape.value, &entry.node, at) {
                out.insert(entry.key.clone(), value);
            }
        }
        Some(Json::from(out))
    }
}

/// `expose[0].port` in back quotes.
fn subject(path: &str) -> String {
    format!("`{path}`")
}

fn join(parent: &str, key: &str) -> String {
    let key = shown(key);
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// A number in quotes where a bare one belongs.
fn quoted_number(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Some(text.trim().to_owned())
        }
        _ => None,
    }
}

/// A part of another platform's, as it is.
fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Number(Number { int: Some(int), .. }) => Json::from(*int),
        // A number that JSON cannot hold (.nan, .inf) is kept as it was written.
        Value::Number(Number { text, float, .. }) => serde_json::Number::from_f64(*float)
            .map_or_else(|| Json::from(text.as_str()), Json::Number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => Json::from(items.iter().map(json_of).collect::<Vec<_>>()),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.node))).collect()
        }
    }
}

/// The value at a path of the tree, with the place of its key or, for an item, its own.
pub(super) fn find<'n>(root: &'n Node, path: &str) -> Option<(&'n Node, Place)> {
    let mut found = (root, root.place);
    for segment in path.split('.') {
        let (key, indexes) = segment.split_once('[').unwrap_or((segment, ""));
        let Value::Map(entries) = &found.0.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        found = (&entry.node, entry.key_place);
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            let Value::List(items) = &found.0.value else {
                return None;
            };
            let index: usize = index.trim_end_matches(']').parse().ok()?;
            let item = items.get(index)?;
            found = (item, item.place);
        }
    }
    Some(found)
}
