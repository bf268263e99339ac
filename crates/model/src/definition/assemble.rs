//! From the parts of a file that are right to the types, with every default filled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map as JsonMap, Value as Json};

use super::expose::{FAILURES, HealthCheckKind, INTERVAL, SUCCESSES, TIMEOUT};
use super::run::STOP_GRACE;
use super::{
    Alarm, Architecture, Autoscaling, Aws, Build, Bytes, DatabaseRef, Definition, DeployConfig,
    DeployPolicy, Drain, DurationText, EngineRequirement, Expose, HeaderStep, HealthCheck, Lambda,
    LambdaEvent, Limits, LoadBalancerProtocol, MeshConfig, Missed, Overlap, PodConfig, Protocol,
    Resources, Run, RunKind, StopSignal, Telemetry, Volume,
};
use crate::traffic::{Adaptive, Maintenance, RateLimit};

/// The file as it is written. Sections without a type of their own here are written as they are
/// kept.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    run: FileRun,
    env: Vec<String>,
    env_defaults: BTreeMap<String, String>,
    resources: FileResources,
    expose: Vec<FileExpose>,
    dependencies: Vec<String>,
    #[serde(rename = "externalUrlUsage")]
    external_url_usage: Vec<String>,
    deploy: DeployPolicy,
    drain: Drain,
    autoscaling: Autoscaling,
    alarms: Option<Vec<Alarm>>,
    volumes: Vec<Volume>,
    databases: Vec<String>,
    aws: Option<Aws>,
    use_iam_roles: bool,
    pod_config: Option<PodConfig>,
    deploy_config: DeployConfig,
    mesh_config: Option<MeshConfig>,
    telemetry: Option<Telemetry>,
    lambda: Option<Lambda>,
    events: Option<BTreeMap<String, LambdaEvent>>,
    build: Option<Build>,
    team: Option<String>,
    shepherds: Vec<String>,
    elbs: BTreeMap<String, Vec<String>>,
    access_scope: Option<String>,
    access_groups: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileRun {
    r#type: Option<String>,
    command: Option<Vec<String>>,
    schedule: Option<String>,
    timezone: Option<String>,
    overlap: Overlap,
    missed: Missed,
    jitter: Option<DurationText>,
    retries: Option<u32>,
    timeout: Option<DurationText>,
    keep_warm: Option<DurationText>,
    privileged: bool,
    writable_root: bool,
    capabilities: BTreeSet<String>,
    stop_signal: StopSignal,
    stop_grace: Option<DurationText>,
    architecture: Option<Architecture>,
}

/// Memory in GiB.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileResources {
    cpu: Option<f64>,
    max_mem: Option<f64>,
    soft_mem_limit: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileExpose {
    name: Option<String>,
    port: u16,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    hosts: Vec<String>,
    path: Option<String>,
    health_check: Option<FileHealthCheck>,
    limits: Option<FileLimits>,
    maintenance: Option<FileMaintenance>,
    bind: Option<u16>,
    load_balancer_port: Option<u16>,
    load_balancer_proto: Option<LoadBalancerProtocol>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLimits {
    rate: Option<FileRate>,
    rate_per_client: Option<FileRate>,
    concurrency: Option<u32>,
    #[serde(default)]
    adaptive: Adaptive,
    #[serde(default)]
    operators: Vec<HeaderStep>,
    body_mib: Option<u32>,
    answer_within: Option<DurationText>,
    slow_start: Option<DurationText>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRate {
    per_s: u32,
    burst: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMaintenance {
    status: Option<u16>,
    retry_after: Option<DurationText>,
    page: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHealthCheck {
    r#type: Option<CheckType>,
    path: Option<String>,
    interval: Option<DurationText>,
    timeout: Option<DurationText>,
    successes: Option<u32>,
    failures: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckType {
    Http,
    Tcp,
}

/// The definition that the right parts of a file make.
///
/// # Errors
/// When the tables of the format allow something that the types do not: a defect of this crate,
/// reported as a finding instead of a panic.
pub(super) fn definition(parts: JsonMap<String, Json>) -> Result<Definition, serde_json::Error> {
    let file = File::deserialize(Json::Object(parts))?;
    let mut expose: Vec<Expose> = file.expose.into_iter().map(port).collect();
    let run = run(file.run, expose.is_empty());
    if run.kind == RunKind::Lambda && expose.is_empty() {
        expose.push(on_demand_port());
    }
    let lambda = match (file.lambda, file.events) {
        (lambda, None) => lambda,
        (lambda, Some(old)) => {
            let mut lambda = lambda.unwrap_or_default();
            for (name, event) in old {
                lambda.events.entry(name).or_insert(event);
            }
            Some(lambda)
        }
    };
    Ok(Definition {
        env: file.env,
        env_defaults: file.env_defaults,
        resources: Resources {
            cpu: file.resources.cpu,
            max_mem: file.resources.max_mem.and_then(Bytes::from_gib),
            soft_mem_limit: file.resources.soft_mem_limit.and_then(Bytes::from_gib),
        },
        expose,
        dependencies: file.dependencies,
        external_url_usage: file.external_url_usage,
        deploy: file.deploy,
        drain: file.drain,
        autoscaling: file.autoscaling,
        alarms: file.alarms,
        volumes: file.volumes,
        databases: file.databases.iter().filter_map(|text| database(text)).collect(),
        aws: file.aws,
        use_iam_roles: file.use_iam_roles,
        pod_config: file.pod_config,
        deploy_config: file.deploy_config,
        mesh_config: file.mesh_config,
        telemetry: file.telemetry,
        lambda,
        build: file.build,
        team: file.team,
        shepherds: file.shepherds,
        elbs: file.elbs,
        access_scope: file.access_scope,
        access_groups: file.access_groups,
        ..Definition::of_run(run)
    })
}

/// The port inside a container on which a function answers when its file names none.
const LAMBDA_PORT: u16 = 8080;

fn run(file: FileRun, no_ports: bool) -> Run {
    let by_ports = if no_ports { RunKind::Worker } else { RunKind::Service };
    let text = file.r#type.as_deref().unwrap_or("docker");
    let (kind, legacy) = match text {
        "daemon" => (RunKind::Daemon, false),
        "cron" => (RunKind::Cron, false),
        "job" => (RunKind::Job, false),
        "lambda" => (RunKind::Lambda, false),
        // Work of a batch system, handed in by a workflow: it ran to its end once, when asked.
        "workflow" => (RunKind::Job, true),
        old if old.starts_with("lambda/") => (RunKind::Lambda, true),
        _ => (by_ports, false),
    };
    let requires = match text {
        "process" => EngineRequirement::ProcessOnly,
        _ => EngineRequirement::Any,
    };
    Run {
        requires,
        command: file.command,
        schedule: file.schedule,
        timezone: file.timezone,
        overlap: file.overlap,
        missed: file.missed,
        jitter: file.jitter,
        retries: file.retries.unwrap_or(0),
        timeout: file.timeout,
        keep_warm: file.keep_warm,
        privileged: file.privileged,
        writable_root: file.writable_root,
        capabilities: file.capabilities,
        stop_signal: file.stop_signal,
        stop_grace: file.stop_grace.unwrap_or(STOP_GRACE),
        architecture: file.architecture,
        legacy_type: legacy.then(|| text.to_owned()),
        ..Run::of_kind(kind)
    }
}

fn port(file: FileExpose) -> Expose {
    let name = file.name.unwrap_or_else(|| "default".to_owned());
    let plain = Expose::new(name, file.port);
    Expose {
        protocol: file.protocol,
        hosts: file.hosts,
        path: file.path.unwrap_or_else(|| plain.path.clone()),
        health_check: file.health_check.map(health_check).unwrap_or_default(),
        limits: file.limits.map(limits).unwrap_or_default(),
        maintenance: file.maintenance.map(maintenance),
        bind: file.bind,
        load_balancer_port: file.load_balancer_port,
        load_balancer_proto: file.load_balancer_proto,
        ..plain
    }
}

/// Where a function without ports of its own is called. It is started while a request waits, so it is
/// looked at often.
fn on_demand_port() -> Expose {
    let check = HealthCheck { interval: DurationText::from_millis(100), ..HealthCheck::default() };
    Expose { health_check: check, ..Expose::new("default", LAMBDA_PORT) }
}

fn limits(file: FileLimits) -> Limits {
    let rate =
        |file: FileRate| RateLimit { per_s: file.per_s, burst: file.burst.unwrap_or(file.per_s) };
    Limits {
        rate: file.rate.map(rate),
        rate_per_client: file.rate_per_client.map(rate),
        concurrency: file.concurrency,
        adaptive: file.adaptive,
        operators: file.operators,
        body_mib: file.body_mib,
        answer_within: file.answer_within,
        slow_start: file.slow_start,
    }
}

fn maintenance(file: FileMaintenance) -> Maintenance {
    let plain = Maintenance::default();
    Maintenance {
        status: file.status.unwrap_or(plain.status),
        retry_after_s: file.retry_after.map(|after| after.get().as_secs()),
        page: file.page.unwrap_or_default(),
    }
}

fn health_check(file: FileHealthCheck) -> HealthCheck {
    let kind = match (file.r#type, file.path) {
        (Some(CheckType::Tcp), _) | (None, None) => HealthCheckKind::Tcp,
        (Some(CheckType::Http) | None, path) => {
            HealthCheckKind::Http { path: path.unwrap_or_else(|| "/".to_owned()) }
        }
    };
    HealthCheck {
        kind,
        interval: file.interval.unwrap_or(INTERVAL),
        timeout: file.timeout.unwrap_or(TIMEOUT),
        successes: file.successes.unwrap_or(SUCCESSES),
        failures: file.failures.unwrap_or(FAILURES),
        declared: true,
    }
}

fn database(text: &str) -> Option<DatabaseRef> {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    Some(DatabaseRef { kind: parts.next()?, region: parts.next()?, name: parts.next()? })
}
