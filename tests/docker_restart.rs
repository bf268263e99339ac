//! A Docker engine that goes away and comes back, with containers that live on (`--live-restore`)
//! and without: processes never notice, nothing is taken for gone that may run, and a deployment
//! in the middle of which it happens ends well. Each test has a daemon of its own.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use daemon::{IMAGE, OwnDaemon, docker, skip};
use harness::{Ark, ENV, Sample, eventually_within, state, words};

const WEB: &str = "web";
/// How long a machine that does other things may take to have two containers serving again.
const BACK: Duration = Duration::from_secs(90);

/// A launch file of the static image's web server.
fn launch(ark: &Ark, version: &str) -> PathBuf {
    let folder = ark.dir.path().join("launch");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("web.yml");
    let text = format!(
        "run: {{type: docker, stop_grace: 2s, command: [sh, -c, \"echo $VERSION > /tmp/index.html; \
         exec httpd -f -p 80 -h /tmp\"]}}\n\
         expose:\n- name: default\n  port: 80\n  health_check: {{type: http, path: /, \
         interval: 100ms, timeout: 2s}}\n\
         autoscaling: {{min_count: 2, max_count: 2}}\n\
         deploy: {{min_healthy_time: 300ms, ready_timeout: 30s, progress_deadline: 90s, \
         deadline: 150s}}\ndrain: {{requests: 2s, streams: 1s}}\n\
         env_defaults: {{VERSION: \"{version}\", MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&path, text).expect("a file");
    path
}

/// What the gateway answers for the app now.
fn answer(ark: &Ark) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&ark.http, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", ark.host(WEB));
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.trim().to_owned())
}

fn running(daemon: &OwnDaemon) -> usize {
    let output = docker(&daemon.socket).args(["ps", "-q"]).output().expect("docker");
    String::from_utf8_lossy(&output.stdout).lines().count()
}

/// Two daemons that come and go take each other's firewall rules away.
static ONE_DAEMON: Mutex<()> = Mutex::new(());

fn goes_away_and_comes_back(test: &str, name: &str, options: &[&'static str], live_on: bool) {
    let _alone = ONE_DAEMON.lock().unwrap_or_else(PoisonError::into_inner);
    let daemon = match OwnDaemon::start(name, options) {
        Ok(daemon) => daemon,
        Err(reason) => return skip(test, &reason),
    };
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", daemon.socket.display()))]);
    let (output, _) = ark.deploy("proc", &Sample::version("1"));
    assert!(output.status.success(), "{}", words(&output));
    let file = launch(&ark, "1");
    let file = file.to_string_lossy();
    let deploy = ["deploy", WEB, "-e", ENV, "--file", &file, "--image", IMAGE, "--json"];
    let output = ark.run(&deploy);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(answer(&ark).as_deref(), Some("1"));

    // Processes are deployed while nothing is known of containers.
    daemon.stop();
    let (output, d) = ark.deploy("proc", &Sample::version("2"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
    if live_on {
        assert_eq!(answer(&ark).as_deref(), Some("1"), "containers serve on without the daemon");
    }
    daemon.again();
    eventually_within(BACK, "two containers serve again", || {
        running(&daemon) == 2 && answer(&ark).as_deref() == Some("1")
    });

    // In the middle of a deployment.
    launch(&ark, "2");
    let detached = [&deploy[..], &["--detach"]].concat();
    let id = ark.json(&detached)["id"].as_str().expect("an id").to_owned();
    harness::eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    daemon.stop();
    daemon.again();
    let over = ark.wait_over(&id, Duration::from_secs(160));
    let version = match state(&over) {
        "succeeded" => "2",
        // What it began was ended with the daemon: said, and the old side is whole again.
        "rolled_back" if !live_on => "1",
        other => panic!("{other}: {over}"),
    };
    eventually_within(BACK, "two containers of one version serve", || {
        running(&daemon) == 2 && answer(&ark).as_deref() == Some(version)
    });
    let output = ark.run(&["stop", WEB, "-e", ENV, "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "no container is left", || running(&daemon) == 0);
    let processes = ark.run(&["ps", "proc", "-e", ENV, "--json"]);
    let text = String::from_utf8_lossy(&processes.stdout).into_owned();
    assert_eq!(text.matches("\"state\":\"active\"").count(), 2, "{}", words(&processes));
    drop(ark);
}

#[test]
fn a_daemon_is_restarted_and_its_containers_live_on() {
    let test = "a_daemon_is_restarted_and_its_containers_live_on";
    goes_away_and_comes_back(test, "live", &["--live-restore"], true);
}

#[test]
fn a_daemon_is_restarted_and_its_containers_end() {
    let test = "a_daemon_is_restarted_and_its_containers_end";
    goes_away_and_comes_back(test, "ends", &[], false);
}
