//! JSONata in the fields of a state: how it is opened and closed, whether it can be read, and what it
//! reads that is not there.

use super::Check;
use crate::jsonata::Expression;
use crate::validate::{FINDINGS_MAX, Finding};
use crate::value::Value;

const INVALID: &str = "INVALID_JSONATA_EXPRESSION";
const UNSUPPORTED: &str = "UNSUPPORTED_JSONATA_EXPRESSION";

/// What `$states` has in a field, beside the input and the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    /// Nothing more.
    Input,
    /// `result`: the state's work is done.
    Result,
    /// `errorOutput`: it failed and was caught.
    ErrorOutput,
}

impl Has {
    /// The members that `$states` has elsewhere.
    const fn lacking(self) -> &'static [&'static str] {
        match self {
            Self::Input => &["result", "errorOutput"],
            Self::Result => &["errorOutput"],
            Self::ErrorOutput => &["result"],
        }
    }
}

impl Check {
    /// The expressions in a field of a state of this kind.
    pub(super) fn field_expressions(&mut self, kind: &str, name: &str, value: &Value, place: &str) {
        match name {
            // What these hold is meant as it is written, or belongs to other states.
            "Type" | "QueryLanguage" | "Resource" | "Comment" | "Next" | "Default" | "Label"
            | "ItemProcessor" | "Iterator" | "Branches" => {}
            "Choices" | "Catch" => {
                let has = if name == "Catch" { Has::ErrorOutput } else { Has::Input };
                for (at, rule) in value.as_array().unwrap_or_default().iter().enumerate() {
                    for field in ["Condition", "Assign", "Output"] {
                        if let Some(value) = rule.get(field) {
                            self.expressions(value, has, &format!("{place}[{at}]/{field}"));
                        }
                    }
                }
            }
            "Assign" | "Output" if matches!(kind, "Task" | "Parallel" | "Map") => {
                self.expressions(value, Has::Result, place);
            }
            _ => self.expressions(value, Has::Input, place),
        }
    }

    /// Every `{% ... %}` within a value must be an expression.
    fn expressions(&mut self, value: &Value, has: Has, place: &str) {
        match value {
            Value::String(text) if is_expression(text) => {
                let inner = &text[2..text.len() - 2];
                self.expression(inner, has, place);
            }
            // Blanks before and behind make a text of it, as was recorded; one end alone is a slip.
            Value::String(text) if text.starts_with("{%") != text.ends_with("%}") => {
                self.find(Finding {
                    code: INVALID,
                    message:
                        "A JSONata expression must begin with '{%' and end with '%}', without \
                              spaces before or behind"
                            .to_owned(),
                    location: Some(place.to_owned()),
                });
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.expressions(item, has, &format!("{place}[{at}]"));
                }
            }
            Value::Object(members) => {
                for (name, member) in members.iter() {
                    self.expressions(member, has, &format!("{place}/{name}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn expression(&mut self, text: &str, has: Has, place: &str) {
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        let mut find = |code, message: String| {
            self.find(Finding { code, message, location: Some(place.to_owned()) });
        };
        match Expression::parse(text) {
            Err(error) => find(INVALID, without_code(&error.message).to_owned()),
            Ok(expression) => {
                for name in expression.top_level_names(room) {
                    let message =
                        format!("Reference to '{name}' at the top level is not supported.");
                    find(UNSUPPORTED, message);
                }
                for member in has.lacking() {
                    let mut read = false;
                    expression.members(&mut |of, name| read |= of == "states" && name == *member);
                    if read {
                        let message = format!(
                            "Reference to '$states.{member}' is not supported in this field."
                        );
                        find(UNSUPPORTED, message);
                    }
                }
            }
        }
    }
}

pub(super) fn is_expression(text: &str) -> bool {
    text.len() >= 4 && text.starts_with("{%") && text.ends_with("%}")
}

/// AWS tells a parser's message without its code.
fn without_code(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, text)| text)
}
