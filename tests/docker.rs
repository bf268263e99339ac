//! The same semantics with containers: the rollovers of `rollouts.rs`, strategy by strategy and
//! client by client; releases that are broken, and the way back; an image that cannot be had and later
//! can, a server that is killed and goes on, and nothing left behind. The image holds the `ark` program
//! under test, for its sample app.

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

#[path = "rollouts/broken.rs"]
mod broken_of_containers;
#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;
#[path = "rollouts/rollovers.rs"]
mod rollovers_of_containers;
#[path = "rollouts/traffic.rs"]
mod traffic_of_containers;
#[path = "rollouts/worker.rs"]
mod worker_of_containers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ark_load::{Driver, Load};
use daemon::{daemon, docker, skip};
use harness::{Ark, ENV, Engine, SAMPLE_IMAGE, Sample, ark, eventually, last_json, state, words};

const APP: &str = "web";
/// How many rollovers follow each other under load: each has a new container or two to be made.
const ROLLOVERS: u32 = 3;
/// And how many requests there are in a second meanwhile.
const RATE: f64 = 300.0;
/// Of how many instances a client sees a rollover: what it sees of one more is the same.
const INSTANCES: u32 = 1;
/// What a deployment needs besides its file to run the shell.
const SHELL: [&str; 2] = ["--image", daemon::IMAGE];

/// The Ark of the tests that another suite runs too, with containers; or `None` after having said
/// why not. It ends with the last test that holds it.
fn suite(test: &str) -> Option<Arc<Ark>> {
    static SHARED: Mutex<Weak<Ark>> = Mutex::new(Weak::new());
    let socket = engine(test)?;
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Some(shared.upgrade().unwrap_or_else(|| {
        let ark = Arc::new(Ark::up_on_docker(socket));
        *shared = Arc::downgrade(&ark);
        ark
    }))
}

/// The daemon's socket, with the image made; or `None` after having said why not.
fn engine(test: &str) -> Option<&'static Path> {
    static IMAGE_MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let socket = daemon().map_err(|reason| skip(test, reason)).ok()?;
    let made = IMAGE_MADE.get_or_init(|| make_image(socket));
    made.as_ref().unwrap_or_else(|error| panic!("the sample's image: {error}"));
    Some(socket)
}

/// The program under test with the libraries it names, a shell for hooks, and nothing else.
fn make_image(socket: &Path) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter();
    let busybox = busybox.find(|path| path.exists()).ok_or("there is no static busybox")?;
    let script = format!(
        "set -e; mkdir -p bin tmp run; chmod 1777 tmp; cp {ark} bin/ark; strip bin/ark; \
         cp {busybox} bin/busybox; for a in sh sleep; do ln -s busybox bin/$a; done; \
         for lib in $(ldd {ark} | grep -o '/[^ ]*'); do mkdir -p .$(dirname $lib); cp $lib .$lib; done; \
         tar -c . | docker import --change 'WORKDIR /tmp' \
         --change 'ENTRYPOINT [\"/bin/ark\", \"sample\"]' - {SAMPLE_IMAGE}",
        ark = ark(),
        busybox = busybox.display(),
    );
    let host = format!("unix://{}", socket.display());
    let mut making = Command::new("sh");
    making.args(["-c", &script]).env("DOCKER_HOST", host).current_dir(place.path());
    match making.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(words(&output)),
        Err(error) => Err(error.to_string()),
    }
}

fn containers(socket: &Path, ark: &Ark) -> Vec<String> {
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let label = format!("label=ark.cluster={cluster}");
    let output = docker(socket).args(["ps", "-q", "--filter", &label]).output().expect("docker");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn containers_serve_on_while_the_server_is_killed_in_mid_rollover() {
    let test = "containers_serve_on_while_the_server_is_killed_in_mid_rollover";
    let Some(socket) = engine(test) else { return };
    let mut ark = Ark::up_on_docker(socket);
    let (output, _) = ark.deploy(APP, &Sample::version("before"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(containers(socket, &ark).len(), 2);
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(300.0)
        .mix([(Driver::KeepAlive, 4), (Driver::NewConnection, 2), (Driver::Slow, 1)])
        .slow(Duration::from_millis(300))
        .sse_streams(2)
        .websockets(2)
        .strict()
        .start()
        .expect("load");
    let id = ark.deploy_detached(APP, &Sample::version("after"));
    eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    ark.kill_server();
    ark.start_server();
    let over = ark.wait_over(&id, Duration::from_secs(90));
    assert_eq!(state(&over), "succeeded", "{over}");
    let report = load.stop_blocking();
    println!("{report}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    for version in ["before", "after"] {
        assert!(report.versions.contains_key(version), "{version}: {:?}", report.versions.keys());
    }

    let output = ark.run(&["stop", APP, "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    eventually("no container is left", || containers(socket, &ark).is_empty());
}

#[test]
fn an_image_that_cannot_be_had_is_named_and_later_it_can() {
    let test = "an_image_that_cannot_be_had_is_named_and_later_it_can";
    let Some(ark) = suite(test) else { return };
    let app = "pinned";
    let (output, d) = ark.deploy(app, &Sample::version("1"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
    let file = ark.launch(app, &Sample::version("2"));
    let file = file.to_string_lossy();
    let deploy = ["deploy", app, "-e", ENV, "--file", &file, "--json"];
    let output = ark.run(&[&deploy[..], &["--image", "127.0.0.1:9/no/such:image"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let d = last_json(&output);
    assert_eq!(d["diagnosis"]["kind"], "artifact_missing", "{d}");
    let told = d["diagnosis_words"].as_str().unwrap_or_default();
    assert!(told.contains("no/such"), "{told}");
    // What the last good release pinned is what runs.
    let releases = ark.json(&["releases", app, "-e", ENV, "--json"]);
    assert!(releases.to_string().contains("sha256:"), "{releases}");
    let output = ark.run(&["exec", app, "-e", ENV, "--", "/bin/ark", "version"]);
    assert!(output.status.success(), "{}", words(&output));
    let output = ark.run(&["logs", app, "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    let (output, d) = ark.deploy(app, &Sample::version("3"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
}

/// A container that does nothing, to ask from.
fn caller(ark: &Ark) -> PathBuf {
    let path = ark.dir.path().join("launch/caller.yml");
    let text = format!(
        "run: {{command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]}}\n\
         dependencies: [{APP}, inside]\nautoscaling: {{min_count: 1, max_count: 1}}\n\
         deploy: {{min_healthy_time: 100ms}}\nenv_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn containers_and_processes_find_each_other() {
    let Some(socket) = engine("containers_and_processes_find_each_other") else { return };
    let ark = Ark::up_on_docker(socket);
    let (output, _) = ark.deploy(APP, &Sample::version("of-a-container"));
    assert!(output.status.success(), "{}", words(&output));
    let mut inside = Sample::version("of-a-process").count(1);
    inside.more = format!("dependencies: [{APP}]\n");
    let (output, d) = ark.deploy_on(Engine::Process, "inside", &inside);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
    let file = caller(&ark);
    let file = file.to_string_lossy();
    let image = daemon::IMAGE;
    let output =
        ark.run(&["deploy", "caller", "-e", ENV, "--file", &file, "--image", image, "--json"]);
    assert!(output.status.success(), "{}", words(&output));

    // Two clients, because a static busybox cannot look names up for its wget.
    let from_container = |app: &str| {
        let script = format!(
            "(printf 'GET /version HTTP/1.0\\r\\n\\r\\n'; sleep 1) | \
             nc -w 5 $SERVICE_{app}_DEFAULT_HOST $SERVICE_{app}_DEFAULT_PORT"
        );
        let output = ark.run(&["exec", "caller", "-e", ENV, "--", "sh", "-c", &script]);
        assert!(output.status.success(), "a container asks {app}: {}", words(&output));
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        answer.lines().last().unwrap_or_default().to_owned()
    };
    let from_process = |app: &str| {
        let url = format!("http://$SERVICE_{app}_DEFAULT_HOST:$SERVICE_{app}_DEFAULT_PORT/version");
        let script = format!("curl -sS -m 5 {url}");
        let output = ark.run(&["exec", "inside", "-e", ENV, "--", "/bin/sh", "-c", &script]);
        assert!(output.status.success(), "a process asks {app}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(from_container("WEB"), "of-a-container");
    assert_eq!(from_container("INSIDE"), "of-a-process");
    assert_eq!(from_process("WEB"), "of-a-container");
    // Requests of containers are counted and drained like any other: a rollover cuts none.
    let (output, d) = ark.deploy(APP, &Sample::version("next"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
    assert_eq!(from_container("WEB"), "next");

    // Nothing of it is listed as not held, and a container of no environment is not served.
    let status = ark.json(&["status", "-e", ENV, "--json"]);
    assert!(!status.to_string().contains("loopback"), "{status}");
    let address = ark.run(&["exec", "caller", "-e", ENV, "--", "sh", "-c", "cat /etc/hosts"]);
    let hosts = String::from_utf8_lossy(&address.stdout).into_owned();
    let at = hosts.lines().find_map(|line| line.strip_suffix(APP)).map(str::trim);
    let at = at.unwrap_or_else(|| panic!("no {APP} in {hosts}"));
    let port =
        ark.run(&["exec", "caller", "-e", ENV, "--", "sh", "-c", "echo $SERVICE_WEB_DEFAULT_PORT"]);
    let port = String::from_utf8_lossy(&port.stdout).trim().to_owned();
    let script =
        format!("(printf 'GET /version HTTP/1.0\\r\\n\\r\\n'; sleep 1) | nc -w 5 {at} {port}");
    let stranger =
        docker(socket).args(["run", "--rm", image, "sh", "-c", &script]).output().expect("docker");
    assert!(stranger.stdout.is_empty(), "{}", words(&stranger));
}
