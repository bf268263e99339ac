//! What the workflow manager does to definitions and inputs before they run. Pure.
//!
//! - A name may hold characters that no machine's name may: the machine gets another.
//! - Each Task gets a first retry by which deployments of workers fail no workflow.
//! - The workflow's id goes with the input, as workers expect it, through each Map, too.
//! - `lambda:x` is the activity `x`: a function is the workers of the activity of its name.

use ark_model::Sha256;
use ark_states::Value as StateValue;
use serde_json::{Map, Value, json};

use super::super::names::{self, NAME_CHARS_MAX};

/// The error of a task whose worker was told to end.
const TERMINATED: &str = "sfncli.CommandTerminated";
/// The member of an input by which a worker knows its workflow.
pub const EXECUTION_NAME: &str = "_EXECUTION_NAME";
/// Deeper than the language allows.
const DEPTH_MAX: u32 = 100;
/// Hex digits that tell a name from others that became the same.
const TELL_APART: usize = 8;

/// The name of the machine of a definition: its own, if a machine may be named so.
pub fn machine_name(name: &str) -> String {
    if names::is_valid(name) {
        return name.to_owned();
    }
    let most = NAME_CHARS_MAX - TELL_APART - 1;
    let allowed = |c: char| if names::is_valid(c.encode_utf8(&mut [0; 4])) { c } else { '-' };
    let kept: String = name.chars().take(most).map(allowed).collect();
    let digest = hex::encode(&Sha256::of(name.as_bytes()).0[..TELL_APART / 2]);
    format!("{kept}-{digest}")
}

/// Calls `act` for each state of a machine and of those within it. The flag says whether the state
/// is written in JSONata.
fn each_state(machine: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>, bool)) {
    let jsonata = machine["QueryLanguage"] == "JSONata";
    within(machine, jsonata, 0, act);
}

fn within(
    machine: &mut Value,
    jsonata: bool,
    depth: u32,
    act: &mut impl FnMut(&mut Map<String, Value>, bool),
) {
    let Some(states) = machine.get_mut("States").and_then(Value::as_object_mut) else { return };
    if depth > DEPTH_MAX {
        return;
    }
    for state in states.values_mut().filter_map(Value::as_object_mut) {
        let own = state.get("QueryLanguage").map_or(jsonata, |language| language == "JSONata");
        act(state, own);
        for inner in ["Iterator", "ItemProcessor"] {
            if let Some(inner) = state.get_mut(inner) {
                within(inner, jsonata, depth + 1, act);
            }
        }
        if let Some(branches) = state.get_mut("Branches").and_then(Value::as_array_mut) {
            branches.iter_mut().for_each(|branch| within(branch, jsonata, depth + 1, act));
        }
    }
}

/// Puts a retry of `sfncli.CommandTerminated` first in every Task that does not name that error
/// itself. Answers how many Tasks were given one.
pub fn add_default_retry(machine: &mut Value) -> usize {
    let mut added = 0;
    each_state(machine, &mut |state, _| {
        if state.get("Type").is_some_and(|kind| kind == "Task") && add_retry(state) {
            added += 1;
        }
    });
    added
}

fn add_retry(task: &mut Map<String, Value>) -> bool {
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

/// Lets each Map that makes its items' inputs put the workflow's id into them.
fn pass_name_on(machine: &mut Value) {
    each_state(machine, &mut |state, jsonata| {
        if state.get("Type").is_none_or(|kind| kind != "Map") {
            return;
        }
        let (key, value) = match jsonata {
            true => (EXECUTION_NAME.to_owned(), "{% $states.context.Execution.Name %}"),
            false => (format!("{EXECUTION_NAME}.$"), "$$.Execution.Name"),
        };
        for field in ["Parameters", "ItemSelector"] {
            if let Some(made) = state.get_mut(field).and_then(Value::as_object_mut)
                && !made.contains_key(EXECUTION_NAME)
            {
                made.entry(&key).or_insert_with(|| value.into());
            }
        }
    });
}

/// `lambda:x` is `x`. What Ark cannot run is refused by name.
fn plain_resources(machine: &mut Value) -> Result<(), String> {
    let mut wrong = Ok(());
    each_state(machine, &mut |state, _| {
        let Some(Value::String(resource)) = state.get_mut("Resource") else { return };
        if let Some(name) = resource.strip_prefix("lambda:").filter(|name| *name != "invoke") {
            *resource = name.to_owned();
        } else if resource.starts_with("glue:") {
            wrong = Err(format!(
                "resource `{resource}` cannot be run: Ark has no Glue. Use an activity with a worker."
            ));
        }
    });
    wrong
}

/// The machine that is run for a definition as it was sent.
///
/// # Errors
/// Why it cannot be run, for people.
pub fn to_run(sent: &Value) -> Result<Value, String> {
    let mut machine = sent.clone();
    plain_resources(&mut machine)?;
    add_default_retry(&mut machine);
    pass_name_on(&mut machine);
    Ok(machine)
}

/// Lets a machine begin at another of its states, without those that are not reached then.
///
/// # Errors
/// When it has no such state.
pub fn begin_at(machine: &mut Value, start_at: &str) -> Result<(), String> {
    let states = machine.get("States").and_then(Value::as_object);
    let states = states.filter(|states| states.contains_key(start_at)).ok_or_else(|| {
        format!("the definition has no state `{start_at}` outside of others; see its StartAt")
    })?;
    let (mut reached, mut next) = (Vec::new(), vec![start_at.to_owned()]);
    while let Some(name) = next.pop() {
        if !reached.contains(&name)
            && let Some(state) = states.get(&name)
        {
            next.extend(targets(state));
            reached.push(name);
        }
    }
    if let Some(states) = machine.get_mut("States").and_then(Value::as_object_mut) {
        states.retain(|name, _| reached.contains(name));
    }
    machine["StartAt"] = start_at.into();
    Ok(())
}

fn targets(state: &Value) -> Vec<String> {
    let each = |field: &str| state[field].as_array().into_iter().flatten();
    let all = each("Choices").chain(each("Catch")).map(|inner| &inner["Next"]);
    let all = all.chain([&state["Next"], &state["Default"]]);
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An input with the workflow's id in front. Everything else stays as it was written.
///
/// # Errors
/// When it is no JSON object.
pub fn with_name(input: &str, id: &str) -> Result<String, String> {
    let no = |why: &str| format!("the input must be a JSON object, as text: {why}");
    let value = StateValue::parse(input).map_err(|error| no(&error.to_string()))?;
    let object = value.as_object().ok_or_else(|| no("it is something else"))?;
    let text = if object.contains_key(EXECUTION_NAME) {
        let others = object.iter().filter(|(key, _)| &***key != EXECUTION_NAME);
        StateValue::object(others.map(|(key, value)| (key.clone(), value.clone()))).to_json()
    } else {
        input.trim().to_owned()
    };
    let rest = text[1..].trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    Ok(format!("{}{comma}{rest}", name_part(id)))
}

/// Whether a text is JSON as the language reads it: numbers of any size, up to 1,000 levels.
///
/// # Errors
/// Why it is not.
pub fn judge_json(text: &str) -> Result<(), String> {
    StateValue::parse(text).map(drop).map_err(|error| error.to_string())
}

/// The workflow's id in an input; `None` when it has none.
///
/// # Errors
/// When it is no JSON object.
pub fn name_in(input: &str) -> Result<Option<String>, String> {
    let value = StateValue::parse(input).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("it is something else")?;
    Ok(object.get(EXECUTION_NAME).and_then(|name| name.as_str()).map(str::to_owned))
}

/// The way back from [`with_name`]: the input as it was sent.
pub fn without_name(input: &str, id: &str) -> String {
    match input.strip_prefix(&name_part(id)) {
        Some(rest) => format!("{{{}", rest.strip_prefix(',').unwrap_or(rest)),
        None => input.to_owned(),
    }
}

fn name_part(id: &str) -> String {
    format!("{{\"{EXECUTION_NAME}\":{}", Value::from(id))
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

    #[test]
    fn the_name_goes_through_maps_and_functions_are_activities() {
        let sent = json!({ "QueryLanguage": "JSONata", "States": {
            "L": { "Type": "Task", "Resource": "lambda:f" },
            "I": { "Type": "Task", "Resource": "lambda:invoke" },
            "M": { "Type": "Map", "ItemSelector": { "a": 1 }, "ItemProcessor": { "States": {} } },
            "P": { "Type": "Map", "QueryLanguage": "JSONPath", "Parameters": { "a": 1 } },
            "N": { "Type": "Map" },
        }});
        let machine = to_run(&sent).expect("it can be run");
        let states = &machine["States"];
        assert_eq!(
            (&states["L"]["Resource"], &states["I"]["Resource"]),
            (&json!("f"), &json!("lambda:invoke"))
        );
        let name = "{% $states.context.Execution.Name %}";
        assert_eq!(states["M"]["ItemSelector"], json!({ "a": 1, "_EXECUTION_NAME": name }));
        let name = "$$.Execution.Name";
        assert_eq!(states["P"]["Parameters"], json!({ "a": 1, "_EXECUTION_NAME.$": name }));
        assert_eq!(states["N"], sent["States"]["N"]);
        let glue = json!({ "States": { "G": { "Type": "Task", "Resource": "glue:job" } } });
        assert!(to_run(&glue).expect_err("refused").contains("glue:job"));
    }

    #[test]
    fn another_beginning_leaves_out_what_is_not_reached() {
        let mut machine = json!({ "StartAt": "A", "States": {
            "A": { "Next": "B" },
            "B": { "Choices": [{ "Next": "C" }], "Default": "D" },
            "C": { "Catch": [{ "Next": "E" }], "End": true },
            "D": { "Next": "B" }, "E": { "End": true }, "F": { "Next": "A" },
        }});
        assert!(begin_at(&mut machine, "none").is_err());
        begin_at(&mut machine, "B").expect("it has that state");
        let names: Vec<&String> = machine["States"].as_object().expect("states").keys().collect();
        assert_eq!(
            (machine["StartAt"].as_str(), names),
            (Some("B"), ["B", "C", "D", "E"].map(str::to_owned).iter().collect())
        );
    }

    #[test]
    fn an_input_comes_back_as_it_was_sent() {
        for text in ["{}", "{ \"n\": 1e400, \"m\": [ 1,2 ] }", "{\"big\":9007199254740993}"] {
            let named = with_name(text, "id").expect("an object");
            let parsed = StateValue::parse(&named).expect("JSON");
            assert_eq!(parsed.get(EXECUTION_NAME).and_then(|v| v.as_str()), Some("id"), "{named}");
            assert_eq!(without_name(&named, "id").replace(' ', ""), text.replace(' ', ""));
        }
        let renamed = with_name(r#"{"a":1,"_EXECUTION_NAME":"old","b":2}"#, "new").expect("one");
        assert_eq!(renamed, r#"{"_EXECUTION_NAME":"new","a":1,"b":2}"#);
        for wrong in ["", "[]", "1", "{", "{}{}", "null"] {
            assert!(with_name(wrong, "id").is_err(), "{wrong}");
            assert!(name_in(wrong).is_err(), "{wrong}");
        }
        assert_eq!(name_in(&renamed).expect("an object").as_deref(), Some("new"));
        for none in ["{}", r#"{"_EXECUTION_NAME":1}"#] {
            assert_eq!(name_in(none), Ok(None), "{none}");
        }
        assert!(judge_json("[1e400]").is_ok() && judge_json("[1e400").is_err());
    }

    #[test]
    fn names_that_no_machine_may_have_get_one_of_their_own() {
        assert_eq!(machine_name("resize"), "resize");
        let (a, b) = (machine_name("wf:master"), machine_name("wf/master"));
        assert!(a.starts_with("wf-master-") && names::is_valid(&a), "{a}");
        assert_ne!(a, b);
        assert!(names::is_valid(&machine_name(&"x:".repeat(200))));
        assert!(names::is_valid(&machine_name("")));
    }
}
