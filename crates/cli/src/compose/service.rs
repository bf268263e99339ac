//! One service of a Compose file as a launch file.

use std::collections::BTreeMap;

use ark_model::AppName;
use serde_json::{Map, Value};

use super::interpolate::interpolated;
use super::yaml::{Node, file};
use super::{Notes, app_name, health};
use crate::failure::Failure;

/// Ports on which something else than HTTP is spoken, mostly.
const NOT_HTTP: [u16; 14] =
    [22, 25, 1433, 1521, 1883, 3306, 4222, 5432, 5672, 6379, 9042, 9092, 11211, 27017];
/// Parts of names whose values are secret.
const SECRET: [&str; 6] = ["PASSWORD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "CREDENTIAL"];

pub(super) struct Made {
    pub(super) launch: String,
    pub(super) image: Option<String>,
    pub(super) needs: Vec<String>,
}

type Service = Map<String, Value>;
type Entries = Vec<(String, Node)>;

pub(super) fn launch(
    app: &AppName,
    service: &Service,
    all: &Service,
    notes: &mut Notes,
) -> Result<Made, Failure> {
    let ports = ports(service, notes);
    let mut out: Entries = Vec::new();
    put(&mut out, "run", Node::Map(run(service, notes)));
    put(&mut out, "build", Node::Map(build(service, notes)));
    let (needs, defaults) = environment(service, notes);
    put(&mut out, "env", list(&needs));
    let defaults: Entries =
        defaults.into_iter().map(|(name, value)| (name, Node::text(value))).collect();
    put(&mut out, "env_defaults", Node::Map(defaults));
    put(&mut out, "resources", Node::Map(resources(service, notes)));
    put(&mut out, "expose", expose(service, &ports, notes));
    put(&mut out, "dependencies", list(&dependencies(service, all, notes)?));
    let deploy = service.get("deploy").and_then(Value::as_object).cloned().unwrap_or_default();
    let replicas = count(&deploy, "replicas", "deploy.replicas", notes);
    if let Some(count) = replicas.or_else(|| count(service, "scale", "scale", notes)) {
        let count = |key: &str| (key.to_owned(), Node::plain(&count));
        put(&mut out, "autoscaling", Node::Map(vec![count("min_count"), count("max_count")]));
    }
    put(&mut out, "deploy", Node::Map(policy(service, &deploy, notes)));
    put(&mut out, "volumes", volumes(service, notes));
    rest(service, notes);
    let image = service.get("image").and_then(Value::as_str).map(str::to_owned);
    if image.is_none() && !service.contains_key("build") {
        notes
            .add("image", format!("neither an image nor a build: deploy one with --image ({app})"));
    }
    Ok(Made { launch: file(&out), image, needs })
}

fn put(out: &mut Entries, key: &str, value: Node) {
    let empty = match &value {
        Node::List(items) => items.is_empty(),
        Node::Map(entries) => entries.is_empty(),
        Node::Text(_) | Node::Plain(_) => false,
    };
    if !empty {
        out.push((key.to_owned(), value));
    }
}

fn list(items: &[String]) -> Node {
    Node::List(items.iter().map(Node::text).collect())
}

fn run(service: &Service, notes: &mut Notes) -> Entries {
    let mut out = Vec::new();
    let entrypoint = words(service.get("entrypoint"));
    let command = words(service.get("command"));
    if command.is_some() && entrypoint.is_none() {
        notes.add(
            "command",
            "it takes the place of the image's entry point too; name the program first",
        );
    }
    let whole: Vec<String> =
        entrypoint.into_iter().flatten().chain(command.into_iter().flatten()).collect();
    put(&mut out, "command", list(&whole));
    if let Some(signal) = service.get("stop_signal").and_then(Value::as_str) {
        put(&mut out, "stop_signal", Node::text(signal));
    }
    if let Some(grace) = time(service, "stop_grace_period", "stop_grace_period", notes) {
        put(&mut out, "stop_grace", Node::text(grace));
    }
    if matches!(service.get("restart").and_then(Value::as_str), Some("no" | "on-failure"))
        || service.get("restart") == Some(&Value::Bool(false))
    {
        notes.add("restart", "what ends is replaced; for work that ends write `run: {type: job}`");
    }
    out
}

/// A command as a list; text is what a shell would make of it.
fn words(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Array(items) => Some(items.iter().map(scalar).collect()),
        Value::String(line) if line.trim().is_empty() => None,
        Value::String(line) if line.contains(['"', '\'', '$', '\\', '|', '&', ';', '>', '<']) => {
            Some(vec!["sh".to_owned(), "-c".to_owned(), line.clone()])
        }
        Value::String(line) => Some(line.split_whitespace().map(str::to_owned).collect()),
        _ => None,
    }
}

fn build(service: &Service, notes: &mut Notes) -> Entries {
    let mut out = Vec::new();
    let Some(build) = service.get("build") else { return out };
    let (context, dockerfile) = match build {
        Value::String(context) => (context.as_str(), None),
        other => (
            other.get("context").and_then(Value::as_str).unwrap_or("."),
            other.get("dockerfile").and_then(Value::as_str),
        ),
    };
    let inside = context.trim_start_matches("./").trim_end_matches('/');
    if !inside.is_empty() && inside != "." {
        notes.add("build.context", format!("the context is the project's folder, not {context}"));
    }
    for (key, _) in build.as_object().into_iter().flatten() {
        if !["context", "dockerfile"].contains(&key.as_str()) {
            notes.add(&format!("build.{key}"), "write it into the Dockerfile");
        }
    }
    let file = match (inside, dockerfile) {
        ("" | ".", file) => file.map(str::to_owned),
        (inside, file) => Some(format!("{inside}/{}", file.unwrap_or("Dockerfile"))),
    };
    if let Some(file) = file {
        put(&mut out, "docker", Node::Map(vec![("file".to_owned(), Node::text(file))]));
    }
    out
}

/// Names without a value, and values.
fn environment(service: &Service, notes: &mut Notes) -> (Vec<String>, BTreeMap<String, String>) {
    let mut given: Vec<(String, Option<String>)> = Vec::new();
    match service.get("environment") {
        Some(Value::Object(map)) => {
            given
                .extend(map.iter().map(|(name, value)| {
                    (name.clone(), (!value.is_null()).then(|| scalar(value)))
                }));
        }
        Some(Value::Array(lines)) => {
            given.extend(lines.iter().filter_map(Value::as_str).map(|line| {
                match line.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (line.to_owned(), None),
                }
            }));
        }
        _ => {}
    }
    if service.contains_key("env_file") {
        notes.add("env_file", "set its values: ark config set -e ENV APP NAME=VALUE");
    }
    let (mut needs, mut defaults) = (Vec::new(), BTreeMap::new());
    for (name, value) in given {
        let secret = SECRET.iter().any(|part| name.to_ascii_uppercase().contains(part));
        match value.map(|value| interpolated(&value)) {
            None => needs.push(name),
            Some(Some(_)) if secret => {
                notes.add(
                    &format!("environment.{name}"),
                    "a secret: ark config set --secret -e ENV APP",
                );
                needs.push(name);
            }
            Some(Some(value)) => {
                defaults.insert(name, value);
            }
            Some(None) => {
                notes.add(
                    &format!("environment.{name}"),
                    "made from the shell's variables: set it as configuration",
                );
                needs.push(name);
            }
        }
    }
    (needs, defaults)
}

fn resources(service: &Service, notes: &mut Notes) -> Entries {
    let at = |path: &str| service.get("deploy").and_then(|deploy| deploy.pointer(path));
    let mut out = Vec::new();
    let cpus = at("/resources/limits/cpus").or_else(|| service.get("cpus"));
    match cpus.map(scalar).map(|text| (text.trim().parse::<f64>(), text)) {
        None => {}
        Some((Ok(cpus), _)) => put(&mut out, "cpu", Node::plain(&cpus)),
        Some((Err(_), text)) => {
            notes.add("deploy.resources (cpu)", format!("`{text}` is no number of cores"));
        }
    }
    let sizes = [
        ("max_mem", at("/resources/limits/memory").or_else(|| service.get("mem_limit"))),
        (
            "soft_mem_limit",
            at("/resources/reservations/memory").or_else(|| service.get("mem_reservation")),
        ),
    ];
    for (key, value) in sizes {
        let Some(value) = value.map(scalar) else { continue };
        match bytes(&value) {
            Some(bytes) => put(&mut out, key, Node::plain(&(bytes as f64 / f64::from(1 << 30)))),
            None => {
                notes.add(&format!("deploy.resources ({key})"), format!("`{value}` is no size"));
            }
        }
    }
    out
}

/// `512m`, `1.5g`, `64mb`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" | "b" => 1.0,
        "k" | "kb" => 1024.0,
        "m" | "mb" => 1024.0 * 1024.0,
        "g" | "gb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = text[..digits].trim().parse().ok()?;
    (number > 0.0).then_some((number * unit) as u64)
}

/// Ports inside the container, each once, in the order they stand there.
fn ports(service: &Service, notes: &mut Notes) -> Vec<u16> {
    let mut all = Vec::new();
    let listed = |key: &str| service.get(key).and_then(Value::as_array).into_iter().flatten();
    for (key, port) in
        listed("ports").map(|p| ("ports", p)).chain(listed("expose").map(|p| ("expose", p)))
    {
        let (target, protocol) = match port {
            Value::Object(long) => (
                long.get("target").map(scalar).unwrap_or_default(),
                long.get("protocol").and_then(Value::as_str).unwrap_or("tcp").to_owned(),
            ),
            short => {
                let text = scalar(short);
                let (text, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
                let target = text.rsplit(':').next().unwrap_or_default();
                (target.to_owned(), protocol.to_owned())
            }
        };
        match (target.parse::<u16>(), protocol.as_str()) {
            (Ok(target), "tcp") if target > 0 => {
                if !all.contains(&target) {
                    all.push(target);
                }
            }
            (Ok(_), other) => notes.add(key, format!("{target}/{other}: only TCP is served")),
            (Err(_), _) => notes.add(key, format!("{}: name each port alone", scalar(port))),
        }
    }
    all
}

fn expose(service: &Service, ports: &[u16], notes: &mut Notes) -> Node {
    let one = |(index, port): (usize, &u16)| {
        let name = match index {
            0 => "default".to_owned(),
            _ => format!("port-{port}"),
        };
        let mut entry =
            vec![("name".to_owned(), Node::text(name)), ("port".to_owned(), Node::plain(&port))];
        if NOT_HTTP.contains(port) {
            entry.push(("protocol".to_owned(), Node::text("tcp")));
        } else if index == 0 {
            let check = health::check(service, *port, notes);
            entry.extend(check.map(|check| ("health_check".to_owned(), check)));
        }
        Node::Map(entry)
    };
    Node::List(ports.iter().enumerate().map(one).collect())
}

fn dependencies(
    service: &Service,
    all: &Service,
    notes: &mut Notes,
) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    let named: Vec<(String, Option<String>)> = match service.get("depends_on") {
        Some(Value::Array(names)) => names.iter().map(|name| (scalar(name), None)).collect(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, how)| {
                let condition = how.get("condition").and_then(Value::as_str);
                (name.clone(), condition.map(str::to_owned))
            })
            .collect(),
        _ => Vec::new(),
    };
    for (name, condition) in named {
        if !all.contains_key(&name) {
            notes.add(&format!("depends_on.{name}"), "no such service");
            continue;
        }
        match condition.as_deref() {
            // `ark start` begins with what is depended on and goes on when it is live.
            None | Some("service_started" | "service_healthy") => {
                out.push(app_name(&name)?.to_string());
            }
            Some("service_completed_successfully") => notes.add(
                &format!("depends_on.{name}"),
                "work that must have ended before: run it as a job, or by deploy.hooks.pre_deploy",
            ),
            Some(other) => {
                notes.add(&format!("depends_on.{name}"), format!("`{other}` is unknown"));
            }
        }
    }
    Ok(out)
}

/// How a new release takes over.
fn policy(service: &Service, deploy: &Service, notes: &mut Notes) -> Entries {
    let mut out = Vec::new();
    if let Some(update) = deploy.get("update_config").and_then(Value::as_object) {
        let parallelism = count(update, "parallelism", "deploy.update_config.parallelism", notes);
        match update.get("order").and_then(Value::as_str) {
            Some("start-first") => {
                put(&mut out, "strategy", Node::text("rolling"));
                if let Some(n) = parallelism.filter(|n| *n > 0) {
                    put(&mut out, "max_surge", Node::plain(&n));
                }
            }
            _ => {
                notes.add(
                    "deploy.update_config.order",
                    "new instances start first; nothing is taken away before",
                );
            }
        }
        for (key, name) in [("delay", "min_healthy_time"), ("monitor", "watch")] {
            if let Some(time) = time(update, key, &format!("deploy.update_config.{key}"), notes) {
                put(&mut out, name, Node::text(time));
            }
        }
        match update.get("failure_action").and_then(Value::as_str) {
            None | Some("rollback") => {}
            Some(other) => notes.add(
                "deploy.update_config.failure_action",
                format!("not `{other}`: a deployment that fails is rolled back"),
            ),
        }
        if update.contains_key("max_failure_ratio") {
            notes.add("deploy.update_config.max_failure_ratio", "the judge decides: docs/judge.md");
        }
    }
    let health = service.get("healthcheck").and_then(Value::as_object);
    let begin =
        health.and_then(|health| time(health, "start_period", "healthcheck.start_period", notes));
    if let Some(time) = begin {
        put(&mut out, "ready_timeout", Node::text(time));
    }
    for key in deploy.keys() {
        match key.as_str() {
            "replicas" | "update_config" | "resources" => {}
            "rollback_config" => {
                notes.add("deploy.rollback_config", "a rollback is a deployment like any other");
            }
            "restart_policy" => {
                notes.add("deploy.restart_policy", "what ends is replaced, with growing pauses");
            }
            other => {
                notes
                    .add(&format!("deploy.{other}"), "the environment decides where instances run");
            }
        }
    }
    out
}

/// `1m30s`, as launch files write it too. What is no such length is noted at `place`.
pub(super) fn time(map: &Service, key: &str, place: &str, notes: &mut Notes) -> Option<String> {
    let text = scalar(map.get(key).filter(|value| !value.is_null())?);
    let plain = text.trim().bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b));
    let length = plain
        && text.trim().bytes().next().is_some_and(|b| b.is_ascii_digit())
        && !text.trim().ends_with(|c: char| c.is_ascii_digit());
    if length {
        return Some(text.trim().to_owned());
    }
    notes.add(place, format!("`{text}` is no length of time such as 1m30s"));
    None
}

/// A number that may stand there as text. What is none is noted at `place`.
pub(super) fn count(map: &Service, key: &str, place: &str, notes: &mut Notes) -> Option<u64> {
    let text = scalar(map.get(key).filter(|value| !value.is_null())?);
    let number = text.trim().parse();
    if number.is_err() {
        notes.add(place, format!("`{text}` is no number"));
    }
    number.ok()
}

fn volumes(service: &Service, notes: &mut Notes) -> Node {
    let mut out = Vec::new();
    for volume in service.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        let (kind, source, target, read_only) = match volume {
            Value::Object(long) => {
                let text = |key: &str| long.get(key).map(scalar).unwrap_or_default();
                let read_only = long.get("read_only") == Some(&Value::Bool(true));
                (text("type"), text("source"), text("target"), read_only)
            }
            short => {
                let text = scalar(short);
                let parts: Vec<&str> = text.split(':').collect();
                let (source, target) = match parts[..] {
                    [target] => ("", target),
                    [source, target, ..] => (source, target),
                    [] => ("", ""),
                };
                let bind = source.starts_with(['.', '/', '~', '$']);
                let kind = if bind { "bind" } else { "volume" };
                let read_only = parts.get(2).is_some_and(|o| o.split(',').any(|o| o == "ro"));
                (kind.to_owned(), source.to_owned(), target.to_owned(), read_only)
            }
        };
        match kind.as_str() {
            "volume" if target.starts_with('/') => {
                if read_only {
                    notes.add("volumes", format!("{target} may be written to"));
                }
                let name = match source.as_str() {
                    "" => target.trim_matches('/').replace('/', "-"),
                    source => source.to_owned(),
                };
                out.push(Node::Map(vec![
                    ("name".to_owned(), Node::text(name)),
                    ("path".to_owned(), Node::text(target)),
                ]));
            }
            "tmpfs" => notes.add("volumes", format!("{target}: /tmp and /run are in memory")),
            _ => notes
                .add("volumes", format!("{source} is a folder of the host; put it into the image")),
        }
    }
    Node::List(out)
}

/// Everything else that stands there.
fn rest(service: &Service, notes: &mut Notes) {
    for key in service.keys() {
        let why = match key.as_str() {
            "image" | "build" | "command" | "entrypoint" | "environment" | "env_file" | "ports"
            | "expose" | "depends_on" | "healthcheck" | "volumes" | "deploy" | "scale"
            | "restart" | "stop_signal" | "stop_grace_period" | "cpus" | "mem_limit"
            | "mem_reservation" => continue,
            key if key.starts_with("x-") => continue,
            // Every container has one.
            "init" | "container_name" | "hostname" | "tty" | "stdin_open" => continue,
            "profiles" => {
                "every app is started by name: ark start APP -e ENV; leave it out where it is not wanted"
            }
            "networks" | "network_mode" | "links" | "dns" | "extra_hosts" | "external_links" => {
                "each environment has one network; apps are found by `dependencies`"
            }
            "privileged" | "cap_add" | "devices" | "security_opt" | "userns_mode" | "pid"
            | "ipc" => "a container gets no rights beyond its own",
            "cap_drop" | "read_only" => "so it is for every container",
            "tmpfs" => "/tmp and /run are in memory, and nothing else",
            "secrets" | "configs" => "values are variables: ark config set [--secret]",
            "logging" => "logs are kept by Ark: ark logs",
            "labels" | "annotations" => "labels are Ark's own",
            "user" | "working_dir" => "write it into the Dockerfile",
            "ulimits" | "sysctls" | "shm_size" | "pids_limit" | "cpu_shares" | "cpuset" => {
                "limits are cpu and max_mem of `resources`"
            }
            "extends" => "write the service out: docker compose config",
            "platform" => "images are built for the engine's own platform",
            "pull_policy" => "an image is fetched when the engine does not have it",
            _ => "unknown",
        };
        notes.add(key, why);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
