//! What may be stored and is hardly meant so: paths that nothing reads, in JSONPath mode. AWS names the
//! three kinds; the words are ours.

use super::{FINDINGS_MAX, Finding};
use crate::intrinsics::Call;
use crate::jsonpath::Path;
use crate::value::{Object, Value};

/// Fields of states and of a Map's parts that hold payload templates.
const TEMPLATES: [&str; 6] =
    ["Parameters", "ResultSelector", "ItemSelector", "Assign", "Credentials", "BatchInput"];
/// Fields of a choice rule that are compared with nothing, or with a pattern.
const NOT_COMPARED: [&str; 4] = ["Variable", "Next", "Comment", "StringMatches"];

/// Looks through a machine and those within it.
pub(super) fn check(root: &Object) -> Vec<Finding> {
    let mut found = Found(Vec::new());
    found.machine(root, is_jsonata(root), &Place::Whole);
    found.0
}

fn is_jsonata(members: &Object) -> bool {
    members.get("QueryLanguage").and_then(Value::as_str) == Some("JSONata")
}

/// Whether a text appears to be a path: one that begins so and can be read.
fn is_path(text: &str) -> bool {
    ["$.", "$$.", "$["].iter().any(|begin| text.starts_with(begin)) && Path::parse(text).is_ok()
}

fn is_path_or_call(text: &str) -> bool {
    is_path(text) || (text.starts_with("States.") && Call::parse(text).is_ok())
}

/// Where something stands. It is written out for what is told alone: a name may be as long as the text.
#[derive(Clone, Copy)]
enum Place<'a> {
    Whole,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl<'a> Place<'a> {
    const fn member(&'a self, name: &'a str) -> Self {
        Self::Member(self, name)
    }

    const fn item(&'a self, at: usize) -> Self {
        Self::Item(self, at)
    }

    fn text(&self) -> String {
        let mut steps = Vec::new();
        let mut at = self;
        loop {
            at = match at {
                Self::Whole => break,
                Self::Member(outer, name) => {
                    steps.push(format!("/{name}"));
                    outer
                }
                Self::Item(outer, index) => {
                    steps.push(format!("[{index}]"));
                    outer
                }
            };
        }
        steps.into_iter().rev().collect()
    }
}

struct Found(Vec<Finding>);

impl Found {
    fn say(&mut self, code: &'static str, message: String, place: &Place<'_>) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { code, message, location: Some(place.text()) });
        }
    }

    fn machine(&mut self, machine: &Object, jsonata: bool, place: &Place<'_>) {
        let states = machine.get("States").and_then(Value::as_object);
        let states_place = place.member("States");
        for (name, state) in states.into_iter().flatten() {
            if let Some(state) = state.as_object() {
                self.state(state, jsonata, &states_place.member(name));
            }
        }
    }

    fn state(&mut self, state: &Object, jsonata: bool, place: &Place<'_>) {
        if !jsonata && !is_jsonata(state) {
            self.fields(state, place);
        }
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(inner) = state.get(field).and_then(Value::as_object) {
                self.machine(inner, jsonata, &place.member(field));
            }
        }
        let branches = state.get("Branches").and_then(Value::as_array).unwrap_or_default();
        for (at, branch) in branches.iter().enumerate() {
            if let Some(inner) = branch.as_object() {
                self.machine(inner, jsonata, &place.member("Branches").item(at));
            }
        }
    }

    fn fields(&mut self, state: &Object, place: &Place<'_>) {
        self.templates(state, place);
        for part in ["ItemReader", "ItemBatcher", "ResultWriter"] {
            if let Some(members) = state.get(part).and_then(Value::as_object) {
                self.templates(members, &place.member(part));
            }
        }
        for field in ["Choices", "Catch"] {
            let rules = state.get(field).and_then(Value::as_array).unwrap_or_default();
            for (at, rule) in rules.iter().enumerate() {
                let Some(rule) = rule.as_object() else { continue };
                let place = place.member(field);
                let place = place.item(at);
                self.templates(rule, &place);
                if field == "Choices" {
                    self.rule(rule, &place);
                }
            }
        }
        match state.get("Type").and_then(Value::as_str) {
            Some("Fail") => {
                for name in ["Error", "Cause"] {
                    let text = state.get(name).and_then(Value::as_str);
                    if text.is_some_and(is_path_or_call) {
                        self.no_path(name, &place.member(name));
                    }
                }
            }
            Some("Pass") if state.get("Result").is_some_and(holds_path) => {
                let message =
                    "'Result' is static: the paths in it are texts; 'Parameters' reads them";
                self.say("PASS_RESULT_IS_STATIC", message.to_owned(), &place.member("Result"));
            }
            _ => {}
        }
    }

    fn templates(&mut self, members: &Object, place: &Place<'_>) {
        for name in TEMPLATES {
            if let Some(template) = members.get(name) {
                self.template(template, None, &place.member(name));
            }
        }
    }

    /// `key` is the one whose value this is, if it stands in an object.
    fn template(&mut self, value: &Value, key: Option<&str>, place: &Place<'_>) {
        match value {
            Value::String(text) => {
                if let Some(key) = key.filter(|key| !key.ends_with(".$") && is_path_or_call(text)) {
                    let message = format!(
                        "The value of '{key}' appears to be a JSONPath or an intrinsic function, but \
                         the name does not end with '.$'"
                    );
                    self.say("NO_DOLLAR", message, place);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.template(item, None, &place.item(at));
                }
            }
            Value::Object(members) => {
                for (name, member) in members.iter() {
                    self.template(member, Some(name), &place.member(name));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn rule(&mut self, rule: &Object, place: &Place<'_>) {
        for (name, value) in rule {
            let place = place.member(name);
            match &**name {
                "And" | "Or" => {
                    for (at, inner) in value.as_array().unwrap_or_default().iter().enumerate() {
                        if let Some(inner) = inner.as_object() {
                            self.rule(inner, &place.item(at));
                        }
                    }
                }
                "Not" => {
                    if let Some(inner) = value.as_object() {
                        self.rule(inner, &place);
                    }
                }
                name if NOT_COMPARED.contains(&name) || name.ends_with("Path") => {}
                name => {
                    if value.as_str().is_some_and(is_path) {
                        self.no_path(name, &place);
                    }
                }
            }
        }
    }

    fn no_path(&mut self, name: &str, place: &Place<'_>) {
        let message = format!(
            "The value of '{name}' looks like a path, but the name does not end with 'Path'"
        );
        self.say("NO_PATH", message, place);
    }
}

/// Whether a `Result` has a path somewhere in it.
fn holds_path(value: &Value) -> bool {
    match value {
        Value::String(text) => is_path(text),
        Value::Array(items) => items.iter().any(holds_path),
        Value::Object(members) => members.values().any(holds_path),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
