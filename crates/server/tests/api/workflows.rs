//! Workflows as people look at them: lists that are searched and paged, events with their texts cut,
//! and a stream that says when an execution moved.

use ark_model::api::Role;
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, Server};

const STATES: &str = "arn:aws:states:us-east-1:000000000000";

impl Server {
    pub(crate) async fn states(&self, operation: &str, input: &Value) -> Value {
        let request = self.request(Role::Admin, Method::POST, "/");
        let request = request.header("x-amz-target", format!("AWSStepFunctions.{operation}"));
        self.send(request.json(input)).await.expect(200)
    }

    pub(crate) async fn machine(&self, name: &str, definition: &Value) {
        let input = json!({ "name": name, "definition": definition.to_string(), "publish": true,
            "roleArn": "arn:aws:iam::000000000000:role/x" });
        self.states("CreateStateMachine", &input).await;
    }

    pub(crate) async fn begin_named(&self, workflow: &str, name: &str, input: &Value) {
        let arn = format!("{STATES}:stateMachine:{workflow}:1");
        let input = json!({ "stateMachineArn": arn, "name": name, "input": input.to_string() });
        self.states("StartExecution", &input).await;
    }

    async fn found(&self, query: &str) -> (Vec<String>, Option<String>) {
        let page = self.get(&format!("/v1/workflows/sort/executions?{query}")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        let names = items.iter().map(|item| item["name"].as_str().expect("a name").to_owned());
        (names.collect(), page["next"].as_str().map(str::to_owned))
    }
}

fn sorting() -> Value {
    json!({ "StartAt": "Look", "States": {
        "Look": { "Type": "Choice", "Default": "Done", "Choices": [
            { "Variable": "$.bad", "IsPresent": true, "Next": "Refuse" },
            { "Variable": "$.slow", "IsPresent": true, "Next": "Rest" }
        ]},
        "Rest": { "Type": "Wait", "Seconds": 600, "Next": "Done" },
        "Refuse": { "Type": "Fail", "Error": "Refused", "Cause": "x".repeat(1_000) },
        "Done": { "Type": "Succeed" }
    }})
}

#[tokio::test]
async fn executions_are_found_by_state_and_name_page_by_page() {
    let server = Server::start().await;
    server.machine("sort", &sorting()).await;
    for n in 0..7 {
        let input = if n == 3 || n == 5 { json!({ "bad": 1 }) } else { json!({}) };
        server.begin_named("sort", &format!("nr-{n}"), &input).await;
    }
    server.begin_named("sort", "slow", &json!({ "slow": 1 })).await;

    // Newest first, each once, whatever is started meanwhile.
    let (first, next) = server.found("limit=5").await;
    assert_eq!(first, ["slow", "nr-6", "nr-5", "nr-4", "nr-3"]);
    server.begin_named("sort", "later", &json!({})).await;
    let (rest, end) = server.found(&format!("limit=5&cursor={}", next.expect("more"))).await;
    assert_eq!((rest.len(), rest[0].as_str(), end), (3, "nr-2", None));

    assert_eq!(server.found("status=FAILED").await.0, ["nr-5", "nr-3"]);
    assert_eq!(server.found("status=RUNNING").await.0, ["slow"]);
    // By the beginning of the name, with a state, from page to page.
    let (by_name, next) = server.found("name=nr-&limit=3").await;
    assert_eq!(by_name, ["nr-0", "nr-1", "nr-2"]);
    let cursor = next.expect("more");
    let (by_name, _) = server.found(&format!("name=nr-&limit=3&cursor={cursor}")).await;
    assert_eq!(by_name, ["nr-3", "nr-4", "nr-5"]);
    assert_eq!(server.found("name=nr-&status=FAILED").await.0, ["nr-3", "nr-5"]);
    assert!(server.found("name=NR").await.0.is_empty());

    // What somebody has dealt with is not asked for any more; a redrive opens it again.
    assert_eq!(server.found("unresolved=true").await.0, ["nr-5", "nr-3"]);
    let resolved = server.post("/wm/workflows/sort:nr-3/resolved", &Value::Null).await;
    assert_eq!(resolved.status, 201);
    assert_eq!(server.found("unresolved=true").await.0, ["nr-5"]);
    assert_eq!(server.found("unresolved=true&name=nr").await.0, ["nr-5"]);
    let one = server.get("/v1/workflows/sort/executions/nr-3").await.expect(200);
    assert_eq!((&one["resolved"], &one["version"]), (&json!(true), &json!(1)));
    assert_eq!(one["cause"].as_str().map(str::len), Some(300));

    let all = server.get("/v1/workflows").await.expect(200);
    let sort = &all["items"][0];
    assert_eq!((&sort["name"], &sort["running"]), (&json!("sort"), &json!(1)));
    assert_eq!((&sort["unresolved"], &sort["version"]), (&json!(1), &json!(1)));
    assert_eq!(sort["last"]["name"], "later");

    for (path, status) in [
        ("none/executions", 404),
        ("sort/executions/none", 404),
        ("sort/executions/none/events", 404),
        ("sort/executions/none/stream", 404),
        ("sort/executions?cursor=x", 400),
        ("sort/executions?limit=501", 422),
        ("sort/executions?status=BAD", 400),
        ("sort/executions/nr-3/events?text=300001", 422),
    ] {
        let answer: Answer = server.get(&format!("/v1/workflows/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn events_come_from_either_end_with_their_texts_cut() {
    let server = Server::start().await;
    server.machine("sort", &sorting()).await;
    let long = "ä".repeat(3_000);
    server.begin_named("sort", "one", &json!({ "bad": long })).await;
    let events = async |query: &str| {
        let path = format!("/v1/workflows/sort/executions/one/events?{query}");
        server.get(&path).await.expect(200)
    };
    let kinds = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list").iter();
        items.map(|item| item["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    let up = events("limit=2").await;
    assert_eq!(kinds(&up), ["ExecutionStarted", "ChoiceStateEntered"]);
    assert_eq!(up["next"], "3");
    let entered = &up["items"][1];
    assert_eq!((&entered["state"], &entered["previous"]), (&json!("Look"), &json!(0)));
    let input = &entered["input"];
    assert_eq!(input["text"].as_str().map(|text| text.chars().count()), Some(2_000));
    assert_eq!((&input["cut"], &input["bytes"]), (&json!(true), &json!(6_010)));
    let rest = events("from=3").await;
    assert_eq!(kinds(&rest), ["ChoiceStateExited", "FailStateEntered", "ExecutionFailed"]);
    assert_eq!(rest["next"], Value::Null);
    let down = events("newest=true&limit=2&text=10").await;
    assert_eq!(kinds(&down), ["ExecutionFailed", "FailStateEntered"]);
    assert_eq!(down["items"][0]["cause"]["text"], "x".repeat(10));
    assert_eq!(down["next"], "3");
    // Step Functions' own history has them whole.
    let arn = format!("{STATES}:execution:sort:one");
    let whole = server.states("GetExecutionHistory", &json!({ "executionArn": arn })).await;
    let given = &whole["events"][0]["executionStartedEventDetails"]["input"];
    assert_eq!(given, &json!({ "bad": long }).to_string());
}

#[tokio::test]
async fn a_stream_tells_that_an_execution_moved() {
    let server = Server::start().await;
    server.machine("sort", &sorting()).await;
    server.begin_named("sort", "slow", &json!({ "slow": 1 })).await;
    let path = "/v1/workflows/sort/executions/slow/stream";
    let stream = server.request(Role::Reader, Method::GET, path).send().await.expect("a stream");
    let mut stream = stream.bytes_stream();
    let mut text = String::new();
    let mut stopped = false;
    // One at once; another when it is stopped.
    while !text.contains("ABORTED") {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next());
        let chunk = wait.await.expect("in time").expect("more").expect("a chunk");
        text += &String::from_utf8_lossy(&chunk);
        if text.contains("RUNNING") && !stopped {
            stopped = true;
            let arn = format!("{STATES}:execution:sort:slow");
            server.states("StopExecution", &json!({ "executionArn": arn })).await;
        }
    }
    assert!(stopped && text.contains("event: event"), "{text}");
}
