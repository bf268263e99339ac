//! Whether a definition may be stored: every finding at once, in the words AWS uses.
//!
//! Called by CreateStateMachine, UpdateStateMachine and ValidateStateMachineDefinition. It reads
//! the text anew rather than the parsed [`Definition`], for that stops at the first error. The
//! shape is judged first ([`schema`]); only what has a shape has transitions ([`transitions`]). What may
//! be stored and is hardly meant so is told apart ([`warnings()`]).

mod schema;
mod transitions;
mod warnings;

use crate::definition::{Definition, DefinitionError};
use crate::limits::DEFINITION_BYTES_MAX;
use crate::patterns;
use crate::value::Value;

/// What a machine is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineKind {
    /// Durable, a year long.
    Standard,
    /// Five minutes; no activities, no waiting for a job or a token.
    Express,
}

/// One error of a definition, or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// AWS's code: `SCHEMA_VALIDATION_FAILED` and its kin.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where: `/States/A/Next`. Some findings concern the whole and have none.
    pub location: Option<String>,
}

/// Most findings that are collected.
const FINDINGS_MAX: usize = 200;

const SCHEMA: &str = "SCHEMA_VALIDATION_FAILED";

impl Finding {
    fn schema(message: impl Into<String>, location: impl Into<String>) -> Self {
        Self { code: SCHEMA, message: message.into(), location: Some(location.into()) }
    }
}

/// The refusal of a definition in the words of AWS, if there are findings.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let told = |found: &Finding| {
        // What concerns the whole has its place said all the same.
        let place = found.location.as_deref().unwrap_or("null");
        format!("{}: {} at {place}", found.code, found.message)
    };
    let all: Vec<String> = findings.iter().map(told).collect();
    (!all.is_empty()).then(|| format!("Invalid State Machine Definition: '{}'", all.join(", ")))
}

/// The errors in the shape of a state that stands alone, or of a machine: transitions are not judged.
pub(crate) fn shape(definition: &Value) -> Vec<Finding> {
    let Some(members) = definition.as_object() else { return vec![no_object()] };
    let mut findings = patterns::bounded(|| match members.contains_key("States") {
        true => schema::check(members, MachineKind::Standard),
        false => schema::check_state(members),
    });
    findings.truncate(FINDINGS_MAX);
    findings
}

fn no_object() -> Finding {
    let message = "Definition must be a valid JSON object".to_owned();
    Finding { code: SCHEMA, message, location: None }
}

/// All errors of a definition's text; none when it may be stored.
pub fn validate(text: &str, kind: MachineKind) -> Vec<Finding> {
    let whole = |code, message: String| vec![Finding { code, message, location: None }];
    if text.len() > DEFINITION_BYTES_MAX {
        return whole(SCHEMA, format!("Definition is larger than {DEFINITION_BYTES_MAX} bytes"));
    }
    if text.trim().is_empty() {
        return vec![no_object()];
    }
    let (root, repeats) = match Value::parse_with_repeats(text, "States") {
        Ok(read) => read,
        Err(error) => return vec![not_json(text, error.offset, error.reason)],
    };
    let Some(members) = root.as_object() else {
        return vec![no_object()];
    };
    let mut findings = patterns::bounded(|| schema::check(members, kind));
    if findings.is_empty() {
        findings = transitions::check(members, &repeats);
    }
    if findings.is_empty()
        && let Err(error) = Definition::from_value(&root)
    {
        // What only the interpreter's own reader sees.
        findings.push(match error {
            DefinitionError::Schema { message, location } => Finding::schema(message, location),
            error @ DefinitionError::Json(_) => Finding::schema(error.to_string(), "/"),
        });
    }
    findings.truncate(FINDINGS_MAX);
    findings
}

/// What is hardly meant as it is written. It keeps nothing from being stored; of a text that is no machine
/// there is nothing to tell.
pub fn warnings(text: &str) -> Vec<Finding> {
    if text.len() > DEFINITION_BYTES_MAX {
        return Vec::new();
    }
    let root = Value::parse(text).ok();
    let members = root.as_ref().and_then(Value::as_object);
    members.map(|members| patterns::bounded(|| warnings::check(members))).unwrap_or_default()
}

/// A text that is no JSON, as AWS's reader tells it.
fn not_json(text: &str, offset: usize, reason: &str) -> Finding {
    let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    let offset = offset.unwrap_or(0);
    let rest = &text[offset..];
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    let word = &rest[..end];
    let before = &text[..offset + word.len()];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let shown: String = text.chars().take(500).collect();
    let more = text.chars().count().saturating_sub(500);
    let cut = if more > 0 { format!("[truncated {more} chars]") } else { String::new() };
    let location = format!("[Source: (String)\"{shown}\"{cut}; line: {line}, column: {column}]");
    let what = if word.is_empty() {
        format!("Unexpected character or end of input: {reason}")
    } else {
        format!(
            "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or \
             token 'null', 'true' or 'false')"
        )
    };
    Finding {
        code: "INVALID_JSON_DESCRIPTION",
        message: format!("{what}\n at {location}"),
        location: Some(location),
    }
}

#[cfg(test)]
mod tests;
