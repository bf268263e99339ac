//! The command line as a script sees it: exit codes (the matrix of the contract), what goes to
//! standard output, and that nothing is changed by what is refused.

mod harness;

use std::fs;
use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::{Ark, ENV, Sample, ark, eventually, last_json, state, words};
use serde_json::Value;

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn expect(output: &Output, exit: i32, said: &str) {
    assert_eq!(code(output), exit, "{}", words(output));
    let text = stdout(output) + &stderr(output);
    assert!(text.contains(said), "{said:?} was not said: {}", words(output));
}

/// What the server answers to a request without a token that names this host.
fn asked_by(ark: &Ark, host: &str) -> String {
    let file = fs::read(ark.data_dir().join("server.json")).expect("where the server is");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let address = file["api"].as_str().expect("an address").trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    let request = format!("GET /v1/server HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A command without any server, in a home of its own.
fn alone(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(ark());
    command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
    command.env("ARK_DATA_DIR", home.join("data")).current_dir(home).stdin(Stdio::null());
    command
}

fn run_alone(home: &Path, args: &[&str]) -> Output {
    alone(home, args).output().expect("ark runs")
}

/// Commands that a help names: lines of two spaces, a word, and more than one space.
fn listed(help: &str) -> Vec<String> {
    let command = |line: &str| {
        let (name, words) = line.strip_prefix("  ")?.split_once("  ")?;
        let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let good = letters && name.starts_with(|c: char| c.is_ascii_lowercase());
        (good && !words.trim().is_empty()).then(|| name.to_owned())
    };
    help.lines().filter_map(command).collect()
}

#[test]
fn help_shows_examples_and_never_executes() {
    let home = tempfile::tempdir().expect("a directory");
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        let name = path.join(" ");
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let output = run_alone(home.path(), &args);
        assert_eq!(code(&output), 0, "{name}: {}", words(&output));
        let help = stdout(&output);
        let first = help.lines().next().unwrap_or_default();
        assert!(first == "Examples:" || path.len() != 1, "{name} begins with {first:?}");
        for inner in listed(&help) {
            open.push(path.iter().cloned().chain([inner]).collect());
        }
        seen.push(name);
    }
    for name in ["up", "deploy", "config set", "token create", "workflow schedule add", "version"] {
        assert!(seen.iter().any(|seen| seen == name), "{name} is not in the help: {seen:?}");
    }
    let left: Vec<_> = fs::read_dir(home.path()).expect("the home").collect();
    assert!(left.is_empty(), "--help made {left:?}");
}

#[test]
fn without_a_server_usage_is_2_and_everything_else_says_how_to_start_one() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    for args in [
        &["bogus"][..],
        &[],
        &["deploy", "web", "--bogus"],
        &["deploy", "Not_A_Name", "-e", "production"],
        &["status", "-e", "Not_A_Name"],
        &["deploy", "web", "--dir", ".", "--image", "x"],
        &["deploy", "web", "--strategy", "hope"],
        &["scale", "web"],
        &["scale", "web=many"],
        &["exec", "web"],
        &["token", "create", "x", "--role", "king"],
        &["config", "set", "-e", "production", "web", "--secret", "KEY=hunter2"],
        &["deploy", "--file", "nowhere.yml", "-e", "production"],
        &["validate", "nowhere.yml"],
    ] {
        let output = run_alone(home, args);
        assert_eq!(code(&output), 2, "{args:?}: {}", words(&output));
        assert!(!stderr(&output).contains("hunter2"), "{args:?} repeats a secret");
    }
    for args in [&["status", "-e", "production"][..], &["events"], &["ps", "web", "-e", "x"]] {
        expect(&run_alone(home, args), 1, "ark up");
    }
    // JSON for a script: the error is one object on standard error, standard output stays empty.
    let output = run_alone(home, &["status", "-e", "production", "--json"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    let error: Value = serde_json::from_str(stderr(&output).trim()).expect("one object");
    assert_eq!(error["error"]["code"], "no-server");
    expect(&run_alone(home, &["deploy", "nosuch", "-e", "production"]), 6, "launch/nosuch.yml");
    expect(&run_alone(home, &["version"]), 0, "ark ");
    expect(&run_alone(home, &["completion", "bash"]), 0, "_ark");
    let schema = run_alone(home, &["schema"]);
    let schema: Value = serde_json::from_str(&stdout(&schema)).expect("a schema");
    assert!(schema.is_object());
    // A reader that goes away is no failure.
    let mut child = alone(home, &["schema"]).stdout(Stdio::piped()).spawn().expect("ark runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn validate_answers_per_file() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    fs::create_dir_all(home.join("launch/deep")).expect("folders");
    fs::write(home.join("launch/good.yml"), "{}").expect("a file");
    fs::write(home.join("launch/deep/also.yaml"), "team: eng-infra\n").expect("a file");
    expect(&run_alone(home, &["validate"]), 0, "2 files checked, all accepted");
    let bad =
        "alarms:\n- {type: InternalErrorAlarm, severity: major, paramaters: {threshold: 0.1}}\n";
    fs::write(home.join("launch/web.yml"), bad).expect("a file");
    expect(&run_alone(home, &["validate", "launch"]), 2, "did you mean `parameters`?");
    let output = run_alone(home, &["validate", "launch", "--json"]);
    assert_eq!(code(&output), 2);
    let verdicts: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object per line"))
        .collect();
    assert_eq!(verdicts.len(), 3);
    let web = verdicts.iter().find(|v| v["path"] == "launch/web.yml").expect("web.yml");
    assert_eq!(web["ok"], false);
    let found = &web["diagnostics"][0];
    assert_eq!((found["code"].as_str(), found["line"].as_u64()), (Some("E012"), Some(2)));
    assert_eq!(found["suggestion"], "parameters");
    assert!(found["column"].is_u64() && found["message"].is_string());
    expect(&run_alone(home, &["deploy", "web", "-e", "production"]), 2, "E012");
}

#[test]
fn a_compose_file_becomes_launch_files_that_are_accepted() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    let compose = r#"
services:
  web:
    build: {context: ., dockerfile: web.Dockerfile}
    container_name: shop-web
    ports: ["8080:80"]
    environment:
      DATABASE_URL: postgres://shop:${DB_PASSWORD}@db:5432/shop
      LOG_LEVEL: ${LOG_LEVEL:-info}
    depends_on: {db: {condition: service_healthy}}
    healthcheck: {test: [CMD, curl, -f, "http://localhost/health"], interval: 0s, start_period: 1h}
    stop_signal: SIGRTMIN+3
    deploy:
      replicas: 2
      resources:
        limits: {cpus: "0.5", memory: 512M, pids: 100}
        reservations: {cpus: "0.25", memory: 256M}
  worker:
    image: shop-worker:1
    command: ["./worker"]
    entrypoint: []
    stop_signal: TERM
    restart: on-failure:3
    volumes: ["pgdata_vol:/backup:ro"]
    depends_on: [db]
  db:
    image: postgres:16
    environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: hunter2}
    healthcheck: {test: [CMD-SHELL, pg_isready -U shop], interval: 10s, retries: 5}
    volumes: ["pgdata_vol:/var/lib/postgresql/data"]
volumes: {pgdata_vol: {}}
"#;
    fs::write(home.join("compose.yml"), compose).expect("a file");
    let output = run_alone(home, &["import", "compose.yml", "--json"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    let made: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let left: Vec<&str> = made["left_out"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    for key in [
        "services.web.container_name",
        "services.web.environment.DATABASE_URL",
        "services.web.ports",
        "services.web.stop_signal",
        "services.web.deploy.resources.limits.pids",
        "services.web.deploy.resources.reservations.cpus",
        "launch/web.yml expose[0].health_check.interval",
        "services.worker.restart",
        "services.worker.volumes",
        "services.db.volumes",
        "services.db.healthcheck.test",
        "services.db.environment.POSTGRES_PASSWORD",
        "volumes.pgdata_vol",
    ] {
        assert!(left.contains(&key), "{key} is not named: {left:#?}");
    }
    assert!(!stdout(&output).contains("hunter2"));
    let read = |app: &str| fs::read_to_string(home.join(format!("launch/{app}.yml"))).expect(app);
    let db = read("db");
    assert!(db.contains("port: 5432") && db.contains("name: pgdata-vol"), "{db}");
    assert!(!db.contains("hunter2"), "{db}");
    assert!(read("web").contains("dependencies: [db]"));
    assert!(read("worker").contains("stop_signal: SIGTERM"));
    expect(&run_alone(home, &["validate"]), 0, "3 files checked, all accepted");
    // What stands there and differs is left alone; the rest is written all the same.
    fs::write(home.join("launch/web.yml"), "{}\n").expect("a file");
    fs::remove_file(home.join("launch/db.yml")).expect("a file");
    let output = run_alone(home, &["import", "compose.yml"]);
    expect(&output, 0, "launch/web.yml: it is there already, differs, and is left alone");
    assert_eq!((read("web").as_str(), read("db")), ("{}\n", db));
}

#[test]
fn deployments_end_with_the_exit_codes_of_the_contract() {
    let ark = Ark::up();
    let file = |sample: &Sample| ark.launch("web", sample).to_string_lossy().into_owned();
    let deploy = |sample: &Sample| {
        let file = file(sample);
        ark.run(&["deploy", "web", "-e", ENV, "--file", &file])
    };
    let plan = |sample: &Sample| {
        let file = file(sample);
        ark.run(&["plan", "web", "-e", ENV, "--file", &file])
    };

    // Nothing is there yet.
    expect(&ark.run(&["status", "-e", ENV]), 6, "ark env list");
    let needs = Sample { more: "env: [DB_URL, KEY]\n".to_owned(), ..Sample::version(1) };
    expect(&plan(&needs), 1, "DB_URL");
    expect(&deploy(&needs), 7, "DB_URL, KEY");
    // A first deployment that fails has nothing to go back to.
    let broken = Sample::version(1).variable("BROKEN", "crash");
    expect(&deploy(&broken), 1, "crash on purpose");
    // One that does not come forward neither: its time is over before anything is known to be wrong.
    let slow = file(&Sample::version(1).variable("START_DELAY_MS", 60_000));
    let text = fs::read_to_string(&slow).expect("the launch file");
    let text = text.replace("progress_deadline: 60s", "progress_deadline: 2s");
    fs::write(&slow, text).expect("written");
    expect(&ark.run(&["deploy", "web", "-e", ENV, "--file", &slow]), 4, "no progress");

    let one = Sample::version(1);
    expect(&plan(&one), 10, "start 2 instances");
    let output = deploy(&one);
    expect(&output, 0, "is live on production");
    assert!(stdout(&output).contains("served "), "the receipt is data: {}", words(&output));
    expect(&plan(&one), 0, "nothing would change");

    // Back to the old release, with cause, log and next command.
    let output = deploy(&Sample::version(2).variable("BROKEN", "crash"));
    expect(&output, 3, "production is back on");
    for said in ["crash on purpose", "ark logs web -e production --instance", "exit 3"] {
        assert!(stderr(&output).contains(said), "{said:?}: {}", words(&output));
    }
    expect(&ark.run(&["rollback", "web", "-e", ENV, "--to", "v99"]), 6, "does not exist");
    let releases = stdout(&ark.run(&["releases", "web", "-e", ENV, "--json"])).lines().count();
    expect(&deploy(&Sample { more: "teem: x\n".into(), ..Sample::version(3) }), 2, "team");
    let after = stdout(&ark.run(&["releases", "web", "-e", ENV, "--json"])).lines().count();
    assert_eq!(releases, after, "a refused deployment made a release");

    // The last line of --json is the deployment.
    let (output, last) = ark.deploy("web", &Sample::version(4));
    assert_eq!(code(&output), 0, "{}", words(&output));
    for key in ["id", "state", "release", "receipt"] {
        assert!(!last[key].is_null(), "{key} is missing: {last}");
    }
    let id = last["id"].as_str().expect("an id");
    let receipt = ark.json(&["receipt", id, "--json"]);
    for key in ["served", "failed", "cut", "retried", "longest_stall_ms"] {
        for place in [&receipt, &receipt["old"], &receipt["new"]] {
            assert!(place[key].is_u64(), "{key}: {receipt}");
        }
    }
    // Where it leads is said before, and changes nothing; twice in a row it says the same.
    for _ in 0..2 {
        let output = ark.run(&["rollback", "web", "-e", ENV, "--plan"]);
        expect(&output, 10, "v5 → v3");
        assert!(stdout(&output).contains("VERSION"), "{}", words(&output));
    }
    let named = ark.run(&["rollback", "web", "-e", ENV, "--plan", "--to", "v99"]);
    expect(&named, 1, "does not exist");
    expect(&ark.run(&["rollback", "web", "-e", ENV]), 0, "undo: ark rollback web");
    let app = ark.get(&format!("/v1/environments/{ENV}/apps/web")).expect("the app");
    assert_eq!(app["live"], 3, "it led where it was said");
    // There is nothing before it: no plan either.
    expect(&ark.run(&["rollback", "web", "-e", ENV, "--plan"]), 1, "no release");
    expect(&ark.run(&["diff", "--app", "web", "-e", ENV]), 0, "VERSION");
}

#[test]
fn a_deployment_can_be_left_superseded_and_aborted() {
    let ark = Ark::up();
    let (output, _) = ark.deploy("web", &Sample::version(1));
    assert_eq!(code(&output), 0, "{}", words(&output));
    // Slow enough to be left in the middle.
    let slow = |version: u32| Sample::version(version).variable("START_DELAY_MS", 3_000);
    let file = ark.launch("web", &slow(2)).to_string_lossy().into_owned();
    let left = ark
        .command(&["deploy", "web", "-e", ENV, "--file", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ark runs");
    let running = || {
        ark.get(&format!("/v1/environments/{ENV}/apps/web"))
            .map(|app| app["running_deployment"]["id"].clone())
    };
    eventually("a running deployment", || running().is_some_and(|id| id.is_string()));
    let pid = left.id().to_string();
    let _ = Command::new("kill").args(["-INT", &pid]).status();
    let output = left.wait_with_output().expect("it ends");
    expect(&output, 130, "goes on in the server");
    assert!(stderr(&output).contains("ark abort "), "{}", words(&output));
    let first = running().and_then(|id| id.as_str().map(str::to_owned)).expect("it goes on");

    // A newer waiting deployment takes the place of an older waiting one.
    let waiting = ark.deploy_detached("web", &slow(3));
    let newest = ark.deploy_detached("web", &slow(4));
    let over = ark.wait_over(&waiting, Duration::from_secs(30));
    assert_eq!((state(&over), over["exit_code"].as_u64()), ("superseded", Some(5)));
    assert_eq!(state(&ark.wait_over(&first, Duration::from_secs(60))), "succeeded");

    // The end of an id is enough.
    let end = &newest[newest.len() - 12..];
    expect(&ark.run(&["abort", end, "--reason", "enough"]), 0, "was aborted");
    let aborted = ark.wait_over(&newest, Duration::from_secs(30));
    assert_eq!((state(&aborted), aborted["exit_code"].as_u64()), ("rolled_back", Some(3)));
    expect(&ark.run(&["abort", &newest]), 5, "");
}

#[test]
fn operating_an_app() {
    let ark = Ark::up();
    let (output, _) = ark.deploy("web", &Sample::version(1));
    assert_eq!(code(&output), 0, "{}", words(&output));
    let ps = || -> Vec<Value> {
        stdout(&ark.run(&["ps", "web", "-e", ENV, "--json"]))
            .lines()
            .map(|line| serde_json::from_str(line).expect("an instance per line"))
            .collect()
    };
    let rows = ps();
    assert_eq!(rows.len(), 2);
    for key in ["id", "release", "state", "pid", "address", "ready"] {
        assert!(!rows[0][key].is_null(), "{key}: {}", rows[0]);
    }
    let status = ark.json(&["status", "-e", ENV, "--json"]);
    assert_eq!((status["app"].as_str(), status["ready"].as_u64()), (Some("web"), Some(2)));
    expect(&ark.run(&["open", "web", "-e", ENV]), 0, "http://web.production.localhost:");
    // Where there is no app, the console.
    expect(&ark.run(&["open", "-e", ENV]), 0, "/sign-in/");

    expect(&ark.run(&["scale", "web=3", "-e", ENV]), 0, "3 of 3 instances ready");
    assert_eq!(ps().len(), 3);
    let before: Vec<Value> = ps().iter().map(|row| row["id"].clone()).collect();
    expect(&ark.run(&["restart", "web", "-e", ENV]), 0, "3 of 3");
    assert!(ps().iter().all(|row| !before.contains(&row["id"])), "all were replaced");

    let exec = |command: &[&str]| {
        let args = [&["exec", "web", "-e", ENV, "--"], command].concat();
        ark.run(&args)
    };
    let output = exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (7, "out\n"), "{}", words(&output));
    assert_eq!(stderr(&output), "err\n");
    assert_eq!(code(&exec(&["sh", "-c", "kill -9 $$"])), 137);
    let mut child = ark
        .command(&["exec", "web", "-e", ENV, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ark runs");
    let text = "line\n".repeat(20_000);
    let mut stdin = child.stdin.take().expect("piped");
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer").expect("all was taken");
    assert!(stdout(&output) == text, "what went in comes out, {} bytes", output.stdout.len());

    expect(&ark.run(&["logs", "web", "-e", ENV, "--tail", "50"]), 0, "start:");
    let line = ark.json(&["logs", "web", "-e", ENV, "--tail", "1", "--json"]);
    assert!(line["text"].is_string() && line["instance"].is_string(), "{line}");
    expect(&ark.run(&["ps", "nosuch", "-e", ENV]), 6, "nosuch");
    expect(&ark.run(&["logs", "web", "-e", ENV, "--instance", "web-000000"]), 6, "web-000000");

    expect(&ark.run(&["stop", "web", "-e", ENV]), 0, "web is stopped");
    assert_eq!(ps().len(), 0);
    // Known to the server, with no launch file here.
    expect(&ark.run(&["start", "web", "-e", ENV]), 0, "is live on production");
    expect(&ark.run(&["start", "nosuch", "-e", ENV]), 6, "nosuch.yml does not exist");
    expect(&ark.run(&["gc"]), 0, "removed");
    expect(&ark.run(&["doctor"]), 0, "store");
    expect(&ark.run(&["events", "-e", ENV, "--tail", "500"]), 0, "is live");
}

#[test]
fn configuration_tokens_and_environments() {
    let ark = Ark::up();
    let with_input = |args: &[&str], input: &str| {
        let mut child = ark
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ark runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    expect(&ark.run(&["env", "create", "eng1"]), 0, "development");
    let env = ["-e", "eng1", "web"];
    fn set<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["config", "set", "-e", "eng1", "web"], more].concat()
    }
    expect(&ark.run(&set(&["A=1", "B=x=y"])), 0, "2 values set; config 1");
    expect(&with_input(&set(&["--secret", "KEY"]), "hunter2\n"), 0, "config 2");
    let import = [&["config", "import"], &env[..], &["-", "--secret", "TOKEN"]].concat();
    expect(&with_input(&import, "TOKEN='swordfish'\nC=3\n"), 0, "config 3");
    expect(&ark.run(&[&["config", "unset"], &env[..], &["B"]].concat()), 0, "config 4");
    let output = ark.run(&[&["config", "list"], &env[..]].concat());
    expect(&output, 0, "KEY    (secret)");
    let json = ark.run(&["config", "list", "-e", "eng1", "web", "--json"]);
    let events = ark.run(&["events", "-e", "eng1", "--json"]);
    for text in [stdout(&output), stdout(&json), stdout(&events)] {
        assert!(!text.contains("hunter2") && !text.contains("swordfish"), "{text}");
    }

    // On this machine, with what is configured there; the exit code is the app's own.
    let folder = ark.dir.path().join("shop");
    fs::create_dir_all(folder.join("launch")).expect("folders");
    let launch = "run: {type: process, command: [sh, -c, 'echo A is $A, key has ${#KEY}; exit 9']}\nenv: [A, KEY]\n";
    fs::write(folder.join("launch/web.yml"), launch).expect("a file");
    let local = |more: &[(&str, &str)]| {
        let mut command = ark.command(&["start", "-l", "web", "-e", "eng1"]);
        command.current_dir(&folder).envs(more.iter().copied()).output().expect("ark runs")
    };
    expect(&local(&[]), 9, "web/local> A is 1, key has 7");
    expect(&local(&[("A", "mine")]), 9, "web/local> A is mine, key has 7");

    let created = ark.json(&["token", "create", "ci", "--role", "reader", "--json"]);
    let token = created["token"].as_str().expect("a token");
    let reader =
        |args: &[&str]| ark.command(args).env("ARK_TOKEN", token).output().expect("ark runs");
    expect(&reader(&["env", "list"]), 0, "eng1");
    expect(&reader(&["config", "set", "-e", "eng1", "web", "A=2"]), 7, "reader");
    expect(&reader(&["token", "list"]), 7, "");
    expect(&ark.run(&["token", "revoke", "ci"]), 0, "revoked");
    expect(&reader(&["env", "list"]), 7, "revoked");
    expect(&ark.run(&["token", "revoke", "nobody"]), 6, "nobody");

    expect(&ark.run(&["env", "lease", "eng1"]), 0, "has no lease");
    expect(&ark.run(&["env", "dependencies", "eng1"]), 0, "no app of eng1 declares");
    expect(&ark.run(&["env", "dependencies", "none"]), 6, "ark env list");
    expect(&ark.run(&["env", "lease", "eng1", "510m"]), 0, "it is destroyed in 8 h");
    expect(&ark.run(&["env", "list"]), 0, "8 h");
    expect(&ark.run(&["env", "create", "eng1", "--lease", "1h"]), 0, "it is destroyed in 8 h");
    expect(&ark.run(&["env", "lease", "eng1", "none"]), 0, "has no lease");
    expect(&ark.run(&["env", "lease", "eng1", "soon"]), 2, "soon");
    expect(&ark.run(&["env", "create", "eng1", "--lease", "8h"]), 5, "ark env lease eng1");
    expect(&ark.run(&["env", "create", "eng2", "--lease", "90m"]), 0, "it is destroyed in");
    expect(&ark.run(&["env", "create", "production", "--lease", "8h"]), 2, "permanent");

    expect(&ark.run(&["env", "destroy", "eng1"]), 2, "--yes");
    expect(&ark.run(&["env", "destroy", "eng1", "--yes"]), 0, "destroyed");
    expect(&ark.run(&["env", "destroy", "eng1", "--yes"]), 6, "eng1");
    expect(&ark.run(&["status", "-e", "eng1"]), 6, "eng1");
}

#[test]
fn a_default_environment_is_saved_and_variables_stand_over_it() {
    let ark = Ark::up();
    let config = ark.dir.path().join("config");
    let run = |args: &[&str], more: &[(&str, &str)]| {
        let mut command = ark.command(args);
        command.env("XDG_CONFIG_HOME", &config).envs(more.iter().copied());
        command.output().expect("ark runs")
    };
    expect(&run(&["status"], &[]), 2, "which environment?");
    for env in ["one", "two", "three"] {
        expect(&run(&["env", "create", env], &[]), 0, env);
    }
    expect(&run(&["env", "use", "one"], &[]), 0, "one");
    expect(&run(&["status"], &[]), 0, "no app on one");
    expect(&run(&["status"], &[("ARK_ENV", "")]), 0, "no app on one");
    expect(&run(&["status"], &[("ARK_ENV", "two")]), 0, "no app on two");
    expect(&run(&["status", "-e", "three"], &[("ARK_ENV", "two")]), 0, "no app on three");
}

#[test]
fn a_directory_is_sent_once_and_its_end_does_not_matter() {
    let ark = Ark::up();
    let shop = ark.dir.path().join("shop");
    fs::create_dir_all(shop.join("launch")).expect("folders");
    let script = shop.join("run.sh");
    let program = |word: &str| format!("#!/bin/sh\necho {word}; exec sleep 1000\n");
    fs::write(&script, program("first")).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("a mode");
    fs::write(shop.join("data.bin"), vec![7_u8; 300_000]).expect("a file");
    let launch = "run: {type: process, command: [./run.sh]}\ndeploy: {min_healthy_time: 0s}\n";
    fs::write(shop.join("launch/worker.yml"), launch).expect("a file");
    let deploy =
        || ark.command(&["deploy", "-e", "eng1"]).current_dir(&shop).output().expect("ark");
    expect(&deploy(), 0, "3 files sent");
    fs::write(&script, program("second")).expect("a file");
    expect(&deploy(), 0, "1 file sent");
    expect(&ark.run(&["logs", "worker", "-e", "eng1"]), 0, "second");
    // What was deployed does not need its source.
    fs::remove_dir_all(&shop).expect("removed");
    expect(&ark.run(&["rollback", "worker", "-e", "eng1"]), 0, "v1 is live");
    expect(&ark.run(&["logs", "worker", "-e", "eng1"]), 0, "first");

    fs::create_dir_all(&shop).expect("a folder");
    std::os::unix::fs::symlink("/etc/passwd", shop.join("out")).expect("a link");
    let file = ark.dir.path().join("worker.yml");
    fs::write(&file, launch).expect("a file");
    let (file, shop) = (file.to_string_lossy(), shop.to_string_lossy());
    let output = ark.run(&["deploy", "--file", &file, "--dir", &shop, "-e", "eng1"]);
    expect(&output, 2, "`out` leads outside");
}

#[test]
fn up_and_down() {
    let ark = Ark::up();
    let (output, _) = ark.deploy("web", &Sample::version(1));
    assert_eq!(code(&output), 0, "{}", words(&output));
    let data_dir = ark.data_dir().to_string_lossy().into_owned();
    // By its directory alone, as a user on this machine would.
    let local = |args: &[&str]| {
        let mut command = ark.command(args);
        command.env_remove("ARK_SERVER").env_remove("ARK_TOKEN").env("ARK_DATA_DIR", &data_dir);
        command.output().expect("ark runs")
    };
    expect(&local(&["status", "-e", ENV]), 0, "web");
    expect(&local(&["down"]), 2, "--yes");
    assert_eq!(last_json(&local(&["status", "-e", ENV, "--json"]))["ready"], 2);
    expect(&local(&["down", "--yes"]), 0, "have ended");
    assert!(ark.marked().is_empty(), "instances are left");
    expect(&local(&["status", "-e", ENV]), 1, "ark up");
    expect(&local(&["down", "--yes"]), 0, "no ark runs");
    // And up again, in the background: the apps come back.
    let http = ark.http.to_string();
    let up = ["up", "--detach", "--api", "127.0.0.1:0", "--http", &http, "--allow-host"];
    expect(&local(&[&up[..], &["http://ark.test"]].concat()), 2, "without scheme and port");
    let output = local(&[&up[..], &["ark.test"]].concat());
    expect(&output, 0, "ark is up");
    // By the name that was allowed, and by no other.
    for (host, status) in [("ark.test", "401"), ("ark.test:80", "401"), ("other.test", "403")] {
        let answer = asked_by(&ark, host);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    eventually("the app runs again", || {
        last_json(&local(&["status", "-e", ENV, "--json"]))["ready"] == 2
    });
    expect(&local(&["down", "--yes"]), 0, "have ended");
    assert!(ark.marked().is_empty(), "instances are left");
}
