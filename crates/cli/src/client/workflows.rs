//! Operations on workflows: the server's States API, called with the token of the command line, and
//! Ark's own on executions, queues and schedules.
//!
//! One method for all operations of the former: they are JSON in and JSON out, and their names and
//! members are AWS's. A refusal keeps its name as the failure's code.

use std::time::Duration;

use ark_model::address::segment;
use ark_model::api::{
    ExecutionEvent, ExecutionEventsQuery, ExecutionSummary, ExecutionsQuery, Page, SchedulePut,
    ScheduleView, Workflow, WorkflowActivity, WorkflowQueue, WorkflowQueuePut, WorkflowsQuery,
};
use ark_model::exit::ExitCode;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::endpoints::{NONE, PAGES_MAX};
use super::{Client, REQUEST_TIMEOUT};
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

fn schedule_path(name: &str) -> String {
    format!("/v1/schedules/{}", segment(name))
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

    /// Executions of a workflow: one page.
    pub(crate) async fn executions(
        &self,
        workflow: &str,
        query: &ExecutionsQuery,
    ) -> Result<Page<ExecutionSummary>, Failure> {
        self.get(&format!("/v1/workflows/{}/executions", segment(workflow)), query).await
    }

    /// Events of an execution, with what its workers wrote last: one page.
    pub(crate) async fn execution_events(
        &self,
        workflow: &str,
        execution: &str,
        query: &ExecutionEventsQuery,
    ) -> Result<Page<ExecutionEvent>, Failure> {
        let (workflow, execution) = (segment(workflow), segment(execution));
        self.get(&format!("/v1/workflows/{workflow}/executions/{execution}/events"), query).await
    }

    /// Workflows of a definition, as many as `query` asks for: a page may be shorter.
    pub(crate) async fn workflows(&self, query: &WorkflowsQuery) -> Result<Vec<Workflow>, Failure> {
        let most = query.limit.map_or(usize::MAX, |limit| limit as usize);
        let (mut found, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let build = || match &next {
                Some(path) => self.request(Method::GET, &format!("/wm{path}")),
                None => self.request(Method::GET, "/wm/workflows").query(query),
            };
            let response = self.send(|| build().timeout(REQUEST_TIMEOUT)).await?;
            let header = response.headers().get("x-next-page-path");
            let further = header.and_then(|path| path.to_str().ok()).map(str::to_owned);
            found.extend(self.parse::<Vec<Workflow>>(response).await?);
            next = further;
            if found.len() >= most || next.is_none() {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// Makes or changes a schedule.
    pub(crate) async fn put_schedule(
        &self,
        name: &str,
        put: &SchedulePut,
    ) -> Result<ScheduleView, Failure> {
        self.with_body(Method::PUT, &schedule_path(name), put).await
    }

    /// Gives a queue of workflows a priority.
    pub(crate) async fn put_workflow_queue(
        &self,
        name: &str,
        priority: i16,
    ) -> Result<WorkflowQueue, Failure> {
        let path = format!("/v1/workflow-queues/{}", segment(name));
        self.with_body(Method::PUT, &path, &WorkflowQueuePut { priority }).await
    }

    /// Activities of workflows, with how busy their workers are.
    pub(crate) async fn workflow_activities(&self) -> Result<Vec<WorkflowActivity>, Failure> {
        self.all("/v1/workflow-activities", &NONE).await
    }

    /// Queues of workflows with a priority of their own.
    pub(crate) async fn workflow_queues(&self) -> Result<Vec<WorkflowQueue>, Failure> {
        self.all("/v1/workflow-queues", &NONE).await
    }

    /// Schedules, by name.
    pub(crate) async fn schedules(&self) -> Result<Vec<ScheduleView>, Failure> {
        self.all("/v1/schedules", &NONE).await
    }

    /// Says `pause` or `resume` to a schedule.
    pub(crate) async fn tell_schedule(
        &self,
        name: &str,
        word: &str,
    ) -> Result<ScheduleView, Failure> {
        let path = format!("{}/{word}", schedule_path(name));
        self.json(|| self.request(Method::POST, &path)).await
    }

    /// Removes a schedule.
    pub(crate) async fn remove_schedule(&self, name: &str) -> Result<(), Failure> {
        self.delete(&schedule_path(name)).await
    }

    /// Says that a workflow that failed is dealt with.
    pub(crate) async fn resolve_workflow(&self, id: &str) -> Result<(), Failure> {
        let path = format!("/wm/workflows/{}/resolved", segment(id));
        self.send(|| self.request(Method::POST, &path)).await.map(|_| ())
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
    let is_no_workflow = refused.name == "StateMachineDoesNotExist";
    let failure = Failure::new(exit, refused.name, refused.message);
    if is_no_workflow { failure.remedy("look", "ark workflow list") } else { failure }
}
