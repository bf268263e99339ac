//! `volumes` of a service: those of the engine become volumes of the app, under names that Ark takes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Notes;
use super::service::{Service, scalar};
use super::yaml::Node;

/// The longest name of a volume, in characters: a DNS label.
const NAME_CHARS_MAX: usize = 63;

/// A mount as it stands in the file.
struct Mount {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
}

/// The section `volumes`, and the names of the file's volumes that it uses.
pub(super) fn section(service: &Service, notes: &mut Notes) -> (Node, Vec<String>) {
    let (mut out, mut sources) = (Vec::new(), Vec::new());
    // Names given here, with what they stand for in the file.
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    let mut folders: Vec<String> = Vec::new();
    for volume in service.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        let Mount { kind, source, target, read_only } = mount(volume, notes);
        match kind.as_str() {
            "volume" if target.starts_with('/') => {}
            "tmpfs" => {
                notes.add("volumes", format!("{target}: /tmp and /run are in memory"));
                continue;
            }
            _ => {
                let why = format!("{source} is a folder of the host; put it into the image");
                notes.add("volumes", why);
                continue;
            }
        }
        if folders.contains(&target) {
            notes.add("volumes", format!("{target} is in a volume already: that one is kept"));
            continue;
        }
        if !source.is_empty() && sources.contains(&source) {
            let why = format!("{source} is mounted once: it is not at {target} too");
            notes.add("volumes", why);
            continue;
        }
        if read_only {
            notes.add("volumes", format!("{target} may be written to"));
        }
        let asked = if source.is_empty() { target.trim_matches('/') } else { &source };
        let name = free_name(asked, &named);
        // A path has no name of its own; its slashes are expected to go.
        if name != asked.replace('/', "-") {
            notes.add("volumes", format!("{asked} is called {name} here"));
        }
        out.push(Node::Map(vec![
            ("name".to_owned(), Node::text(&name)),
            ("path".to_owned(), Node::text(&target)),
        ]));
        named.insert(name, asked.to_owned());
        folders.push(target);
        if !source.is_empty() {
            sources.push(source);
        }
    }
    (Node::List(out), sources)
}

fn mount(volume: &Value, notes: &mut Notes) -> Mount {
    if let Value::Object(long) = volume {
        for key in long.keys() {
            if !["type", "source", "target", "read_only"].contains(&key.as_str()) {
                notes.add(&format!("volumes.{key}"), "a volume is mounted as it is");
            }
        }
        let text = |key: &str| long.get(key).map(scalar).unwrap_or_default();
        let read_only = long.get("read_only") == Some(&Value::Bool(true));
        let (kind, source, target) = (text("type"), text("source"), text("target"));
        return Mount { kind, source, target, read_only };
    }
    let text = scalar(volume);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target) = match parts[..] {
        [target] => ("", target),
        [source, target, ..] => (source, target),
        [] => ("", ""),
    };
    let bind = source.starts_with(['.', '/', '~', '$']);
    let kind = if bind { "bind" } else { "volume" };
    let read_only = parts.get(2).is_some_and(|options| options.split(',').any(|o| o == "ro"));
    Mount { kind: kind.to_owned(), source: source.to_owned(), target: target.to_owned(), read_only }
}

/// `db-data` of `DB_Data`; `db-data-2` when another one is called that.
fn free_name(asked: &str, taken: &BTreeMap<String, String>) -> String {
    let lower = asked.to_ascii_lowercase();
    let plain = lower.replace(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit(), "-");
    let cut = |most: usize| {
        let end = plain.len().min(most);
        match plain[..end].trim_matches('-') {
            "" => "volume".to_owned(),
            name => name.to_owned(),
        }
    };
    let first = cut(NAME_CHARS_MAX);
    if !taken.contains_key(&first) {
        return first;
    }
    let numbered = |number: usize| {
        let suffix = format!("-{number}");
        cut(NAME_CHARS_MAX - suffix.len()) + &suffix
    };
    // So many names cannot all be taken.
    let free = (2..=taken.len() + 2).map(numbered).find(|name| !taken.contains_key(name));
    free.unwrap_or(first)
}
