//! A container as it is asked for: a pure function of the spec. Read-only files, no capabilities
//! but those allowed, no new privileges, a first process that reaps, limits with swap off, a log
//! that cannot grow beyond its bounds, and never a restart by the daemon.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use ark_model::definition::Volume;

use super::DockerOptions;
use super::network::Network;
use crate::engine::{INSTANCE_ID_VARIABLE, Published, StartSpec, volume_variable};

/// Which Ark a container belongs to.
pub(super) const CLUSTER: &str = "ark.cluster";
/// Which instance it is.
pub(super) const INSTANCE: &str = "ark.instance";
/// Its environment.
pub(super) const ENV: &str = "ark.env";
/// Its app.
pub(super) const APP: &str = "ark.app";
/// Its release.
pub(super) const RELEASE: &str = "ark.release";

/// What the daemon is told to create. `image` is the id under which the daemon has it, `volumes` are
/// the daemon's names of the spec's, in their order.
pub(super) fn container(
    spec: &StartSpec,
    image: &str,
    cluster: &str,
    network: &Network,
    volumes: &[String],
    options: &DockerOptions,
) -> ContainerCreateBody {
    let mut env: Vec<String> =
        spec.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    env.push(format!("{INSTANCE_ID_VARIABLE}={}", spec.id));
    for volume in &spec.volumes {
        env.push(format!("{}={}", volume_variable(&volume.name), volume.path));
    }
    // An entry point of the image would take the command for its arguments.
    let (entrypoint, cmd) = match spec.command.split_first() {
        Some((program, arguments)) => (Some(vec![program.clone()]), Some(arguments.to_vec())),
        None => (None, None),
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint,
        cmd,
        user: spec.user.clone(),
        env: Some(env),
        labels: Some(labels(spec, cluster)),
        exposed_ports: Some(spec.published.iter().map(inside).collect()),
        stop_signal: Some(spec.stop_signal.as_str().to_owned()),
        stop_timeout: Some(i64::try_from(spec.stop_grace.as_secs()).unwrap_or(i64::MAX)),
        host_config: Some(HostConfig {
            mounts: Some(mounts(spec, cluster, volumes)),
            ..host(spec, network, options)
        }),
        ..ContainerCreateBody::default()
    }
}

/// The labels by which a container is found again.
pub(super) fn labels(spec: &StartSpec, cluster: &str) -> HashMap<String, String> {
    [
        (CLUSTER, cluster.to_owned()),
        (INSTANCE, spec.id.to_string()),
        (ENV, spec.env.to_string()),
        (APP, spec.app.to_string()),
        (RELEASE, spec.release.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn host(spec: &StartSpec, network: &Network, options: &DockerOptions) -> HostConfig {
    let gateway = network.seen.map(|seen| seen.address);
    let names = gateway.map(|at| spec.host_names.iter().map(move |name| format!("{name}:{at}")));
    let memory = spec.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let log = [
        ("max-size", spec.log_limits.file_bytes_max.max(1).to_string()),
        ("max-file", spec.log_limits.files_max.max(1).to_string()),
    ];
    let rights = &spec.rights;
    let writable = ["/tmp", "/run"].map(|path| (path.to_owned(), "mode=1777".to_owned()));
    HostConfig {
        network_mode: Some(network.name.clone()),
        port_bindings: Some(
            spec.published.iter().map(|p| (inside(p), Some(vec![at(p)]))).collect(),
        ),
        extra_hosts: Some(names.into_iter().flatten().collect()),
        init: Some(true),
        memory,
        memory_reservation: spec
            .memory_soft_bytes
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        // Together with the memory: a limit on memory that swaps is none.
        memory_swap: memory,
        nano_cpus: spec.cpu_cores.filter(|cores| *cores > 0.0).map(nanocores),
        pids_limit: spec.pids_max.map(|max| i64::try_from(max).unwrap_or(i64::MAX)),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.map(|(name, value)| (name.to_owned(), value)).into()),
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        readonly_rootfs: Some(!rights.writable_root),
        tmpfs: Some(writable.into()),
        cap_drop: Some(if rights.privileged { Vec::new() } else { vec!["ALL".to_owned()] }),
        cap_add: Some(options.capabilities.iter().chain(&rights.capabilities).cloned().collect()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(rights.privileged),
        ..HostConfig::default()
    }
}

/// A published port as the daemon calls it.
fn inside(published: &Published) -> String {
    format!("{}/tcp", published.port)
}

/// At one address of its host and no other.
fn at(published: &Published) -> PortBinding {
    PortBinding {
        host_ip: Some(published.address.ip().to_string()),
        host_port: Some(published.address.port().to_string()),
    }
}

/// The daemon's name of an app's volume. Names of environments and apps hold no point, so that no two
/// apps share one.
pub(super) fn volume_name(spec: &StartSpec, cluster: &str, volume: &Volume) -> String {
    format!("ark-{}-{}.{}.{}", &cluster[..8], spec.env, spec.app, volume.name)
}

/// The name that volumes had before, which two apps could share; the labels tell whose one is.
pub(super) fn volume_name_before(spec: &StartSpec, cluster: &str, volume: &Volume) -> String {
    format!("ark-{}-{}-{}-{}", &cluster[..8], spec.env, spec.app, volume.name)
}

/// What says whose a volume is.
pub(super) fn volume_labels(spec: &StartSpec, cluster: &str) -> HashMap<String, String> {
    [(CLUSTER, cluster.to_owned()), (ENV, spec.env.to_string()), (APP, spec.app.to_string())]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Volumes of the app in its environment, made by the daemon with the first container that has them.
/// Ark never deletes one.
fn mounts(spec: &StartSpec, cluster: &str, names: &[String]) -> Vec<Mount> {
    let mount = |(volume, name): (&Volume, &String)| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.clone()),
        target: Some(volume.path.clone()),
        volume_options: Some(MountVolumeOptions {
            labels: Some(volume_labels(spec, cluster)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    spec.volumes.iter().zip(names).map(mount).collect()
}

/// At least the hundredth of a core that the kernel can hold.
fn nanocores(cores: f64) -> i64 {
    (cores.max(0.01) * 1e9) as i64
}
