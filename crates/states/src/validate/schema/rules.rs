//! Rules of a state: retriers, catchers, choices.

use super::{Check, is_expression};
use crate::choice::Condition;
use crate::limits::SECONDS_MAX;
use crate::value::{Object, Value};

/// The longest place of a rule within rules that is looked into: deeper ones are refused anyway.
const INNER_PLACE_MAX: usize = 1_000;
/// The longest `MaxDelaySeconds`: below a year and a day.
const DELAY_SECONDS_MAX: i64 = 31_622_399;

impl Check {
    pub(super) fn retry_and_catch(&mut self, state: &Object, jsonata: bool, place: &str) {
        for field in ["Retry", "Catch"] {
            let Some(rules) = state.get(field) else { continue };
            let Some(rules) = rules.as_array() else {
                self.say("Expected value of type Array", format!("{place}/{field}"));
                continue;
            };
            for (at, rule) in rules.iter().enumerate() {
                let place = format!("{place}/{field}[{at}]");
                let Some(rule) = rule.as_object() else {
                    self.say("Expected value of type Object", place);
                    continue;
                };
                let needed: &[&str] =
                    if field == "Catch" { &["ErrorEquals", "Next"] } else { &["ErrorEquals"] };
                self.require(rule, needed, &place);
                self.rule_fields(field, rule, jsonata, &place);
                let errors = rule.get("ErrorEquals").and_then(Value::as_array).unwrap_or_default();
                if rule.contains_key("ErrorEquals") && errors.is_empty() {
                    self.say("'ErrorEquals' must not be empty", format!("{place}/ErrorEquals"));
                }
                if errors.iter().any(|error| error.as_str().is_none()) {
                    self.say("Expected value of type String", format!("{place}/ErrorEquals"));
                }
                let all = errors.iter().any(|error| error.as_str() == Some("States.ALL"));
                if all && (errors.len() > 1 || at + 1 < rules.len()) {
                    self.say(
                        "'States.ALL' must stand alone and in the last rule",
                        format!("{place}/ErrorEquals"),
                    );
                }
                if field == "Retry" {
                    self.retrier(rule, &place);
                } else {
                    self.variables(rule, jsonata, &place);
                }
            }
        }
    }

    fn retrier(&mut self, rule: &Object, place: &str) {
        self.whole(rule, "IntervalSeconds", 1, SECONDS_MAX, place);
        self.whole(rule, "MaxAttempts", 0, SECONDS_MAX, place);
        self.whole(rule, "MaxDelaySeconds", 1, DELAY_SECONDS_MAX, place);
        let rate = rule.get("BackoffRate");
        if rate.is_some_and(|rate| !rate.as_f64().is_some_and(|rate| rate >= 1.0)) {
            self.say("'BackoffRate' must be a number from 1", format!("{place}/BackoffRate"));
        }
    }

    pub(super) fn choices(&mut self, state: &Object, jsonata: bool, place: &str) {
        let Some(rules) = state.get("Choices") else { return };
        let rules = rules.as_array().unwrap_or_default();
        if rules.is_empty() {
            self.say("'Choices' must be a list of at least one rule", format!("{place}/Choices"));
        }
        for (at, rule) in rules.iter().enumerate() {
            let place = format!("{place}/Choices[{at}]");
            let Some(rule) = rule.as_object() else {
                self.say("Expected value of type Object", place);
                continue;
            };
            self.variables(rule, jsonata, &place);
            if jsonata {
                self.require(rule, &["Condition", "Next"], &place);
                self.only(rule, &["Condition", "Next", "Assign", "Output", "Comment"], &place);
                let condition = rule.get("Condition");
                let is_one = |value: &Value| {
                    value.as_bool().is_some() || value.as_str().is_some_and(is_expression)
                };
                if condition.is_some_and(|condition| !is_one(condition)) {
                    let place = format!("{place}/Condition");
                    self.say("Expected a boolean or a JSONata expression", place);
                }
                continue;
            }
            self.require(rule, &["Next"], &place);
            if rule.contains_key("Output") {
                self.say("Field 'Output' is not supported", place.clone());
            }
            self.inner_rules(rule, &place);
            if let Err(error) = Condition::parse(rule) {
                self.say(error.message, place);
            }
        }
    }

    /// Rules within And, Or and Not lead nowhere and set nothing.
    fn inner_rules(&mut self, rule: &Object, place: &str) {
        for (name, inner) in rule {
            let inner: &[Value] = match &**name {
                "And" | "Or" => inner.as_array().unwrap_or_default(),
                "Not" => std::slice::from_ref(inner),
                _ => continue,
            };
            for rule in inner.iter().filter_map(Value::as_object) {
                let place = format!("{place}/{name}");
                for field in ["Next", "Assign", "Output"] {
                    if rule.contains_key(field) {
                        self.say(format!("Field '{field}' is not supported"), place.clone());
                    }
                }
                // `Condition` refuses what is nested too deeply, but has not been asked yet.
                if place.len() < INNER_PLACE_MAX {
                    self.inner_rules(rule, &place);
                }
            }
        }
    }
}
