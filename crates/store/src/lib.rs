//! What Ark remembers: aggregates, events and leases on SQLite; artifact blobs and the secrets' key
//! on disk.
//!
//! `ark-server` opens one [`Store`] per data directory and clones it into the API, the tasks and
//! the workflow runtime. They submit whole transactions as closures: [`Store::write`] runs on one
//! writer thread with group commit and answers only after the commit is durable, [`Store::read`]
//! runs on a small pool of reader connections. Every record is a struct of `ark-model`, kept as
//! JSON beside the columns by which it is found.
//!
//! The store must not know HTTP, engines or the planner, and reads neither clock nor ids: both are
//! passed in (invariant I10). It judges no state machine; it only refuses writes that contradict
//! what is recorded.

mod aggregates;
mod blobs;
mod connection;
mod data_dir;
mod error;
mod group;
mod migrate;
mod secrets;
mod store;
mod threads;
mod tx;

pub use aggregates::{
    ActivityRow, AliasRecord, AliasRoute, AppTraffic, ArtifactRecord, AwsKey, CallEdge, CallRecord,
    ConfigSetter, ConfigSummary, ConfigValue, ConfigVersion, DamagedRecord, DeploymentFilter,
    EventFilter, EventsFrom, EventsPage, ExecutionKind, ExecutionRow, InsertedRelease, Lease,
    MachineRow, MeasuresChange, NewRelease, NodeCredentials, NodeRecord, PortRequest,
    PushHookRecord, PushRecord, RegistryRecord, RevisionRow, SessionKind, StoredAnswer,
    TokenRecord, TrafficLine, Unfinished, VersionRow,
};
pub use aggregates::{
    ItemPhase, MapItemRow, MapRunRow, RunFilter, RunRow, ScheduleRow, StateResourceRow, TaskPhase,
    TaskRow, TimerRow,
};
pub use blobs::{BlobError, BlobWriter, Blobs, Put};
pub use error::StoreError;
pub use secrets::{Keyring, SECRET_BYTES_MAX, Sealed, SecretError, SecretName, SecretValue};
pub use store::{Options, Store};
pub use tx::{ReadTx, WriteTx};

/// The most rows that a list answers with at once; larger limits are cut to it.
pub const PAGE_MAX: usize = 1_000;
/// The largest JSON body of one record, in bytes (32 MiB: a manifest of 100,000 entries).
pub const BODY_BYTES_MAX: usize = 32 << 20;
