//! Workers that wait for a task over HTTP, when the server is told to end. Knows the server by AWS's API
//! and by what it shows of activities.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::harness::{Ark, eventually};

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

    let mut ark = Ark::up();
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
