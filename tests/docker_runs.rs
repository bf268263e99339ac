//! The kinds of work as containers: a job with its output, its exit code and its retries, also over
//! `kill -9` of the server; a schedule that fires once; a daemon that is replaced in place; a function
//! that is started by its first request and goes when nobody asks. The same commands as on the process
//! engine (`runs.rs`), where the finer cases are.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use daemon::{IMAGE, daemon, docker, skip};
use harness::{Ark, ENV, eventually, eventually_within, words};
use serde_json::Value;

fn engine(test: &str) -> Option<(&'static Path, Ark)> {
    let socket = daemon().map_err(|reason| skip(test, reason)).ok()?;
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    Some((socket, ark))
}

#[track_caller]
fn deploy(ark: &Ark, app: &str, text: &str) {
    deploy_image(ark, app, IMAGE, text);
}

#[track_caller]
fn deploy_image(ark: &Ark, app: &str, image: &str, text: &str) {
    let folder = ark.dir.path().join("launch");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{app}.yml"));
    let text = format!("{text}\nenv_defaults: {{MARK: \"{}\"}}\n", ark.mark);
    std::fs::write(&path, text).expect("a file");
    let file = path.to_string_lossy();
    let output = ark.run(&["deploy", app, "-e", ENV, "--file", &file, "--image", image]);
    assert!(output.status.success(), "{}", words(&output));
}

/// A script as the command of a launch file.
fn script(text: &str, app: &str) -> String {
    let text = serde_json::to_string(text).expect("text");
    format!("command: [sh, -c, {text}, {app}], stop_grace: 2s")
}

fn runs(ark: &Ark, app: &str) -> Vec<Value> {
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{app}/runs?limit=500"));
    page.and_then(|page| page["items"].as_array().cloned()).unwrap_or_default()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// This Ark's containers of an app that run.
fn containers(socket: &Path, ark: &Ark, app: &str) -> Vec<String> {
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let filters = [format!("label=ark.cluster={cluster}"), format!("label=ark.app={app}")];
    let filters = ["--filter", &filters[0], "--filter", &filters[1]];
    let output = docker(socket).args(["ps", "-q"]).args(filters).output().expect("docker");
    out(&output).lines().map(str::to_owned).collect()
}

#[test]
fn a_job_runs_as_a_container_once_also_over_kill_9_of_the_server() {
    let test = "a_job_runs_as_a_container_once_also_over_kill_9_of_the_server";
    let Some((socket, mut ark)) = engine(test) else { return };
    let text =
        "echo \"$1 $$\" >> /ledger/lines; echo got $*; echo oops >&2; sleep ${3:-0}; exit $2";
    deploy(
        &ark,
        "batch",
        &format!(
            "run: {{type: job, {}}}\nvolumes: [{{name: ledger, path: /ledger}}]",
            script(text, "batch")
        ),
    );
    assert!(containers(socket, &ark, "batch").is_empty(), "a deployment runs nothing");
    let bad = ark.run(&["run", "batch", "-e", ENV, "--", "a", "7"]);
    assert_eq!((bad.status.code(), out(&bad).as_str()), (Some(7), "got a 7\n"), "{}", words(&bad));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("oops"), "{}", words(&bad));
    let again = ark.run(&["run", "batch", "-e", ENV, "--retries", "1", "--", "b", "9"]);
    assert_eq!(out(&again), "got b 9\ngot b 9\n", "both attempts are shown: {}", words(&again));
    let late = ark.run(&["run", "batch", "-e", ENV, "--timeout", "2s", "--", "c", "0", "60"]);
    assert_eq!(late.status.code(), Some(124), "{}", words(&late));
    let nothing = ark.run(&["run", "batch", "-e", ENV, "--", "d", "0"]);
    assert_eq!(nothing.status.code(), Some(0), "{}", words(&nothing));

    for (index, wait) in [0_u64, 100, 600].iter().enumerate() {
        let name = format!("killed-{index}");
        let run = ["run", "batch", "-e", ENV, "--detach", "--json", "--", &name, "3", "1"];
        ark.json(&run);
        std::thread::sleep(Duration::from_millis(*wait));
        ark.kill_server();
        ark.start_server();
    }
    eventually_within(Duration::from_secs(60), "all are over", || {
        let all = runs(&ark, "batch");
        all.len() == 7 && all.iter().all(|run| run["state"] == "ended")
    });
    let all = runs(&ark, "batch");
    let codes: Vec<i64> = all.iter().filter_map(|run| run["exit_code"].as_i64()).collect();
    assert_eq!(codes, [3, 3, 3, 0, 124, 9, 7], "{all:#?}");
    let logs = ark.run(&["runs", "batch", "1", "-e", ENV, "--logs"]);
    assert_eq!(out(&logs), "got a 7\n", "{}", words(&logs));
    // What they share is their volume: each attempt left one line.
    let lines = ark.run(&["run", "batch", "-e", ENV, "--", "sh", "0"]);
    assert!(lines.status.success(), "{}", words(&lines));
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let volume = format!("ark-{}-{ENV}.batch.ledger", &cluster[..8]);
    let mount = format!("{volume}:/ledger");
    let read = ["run", "--rm", "-v", &mount, IMAGE, "cut", "-d ", "-f1", "/ledger/lines"];
    let read = docker(socket).args(read).output().expect("docker");
    let mut lines: Vec<String> = out(&read).lines().map(str::to_owned).collect();
    lines.sort();
    let expected = ["a", "b", "b", "c", "d", "killed-0", "killed-1", "killed-2", "sh"];
    assert_eq!(lines, expected, "{}", words(&read));
    drop(ark);
    let _ = docker(socket).args(["volume", "rm", "-f", &volume]).output();
}

#[test]
fn a_schedule_fires_a_container_once_for_each_instant() {
    let Some((_, mut ark)) = engine("a_schedule_fires_a_container_once_for_each_instant") else {
        return;
    };
    let tick = script("echo $_APP_NAME fired", "tick");
    deploy(&ark, "tick", &format!("run: {{type: cron, schedule: \"* * * * *\", {tick}}}"));
    let triggered = ark.run(&["cron", "trigger", "tick", "-e", ENV, "--follow"]);
    assert_eq!(out(&triggered), "tick fired\n", "{}", words(&triggered));
    let fired = |ark: &Ark| -> Vec<String> {
        let all = runs(ark, "tick");
        all.iter().filter_map(|run| run["cause"]["at"].as_str().map(str::to_owned)).collect()
    };
    let until = Instant::now() + Duration::from_secs(90);
    while fired(&ark).is_empty() {
        assert!(Instant::now() < until, "it never fired");
        std::thread::sleep(Duration::from_millis(250));
        if jiff::Timestamp::now().as_second() % 60 == 59 {
            ark.kill_server();
            ark.start_server();
        }
    }
    eventually("the run is over", || {
        runs(&ark, "tick").first().is_some_and(|run| run["state"] == "ended")
    });
    let instants = fired(&ark);
    let mut once = instants.clone();
    once.dedup();
    assert_eq!(once, instants, "an instant fired twice");
    assert_eq!(runs(&ark, "tick")[0]["exit_code"], 0, "{:#?}", runs(&ark, "tick"));
    let logs = ark.run(&["runs", "tick", "2", "-e", ENV, "--logs"]);
    assert_eq!(out(&logs), "tick fired\n", "{}", words(&logs));
}

#[test]
fn a_daemon_is_replaced_and_a_function_comes_and_goes() {
    let test = "a_daemon_is_replaced_and_a_function_comes_and_goes";
    let Some((socket, ark)) = engine(test) else { return };
    for version in ["one", "two"] {
        let text = format!("echo {version}; trap 'exit 0' TERM; sleep 1000 & wait");
        let run = script(&text, "agent");
        deploy(
            &ark,
            "agent",
            &format!("run: {{type: daemon, {run}}}\ndeploy: {{min_healthy_time: 200ms}}"),
        );
        let all = containers(socket, &ark, "agent");
        assert_eq!(all.len(), 1, "one on this node: {all:?}");
        let logs = docker(socket).args(["logs", &all[0]]).output().expect("docker");
        assert_eq!(out(&logs), format!("{version}\n"));
    }

    let serve = "mkdir -p /tmp/www/cgi-bin; cd /tmp/www; echo hello > index.html; \
                 echo 'sleep $QUERY_STRING; echo; echo slept' > cgi-bin/slow.sh; \
                 echo '*.sh:/bin/sh' > /tmp/scripts; \
                 exec httpd -f -p $PORT -c /tmp/scripts -h /tmp/www";
    let run = script(serve, "resize");
    deploy(
        &ark,
        "resize",
        &format!(
            "run: {{type: lambda, keep_warm: 2s, {run}}}\nlambda: {{Timeout: 3, MaxConcurrent: 1}}\n\
             deploy: {{min_healthy_time: 0s}}\ndrain: {{requests: 2s, streams: 1s}}"
        ),
    );
    let none = || containers(socket, &ark, "resize").is_empty();
    eventually("nothing runs while nobody asks", none);
    let get = |path: &str| -> String {
        let mut stream = TcpStream::connect(ark.http).expect("the gateway");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let host = ark.host("resize");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    // Of those at the same time one waits for the instance, and the others do not fit beside it.
    let answers: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| get("/cgi-bin/slow.sh?1"))).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let count = |text: &str| answers.iter().filter(|answer| answer.contains(text)).count();
    assert_eq!((count("200 OK"), count("503 Service")), (1, 2), "one at a time: {answers:?}");
    let late = get("/cgi-bin/slow.sh?60");
    assert!(late.contains("504 Gateway"), "a call has its time and no more: {late}");
    for _ in 0..2 {
        let answer = get("/");
        assert!(answer.contains("200 OK") && answer.ends_with("hello\n"), "{answer}");
        assert!(!none(), "it is kept warm");
        eventually("it is scaled to zero", none);
    }
}

#[test]
fn an_image_keeps_its_own_path_and_its_entry_point() {
    let test = "an_image_keeps_its_own_path_and_its_entry_point";
    let Some((socket, ark)) = engine(test) else { return };
    let image = "ark-test/own-path:1";
    let place = tempfile::tempdir().expect("a folder");
    let put =
        |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    put("greet", "#!/bin/sh\necho hello $*\n");
    // What lies only on a path of the image's own, as in those of languages.
    let dockerfile = format!(
        "FROM {IMAGE}\nCOPY --chown=0 greet /opt/own/greet\nENV PATH=/opt/own:/bin\n\
         ENTRYPOINT [\"greet\", \"from\"]\nCMD [\"nobody\"]\n"
    );
    put("Dockerfile", &dockerfile);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path().join("greet"), mode).expect("permissions");
    let built = docker(socket)
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", image])
        .arg(place.path())
        .output()
        .expect("docker");
    assert!(built.status.success(), "{}", words(&built));
    let run = |app: &str, args: &[&str]| {
        let output = ark.run(&[&["run", app, "-e", ENV, "--"], args].concat());
        assert!(output.status.success(), "{app} {args:?}: {}", words(&output));
        out(&output)
    };
    deploy_image(&ark, "own", image, "run: {type: job}");
    assert_eq!(run("own", &[]), "hello from nobody\n");
    assert_eq!(run("own", &["me", "and you"]), "hello from me and you\n", "as docker run says it");
    deploy_image(&ark, "named", image, "run: {type: job, command: [greet, again]}");
    assert_eq!(run("named", &["me"]), "hello again me\n");
    // A hook, an instance, and what runs beside it; a path that the file declares goes before the image's.
    let trap = "trap 'exit 0' TERM; greet instance; sleep 1000 & wait";
    deploy_image(
        &ark,
        "stays",
        image,
        &format!(
            "run: {{command: [sh, -c, \"{trap}\"], stop_grace: 1s}}\n\
             deploy: {{min_healthy_time: 100ms, hooks: {{pre_deploy: [greet, hook]}}}}"
        ),
    );
    assert_eq!(run("stays", &["greet", "beside"]), "hello beside\n");
    let exec = ark.run(&["exec", "stays", "-e", ENV, "--", "greet", "exec"]);
    assert_eq!(out(&exec), "hello exec\n", "{}", words(&exec));
    let stopped = ark.run(&["stop", "stays", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    deploy_image(
        &ark,
        "declared",
        image,
        "run: {type: job, command: [/bin/sh, -c, 'echo $PATH']}\nenv: [PATH]",
    );
    assert_eq!(run("declared", &[]), "/opt/own:/bin\n", "it is not missing");
    let set = ark.run(&["config", "set", "-e", ENV, "declared", "PATH=/bin:/opt/mine"]);
    assert!(set.status.success(), "{}", words(&set));
    deploy_image(
        &ark,
        "declared",
        image,
        "run: {type: job, command: [/bin/sh, -c, 'echo $PATH']}\nenv: [PATH]",
    );
    assert_eq!(run("declared", &[]), "/bin:/opt/mine\n");
    drop(ark);
    let _ = docker(socket).args(["rmi", "-f", image]).output();
}
