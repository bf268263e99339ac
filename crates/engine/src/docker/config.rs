//! A container as it is asked for: a pure function of the spec. Read-only files, no capabilities
//! but those allowed, no new privileges, a first process that reaps, limits with swap off, a log
//! that cannot grow beyond its bounds, and never a restart by the daemon.

use std::collections::{BTreeSet, HashMap};

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

/// The kernel's own period of a limit on processors, in microseconds.
const CPU_PERIOD_US: i64 = 100_000;
/// The least that the kernel can hold, in cores.
const CPU_CORES_MIN: f64 = 0.01;
/// The least that a daemon takes.
const MEMORY_BYTES_MIN: i64 = 6 << 20;

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
        None => (None, Some(spec.arguments.clone()).filter(|arguments| !arguments.is_empty())),
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint,
        cmd,
        user: spec.user.clone(),
        env: Some(env),
        labels: Some(labels(spec, cluster)),
        exposed_ports: Some(
            spec.published.iter().map(inside).collect::<BTreeSet<_>>().into_iter().collect(),
        ),
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
    let memory = spec.memory_bytes.map(memory_limit);
    let log = [
        ("max-size", spec.log_limits.file_bytes_max.max(1).to_string()),
        ("max-file", spec.log_limits.files_max.max(1).to_string()),
    ];
    let rights = &spec.rights;
    let quota = spec.cpu_cores.filter(|cores| *cores > 0.0).map(quota_us);
    HostConfig {
        network_mode: Some(network.name.clone()),
        port_bindings: Some(port_bindings(&spec.published)),
        extra_hosts: Some(names.into_iter().flatten().collect()),
        init: Some(true),
        memory,
        memory_reservation: spec.memory_soft_bytes.map(memory_limit),
        // Together with the memory: a limit on memory that swaps is none.
        memory_swap: memory,
        // Not `nano_cpus`, of which a daemon takes no more than its host has cores.
        cpu_period: quota.map(|_| CPU_PERIOD_US),
        cpu_quota: quota,
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
        tmpfs: (!rights.writable_root).then(in_memory),
        cap_drop: Some(if rights.privileged { Vec::new() } else { vec!["ALL".to_owned()] }),
        cap_add: Some(options.capabilities.iter().chain(&rights.capabilities).cloned().collect()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(rights.privileged),
        ..HostConfig::default()
    }
}

/// Where files that are read-only else may be written. Programs unpack libraries and tools under `/tmp` and
/// run them there, which a daemon forbids unless told.
fn in_memory() -> HashMap<String, String> {
    [("/tmp", "exec,mode=1777"), ("/run", "mode=1777")]
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .into()
}

/// A published port as the daemon calls it.
fn inside(published: &Published) -> String {
    format!("{}/tcp", published.port)
}

/// Where each port is reached. Entries of one port may have several addresses.
fn port_bindings(published: &[Published]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut all: HashMap<String, Vec<PortBinding>> = HashMap::new();
    for one in published {
        let bindings = all.entry(inside(one)).or_default();
        if !bindings.contains(&at(one)) {
            bindings.push(at(one));
        }
    }
    all.into_iter().map(|(port, bindings)| (port, Some(bindings))).collect()
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

/// At least what a daemon takes for a limit on memory.
fn memory_limit(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).max(MEMORY_BYTES_MIN)
}

/// The time a container may run in each period, in microseconds; at least the hundredth of a core that
/// the kernel can hold, and as much as is asked for above what its host has: that is no limit then.
fn quota_us(cores: f64) -> i64 {
    (cores.max(CPU_CORES_MIN) * CPU_PERIOD_US as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_a_quota_of_a_period() {
        for (cores, quota) in
            [(0.001, 1_000), (0.01, 1_000), (0.25, 25_000), (4.0, 400_000), (1e3, 100_000_000)]
        {
            assert_eq!(quota_us(cores), quota, "{cores}");
        }
    }

    #[test]
    fn entries_of_one_port_keep_all_of_their_addresses() {
        let one = |port, at: &str| Published { port, address: at.parse().expect("an address") };
        let published = [
            one(80, "10.0.0.1:20000"),
            one(80, "10.0.0.1:20001"),
            one(80, "10.0.0.1:20000"),
            one(6060, "10.0.0.1:20002"),
        ];
        let all = port_bindings(&published);
        let ports = |name: &str| -> Vec<String> {
            let of = all[name].as_ref().expect("bindings");
            of.iter().filter_map(|one| one.host_port.clone()).collect()
        };
        assert_eq!(ports("80/tcp"), ["20000", "20001"]);
        assert_eq!(ports("6060/tcp"), ["20002"]);
        assert_eq!(all.len(), 2);
    }
}
