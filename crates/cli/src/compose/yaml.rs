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

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Plain(_))
    }
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
