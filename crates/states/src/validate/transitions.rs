//! Where states lead: targets that exist, states that are reached, a way to end, names used once.

use std::collections::HashSet;

use super::Finding;
use crate::value::{Object, Step, Value};

const MISSING_TARGET: &str = "MISSING_TRANSITION_TARGET";

/// Judges a machine and those within it. `repeats` are the ways to the keys that its text holds again
/// within an object `States`: of those only the last is left in `root`.
pub(super) fn check(root: &Object, repeats: &[Vec<Step>]) -> Vec<Finding> {
    let again =
        repeats.iter().filter_map(|way| Some(duplicate(repeated_state(way)?, place_of(way))));
    let mut findings: Vec<Finding> = again.collect();
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
            findings.push(duplicate(name, format!("{place}/States/{name}")));
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

fn duplicate(name: &str, place: String) -> Finding {
    Finding {
        code: "DUPLICATE_STATE_NAME",
        message: format!("Duplicate State name: {name} found in state machine"),
        location: Some(place),
    }
}

/// The name of the state to which this way leads, unless something else is called `States`.
fn repeated_state(way: &[Step]) -> Option<&str> {
    let key = |at: usize| match way.get(at)? {
        Step::Key(key) => Some(&**key),
        Step::Index(_) => None,
    };
    let mut at = 0;
    loop {
        let name = (key(at)? == "States").then(|| key(at + 1))??;
        at += 2;
        if at == way.len() {
            return Some(name);
        }
        match (key(at)?, way.get(at + 1)) {
            ("ItemProcessor" | "Iterator", _) => at += 1,
            ("Branches", Some(Step::Index(_))) => at += 2,
            _ => return None,
        }
    }
}

fn place_of(way: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => format!("/{key}"),
        Step::Index(index) => format!("[{index}]"),
    };
    way.iter().map(step).collect()
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
