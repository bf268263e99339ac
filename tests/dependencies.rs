//! Which app needs which: declared by launch files, and seen by the gateway as apps call each other
//! through discovery ports.

mod harness;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use harness::lacking::{Lack, skip};
use harness::{Ark, ENV, Sample, eventually, last_json, words};
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
        let test = "who_calls_through_a_discovery_port_is_seen";
        return skip(test, Lack::Root, "apps have users of their own only where Ark is root");
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

/// What an app needs and is not there is said before, in the record of the deployment, and refused where
/// the app asks for the variable itself.
#[test]
fn an_app_that_is_not_there_is_no_silent_matter() {
    let ark = Ark::up();
    let file = launch(&ark, "web", "api, queue", "sleep 3600");
    let file = file.to_string_lossy();
    let plan = ark.run(&["plan", "web", "-e", ENV, "--file", &file]);
    let text = words(&plan);
    assert!(text.contains("needs api, queue, which are not deployed in production"), "{text}");

    let strict = ark.dir.path().join("launch/strict.yml");
    let asks = fs::read_to_string(&*file).expect("a file") + "env: [SERVICE_API_DEFAULT_PORT]\n";
    fs::write(&strict, asks).expect("a file");
    let strict = strict.to_string_lossy();
    let refused = ark.run(&["deploy", "strict", "-e", ENV, "--file", &strict]);
    let text = words(&refused);
    assert_eq!(refused.status.code(), Some(7), "{text}");
    assert!(text.contains("SERVICE_API_DEFAULT_PORT"), "{text}");
    assert!(text.contains("ark deploy api -e production"), "{text}");

    let deployed = ark.run(&["deploy", "web", "-e", ENV, "--file", &file, "--json"]);
    let text = words(&deployed);
    assert!(deployed.status.success(), "{text}");
    assert!(text.contains("which are not deployed in production"), "{text}");

    let (output, _) = ark.deploy("api", &Sample::version("1").count(1));
    assert!(output.status.success(), "{}", words(&output));
    let plan = ark.run(&["plan", "web", "-e", ENV, "--file", &file]);
    assert!(words(&plan).contains("needs queue, which is not deployed"), "{}", words(&plan));
    let deployed = ark.run(&["deploy", "strict", "-e", ENV, "--file", &strict]);
    assert!(deployed.status.success(), "{}", words(&deployed));
    let told = ["exec", "strict", "-e", ENV, "--", "sh", "-c", "echo $SERVICE_API_DEFAULT_PORT"];
    let output = ark.run(&told);
    assert!(output.status.success(), "{}", words(&output));
    let port = String::from_utf8_lossy(&output.stdout).trim().parse::<u16>();
    let port = port.unwrap_or_else(|_| panic!("the variable is there: {}", words(&output)));

    // As it would be written for Compose, where an app is at its own port under its name.
    let named = |port: u16| {
        let text = fs::read_to_string(&*file).expect("a file");
        let url = format!("env_defaults: {{API_URL: \"http://api:{port}/v1\", ");
        let path = ark.dir.path().join("launch/named.yml");
        fs::write(&path, text.replace("env_defaults: {", &url)).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let says = "API_URL names api:8080, where nothing listens: api is reached at \
                SERVICE_API_DEFAULT_HOST and SERVICE_API_DEFAULT_PORT";
    let wrong = named(8080);
    let plan = ark.run(&["plan", "named", "-e", ENV, "--file", &wrong, "--json"]);
    assert!(words(&plan).contains(says), "{}", words(&plan));
    let deployed = ark.run(&["deploy", "named", "-e", ENV, "--file", &wrong, "--json"]);
    assert!(words(&deployed).contains(says), "{}", words(&deployed));
    let plan = ark.run(&["plan", "named", "-e", ENV, "--file", &named(port), "--json"]);
    assert!(!words(&plan).contains("nothing listens"), "{}", words(&plan));
}

/// A release that crashes while what it needs is down says so: the app and since when, and the addresses
/// of its variables at which nothing listens. A secret one is not told.
#[test]
fn a_failure_names_what_was_down_meanwhile() {
    let ark = Ark::up();
    let (output, _) = ark.deploy("api", &Sample::version("1").count(1));
    assert!(output.status.success(), "{}", words(&output));
    let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = |of: &TcpListener| of.local_addr().expect("an address").port();
    let (database, queue) = (listener(), listener());
    let (database_port, queue_port) = (port(&database), port(&queue));
    let secret = ark.dir.path().join("queue");
    fs::write(&secret, format!("amqp://app:hidden@127.0.0.1:{queue_port}/")).expect("a file");
    let mut set = ark.command(&["config", "set", "web", "-e", ENV, "--secret", "QUEUE_URL"]);
    let set = set.stdin(fs::File::open(&secret).expect("a file")).output().expect("it runs");
    assert!(set.status.success(), "{}", words(&set));
    deploy(&ark, "web", "api", "sleep 3600");

    let broken = launch(&ark, "web", "api", "echo cannot go on; exit 1");
    let text = fs::read_to_string(&broken).expect("a file").replace(
        "env_defaults: {",
        &format!("env: [QUEUE_URL]\nenv_defaults: {{DATABASE_URL: \"postgres://127.0.0.1:{database_port}/x\", "),
    );
    fs::write(&broken, text).expect("a file");
    let broken = broken.to_string_lossy();
    let fails = |json: bool| {
        let mut args = vec!["deploy", "web", "-e", ENV, "--file", &broken];
        args.extend(json.then_some("--json"));
        let output = ark.run(&args);
        assert_eq!(output.status.code(), Some(3), "{}", words(&output));
        output
    };
    let d = last_json(&fails(true));
    assert_eq!(d["diagnosis"]["kind"], "crashed", "all of it is up: {d}");

    let before = jiff::Timestamp::now();
    let stopped = ark.run(&["stop", "api", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    drop((database, queue));
    let output = fails(true);
    assert!(!words(&output).contains("hidden"), "{}", words(&output));
    let d = last_json(&output);
    let why = &d["diagnosis"];
    assert_eq!(why["kind"], "dependency_down", "{d}");
    assert_eq!(why["failure"]["kind"], "crashed", "{d}");
    assert!(why["failure"]["log"].to_string().contains("cannot go on"), "{d}");
    let down = why["down"].as_array().expect("what is down");
    assert_eq!((&down[0]["app"], &down[0]["seen"]), (&"api".into(), &"stopped".into()), "{d}");
    let since: jiff::Timestamp =
        down[0]["since"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    assert!((before..jiff::Timestamp::now()).contains(&since), "{since}");
    let address = format!("127.0.0.1:{database_port}");
    assert_eq!(down[1]["variable"], "DATABASE_URL", "{d}");
    assert_eq!(
        (&down[1]["address"], &down[1]["seen"]),
        (&address.into(), &"connection refused".into())
    );
    assert_eq!((&down[2]["variable"], &down[2]["address"]), (&"QUEUE_URL".into(), &Value::Null));
    assert_eq!(down.len(), 3, "{d}");

    // In words: of the command, and of its receipt.
    let text = words(&fails(false));
    for part in ["v2 crashed", "ended with exit 1", "dependency down: api (stopped; nothing of it"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.contains("dependency down: the address in QUEUE_URL (connection refused)"),
        "{text}"
    );
    let id = d["id"].as_str().expect("an id");
    let receipt = words(&ark.run(&["receipt", id]));
    assert!(receipt.contains("why: dependency down: api (stopped"), "{receipt}");
}
