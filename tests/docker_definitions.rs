//! Launch files as their authors wrote them, deployed unchanged on Docker: services and workers,
//! with the configuration that they ask for and an image made from scratch that refuses to run
//! without it.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use daemon::{IMAGE, daemon, docker, skip};
use harness::{Ark, ENV, state, words};

const TEST: &str = "real_definitions_run_unchanged";
/// The app, its file, and what it answers to; nothing for a worker.
const APPS: [(&str, &str, Option<&str>); 12] = [
    ("breakdown", "breakdown__breakdown.yml", Some("/_health")),
    ("godoc-docker", "godoc-docker__godoc-docker.yml", Some("/github.com/Clever/optimus")),
    ("resolve-ip", "resolve-ip__resolve-ip.yml", Some("/healthcheck")),
    ("who-is-who", "who-is-who__who-is-who.yml", Some("/health")),
    ("mesos-visualizer", "mesos-visualizer__mesos-visualizer.yml", Some("/")),
    ("marathon-stats-dev", "marathon-stats__marathon-stats-dev.yml", Some("/")),
    ("analytics-monitor", "analytics-monitor__analytics-monitor.yml", None),
    ("ebs-snapshots", "ebs-snapshots__ebs-snapshots.yml", None),
    ("mongo-op-throttler", "mongo-op-throttler__mongo-op-throttler.yml", None),
    ("s3-to-redshift", "s3-to-redshift__s3-to-redshift.yml", None),
    ("flarebot", "flarebot__flarebot.yml", None),
    ("sfncli", "sfncli__sfncli.yml", None),
];
const DEADLINE: Duration = Duration::from_secs(180);

/// The names of a file's `env`, which all these files write one per line.
fn names(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.trim_end() != "env:").skip(1);
    let names = lines.map(str::trim).take_while(|line| line.starts_with('-'));
    names.map(|line| line.trim_start_matches('-').trim().to_owned()).collect()
}

/// An image that serves its files, once it has every variable that its app asks for.
fn make_image(socket: &Path, app: &str, needs: &[String]) -> String {
    let place = tempfile::tempdir().expect("a folder");
    let www = place.path().join("www");
    std::fs::create_dir_all(www.join("github.com/Clever")).expect("a folder");
    for (_, _, path) in APPS {
        let path = path.unwrap_or("/").trim_start_matches('/');
        let path = if path.is_empty() { "index.html" } else { path };
        std::fs::write(www.join(path), "ok").expect("a file");
    }
    let script = format!(
        "for name in {}; do eval value=\\$$name; [ -n \"$value\" ] || exit 3; done\n\
         exec httpd -f -p 80 -h /www\n",
        needs.join(" ")
    );
    std::fs::write(place.path().join("start"), script).expect("a file");
    let dockerfile =
        format!("FROM {IMAGE}\nCOPY www /www\nCOPY start /start\nCMD [\"sh\", \"/start\"]\n");
    std::fs::write(place.path().join("Dockerfile"), dockerfile).expect("a file");
    let image = format!("ark-test/{app}:1");
    let built = docker(socket)
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", &image])
        .arg(place.path())
        .output()
        .expect("docker");
    assert!(built.status.success(), "{app}: {}", words(&built));
    image
}

fn answer(ark: &Ark, app: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&ark.http, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let host = ark.host(app);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

#[test]
fn real_definitions_run_unchanged() {
    let files =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/launch/current");
    if !files.is_dir() {
        return skip(TEST, "there is no ../shared/data/launch");
    }
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(TEST, reason),
    };
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let mut begun = Vec::new();
    for (app, file, path) in APPS {
        let file = files.join(file);
        let needs = names(&std::fs::read_to_string(&file).expect("a launch file"));
        let image = make_image(socket, app, &needs);
        if !needs.is_empty() {
            let values: Vec<String> = needs.iter().map(|name| format!("{name}=80")).collect();
            let mut set = vec!["config", "set", "-e", ENV, app];
            set.extend(values.iter().map(String::as_str));
            let output = ark.run(&set);
            assert!(output.status.success(), "{app}: {}", words(&output));
        }
        let file = file.to_string_lossy();
        let deploy =
            ["deploy", app, "-e", ENV, "--file", &file, "--image", &image, "--detach", "--json"];
        let d = ark.json(&deploy);
        let id = d["id"].as_str().unwrap_or_else(|| panic!("{app}: {d}")).to_owned();
        begun.push((app, path, id));
    }
    for (app, path, id) in &begun {
        let over = ark.wait_over(id, DEADLINE);
        assert_eq!(state(&over), "succeeded", "{app}: {over}");
        if let Some(path) = path {
            let text = answer(&ark, app, path);
            assert!(text.is_some_and(|text| text.ends_with("ok")), "{app} {path}");
        }
    }
    let output = ark.run(&["ps", "-e", ENV, "breakdown", "--json"]);
    assert_eq!(words(&output).matches("\"state\":\"active\"").count(), 2, "{}", words(&output));
    // The instances are not this test's children and carry no mark: they end with their Ark.
    for (app, ..) in &begun {
        let output = ark.run(&["stop", app, "-e", ENV]);
        assert!(output.status.success(), "{app}: {}", words(&output));
    }
    drop(ark);
    for (app, ..) in APPS {
        let _ = Command::new("docker")
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(["rmi", "-f", &format!("ark-test/{app}:1")])
            .output();
    }
}
