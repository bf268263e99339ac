//! The definition of an app as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Alarm, Aws, Build, Bytes, DataStore, DatabaseRef, DeployConfig, DeployPolicy, Drain,
    DurationText, Expose, Lambda, MeshConfig, PodConfig, Run, RunKind, StoreServer, Strategy,
    Telemetry,
};

/// What one launch file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchFile {
    /// An app.
    App(Box<Definition>),
    /// A data store or a library: a file with a top-level `type`.
    DataStore(DataStore),
}

/// What an instance may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPU cores; 0 and absent reserve nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// An instance that uses more memory is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_mem: Option<Bytes>,
    /// Memory that is reserved; at most `max_mem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_mem_limit: Option<Bytes>,
}

/// What the number of instances follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScalingMetric {
    /// CPU use, in percent of what was asked for.
    Cpu,
    /// Share of time that workers are busy, in percent.
    ActivePercent,
}

/// How many instances run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Autoscaling {
    /// At least so many; also the number before anything is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u32>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u32>,
    /// What the number follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<ScalingMetric>,
    /// The value of the metric to keep to, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_target: Option<f64>,
}

/// A folder that outlives its instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name, unique within the app.
    pub name: String,
    /// Where the instance finds it; an absolute path.
    pub path: String,
}

/// A whole app definition with every default filled in.
///
/// It is part of a release, so its canonical JSON never changes meaning: keys are only added,
/// with a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// How the app runs.
    pub run: Run,
    /// Names of the environment variables the app needs; their values are configuration.
    #[serde(default)]
    pub env: Vec<String>,
    /// Values for variables that the configuration does not set.
    #[serde(default)]
    pub env_defaults: BTreeMap<String, String>,
    /// What an instance may use.
    #[serde(default)]
    pub resources: Resources,
    /// Its ports.
    #[serde(default)]
    pub expose: Vec<Expose>,
    /// Apps it needs.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// Public hosts whose address it is told (`externalUrlUsage`).
    #[serde(default)]
    pub external_url_usage: Vec<String>,
    /// How a new release takes over.
    #[serde(default)]
    pub deploy: DeployPolicy,
    /// How the old one ends.
    #[serde(default)]
    pub drain: Drain,
    /// How many instances run.
    #[serde(default)]
    pub autoscaling: Autoscaling,
    /// Alarms; absent means the default ones, an empty list none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Vec<Alarm>>,
    /// Folders that outlive an instance.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Data stores it uses.
    #[serde(default)]
    pub databases: Vec<DatabaseRef>,
    /// Grants of its role in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
    /// An older way to ask for a role of its own.
    #[serde(default)]
    pub use_iam_roles: bool,
    /// Which group of pods it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_config: Option<PodConfig>,
    /// What a new build of the main branch does.
    #[serde(default)]
    pub deploy_config: DeployConfig,
    /// Membership in an older mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_config: Option<MeshConfig>,
    /// Traces and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Limits and event sources of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<Lambda>,
    /// How the artifact is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// The owning team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Responsible engineers.
    #[serde(default)]
    pub shepherds: Vec<String>,
    /// Names of load balancers per environment (old files).
    #[serde(default)]
    pub elbs: BTreeMap<String, Vec<String>>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_scope: Option<String>,
    /// Groups that may reach it.
    #[serde(default)]
    pub access_groups: Vec<String>,
    /// That it is the server of a data store: no key of an app, but what the file of a data store
    /// becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_store: Option<StoreServer>,
}

impl Default for Definition {
    /// The definition that the file `{}` holds.
    fn default() -> Self {
        Self::of_run(Run::of_kind(RunKind::Worker))
    }
}

/// How Ark knows that an instance works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness<'a> {
    /// All of these checks pass; never empty.
    Checks(Vec<&'a Expose>),
    /// It has run for so long without ending: work without ports.
    RunsFor(Duration),
}

/// Work without ports counts as ready when it has run for so long, unless its file says how long.
const RUNS_FOR: Duration = Duration::from_secs(10);

/// The environment that `deploy_config.canaryInProd` speaks of.
const PRODUCTION: &str = "production";

impl Definition {
    /// A definition that says nothing but how it runs.
    pub fn of_run(run: Run) -> Self {
        Self {
            run,
            env: Vec::new(),
            env_defaults: BTreeMap::new(),
            resources: Resources::default(),
            expose: Vec::new(),
            dependencies: Vec::new(),
            external_url_usage: Vec::new(),
            deploy: DeployPolicy::default(),
            drain: Drain::default(),
            autoscaling: Autoscaling::default(),
            alarms: None,
            volumes: Vec::new(),
            databases: Vec::new(),
            aws: None,
            use_iam_roles: false,
            pod_config: None,
            deploy_config: DeployConfig::default(),
            mesh_config: None,
            telemetry: None,
            lambda: None,
            build: None,
            team: None,
            shepherds: Vec::new(),
            elbs: BTreeMap::new(),
            access_scope: None,
            access_groups: Vec::new(),
            data_store: None,
        }
    }

    /// The number of instances before anyone scales: `autoscaling.min_count`, else 1; none of an app
    /// whose instances are started by runs or by requests.
    pub fn count(&self) -> u32 {
        match self.run.kind {
            RunKind::Service | RunKind::Worker => self.autoscaling.min_count.unwrap_or(1),
            RunKind::Daemon => 1,
            RunKind::Cron | RunKind::Job | RunKind::Lambda => 0,
        }
    }

    /// Whether `ark scale` has a say in the number of instances.
    pub const fn scales(&self) -> bool {
        match self.run.kind {
            // Two servers over one folder would destroy it.
            RunKind::Service | RunKind::Worker => self.data_store.is_none(),
            RunKind::Daemon | RunKind::Lambda | RunKind::Cron | RunKind::Job => false,
        }
    }

    /// The strategy in an environment: `deploy_config.canaryInProd` means canary in production.
    pub fn strategy_in(&self, environment: &str) -> Strategy {
        if self.deploy_config.canary_in_prod && environment == PRODUCTION {
            Strategy::Canary
        } else {
            self.deploy.strategy
        }
    }

    /// How Ark knows that an instance works: every declared health check; when none is declared
    /// a connection to the first port; without ports, running for `deploy.min_healthy_time`, 10 s
    /// unless the file sets it.
    ///
    /// A second port without a check (a profiler, say) does not hold an instance back.
    pub fn readiness(&self) -> Readiness<'_> {
        let declared: Vec<&Expose> =
            self.expose.iter().filter(|expose| expose.health_check.declared).collect();
        match (declared.is_empty(), self.expose.first()) {
            (false, _) => Readiness::Checks(declared),
            (true, Some(first)) => Readiness::Checks(vec![first]),
            (true, None) => {
                Readiness::RunsFor(self.deploy.min_healthy_time.map_or(RUNS_FOR, DurationText::get))
            }
        }
    }

    /// Canonical JSON: keys sorted, no spaces, defaults spelled out. Equal definitions give
    /// equal bytes, whatever their files looked like.
    pub fn canonical_json(&self) -> String {
        let value = serde_json::to_value(self)
            .expect("a definition has string keys and finite numbers only");
        let mut out = String::new();
        write_sorted(&value, &mut out);
        out
    }

    /// `sha256:` and the hex digest of the canonical JSON.
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.canonical_json().as_bytes());
        format!("sha256:{}", hex::encode(digest))
    }
}

/// Sorts by hand: whether `serde_json` keeps the order of keys is a feature that any other crate
/// of the build may switch on, and digests must not depend on that.
fn write_sorted(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
