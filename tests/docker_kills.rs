//! A server that is killed while its daemon does something for it: at each kind of call of a rollover,
//! while an image is fetched, while one is built, and while a container drains. Whoever serves goes on,
//! the next server ends what was begun, and nothing is there twice.

mod containers;
mod harness;
#[path = "../crates/engine/tests/docker_fixture/registry.rs"]
mod registry;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use containers::daemon::{self, daemon, docker, processes, skip};
use containers::proxy::{Lost, Proxy};
use containers::{BACK, WEB, Web, answer, answer_of, at};
use harness::{Ark, ENV, eventually_within, state, words};
use registry::Registry;

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
/// How long the slow answer takes: longer than a server needs to be started again.
const SLOW: &str = "6";

/// An Ark whose calls to its daemon can be held; or `None` after having said why not.
fn engine(test: &str) -> Option<(&'static Path, Proxy, Ark)> {
    let socket = daemon().map_err(|reason| skip(test, reason)).ok()?;
    let proxy = Proxy::to(socket);
    let ark = Ark::up_with(&[("DOCKER_HOST", &at(&proxy.socket))]);
    Some((socket, proxy, ark))
}

/// How many containers of this Ark there are: with `-q` those that run, with `-aq` all.
fn count(socket: &Path, ark: &Ark, which: &str) -> usize {
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster"));
    let label = format!("label=ark.cluster={}", cluster.expect("the cluster"));
    let ids = docker(socket).args(["ps", which, "--filter", &label]).output().expect("docker");
    String::from_utf8_lossy(&ids.stdout).lines().count()
}

/// The container that a killed server asked for is there once, the one that it replaced is gone, and the
/// one that served went on.
#[test]
fn a_server_that_is_killed_at_any_call_to_its_daemon_goes_on_from_there() {
    let test = "a_server_that_is_killed_at_any_call_to_its_daemon_goes_on_from_there";
    let Some((socket, proxy, mut ark)) = engine(test) else { return };
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
            count(socket, &ark, "-q") == 1 && answer(&ark).as_ref() == Some(&version)
        });
        before = Some(version);
    }
    assert_eq!(
        count(socket, &ark, "-aq"),
        CALLS.len(),
        "none was made twice: those that ended are kept"
    );

    // The first container of all is gone, and the server that removed it knows nothing of it.
    let held = proxy.hold_at("DELETE /containers/", Lost::Answer);
    let output = ark.run(&["env", "destroy", ENV, "--yes", "--detach"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually_within(BACK, "a container is removed", || held.is_reached());
    ark.kill_server();
    drop(held);
    ark.start_server();
    eventually_within(BACK, "no container is left", || count(socket, &ark, "-aq") == 0);
}

/// An image that is in the registry alone.
fn publish(socket: &Path, image: &str) {
    let script = format!(
        "set -e; printf 'FROM {from}\\nLABEL of={image}\\n' | docker build -q -t {image} -; \
         docker push -q {image}; docker rmi {image}",
        from = daemon::IMAGE
    );
    let made = Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", at(socket)).output();
    let made = made.expect("sh");
    assert!(made.status.success(), "{}", words(&made));
}

/// Whether the daemon heard of it or not, the image is fetched once more and the deployment succeeds.
#[test]
fn a_server_that_is_killed_while_an_image_is_fetched_fetches_it_again() {
    let test = "a_server_that_is_killed_while_an_image_is_fetched_fetches_it_again";
    let Some((socket, proxy, mut ark)) = engine(test) else { return };
    let peer = Registry::start();
    for (version, lost) in [("1", Lost::Request), ("2", Lost::Answer)] {
        let image = format!("{}/fetched:{version}", peer.host());
        publish(socket, &image);
        let held = proxy.hold_at("POST /images/create", lost);
        let id = ONE.begun_of(&ark, version, &image);
        eventually_within(BACK, "the image is asked for", || held.is_reached());
        ark.kill_server();
        drop(held);
        ark.start_server();
        let over = ark.wait_over(&id, Duration::from_secs(100));
        assert_eq!(state(&over), "succeeded", "{lost:?}: {over}");
        assert_eq!(over["failures"].as_array().map(Vec::len), Some(0), "{lost:?}: {over}");
        eventually_within(BACK, "one container, of the new release", || {
            count(socket, &ark, "-q") == 1 && answer(&ark).as_deref() == Some(version)
        });
    }
    assert_eq!(count(socket, &ark, "-aq"), 2, "none was made twice");
    drop(ark);
    let filter = format!("reference={}/*", peer.host());
    let list = docker(socket).args(["images", "-q", "--filter", &filter]).output();
    for id in String::from_utf8_lossy(&list.expect("docker").stdout).lines() {
        let _ = docker(socket).args(["rmi", "-f", id]).output();
    }
}

/// Releases of a web server that takes its time for one of its pages.
fn begun_slow(ark: &Ark, version: &str) -> String {
    let file = ark.dir.path().join("slow.yml");
    let text = format!(
        "run: {{type: docker, stop_grace: 1s, command: [sh, -c, \"mkdir /tmp/cgi-bin; \
         printf '#!/bin/sh\\ntouch /tmp/asked\\nsleep {SLOW}\\necho; echo slow $VERSION\\n' > \
         /tmp/cgi-bin/slow; chmod +x /tmp/cgi-bin/slow; echo $VERSION > /tmp/index.html; \
         exec httpd -f -p 80 -h /tmp\"]}}\n\
         expose: [{{name: default, port: 80, health_check: {{type: http, path: /, interval: 100ms}}}}]\n\
         autoscaling: {{min_count: 1, max_count: 1}}\ndeploy: {{min_healthy_time: 100ms}}\n\
         drain: {{requests: 30s}}\nenv_defaults: {{VERSION: \"{version}\", MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy();
    let image = daemon::IMAGE;
    let begun = ark
        .json(&["deploy", WEB, "-e", ENV, "--file", &file, "--image", image, "--detach", "--json"]);
    begun["id"].as_str().expect("an id").to_owned()
}

/// The request is answered by the old container while no server runs, and that container ends when one
/// does again: nothing is cut.
#[test]
fn a_server_that_is_killed_while_a_container_drains_ends_it_later() {
    let test = "a_server_that_is_killed_while_a_container_drains_ends_it_later";
    let Some((socket, _proxy, mut ark)) = engine(test) else { return };
    let over = ark.wait_over(&begun_slow(&ark, "1"), Duration::from_secs(60));
    assert_eq!(state(&over), "succeeded", "{over}");
    let (http, host) = (ark.http, ark.host(WEB));
    let asking = std::thread::spawn(move || {
        answer_of(http, &host, "/cgi-bin/slow", Duration::from_secs(30))
    });
    eventually_within(BACK, "the slow page is asked for", || {
        ark.run(&["exec", WEB, "-e", ENV, "--", "ls", "/tmp/asked"]).status.success()
    });
    let id = begun_slow(&ark, "2");
    eventually_within(BACK, "the old container drains", || {
        let rows = ark.get(&format!("/v1/environments/{ENV}/apps/{WEB}/instances"));
        rows.is_some_and(|rows| rows.to_string().contains("\"draining\""))
    });
    assert!(!asking.is_finished(), "it was to be asked for longer than that");
    ark.kill_server();
    let answered = asking.join().expect("it was asked");
    let whole = "7\r\nslow 1\n\r\n0";
    assert_eq!(answered.as_deref(), Some(whole), "up to the end of its last chunk");
    assert_eq!(count(socket, &ark, "-q"), 2, "nobody stopped the old one meanwhile");
    assert_eq!(answer(&ark).as_deref(), Some("2"));
    ark.start_server();
    let over = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&over), "succeeded", "{over}");
    assert_eq!(over["receipt"]["cut"], 0, "{over}");
    eventually_within(BACK, "the old one is gone", || count(socket, &ark, "-q") == 1);
}

/// The build's client is told, nothing half-built is taken for an image, and the next build makes it.
#[test]
fn a_server_that_is_killed_while_it_builds_leaves_nothing_for_an_image() {
    let test = "a_server_that_is_killed_while_it_builds_leaves_nothing_for_an_image";
    let Some((socket, _proxy, mut ark)) = engine(test) else { return };
    let root = ark.dir.path().join("built");
    std::fs::create_dir_all(root.join("launch")).expect("a folder");
    let write = |path: &str, text: String| std::fs::write(root.join(path), text).expect("a file");
    let (from, mark) = (daemon::IMAGE, &ark.mark);
    write(
        "Dockerfile",
        format!("FROM {from}\nRUN echo {mark} && sleep 4 && echo {mark} > /made\n"),
    );
    write("launch/killed.yml", "build: {artifact: {name: ark-test/killed}}\n".to_owned());
    let commit = "git init -q && git add -A && git -c user.name=Test -c user.email=test@example.test \
                  -c commit.gpgsign=false commit -q -m first && git rev-parse HEAD";
    let commit = Command::new("sh").args(["-c", commit]).current_dir(&root).output().expect("sh");
    assert!(commit.status.success(), "{}", words(&commit));
    let image = format!("ark-test/killed:{}", &String::from_utf8_lossy(&commit.stdout)[..7]);
    let root = root.to_string_lossy().into_owned();
    let is_here = || {
        let shown = docker(socket).args(["image", "inspect", &image]).output().expect("docker");
        shown.status.success()
    };

    let mut building = ark.command(&["build", "--dir", &root]);
    let building = building.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ark");
    let is_sleeping = format!("echo {mark} > /made");
    eventually_within(BACK, "it is being built", || processes(&is_sleeping) > 0);
    ark.kill_server();
    let told = building.wait_with_output().expect("ark build");
    assert!(!told.status.success(), "{}", words(&told));
    assert!(words(&told).contains("ark-test/killed"), "{}", words(&told));
    ark.start_server();
    eventually_within(BACK, "the daemon ends what nobody waits for", || {
        processes(&is_sleeping) == 0
    });
    assert!(!is_here(), "its build was cut off");
    let built = ark.run(&["build", "--dir", &root]);
    assert!(built.status.success(), "{}", words(&built));
    assert!(is_here());
    let _ = docker(socket).args(["rmi", "-f", &image]).output();
}
