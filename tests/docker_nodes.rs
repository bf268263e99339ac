//! A cluster of three real Docker daemons on one machine: instances are spread over them and serve,
//! one daemon is killed in the middle of a deployment, which ends all the same and names it; what is
//! left to do is done when it is back. A host that drains is emptied, one that is empty is removed.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use daemon::{IMAGE, OwnDaemon, docker, skip};
use harness::{Ark, ENV, eventually_within, state, words};
use serde_json::Value;

const WEB: &str = "web";
const BACK: Duration = Duration::from_secs(90);
/// Without firewall rules and a bridge of its own, so that several do not get into each other's way.
const ALONE: [&str; 3] = ["--bridge=none", "--iptables=false", "--ip6tables=false"];

fn launch(ark: &Ark, version: &str) -> PathBuf {
    let folder = ark.dir.path().join("launch");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("web.yml");
    let text = format!(
        "run: {{type: docker, stop_grace: 1s, command: [sh, -c, \"echo $VERSION > /tmp/index.html; \
         exec httpd -f -p 80 -h /tmp\"]}}\n\
         expose:\n- name: default\n  port: 80\n  health_check: {{type: http, path: /, \
         interval: 100ms, timeout: 2s}}\n\
         autoscaling: {{min_count: 3, max_count: 3}}\n\
         deploy: {{min_healthy_time: 2s, max_surge: 1, max_unavailable: 0, ready_timeout: 30s, \
         progress_deadline: 100s, deadline: 150s}}\ndrain: {{requests: 1s, streams: 1s}}\n\
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

/// Active instances by host.
fn active(ark: &Ark) -> BTreeMap<String, usize> {
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{WEB}/instances"));
    let rows = page.expect("instances")["items"].as_array().cloned().unwrap_or_default();
    let mut by_host = BTreeMap::new();
    for row in rows.iter().filter(|row| row["state"] == "active") {
        *by_host.entry(row["node"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    by_host
}

fn hosts(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn node(ark: &Ark, name: &str) -> Value {
    let all = ark.get("/v1/nodes").expect("hosts")["items"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|node| node["name"] == name).unwrap_or_default()
}

fn daemons() -> Result<[OwnDaemon; 3], String> {
    let here = OwnDaemon::start("here", &ALONE)?;
    let [one, other] = [OwnDaemon::start("one", &ALONE)?, OwnDaemon::start("other", &ALONE)?];
    one.load_from(&here)?;
    other.load_from(&here)?;
    Ok([here, one, other])
}

#[test]
fn three_daemons_of_which_one_is_killed_in_the_middle() {
    let [here, one, other] = match daemons() {
        Ok(daemons) => daemons,
        Err(reason) => {
            return skip("three_daemons_of_which_one_is_killed_in_the_middle", &reason);
        }
    };
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", here.socket.display()))]);
    for (name, daemon) in [("eu-1", &one), ("zz-2", &other)] {
        let address = format!("unix://{}", daemon.socket.display());
        let output = ark.run(&["node", "add", name, &address, "--reach", "127.0.0.1"]);
        assert!(output.status.success(), "{}", words(&output));
    }
    let refused = ark.run(&["node", "add", "eu-3", "tcp://127.0.0.1:2375"]);
    assert!(!refused.status.success(), "a daemon that anybody may rule: {}", words(&refused));

    let file = launch(&ark, "1");
    let file = file.to_string_lossy();
    let deploy = ["deploy", WEB, "-e", ENV, "--file", &file, "--image", IMAGE, "--json"];
    let output = ark.run(&deploy);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(active(&ark), hosts(&[("eu-1", 1), ("local", 1), ("zz-2", 1)]), "one on each");
    assert_eq!([&here, &one, &other].map(running), [1, 1, 1]);
    for _ in 0..6 {
        assert_eq!(answer(&ark).as_deref(), Some("1"), "the gateway reaches all of them");
    }

    launch(&ark, "2");
    let detached = [&deploy[..], &["--detach"]].concat();
    let id = ark.json(&detached)["id"].as_str().expect("an id").to_owned();
    harness::eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    other.kill();
    let over = ark.wait_over(&id, Duration::from_secs(160));
    assert_eq!(state(&over), "succeeded", "{over}");
    let text = over.to_string();
    assert!(text.contains("1 host does not answer: zz-2"), "{text}");
    assert_eq!(node(&ark, "zz-2")["silent"].as_str().map(str::is_empty), Some(false));
    assert_eq!(answer(&ark).as_deref(), Some("2"));
    let by_host = active(&ark);
    assert!(by_host.get("eu-1").copied() >= Some(1) && by_host.get("local").copied() >= Some(1));

    other.again();
    eventually_within(BACK, "the rest is done when it is back", || {
        let [here, one, other] = [&here, &one, &other].map(running);
        let answers = node(&ark, "zz-2").get("silent").is_none_or(Value::is_null);
        answers && here + one + other == 3 && active(&ark).values().sum::<usize>() == 3
    });
    for _ in 0..6 {
        assert_eq!(answer(&ark).as_deref(), Some("2"), "nothing of the old release is left");
    }

    let in_use = ark.run(&["node", "remove", "eu-1"]);
    assert!(!in_use.status.success(), "instances are there");
    let output = ark.run(&["node", "drain", "eu-1"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "it is emptied", || {
        assert_eq!(answer(&ark).as_deref(), Some("2"), "without a gap");
        running(&one) == 0 && node(&ark, "eu-1")["instances"] == 0
    });
    assert_eq!(active(&ark).values().sum::<usize>(), 3);
    let output = ark.run(&["node", "remove", "eu-1"]);
    assert!(output.status.success(), "{}", words(&output));
    let output = ark.run(&["stop", WEB, "-e", ENV, "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "no container is left", || {
        [&here, &one, &other].map(running) == [0, 0, 0]
    });
}
