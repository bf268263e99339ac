//! What runs instances: the engine trait, the process engine with its shim, the Docker engine, a
//! fake.
//!
//! The server's tasks hold a `dyn Engine`; `ark shim` is the parent of one instance of the process
//! engine. Nothing here knows the store, the gateway, the API or plans.

mod capabilities;
mod cluster;
mod docker;
pub mod engine;
pub mod fake;
mod host;
pub mod open_files;
mod process;
pub mod shim;
mod sys;

pub use cluster::{Cluster, ClusterOptions, Node};
pub use docker::{
    AddressPool, AppList, DockerEngine, DockerOptions, Registries, Registry, RightsPolicy,
    SshDaemon, TlsDaemon,
};
pub use engine::{
    ArtifactSource, BuildSpec, BuildStream, Built, Capabilities, Enforcement, Engine, EngineError,
    EngineKind, ExecSession, ExecSpec, INSTANCE_ID_VARIABLE, LOG_LINE_BYTES_MAX, LogLimits,
    LogLine, LogQuery, LogSource, LogStream, NodeSight, Published, Sight, StartSpec, Stats,
    StopOptions, blob_path,
};
pub use host::HostEngines;
pub use process::{CgroupUse, ProcessEngine, ProcessOptions};
