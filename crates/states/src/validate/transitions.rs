//! Where states lead: targets that exist, states that are reached, a way to end, names used once.

use std::collections::HashSet;

use super::Finding;
use crate::value::{Object, Value};

const MISSING_TARGET: &str = "MISSING_TRANSITION_TARGET";

/// Judges a machine and those within it.
pub(super) fn check(root: &Object) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names = HashSet::new();
    machine(root, "", &mut names, &mut findings);
    findings
}

fn machine<'a>(
    machine_members: &'a Object,
    place: &str,
    names: &mut HashSet<&'a str>,
    findings: &mut Vec<Finding>,
) {
    let Some(states) = machine_members.get("States").and_then(Value::as_object) else { return };
    let start = machine_members.get("StartAt").and_then(Value::as_str).unwrap_or_default();
    let mut missing = |target: &str, location: String| {
        if !states.contains_key(target) {
            findings.push(Finding {
                code: MISSING_TARGET,
                message: format!("Missing 'Next' target: {target}"),
                location: Some(location),
            });
        }
    };
    missing(start, format!("{place}/StartAt"));
    for (name, state) in states {
        for (target, field) in targets(state) {
            missing(target, format!("{place}/States/{name}/{field}"));
        }
    }
    if !states.values().any(ends) {
        findings.push(Finding {
            code: "MISSING_END_STATE",
            message: "Workflow has no terminal state".to_owned(),
            location: None,
        });
    } else {
        let mut reached = HashSet::new();
        let mut next = vec![start];
        while let Some(name) = next.pop() {
            if let Some(state) = states.get(name)
                && reached.insert(name)
            {
                next.extend(targets(state).into_iter().map(|(target, _)| target));
            }
        }
        // A dangling StartAt would make every state unreachable.
        for name in states.keys().filter(|name| !reached.contains(&***name)) {
            findings.push(Finding {
                code: MISSING_TARGET,
                message: format!("State \"{name}\" is not reachable."),
                location: Some(format!("{place}/States/{name}")),
            });
        }
    }
    for (name, state) in states {
        if !names.insert(name) {
            findings.push(Finding {
                code: "DUPLICATE_STATE_NAME",
                message: format!("Duplicate State name: {name}"),
                location: Some(format!("{place}/States/{name}")),
            });
        }
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(inner) = state.get(field).and_then(Value::as_object) {
                machine(inner, &format!("{place}/States/{name}/{field}"), names, findings);
            }
        }
        let branches = state.get("Branches").and_then(Value::as_array).unwrap_or_default();
        for (at, branch) in branches.iter().enumerate() {
            if let Some(inner) = branch.as_object() {
                machine(inner, &format!("{place}/States/{name}/Branches[{at}]"), names, findings);
            }
        }
    }
}

fn ends(state: &Value) -> bool {
    state.get("End").and_then(Value::as_bool) == Some(true)
        || matches!(state.get("Type").and_then(Value::as_str), Some("Succeed" | "Fail"))
}

/// The states a state may lead to, and the field that says so.
fn targets(state: &Value) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    for field in ["Next", "Default"] {
        if let Some(target) = state.get(field).and_then(Value::as_str) {
            found.push((target, field.to_owned()));
        }
    }
    for field in ["Choices", "Catch"] {
        let rules = state.get(field).and_then(Value::as_array).unwrap_or_default();
        for (at, rule) in rules.iter().enumerate() {
            if let Some(target) = rule.get("Next").and_then(Value::as_str) {
                found.push((target, format!("{field}[{at}]/Next")));
            }
        }
    }
    found
}
