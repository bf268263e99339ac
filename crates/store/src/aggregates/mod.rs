//! One file per aggregate: its questions on [`crate::ReadTx`], its changes on [`crate::WriteTx`].
//!
//! Called from closures given to [`crate::Store`]. Each keeps the columns beside a JSON body in
//! agreement with the body; none looks into another's table, except where a deletion takes with it
//! what belonged to the deleted.

mod apps;
mod artifacts;
mod calls;
mod config;
mod damage;
mod deployments;
mod environments;
mod events;
mod idempotency;
mod instances;
mod leases;
mod measures;
mod meta;
mod nodes;
mod ports;
mod pushes;
mod registries;
mod releases;
mod runs;
mod sessions;
mod tokens;
mod traffic;
mod workflow_activities;
mod workflow_executions;
mod workflow_inbox;
mod workflow_machines;
mod workflow_map_runs;
mod workflow_runs;
mod workflow_schedules;
mod workflow_tags;
mod workflow_task_logs;
mod workflow_tasks;
mod workflow_versions;

pub use artifacts::ArtifactRecord;
pub use calls::{CallEdge, CallRecord};
pub use config::{ConfigSetter, ConfigSummary, ConfigValue, ConfigVersion};
pub use damage::DamagedRecord;
pub use deployments::{DeploymentFilter, Unfinished};
pub use events::{EventFilter, EventsFrom, EventsPage};
pub use idempotency::StoredAnswer;
pub use leases::Lease;
pub use measures::MeasuresChange;
pub use nodes::{NodeCredentials, NodeRecord};
pub use ports::PortRequest;
pub use pushes::{PushHookRecord, PushRecord};
pub use registries::RegistryRecord;
pub use releases::{InsertedRelease, NewRelease};
pub use sessions::SessionKind;
pub use tokens::{AwsKey, TokenRecord};
pub use traffic::{AppTraffic, TrafficLine};
pub use workflow_activities::ActivityRow;
pub use workflow_executions::{ExecutionKind, ExecutionRow};
pub use workflow_machines::{MachineRow, RevisionRow};
pub use workflow_map_runs::{ItemPhase, MapItemRow, MapRunRow};
pub use workflow_runs::{RunFilter, RunRow, StateResourceRow};
pub use workflow_schedules::ScheduleRow;
pub use workflow_tasks::{TaskPhase, TaskRow, TimerRow};
pub use workflow_versions::{AliasRecord, AliasRoute, VersionRow};

/// How SQLite would look for what a statement asks, one line for each step.
#[cfg(test)]
fn query_plan(sql: &str, params: usize) -> Vec<String> {
    let conn = crate::connection::open_memory(jiff::Timestamp::UNIX_EPOCH).expect("a database");
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
    let nothing = vec![rusqlite::types::Null; params];
    let step = |row: &rusqlite::Row<'_>| row.get("detail");
    let steps = statement.query_map(rusqlite::params_from_iter(nothing), step);
    steps.expect("a plan").collect::<Result<_, _>>().expect("its steps")
}
