//! What differs between two releases. Pure; secrets are compared by version and never shown.

use std::collections::BTreeSet;

use ark_model::api::{ChangeKind, ConfigChange, DefinitionChange, TextChange};
use ark_model::release::{PinnedValue, ReleaseContent};
use serde_json::Value;

use super::app_rows::artifact_words;

/// The most parts of a definition that are listed.
const CHANGES_MAX: usize = 500;

/// The artifact, when it differs.
pub(super) fn artifact(from: &ReleaseContent, to: &ReleaseContent) -> Option<TextChange> {
    let words = |content: &ReleaseContent| Some(artifact_words(&content.artifact));
    (from.artifact != to.artifact).then(|| TextChange { from: words(from), to: words(to) })
}

/// Variables that differ, sorted by name.
pub(super) fn config(from: &ReleaseContent, to: &ReleaseContent) -> Vec<ConfigChange> {
    let names: BTreeSet<&String> = from.config.keys().chain(to.config.keys()).collect();
    let change = |name: &String| {
        let (before, after) = (from.config.get(name), to.config.get(name));
        let kind = kind(before, after)?;
        let is_secret =
            |value: Option<&PinnedValue>| matches!(value, Some(PinnedValue::Secret { .. }));
        // A name that is or was a secret shows neither side: the plain value may have been the
        // secret before somebody thought of hiding it.
        let secret = is_secret(before) || is_secret(after);
        let shown = |value: Option<&PinnedValue>| match value {
            Some(PinnedValue::Plain { value }) if !secret => Some(value.clone()),
            Some(PinnedValue::Plain { .. } | PinnedValue::Secret { .. }) | None => None,
        };
        Some(ConfigChange {
            name: name.clone(),
            change: kind,
            secret,
            from: shown(before),
            to: shown(after),
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn kind<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> Option<ChangeKind> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(ChangeKind::Added),
        (Some(_), None) => Some(ChangeKind::Removed),
        (Some(a), Some(b)) if a == b => None,
        (Some(_), Some(_)) => Some(ChangeKind::Changed),
    }
}

/// Parts of the definition that differ; at most 500.
pub(super) fn definition(from: &ReleaseContent, to: &ReleaseContent) -> Vec<DefinitionChange> {
    let value =
        |content: &ReleaseContent| serde_json::to_value(&content.definition).unwrap_or(Value::Null);
    let mut changes = Vec::new();
    compare("", Some(&value(from)), Some(&value(to)), &mut changes);
    changes
}

fn compare(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<DefinitionChange>,
) {
    if changes.len() >= CHANGES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, a.get(key), b.get(key), changes);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                compare(&format!("{path}[{index}]"), a.get(index), b.get(index), changes);
            }
        }
        (before, after) => {
            if let Some(change) = kind(before, after) {
                let (from, to) = (before.cloned(), after.cloned());
                changes.push(DefinitionChange { path: path.to_owned(), change, from, to });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ark_model::artifact::Artifact;
    use ark_model::definition::{Definition, Expose};

    use super::*;

    fn content(config: &[(&str, PinnedValue)], definition: Definition) -> ReleaseContent {
        let config: BTreeMap<_, _> =
            config.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        ReleaseContent { artifact: Artifact::None, definition, config }
    }

    fn plain(value: &str) -> PinnedValue {
        PinnedValue::Plain { value: value.to_owned() }
    }

    #[test]
    fn a_value_that_became_a_secret_is_not_shown() {
        let from = content(
            &[("A", plain("1")), ("B", plain("hunter2")), ("C", plain("x"))],
            Definition::default(),
        );
        let to = content(
            &[("A", plain("2")), ("B", PinnedValue::Secret { version: 3 }), ("D", plain("y"))],
            Definition::default(),
        );
        let changes = config(&from, &to);
        let words: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.change)).collect();
        assert_eq!(
            words,
            [
                ("A", ChangeKind::Changed),
                ("B", ChangeKind::Changed),
                ("C", ChangeKind::Removed),
                ("D", ChangeKind::Added),
            ]
        );
        assert_eq!(changes[0].to.as_deref(), Some("2"));
        assert!(!serde_json::to_string(&changes).expect("JSON").contains("hunter2"));
    }

    #[test]
    fn parts_of_a_definition_are_named_by_their_path() {
        let mut changed = Definition { team: Some("eng".into()), ..Definition::default() };
        changed.expose.push(Expose::new("http", 80));
        let from = content(&[], Definition::default());
        let changes = definition(&from, &content(&[], changed));
        let paths: Vec<_> = changes.iter().map(|c| c.path.as_str()).collect();
        assert_eq!(paths, ["expose[0]", "team"]);
        assert_eq!(definition(&from, &from), []);
    }
}
