//! What stands in single fields: kinds of values, numbers within their bounds, a value or its path,
//! names of variables.

use std::collections::HashSet;

use super::{Check, is_expression};
use crate::limits::{NAME_CHARS_MAX, SECONDS_MAX};
use crate::value::{Number, Object, Value};

/// Fields of states that hold a text.
const TEXTS: [&str; 5] = ["Comment", "Next", "Default", "Resource", "Label"];
/// Fields of a Map that lead to a number: the context object has none of them.
pub(super) const NUMBER_PATHS: [&str; 6] = [
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "MaxItemsPath",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatchPath",
];
/// Fields of which only one may be given.
const ALTERNATIVES: [(&str, &str); 8] = [
    ("TimeoutSeconds", "TimeoutSecondsPath"),
    ("HeartbeatSeconds", "HeartbeatSecondsPath"),
    ("MaxConcurrency", "MaxConcurrencyPath"),
    ("ToleratedFailureCount", "ToleratedFailureCountPath"),
    ("ToleratedFailurePercentage", "ToleratedFailurePercentagePath"),
    ("Error", "ErrorPath"),
    ("Cause", "CausePath"),
    ("ItemProcessor", "Iterator"),
];
/// Whole numbers of a state, from and to.
const WHOLE: [(&str, i64, i64); 3] = [
    ("TimeoutSeconds", 1, SECONDS_MAX),
    ("HeartbeatSeconds", 1, SECONDS_MAX),
    ("Seconds", 0, SECONDS_MAX),
];

impl Check {
    /// The values of a state's own fields.
    pub(super) fn values(&mut self, state: &Object, jsonata: bool, place: &str) {
        for name in TEXTS {
            if state.get(name).is_some_and(|value| value.as_str().is_none()) {
                self.say("Expected value of type String", format!("{place}/{name}"));
            }
        }
        for name in ["Error", "Cause"] {
            if state.get(name).is_some_and(|value| value.as_str().is_none()) {
                self.say("Expected value of type String", format!("{place}/{name}"));
            }
        }
        if state.get("End").is_some_and(|value| value.as_bool().is_none()) {
            self.say("Expected value of type Boolean", format!("{place}/End"));
        }
        for (one, other) in ALTERNATIVES {
            if state.contains_key(one) && state.contains_key(other) {
                self.not_both(one, other, place);
            }
        }
        for (name, least, most) in WHOLE {
            if !(jsonata && state.get(name).is_some_and(is_one)) {
                self.whole(state, name, least, most, place);
            }
        }
        self.count(state, "MaxConcurrency", i64::from(u32::MAX), jsonata, place);
        self.count(state, "ToleratedFailureCount", i64::MAX, jsonata, place);
        self.percentage(state, jsonata, place);
        let seconds = |name| state.get(name).and_then(Value::as_i64);
        if let (Some(heartbeat), Some(timeout)) =
            (seconds("HeartbeatSeconds"), seconds("TimeoutSeconds"))
            && heartbeat >= timeout
        {
            self.say(
                "'HeartbeatSeconds' must be smaller than 'TimeoutSeconds'",
                format!("{place}/HeartbeatSeconds"),
            );
        }
    }

    /// A literal of this field must be a whole number within these bounds.
    pub(super) fn whole(
        &mut self,
        members: &Object,
        name: &str,
        least: i64,
        most: i64,
        place: &str,
    ) {
        let Some(value) = members.get(name) else { return };
        let number = value.as_number().and_then(Number::as_i64);
        if number.is_none_or(|number| !(least..=most).contains(&number)) {
            self.say(
                format!("'{name}' must be a whole number from {least} to {most}"),
                format!("{place}/{name}"),
            );
        }
    }

    pub(super) fn not_both(&mut self, one: &str, other: &str, place: &str) {
        let message = format!("There should only be one of the following fields: [{one}, {other}]");
        self.say(message, place);
    }

    /// A literal of this field of a Map counts something.
    pub(super) fn count(
        &mut self,
        members: &Object,
        name: &str,
        most: i64,
        jsonata: bool,
        place: &str,
    ) {
        let Some(value) = members.get(name) else { return };
        if jsonata && is_one(value) {
            return;
        }
        let place = format!("{place}/{name}");
        match value.as_number().filter(|number| number.is_integer()) {
            None => self.say("Expected value of type Integer", place),
            Some(number) if number.as_f64() < 0.0 => self.say("Minimum value is 0", place),
            Some(number) if number.as_i64().is_none_or(|number| number > most) => {
                self.say(format!("Maximum value is {most}"), place);
            }
            Some(_) => {}
        }
    }

    fn percentage(&mut self, state: &Object, jsonata: bool, place: &str) {
        let Some(value) = state.get("ToleratedFailurePercentage") else { return };
        if jsonata && is_one(value) {
            return;
        }
        let place = format!("{place}/ToleratedFailurePercentage");
        match value.as_f64() {
            None => self.say("Expected value of type Float", place),
            Some(number) if number < 0.0 => self.say("Minimum value is 0.0", place),
            Some(number) if number > 100.0 => self.say("Maximum value is 100.0", place),
            Some(_) => {}
        }
    }

    /// The variables that a state, a rule or a catcher sets.
    pub(super) fn variables(&mut self, members: &Object, jsonata: bool, place: &str) {
        let Some(assign) = members.get("Assign") else { return };
        let place = format!("{place}/Assign");
        let Some(assign) = assign.as_object() else {
            if !(jsonata && is_one(assign)) {
                self.say("Expected value of type Object", place);
            }
            return;
        };
        for key in assign.keys() {
            let name = match jsonata {
                true => key,
                false => key.strip_suffix(".$").unwrap_or(key),
            };
            if name == "states" {
                self.say("The variable name 'states' is reserved", place.clone());
            } else if self.outer.contains(name) {
                self.say(
                    format!(
                        "The variable '{name}' is assigned in an outer scope: an inner scope can only \
                         read it"
                    ),
                    place.clone(),
                );
            } else if !is_variable(name) {
                self.say(
                    format!(
                        "'{name}' is not a name of a variable: 1 to {NAME_CHARS_MAX} letters, digits \
                         and underscores, the first no digit"
                    ),
                    place.clone(),
                );
            }
        }
    }
}

/// The variables that a state, its rules and its catchers set.
pub(super) fn assigned(state: &Value, names: &mut HashSet<String>) {
    let rules = ["Choices", "Catch"].into_iter().filter_map(|field| state.get(field)?.as_array());
    for members in rules.flatten().chain([state]) {
        let assign = members.get("Assign").and_then(Value::as_object);
        let keys = assign.into_iter().flat_map(Object::keys);
        names.extend(keys.map(|key| key.strip_suffix(".$").unwrap_or(key).to_owned()));
    }
}

/// Whether a value is one JSONata expression.
fn is_one(value: &Value) -> bool {
    value.as_str().is_some_and(is_expression)
}

/// Unicode identifiers; a path cannot be assigned.
fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    begins
        && name.chars().count() <= NAME_CHARS_MAX
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}
