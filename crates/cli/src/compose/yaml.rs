//! Launch files as text: maps in the order they were made, short lists in one line.

use std::fmt::Write as _;

/// A value of a launch file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// A number or a word that YAML reads as it stands.
    Plain(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn plain(value: &impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    /// Whether it is a list or a map of nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            Self::Text(_) | Self::Plain(_) => false,
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Plain(_))
    }
}

/// Takes out what stands at a path (`expose[0].health_check.interval`), or the nearest thing around
/// it, and what is empty then. Says the path of what went; `None` when nothing is like it.
pub(super) fn remove(map: &mut Vec<(String, Node)>, path: &str) -> Option<String> {
    let longest = |(_, key): &(usize, &String)| key.len();
    let keys = map.iter().map(|(key, _)| key).enumerate();
    let (at, key) = keys.filter(|(_, key)| after(path, key).is_some()).max_by_key(longest)?;
    let (key, rest) = (key.clone(), after(path, key)?.to_owned());
    let node = &mut map[at].1;
    let inside = match node {
        Node::Map(inner) => rest.strip_prefix('.').and_then(|rest| remove(inner, rest)),
        // Without one of its words a command is another one.
        Node::List(items) if key != "command" => remove_item(items, &rest),
        Node::List(_) | Node::Text(_) | Node::Plain(_) => None,
    };
    let empty = node.is_empty();
    if inside.is_none() || empty {
        map.remove(at);
    }
    Some(match inside {
        None => key,
        Some(inside) if inside.starts_with('[') => format!("{key}{inside}"),
        Some(inside) => format!("{key}.{inside}"),
    })
}

/// What follows a key at the beginning of a path.
fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// Takes out `[0]`, or what `[0].port` says.
fn remove_item(items: &mut Vec<Node>, path: &str) -> Option<String> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    let index: usize = number.parse().ok()?;
    let item = items.get_mut(index)?;
    let inside = match (&mut *item, rest.strip_prefix('.')) {
        (Node::Map(inner), Some(rest)) => remove(inner, rest),
        _ => None,
    };
    if inside.is_none() || item.is_empty() {
        items.remove(index);
    }
    Some(inside.map_or_else(|| format!("[{index}]"), |inside| format!("[{index}].{inside}")))
}

/// A whole file.
pub(super) fn file(map: &[(String, Node)]) -> String {
    let mut text = String::new();
    if map.is_empty() {
        return "{}\n".to_owned();
    }
    entries(&mut text, map, 0, "");
    text
}

fn entries(text: &mut String, map: &[(String, Node)], depth: usize, first: &str) {
    for (index, (key, value)) in map.iter().enumerate() {
        match (index, first) {
            (0, "") | (1.., _) => text.push_str(&"  ".repeat(depth)),
            (0, first) => text.push_str(first),
        }
        let _ = write!(text, "{}:", scalar(key));
        match value {
            Node::Map(inner) if !inner.is_empty() => {
                text.push('\n');
                entries(text, inner, depth + 1, "");
            }
            Node::List(items) if items.iter().any(|item| !item.is_scalar()) => {
                text.push('\n');
                for item in items {
                    match item {
                        Node::Map(inner) => {
                            let first = format!("{}- ", "  ".repeat(depth));
                            entries(text, inner, depth + 1, &first);
                        }
                        other => {
                            let _ = writeln!(text, "{}- {}", "  ".repeat(depth), line(other));
                        }
                    }
                }
            }
            other => {
                let _ = writeln!(text, " {}", line(other));
            }
        }
    }
}

fn line(node: &Node) -> String {
    match node {
        Node::Text(text) => scalar(text),
        Node::Plain(word) => word.clone(),
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(line).collect();
            format!("[{}]", items.join(", "))
        }
        Node::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), line(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Text as it stands where nothing else could be meant, else as JSON, which YAML reads alike.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b"_/".contains(&b));
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let reserved = word.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && text.bytes().all(plain) && !reserved {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}
