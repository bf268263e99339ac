//! The shape of a definition: fields by type of state and query language, and what stands in them.

mod expressions;
mod parts;
mod resources;
mod rules;
mod values;

use std::collections::HashSet;

use self::expressions::is_expression;
use self::parts::Place;
use super::{FINDINGS_MAX, Finding, MachineKind};
use crate::intrinsics::Call;
use crate::jsonpath::{Path, ReferencePath, Root};
use crate::limits::NAME_CHARS_MAX;
use crate::timestamp;
use crate::value::{Object, Value};

/// Fields of both languages, of JSONPath alone, of JSONata alone.
type Fields = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const FLOW: [&str; 2] = ["Next", "End"];

fn fields_of(kind: &str) -> Option<Fields> {
    Some(match kind {
        "Pass" => (
            &["Assign"],
            &["InputPath", "Parameters", "Result", "ResultPath", "OutputPath"],
            &["Output"],
        ),
        "Task" => (
            &[
                "Resource",
                "TimeoutSeconds",
                "HeartbeatSeconds",
                "Credentials",
                "Retry",
                "Catch",
                "Assign",
            ],
            &[
                "InputPath",
                "Parameters",
                "ResultSelector",
                "ResultPath",
                "OutputPath",
                "TimeoutSecondsPath",
                "HeartbeatSecondsPath",
            ],
            &["Arguments", "Output"],
        ),
        "Choice" => (&["Choices", "Default", "Assign"], &["InputPath", "OutputPath"], &["Output"]),
        "Wait" => (
            &["Seconds", "Timestamp", "Assign"],
            &["SecondsPath", "TimestampPath", "InputPath", "OutputPath"],
            &["Output"],
        ),
        "Succeed" => (&[], &["InputPath", "OutputPath"], &["Output"]),
        "Fail" => (&["Error", "Cause"], &["ErrorPath", "CausePath"], &[]),
        "Parallel" => (
            &["Branches", "Retry", "Catch", "Assign"],
            &["InputPath", "Parameters", "ResultSelector", "ResultPath", "OutputPath"],
            &["Arguments", "Output"],
        ),
        "Map" => (
            &[
                "ItemProcessor",
                "Iterator",
                "ItemSelector",
                "MaxConcurrency",
                "ItemReader",
                "ItemBatcher",
                "ResultWriter",
                "ToleratedFailureCount",
                "ToleratedFailurePercentage",
                "Label",
                "Retry",
                "Catch",
                "Assign",
            ],
            &[
                "InputPath",
                "Parameters",
                "ItemsPath",
                "MaxConcurrencyPath",
                "ToleratedFailureCountPath",
                "ToleratedFailurePercentagePath",
                "ResultSelector",
                "ResultPath",
                "OutputPath",
            ],
            &["Items", "Output"],
        ),
        _ => return None,
    })
}

/// Judges a machine and those within it.
pub(super) fn check(root: &Object, kind: MachineKind) -> Vec<Finding> {
    let whole = root.get("QueryLanguage").and_then(Value::as_str);
    let mut check = Check::new(kind, whole == Some("JSONata"));
    check.machine(root, Place::Whole, "");
    check.findings
}

/// Judges a state that stands alone.
pub(super) fn check_state(state: &Object) -> Vec<Finding> {
    let mut check = Check::new(MachineKind::Standard, false);
    check.state(state, &HashSet::new(), "");
    check.findings
}

struct Check {
    findings: Vec<Finding>,
    /// The kind of the machine whose states are looked at; iterations of a Map may differ.
    kind: MachineKind,
    whole_is_jsonata: bool,
    /// The labels of Map states seen so far.
    labels: HashSet<String>,
    /// The variables that the lists of states around this one set: within they can only be read.
    outer: HashSet<String>,
}

impl Check {
    fn new(kind: MachineKind, whole_is_jsonata: bool) -> Self {
        Self {
            findings: Vec::new(),
            kind,
            whole_is_jsonata,
            labels: HashSet::new(),
            outer: HashSet::new(),
        }
    }

    fn say(&mut self, message: impl Into<String>, place: impl Into<String>) {
        let place = Some(place.into()).filter(|place: &String| !place.is_empty());
        let place = place.unwrap_or_else(|| "/".to_owned());
        self.find(Finding::schema(message, place));
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    fn require(&mut self, members: &Object, fields: &[&str], place: &str) {
        let missing: Vec<&str> =
            fields.iter().copied().filter(|field| !members.contains_key(*field)).collect();
        if !missing.is_empty() {
            let place = if place.is_empty() { "/" } else { place };
            self.say(format!("These fields are required: [{}]", missing.join(", ")), place);
        }
    }

    fn machine(&mut self, members: &Object, of: Place, place: &str) {
        self.require(members, &["States", "StartAt"], place);
        self.head(members, of, place);
        let Some(states) = members.get("States") else { return };
        let Some(states) = states.as_object() else {
            self.say("Expected value of type Object", format!("{place}/States"));
            return;
        };
        let mut assigned = HashSet::new();
        states.iter().for_each(|(_, state)| values::assigned(state, &mut assigned));
        for (name, state) in states {
            let place = format!("{place}/States/{name}");
            if name.chars().count() > NAME_CHARS_MAX {
                self.find(Finding {
                    code: "INVALID_STATE_NAME",
                    message: format!("State name is longer than {NAME_CHARS_MAX} characters"),
                    location: Some(place.clone()),
                });
            }
            match state.as_object() {
                Some(members) => self.state(members, &assigned, &place),
                None => self.say("Expected value of type Object", place),
            }
        }
    }

    /// `assigned` are the variables that the states of its list set.
    fn state(&mut self, state: &Object, assigned: &HashSet<String>, place: &str) {
        let own = state.get("QueryLanguage").and_then(Value::as_str);
        if self.whole_is_jsonata && own == Some("JSONPath") {
            self.say(
                "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
                place,
            );
        }
        self.language(state, place);
        let jsonata = self.whole_is_jsonata || own == Some("JSONata");
        let Some(kind) = state.get("Type").and_then(Value::as_str) else {
            self.require(state, &["Type"], place);
            return;
        };
        let Some(fields) = fields_of(kind) else {
            self.say(format!("'{kind}' is not a type of state"), format!("{place}/Type"));
            return;
        };
        self.fields(state, kind, fields, jsonata, place);
        self.required(state, kind, jsonata, place);
        self.values(state, jsonata, place);
        self.variables(state, jsonata, place);
        if !matches!(kind, "Choice" | "Succeed" | "Fail") {
            let end = state.get("End").and_then(Value::as_bool) == Some(true);
            let next = state.contains_key("Next");
            // A state that stands alone has no place, and need not lead anywhere.
            if end == next && (next || !place.is_empty()) {
                self.say("Exactly one of the fields 'Next' and 'End' is required", place);
            }
        }
        self.retry_and_catch(state, jsonata, place);
        if kind == "Choice" {
            self.choices(state, jsonata, place);
        }
        if let Some(resource) = state.get("Resource").and_then(Value::as_str) {
            self.resource(resource, state, jsonata, place);
        }
        for (name, value) in state {
            let place = format!("{place}/{name}");
            if jsonata {
                self.field_expressions(kind, name, value, &place);
            } else {
                self.json_path(name, value, &place);
            }
        }
        let outer = (self.kind, self.outer.clone());
        if matches!(kind, "Map" | "Parallel") {
            self.outer.extend(assigned.iter().cloned());
        }
        if kind == "Map" {
            self.kind = self.map_parts(state, jsonata, place);
            if parts::is_distributed(state) {
                // Children see none of the parent's variables.
                self.outer.clear();
            }
        }
        self.nested(state, place);
        (self.kind, self.outer) = outer;
    }

    fn fields(
        &mut self,
        state: &Object,
        kind: &str,
        (both, path_only, jsonata_only): Fields,
        jsonata: bool,
        place: &str,
    ) {
        let flow: &[&str] = match kind {
            "Choice" | "Succeed" | "Fail" => &[],
            _ => &FLOW,
        };
        for name in state.keys() {
            let name: &str = name;
            let known = matches!(name, "Type" | "Comment" | "QueryLanguage")
                || flow.contains(&name)
                || both.contains(&name);
            let (own, other) =
                if jsonata { (jsonata_only, path_only) } else { (path_only, jsonata_only) };
            if known || own.contains(&name) {
                continue;
            }
            if other.contains(&name) {
                self.of_other_language(name, jsonata, place);
            } else {
                self.say(format!("Field '{name}' is not supported"), place);
            }
        }
    }

    fn of_other_language(&mut self, name: &str, jsonata: bool, place: &str) {
        let (language, wanted) =
            if jsonata { ("JSONata", "JSONPath") } else { ("JSONPath", "JSONata") };
        self.say(
            format!(
                "The QueryLanguage is set to '{language}', but field '{name}' is only supported for \
                 the '{wanted}' QueryLanguage"
            ),
            place,
        );
    }

    fn required(&mut self, state: &Object, kind: &str, jsonata: bool, place: &str) {
        let count = |fields: &[&str]| fields.iter().filter(|f| state.contains_key(**f)).count();
        match kind {
            "Task" => self.require(state, &["Resource"], place),
            "Choice" => self.require(state, &["Choices"], place),
            "Parallel" => self.require(state, &["Branches"], place),
            "Map" if count(&["ItemProcessor", "Iterator"]) == 0 => {
                self.require(state, &["ItemProcessor"], place);
            }
            "Wait" if count(&["Seconds", "SecondsPath", "Timestamp", "TimestampPath"]) != 1 => {
                self.say(
                    "Exactly one of the fields 'Seconds', 'SecondsPath', 'Timestamp' and \
                     'TimestampPath' is required",
                    place,
                );
            }
            "Wait" => {
                if let Some(text) = state.get("Timestamp").and_then(Value::as_str)
                    && !(jsonata && is_expression(text))
                    && timestamp::parse(text).is_none()
                {
                    let place = format!("{place}/Timestamp");
                    self.say("String does not match RFC3339 timestamp", place);
                }
            }
            _ => {}
        }
    }

    fn json_path(&mut self, name: &str, value: &Value, place: &str) {
        match name {
            "Parameters" | "ResultSelector" | "ItemSelector" | "Assign" | "Credentials" => {
                self.template(value, place);
            }
            "Choices" | "Catch" => {
                for rule in value.as_array().unwrap_or_default() {
                    if let Some(assign) = rule.get("Assign") {
                        self.template(assign, place);
                    }
                }
            }
            "ResultPath" => {
                if let Some(text) = value.as_str()
                    && ReferencePath::parse(text).is_err()
                {
                    self.say("Value is not a Reference Path", place);
                }
            }
            _ if values::NUMBER_PATHS.contains(&name) => {
                if let Some(text) = value.as_str() {
                    match Path::parse(text) {
                        Err(_) => self.say("Value is not a valid JSONPath", place),
                        Ok(path) if *path.root() == Root::Context || !path.is_reference() => {
                            self.say("Value is not a Reference Path", place);
                        }
                        Ok(_) => {}
                    }
                }
            }
            "ErrorPath" | "CausePath" => {
                if let Some(text) = value.as_str()
                    && Path::parse(text).is_err()
                    && Call::parse(text).is_err()
                {
                    self.say("Value is not a valid JSONPath", place);
                }
            }
            _ if name.ends_with("Path") => {
                if let Some(text) = value.as_str()
                    && Path::parse(text).is_err()
                {
                    self.say("Value is not a valid JSONPath", place);
                }
            }
            _ => {}
        }
    }

    /// Keys that end in `.$` hold a path or a call.
    fn template(&mut self, value: &Value, place: &str) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.template(item, place)),
            Value::Object(members) => {
                for (name, member) in members.iter() {
                    if !name.ends_with(".$") {
                        self.template(member, place);
                        continue;
                    }
                    let readable = member
                        .as_str()
                        .is_some_and(|t| Path::parse(t).is_ok() || Call::parse(t).is_ok());
                    if !readable {
                        self.say(
                            format!(
                                "The value for the field '{name}' must be a valid JSONPath or a \
                                 valid intrinsic function call"
                            ),
                            place,
                        );
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn nested(&mut self, state: &Object, place: &str) {
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(inner) = state.get(field).and_then(Value::as_object) {
                let place = format!("{place}/{field}");
                self.machine(inner, Place::Processor, &place);
            }
        }
        let branches = state.get("Branches").and_then(Value::as_array).unwrap_or_default();
        for (at, branch) in branches.iter().enumerate() {
            if let Some(inner) = branch.as_object() {
                self.machine(inner, Place::Branch, &format!("{place}/Branches[{at}]"));
            }
        }
    }
}
