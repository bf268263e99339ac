//! Launch files as their authors wrote them, deployed unchanged on Docker: every one of the current
//! ones that describes an app, and versions of the past with several ports. Services, workers, functions
//! and jobs get the configuration that they ask for and one image made from scratch, which refuses to
//! run without it. Whatever key a file has is held, or listed as not held.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::definition::{Definition, Expose, HealthCheckKind, LaunchFile, RunKind, parse};
use daemon::{IMAGE, daemon, docker, lacking, skip};
use harness::{Ark, ENV, last_json, state, words};

const TEST: &str = "real_definitions_run_unchanged";
/// The image of all of them.
const ALL: &str = "ark-test/definitions:1";
const DEADLINE: Duration = Duration::from_secs(180);
/// So many instances are there at once, unless one app alone has more.
const INSTANCES_AT_ONCE: u32 = 9;
/// Versions of the past with several ports: two of one number, and two of two.
const SEVERAL_PORTS: [&str; 4] = [
    "resolve-ip__resolve-ip__8ab3bdfc.yml",
    "template-frontend__template-frontend__62de6091.yml",
    "who-is-who__who-is-who__eb76c450.yml",
    "workflow-manager__workflow-manager__2aa73405.yml",
];
/// Keys that mean something here on every engine: what is below them does, too. Every other key has to
/// be listed by the plan.
const HELD: [&str; 19] = [
    "run.type",
    "env",
    "resources.cpu",
    "resources.max_mem",
    "resources.soft_mem_limit",
    "expose.name",
    "expose.port",
    "expose.health_check",
    "dependencies",
    "autoscaling.min_count",
    "autoscaling.max_count",
    "deploy_config.autoDeployEnvs",
    "deploy_config.canaryInProd",
    "externalUrlUsage",
    "lambda.Timeout",
    "lambda.MaxConcurrent",
    "build",
    // Said to people, and to instances.
    "team",
    "shepherds",
];

struct App {
    name: String,
    file: PathBuf,
    text: String,
    definition: Definition,
}

impl App {
    fn instances(&self) -> u32 {
        match self.definition.run.kind {
            RunKind::Cron | RunKind::Job => 0,
            RunKind::Lambda => 1,
            _ => self.definition.count(),
        }
    }

    /// The ports at which its image listens; a function's is the one that it is told.
    fn ports(&self) -> String {
        let ports: BTreeSet<u16> = self.definition.expose.iter().map(|one| one.port).collect();
        ports.iter().map(|port| format!("{port}\n")).collect()
    }
}

/// The path that is asked for, where that is how an entry is checked.
fn checked(expose: &Expose) -> Option<&str> {
    match &expose.health_check.kind {
        HealthCheckKind::Http { path } => Some(path),
        HealthCheckKind::Tcp => None,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/launch")
}

/// The app that a file describes; nothing when it describes none, or is not right.
fn app(file: PathBuf, suffix: &str) -> Option<App> {
    let text = std::fs::read_to_string(&file).expect("a launch file");
    let stem = file.file_stem()?.to_str()?;
    let name = stem.split("__").nth(1)?.trim_start_matches("testApp_launch_");
    match parse(stem, text.as_bytes()).into_result() {
        Ok((LaunchFile::App(definition), _)) => {
            let name = format!("{name}{suffix}");
            Some(App { name, file, text, definition: *definition })
        }
        Ok((LaunchFile::DataStore(_), _)) | Err(_) => None,
    }
}

fn apps() -> Vec<App> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder().join("current"))
        .expect("launch files")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut all: Vec<App> = files.into_iter().filter_map(|file| app(file, "")).collect();
    let past = SEVERAL_PORTS.map(|name| app(folder().join("past").join(name), "-before"));
    all.extend(past.into_iter().map(|app| app.expect("a version with several ports")));
    all
}

/// An image that serves its files at the ports of its app, once it has every variable that it asks for.
fn make_image(socket: &Path, apps: &[App]) {
    let place = tempfile::tempdir().expect("a folder");
    let put = |path: String, text: &str| {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    put("www/index.html".to_owned(), "ok");
    for App { name, definition, .. } in apps {
        put(format!("needs/{name}"), &definition.env.join("\n"));
        if definition.run.kind.ends() {
            put(format!("ends/{name}"), "");
        }
        for path in definition.expose.iter().filter_map(checked).filter(|path| *path != "/") {
            put(format!("www{path}"), "ok");
        }
    }
    for app in apps {
        put(format!("ports/{}", app.name), &app.ports());
    }
    put(
        "start".to_owned(),
        "for name in $(cat /needs/$_APP_NAME); do\n\
           eval value=\\$$name; [ -n \"$value\" ] || { echo \"no $name\"; exit 3; }\n\
         done\n\
         [ -e /ends/$_APP_NAME ] && exit 0\n\
         for port in $(cat /ports/$_APP_NAME) ${PORT:-}; do\n\
           [ -e /tmp/at-$port ] || httpd -p $port -h /www || exit 4; touch /tmp/at-$port\n\
         done\n\
         exec sleep 1000000\n",
    );
    let dockerfile = format!(
        "FROM {IMAGE}\nCOPY www /www\nCOPY needs /needs\nCOPY ports /ports\nCOPY ends /ends\n\
         COPY start /start\nCMD [\"sh\", \"/start\"]\n"
    );
    put("Dockerfile".to_owned(), &dockerfile);
    let built = docker(socket)
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", ALL])
        .arg(place.path())
        .output()
        .expect("docker");
    assert!(built.status.success(), "{}", words(&built));
}

fn answer(ark: &Ark, host: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&ark.http, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

/// The paths of the keys of a file that have a value, without the places in lists: `expose.port`. These
/// files are in block style, with short lists in brackets.
fn keys(text: &str) -> BTreeSet<String> {
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut all = BTreeSet::new();
    for line in text.lines() {
        let bare = line.trim_start();
        let item = bare.trim_start_matches("- ").trim_start();
        let indent = line.len() - item.len();
        let Some((key, value)) = item.split_once(':') else { continue };
        let is_key = key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let separate = value.is_empty() || value.starts_with(' ');
        if key.is_empty() || !is_key || !separate {
            continue;
        }
        above.retain(|(at, _)| *at < indent);
        above.push((indent, key.to_owned()));
        let value = value.split(" #").next().unwrap_or_default().trim();
        let parts: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
        if !value.is_empty() && !["[]", "{}", "null", "~"].contains(&value) {
            all.insert(parts.join("."));
        }
    }
    all
}

/// Whether a key stands under one of these, or is one of them.
fn under<'a>(key: &str, mut paths: impl Iterator<Item = &'a str>) -> bool {
    paths.any(|path| {
        key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// `expose[0].bind` as `expose.bind`.
fn without_places(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.filter_map(|part| part.split_once(']'));
    rest.fold(first, |path, (_, rest)| path + rest)
}

/// A key that a file has is held, or the plan says that it is not.
fn is_held_or_listed(ark: &Ark, app: &App) {
    let file = app.file.to_string_lossy();
    let output =
        ark.run(&["plan", &app.name, "-e", ENV, "--file", &file, "--image", ALL, "--json"]);
    let plan = last_json(&output);
    assert!(plan["not_enforced"].is_array(), "{}: {}", app.name, words(&output));
    let list = plan["not_enforced"].as_array().cloned().unwrap_or_default();
    let listed: BTreeSet<String> =
        list.iter().filter_map(|one| one["path"].as_str()).map(without_places).collect();
    for key in keys(&app.text) {
        let known = HELD.iter().copied().chain(listed.iter().map(String::as_str));
        assert!(under(&key, known), "{}: `{key}` is neither held nor listed: {listed:?}", app.name);
    }
}

/// Sets what an app asks for.
fn configure(ark: &Ark, App { name, definition, .. }: &App) {
    if !definition.env.is_empty() {
        let values: Vec<String> = definition.env.iter().map(|name| format!("{name}=80")).collect();
        let mut set = vec!["config", "set", "-e", ENV, name];
        set.extend(values.iter().map(String::as_str));
        let output = ark.run(&set);
        assert!(output.status.success(), "{name}: {}", words(&output));
    }
}

fn begin(ark: &Ark, App { name, file, .. }: &App) -> String {
    let file = file.to_string_lossy();
    let d = ark
        .json(&["deploy", name, "-e", ENV, "--file", &file, "--image", ALL, "--detach", "--json"]);
    d["id"].as_str().unwrap_or_else(|| panic!("{name}: {d}")).to_owned()
}

fn serves(ark: &Ark, app: &App) {
    let name = &app.name;
    for (index, expose) in app.definition.expose.iter().enumerate() {
        let host = match index {
            0 => ark.host(name),
            _ => format!("{}.{}", expose.name, ark.host(name)),
        };
        let path = checked(expose).unwrap_or("/");
        let text = answer(ark, &host, path);
        assert!(text.is_some_and(|text| text.ends_with("ok")), "{name}: {host}{path}");
    }
    match app.definition.run.kind {
        RunKind::Lambda => {
            let text = answer(ark, &ark.host(name), "/");
            assert!(text.is_some_and(|text| text.ends_with("ok")), "{name} is called");
        }
        RunKind::Job | RunKind::Cron => {
            let output = ark.run(&["run", name, "-e", ENV]);
            assert!(output.status.success(), "{name}: {}", words(&output));
        }
        RunKind::Service | RunKind::Worker | RunKind::Daemon => {
            let output = ark.run(&["ps", "-e", ENV, name, "--json"]);
            let active = words(&output).matches("\"state\":\"active\"").count();
            assert_eq!(active, app.definition.count() as usize, "{name}: {}", words(&output));
        }
    }
}

/// Deploys some apps beside each other, looks at them, and stops them.
fn run(ark: &Ark, apps: &[App]) {
    let begun: Vec<String> = apps.iter().map(|app| begin(ark, app)).collect();
    for (app, id) in apps.iter().zip(&begun) {
        let over = ark.wait_over(id, DEADLINE);
        assert_eq!(state(&over), "succeeded", "{}: {over}", app.name);
        serves(ark, app);
    }
    for app in apps.iter().filter(|app| !app.definition.run.kind.ends()) {
        let output = ark.run(&["stop", &app.name, "-e", ENV, "--detach"]);
        assert!(output.status.success(), "{}: {}", app.name, words(&output));
    }
}

#[test]
fn real_definitions_run_unchanged() {
    if !folder().is_dir() {
        return lacking::skip(TEST, lacking::Lack::SharedData, "there is no ../shared/data/launch");
    }
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(TEST, reason),
    };
    let mut apps = apps();
    assert!(apps.len() >= 29, "{} files describe an app", apps.len());
    make_image(socket, &apps);
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let at_work = || {
        let output = docker(socket).args(["ps", "-q"]).output().expect("docker");
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    for app in &apps {
        is_held_or_listed(&ark, app);
        configure(&ark, app);
    }
    apps.sort_by_key(App::instances);
    while !apps.is_empty() {
        let mut some = vec![apps.remove(0)];
        let mut instances = some[0].instances();
        while apps.first().is_some_and(|app| instances + app.instances() <= INSTANCES_AT_ONCE) {
            instances += apps[0].instances();
            some.push(apps.remove(0));
        }
        run(&ark, &some);
    }
    // The instances are not this test's children and carry no mark: they end with their Ark.
    harness::eventually_within(DEADLINE, "all containers end", || at_work() == 0);
    drop(ark);
    let _ = docker(socket).args(["rmi", "-f", ALL]).output();
}

/// Entries of one `port` are one listener, also of a process, which is told one number.
#[test]
fn entries_of_one_port_are_one_listener_of_a_process() {
    let ark = Ark::up();
    let file = ark.dir.path().join("two.yml");
    let text = format!(
        "run: {{command: [\"{}\", \"sample\"], stop_grace: 5s}}\n\
         expose:\n\
         - {{name: https, port: 80, health_check: {{type: http, path: /_health}}}}\n\
         - {{name: http, port: 80, health_check: {{type: http, path: /_health}}}}\n\
         deploy: {{min_healthy_time: 300ms, ready_timeout: 20s, deadline: 60s}}\n\
         env_defaults: {{VERSION: \"1\", MARK: \"{}\"}}\n",
        harness::ark(),
        ark.mark
    );
    std::fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy();
    let output = ark.run(&["deploy", "two", "-e", ENV, "--file", &file]);
    assert!(output.status.success(), "{}", words(&output));
    for host in [ark.host("two"), format!("http.{}", ark.host("two"))] {
        assert!(
            answer(&ark, &host, "/version").is_some_and(|text| text.trim_end().ends_with('1')),
            "{host}"
        );
    }
}

const COMPOSE: &str = r#"
services:
  api:
    image: ark-test/busybox:1
    command: [sh, -c, "mkdir /tmp/www && echo from-$$NAME > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
    environment: {NAME: api}
    expose: ["8080"]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://localhost:8080/"], interval: 1s}
    mem_limit: 64m
  web:
    image: ark-test/busybox:1
    command: [sh, -c, "mkdir /tmp/www && echo from-web > /tmp/www/index.html && exec httpd -f -p 80 -h /tmp/www"]
    ports: ["8080:80"]
    depends_on: {api: {condition: service_healthy}}
    volumes: ["data:/data"]
    stop_grace_period: 2s
    deploy: {replicas: 2, resources: {limits: {cpus: "64"}}}
volumes: {data: {}}
"#;

/// A Compose file is imported, what comes of it is deployed as it is, and its services find each other.
#[test]
fn a_compose_file_is_imported_and_runs() {
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip("a_compose_file_is_imported_and_runs", reason),
    };
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let place = ark.dir.path().join("shop");
    std::fs::create_dir(&place).expect("a folder");
    std::fs::write(place.join("compose.yml"), COMPOSE).expect("a file");
    let here = |arguments: &[&str]| {
        let output = ark.command(arguments).current_dir(&place).output().expect("ark");
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    here(&["import", "compose.yml"]);
    for app in ["api", "web"] {
        here(&["deploy", app, "-e", ENV, "--image", IMAGE]);
    }
    let text = answer(&ark, &ark.host("web"), "/");
    assert!(text.is_some_and(|text| text.trim_end().ends_with("from-web")), "it serves");
    assert_eq!(
        here(&["ps", "-e", ENV, "web", "--json"]).matches("\"state\":\"active\"").count(),
        2
    );
    let ask = "(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1) | \
               nc -w 5 $SERVICE_API_DEFAULT_HOST $SERVICE_API_DEFAULT_PORT; echo kept > /data/it";
    let told = here(&["exec", "web", "-e", ENV, "--", "sh", "-c", ask]);
    assert!(told.contains("from-api"), "{told}");
    here(&["restart", "web", "-e", ENV]);
    let kept = here(&["exec", "web", "-e", ENV, "--", "cat", "/data/it"]);
    assert_eq!(kept.trim(), "kept", "its volume outlives it");
    for app in ["web", "api"] {
        here(&["stop", app, "-e", ENV]);
    }
}
