//! Daemons that accept connections and answer none, for a while: another host's, then Ark's own, in the
//! middle of a deployment. Nobody else waits for them, what is left to do is done when they answer
//! again, and nothing runs twice.

mod containers;
mod harness;

use std::path::Path;
use std::time::Duration;

use containers::daemon::{IMAGE, daemon, docker, skip};
use containers::proxy::Proxy;
use containers::{BACK, WEB, Web, answer, at};
use harness::{Ark, ENV, Sample, eventually_within, state, words};
use serde_json::Value;

const TWO: Web = Web {
    count: 2,
    deploy: "min_healthy_time: 1s, ready_timeout: 60s, progress_deadline: 100s, deadline: 150s",
};
/// How long Ark's own daemon is away in the middle of a deployment.
const AWAY: Duration = Duration::from_secs(10);

/// How many containers of this Ark run, on whatever host.
fn running(socket: &Path, ark: &Ark) -> usize {
    let mark = format!("MARK={}", ark.mark);
    let ids = docker(socket).args(["ps", "-q"]).output().expect("docker").stdout;
    let ids = String::from_utf8_lossy(&ids).into_owned();
    let has = |id: &&str| {
        let shown = docker(socket).args(["inspect", "--format", "{{.Config.Env}}", id]).output();
        String::from_utf8_lossy(&shown.expect("docker").stdout).contains(&mark)
    };
    ids.lines().filter(has).count()
}

fn deploys_processes(ark: &Ark, version: &str) {
    let (output, d) = ark.deploy("proc", &Sample::version(version));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded");
}

fn silent(ark: &Ark, name: &str) -> bool {
    let all = ark.get("/v1/nodes").expect("hosts")["items"].as_array().cloned().unwrap_or_default();
    all.iter().any(|node| node["name"] == name && node["silent"].is_string())
}

#[test]
fn daemons_that_hang_hold_up_nobody() {
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip("daemons_that_hang_hold_up_nobody", reason),
    };
    // Each host is an Ark of its own to the daemon, so that one daemon does for two.
    let [own, other] = [Proxy::to(socket), Proxy::to(socket)];
    let ark = Ark::up_with(&[("DOCKER_HOST", &at(&own.socket))]);
    let output = ark.run(&["node", "add", "eu-1", &at(&other.socket), "--reach", "127.0.0.1"]);
    assert!(output.status.success(), "{}", words(&output));
    deploys_processes(&ark, "1");
    let output = TWO.deployed(&ark, "1");
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(running(socket, &ark), 2);

    let held = other.hold();
    deploys_processes(&ark, "2");
    // What is placed there before that is noticed is made up for after a minute, and that is not waited for.
    eventually_within(BACK, "it is noticed", || silent(&ark, "eu-1"));
    let id = TWO.begun(&ark, "2");
    let over = ark.wait_over(&id, Duration::from_secs(160));
    assert_eq!(state(&over), "succeeded", "{over}");
    assert!(over.to_string().contains("1 host does not answer: eu-1"), "{over}");
    assert!(silent(&ark, "eu-1"));
    assert_eq!(answer(&ark).as_deref(), Some("2"));
    drop(held);
    eventually_within(BACK, "the rest is done", || {
        !silent(&ark, "eu-1") && running(socket, &ark) == 2
    });
    for _ in 0..6 {
        assert_eq!(answer(&ark).as_deref(), Some("2"), "nothing of the old release is left");
    }

    let id = TWO.begun(&ark, "3");
    harness::eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    let held = own.hold();
    let until = std::time::Instant::now() + AWAY;
    deploys_processes(&ark, "3");
    assert!(answer(&ark).is_some(), "containers serve on");
    let doctor = ark.get("/v1/doctor").unwrap_or_default();
    assert!(doctor.to_string().contains("nothing is known of docker"), "{doctor}");
    std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
    assert!(ark.deployment(&id).is_some_and(|d| !harness::is_over(state(&d))), "it waits");
    drop(held);
    let over = ark.wait_over(&id, Duration::from_secs(160));
    assert_eq!(state(&over), "succeeded", "{over}");
    eventually_within(BACK, "two of the new release", || {
        running(socket, &ark) == 2 && answer(&ark).as_deref() == Some("3")
    });
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{WEB}/instances"));
    let rows = page.expect("instances")["items"].as_array().cloned().unwrap_or_default();
    let active: Vec<&Value> = rows.iter().filter(|row| row["state"] == "active").collect();
    assert_eq!(active.len(), 2, "{rows:?}");
    let output = ark.run(&["stop", WEB, "-e", ENV, "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "no container is left", || running(socket, &ark) == 0);
}

/// A run that was begun while the daemon is away says so, begins by itself when the daemon is back, and
/// when its time is over before that, it was not started: it did not take too long.
#[test]
fn what_is_asked_of_a_daemon_that_is_away_says_so() {
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip("what_is_asked_of_a_daemon_that_is_away_says_so", reason),
    };
    let proxy = Proxy::to(socket);
    let ark = Ark::up_with(&[("DOCKER_HOST", &at(&proxy.socket))]);
    let path = ark.dir.path().join("batch.yml");
    let text = format!(
        "run: {{type: job, stop_grace: 1s, command: [sh, -c, \"echo done\"]}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&path, text).expect("a file");
    let file = path.to_string_lossy();
    let deploy = ["deploy", "batch", "-e", ENV, "--file", &file, "--image", IMAGE];
    let output = ark.run(&deploy);
    assert!(output.status.success(), "{}", words(&output));
    let once = Web { count: 1, ..TWO };
    let output = once.deployed(&ark, "1");
    assert!(output.status.success(), "{}", words(&output));

    let held = proxy.hold();
    let run = |args: &[&str]| ark.run(&[&["run", "batch", "-e", ENV], args].concat());
    let runs = || words(&ark.run(&["runs", "batch", "-e", ENV]));
    assert!(run(&["--detach"]).status.success());
    eventually_within(BACK, "the run says why it waits", || {
        runs().contains("run 1 is not started yet: the docker engine of host local does not answer")
    });
    for args in [["logs", WEB, "-e", ENV], ["exec", WEB, "-e", ENV]] {
        let more: &[&str] = if args[0] == "exec" { &["--", "true"] } else { &[] };
        let output = ark.run(&[&args[..], more].concat());
        let said = words(&output);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("docker engine of host local is not available"), "{said}");
        assert!(said.contains("ark doctor"), "{said}");
    }
    let begun = std::time::Instant::now();
    let output = ark.run(&["gc"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for it");
    let said = words(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("docker engine of host local is not available"), "{said}");
    assert!(said.contains("its ended instances stay"), "{said}");

    // No attempt's time is over before the engine has been silent for a minute beyond it.
    let output = run(&["--timeout", "2s", "--retries", "0"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    let why = "failed: not started: the docker engine of host local does not answer";
    assert!(said.contains("run 2 is not started yet") && said.contains(why), "{said}");

    drop(held);
    eventually_within(BACK, "the run begins by itself", || runs().contains("succeeded"));
    assert_eq!(run(&[]).status.code(), Some(0));
}
