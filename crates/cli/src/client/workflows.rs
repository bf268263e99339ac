//! Operations on workflows: the server's States API, called with the token of the command line.
//!
//! One method for all operations: they are JSON in and JSON out, and their names and members are
//! AWS's. A refusal keeps its name as the failure's code.

use std::time::Duration;

use ark_model::exit::ExitCode;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Client;
use crate::failure::Failure;

/// How long an ordinary operation may take.
const ANSWER: Duration = Duration::from_secs(35);
/// How long one that waits for a task may: above the server's own 60 seconds.
const POLL: Duration = Duration::from_secs(80);

/// A refusal on the wire.
#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(rename = "__type")]
    name: String,
    #[serde(default)]
    message: String,
}

impl Client {
    /// Calls an operation of the States API (`StartExecution`, ...). Sent once.
    pub(crate) async fn states(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        let timeout = if operation == "GetActivityTask" { POLL } else { ANSWER };
        let request = self
            .request(Method::POST, "/")
            .timeout(timeout)
            .header("x-amz-target", format!("AWSStepFunctions.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(input.to_string());
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.read(response).await?;
        if status.is_success()
            && let Ok(answer) = serde_json::from_slice(&body)
        {
            return Ok(answer);
        }
        Err(match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) => failure(refused),
            Err(_) => super::not_ark(&self.base(), status),
        })
    }
}

fn failure(refused: Refused) -> Failure {
    let exit = match refused.name.as_str() {
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "MissingAuthenticationTokenException"
        | "ExecutionNotRedrivable" => ExitCode::Refused,
        "ResourceNotFound" => ExitCode::NotFound,
        "ConflictException" => ExitCode::Conflict,
        name if name.ends_with("DoesNotExist") => ExitCode::NotFound,
        name if name.ends_with("AlreadyExists") => ExitCode::Conflict,
        name if name.starts_with("Invalid") => ExitCode::Usage,
        "ValidationException" | "SerializationException" | "StateMachineTypeNotSupported" => {
            ExitCode::Usage
        }
        _ => ExitCode::Failed,
    };
    Failure::new(exit, refused.name, refused.message)
}
