//! Names people type for workflows and their executions, and the ARNs they stand for. Names are
//! unique over all regions; the region in an ARN is not looked at by the server.

use serde_json::json;

use crate::client::Client;
use crate::failure::Failure;
use ark_model::exit::ExitCode;

use super::pages;

const PREFIX: &str = "arn:aws:states:us-east-1:000000000000";

/// The ARN of `NAME`, `NAME:VERSION` or `NAME:ALIAS`; an ARN is itself.
pub(crate) fn machine_arn(name: &str) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { format!("{PREFIX}:stateMachine:{name}") }
}

/// The short form of an execution's ARN: `NAME:EXECUTION`.
pub(crate) fn execution_id(arn: &str) -> String {
    match arn.split_once(":execution:") {
        Some((_, id)) => id.to_owned(),
        None => arn.to_owned(),
    }
}

/// The ARN of an execution by `NAME:EXECUTION`, an ARN, or the execution's name alone, which is
/// looked for among the executions of every workflow.
pub(crate) async fn execution_arn(client: &Client, id: &str) -> Result<String, Failure> {
    if id.starts_with("arn:") {
        return Ok(id.to_owned());
    }
    // By the name that was typed; the server would speak of an ARN that nobody typed.
    let invalid = || Failure::new(ExitCode::Usage, "InvalidName", format!("Invalid Name: '{id}'"));
    if id.split(':').any(str::is_empty) {
        return Err(invalid());
    }
    if id.contains(':') {
        return Ok(format!("{PREFIX}:execution:{id}"));
    }
    for machine in pages(client, "ListStateMachines", json!({}), "stateMachines").await? {
        let name = machine["name"].as_str().unwrap_or_default();
        let arn = format!("{PREFIX}:execution:{name}:{id}");
        match client.states("DescribeExecution", &json!({ "executionArn": arn })).await {
            Ok(_) => return Ok(arn),
            Err(failure) if failure.exit == ExitCode::NotFound.into() => {}
            Err(failure) if failure.code == "InvalidArn" => return Err(invalid()),
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(
        ExitCode::NotFound,
        "ExecutionDoesNotExist",
        format!("no workflow has an execution `{id}`"),
    )
    .remedy("look", "ark workflow search NAME"))
}
