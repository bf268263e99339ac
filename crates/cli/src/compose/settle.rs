//! A launch file until the validator takes it: what it refuses is left out, and named with its reason.
//! A value beyond Ark's limits costs its own key, never the file.

use ark_model::AppName;
use ark_model::definition::{Severity, parse};

use super::service::Entries;
use super::yaml::{Node, file, remove};
use super::{LeftOut, Notes};
use crate::commands::validate;
use crate::failure::Failure;

/// The most that is left out of one file.
const LEFT_OUT_MAX: usize = 1000;

/// The text of a launch file, and the variables that it asks for.
///
/// # Errors
/// The validator's findings, when leaving keys out does not help.
pub(super) fn settled(
    app: &AppName,
    mut launch: Entries,
    notes: &mut Notes,
) -> Result<(String, Vec<String>), Failure> {
    let path = format!("launch/{app}.yml");
    let mut left = LEFT_OUT_MAX;
    loop {
        let text = file(&launch);
        let Err(found) = parse(&path, text.as_bytes()).into_result() else {
            return Ok((text, needs(&launch)));
        };
        // One at a time: what is left out may move what comes after it, and mend it.
        let wrong = found.iter().find(|one| one.severity == Severity::Error);
        let gone = wrong.and_then(|wrong| Some((wrong, remove(&mut launch, &wrong.path)?)));
        let Some((wrong, gone)) = gone.filter(|_| left > 0) else {
            return Err(validate::refusal(&path, &found));
        };
        left -= 1;
        let why = format!("left out: {}", wrong.message);
        notes.all.push(LeftOut { key: format!("{path} {gone}"), why });
    }
}

/// What stands under `env`.
fn needs(launch: &Entries) -> Vec<String> {
    let env = launch.iter().find(|(key, _)| key == "env").map(|(_, node)| node);
    let Some(Node::List(items)) = env else { return Vec::new() };
    let name = |item: &Node| match item {
        Node::Text(name) | Node::Plain(name) => Some(name.clone()),
        Node::List(_) | Node::Map(_) => None,
    };
    items.iter().filter_map(name).collect()
}
