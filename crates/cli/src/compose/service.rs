//! One service of a Compose file as a launch file.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_model::definition::DurationText;
use serde_json::{Map, Value};

use super::addresses::{self, Peers};
use super::interpolate::interpolated;
use super::words::{Split, split};
use super::yaml::Node;
use super::{Notes, health, resources, update, volumes};
use crate::project_path::inside;

/// Ports on which something else than HTTP is spoken, mostly.
const NOT_HTTP: [u16; 14] =
    [22, 25, 1433, 1521, 1883, 3306, 4222, 5432, 5672, 6379, 9042, 9092, 11211, 27017];
/// Parts of names whose values are secret.
const SECRET: [&str; 7] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY", "CREDENTIAL"];
/// Ends of such names. Rather one too many: what is taken for secret is only to be set by hand.
const SECRET_ENDS: [&str; 4] = ["PASS", "PWD", "_KEY", "_KEYS"];

/// Signals as Docker takes them, by name without `SIG` and by number, and as Ark calls them.
const SIGNALS: [(&str, &str, &str); 8] = [
    ("TERM", "15", "SIGTERM"),
    ("INT", "2", "SIGINT"),
    ("QUIT", "3", "SIGQUIT"),
    ("HUP", "1", "SIGHUP"),
    ("USR1", "10", "SIGUSR1"),
    ("USR2", "12", "SIGUSR2"),
    ("WINCH", "28", "SIGWINCH"),
    ("KILL", "9", "SIGKILL"),
];

pub(super) struct Made {
    /// The launch file.
    pub(super) launch: Entries,
    pub(super) image: Option<String>,
    /// The file's volumes that it mounts.
    pub(super) volumes: Vec<String>,
}

pub(super) type Service = Map<String, Value>;
pub(super) type Entries = Vec<(String, Node)>;

/// Makes the launch file of the service called `name`.
pub(super) fn launch(name: &str, service: &Service, peers: &Peers, notes: &mut Notes) -> Made {
    shapes(service, notes);
    let mut ports = ports(service, notes);
    if ports.is_empty() && peers.get(name).is_some_and(|peer| peer.called) {
        match addresses::well_known(service) {
            Some(port) => ports.push(port),
            None => notes.add(
                "expose",
                "others need it, and it declares no port: they are told no address of it",
            ),
        }
    }
    let deploy = service.get("deploy").and_then(Value::as_object).cloned().unwrap_or_default();
    let daemon = update::is_daemon(&deploy, notes);
    let mut out: Entries = Vec::new();
    put(&mut out, "run", Node::Map(run(service, daemon, notes)));
    put(&mut out, "build", Node::Map(build(service, notes)));
    let (needs, defaults) = environment(service, notes);
    put(&mut out, "env", list(&needs));
    let defaults: Entries =
        defaults.into_iter().map(|(name, value)| (name, Node::text(value))).collect();
    put(&mut out, "env_defaults", Node::Map(defaults));
    put(&mut out, "resources", Node::Map(resources::section(service, notes)));
    put(&mut out, "expose", expose(service, &ports, notes));
    let dependencies = dependencies(service, peers, notes);
    addresses::note(name, service, peers, &dependencies, notes);
    put(&mut out, "dependencies", list(&dependencies));
    let replicas = count(&deploy, "replicas", "deploy.replicas", notes);
    let replicas = replicas.or_else(|| count(service, "scale", "scale", notes));
    match replicas {
        Some(_) if daemon => {
            notes.add("deploy.replicas", "a daemon has one instance on each node");
        }
        Some(count) => {
            let count = |key: &str| (key.to_owned(), Node::plain(&count));
            put(&mut out, "autoscaling", Node::Map(vec![count("min_count"), count("max_count")]));
        }
        None => {}
    }
    put(&mut out, "deploy", Node::Map(update::section(service, &deploy, notes)));
    let (folders, volumes) = volumes::section(service, notes);
    put(&mut out, "volumes", folders);
    rest(service, notes);
    let image = service.get("image").and_then(Value::as_str).map(str::to_owned);
    if image.is_none() && !service.contains_key("build") {
        notes.add(
            "image",
            format!("neither an image nor a build: deploy one with --image ({name})"),
        );
    }
    Made { launch: out, image, volumes }
}

pub(super) fn put(out: &mut Entries, key: &str, value: Node) {
    if !value.is_empty() {
        out.push((key.to_owned(), value));
    }
}

fn list(items: &[String]) -> Node {
    Node::List(items.iter().map(Node::text).collect())
}

fn run(service: &Service, daemon: bool, notes: &mut Notes) -> Entries {
    let mut out = Vec::new();
    if daemon {
        put(&mut out, "type", Node::text("daemon"));
    }
    let entrypoint = command_of(service, "entrypoint", notes);
    let command = command_of(service, "command", notes);
    if command.is_some() && entrypoint.is_none() {
        notes.add(
            "command",
            "it takes the place of the image's entry point too; name the program first",
        );
    }
    let whole: Vec<String> =
        entrypoint.into_iter().flatten().chain(command.into_iter().flatten()).collect();
    put(&mut out, "command", list(&whole));
    if let Some(text) = service.get("stop_signal").filter(|value| !value.is_null()).map(scalar) {
        match signal(&text) {
            Some(signal) => put(&mut out, "stop_signal", Node::text(signal)),
            None => {
                notes.add("stop_signal", format!("`{text}` is none that Ark sends: SIGTERM is"));
            }
        }
    }
    if let Some(grace) = time(service, "stop_grace_period", "stop_grace_period", notes) {
        put(&mut out, "stop_grace", Node::text(grace));
    }
    rights(service, &mut out, notes);
    let restart = service.get("restart").map(scalar).unwrap_or_default();
    if ["no", "false"].contains(&restart.as_str()) || restart.starts_with("on-failure") {
        notes.add("restart", "what ends is replaced; for work that ends write `run: {type: job}`");
    }
    out
}

/// What it may do beyond what every container may: whether the server allows it shows when it is deployed.
fn rights(service: &Service, out: &mut Entries, notes: &mut Notes) {
    if service.get("privileged") == Some(&Value::Bool(true)) {
        put(out, "privileged", Node::plain(&true));
    }
    if service.get("read_only") == Some(&Value::Bool(false)) {
        put(out, "writable_root", Node::plain(&true));
    }
    let names: Vec<String> = match service.get("cap_add") {
        Some(Value::Array(names)) => names.iter().map(scalar).collect(),
        _ => Vec::new(),
    };
    let plain = |name: &String| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)
    };
    let mut names: Vec<String> = names.iter().map(plain).collect();
    if names.iter().any(|name| name == "ALL") {
        notes.add("cap_add", "name those that are needed, or write `run: {privileged: true}`");
        names.retain(|name| name != "ALL");
    }
    put(out, "capabilities", list(&names));
}

/// `SIGTERM` of `TERM`, `sigterm` and `15`.
fn signal(text: &str) -> Option<&'static str> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = |(short, number, _): &&(&str, &str, &str)| name == *short || upper == *number;
    SIGNALS.iter().find(known).map(|(_, _, signal)| *signal)
}

/// A command as a list; text is split as Compose does it.
pub(super) fn words(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Array(items) => Some(items.iter().map(scalar).collect()),
        Value::String(line) => split(line).map(|split| split.words).filter(|w| !w.is_empty()),
        _ => None,
    }
}

/// The command that stands there. What Compose does not take of it is noted.
fn command_of(service: &Service, key: &str, notes: &mut Notes) -> Option<Vec<String>> {
    if let Some(Value::String(line)) = service.get(key) {
        match split(line) {
            None => notes.add(key, "a quote is not closed: left out"),
            Some(Split { rest: "", .. }) => {}
            Some(Split { rest, .. }) => {
                let why = format!("no shell runs it, it ends before `{rest}`: write [sh, -c, ...]");
                notes.add(key, why);
            }
        }
    }
    words(service.get(key))
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
    let at_root = inside(context).is_some_and(|path| path.is_empty());
    if !at_root {
        notes.add("build.context", format!("the context is the project's folder, not {context}"));
    }
    for (key, _) in build.as_object().into_iter().flatten() {
        if !["context", "dockerfile"].contains(&key.as_str()) {
            notes.add(&format!("build.{key}"), "write it into the Dockerfile");
        }
    }
    // It stands there relative to the context.
    let written = match dockerfile {
        None if at_root => return out,
        file => format!("{context}/{}", file.unwrap_or("Dockerfile")),
    };
    let file = inside(&written).filter(|_| !dockerfile.is_some_and(|file| file.starts_with('/')));
    if let Some(file) = file {
        put(&mut out, "docker", Node::Map(vec![("file".to_owned(), Node::text(file))]));
    } else {
        let why = format!("{written} is no file of the project: move it there");
        notes.add("build.dockerfile", why);
    }
    out
}

/// Variables with their values, where they have one.
pub(super) fn environment_of(service: &Service) -> Vec<(String, Option<String>)> {
    match service.get("environment") {
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| (name.clone(), (!value.is_null()).then(|| scalar(value))))
            .collect(),
        Some(Value::Array(lines)) => lines
            .iter()
            .map(|line| match scalar(line).split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (scalar(line), None),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Names without a value, and values.
fn environment(service: &Service, notes: &mut Notes) -> (Vec<String>, BTreeMap<String, String>) {
    if service.contains_key("env_file") {
        notes.add("env_file", "set its values: ark config set -e ENV APP NAME=VALUE");
    }
    let (mut needs, mut defaults) = (Vec::new(), BTreeMap::new());
    for (name, value) in environment_of(service) {
        match value.map(|value| interpolated(&value)) {
            None => needs.push(name),
            Some(Some(value)) if is_secret(&name, &value) => {
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

/// Whether a value must not stand in a file: its name says so, or it is an address with a password.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let named = SECRET.iter().any(|part| name.contains(part))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end));
    let with_password = |(at, _): (usize, &str)| {
        let address = &value[at + 3..];
        let end = address.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(address.len());
        let user = address[..end].rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    };
    named || value.match_indices("://").any(with_password)
}

/// Names what does not have the shape that Compose wants: nothing of it is taken over.
fn shapes(service: &Service, notes: &mut Notes) {
    for (key, list, map, text) in [
        ("ports", true, false, false),
        ("expose", true, false, false),
        ("volumes", true, false, false),
        ("cap_add", true, false, false),
        ("environment", true, true, false),
        ("depends_on", true, true, false),
        ("healthcheck", false, true, false),
        ("deploy", false, true, false),
        ("build", false, true, true),
        ("command", true, false, true),
        ("entrypoint", true, false, true),
        ("image", false, false, true),
    ] {
        let wanted = [(list, "a list"), (map, "a mapping"), (text, "text")];
        let fits = match service.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Array(_)) => list,
            Some(Value::Object(_)) => map,
            Some(Value::String(_)) => text,
            Some(Value::Bool(_) | Value::Number(_)) => false,
        };
        if !fits {
            let wanted = wanted.iter().filter(|(takes, _)| *takes).map(|(_, word)| *word);
            let wanted: Vec<&str> = wanted.collect();
            notes.add(key, format!("left out: it must be {}", wanted.join(" or ")));
        }
    }
}

/// Ports inside the container, each once, in the order they stand there.
pub(super) fn ports(service: &Service, notes: &mut Notes) -> Vec<u16> {
    let mut all = Vec::new();
    let listed = |key: &str| service.get(key).and_then(Value::as_array).into_iter().flatten();
    for (key, port) in
        listed("ports").map(|p| ("ports", p)).chain(listed("expose").map(|p| ("expose", p)))
    {
        let (published, target, protocol) = match port {
            Value::Object(long) => (
                long.get("published").map(scalar).unwrap_or_default(),
                long.get("target").map(scalar).unwrap_or_default(),
                long.get("protocol").and_then(Value::as_str).unwrap_or("tcp").to_owned(),
            ),
            short => {
                let text = scalar(short);
                let (text, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
                let (published, target) = text.rsplit_once(':').unwrap_or(("", text));
                (published.to_owned(), target.to_owned(), protocol.to_owned())
            }
        };
        match (target.parse::<u16>(), protocol.as_str()) {
            (Ok(target), "tcp") if target > 0 => {
                if !all.contains(&target) {
                    all.push(target);
                }
                if !published.is_empty() {
                    let instead = match NOT_HTTP.contains(&target) {
                        true => "apps that have it among their `dependencies` are told its address",
                        false => "the gateway serves it by the app's host name",
                    };
                    // `127.0.0.1::80`: any port of that address.
                    let what = match published.strip_suffix(':') {
                        Some(address) => format!("no port of {address} is opened"),
                        None => format!("{published} of the host is not opened"),
                    };
                    let why = format!("{what} for {target}: {instead}");
                    notes.add(key, why);
                }
            }
            (Ok(_), other) => notes.add(key, format!("{target}/{other}: only TCP is served")),
            (Err(_), _) => notes.add(key, format!("{}: name each port alone", scalar(port))),
        }
    }
    all
}

fn expose(service: &Service, ports: &[u16], notes: &mut Notes) -> Node {
    let http: Vec<u16> = ports.iter().copied().filter(|port| !NOT_HTTP.contains(port)).collect();
    let mut check = health::check(service, &http, !ports.is_empty(), notes);
    let one = |(index, port): (usize, &u16)| {
        let name = match index {
            0 => "default".to_owned(),
            _ => format!("port-{port}"),
        };
        let mut entry =
            vec![("name".to_owned(), Node::text(name)), ("port".to_owned(), Node::plain(&port))];
        if NOT_HTTP.contains(port) {
            entry.push(("protocol".to_owned(), Node::text("tcp")));
        }
        if let Some((_, check)) = check.take_if(|(asked, _)| asked == port) {
            entry.push(("health_check".to_owned(), check));
        }
        Node::Map(entry)
    };
    Node::List(ports.iter().enumerate().map(one).collect())
}

fn dependencies(service: &Service, peers: &Peers, notes: &mut Notes) -> Vec<String> {
    let mut out = Vec::new();
    let none = Map::new();
    let named: Vec<(String, &Service)> = match service.get("depends_on") {
        Some(Value::Array(names)) => names.iter().map(|name| (scalar(name), &none)).collect(),
        Some(Value::Object(map)) => {
            map.iter().map(|(name, how)| (name.clone(), how.as_object().unwrap_or(&none))).collect()
        }
        _ => Vec::new(),
    };
    for (name, how) in named {
        let key = format!("depends_on.{name}");
        let Some(peer) = peers.get(&name) else {
            notes.add(&key, "no such service");
            continue;
        };
        match how.get("condition").and_then(Value::as_str) {
            // `ark start` begins with what is depended on and goes on when it is live.
            None | Some("service_started" | "service_healthy") => out.push(peer.app.to_string()),
            Some("service_completed_successfully") => notes.add(
                &key,
                "work that must have ended before: run it as a job, or by deploy.hooks.pre_deploy",
            ),
            Some(other) => notes.add(&key, format!("`{other}` is unknown")),
        }
        if how.get("restart") == Some(&Value::Bool(true)) {
            let why = "its restart restarts nobody; ark start --upstreams does";
            notes.add(&format!("{key}.restart"), why);
        }
        if how.get("required") == Some(&Value::Bool(false)) {
            notes.add(&format!("{key}.required"), "a dependency is always needed");
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

/// The length of time that a text such as `1m30s` says.
pub(super) fn length(text: &str) -> Option<Duration> {
    text.trim().parse::<DurationText>().ok().map(DurationText::get)
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

/// Everything else that stands there.
fn rest(service: &Service, notes: &mut Notes) {
    for key in service.keys() {
        let why = match key.as_str() {
            "image" | "build" | "command" | "entrypoint" | "environment" | "env_file" | "ports"
            | "expose" | "depends_on" | "healthcheck" | "volumes" | "deploy" | "scale"
            | "restart" | "stop_signal" | "stop_grace_period" | "cpus" | "mem_limit"
            | "mem_reservation" | "cap_add" => continue,
            key if key.starts_with("x-") => continue,
            // Every container has one.
            "init" => continue,
            "privileged" if service[key].is_boolean() => continue,
            "read_only" if service[key] == Value::Bool(false) => continue,
            "tty" | "stdin_open" if service[key] == Value::Bool(false) => continue,
            "tty" | "stdin_open" => {
                "an instance has no terminal; ark exec gives a command in a container one"
            }
            "container_name" | "hostname" => {
                "instances are named by Ark; apps find each other by `dependencies`"
            }
            "profiles" => {
                "every app is started by name: ark start APP -e ENV; leave it out where it is not wanted"
            }
            "networks" | "network_mode" | "links" | "dns" | "extra_hosts" | "external_links" => {
                "each environment has one network; apps are found by `dependencies`"
            }
            "privileged" | "devices" | "security_opt" | "userns_mode" | "pid" | "ipc" => {
                "a container gets no rights but those of `run`: capabilities, privileged, writable_root"
            }
            "cap_drop" | "read_only" => "so it is for every container",
            "tmpfs" => "/tmp and /run are in memory, and nothing else",
            "secrets" | "configs" => "values are variables: ark config set [--secret]",
            "logging" => "logs are kept by Ark: ark logs",
            "labels" | "annotations" => "labels are Ark's own",
            "user" | "working_dir" => "write it into the Dockerfile",
            "ulimits" | "sysctls" | "shm_size" | "pids_limit" | "cpu_shares" | "cpuset"
            | "memswap_limit" | "mem_swappiness" => "limits are cpu and max_mem of `resources`",
            "extends" => "write the service out: docker compose config",
            "platform" => "images are built for the engine's own platform",
            "pull_policy" => "an image is fetched when the engine does not have it",
            _ => "unknown",
        };
        notes.add(key, why);
    }
}

pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
