//! ValidateStateMachineDefinition.

use serde_json::Value;

use super::answer::{Answered, Object};
use super::call::Call;
use super::machines::machine_type;
use crate::workflows::Severity;

/// Findings of an answer when nobody says how many, and at most.
const FINDINGS_MAX: usize = 100;

pub(super) async fn validate(call: Call) -> Answered {
    let findings =
        call.workflows().judge_definition(call.needed("definition"), machine_type(&call));
    let failed = findings.iter().any(|found| found.severity == Severity::Error);
    let warnings = call.text("severity") == Some("WARNING");
    let wanted = match call.number("maxResults") {
        None | Some(0) => FINDINGS_MAX,
        Some(wanted) => usize::try_from(wanted).unwrap_or(FINDINGS_MAX),
    };
    let mut shown: Vec<Value> = findings
        .into_iter()
        .filter(|found| warnings || found.severity == Severity::Error)
        .map(|found| {
            Object::default()
                .with("severity", found.severity.as_str())
                .with("code", found.code)
                .with("message", found.message)
                .maybe("location", found.location)
                .value()
        })
        .collect();
    let truncated = shown.len() > wanted;
    shown.truncate(wanted);
    Object::default()
        .with("result", if failed { "FAIL" } else { "OK" })
        .with("diagnostics", shown)
        .with("truncated", truncated)
        .done()
}
