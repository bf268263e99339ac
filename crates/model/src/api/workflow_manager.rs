//! The workflow manager's REST API (`/wm`): definitions, workflows (executions), state resources.
//!
//! Names, cases and defaults are that API's own: clients that were generated for it work unchanged.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What runs workflows. There is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkflowEngine {
    /// Definitions are in the States Language.
    #[default]
    StepFunctions,
}

/// A definition to make, or to make a new version of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWorkflowDefinition {
    /// Its name. Characters that no state machine's name may hold are allowed here (`wf:master`).
    #[serde(default)]
    pub name: String,
    /// Not looked at: versions are numbered by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// What runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<WorkflowEngine>,
    /// The state machine, in the States Language.
    #[serde(default)]
    pub state_machine: Value,
    /// Tags of workflows that say no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_tags: Option<BTreeMap<String, String>>,
}

/// One version of a definition. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowDefinition {
    /// Its id, a UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its number, from 0; -1 when what runs was never published as a version.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// What runs it.
    pub manager: WorkflowEngine,
    /// The state machine as it was sent. Absent in summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine: Option<Value>,
    /// Tags of workflows that say no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_tags: BTreeMap<String, String>,
}

/// Which version of which definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowDefinitionRef {
    /// Name of the definition.
    #[serde(default)]
    pub name: String,
    /// Its version, from 0; below 0 the latest. Absent is 0, the first one.
    #[serde(default)]
    pub version: i64,
}

/// What to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartWorkflow {
    /// Which version of which definition.
    #[serde(default)]
    pub workflow_definition: WorkflowDefinitionRef,
    /// The text of a JSON object; `{}` when absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Whose workers do it: resource `x` is the activity `<namespace>--x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kept and shown; `default` when absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Tags; they go before the definition's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_suffix: Option<String>,
}

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowStatus {
    /// Not yet begun. Ark begins at once: no workflow is found in this status.
    Queued,
    /// Not yet at its end.
    Running,
    /// Ended by an error or by its time.
    Failed,
    /// Reached its end.
    Succeeded,
    /// Ended by somebody.
    Cancelled,
}

/// A workflow: one execution of a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    /// Its id: a UUID, or `NAME:EXECUTION` when it was started elsewhere.
    pub id: String,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When something happened in it last.
    pub last_updated: Timestamp,
    /// What it runs.
    pub workflow_definition: WorkflowDefinition,
    /// Where it stands.
    pub status: WorkflowStatus,
    /// Why it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Whose workers do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As it was started.
    pub queue: String,
    /// Its input's text.
    pub input: String,
    /// Its output's text, once it succeeded. Absent in summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether nobody needs to look at it: it succeeded, was cancelled, or somebody said so.
    pub resolved_by_user: bool,
    /// The workflow it goes on for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<String>,
    /// The workflows that go on for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The job that failed, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job: Option<Job>,
    /// What was done, in order. Only when it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// The state was entered.
    Created,
    /// It waits for a worker.
    Queued,
    /// It waits for others.
    WaitingForDeps,
    /// A worker has it.
    Running,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Ended because another one failed.
    AbortedDepsFailed,
    /// Ended by somebody.
    AbortedByUser,
}

/// What was done for one Task, Choice or Succeed state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its number within the workflow.
    pub id: String,
    /// Name of the state.
    pub name: String,
    /// Name of the state.
    pub state: String,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_resource: Option<StateResource>,
    /// Where it stands.
    pub status: JobStatus,
    /// Why: the error's name and the last three lines of its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Its input's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Its output's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The worker that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The workflow's.
    pub queue: String,
    /// When the state was entered.
    pub created_at: Timestamp,
    /// When a worker took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Tries before the one that is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<JobAttempt>,
}

/// A try that was followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobAttempt {
    /// When it was made.
    pub created_at: Timestamp,
    /// When a worker took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The worker that had it.
    #[serde(rename = "taskARN", default, skip_serializing_if = "Option::is_none")]
    pub task_arn: Option<String>,
}

/// Which workflows to list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowsQuery {
    /// Name of the definition.
    pub workflow_definition_name: String,
    /// The most workflows wanted, 1 to 10,000; 10 when absent. A page may be shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Whether the oldest come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_first: Option<bool>,
    /// From `X-Next-Page-Path` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// Only in this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowStatus>,
    /// Only resolved ones, or only others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by_user: Option<bool>,
    /// Leaves out the state machine, the output, and jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_only: Option<bool>,
}

/// Which versions of a definition to list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionVersionsQuery {
    /// Only the latest; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<bool>,
}

/// Which page of definitions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionsQuery {
    /// From `X-Next-Page-Path` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
}

/// How much of a workflow to show.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowQuery {
    /// Whether its jobs are wanted; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_history: Option<bool>,
}

/// Why a workflow is cancelled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelReason {
    /// For people; it becomes the workflow's `statusReason`.
    pub reason: String,
}

/// Where a workflow goes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDefinitionOverrides {
    /// A state of the machine (not of one within it) that the workflow had entered.
    #[serde(rename = "StartAt")]
    pub start_at: String,
}

/// A state resource to record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStateResource {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Where it is: the ARN of an activity.
    #[serde(default)]
    pub uri: String,
}

/// What kind of thing a state resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StateResourceType {
    /// A job definition.
    JobDefinitionARN,
    /// An activity.
    ActivityARN,
    /// A function.
    LambdaFunctionARN,
    /// Another service.
    TaskARN,
}

/// Who does the work of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateResource {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Where it is.
    pub uri: String,
    /// When it was recorded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Timestamp>,
    /// What kind of thing it is.
    #[serde(rename = "type")]
    pub kind: StateResourceType,
}
