//! What the HTTP API and its clients say to each other: one type per request and answer.
//!
//! `ark-server` writes the answers and reads the requests, the command line does the opposite, and
//! `docs/openapi.json` is generated from these types. They are a contract: fields are only added,
//! and clients ignore the ones they do not know. Requests refuse unknown fields, so that a typo is
//! an error and not a silent default. No type here carries a secret value towards a client, except
//! [`ResolvedVariable`], [`TokenCreated`] and [`ConsoleLink`], which exist for that and say so.

mod apps;
mod config;
mod deployments;
mod environments;
mod executions;
mod images;
mod nodes;
mod problem;
mod push_hooks;
mod registries;
mod releases;
mod runs;
mod schedules;
mod server;
mod streams;
mod tokens;
mod workflow_activities;
mod workflow_manager;
mod workflow_queues;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use apps::{
    Address, AppDetail, AppRow, AppsQuery, EnvironmentApps, InstanceRow, InstancesQuery, PortView,
    ScaleRequest, SideSlice, TrafficHistory, TrafficQuery, TrafficSlice, TrafficView,
};
pub use config::{
    ConfigEntry, ConfigPatch, ConfigValue, ConfigVersionView, ConfigView, ResolvedEnvironment,
    ResolvedVariable, VariableSource, VariablesQuery,
};
pub use deployments::{
    AbortRequest, ArtifactAnswer, ArtifactOffer, BlobStored, DeployRequest, DeploymentProgress,
    DeploymentSummary, DeploymentView, DeploymentsQuery, LaunchText, PlanView, PromoteRequest,
    ReceiptView, ReleaseRef, RollbackRequest, RolloutView, SideProgress, SideTraffic, StepState,
    StepView, WatchView, WishRequest,
};
pub use environments::{
    DependenciesView, DependencyKnown, DependencyView, EnvironmentCreate, EnvironmentView,
    FreezePut, LEASE_SECONDS_MAX, LEASE_SECONDS_MIN, LeasePut,
};
pub use executions::{
    ERROR_TEXT_CHARS_MAX, EVENT_TEXT_CHARS, EVENT_TEXT_CHARS_MAX, EXECUTIONS_COUNTED_MAX,
    EventText, ExecutionEvent, ExecutionEventsQuery, ExecutionMoved, ExecutionSummary,
    ExecutionsQuery, WorkflowSummary,
};
pub use images::{BuildEvent, BuildRequest, ImagesFind, ImagesFound};
pub use nodes::{NodeDraining, NodePut, NodeRemoval, NodeView};
pub use problem::{DiagnosticSeverity, DiagnosticView, Problem, ProblemCode, Remedy};
pub use push_hooks::{PushAnswer, PushEvent, PushHookPut, PushHookView, PushState, PushView};
pub use registries::{RegistryPut, RegistryView};
pub use releases::{
    ChangeKind, ConfigChange, DefinitionChange, DiffQuery, ReleaseConfigEntry, ReleaseDetail,
    ReleaseDiff, ReleaseRow, TextChange,
};
pub use runs::{
    AttemptView, CronView, CronsQuery, RunLogsQuery, RunRequest, RunStopRequest, RunView,
};
pub use schedules::{LastFiring, SchedulePut, ScheduleView};
pub use server::{
    Capability, CheckOutcome, DoctorCheck, DoctorReport, EngineView, GatewayView, GcReport, Health,
    ServerInfo, ShutdownRequest,
};
pub use streams::{
    EventsMissed, EventsQuery, ExecFromClient, ExecFromServer, LogLine, LogsMissed, LogsQuery,
    OutputStream, StreamLagged,
};
pub use tokens::{ConsoleLink, Role, TokenCreate, TokenCreated, TokenKind, TokenSecret, TokenView};
pub use workflow_activities::{TASKS_COUNTED_MAX, WorkflowActivity};
pub use workflow_manager::{
    CancelReason, DefinitionVersionsQuery, DefinitionsQuery, Job, JobAttempt, JobStatus,
    NewStateResource, NewWorkflowDefinition, StartWorkflow, StateResource, StateResourceType,
    Workflow, WorkflowDefinition, WorkflowDefinitionOverrides, WorkflowDefinitionRef,
    WorkflowEngine, WorkflowQuery, WorkflowStatus, WorkflowsQuery,
};
pub use workflow_queues::{WorkflowQueue, WorkflowQueuePut};

/// The header that makes a repeated `POST` harmless: the same key with the same body answers what
/// the first one answered; with another body it is a conflict.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest idempotency key, in bytes. Visible ASCII.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Items of a page when `limit` is absent.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// The most items of a page; a larger `limit` is refused.
pub const PAGE_ITEMS_MAX: u32 = 500;
/// The largest JSON body of a request, in bytes. Artifact offers have
/// [`ARTIFACT_OFFER_BYTES_MAX`], blobs the limit of the artifact itself.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// The largest artifact offer (a manifest), in bytes.
pub const ARTIFACT_OFFER_BYTES_MAX: usize = 64 << 20;
/// The most images that are looked for at once.
pub const IMAGES_FIND_MAX: usize = 1_000;
/// The most instances `scale` may ask for.
pub const SCALE_MAX: u32 = 1_000;
/// The longest configuration value, in bytes.
pub const CONFIG_VALUE_BYTES_MAX: usize = 64 << 10;
/// The most names one configuration change may set and unset.
pub const CONFIG_CHANGES_MAX: usize = 1_000;
/// The most log lines of one answer that does not follow.
pub const LOG_LINES_MAX: u32 = 10_000;
/// Log lines of an answer when `tail` is absent.
pub const LOG_LINES_DEFAULT: u32 = 100;

/// One page of a list. Ask again with `cursor=<next>` until `next` is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The items, in the order the operation states.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last page. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageQuery {
    /// `next` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 500; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
