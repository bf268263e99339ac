//! What an engine cannot do for a definition: keys it does not honour, and work it cannot run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::{Code, Diagnostic};
use super::{Autoscaling, Definition, EngineRequirement, Protocol};

/// What runs instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Processes of this machine.
    Process,
    /// Containers of a Docker host.
    Docker,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
    /// Nothing real, for tests.
    Fake,
}

/// A key of a definition that has no effect on the engine in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotEnforced {
    /// The key: `aws`, `expose[0].bind`.
    pub path: String,
    /// Why, in words for people.
    pub reason: String,
}

/// The keys that `engine` does not honour, in the order of the format. `ark plan` lists them, so
/// that nothing is dropped in silence.
///
/// Limits of CPU and memory are not here: whether they hold on the process engine depends on the
/// machine, and the engine itself reports that.
pub fn not_enforced(definition: &Definition, engine: EngineKind) -> Vec<NotEnforced> {
    let mut list = Vec::new();
    let mut add = |unenforced: bool, path: &str, reason: &str| {
        if unenforced {
            list.push(NotEnforced { path: path.to_owned(), reason: reason.to_owned() });
        }
    };
    let process = match engine {
        EngineKind::Process => true,
        EngineKind::Docker | EngineKind::Kubernetes | EngineKind::Fake => false,
    };
    let architecture = match process {
        true => "a process runs on the architecture of this machine",
        false => "an image is fetched and built for the host's architecture",
    };
    add(definition.run.architecture.is_some(), "run.architecture", architecture);
    add(
        definition.run.writable_root && process,
        "run.writable_root",
        "a process has no image: its own copy of its files is writable, and the host's as its user may",
    );
    add(
        !definition.run.capabilities.is_empty() && process,
        "run.capabilities",
        "a process has those of its user, and no image gives it others",
    );
    for (index, expose) in definition.expose.iter().enumerate() {
        let path = |key: &str| format!("expose[{index}].{key}");
        let proxy = "the gateway listens for all apps; no port of its own is bound for this one";
        add(expose.bind.is_some(), &path("bind"), proxy);
        let balancer = "the gateway takes the place of the load balancer";
        add(expose.load_balancer_port.is_some(), &path("load_balancer_port"), balancer);
        add(expose.load_balancer_proto.is_some(), &path("load_balancer_proto"), balancer);
        add(
            expose.protocol == Protocol::Tcp && !expose.hosts.is_empty(),
            &path("hosts"),
            "a connection without HTTP does not say which host it wants",
        );
    }
    add(
        !definition.volumes.is_empty() && process && definition.data_store.is_none(),
        "volumes",
        "a process has no mounts: the folder is not at `path` but where $ARK_VOLUME_<NAME> says",
    );
    add(
        definition.resources.soft_mem_limit.is_some() && process,
        "resources.soft_mem_limit",
        "a process has no reservation of memory; `max_mem` is its limit",
    );
    scaling(definition, &mut add);
    let no_alarms = "Ark raises no alarms of an app; its judge watches each deployment";
    add(definition.alarms.as_ref().is_some_and(|all| !all.is_empty()), "alarms", no_alarms);
    let no_role = "no engine of Ark gives instances a role in AWS";
    add(definition.aws.is_some(), "aws", no_role);
    add(definition.use_iam_roles, "use_iam_roles", no_role);
    add(
        !definition.databases.is_empty(),
        "databases",
        "Ark does not make data stores; addresses and credentials are configuration",
    );
    add(
        definition.pod_config.is_some(),
        "pod_config",
        "the environment chooses the clusters; there are no pod groups",
    );
    add(
        definition.deploy_config.block_dev_deploys,
        "deploy_config.blockDevDeploys",
        "deployments are refused by freezing an environment (`ark env freeze`), not by its kind: a \
         file may name development environments under `autoDeployEnvs` beside this",
    );
    add(definition.mesh_config.is_some(), "mesh_config", "the gateway does what the mesh did");
    add(
        definition.telemetry.as_ref().is_some_and(|telemetry| telemetry.enabled),
        "telemetry",
        "Ark's own metrics are always on; nothing is sent to the exporters named here",
    );
    if let Some(lambda) = &definition.lambda {
        for name in lambda.events.keys() {
            let path = format!("lambda.Events.{name}");
            add(true, &path, "Ark calls functions by requests; it reads no event sources");
        }
        add(
            lambda.no_vpc.is_some(),
            "lambda.NoVPC",
            "there is no private network to be outside of",
        );
    }
    add(
        definition.build.is_some() && process,
        "build",
        "`ark build` makes images; the directory of a process is made before Ark gets it",
    );
    add(!definition.elbs.is_empty(), "elbs", "the gateway takes the place of the load balancers");
    add(definition.access_scope.is_some(), "access_scope", "access is a matter of the environment");
    add(
        !definition.access_groups.is_empty(),
        "access_groups",
        "access is a matter of the environment",
    );
    list
}

/// What `autoscaling` asks for beyond a number: no instance comes or goes by what is measured.
fn scaling(definition: &Definition, add: &mut impl FnMut(bool, &str, &str)) {
    let Autoscaling { min_count, max_count, metric, metric_target } = &definition.autoscaling;
    // A fixed number is what there is.
    let room = max_count.is_some_and(|max| max != min_count.unwrap_or(1));
    let fixed = "the number of instances is `min_count`, or what `ark scale` says";
    add(room, "autoscaling.max_count", fixed);
    add(metric.is_some(), "autoscaling.metric", fixed);
    add(metric_target.is_some(), "autoscaling.metric_target", fixed);
}

/// Whether `engine` has something to run. Whether the artifact exists is another question, which
/// only the deployment can answer.
///
/// # Errors
/// What is missing, with both ways out.
pub fn check_runnable(definition: &Definition, engine: EngineKind) -> Result<(), Box<Diagnostic>> {
    let run = &definition.run;
    match (run.requires, engine) {
        // The server of a data store brings its command along.
        (_, EngineKind::Process) if run.command.is_none() && definition.data_store.is_none() => {
            Err(Box::new(Diagnostic::new(
                Code::NoCommand,
                "run.command",
                "`run.command` is missing, and the process engine has no image that names one: \
             add `run: {command: [\"./program\"]}`, \
             or deploy an image (`--image`) to a cluster with Docker or Kubernetes",
            )))
        }
        (EngineRequirement::ProcessOnly, EngineKind::Docker | EngineKind::Kubernetes) => {
            Err(Box::new(Diagnostic::new(
                Code::WrongEngine,
                "run.type",
                "`run.type: process` runs on the process engine only, and this cluster has another: \
                 deploy to a cluster with the process engine, \
                 or write `run: {type: docker}` and deploy an image (`--image`)",
            )))
        }
        (
            EngineRequirement::Any | EngineRequirement::ProcessOnly,
            EngineKind::Process | EngineKind::Fake,
        )
        | (EngineRequirement::Any, EngineKind::Docker | EngineKind::Kubernetes) => Ok(()),
    }
}
