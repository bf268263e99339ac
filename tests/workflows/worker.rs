//! `ark worker` as a process against `ark up`: the contract with commands, from outside.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{Ark, eventually, words};

/// How long a command may go on that a worker which stops has told to end.
const GRACE: Duration = Duration::from_secs(25);

/// What the worker runs; `kind` in the input says what to do.
const SCRIPT: &str = r#"
case "$1" in
*'"kind":"ok"'*) touch "$WORK_DIR/file"; echo talk; echo "{\"name\":\"$_EXECUTION_NAME\",\"dir\":\"$WORK_DIR\",\"mode\":\"$(stat -c %a "$WORK_DIR")\"}" ;;
*'"kind":"empty"'*) ;;
*'"kind":"text"'*) echo '{}'; echo no json ;;
*'"kind":"own"'*) echo '{"error":"Mine","cause":"why"}'; exit 3 ;;
*'"kind":"talks"'*) echo "reading row 7"; echo "signed in with $API_TOKEN" >&2
    echo '{"error":"Mine","cause":"why"}'; exit 3 ;;
*'"kind":"nonzero"'*) echo oops >&2; exit 1 ;;
*'"kind":"big"'*) head -c 100000 /dev/zero | tr '\0' x >&2; echo end >&2; exit 1 ;;
*'"kind":"wide"'*) printf '{"a":"'; head -c 200000 /dev/zero | tr '\0' y; echo '"}' ;;
*'"kind":"wider"'*) printf '{"a":"'; head -c 300000 /dev/zero | tr '\0' y; echo '"}' ;;
*'"kind":"killed"'*) kill -9 $$ ;;
*'"kind":"signal"'*) kill -10 $$ ;;
*'"kind":"lost"'*) trap 'touch "$MARKS/lost"; exit 1' TERM; touch "$MARKS/lost-begun"; sleep 90 & wait ;;
*'"kind":"deaf"'*) trap '' TERM INT; echo $$ >"$MARKS/deaf-$_EXECUTION_NAME"; for _ in $(seq 90); do sleep 1; done ;;
*'"kind":"quick"'*) touch "$MARKS/quick-begun"; sleep 2 ;;
*'"kind":"slow"'*) trap 'echo "{\"saved\":1}"; exit 0' TERM; touch "$MARKS/slow-begun"; sleep 90 & wait ;;
*'"kind":"long"'*) touch "$MARKS/long-begun"; sleep 90 ;;
esac
"#;

fn worker(ark: &Ark, activity: &str, command: &[&str]) -> Child {
    let dir = ark.dir.path();
    let args = ["worker", "--activity", activity, "--parallel", "4", "--"];
    ark.command(&[&args, command].concat())
        .env("ENVIRONMENT", "test")
        .env("_TEAM_OWNER", "eng")
        .env("API_TOKEN", "hush-hush-42")
        .env("MARKS", dir)
        .env("WORK_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark worker starts")
}

async fn machine(client: &Client, name: &str, activity: &str) -> String {
    let arn =
        client.good("CreateActivity", json!({ "name": activity })).await["activityArn"].clone();
    let state = json!({ "Type": "Task", "Resource": arn, "TimeoutSeconds": 120, "End": true });
    let definition = json!({ "StartAt": "T", "States": { "T": state } }).to_string();
    let role = "arn:aws:iam::000000000000:role/r";
    let create = json!({ "name": name, "definition": definition, "roleArn": role });
    let made = client.good("CreateStateMachine", create).await;
    made["stateMachineArn"].as_str().expect("an ARN").to_owned()
}

async fn start(client: &Client, machine: &str, input: &Value) -> String {
    let start = json!({ "stateMachineArn": machine, "input": input.to_string() });
    let started = client.good("StartExecution", start).await;
    started["executionArn"].as_str().expect("an ARN").to_owned()
}

async fn failed(client: &Client, machine: &str, input: Value) -> (String, String) {
    let seen = client.end(&start(client, machine, &input).await).await;
    assert_eq!(seen["status"], "FAILED", "{input}: {seen}");
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    (text("error"), text("cause"))
}

fn kind(kind: &str) -> Value {
    json!({ "kind": kind, "_EXECUTION_NAME": "run-1" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_keeps_its_contract() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let m = machine(&client, "m", "test--work").await;
    let mut process = worker(&ark, "${ENVIRONMENT}--work", &["sh", "-c", SCRIPT, "sh"]);

    // Lost while it runs: the next heartbeat, in twenty seconds, says so.
    let lost = start(&client, &m, &kind("lost")).await;
    let mark = |name: &str| ark.dir.path().join(name).exists();
    eventually("the first command runs", || mark("lost-begun"));
    client.good("StopExecution", json!({ "executionArn": lost })).await;

    let tags =
        json!({ "resourceArn": "arn:aws:states:us-east-1:000000000000:activity:test--work" });
    let tags = client.good("ListTagsForResource", tags).await;
    assert_eq!(tags["tags"], json!([{ "key": "team", "value": "eng" }]));

    let done = client.end(&start(&client, &m, &kind("ok")).await).await;
    let output: Value =
        serde_json::from_str(done["output"].as_str().expect("output")).expect("JSON");
    assert_eq!((&output["name"], &output["_EXECUTION_NAME"]), (&json!("run-1"), &json!("run-1")));
    let dir = output["dir"].as_str().expect("a directory");
    assert_eq!(output["mode"], "700", "what a task writes is nobody else's to read");
    assert!(dir.starts_with(&*ark.dir.path().to_string_lossy()), "{dir}");
    eventually("the directory is removed", || !std::path::Path::new(dir).exists());
    let done = client.end(&start(&client, &m, &kind("empty")).await).await;
    assert_eq!(done["output"], r#"{"_EXECUTION_NAME":"run-1"}"#);

    for (input, error, cause) in [
        (json!([1]), "sfncli.TaskInputNotJSON", "not valid JSON: '[1]'"),
        (json!({ "a": 1 }), "sfncli.TaskInputMissingExecutionName", "_EXECUTION_NAME"),
        (kind("text"), "sfncli.TaskOutputNotJSON", "not valid JSON: 'no json'"),
        (kind("own"), "Mine", "why"),
        (kind("nonzero"), "sfncli.CommandExitedNonzero", "oops"),
        (kind("killed"), "sfncli.CommandKilled", ""),
        (kind("signal"), "sfncli.Unknown", "signal 10"),
    ] {
        let (name, text) = failed(&client, &m, input.clone()).await;
        assert_eq!(name, error, "{input}");
        assert!(text.ends_with(cause) || text.contains(cause), "{input}: {text}");
    }
    let (_, text) = failed(&client, &m, kind("big")).await;
    assert!((32_000..=32_768).contains(&text.len()) && text.ends_with("xend"), "{}", text.len());

    // An output may be as long as the server takes; one that is longer is said to be.
    let done = client.end(&start(&client, &m, &kind("wide")).await).await;
    assert_eq!(
        done["output"].as_str().map(str::len),
        Some(200_000 + r#"{"_EXECUTION_NAME":"run-1","a":""}"#.len())
    );
    let (name, text) = failed(&client, &m, kind("wider")).await;
    assert_eq!(name, "sfncli.TaskOutputNotJSON");
    assert!(text.contains("longer than the 262144 bytes") && text.ends_with("yy\"}'"), "{text}");

    let none = machine(&client, "none", "none").await;
    let mut other = worker(&ark, "none", &["./no-such-program"]);
    let (name, text) = failed(&client, &none, kind("ok")).await;
    assert_eq!(name, "sfncli.CommandNotFound", "{text}");
    assert!(text.contains("./no-such-program"), "{text}");
    terminate(&other);
    assert!(other.wait().expect("an end").success());

    eventually("the lost command is told to end", || mark("lost"));
    let long = start(&client, &m, &kind("long")).await;
    eventually("the last command runs", || mark("long-begun"));
    // What the server sees of it, without its word; it looks each second.
    let shown = || {
        let shown = ark.run(&["workflow", "activities", "--json"]);
        let shown = String::from_utf8(shown.stdout).expect("text");
        let first = shown.lines().next().expect("an activity");
        serde_json::from_str::<Value>(first).expect("JSON")
    };
    let first = shown();
    assert_eq!((&first["name"], &first["working"]), (&json!("test--work"), &json!(1)));
    eventually("its share is seen", || shown()["active_percent"].as_f64() > Some(0.0));
    terminate(&process);
    assert_eq!(client.end(&long).await["error"], "sfncli.CommandTerminated");
    assert!(process.wait().expect("an end").success());
}

/// People see the last lines of the command beside its failure; AWS's clients see what they know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_wrote_last_is_shown_with_its_failure() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    machine(&client, "m", "test--work").await;
    let mut process = worker(&ark, "test--work", &["sh", "-c", SCRIPT, "sh"]);
    let input = r#"{"kind":"talks"}"#;
    let submitted = ["submit", "m", input, "--follow"];
    let followed = tokio::task::block_in_place(|| words(&ark.run(&submitted)));
    for line in
        ["log    ", "reading row 7", "signed in with [API_TOKEN]", "why", r#""kind":"talks""#]
    {
        assert!(followed.contains(line), "{line}: {followed}");
    }
    let list = json!({ "stateMachineArn":
        "arn:aws:states:us-east-1:000000000000:stateMachine:m" });
    let list = client.good("ListExecutions", list).await;
    let arn = list["executions"][0]["executionArn"].as_str().expect("an ARN").to_owned();
    let id = arn.split(":execution:").last().expect("an id").to_owned();
    let shown = |args: &[&str]| tokio::task::block_in_place(|| words(&ark.run(args)));
    let status = tokio::task::block_in_place(|| ark.json(&["workflow", "status", &id, "--json"]));
    let failed = &status["failedState"];
    assert_eq!((&failed["state"], &failed["error"]), (&json!("T"), &json!("Mine")));
    let log = failed["log"].as_str().expect("the lines");
    assert!(log.contains("reading row 7") && log.contains("[API_TOKEN]"), "{log}");
    for args in [&["workflow", "status", &id][..], &["workflow", "history", &id]] {
        assert!(shown(args).contains("reading row 7"), "{args:?}: {}", shown(args));
    }
    let (workflow, name) = id.split_once(':').expect("both names");
    let events = format!("/v1/workflows/{workflow}/executions/{name}/events");
    let events = ark.get(&events).expect("events");
    let logged = events["items"].as_array().expect("a list").iter();
    let logged: Vec<&Value> = logged.filter(|event| event.get("log").is_some()).collect();
    assert_eq!(logged.len(), 1, "{events}");
    assert_eq!(logged[0]["kind"], "ActivityFailed");

    let history = client.good("GetExecutionHistory", json!({ "executionArn": arn })).await;
    assert!(!history.to_string().contains("reading row 7"), "{history}");
    assert!(!followed.contains("hush-hush") && !events.to_string().contains("hush-hush"));
    // Of a worker that knows of no such lines nothing is kept, and odd ones harm nobody.
    for (log, kept) in [(json!(null), None), (json!(7), None), (json!("a\u{7}\nb"), Some("a\nb"))] {
        let once = json!({ "stateMachineArn":
            "arn:aws:states:us-east-1:000000000000:stateMachine:by-hand" });
        if client.call("DescribeStateMachine", &once).await.is_err() {
            machine(&client, "by-hand", "by-hand").await;
        }
        let arn =
            start(&client, once["stateMachineArn"].as_str().expect("an ARN"), &json!({})).await;
        let poll =
            json!({ "activityArn": "arn:aws:states:us-east-1:000000000000:activity:by-hand" });
        let token = client.good("GetActivityTask", poll).await["taskToken"].clone();
        let failure = json!({ "taskToken": token, "error": "E", "log": log });
        client.good("SendTaskFailure", failure).await;
        let id = arn.split(":execution:").last().expect("an id").to_owned();
        let status =
            tokio::task::block_in_place(|| ark.json(&["workflow", "status", &id, "--json"]));
        assert_eq!(status["failedState"]["log"].as_str(), kept, "{log}");
    }
    terminate(&process);
    assert!(process.wait().expect("an end").success());
}

/// A worker that is refused for good ends, but not before the tasks it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_poll_takes_no_task_away() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let m = machine(&client, "m", "test--work").await;
    let mut process = worker(&ark, "test--work", &["sh", "-c", SCRIPT, "sh"]);
    let mark = |name: &str| ark.dir.path().join(name).exists();
    let slow = start(&client, &m, &kind("slow")).await;
    let quick = start(&client, &m, &kind("quick")).await;
    eventually("both commands run", || mark("slow-begun") && mark("quick-begun"));
    let activity = "arn:aws:states:us-east-1:000000000000:activity:test--work";
    client.good("DeleteActivity", json!({ "activityArn": activity })).await;
    assert_eq!(client.end(&quick).await["status"], "SUCCEEDED");
    let seen = client.end(&slow).await;
    assert_eq!(seen["output"], r#"{"_EXECUTION_NAME":"run-1","saved":1}"#, "{seen}");
    assert!(!process.wait().expect("an end").success());
}

/// Whether a worker stops or its task is lost, what does not hear SIGTERM has its grace and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ignores_its_end_is_killed_after_its_grace() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let (ends, loses) =
        (machine(&client, "ends", "ends").await, machine(&client, "loses", "loses").await);
    let mut ending = worker(&ark, "ends", &["sh", "-c", SCRIPT, "sh"]);
    let mut losing = worker(&ark, "loses", &["sh", "-c", SCRIPT, "sh"]);
    let deaf = |name: &str| json!({ "kind": "deaf", "_EXECUTION_NAME": name });
    let terminated = start(&client, &ends, &deaf("terminated")).await;
    let lost = start(&client, &loses, &deaf("lost")).await;
    // The process of a command, while there is one.
    let process = |name: &str| {
        let pid = std::fs::read_to_string(ark.dir.path().join(format!("deaf-{name}"))).ok()?;
        let process = std::path::Path::new("/proc").join(pid.strip_suffix('\n')?);
        process.exists().then_some(process)
    };
    eventually("both commands run", || {
        process("terminated").is_some() && process("lost").is_some()
    });

    client.good("StopExecution", json!({ "executionArn": lost })).await;
    let told = Instant::now();
    terminate(&ending);
    let seen = client.end(&terminated).await;
    assert_eq!(seen["error"], "sfncli.CommandTerminated", "{seen}");
    assert!(told.elapsed() >= GRACE, "killed after {:?}", told.elapsed());
    assert_eq!(process("terminated"), None);
    assert!(ending.wait().expect("an end").success());

    // The other worker learns of it by its next heartbeat, and goes on with what comes then.
    eventually("the lost command is killed", || process("lost").is_none());
    let next = client.end(&start(&client, &loses, &kind("ok")).await).await;
    assert_eq!(next["status"], "SUCCEEDED", "{next}");
    assert_eq!(client.end(&lost).await["status"], "ABORTED");
    terminate(&losing);
    assert!(losing.wait().expect("an end").success());
}

/// Who types ^C is told what it waits for, and who types it again does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_interrupt_ends_the_commands_at_once() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let m = machine(&client, "m", "test--work").await;
    let log = ark.dir.path().join("worker.log");
    let args = ["worker", "--activity", "test--work", "--parallel", "4", "--"];
    let mut process = ark
        .command(&[&args[..], &["sh", "-c", SCRIPT, "sh"]].concat())
        .env("MARKS", ark.dir.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("ark worker starts");
    let said = || std::fs::read_to_string(&log).expect("what it said");
    assert_eq!(failed(&client, &m, kind("own")).await.0, "Mine");
    eventually("the failure names its task", || said().contains(" of run-1 failed: Mine"));

    let deaf = |name: &str| json!({ "kind": "deaf", "_EXECUTION_NAME": name });
    let runs = [start(&client, &m, &deaf("a")).await, start(&client, &m, &deaf("b")).await];
    let begun = |name: &str| ark.dir.path().join(format!("deaf-{name}")).exists();
    eventually("both commands run", || begun("a") && begun("b"));
    let told = Instant::now();
    tell(&process, Signal::SIGINT);
    eventually("it says what it waits for", || {
        said().contains("waits up to 25 s for 2 commands; ^C again ends them at once")
    });
    assert!(process.try_wait().expect("a look").is_none(), "they have their grace");
    tell(&process, Signal::SIGINT);
    for run in &runs {
        let seen = client.end(run).await;
        assert_eq!(seen["error"], "sfncli.CommandTerminated", "{seen}");
    }
    assert!(told.elapsed() < GRACE, "ended after {:?}", told.elapsed());
    assert!(process.wait().expect("an end").success());
    for name in ["a", "b"] {
        assert!(
            said().contains(&format!(" of {name} failed: sfncli.CommandTerminated")),
            "{}",
            said()
        );
    }
}

fn terminate(process: &Child) {
    tell(process, Signal::SIGTERM);
}

fn tell(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a signal");
}

/// More than one argument of a command can hold, in a working directory that is not there yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_input_is_given_as_a_file() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let m = machine(&client, "m", "long").await;
    let script = r#"echo "{\"bytes\":\"$(wc -c <"$1")\",\"in\":\"${1#"$WORK_DIR/"}\"}""#;
    let dir = ark.dir.path().join("a/b");
    let args = ["worker", "--activity", "long", "--input-file", "--", "sh", "-c", script, "sh"];
    let mut process = ark
        .command(&args)
        .env("WORK_DIR", &dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark worker starts");
    let input = json!({ "_EXECUTION_NAME": "run-1", "text": "x".repeat(200_000) });
    let bytes = input.to_string().len().to_string();
    let done = client.end(&start(&client, &m, &input).await).await;
    let output: Value =
        serde_json::from_str(done["output"].as_str().expect("output")).expect("JSON");
    assert_eq!((&output["bytes"], &output["in"]), (&json!(bytes), &json!("input.json")));
    eventually("nothing is left there", || {
        std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none())
    });
    terminate(&process);
    assert!(process.wait().expect("an end").success());
}
