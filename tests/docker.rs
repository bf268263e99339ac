//! The same semantics with containers: rollovers under load that fail nothing, a broken image that
//! is returned, an image that cannot be had, a server that is killed and goes on, and nothing left
//! behind. The image holds the `ark` program under test, for its sample app.

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ark_load::{Driver, Load};
use daemon::{daemon, docker, skip};
use harness::{Ark, ENV, ark, eventually, last_json, state, words};
use serde_json::Value;

const APP: &str = "web";
const IMAGE: &str = "ark-test/sample:1";
const ROLLOVERS: u32 = 5;

/// The daemon's socket, with the image made; or `None` after having said why not.
fn engine(test: &str) -> Option<&'static Path> {
    static IMAGE_MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let socket = daemon().map_err(|reason| skip(test, reason)).ok()?;
    let made = IMAGE_MADE.get_or_init(|| make_image(socket));
    made.as_ref().unwrap_or_else(|error| panic!("the sample's image: {error}"));
    Some(socket)
}

/// The program under test with the libraries it names, and nothing else.
fn make_image(socket: &Path) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|e| e.to_string())?;
    let script = format!(
        "set -e; mkdir -p bin tmp run; chmod 1777 tmp; cp {ark} bin/ark; strip bin/ark; \
         for lib in $(ldd {ark} | grep -o '/[^ ]*'); do mkdir -p .$(dirname $lib); cp $lib .$lib; done; \
         tar -c . | docker import --change 'WORKDIR /tmp' \
         --change 'ENTRYPOINT [\"/bin/ark\", \"sample\"]' - {IMAGE}",
        ark = ark(),
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

/// A launch file as its authors write them: no command, no engine, the port that the image uses.
fn launch(ark: &Ark, version: &str, more: &str) -> PathBuf {
    let folder = ark.dir.path().join("launch");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{APP}.yml"));
    let text = format!(
        "run: {{type: docker, stop_grace: 5s}}\n\
         expose:\n- name: default\n  port: 80\n  health_check: {{type: http, path: /_health, \
         interval: 100ms, timeout: 2s}}\n\
         resources: {{max_mem: 0.125}}\n\
         autoscaling: {{min_count: 2, max_count: 2}}\n\
         deploy: {{min_healthy_time: 300ms, ready_timeout: 20s, progress_deadline: 60s, \
         deadline: 120s}}\n\
         drain: {{requests: 10s, streams: 3s}}\n\
         env_defaults:\n  VERSION: \"{version}\"\n  LISTEN_HOST: 0.0.0.0\n  MARK: \"{mark}\"\n{more}",
        mark = ark.mark,
    );
    std::fs::write(&path, text).expect("a file");
    path
}

fn deploy(ark: &Ark, version: &str, more: &str, image: &str) -> (std::process::Output, Value) {
    let file = launch(ark, version, more);
    let file = file.to_string_lossy();
    let output = ark.run(&["deploy", APP, "-e", ENV, "--file", &file, "--image", image, "--json"]);
    let last = last_json(&output);
    (output, last)
}

fn counted(receipt: &Value, key: &str) -> u64 {
    receipt[key].as_u64().unwrap_or_else(|| panic!("no {key} in {receipt}"))
}

fn containers(socket: &Path, ark: &Ark) -> Vec<String> {
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let label = format!("label=ark.cluster={cluster}");
    let output = docker(socket).args(["ps", "-q", "--filter", &label]).output().expect("docker");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn rollovers_of_containers_under_load_fail_nothing_and_outlive_the_server() {
    let Some(socket) = engine("rollovers_of_containers_under_load") else { return };
    let mut ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let (output, first) = deploy(&ark, "0", "", IMAGE);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&first), "succeeded");
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
    let mut served = 0;
    for version in 1..=ROLLOVERS {
        let (output, d) = deploy(&ark, &version.to_string(), "", IMAGE);
        assert!(output.status.success(), "rollover {version}: {}", words(&output));
        let receipt = &d["receipt"];
        assert_eq!(counted(receipt, "failed") + counted(receipt, "cut"), 0, "{version}: {receipt}");
        served += counted(receipt, "served");
    }
    // The server dies in the middle of a rollover; the containers serve on, and another goes on.
    let file = launch(&ark, "after", "");
    let file = file.to_string_lossy();
    let detached =
        ["deploy", APP, "-e", ENV, "--file", &file, "--image", IMAGE, "--detach", "--json"];
    let id = ark.json(&detached)["id"].as_str().expect("an id").to_owned();
    eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    ark.kill_server();
    ark.start_server();
    let over = ark.wait_over(&id, Duration::from_secs(90));
    assert_eq!(state(&over), "succeeded", "{over}");

    let report = load.stop_blocking();
    println!("{report}\nreceipts: {served} served");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    for version in ["0", "1", "5", "after"] {
        assert!(report.versions.contains_key(version), "{version}: {:?}", report.versions.keys());
    }

    let output = ark.run(&["stop", APP, "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    eventually("no container is left", || containers(socket, &ark).is_empty());
}

#[test]
fn containers_that_fail_are_diagnosed() {
    let Some(socket) = engine("containers_that_fail_are_diagnosed") else { return };
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let (output, d) = deploy(&ark, "1", "", IMAGE);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
    for (more, image, kind, said) in [
        ("  BROKEN: crash\n", IMAGE, "crashed", "exit 1"),
        ("", "127.0.0.1:9/no/such:image", "artifact_missing", "no/such"),
    ] {
        let (output, d) = deploy(&ark, "bad", more, image);
        assert_eq!(output.status.code(), Some(3), "{kind}: {}", words(&output));
        assert_eq!(d["diagnosis"]["kind"], kind, "{d}");
        let told = d["diagnosis_words"].as_str().unwrap_or_default();
        assert!(told.contains(said), "{kind}: {told}");
    }
    // What the last good release pinned is what runs.
    let releases = ark.json(&["releases", APP, "-e", ENV, "--json"]);
    assert!(releases.to_string().contains("sha256:"), "{releases}");
    let output = ark.run(&["exec", APP, "-e", ENV, "--", "/bin/ark", "version"]);
    assert!(output.status.success(), "{}", words(&output));
    let output = ark.run(&["logs", APP, "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
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
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let (output, _) = deploy(&ark, "of-a-container", "", IMAGE);
    assert!(output.status.success(), "{}", words(&output));
    let mut inside = harness::Sample::version("of-a-process").count(1);
    inside.more = format!("dependencies: [{APP}]\n");
    let (output, d) = ark.deploy("inside", &inside);
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
    let (output, d) = deploy(&ark, "next", "", IMAGE);
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
