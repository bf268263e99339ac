//! A real Ark for one test: `ark up` in a directory of its own on free ports, its sample app as
//! releases to deploy, `kill -9` for every role, and a look at what is left afterwards. Used by the
//! whole-process suites; knows the command line and the API only from outside.

#![allow(dead_code, reason = "each suite uses a part of it")]
#![allow(clippy::print_stderr, reason = "what a failed test leaves behind is shown with it")]
#![allow(clippy::needless_pass_by_value, reason = "numbers and texts are given as they are")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) mod lacking;
mod raw;
#[allow(unused_imports, reason = "each suite uses a part of it")]
pub(crate) use raw::Raw;

/// How long a server may take to be up, and any single command to end.
const UP_DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn ark() -> &'static str {
    env!("CARGO_BIN_EXE_ark")
}

/// The image from which the sample app runs in a container; a suite that wants it makes it.
pub(crate) const SAMPLE_IMAGE: &str = "ark-test/sample:1";

/// What the sample app runs on. A test that takes its Ark from its suite runs on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Process,
    Docker,
}

impl Engine {
    /// What `ark deploy` is told besides the file.
    fn artifact(self) -> &'static [&'static str] {
        match self {
            Self::Process => &[],
            Self::Docker => &["--image", SAMPLE_IMAGE],
        }
    }
}

/// One Ark. Everything it started is ended when it is dropped.
pub(crate) struct Ark {
    /// The file system of its own that its data is on, if any: gone before the directory is.
    disk: Option<Disk>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) api: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) server_pid: i32,
    token: String,
    server: Option<Child>,
    /// In the environment of every instance, so that what is left over is found.
    pub(crate) mark: String,
    variables: Vec<(String, String)>,
    /// What samples are deployed on, unless a test says otherwise.
    engine: Engine,
    /// The soft limit of open files that the server is started with, if not this process's.
    open_files: Option<u32>,
}

impl Ark {
    /// Starts server and gateway.
    pub(crate) fn up() -> Self {
        Self::up_with(&[])
    }

    /// The same, for samples in containers of the daemon at this socket.
    pub(crate) fn up_on_docker(socket: &Path) -> Self {
        let mut ark = Self::prepared(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
        ark.engine = Engine::Docker;
        ark.start_server();
        ark
    }

    /// The same, with its data on a file system of so many MiB; `None` where none can be mounted.
    pub(crate) fn up_on_small_disk(size_mib: u32) -> Option<Self> {
        let mut ark = Self::prepared(&[]);
        ark.disk = Some(Disk::mounted(ark.data_dir(), size_mib)?);
        ark.start_server();
        Some(ark)
    }

    /// The same, started with this soft limit of open files.
    pub(crate) fn up_with_open_files(soft: u32) -> Self {
        let mut ark = Self::prepared(&[]);
        ark.open_files = Some(soft);
        ark.start_server();
        ark
    }

    /// The same, with these variables in the server's environment.
    pub(crate) fn up_with(variables: &[(&str, &str)]) -> Self {
        let mut ark = Self::prepared(variables);
        ark.start_server();
        ark
    }

    fn prepared(variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // Apps run under users of their own and must get through to their files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("permissions");
        let nothing = SocketAddr::from(([127, 0, 0, 1], 0));
        let mark = format!("ark-test-{}", uuid::Uuid::new_v4());
        Self {
            disk: None,
            dir,
            api: nothing,
            http: nothing,
            server_pid: 0,
            token: String::new(),
            server: None,
            mark,
            variables: variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            engine: Engine::Process,
            open_files: None,
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the server; adopts whatever runs.
    pub(crate) fn start_server(&mut self) {
        let http = match self.http.port() {
            0 => "127.0.0.1:0".to_owned(),
            _ => self.http.to_string(),
        };
        let mut command = match self.open_files {
            None => Command::new(ark()),
            Some(soft) => {
                let mut shell = Command::new("sh");
                let script = "ulimit -S -n \"$0\" && exec \"$@\"";
                shell.args(["-c", script, &soft.to_string(), ark()]);
                shell
            }
        };
        let mut child = command
            .args(["up", "--json", "--api", "127.0.0.1:0", "--http", &http, "--data-dir"])
            .arg(self.data_dir())
            .envs(self.variables.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log(&self.dir.path().join("server.log")))
            .spawn()
            .expect("ark up starts");
        let stdout = child.stdout.take().expect("piped");
        let (send, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            let _ = send.send(line);
            // What follows is read and thrown away, so that the pipe never fills.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        let line = line.recv_timeout(UP_DEADLINE).unwrap_or_default();
        let up: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
            panic!("ark up said {line:?} ({error}); its log:\n{log}")
        });
        let address = |key: &str| -> SocketAddr {
            let text = up[key].as_str().unwrap_or_default().trim_start_matches("http://");
            text.parse().unwrap_or_else(|_| panic!("{key} is no address: {up}"))
        };
        self.api = address("api");
        self.http = address("http");
        self.server_pid = number(&up["pid"]);
        let file = up["token_file"].as_str().expect("token_file");
        self.token = fs::read_to_string(file).expect("the token").trim().to_owned();
        self.server = Some(child);
    }

    /// `kill -9`, and waits until it is dead.
    pub(crate) fn kill_server(&mut self) {
        kill(self.server_pid);
        if let Some(mut child) = self.server.take() {
            let _ = child.wait();
        }
    }

    /// SIGTERM, as who restarts the server sends it; answers what `ark up` ends with.
    pub(crate) fn end_server(&mut self) -> ExitStatus {
        signal(self.server_pid, "-TERM");
        let child = self.server.as_mut().expect("a server");
        let mut ended = None;
        eventually("the server ends", || {
            ended = child.try_wait().expect("a child of this process");
            ended.is_some()
        });
        self.server = None;
        ended.expect("it ended")
    }

    /// The gateway's worker process.
    pub(crate) fn gateway_pid(&self) -> i32 {
        let text = fs::read_to_string(self.data_dir().join("gateway.json")).expect("gateway.json");
        number(&serde_json::from_str::<Value>(&text).expect("JSON")["pid"])
    }

    /// Kills the gateway's worker and waits until another serves.
    pub(crate) fn kill_gateway(&self) {
        let before = self.gateway_pid();
        kill(before);
        eventually("a new gateway", || {
            let text = fs::read_to_string(self.data_dir().join("gateway.json")).unwrap_or_default();
            let pid = serde_json::from_str::<Value>(&text).map(|v| number(&v["pid"])).unwrap_or(0);
            pid != before && pid != 0
        });
    }

    /// A command against this Ark.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ark());
        command
            .args(args)
            .env_remove("ARK_ENV")
            .env("ARK_SERVER", format!("http://{}", self.api))
            .env("ARK_TOKEN", &self.token)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("ark runs")
    }

    /// Runs a command that must succeed; answers the last line of its output as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "ark {args:?}: {}", words(&output));
        last_json(&output)
    }

    /// One request to the API. `None` when there is no server.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.ask("GET", path, "")
    }

    /// Deploys the sample app as [`Self::deploy_detached`] does, without starting a client; answers
    /// the deployment.
    pub(crate) fn post_deployment(&self, app: &str, sample: &Sample) -> Value {
        let text = sample.yaml(self.engine, &self.mark);
        let body = json!({"launch": {"file": format!("launch/{app}.yml"), "text": text}});
        let path = format!("/v1/environments/{ENV}/apps/{app}/deployments");
        self.ask("POST", &path, &body.to_string()).expect("an answer")
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut stream = TcpStream::connect_timeout(&self.api, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.api,
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body.to_owned()
        };
        serde_json::from_str(&body).ok()
    }

    pub(crate) fn deployment(&self, id: &str) -> Option<Value> {
        self.get(&format!("/v1/deployments/{id}"))
    }

    /// Waits until a deployment is over; answers it.
    pub(crate) fn wait_over(&self, id: &str, deadline: Duration) -> Value {
        let until = Instant::now() + deadline;
        loop {
            if let Some(d) = self.deployment(id)
                && is_over(state(&d))
            {
                return d;
            }
            assert!(Instant::now() < until, "{id} is not over: {:?}", self.deployment(id));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Processes that carry this test's mark: instances and what they started.
    pub(crate) fn marked(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
            let has = environ.windows(self.mark.len()).any(|w| w == self.mark.as_bytes());
            if has && !zombie {
                found.push(pid);
            }
        }
        found
    }

    /// Writes a launch file of the sample app.
    pub(crate) fn launch(&self, app: &str, sample: &Sample) -> PathBuf {
        self.launch_on(self.engine, app, sample)
    }

    fn launch_on(&self, engine: Engine, app: &str, sample: &Sample) -> PathBuf {
        let folder = self.dir.path().join("launch");
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{app}.yml"));
        fs::write(&path, sample.yaml(engine, &self.mark)).expect("a file");
        path
    }

    /// Deploys the sample app without waiting; answers the deployment's id.
    pub(crate) fn deploy_detached(&self, app: &str, sample: &Sample) -> String {
        let file = self.launch(app, sample);
        let file = file.to_string_lossy();
        let deploy = ["deploy", app, "-e", ENV, "--file", &file, "--detach", "--json"];
        let d = self.json(&[&deploy, self.engine.artifact()].concat());
        d["id"].as_str().unwrap_or_else(|| panic!("no id in {d}")).to_owned()
    }

    /// Deploys the sample app and waits for the end.
    pub(crate) fn deploy(&self, app: &str, sample: &Sample) -> (Output, Value) {
        self.deploy_on(self.engine, app, sample)
    }

    /// The same, on this engine.
    pub(crate) fn deploy_on(&self, engine: Engine, app: &str, sample: &Sample) -> (Output, Value) {
        let file = self.launch_on(engine, app, sample);
        let file = file.to_string_lossy();
        let deploy = ["deploy", app, "-e", ENV, "--file", &file, "--json"];
        let output = self.run(&[&deploy, engine.artifact()].concat());
        let last = last_json(&output);
        (output, last)
    }

    pub(crate) fn host(&self, app: &str) -> String {
        format!("{app}.{ENV}.localhost")
    }
}

/// A small file system in memory.
struct Disk(PathBuf);

impl Disk {
    fn mounted(place: PathBuf, size_mib: u32) -> Option<Self> {
        fs::create_dir_all(&place).expect("a folder");
        let options = format!("size={size_mib}m,mode=0711");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "ark-test"]).arg(&place);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Drop for Ark {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for file in ["server.log", "data/gateway.log"] {
                let text = fs::read_to_string(self.dir.path().join(file)).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(40).collect();
                eprintln!("--- {file}");
                for line in tail.iter().rev() {
                    eprintln!("{line}");
                }
            }
        }
        if self.get("/healthz").is_none() && !std::thread::panicking() {
            self.start_server();
        }
        let data_dir = self.data_dir().to_string_lossy().into_owned();
        let _ = self.command(&["down", "--yes", "--data-dir", &data_dir]).output();
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // After a failed test nothing must be left either.
        if let Ok(text) = fs::read_to_string(self.data_dir().join("gateway.json"))
            && let Ok(gateway) = serde_json::from_str::<Value>(&text)
        {
            let supervisor: i32 = number(&gateway["supervisor_pid"]);
            if supervisor > 1 && command_line(supervisor).contains(&data_dir) {
                kill(supervisor);
            }
            let worker: i32 = number(&gateway["pid"]);
            if worker > 1 && command_line(worker).contains(&data_dir) {
                kill(worker);
            }
        }
        for pid in self.marked() {
            kill(pid);
        }
    }
}

/// The environment that all suites use: permanent, so the careful defaults hold.
pub(crate) const ENV: &str = "production";

/// A release of the sample app.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) version: String,
    pub(crate) count: u32,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) min_healthy: &'static str,
    pub(crate) ready_timeout: &'static str,
    pub(crate) drain_requests: &'static str,
    pub(crate) drain_streams: &'static str,
    pub(crate) stop_grace: &'static str,
    pub(crate) deploy: String,
    pub(crate) more: String,
    pub(crate) on_defaults: bool,
}

impl Sample {
    /// A good release with deadlines of seconds.
    pub(crate) fn version(version: impl ToString) -> Self {
        Self {
            version: version.to_string(),
            count: 2,
            variables: BTreeMap::new(),
            min_healthy: "300ms",
            ready_timeout: "40s",
            drain_requests: "10s",
            drain_streams: "3s",
            stop_grace: "5s",
            deploy: String::new(),
            more: String::new(),
            on_defaults: false,
        }
    }

    pub(crate) fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    pub(crate) fn ready_timeout(mut self, time: &'static str) -> Self {
        self.ready_timeout = time;
        self
    }

    pub(crate) fn stop_grace(mut self, time: &'static str) -> Self {
        self.stop_grace = time;
        self
    }

    /// More keys of the section `deploy`, in one line.
    pub(crate) fn deploy(mut self, keys: &str) -> Self {
        self.deploy = format!(", {keys}");
        self
    }

    /// Nothing but what an app must say: every deadline, check and drain is Ark's own.
    pub(crate) fn on_defaults(mut self) -> Self {
        self.on_defaults = true;
        self
    }

    fn yaml(&self, engine: Engine, mark: &str) -> String {
        let mut variables = format!("  VERSION: \"{}\"\n  MARK: \"{mark}\"\n", self.version);
        // A container is reached from outside of it, and its image says what is run.
        let (run, resources) = match engine {
            Engine::Process => (format!("command: [\"{}\", \"sample\"]", ark()), ""),
            Engine::Docker => {
                variables.push_str("  LISTEN_HOST: 0.0.0.0\n");
                ("type: docker".to_owned(), "resources: {max_mem: 0.125}\n")
            }
        };
        for (name, value) in &self.variables {
            variables.push_str(&format!("  {name}: \"{value}\"\n"));
        }
        let (count, more) = (self.count, &self.more);
        if self.on_defaults {
            return format!(
                "run: {{{run}}}\n\
                 expose: [{{name: default, port: 80, health_check: {{type: http, path: /_health}}}}]\n\
                 autoscaling: {{min_count: {count}}}\nenv_defaults:\n{variables}{more}"
            );
        }
        format!(
            "run: {{{run}, stop_grace: {grace}}}\n\
             expose:\n- name: default\n  port: 80\n  health_check: {{type: http, path: /_health, \
             interval: 100ms, timeout: 2s}}\n\
             {resources}autoscaling: {{min_count: {count}, max_count: {count}}}\n\
             deploy: {{min_healthy_time: {healthy}, ready_timeout: {ready}, \
             progress_deadline: 60s, deadline: 120s{deploy}}}\n\
             drain: {{requests: {requests}, streams: {streams}}}\n\
             env_defaults:\n{variables}{more}",
            grace = self.stop_grace,
            healthy = self.min_healthy,
            ready = self.ready_timeout,
            requests = self.drain_requests,
            streams = self.drain_streams,
            deploy = self.deploy,
        )
    }
}

pub(crate) fn state(deployment: &Value) -> &str {
    deployment["state"].as_str().unwrap_or_default()
}

pub(crate) fn is_over(state: &str) -> bool {
    matches!(state, "succeeded" | "rolled_back" | "failed" | "timed_out" | "superseded")
}

pub(crate) fn last_json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("no JSON ({e}): {}", words(output)))
}

pub(crate) fn words(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits for something that must come.
pub(crate) fn eventually(what: &str, test: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(30), what, test);
}

/// The same, with another deadline.
#[allow(dead_code, reason = "not every suite waits so long")]
pub(crate) fn eventually_within(deadline: Duration, what: &str, mut test: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !test() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn kill(pid: i32) {
    signal(pid, "-9");
}

fn signal(pid: i32, which: &str) {
    assert!(pid > 1, "not a process to signal: {pid}");
    let _ = Command::new("kill").args([which, &pid.to_string()]).stderr(Stdio::null()).status();
}

fn command_line(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/cmdline"))
        .map(|b| String::from_utf8_lossy(&b).replace('\0', " "))
        .unwrap_or_default()
}

fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
}

fn log(path: &Path) -> Stdio {
    let file = fs::OpenOptions::new().create(true).append(true).open(path).expect("a log file");
    Stdio::from(file)
}

fn unchunk(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || after.len() < size {
            break;
        }
        out.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    out
}
