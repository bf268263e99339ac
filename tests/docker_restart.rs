//! A Docker engine that goes away and comes back, with containers that live on (`--live-restore`)
//! and without: processes never notice, nothing is taken for gone that may run, and a deployment
//! in the middle of which it happens ends well. Each test has a daemon of its own.

mod containers;
mod harness;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use containers::daemon::{OwnDaemon, skip};
use containers::{BACK, Web, answer, at};
use harness::{Ark, ENV, Sample, eventually_within, state, words};

const TWO: Web = Web {
    count: 2,
    deploy: "min_healthy_time: 300ms, ready_timeout: 30s, progress_deadline: 90s, deadline: 150s",
};

/// Two daemons that come and go take each other's firewall rules away.
static ONE_DAEMON: Mutex<()> = Mutex::new(());

fn goes_away_and_comes_back(test: &str, name: &str, options: &[&str], live_on: bool) {
    let _alone = ONE_DAEMON.lock().unwrap_or_else(PoisonError::into_inner);
    let daemon = match OwnDaemon::start(name, options) {
        Ok(daemon) => daemon,
        Err(reason) => return skip(test, &reason),
    };
    let ark = Ark::up_with(&[("DOCKER_HOST", &at(&daemon.socket))]);
    let (output, _) = ark.deploy("proc", &Sample::version("1"));
    assert!(output.status.success(), "{}", words(&output));
    let output = TWO.deployed(&ark, "1");
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
        daemon.running() == 2 && answer(&ark).as_deref() == Some("1")
    });

    // In the middle of a deployment.
    let id = TWO.begun(&ark, "2");
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
        daemon.running() == 2 && answer(&ark).as_deref() == Some(version)
    });
    let output = ark.run(&["stop", containers::WEB, "-e", ENV, "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "no container is left", || daemon.running() == 0);
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

/// Ark's own engine is a socket of its host. What says otherwise is named where an image is asked for, and
/// no daemon that happens to be here runs it instead.
#[test]
fn a_docker_host_elsewhere_runs_nothing_here_and_is_named() {
    let ark = Ark::up_with(&[("DOCKER_HOST", "tcp://10.255.255.1:2376")]);
    let said = words(&ark.run(&["doctor"]));
    assert!(said.contains("ark node add NAME tcp://10.255.255.1:2376"), "{said}");
    let file = ark.dir.path().join("elsewhere.yml");
    std::fs::write(&file, "run: {command: [sleep, \"1000\"]}\n").expect("a file");
    let file = file.to_string_lossy();
    let deploy = ["deploy", "elsewhere", "-e", ENV, "--file", &file, "--image", "web:1"];
    let output = ark.run(&deploy);
    assert!(!output.status.success(), "{}", words(&output));
    assert!(
        words(&output).contains("DOCKER_HOST is tcp://10.255.255.1:2376"),
        "{}",
        words(&output)
    );
    // Processes need no daemon.
    let (output, _) = ark.deploy("proc", &Sample::version("1"));
    assert!(output.status.success(), "{}", words(&output));
}
