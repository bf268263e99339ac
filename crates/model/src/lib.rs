//! The nouns of Ark: ids, definitions, releases, deployments, routes, receipts.
//!
//! Every other crate imports this one; it imports none of them. It must not know tokio, HTTP or
//! SQL, and it reads neither clock nor randomness: time and ids are passed in (invariant I10).

pub mod address;
pub mod api;
pub mod artifact;
pub mod definition;
pub mod deployment;
pub mod diagnosis;
pub mod environment;
pub mod event;
pub mod exit;
pub mod freeze;
pub mod gateway;
pub mod histogram;
pub mod hook;
pub mod ids;
pub mod image_name;
pub mod instance;
pub mod judgement;
pub mod receipt;
pub mod release;
pub mod rollout;
pub mod route;
pub mod run;
pub mod traffic;
pub mod workflow;

pub use deployment::{Deployment, DeploymentState};
pub use diagnosis::Diagnosis;
pub use ids::{
    AppName, BootId, DeploymentId, EnvName, Generation, InstanceId, NameError, NodeName,
    ReleaseNumber, RunId, Sha256,
};
pub use instance::{InstanceState, ObservedInstance};
pub use judgement::{Judgement, Verdict};
pub use receipt::Receipt;
pub use release::Release;
pub use route::RouteTable;
