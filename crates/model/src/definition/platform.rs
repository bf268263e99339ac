//! Sections of the real files that speak about a platform below: cloud grants, pods, mesh,
//! functions, telemetry, build. Ark reads and keeps them all; what an engine cannot honour is
//! listed by [`super::not_enforced`], never dropped in silence.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A data store that the app uses: `<kind>:<region>:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRef {
    /// `dynamodb`, `aurora`, `elasticsearch`, ...
    pub kind: String,
    /// Region it lives in.
    pub region: String,
    /// Its name; `{env}` stands for the environment.
    pub name: String,
}

impl fmt::Display for DatabaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.region, self.name)
    }
}

/// Names of things the app may read and write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsGrants {
    /// May be read.
    pub read: Vec<String>,
    /// May be written.
    pub write: Vec<String>,
}

/// Reusable policies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsManaged {
    /// The organisation's own policies.
    pub clever: Vec<String>,
}

/// Grants of the app's role in AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// The role has a policy file written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<bool>,
    /// Reusable policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<AwsManaged>,
    /// Buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<AwsGrants>,
    /// Tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamodb: Option<AwsGrants>,
    /// Queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs: Option<AwsGrants>,
}

/// Labels a pod must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PodSelector {
    /// For production or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<bool>,
    /// What the pod is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Region of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// One side (`dev` or `prod`) of the pod section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct PodSide {
    /// `deployable`, `discoverable` or `podOnly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration_state: Option<String>,
    /// Labels a pod must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<PodSelector>,
}

/// Which group of pods the app runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct PodConfig {
    /// The group; `us-west-1`, `org-wide`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The group in development.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_group: Option<String>,
    /// Development side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<PodSide>,
    /// Production side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prod: Option<PodSide>,
}

/// How a new build goes to an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AutoDeploy {
    /// It is deployed at once.
    #[default]
    NoConfirm,
    /// A person deploys it.
    ConfirmThenDeploy,
    /// It is deployed as a canary, one of whose steps is an approval.
    CanaryConfirm,
}

/// What a new build of the main branch does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct DeployConfig {
    /// Environments it goes to by itself.
    pub auto_deploy_envs: Vec<String>,
    /// How it goes to each of them; at once where nothing is said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub strategies: BTreeMap<String, AutoDeploy>,
    /// Strategy canary in production.
    pub canary_in_prod: bool,
    /// No deployments to development environments.
    pub block_dev_deploys: bool,
}

/// One side of the mesh section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeshSide {
    /// `hybrid` or `mesh_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Membership in an older service mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct MeshConfig {
    /// Development side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<MeshSide>,
    /// Production side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prod: Option<MeshSide>,
    /// `sso` or `non-sso`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_region_route: Option<String>,
    /// A route for clients outside the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_internal_route: Option<bool>,
}

/// Where measurements go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exporters {
    /// Names of exporters.
    pub exporters: Vec<String>,
}

/// Traces and metrics of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// On or off.
    pub enabled: bool,
    /// Traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Exporters>,
    /// Metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Exporters>,
}

/// An event source of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct LambdaEvent {
    /// `DynamoDB`, `Kinesis`, ...
    #[serde(rename = "Type")]
    pub kind: String,
    /// Stream, batch size, starting position, ...
    #[serde(default)]
    pub properties: BTreeMap<String, serde_json::Value>,
}

/// Limits and event sources of a function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Lambda {
    /// Seconds a call may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Calls at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Outside the private network.
    #[serde(rename = "NoVPC", skip_serializing_if = "Option::is_none")]
    pub no_vpc: Option<bool>,
    /// Event sources by name.
    pub events: BTreeMap<String, LambdaEvent>,
}

/// The artifact that several apps may share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BuildArtifact {
    /// Its name, when it is not the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Shell command that builds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Globs of the files it is made from.
    pub dependencies: Vec<String>,
}

/// How the image is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BuildDocker {
    /// The Dockerfile, when it is not `Dockerfile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// How the artifact is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// The artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<BuildArtifact>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<BuildDocker>,
}
