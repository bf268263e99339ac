//! The app definition: one launch file (`launch/<app>.yml`), read, judged and turned into types.
//!
//! [`parse`] is the only entry. The CLI calls it for `ark validate` and before an upload, the
//! server calls it again on what it received, so that both say the same. Reading and judging are
//! apart: every readable mapping becomes a tree with line and column first, and the judge then
//! names everything that is wrong in one go.
//!
//! Nothing here reads files, clocks or the network, and nothing here decides what the cluster
//! does with a definition.

mod alarms;
mod app;
mod assemble;
mod data_store;
mod deploy;
mod diagnostic;
mod duration;
mod enforcement;
mod expose;
mod format;
mod hooks;
mod judge;
mod parse;
mod platform;
mod quantity;
mod report;
mod rights;
mod rules;
mod run;
mod schema;
mod shape;
mod text;
mod yaml;

pub use alarms::{
    Alarm, AlarmExtraParameters, AlarmKind, AlarmParameters, AlarmSeverity, AlarmSource,
};
pub use app::{Autoscaling, Definition, LaunchFile, Readiness, Resources, ScalingMetric, Volume};
pub use data_store::{
    DataStore, DataStoreBody, DataStoreKind, STORE_PASSWORD, StoreProduct, StoreServer,
};
pub use deploy::{DeployPolicy, Drain, HeaderStep, MirrorStep, Step, Strategy};
pub use diagnostic::{Code, Diagnostic, Severity, Snippet};
pub use duration::{DurationText, DurationTextError};
pub use enforcement::{EngineKind, NotEnforced, check_runnable, not_enforced};
pub use expose::{Expose, HealthCheck, HealthCheckKind, Limits, LoadBalancerProtocol, Protocol};
pub use hooks::{HookStage, Hooks, Webhook};
pub use parse::{Parsed, parse, parse_of};
pub use platform::{
    AutoDeploy, Aws, AwsGrants, AwsManaged, Build, BuildArtifact, BuildDocker, DatabaseRef,
    DeployConfig, Exporters, Lambda, LambdaEvent, MeshConfig, MeshSide, PodConfig, PodSelector,
    PodSide, Telemetry,
};
pub use quantity::{Bytes, Quantity};
pub use rights::Rights;
pub use run::{Architecture, EngineRequirement, Missed, Overlap, Run, RunKind, StopSignal};
pub use schema::json_schema;
