//! Which app needs which: declared by launch files, and seen by the gateway as apps call each other
//! through discovery ports.

mod harness;

use std::fs;
use std::path::PathBuf;

use harness::{Ark, ENV, Sample, eventually, words};
use nix::unistd::geteuid;
use serde_json::Value;

/// The launch file of an app without ports that runs a script for ever.
fn launch(ark: &Ark, app: &str, needs: &str, script: &str) -> PathBuf {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{app}.yml"));
    let script = serde_json::to_string(script).expect("text");
    let text = format!(
        "run: {{type: process, command: [/bin/bash, -c, {script}], stop_grace: 1s}}\n\
         autoscaling: {{min_count: 1, max_count: 1}}\n\
         deploy: {{min_healthy_time: 100ms}}\n\
         dependencies: [{needs}]\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    fs::write(&path, text).expect("a file");
    path
}

fn deploy(ark: &Ark, app: &str, needs: &str, script: &str) {
    let file = launch(ark, app, needs, script);
    let output = ark.run(&["deploy", app, "-e", ENV, "--file", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
}

fn dependencies(ark: &Ark) -> Value {
    ark.get(&format!("/v1/environments/{ENV}/dependencies")).expect("an answer")
}

/// Each dependency as `from to known`, with whether it was seen.
fn told(view: &Value) -> Vec<String> {
    let items = view["items"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |item: &Value| {
        let seen = if item["last_seen"].is_string() { "seen" } else { "unseen" };
        format!("{} {} {} {seen}", word(&item["from"]), word(&item["to"]), word(&item["known"]))
    };
    items.iter().map(line).collect()
}

#[test]
#[allow(clippy::print_stderr, reason = "a skip is said by name")]
fn who_calls_through_a_discovery_port_is_seen_whether_it_is_declared_or_not() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy("api", &Sample::version("1").count(1));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(told(&dependencies(&ark)), [""; 0]);

    // Each call is a connection of its own that ends at once.
    let call = "while :; do exec 3<>/dev/tcp/127.0.0.1/$PORT_OF_API && \
                printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3 >/dev/null; exec 3>&-; \
                sleep 0.1; done";
    let declared = format!("PORT_OF_API=$SERVICE_API_DEFAULT_PORT; {call}");
    deploy(&ark, "web", "api", &declared);
    deploy(&ark, "quiet", "api", "sleep 3600");
    let shown = ["exec", "web", "-e", ENV, "--", "sh", "-c", "echo $SERVICE_API_DEFAULT_PORT"];
    let port = ark.run(&shown);
    let port: u16 = String::from_utf8_lossy(&port.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|error| panic!("no port ({error}): {}", words(&port)));
    deploy(&ark, "sneak", "", &format!("PORT_OF_API={port}; {call}"));

    if !geteuid().is_root() {
        let view = dependencies(&ark);
        assert!(view["blind"].is_string(), "{view}");
        eprintln!("skipped: apps have users of their own only where Ark is root");
        return;
    }
    let all = ["quiet api declared unseen", "sneak api observed seen", "web api both seen"];
    eventually("both callers are seen", || told(&dependencies(&ark)) == all);
    let view = dependencies(&ark);
    assert!(view["since"].is_string() && view["blind"].is_null(), "{view}");

    let shown = ark.run(&["env", "dependencies", ENV]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["seen, not declared", "declared, not seen", "declared and seen", "under `depend"] {
        assert!(text.contains(part), "{part}: {}", words(&shown));
    }

    // What was seen outlives the server and its memory, also of an app that calls no more.
    let stopped = ark.run(&["stop", "sneak", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    let last_seen = |view: &Value| view["items"][1]["last_seen"].clone();
    let before = last_seen(&dependencies(&ark));
    ark.kill_server();
    ark.start_server();
    let view = dependencies(&ark);
    assert_eq!(told(&view), all);
    assert!(last_seen(&view).as_str() >= before.as_str(), "{view}");
}
