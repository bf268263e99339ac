//! A task that the server handed out, by the name under which people find it: the server tells a worker
//! neither the execution nor the state, but the input names the execution.

use std::fmt;

use ark_model::Sha256;
use serde_json::Value;

use super::verdict::{Input, Verdict, read_input};

/// Letters of an execution's name that are shown: it is what somebody wrote into an input.
const NAME_CHARS_MAX: usize = 80;

/// A task. Shown as `task 3f2a9c01d2e4 of run-1`.
pub(super) struct Handed {
    pub(super) token: String,
    /// What tells it from others. No part of the token: who knows that may end the task.
    pub(super) id: String,
    pub(super) input: Result<Input, Verdict>,
}

impl Handed {
    /// From the answer to a poll; `None` when it brought nothing.
    pub(super) fn from(answer: &Value) -> Option<Self> {
        let token = answer["taskToken"].as_str()?.to_owned();
        let id = Sha256::of(token.as_bytes()).short();
        let input = read_input(answer["input"].as_str().unwrap_or_default());
        Some(Self { token, id, input })
    }
}

impl fmt::Display for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id)?;
        let Ok(input) = &self.input else { return Ok(()) };
        let shown = input.execution.chars().take(NAME_CHARS_MAX);
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, " of {shown}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_told_from_others_without_its_token() {
        assert!(Handed::from(&json!({})).is_none());
        let with = |input: &str| {
            Handed::from(&json!({ "taskToken": "secret", "input": input })).unwrap().to_string()
        };
        assert_eq!(with(r#"{"_EXECUTION_NAME":"run-1"}"#), "task 2bb80d537b1d of run-1");
        assert_eq!(with(r#"{"_EXECUTION_NAME":"a\nb"}"#), "task 2bb80d537b1d of a b");
        assert_eq!(with("nothing"), "task 2bb80d537b1d");
        let long = with(&json!({ "_EXECUTION_NAME": "x".repeat(5_000) }).to_string());
        assert!(long.len() < 120, "{long}");
    }
}
