//! Daemons that accept connections and answer none, for a while: another host's, then Ark's own, in the
//! middle of a deployment. Nobody else waits for them, what is left to do is done when they answer
//! again, and nothing runs twice. And a server that is killed in the middle of a call to its daemon, at
//! each kind of call.

mod containers;
mod harness;

use std::path::Path;
use std::time::Duration;

use containers::daemon::{daemon, docker, skip};
use containers::proxy::{Lost, Proxy};
use containers::{BACK, WEB, Web, answer, at};
use harness::{Ark, ENV, Sample, eventually_within, state, words};
use serde_json::Value;

const TWO: Web = Web {
    count: 2,
    deploy: "min_healthy_time: 1s, ready_timeout: 60s, progress_deadline: 100s, deadline: 150s",
};
const ONE: Web = Web {
    count: 1,
    deploy: "min_healthy_time: 100ms, ready_timeout: 30s, progress_deadline: 60s, deadline: 90s",
};
const SIGNAL: &str = "/kill?signal=";
/// The calls of a rollover: what the daemon is asked, and what of it does not come through before the
/// server is killed. The network is made once.
const CALLS: [(&str, Lost); 7] = [
    ("POST /networks/create", Lost::Answer),
    ("POST /containers/create", Lost::Request),
    ("POST /containers/create", Lost::Answer),
    ("/start", Lost::Request),
    ("/start", Lost::Answer),
    (SIGNAL, Lost::Request),
    (SIGNAL, Lost::Answer),
];
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

/// The container that a killed server asked for is there once, the one that it replaced is gone, and the
/// one that served went on.
#[test]
fn a_server_that_is_killed_at_any_call_to_its_daemon_goes_on_from_there() {
    let test = "a_server_that_is_killed_at_any_call_to_its_daemon_goes_on_from_there";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    let proxy = Proxy::to(socket);
    let mut ark = Ark::up_with(&[("DOCKER_HOST", &at(&proxy.socket))]);
    let count = |ark: &Ark, which: &str| {
        let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster"));
        let label = format!("label=ark.cluster={}", cluster.expect("the cluster"));
        let ids = docker(socket).args(["ps", which, "--filter", &label]).output().expect("docker");
        String::from_utf8_lossy(&ids.stdout).lines().count()
    };
    let mut before = None;
    for (index, (call, lost)) in CALLS.into_iter().enumerate() {
        let place = format!("{call}, {lost:?} lost");
        let version = (index + 1).to_string();
        // A signal may be repeated; that of the rollover before is not meant.
        let (held, id) = match call {
            SIGNAL => {
                let id = ONE.begun(&ark, &version);
                (proxy.hold_at(call, lost), id)
            }
            _ => (proxy.hold_at(call, lost), ONE.begun(&ark, &version)),
        };
        eventually_within(BACK, &format!("{place}: the call is made"), || held.is_reached());
        ark.kill_server();
        drop(held);
        // Whichever of the two has the traffic.
        let answers = answer(&ark);
        let serves = answers == before || answers.as_ref() == Some(&version);
        assert!(serves, "{place}: {answers:?} while nobody looks");
        ark.start_server();
        let over = ark.wait_over(&id, Duration::from_secs(100));
        assert_eq!(state(&over), "succeeded", "{place}: {over}");
        assert_eq!(over["failures"].as_array().map(Vec::len), Some(0), "{place}: {over}");
        eventually_within(BACK, &format!("{place}: one container, of the new release"), || {
            count(&ark, "-q") == 1 && answer(&ark).as_ref() == Some(&version)
        });
        before = Some(version);
    }
    assert_eq!(count(&ark, "-aq"), CALLS.len(), "none was made twice: those that ended are kept");

    // The first container of all is gone, and the server that removed it knows nothing of it.
    let held = proxy.hold_at("DELETE /containers/", Lost::Answer);
    let output = ark.run(&["env", "destroy", ENV, "--yes", "--detach"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "a container is removed", || held.is_reached());
    ark.kill_server();
    drop(held);
    ark.start_server();
    eventually_within(BACK, "no container is left", || count(&ark, "-aq") == 0);
}
