//! What `ark workflow define` adds to a definition: the retry by which deployments of workers never
//! fail a workflow.

use serde_json::{Value, json};

/// The error of a task whose worker was told to end.
const TERMINATED: &str = "sfncli.CommandTerminated";
/// Deeper than the language allows.
const DEPTH_MAX: u32 = 100;

/// Puts a retry of [`TERMINATED`] first in every Task that does not name that error itself. Answers
/// how many Tasks were given one.
pub(crate) fn add_default_retry(machine: &mut Value) -> usize {
    add(machine, 0)
}

fn add(machine: &mut Value, depth: u32) -> usize {
    let Some(states) = machine.get_mut("States").and_then(Value::as_object_mut) else { return 0 };
    if depth > DEPTH_MAX {
        return 0;
    }
    let mut added = 0;
    for state in states.values_mut() {
        if state["Type"] == "Task" && add_to_task(state) {
            added += 1;
        }
        for inner in ["Iterator", "ItemProcessor"] {
            if let Some(inner) = state.get_mut(inner) {
                added += add(inner, depth + 1);
            }
        }
        if let Some(branches) = state.get_mut("Branches").and_then(Value::as_array_mut) {
            added += branches.iter_mut().map(|branch| add(branch, depth + 1)).sum::<usize>();
        }
    }
    added
}

fn add_to_task(state: &mut Value) -> bool {
    let Some(task) = state.as_object_mut() else { return false };
    let retry = task.entry("Retry").or_insert_with(|| json!([]));
    // Something else than a list is the server's to refuse.
    let Some(list) = retry.as_array_mut() else { return false };
    let named = list.iter().any(|entry| {
        let names = entry["ErrorEquals"].as_array();
        names.is_some_and(|names| names.iter().any(|name| name == TERMINATED))
    });
    if !named {
        list.insert(
            0,
            json!({
                "ErrorEquals": [TERMINATED],
                "IntervalSeconds": 10,
                "BackoffRate": 1.0,
                "MaxAttempts": 10
            }),
        );
    }
    !named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_gets_the_retry_unless_it_names_the_error() {
        let task = json!({ "Type": "Task", "Resource": "r" });
        let own = json!({ "Type": "Task", "Retry": [{ "ErrorEquals": [TERMINATED, "x"] }] });
        let other = json!({ "Type": "Task", "Retry": [{ "ErrorEquals": ["States.ALL"] }] });
        let mut machine = json!({ "States": {
            "A": task, "B": own, "C": other, "D": { "Type": "Pass" },
            "E": { "Type": "Map", "ItemProcessor": { "States": { "F": task } } },
            "G": { "Type": "Parallel", "Branches": [{ "States": { "H": task } }, {}] },
        }});
        let before = machine.clone();
        assert_eq!(add_default_retry(&mut machine), 4);
        let states = &machine["States"];
        assert_eq!(states["A"]["Retry"][0]["ErrorEquals"], json!([TERMINATED]));
        assert_eq!(states["C"]["Retry"][1]["ErrorEquals"], json!(["States.ALL"]));
        assert_eq!(states["C"]["Retry"][0]["IntervalSeconds"], 10);
        assert_eq!((&states["B"], &states["D"]), (&before["States"]["B"], &before["States"]["D"]));
        let again = machine.clone();
        assert_eq!(add_default_retry(&mut machine), 0);
        assert_eq!(machine, again);
        assert_eq!(add_default_retry(&mut json!({ "States": { "A": 1 } })), 0);
    }
}
