//! Workers that wait for a task over HTTP, when what they wait at ends: the server is told to end, or
//! their own connection breaks. Knows the server by AWS's API and by what it shows of activities.

use std::time::Duration;

use futures::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{Answer, Client};
use crate::harness::{Ark, ENV, Sample, eventually, words};

/// Workers that wait at once: as many as an activity may have.
const WORKERS: usize = 1_000;
/// Descriptors for both ends of their connections, and for what else this process does.
const DESCRIPTORS: u64 = 4_096;

/// Makes an activity of this name and a machine whose one task it is, with these further fields.
async fn machine(client: &Client, name: &str, more: Value) -> (String, String) {
    let activity = client.good("CreateActivity", json!({ "name": name })).await;
    let activity = activity["activityArn"].as_str().expect("an ARN").to_owned();
    let mut state = json!({ "Type": "Task", "Resource": activity, "End": true });
    for (field, value) in more.as_object().expect("fields") {
        state[field] = value.clone();
    }
    let definition = json!({ "StartAt": "T", "States": { "T": state } }).to_string();
    let role = "arn:aws:iam::000000000000:role/any";
    let create = json!({ "name": name, "definition": definition, "roleArn": role });
    let made = client.good("CreateStateMachine", create).await;
    (activity, made["stateMachineArn"].as_str().expect("an ARN").to_owned())
}

async fn start(client: &Client, machine: &str) -> String {
    let started = client.good("StartExecution", json!({ "stateMachineArn": machine })).await;
    started["executionArn"].as_str().expect("an ARN").to_owned()
}

/// Waits until so many workers wait for the activity.
fn wait_for_waiting(ark: &Ark, activity: &str, number: usize) {
    let name = activity.rsplit(':').next().expect("a name");
    tokio::task::block_in_place(|| {
        eventually(&format!("{number} wait for {name}"), || {
            let shown = ark.get("/v1/workflow-activities").unwrap_or_default();
            let mut rows = shown["items"].as_array().into_iter().flatten();
            rows.any(|row| row["name"] == name && row["waiting"] == json!(number))
        });
    });
}

/// Takes the activity's next task and ends it well, or is refused that.
async fn work(client: &Client, activity: &str) -> Answer {
    let task = client.good("GetActivityTask", json!({ "activityArn": activity })).await;
    let success = json!({ "taskToken": task["taskToken"], "output": "{}" });
    client.call("SendTaskSuccess", &success).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_when_the_server_ends_is_answered_that_there_is_none() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let most = soft.max(DESCRIPTORS.min(hard));
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).expect("a limit up to the hard one");

    // Fewer than wait: the server takes what the hard limit allows.
    let mut ark = Ark::up_with_open_files(256);
    let mut client = Client::of(&ark, "deployer");
    let (activity, machine) = machine(&client, "work", json!({})).await;
    let poll = json!({ "activityArn": activity }).to_string();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (client, poll) = (client.clone(), poll.clone());
        workers.push(tokio::spawn(async move {
            client.attempt("GetActivityTask", &poll, &client.secret).await
        }));
    }
    wait_for_waiting(&ark, &activity, WORKERS);
    // Far sooner than a poll ends by itself, and with nobody cut off.
    let ended = tokio::task::block_in_place(|| ark.end_server());
    assert!(ended.success(), "{ended}");
    for worker in workers {
        let (status, body) = worker.await.expect("a worker").expect("a whole answer");
        assert_eq!((status, body.as_str()), (200, "{}"));
    }

    tokio::task::block_in_place(|| ark.start_server());
    client.base = format!("http://{}", ark.api);
    let execution = start(&client, &machine).await;
    work(&client, &activity).await.expect("the task is this worker's");
    let seen = client.end(&execution).await;
    assert_eq!(seen["status"], "SUCCEEDED", "{seen}");
}

/// A server that takes more descriptors than it was started with keeps that from the apps: some count theirs.
#[test]
fn an_instance_has_the_limit_of_open_files_that_the_server_was_started_with() {
    let ark = Ark::up_with_open_files(256);
    let soft = |pid: i32| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
        line.split_whitespace().nth(3).expect("the soft one").parse::<u64>().expect("a number")
    };
    assert!(soft(ark.server_pid) > 256, "the hard limit of this machine is too low for the test");
    ark.deploy("sample", &Sample::version(1));
    let pids = ark.marked();
    assert!(!pids.is_empty());
    for pid in pids {
        assert_eq!(soft(pid), 256);
    }
    let said = ark.run(&["exec", "sample", "-e", ENV, "--", "sh", "-c", "ulimit -S -n"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "256", "{}", words(&said));
}

/// How often an event of each of these kinds is in an execution's history.
async fn events<const N: usize>(client: &Client, execution: &str, kinds: [&str; N]) -> [usize; N] {
    let history = client.good("GetExecutionHistory", json!({ "executionArn": execution })).await;
    let events = history["events"].as_array().expect("a list");
    kinds.map(|kind| events.iter().filter(|event| event["type"] == kind).count())
}

/// A worker that is gone gets nothing: its task is not even begun twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_gone_waits_no_longer() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let (activity, machine) = machine(&client, "work", json!({})).await;
    for _ in 0..5 {
        let (other, poll) = (client.clone(), json!({ "activityArn": activity }));
        let gone = tokio::spawn(async move { other.call("GetActivityTask", &poll).await });
        wait_for_waiting(&ark, &activity, 1);
        gone.abort();
        assert!(gone.await.is_err_and(|error| error.is_cancelled()));
        // The end of a connection is seen in its own time; with no heartbeat asked for, a task that
        // is handed out before would be with the dead.
        wait_for_waiting(&ark, &activity, 0);
        let execution = start(&client, &machine).await;
        work(&client, &activity).await.expect("a task");
        assert_eq!(client.end(&execution).await["status"], "SUCCEEDED");
        let kinds = ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"];
        assert_eq!(events(&client, &execution, kinds).await, [1, 1, 1]);
    }
}

/// What a worker's connection is broken at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Break {
    /// It waits, and its task is just being made.
    Waiting,
    /// Its request is sent, and the task is there.
    Sent,
    /// The answer is there, and it has read nothing of it.
    Answered,
}

/// Polls on a connection of its own, which is then reset.
async fn poll_and_break(ark: &Ark, client: &Client, activity: &str, at: Break) {
    let body = json!({ "activityArn": activity }).to_string();
    let mut request = "POST / HTTP/1.1\r\n".to_owned();
    for (name, value) in &client.signed("GetActivityTask", &body, &client.secret) {
        request.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(ark.api).await.expect("the server accepts");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
    stream.write_all(request.as_bytes()).await.expect("sent");
    match at {
        Break::Waiting => wait_for_waiting(ark, activity, 1),
        Break::Sent => {}
        Break::Answered => stream.readable().await.expect("an answer"),
    }
}

/// Whatever the server knew of the worker's end, the task is done once, by who comes next.
async fn done_once(ark: &Ark, client: &Client, at: Break, nth: usize) {
    // The server cannot know of a worker that dies with the answer in its hands: the task's own
    // heartbeat finds it.
    let retry = json!([{
        "ErrorEquals": ["States.HeartbeatTimeout"], "IntervalSeconds": 1, "MaxAttempts": 20,
    }]);
    let more = json!({ "HeartbeatSeconds": 2, "Retry": retry });
    let (activity, machine) = machine(client, &format!("{at:?}-{nth}"), more).await;
    let execution = if at == Break::Waiting {
        poll_and_break(ark, client, &activity, at).await;
        start(client, &machine).await
    } else {
        let execution = start(client, &machine).await;
        poll_and_break(ark, client, &activity, at).await;
        execution
    };
    // On a busy machine two seconds may pass before an answer is sent.
    while let Err((name, text)) = work(client, &activity).await {
        assert_eq!(name, "TaskTimedOut", "{text}");
    }
    assert_eq!(client.end(&execution).await["status"], "SUCCEEDED", "{at:?}");
    let kinds = ["ActivityStarted", "ActivityTimedOut", "ActivitySucceeded"];
    let [started, timed_out, succeeded] = events(client, &execution, kinds).await;
    assert_eq!((started, succeeded), (timed_out + 1, 1), "{at:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_done_once_whenever_a_worker_is_cut_off() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let each = [Break::Waiting, Break::Sent, Break::Answered];
    let all = each.iter().flat_map(|at| (0..5).map(move |nth| (*at, nth)));
    join_all(all.map(|(at, nth)| done_once(&ark, &client, at, nth))).await;
}
