//! A cluster of three real Docker daemons on one machine, one of them over TLS and one by SSH (with a
//! stand-in for `ssh` itself, which there is nobody to answer): instances are spread over them and serve,
//! the one over TLS is killed in the middle of a deployment, which ends all the same and names it; what is
//! left to do is done when it is back. A host that drains is emptied, one that is empty is removed. Beside
//! all that a daemon has one instance on each of them.

mod containers;
mod harness;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use containers::authority::Authority;
use containers::daemon::{IMAGE, OwnDaemon, skip};
use containers::{BACK, WEB, Web, answer, at};
use harness::{Ark, ENV, eventually_within, last_json, state, words};
use serde_json::Value;

/// Without firewall rules and a bridge of its own, so that several do not get into each other's way.
const ALONE: [&str; 3] = ["--bridge=none", "--iptables=false", "--ip6tables=false"];
/// The app that is a daemon.
const AGENT: &str = "agent";
const THREE: Web = Web {
    count: 3,
    deploy: "min_healthy_time: 2s, max_surge: 1, max_unavailable: 0, ready_timeout: 30s, \
             progress_deadline: 100s, deadline: 150s",
};

/// Active instances of the web server by host.
fn active(ark: &Ark) -> BTreeMap<String, usize> {
    let mut by_host = BTreeMap::new();
    for row in instances(ark, WEB).iter().filter(|row| row["state"] == "active") {
        *by_host.entry(row["node"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    by_host
}

fn instances(ark: &Ark, app: &str) -> Vec<Value> {
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{app}/instances"));
    page.expect("instances")["items"].as_array().cloned().unwrap_or_default()
}

/// Deploys a version of a daemon; answers how it ended.
fn deploys_agents(ark: &Ark, version: u32) -> Value {
    let path = ark.dir.path().join("launch").join(format!("{AGENT}.yml"));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let text = format!(
        "run: {{type: daemon, stop_grace: 1s, command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]}}\n\
         deploy: {{min_healthy_time: 100ms, ready_timeout: 30s, progress_deadline: 60s, deadline: 100s}}\n\
         env_defaults: {{VERSION: \"{version}\", MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&path, text).expect("a file");
    let file = path.to_string_lossy();
    let deploy = ["deploy", AGENT, "-e", ENV, "--file", &file, "--image", IMAGE, "--json"];
    let output = ark.run(&deploy);
    assert!(output.status.success(), "{}", words(&output));
    last_json(&output)
}

/// The releases of the daemon's instances that run, with their hosts, sorted.
fn agents(ark: &Ark) -> Vec<(String, u64)> {
    let of = |row: &Value| {
        let host = row["node"].as_str().unwrap_or("?").to_owned();
        (host, row["release"].as_u64().unwrap_or_default())
    };
    let rows = instances(ark, AGENT);
    let mut all: Vec<_> = rows.iter().filter(|row| row["state"] == "active").map(of).collect();
    all.sort();
    all
}

fn on(hosts: &[(&str, u64)]) -> Vec<(String, u64)> {
    hosts.iter().map(|(host, release)| ((*host).to_owned(), *release)).collect()
}

fn hosts(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn node(ark: &Ark, name: &str) -> Value {
    let all = ark.get("/v1/nodes").expect("hosts")["items"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|node| node["name"] == name).unwrap_or_default()
}

/// Three daemons; the last also listens where this is said, for clients of the authority.
fn daemons(authority: &Authority, certificates: &Path) -> Result<([OwnDaemon; 3], String), String> {
    let here = OwnDaemon::start("here", &ALONE)?;
    let one = OwnDaemon::start("one", &ALONE)?;
    let (port, more) = authority.daemon(certificates);
    let options: Vec<&str> = ALONE.into_iter().chain(more.iter().map(String::as_str)).collect();
    let other = OwnDaemon::start("other", &options)?;
    one.load_from(&here)?;
    other.load_from(&here)?;
    Ok(([here, one, other], format!("tcp://127.0.0.1:{port}")))
}

/// An `ssh` in this folder that reaches a daemon of this machine where it knows the host; and what it was
/// told each time, in the file `told`.
fn ssh(folder: &Path, daemon: &OwnDaemon) {
    std::fs::create_dir_all(folder).expect("a folder");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {told}\ncase \"$*\" in\n\
         *' -- eu-1.test docker system dial-stdio') exec docker --host unix://{socket} system dial-stdio;;\n\
         *) echo 'ark@locked.test: Permission denied (publickey).' >&2; exit 255;;\nesac\n",
        told = folder.join("told").display(),
        socket = daemon.socket.display()
    );
    let path = folder.join("ssh");
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

/// Adds a host with certificates that do not do; answers what is said of it.
fn refused(ark: &Ark, address: &str, folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let output = ark.run(&["node", "add", "wrong", address, "--certs", &folder]);
    let text = words(&output);
    if output.status.success() {
        assert!(text.contains("does not answer"), "{text}");
        assert!(node(ark, "wrong")["silent"].is_string(), "{text}");
        assert!(ark.run(&["node", "remove", "wrong"]).status.success());
    }
    text
}

/// What is wrong with certificates is told at once, by what is wrong and what helps.
fn wrong_certificates(ark: &Ark, address: &str, authority: &Authority, dir: &Path) {
    let stranger = Authority::new("somebody else's");
    let folder = |name: &str| dir.join(name);
    stranger.client(&folder("stranger"));
    let text = refused(ark, address, &folder("stranger"));
    assert!(text.contains(address.trim_start_matches("tcp://")), "which: {text}");
    assert!(text.contains("with the `ca.pem` that signed it"), "an authority of another: {text}");

    stranger.client(&folder("unknown"));
    Authority::trusts(authority, &folder("unknown"));
    let text = refused(ark, address, &folder("unknown"));
    assert!(text.contains("does not take Ark's certificate"), "a stranger's own: {text}");

    authority.client(&folder("keyless"));
    std::fs::remove_file(folder("keyless").join("key.pem")).expect("a file");
    let text = refused(ark, address, &folder("keyless"));
    assert!(text.contains("key.pem cannot be read") && text.contains("--certs"), "{text}");

    std::fs::copy(folder("stranger").join("key.pem"), folder("keyless").join("key.pem"))
        .expect("a file");
    let text = refused(ark, address, &folder("keyless"));
    assert!(text.contains("certificate and key"), "another's key: {text}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

/// A command beside an instance, and a log, of each host.
fn is_reached_everywhere(ark: &Ark) {
    for row in instances(ark, WEB) {
        let name = row["id"].as_str().expect("an id");
        let exec = ["exec", WEB, "-e", ENV, "--instance", name, "--", "cat", "/tmp/index.html"];
        let output = ark.run(&exec);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{}", words(&output));
        let output = ark.run(&["logs", WEB, "-e", ENV, "--instance", name]);
        assert!(output.status.success(), "{}", words(&output));
    }
}

#[test]
fn three_daemons_of_which_one_is_killed_in_the_middle() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("the daemons'");
    let started = daemons(&authority, &dir.path().join("daemon"));
    let ([here, one, other], over_tls) = match started {
        Ok(daemons) => daemons,
        Err(reason) => {
            return skip("three_daemons_of_which_one_is_killed_in_the_middle", &reason);
        }
    };
    let programs = dir.path().join("bin");
    ssh(&programs, &one);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", programs.display());
    let ark = Ark::up_with(&[("DOCKER_HOST", &at(&here.socket)), ("PATH", &path)]);
    wrong_certificates(&ark, &over_tls, &authority, dir.path());
    authority.client(&dir.path().join("client"));
    let certs = dir.path().join("client").to_string_lossy().into_owned();
    let reach = ["--reach", "127.0.0.1"];
    let locked =
        ark.run(&[&["node", "add", "locked", "ssh://ark@locked.test"], &reach[..]].concat());
    let text = words(&locked);
    assert!(text.contains("(publickey)") && text.contains("authorized keys"), "{text}");
    assert!(ark.run(&["node", "remove", "locked"]).status.success());
    for (name, address, more) in
        [("eu-1", "ssh://ark@eu-1.test:2222", reach), ("zz-2", &over_tls, ["--certs", &certs])]
    {
        let output = ark.run(&[&["node", "add", name, address][..], &more].concat());
        let text = words(&output);
        assert!(output.status.success() && text.contains("and answers"), "{text}");
    }
    let refused = ark.run(&["node", "add", "eu-3", "tcp://127.0.0.1:2375"]);
    assert!(!refused.status.success(), "a daemon that anybody may rule: {}", words(&refused));

    let output = THREE.deployed(&ark, "1");
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(active(&ark), hosts(&[("eu-1", 1), ("local", 1), ("zz-2", 1)]), "one on each");
    assert_eq!([&here, &one, &other].map(OwnDaemon::running), [1, 1, 1]);
    is_reached_everywhere(&ark);
    deploys_agents(&ark, 1);
    assert_eq!(agents(&ark), on(&[("eu-1", 1), ("local", 1), ("zz-2", 1)]));
    let of_agents = || [&here, &one, &other].map(|daemon| daemon.running_of(AGENT));
    assert_eq!(of_agents(), [1, 1, 1]);
    deploys_agents(&ark, 2);
    assert_eq!(agents(&ark), on(&[("eu-1", 2), ("local", 2), ("zz-2", 2)]));
    assert_eq!(of_agents(), [1, 1, 1], "the old one is gone from each");
    let told = std::fs::read_to_string(programs.join("told")).expect("what `ssh` was told");
    assert!(
        told.contains("BatchMode=yes") && told.contains("-l ark -p 2222 -- eu-1.test"),
        "{told}"
    );
    for _ in 0..6 {
        assert_eq!(answer(&ark).as_deref(), Some("1"), "the gateway reaches all of them");
    }

    let id = THREE.begun(&ark, "2");
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

    // A daemon's next release does not wait for the host that is away either.
    let over = deploys_agents(&ark, 3);
    assert!(over.to_string().contains("1 host does not answer: zz-2"), "{over}");
    let there: Vec<_> = agents(&ark).into_iter().filter(|(host, _)| host != "zz-2").collect();
    assert_eq!(there, on(&[("eu-1", 3), ("local", 3)]));

    other.again();
    eventually_within(BACK, "the daemon of the host that was away is brought up to date", || {
        agents(&ark) == on(&[("eu-1", 3), ("local", 3), ("zz-2", 3)]) && of_agents() == [1, 1, 1]
    });
    eventually_within(BACK, "the rest is done when it is back", || {
        let [here, one, other] = [&here, &one, &other].map(|daemon| daemon.running_of(WEB));
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
        one.running() == 0 && node(&ark, "eu-1")["instances"] == 0
    });
    assert_eq!(active(&ark).values().sum::<usize>(), 3);
    assert_eq!(agents(&ark), on(&[("local", 3), ("zz-2", 3)]), "its daemon too");
    let output = ark.run(&["node", "remove", "eu-1"]);
    assert!(output.status.success(), "{}", words(&output));
    for app in [WEB, AGENT] {
        let output = ark.run(&["stop", app, "-e", ENV, "--json"]);
        assert!(output.status.success(), "{}", words(&output));
    }
    eventually_within(BACK, "no container is left", || {
        [&here, &one, &other].map(OwnDaemon::running) == [0, 0, 0]
    });
}
