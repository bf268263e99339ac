//! Work that ends: jobs and schedules, as their users see them, with `kill -9` of the server in the
//! middle of it.

#![allow(clippy::print_stdout, reason = "the run reports what it hit")]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use harness::{Ark, ENV, eventually, eventually_within, words};
use serde_json::Value;

/// Writes the launch file of an app that runs a shell script.
fn launch(ark: &Ark, app: &str, run: &str, script: &str) -> PathBuf {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{app}.yml"));
    let script = serde_json::to_string(script).expect("text");
    let text = format!(
        "run: {{{run}, command: [/bin/sh, -c, {script}, {app}], stop_grace: 2s}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    fs::write(&path, text).expect("a file");
    path
}

#[track_caller]
fn deploy(ark: &Ark, app: &str, run: &str, script: &str) {
    let file = launch(ark, app, run, script);
    let output = ark.run(&["deploy", app, "-e", ENV, "--file", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
}

fn runs(ark: &Ark, app: &str) -> Vec<Value> {
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{app}/runs?limit=500"));
    page.and_then(|page| page["items"].as_array().cloned()).unwrap_or_default()
}

fn exit(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file in which every start of a script leaves a line.
fn ledger(ark: &Ark) -> PathBuf {
    let path = ark.dir.path().join("ledger");
    fs::create_dir_all(&path).expect("a folder");
    // Apps run under users of their own.
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("permissions");
    path.join("lines")
}

#[test]
fn a_job_is_run_attached_with_its_output_and_exit_code() {
    let ark = Ark::up();
    deploy(
        &ark,
        "import",
        "type: job",
        "echo \"got $*\"; echo oops >&2; [ \"$1\" = slow ] && sleep 60; exit ${2:-0}",
    );
    assert!(runs(&ark, "import").is_empty(), "a deployment runs nothing");

    let good = ark.run(&["run", "import", "-e", ENV, "--", "a", "0"]);
    assert_eq!(exit(&good), Some(0), "{}", words(&good));
    assert_eq!(out(&good), "got a 0\n", "{}", words(&good));
    assert!(String::from_utf8_lossy(&good.stderr).contains("oops"), "{}", words(&good));

    let bad = ark.run(&["run", "import", "-e", ENV, "--", "a", "7"]);
    assert_eq!(exit(&bad), Some(7), "{}", words(&bad));

    let late = ark.run(&["run", "import", "-e", ENV, "--timeout", "1s", "--", "slow"]);
    assert_eq!(exit(&late), Some(124), "{}", words(&late));

    let again = ark.run(&["run", "import", "-e", ENV, "--retries", "1", "--", "a", "9"]);
    assert_eq!(exit(&again), Some(9), "{}", words(&again));
    assert_eq!(out(&again), "got a 9\ngot a 9\n", "both attempts are shown");

    // A command with the release of an app that is no job needs one.
    deploy(&ark, "idle", "type: process", "sleep 3600");
    let command =
        ark.run(&["run", "idle", "-e", ENV, "--", "/bin/sh", "-c", "echo $_APP_NAME; exit 4"]);
    assert_eq!(
        (exit(&command), out(&command).as_str()),
        (Some(4), "idle\n"),
        "{}",
        words(&command)
    );
    assert_eq!(exit(&ark.run(&["run", "idle", "-e", ENV])), Some(2));
    let nothing = ark.run(&["run", "idle", "-e", ENV, "--", "/no/such/program"]);
    assert_eq!(exit(&nothing), Some(125), "{}", words(&nothing));
    assert_eq!(exit(&ark.run(&["run", "nobody", "-e", ENV])), Some(6));

    let history = runs(&ark, "import");
    let codes: Vec<i64> = history.iter().filter_map(|run| run["exit_code"].as_i64()).collect();
    assert_eq!(codes, [9, 124, 7, 0], "{history:#?}");
    let logs = ark.run(&["runs", "import", "2", "-e", ENV, "--logs"]);
    assert_eq!((exit(&logs), out(&logs).as_str()), (Some(0), "got a 7\n"), "{}", words(&logs));
    // A day later there is none, which is not a run that wrote nothing.
    fs::remove_dir_all(ark.data_dir().join("removed")).expect("the logs of removed instances");
    let logs = ark.run(&["runs", "import", "2", "-e", ENV, "--logs"]);
    assert_eq!((exit(&logs), out(&logs).as_str()), (Some(0), ""), "{}", words(&logs));
    assert!(words(&logs).contains("its log is no longer kept"), "{}", words(&logs));
    let scaled = ark.run(&["scale", "import=3", "-e", ENV]);
    assert_eq!(exit(&scaled), Some(2), "{}", words(&scaled));
}

#[test]
fn a_run_that_is_stopped_or_interrupted_ends_with_all_it_started() {
    let ark = Ark::up();
    deploy(&ark, "long", "type: job", "echo begun; sleep 300 & sleep 300");
    let mut attached = ark.command(&["run", "long", "-e", ENV]);
    let mut attached = attached.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ark");
    eventually("it runs", || runs(&ark, "long").first().is_some_and(|r| r["state"] == "running"));
    let pid = i32::try_from(attached.id()).expect("a pid");
    std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().expect("kill");
    let ended = attached.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));

    let detached = ark.json(&["run", "long", "-e", ENV, "--detach", "--json"]);
    let number = detached["number"].to_string();
    eventually("it runs", || runs(&ark, "long").first().is_some_and(|r| r["state"] == "running"));
    assert!(ark.run(&["stop", "long", "-e", ENV]).status.success());
    eventually("the stop of the app ends it", || {
        runs(&ark, "long").first().is_some_and(|r| r["outcome"]["kind"] == "stopped")
    });
    let refused = ark.run(&["run", "long", "-e", ENV]);
    assert_eq!(exit(&refused), Some(5), "{}", words(&refused));
    let shown = ark.run(&["runs", "long", &number, "-e", ENV]);
    assert!(out(&shown).contains("the app is stopped"), "{}", words(&shown));
    eventually("nothing is left", || ark.marked().is_empty());
}

/// Runs `batch` until one of its runs is seen in this state; answers its number. What passes too
/// quickly to be seen is tried anew.
fn reach(ark: &Ark, wanted: &str, numbers: &mut Vec<u64>) -> u64 {
    for _ in 0..20 {
        let index = numbers.len().to_string();
        let (retries, how) =
            if wanted == "waiting" { ("1", "fails-first") } else { ("0", "goes-on") };
        let mut args = vec!["run", "batch", "-e", ENV, "--detach", "--json", "--retries", retries];
        args.extend(["--", &index, how]);
        let number = ark.json(&args)["number"].as_u64().expect("a number");
        numbers.push(number);
        let until = Instant::now() + Duration::from_secs(20);
        let mut asked = false;
        while Instant::now() < until {
            let run = runs(ark, "batch").into_iter().find(|run| run["number"] == number);
            let run = run.expect("the run");
            let (state, tried) = (&run["state"], run["attempts"].as_array().map_or(0, Vec::len));
            // One that waits has failed once already.
            if state == wanted && (wanted != "waiting" || tried == 1) {
                return number;
            }
            if state == "ended" || (wanted == "starting" && state == "running") {
                break;
            }
            if wanted == "stopping" && state == "running" && !asked {
                let stopped = ark.run(&["runs", "batch", &number.to_string(), "-e", ENV, "--stop"]);
                assert!(stopped.status.success(), "{}", words(&stopped));
                asked = true;
            }
        }
    }
    panic!("no run was seen to be {wanted}");
}

#[test]
fn a_job_goes_on_over_kill_9_of_the_server_in_each_state_and_is_run_once() {
    let mut ark = Ark::up();
    let ledger = ledger(&ark);
    let script = format!(
        "trap 'sleep 1; exit 7' TERM; echo $1 >> {0}; \
         if [ $2 = fails-first ] && [ $(grep -cx $1 {0}) = 1 ]; then exit 1; fi; \
         sleep 1 & wait; exit 3",
        ledger.display()
    );
    deploy(&ark, "batch", "type: job", &script);
    let (mut numbers, mut hit) = (Vec::new(), BTreeMap::new());
    for wanted in ["waiting", "starting", "running", "stopping", "ended"] {
        let number = reach(&ark, wanted, &mut numbers);
        ark.kill_server();
        ark.start_server();
        hit.insert(wanted, number);
    }
    println!("hit: {hit:?}");
    assert_eq!(hit.len(), 5, "every state: {hit:?}");
    eventually_within(Duration::from_secs(60), "all are over", || {
        let all = runs(&ark, "batch");
        all.len() == numbers.len() && all.iter().all(|run| run["state"] == "ended")
    });
    let lines = fs::read_to_string(&ledger).expect("the ledger");
    for run in runs(&ark, "batch") {
        let number = run["number"].as_u64().expect("a number");
        let index = numbers.iter().position(|n| *n == number).expect("one of them").to_string();
        let attempts = if hit["waiting"] == number { 2 } else { 1 };
        assert_eq!(run["attempts"].as_array().map(Vec::len), Some(attempts), "{run:#}");
        let begun = lines.lines().filter(|line| *line == index).count();
        assert_eq!(begun, attempts, "each attempt was begun once: {lines}\n{run:#}");
        let stopped = run["outcome"]["kind"] == "stopped";
        assert_eq!(run["exit_code"], if stopped { 130 } else { 3 }, "{run:#}");
        assert!(!stopped || hit["stopping"] == number, "{run:#}");
    }
    assert!(ark.marked().is_empty(), "nothing is left");
}

/// Waits for the next full minute.
#[test]
fn a_schedule_fires_once_over_kill_9_of_the_server_and_pauses() {
    let mut ark = Ark::up();
    let ledger = ledger(&ark);
    let script = format!("echo fired >> {}; echo done", ledger.display());
    deploy(&ark, "tick", "type: cron, schedule: \"* * * * *\", timezone: Europe/Berlin", &script);
    assert_eq!(exit(&ark.run(&["cron", "trigger", "nobody", "-e", ENV])), Some(6));

    // By hand.
    let triggered = ark.run(&["cron", "trigger", "tick", "-e", ENV, "--follow"]);
    assert_eq!(
        (exit(&triggered), out(&triggered).as_str()),
        (Some(0), "done\n"),
        "{}",
        words(&triggered)
    );
    let listed = ark.json(&["cron", "list", "-e", ENV, "--json"]);
    assert_eq!(listed["app"], "tick", "{listed:#}");
    assert!(listed["next_at"].is_string(), "{listed:#}");

    // By its schedule, with the server killed again and again around the full minute.
    let until = Instant::now() + Duration::from_secs(130);
    let mut killed_at = Vec::new();
    let fired = |ark: &Ark| -> Vec<String> {
        let all = runs(ark, "tick");
        let at = all.iter().filter_map(|r| r["cause"]["at"].as_str().map(str::to_owned));
        at.collect()
    };
    let before = fired(&ark).len();
    while fired(&ark).len() == before {
        assert!(Instant::now() < until, "it never fired");
        std::thread::sleep(Duration::from_millis(250));
        let second = jiff::Timestamp::now().as_second() % 60;
        if second >= 58 || second == 0 {
            killed_at.push(second);
            ark.kill_server();
            ark.start_server();
        }
    }
    eventually("the run is over", || {
        runs(&ark, "tick").first().is_some_and(|run| run["state"] == "ended")
    });
    assert!(killed_at.iter().any(|second| *second >= 58), "before the minute: {killed_at:?}");
    let instants = fired(&ark);
    let mut once = instants.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), instants.len(), "an instant fired twice: {instants:?}");
    let by_hand = 1;
    let lines = fs::read_to_string(&ledger).expect("the ledger").lines().count();
    assert_eq!(lines, instants.len() + by_hand, "each firing ran once: {instants:?}");

    let paused = ark.json(&["cron", "pause", "tick", "-e", ENV, "--json"]);
    assert!(paused["next_at"].is_null() && paused["paused_by"].is_string(), "{paused:#}");
    let resumed = ark.json(&["cron", "resume", "tick", "-e", ENV, "--json"]);
    assert!(resumed["next_at"].is_string(), "{resumed:#}");
    let history = ark.run(&["cron", "history", "tick", "-e", ENV]);
    assert!(out(&history).contains("schedule"), "{}", words(&history));
}

#[test]
fn a_second_run_beside_the_first_is_what_overlap_says() {
    let ark = Ark::up();
    for (app, overlap) in [("lone", "forbid"), ("many", "allow"), ("newest", "replace")] {
        let run = format!("type: cron, schedule: \"0 0 1 1 *\", overlap: {overlap}");
        deploy(&ark, app, &run, "sleep 300");
        let first = ark.run(&["cron", "trigger", app, "-e", ENV]);
        assert_eq!(exit(&first), Some(0), "{}", words(&first));
        eventually("the first runs", || {
            runs(&ark, app).first().is_some_and(|run| run["state"] == "running")
        });
    }
    let states = |app: &str| -> Vec<String> {
        let all = runs(&ark, app);
        all.iter().map(|run| run["state"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let refused = ark.run(&["cron", "trigger", "lone", "-e", ENV]);
    assert_eq!(exit(&refused), Some(5), "{}", words(&refused));
    assert_eq!(states("lone"), ["running"]);

    assert_eq!(exit(&ark.run(&["cron", "trigger", "many", "-e", ENV])), Some(0));
    eventually("both run", || states("many") == ["running", "running"]);

    assert_eq!(exit(&ark.run(&["cron", "trigger", "newest", "-e", ENV])), Some(0));
    eventually("the newer one takes the place of the older", || {
        states("newest") == ["running", "ended"]
    });
    let older = &runs(&ark, "newest")[1];
    assert_eq!(older["outcome"]["kind"], "stopped", "{older:#}");

    let destroyed = ark.run(&["env", "destroy", ENV, "--yes"]);
    assert_eq!(exit(&destroyed), Some(0), "{}", words(&destroyed));
    eventually("nothing is left", || ark.marked().is_empty());
}

/// A server that answers each request with what it was sent, until it is dropped with the test.
fn echo_server() -> std::net::SocketAddr {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream);
            let (mut head, mut length) = (Vec::new(), 0_usize);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(text) = lower.strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap_or(0);
                }
                head.push(line.trim_end().to_owned());
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let missing = head.first().is_some_and(|line| line.contains("/missing"));
            let status = if missing { "404 Not Found" } else { "200 OK" };
            let answer = serde_json::json!({
                "head": head, "body": String::from_utf8_lossy(&body),
            });
            let answer = answer.to_string();
            let _ = write!(
                reader.get_mut(),
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    address
}

/// Defines and starts a workflow of one state; answers the execution once it is over.
fn execute(ark: &Ark, name: &str, state: Value) -> Value {
    let file = ark.dir.path().join(format!("{name}.json"));
    let mut machine = serde_json::json!({"StartAt": "S", "States": {}});
    machine["States"]["S"] = state;
    fs::write(&file, machine.to_string()).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let defined = ark.run(&["workflow", "define", name, &file, "--as-written"]);
    assert!(defined.status.success(), "{}", words(&defined));
    let started = ark.run(&["workflow", "start", name, "{}", "--name", "one"]);
    assert!(started.status.success(), "{}", words(&started));
    let mut last = Value::Null;
    eventually("the execution is over", || {
        last = ark.json(&["workflow", "status", &format!("{name}:one"), "--json"]);
        last["status"] != "RUNNING"
    });
    last
}

#[test]
fn workflows_run_jobs_and_call_over_http() {
    let ark = Ark::up_with(&[("ARK_HTTP_INVOKE_ALLOW", "127.0.0.1/32")]);
    deploy(&ark, "import", "type: job", "echo $1; exit ${2:-0}");
    let job = |args: Value, resource: &str| {
        serde_json::json!({"Type": "Task", "Resource": resource, "End": true,
            "Parameters": {"App": "import", "Environment": ENV, "Args": args}})
    };
    let good = execute(&ark, "good", job(serde_json::json!(["a"]), "ark:job.sync"));
    assert_eq!(good["status"], "SUCCEEDED", "{good:#}");
    let output: Value =
        serde_json::from_str(good["output"].as_str().expect("output")).expect("JSON");
    assert_eq!((output["ExitCode"].as_i64(), &output["Status"]), (Some(0), &"SUCCEEDED".into()));
    let bad =
        execute(&ark, "bad", job(serde_json::json!(["a", 5]), "arn:aws:states:::ark:job.sync"));
    assert_eq!(
        (&bad["status"], &bad["error"]),
        (&"FAILED".into(), &"Ark.JobFailed".into()),
        "{bad:#}"
    );
    assert!(bad["cause"].as_str().is_some_and(|c| c.contains("\"ExitCode\":5")), "{bad:#}");
    let refused = serde_json::json!({"Type": "Task", "Resource": "ark:job.sync", "End": true,
        "Parameters": {"App": "nobody", "Environment": ENV}});
    let refused = execute(&ark, "refused", refused);
    assert_eq!(refused["error"], "Ark.JobRefused", "{refused:#}");
    let causes: Vec<Value> =
        runs(&ark, "import").iter().map(|r| r["cause"]["by"].clone()).collect();
    assert_eq!(causes, ["workflow", "workflow"]);

    // A task that times out ends its run.
    deploy(&ark, "long", "type: job", "sleep 300");
    let mut late = job(Value::Null, "ark:job.sync");
    late["Parameters"] = serde_json::json!({"App": "long", "Environment": ENV});
    late["TimeoutSeconds"] = 1.into();
    let late = execute(&ark, "late", late);
    assert_eq!(late["error"], "States.Timeout", "{late:#}");
    eventually("the run is stopped", || {
        runs(&ark, "long").first().is_some_and(|run| run["outcome"]["kind"] == "stopped")
    });

    let server = echo_server();
    let set = ["config", "set", "-e", ENV, "pay", "CONNECTION_HOSTS=127.0.0.1"];
    assert!(ark.run(&set).status.success());
    let mut secret =
        ark.command(&["config", "set", "-e", ENV, "pay", "--secret", "CONNECTION_AUTHORIZATION"]);
    let mut secret = secret.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("ark");
    std::io::Write::write_all(&mut secret.stdin.take().expect("stdin"), b"Bearer s3cret")
        .expect("written");
    assert!(secret.wait().expect("it ends").success());
    let call = |endpoint: &str, host: &str| {
        serde_json::json!({"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "End": true,
            "Parameters": {"ApiEndpoint": format!("http://{host}{endpoint}"), "Method": "POST",
                "RequestBody": {"n": 1}, "QueryParameters": {"q": "x"},
                "Authentication": {"ConnectionArn": format!("arn:aws:events:r:1:connection/{ENV}--pay/1")}}})
    };
    let there = server.to_string();
    let called = execute(&ark, "call", call("/charge", &there));
    assert_eq!(called["status"], "SUCCEEDED", "{called:#}");
    let text = called["output"].as_str().expect("output");
    let output: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(
        (output["StatusCode"].as_i64(), &output["ResponseBody"]["body"]),
        (Some(200), &"{\"n\":1}".into())
    );
    let head = output["ResponseBody"]["head"].to_string();
    assert!(head.contains("POST /charge?q=x HTTP/1.1") && head.contains("Bearer s3cret"), "{head}");
    let missing = execute(&ark, "missing", call("/missing", &there));
    assert_eq!(missing["error"], "States.Http.StatusCode.404", "{missing:#}");
    let port = server.port();
    for (name, host, error) in [
        // Allowed to be called, but not to be told the secret.
        ("elsewhere", format!("127.0.0.1.nip.invalid:{port}"), "States.Http.Connection"),
        ("metadata", "169.254.169.254".to_owned(), "States.Runtime"),
        ("near", format!("127.0.0.2:{port}"), "States.Runtime"),
    ] {
        let mut state = call("/", &host);
        if error != "States.Http.Connection" {
            state["Parameters"].as_object_mut().expect("an object").remove("Authentication");
        }
        let ended = execute(&ark, name, state);
        assert_eq!(ended["error"], error, "{ended:#}");
    }
}

/// One request to an app: the status and the whole answer.
fn ask(ark: &Ark, app: &str, path: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(ark.http).expect("the gateway");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let host = ark.host(app);
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text)
}

/// The statuses of so many requests at the same time.
fn at_once(ark: &Ark, app: &str, path: &str, count: usize) -> Vec<u16> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(|| ask(ark, app, path).0)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    })
}

#[test]
fn a_function_is_started_by_a_request_kept_warm_and_scaled_to_zero() {
    let ark = Ark::up();
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("resize.yml");
    let text = format!(
        "run: {{type: lambda, command: [\"{}\", sample], keep_warm: 2s, stop_grace: 2s}}\n\
         lambda: {{Timeout: 3, MaxConcurrent: 1, Events: {{s: {{Type: Kinesis}}}}}}\n\
         deploy: {{min_healthy_time: 0s}}\ndrain: {{requests: 2s, streams: 1s}}\n\
         env_defaults: {{VERSION: \"1\", MARK: \"{}\"}}\n",
        harness::ark(),
        ark.mark
    );
    fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let plan = ark.run(&["plan", "resize", "-e", ENV, "--file", &file]);
    assert!(out(&plan).contains("lambda.Events.s"), "{}", words(&plan));
    let deployed = ark.run(&["deploy", "resize", "-e", ENV, "--file", &file]);
    assert!(deployed.status.success(), "{}", words(&deployed));
    eventually("nothing runs while nobody asks", || ark.marked().is_empty());

    // The first one waits for the instance that it starts; those at the same time do not fit beside it.
    let mut statuses: Vec<u16> = at_once(&ark, "resize", "/slow?ms=1500", 4);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503, 503], "one call at a time");
    let get = |path: &str| ask(&ark, "resize", path);
    let (status, told) = get("/slow?ms=60000");
    assert_eq!(status, 504, "a call has its time and no more: {told}");
    assert_eq!(get("/").0, 200);
    assert!(!ark.marked().is_empty(), "it is kept warm");
    assert_eq!(get("/").0, 200);
    eventually("it is scaled to zero", || ark.marked().is_empty());
    assert_eq!(get("/").0, 200, "and started again");

    let stopped = ark.run(&["stop", "resize", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    let (status, told) = get("/");
    assert_eq!(status, 503, "a stopped app holds no request: {told}");
    eventually("nothing is left", || ark.marked().is_empty());
}

#[test]
fn a_function_runs_for_as_long_as_a_call_of_it() {
    let ark = Ark::up();
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("report.yml");
    let text = format!(
        "run: {{type: lambda, command: [\"{}\", sample], keep_warm: 1s, stop_grace: 1s}}\n\
         lambda: {{Timeout: 30}}\ndeploy: {{min_healthy_time: 0s}}\n\
         drain: {{requests: 1s, streams: 1s}}\nenv_defaults: {{VERSION: \"1\", MARK: \"{}\"}}\n",
        harness::ark(),
        ark.mark
    );
    fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let deployed = ark.run(&["deploy", "report", "-e", ENV, "--file", &file]);
    assert!(deployed.status.success(), "{}", words(&deployed));
    let (status, told) = ask(&ark, "report", "/slow?ms=6000");
    assert_eq!(status, 200, "it is neither idle nor drained meanwhile: {told}");
    eventually("nothing runs while nobody asks", || ark.marked().is_empty());
}

/// What happens before anybody looks, and what does nothing, is told all the same.
#[test]
fn a_short_job_has_a_duration_and_what_does_nothing_for_it_is_said() {
    let ark = Ark::up();
    deploy(&ark, "short", "type: job", "true");
    for _ in 0..5 {
        assert_eq!(exit(&ark.run(&["run", "short", "-e", ENV])), Some(0));
    }
    let all = runs(&ark, "short");
    assert_eq!(all.len(), 5);
    let began = |run: &Value| run["attempts"][0]["started_at"].is_string();
    assert!(all.iter().all(began), "{all:?}");
    assert!(!out(&ark.run(&["runs", "short", "-e", ENV])).contains('–'), "each took some time");

    let status = out(&ark.run(&["status", "-e", ENV]));
    assert!(status.contains("on demand") && !status.contains("0/0"), "{status}");

    let set = ark.run(&["config", "set", "short", "-e", ENV, "MARK=mine", "NOBODY=1"]);
    let said = words(&set);
    assert_eq!(exit(&set), Some(0), "{said}");
    assert!(said.contains("NOBODY is not declared in launch/short.yml"), "{said}");
    assert!(!said.contains("MARK is not"), "{said}");
    let early = ark.run(&["config", "set", "later", "-e", ENV, "NOBODY=1"]);
    assert!(!words(&early).contains("not declared"), "nothing is known of it: {}", words(&early));

    let file = ark.dir.path().join("launch/short.yml");
    let file = file.to_string_lossy();
    let kept = ark.run(&["deploy", "short", "-e", ENV, "--file", &file, "--keep-image"]);
    assert_eq!(exit(&kept), Some(2), "{}", words(&kept));
    assert!(words(&kept).contains("short runs no image on production"), "{}", words(&kept));
}
