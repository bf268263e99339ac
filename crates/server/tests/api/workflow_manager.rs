//! The workflow manager's REST API: paths, status codes, pages, and what its clients rely on.

use std::collections::BTreeSet;

use ark_model::api::Role;
use ark_model::workflow::MachineType;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, Server};

const DEFINITIONS: &str = "/wm/workflow-definitions";
const WORKFLOWS: &str = "/wm/workflows";

impl Server {
    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Role::Admin, Method::PUT, path).json(body)).await
    }

    async fn cancel(&self, id: &str, body: &Value) -> Answer {
        let path = format!("{WORKFLOWS}/{id}");
        self.send(self.request(Role::Admin, Method::DELETE, &path).json(body)).await
    }

    async fn define(&self, name: &str, machine: &Value) -> Value {
        let body = json!({ "name": name, "manager": "step-functions", "stateMachine": machine });
        self.post(DEFINITIONS, &body).await.expect(201)
    }

    /// Starts the latest version. Answers the id.
    async fn begin(&self, name: &str, input: &str) -> String {
        let body = json!({ "workflowDefinition": { "name": name, "version": -1 }, "input": input });
        let workflow = self.post(WORKFLOWS, &body).await.expect(200);
        workflow["id"].as_str().expect("an id").to_owned()
    }

    async fn workflow(&self, id: &str) -> Value {
        self.get(&format!("{WORKFLOWS}/{id}?fetchHistory=true")).await.expect(200)
    }

    /// A worker takes one task of an activity and says how it ended.
    async fn work(&self, activity: &str, end: Result<&str, &str>) -> String {
        let workflows = &self.state.workflows;
        let made = workflows.create_activity(activity.into(), "us-east-1".into(), [].into()).await;
        let arn = made.expect("an activity").arn;
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
        let task = workflows.poll_activity(&arn, Some("worker 1".into()), soon).await;
        let task = task.expect("an answer").expect("a task");
        let (token, input) = (task.token.clone(), task.input.clone());
        task.delivered();
        match end {
            Ok(output) => {
                workflows.task_succeeded(&token, output.to_owned()).await.expect("taken");
            }
            Err(error) => {
                let cause = "one\ntwo\nthree\nfour".to_owned();
                let failed = workflows.task_failed(&token, Some(error.into()), Some(cause)).await;
                failed.expect("taken");
            }
        }
        input
    }
}

/// An error of this API: its status, and the text that its clients read.
#[track_caller]
fn message(answer: &Answer, status: u16) -> String {
    let body = answer.expect(status);
    assert_eq!(body["message"], body["detail"]);
    body["message"].as_str().expect("a message").to_owned()
}

fn one(state: Value) -> Value {
    let mut machine = json!({ "StartAt": "S", "States": {} });
    machine["States"]["S"] = state;
    machine
}

fn task(resource: &str) -> Value {
    one(json!({ "Type": "Task", "Resource": resource, "End": true }))
}

#[tokio::test]
async fn there_are_at_most_a_hundred_thousand_definitions() {
    let server = Server::start().await;
    server
        .write(|tx| {
            let now = jiff::Timestamp::now();
            for n in 0..100_000 {
                tx.insert_machine(&format!("m{n}"), "us-east-1", MachineType::Standard, now)?;
            }
            Ok(())
        })
        .await;
    let machine = task("resize");
    let body = json!({ "name": "more", "manager": "step-functions", "stateMachine": machine });
    let refused = server.post(DEFINITIONS, &body).await;
    let message = message(&refused, 400);
    assert!(message.contains("100000"), "{message}");
    let none = server.get(&format!("{DEFINITIONS}/more")).await;
    assert_eq!(none.status, 404, "{none:?}");
}

#[tokio::test]
async fn definitions_have_versions_from_zero_that_never_race() {
    let server = Server::start().await;
    assert_eq!(
        server.bare(Method::GET, "/wm/_health").send().await.expect("an answer").status(),
        200
    );
    let machine = task("resize");
    let first = server.define("resize", &machine).await;
    assert_eq!((&first["version"], &first["stateMachine"]), (&json!(0), &machine));
    assert_eq!(first["manager"], "step-functions");
    let new = |name: &str, machine: &Value| json!({ "name": name, "stateMachine": machine });
    let again = server.post(DEFINITIONS, &new("resize", &machine)).await;
    assert!(message(&again, 409).contains("PUT"));

    // Twenty writers at once: twenty versions.
    let path = format!("{DEFINITIONS}/resize");
    let body = new("resize", &machine);
    let puts = (0..20).map(|_| server.put(&path, &body));
    let versions: BTreeSet<i64> = futures::future::join_all(puts)
        .await
        .iter()
        .map(|answer| answer.expect(201)["version"].as_i64().expect("a number"))
        .collect();
    assert_eq!(versions, (1..=20).collect());
    let latest = server.get(&path).await.expect(200);
    assert_eq!(
        (latest[0]["version"].as_i64(), latest.as_array().map(Vec::len)),
        (Some(20), Some(1))
    );
    let all = server.get(&format!("{path}?latest=false")).await.expect(200);
    assert_eq!(all.as_array().map(Vec::len), Some(21));
    assert_eq!(server.get(&format!("{path}/0")).await.expect(200), first);

    // Names that clients take away from an address.
    for name in [".", ".."] {
        let text = message(&server.post(DEFINITIONS, &new(name, &machine)).await, 400);
        assert!(text.contains("no address leads to it"), "{text}");
        let resource = json!({ "name": "x", "namespace": name, "uri": "arn" });
        message(&server.post("/wm/state-resources", &resource).await, 400);
    }

    // A name that no state machine may have, and one that was made by the other API.
    server.define("wf:master", &machine).await;
    let path = format!("{DEFINITIONS}/wf%3Amaster");
    assert_eq!(server.get(&path).await.expect(200)[0]["name"], "wf:master");
    let listed = server.get(DEFINITIONS).await.expect(200);
    let names: Vec<&Value> =
        listed.as_array().expect("a list").iter().map(|d| &d["name"]).collect();
    assert_eq!(names, ["resize", "wf:master"]);

    for (body, words) in [
        (new("", &machine), "a name"),
        (new("x", &json!([])), "object"),
        (new("x", &json!({ "StartAt": "S", "States": {} })), "StartAt"),
        (new("x", &one(json!({ "Type": "Task", "End": true }))), "Resource"),
        (new("x", &one(json!({ "Type": "Pass", "Next": "None" }))), "None"),
        (new("x", &task("glue:job")), "glue:job"),
        (json!({ "name": "x", "stateMachine": machine, "manager": "batch" }), "variant"),
        (json!({ "name": "x", "stateMachine": machine, "defaultTags": { "a": 1 } }), "string"),
    ] {
        let refused = server.post(DEFINITIONS, &body).await;
        let said = message(&refused, 400);
        assert!(said.contains(words), "{words}: {said}");
    }
    let other = server.put(&format!("{DEFINITIONS}/resize"), &new("other", &machine)).await;
    message(&other, 400);
    message(&server.put(&format!("{DEFINITIONS}/none"), &new("none", &machine)).await, 404);
    for path in ["none", "none/0", "resize/21", "none?latest=false"] {
        message(&server.get(&format!("{DEFINITIONS}/{path}")).await, 404);
    }
    message(&server.get(&format!("{DEFINITIONS}/resize/x")).await, 400);
}

#[tokio::test]
async fn a_workflow_is_done_by_its_namespaces_workers_and_shows_its_jobs() {
    let server = Server::start().await;
    let workflows = &server.state.workflows;
    for name in ["prod--do", "do"] {
        let made = workflows.create_activity(name.into(), "us-east-1".into(), [].into()).await;
        made.expect("an activity");
    }
    let mut machine = task("do");
    machine["States"]["S"]["Retry"] =
        json!([{ "ErrorEquals": ["Again"], "IntervalSeconds": 1, "MaxAttempts": 0 }]);
    let body = json!({
        "name": "w", "stateMachine": machine, "defaultTags": { "team": "a", "kind": "b" },
    });
    server.post(DEFINITIONS, &body).await.expect(201);
    let start = json!({
        "workflowDefinition": { "name": "w" }, "input": "{ \"n\": 9007199254740993 }",
        "namespace": "prod", "queue": "", "tags": { "team": "c" },
    });
    let begun = server.post(WORKFLOWS, &start).await.expect(200);
    let id = begun["id"].as_str().expect("an id");
    assert_eq!(begun["status"], "running");
    assert_eq!((&begun["queue"], &begun["namespace"]), (&json!("default"), &json!("prod")));
    assert_eq!(begun["tags"], json!({ "team": "c", "kind": "b" }));
    assert_eq!(
        begun["input"].as_str().map(|t| t.replace(' ', "")),
        Some("{\"n\":9007199254740993}".into())
    );
    assert_eq!(begun["workflowDefinition"]["stateMachine"], machine);
    assert!(begun.get("jobs").is_none() && begun.get("stoppedAt").is_none());
    assert_eq!(server.workflow(id).await["jobs"][0]["status"], "queued");

    let input = server.work("prod--do", Ok("{\"ok\":true}")).await;
    let input: Value = serde_json::from_str(&input).expect("JSON");
    assert_eq!(input["_EXECUTION_NAME"], id);
    let done = server.workflow(id).await;
    assert_eq!((&done["status"], &done["resolvedByUser"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(done["output"], "{\"ok\":true}");
    let job = &done["jobs"][0];
    assert_eq!((&job["state"], &job["status"]), (&json!("S"), &json!("succeeded")));
    assert_eq!(
        (&job["container"], &job["stateResource"]["name"]),
        (&json!("worker 1"), &json!("do"))
    );
    assert_eq!(job["stateResource"]["type"], "ActivityARN");
    assert!(done["stoppedAt"] == done["lastUpdated"] && job["startedAt"].is_string());

    // One that fails says why, by its last job.
    let id = server.begin("w", "").await;
    server.work("do", Err("Broken")).await;
    let failed = server.get(&format!("{WORKFLOWS}/{id}")).await.expect(200);
    assert_eq!((&failed["status"], &failed["resolvedByUser"]), (&json!("failed"), &json!(false)));
    assert_eq!(failed["statusReason"], "two\nthree\nfour\nBroken");
    assert_eq!(failed["lastJob"]["statusReason"], "two\nthree\nfour\nBroken");
    assert!(failed.get("jobs").is_none());

    // Resolving is once.
    let resolved = format!("{WORKFLOWS}/{id}/resolved");
    assert_eq!(server.post(&resolved, &json!({})).await.status, 201);
    message(&server.post(&resolved, &json!({})).await, 409);
    assert_eq!(server.workflow(&id).await["resolvedByUser"], true);
    message(&server.cancel(&id, &json!({ "reason": "late" })).await, 400);

    for (body, status) in [
        (json!({ "workflowDefinition": { "name": "none" } }), 404),
        (json!({ "workflowDefinition": { "name": "w", "version": 7 } }), 404),
        (json!({ "workflowDefinition": { "name": "w" }, "input": "[]" }), 400),
        (json!({ "workflowDefinition": { "name": "w" }, "input": "{" }), 400),
        (json!({ "workflowDefinition": { "name": "w" }, "tags": { "a": 1 } }), 400),
        (json!({ "workflowDefinition": { "name": "w" }, "queue": "q".repeat(81) }), 400),
    ] {
        message(&server.post(WORKFLOWS, &body).await, status);
    }
    message(&server.get(&format!("{WORKFLOWS}/none")).await, 404);
    message(&server.post(&format!("{WORKFLOWS}/none/resolved"), &json!({})).await, 404);
}

#[tokio::test]
async fn a_running_workflow_is_cancelled_with_its_reason() {
    let server = Server::start().await;
    server.define("w", &one(json!({ "Type": "Wait", "Seconds": 600, "End": true }))).await;
    let id = server.begin("w", "{}").await;
    message(&server.post(&format!("{WORKFLOWS}/{id}/resolved"), &json!({})).await, 409);
    message(&server.cancel(&id, &json!({})).await, 400);
    let why = json!({ "reason": "wrong file" });
    assert_eq!(server.cancel(&id, &why).await.status, 200);
    assert_eq!(server.cancel(&id, &why).await.status, 200, "once more changes nothing");
    let cancelled = server.workflow(&id).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["statusReason"]),
        (&json!("cancelled"), &json!("wrong file"))
    );
    assert_eq!(cancelled["resolvedByUser"], true);
    message(&server.cancel("none", &why).await, 404);
}

#[tokio::test]
async fn a_workflow_goes_on_from_a_state_with_what_that_was_given() {
    let server = Server::start().await;
    // Long enough to be kept apart from its event.
    let given = json!({ "from": "A".repeat(2_000) });
    let machine = json!({ "StartAt": "A", "States": {
        "A": { "Type": "Pass", "Result": given, "Next": "B" },
        "B": { "Type": "Task", "Resource": "do", "Next": "C",
            "Catch": [{ "ErrorEquals": ["Caught"], "Next": "D" }] },
        "C": { "Type": "Succeed" }, "D": { "Type": "Fail" },
    }});
    server.define("w", &machine).await;
    let made = server.state.workflows.create_activity("do".into(), "r".into(), [].into()).await;
    made.expect("an activity");
    let old = server.begin("w", "{}").await;
    let server = &server;
    let resume = |id: &str, at: &str| {
        let (path, body) = (format!("{WORKFLOWS}/{id}"), json!({ "StartAt": at }));
        async move { server.post(&path, &body).await }
    };
    message(&resume(&old, "B").await, 409);
    server.work("do", Err("Broken")).await;
    for (at, words) in [("C", "never came"), ("None", "no state")] {
        assert!(message(&resume(&old, at).await, 400).contains(words));
    }
    message(&resume("none", "B").await, 404);
    let new = resume(&old, "B").await.expect(200);
    let id = new["id"].as_str().expect("an id");
    assert_eq!((&new["retryFor"], &new["input"]), (&json!(old), &json!(given.to_string())));
    let definition = &new["workflowDefinition"];
    assert_eq!(
        (&definition["version"], &definition["stateMachine"]["StartAt"]),
        (&json!(0), &json!("B"))
    );
    assert!(definition["stateMachine"]["States"].get("A").is_none());
    assert_eq!(server.workflow(&old).await["retries"], json!([id]));
    // While it runs, nothing else goes on for the old one.
    message(&resume(&old, "B").await, 409);
    let input: Value = serde_json::from_str(&server.work("do", Ok("{}")).await).expect("JSON");
    assert_eq!(input, json!({ "from": given["from"], "_EXECUTION_NAME": id }));
    assert_eq!(server.workflow(id).await["status"], "succeeded");
    resume(&old, "A").await.expect(200);
    // New workflows begin where the definition does.
    let next = server.begin("w", "{}").await;
    assert_eq!(server.workflow(&next).await["workflowDefinition"]["stateMachine"], machine);
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_others_are_started() {
    let server = Server::start().await;
    let machine = json!({ "StartAt": "C", "States": {
        "C": { "Type": "Choice", "Default": "W", "Choices": [
            { "Variable": "$.end", "StringEquals": "good", "Next": "S" },
            { "Variable": "$.end", "StringEquals": "bad", "Next": "F" } ] },
        "W": { "Type": "Wait", "Seconds": 600, "End": true },
        "S": { "Type": "Succeed" }, "F": { "Type": "Fail", "Error": "E" },
    }});
    server.define("w", &machine).await;
    let mut ids = Vec::new();
    for n in 0..12 {
        let end = ["good", "bad", "none"][n % 3];
        ids.push(server.begin("w", &json!({ "end": end }).to_string()).await);
    }
    let resolved = format!("{WORKFLOWS}/{}/resolved", ids[1]);
    assert_eq!(server.post(&resolved, &json!({})).await.status, 201);
    let walk = |query: &'static str, start_between: bool| {
        let server = &server;
        async move {
            let mut path = format!("/workflows?workflowDefinitionName=w&{query}");
            let mut found: Vec<String> = Vec::new();
            for _ in 0..50 {
                let answer = server.get(&format!("/wm{path}")).await;
                for workflow in answer.expect(200).as_array().expect("a list") {
                    found.push(workflow["id"].as_str().expect("an id").to_owned());
                }
                if start_between {
                    server.begin("w", "{\"end\":\"none\"}").await;
                }
                match answer.headers.get("x-next-page-path") {
                    Some(next) => path = next.to_str().expect("text").to_owned(),
                    None => return found,
                }
            }
            panic!("{query} does not end")
        }
    };
    let at = |places: &[usize]| places.iter().map(|n| ids[*n].clone()).collect::<Vec<_>>();
    assert_eq!(walk("limit=3&oldestFirst=true", false).await, ids);
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(walk("limit=5&summaryOnly=true", false).await, newest);
    assert_eq!(walk("limit=1&status=failed&oldestFirst=true", false).await, at(&[1, 4, 7, 10]));
    assert_eq!(
        walk("limit=2&status=failed&resolvedByUser=false&oldestFirst=true", false).await,
        at(&[4, 7, 10])
    );
    assert_eq!(walk("limit=2&resolvedByUser=true", false).await, at(&[9, 6, 3, 1, 0]));
    assert_eq!(walk("limit=2&status=queued", false).await, at(&[]));
    // Those started meanwhile come before the first page.
    assert_eq!(walk("limit=2", true).await, newest);
    assert_eq!(
        server
            .get("/wm/workflows?workflowDefinitionName=w")
            .await
            .expect(200)
            .as_array()
            .map(Vec::len),
        Some(10)
    );

    let summary = server
        .get("/wm/workflows?workflowDefinitionName=w&status=failed&summaryOnly=true&limit=1")
        .await;
    let whole = server.get("/wm/workflows?workflowDefinitionName=w&status=failed&limit=1").await;
    let (summary, whole) = (&summary.expect(200)[0], &whole.expect(200)[0]);
    assert!(summary["workflowDefinition"].get("stateMachine").is_none(), "{summary}");
    assert_eq!(whole["workflowDefinition"]["stateMachine"], machine);
    for (query, status) in [
        ("", 400),
        ("workflowDefinitionName=w&limit=0", 400),
        ("workflowDefinitionName=w&limit=10001", 400),
        ("workflowDefinitionName=w&status=odd", 400),
        ("workflowDefinitionName=w&pageToken=12", 400),
        ("workflowDefinitionName=none", 404),
    ] {
        message(&server.get(&format!("{WORKFLOWS}?{query}")).await, status);
    }
}

#[tokio::test]
async fn what_was_started_elsewhere_is_a_workflow_too() {
    let server = Server::start().await;
    server.define("w", &one(json!({ "Type": "Fail", "Error": "E" }))).await;
    let start = ark_server::workflows::StartExecution {
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:w".into(),
        name: Some("mine".into()),
        input: Some("{\"a\": 1}".into()),
        ..Default::default()
    };
    let started = server.state.workflows.start_execution(start).await.expect("started");
    for id in ["w:mine", started.execution_arn.as_str()] {
        let workflow = server.workflow(id).await;
        assert_eq!((&workflow["id"], &workflow["input"]), (&json!("w:mine"), &json!("{\"a\": 1}")));
        assert_eq!(workflow["workflowDefinition"]["version"], 0);
    }
    let resolved = format!("{WORKFLOWS}/w:mine/resolved");
    assert_eq!(server.post(&resolved, &json!({})).await.status, 201);
    // Failing again after a redrive is another failure.
    let redriven = server.state.workflows.redrive_execution(&started.execution_arn, None).await;
    redriven.expect("redriven");
    assert_eq!(server.workflow("w:mine").await["resolvedByUser"], false);
    assert_eq!(server.post(&resolved, &json!({})).await.status, 201);
}

#[tokio::test]
async fn state_resources_are_kept_by_namespace_and_name() {
    let server = Server::start().await;
    let new = |uri: &str| json!({ "namespace": "n", "name": "r", "uri": uri });
    let made = server.post("/wm/state-resources", &new("arn:one")).await.expect(201);
    assert_eq!((&made["type"], &made["uri"]), (&json!("ActivityARN"), &json!("arn:one")));
    let path = "/wm/state-resources/n/r";
    assert_eq!(server.get(path).await.expect(200)["uri"], "arn:one");
    assert_eq!(server.put(path, &new("arn:two")).await.expect(201)["uri"], "arn:two");
    message(&server.put("/wm/state-resources/n/other", &new("x")).await, 400);
    message(&server.post("/wm/state-resources", &json!({ "name": "r" })).await, 400);
    assert_eq!(server.delete(path).await.status, 200);
    message(&server.delete(path).await, 404);
    message(&server.get(path).await, 404);
}

#[tokio::test]
async fn a_reader_reads_and_nobody_does_more_without_a_token() {
    let server = Server::start().await;
    server.define("w", &one(json!({ "Type": "Succeed" }))).await;
    let id = server.begin("w", "{}").await;
    let body = json!({ "workflowDefinition": { "name": "w" } });
    let request = server.request(Role::Reader, Method::GET, &format!("{WORKFLOWS}/{id}"));
    assert_eq!(server.send(request).await.status, 200);
    for path in [WORKFLOWS, DEFINITIONS, "/wm/state-resources"] {
        let request = server.request(Role::Reader, Method::POST, path).json(&body);
        message(&server.send(request).await, 403);
        message(&server.send(server.bare(Method::POST, path).json(&body)).await, 401);
    }
}

#[tokio::test]
async fn a_queue_with_a_priority_is_served_first() {
    let server = Server::start().await;
    let workflows = &server.state.workflows;
    workflows.create_activity("work".into(), "us-east-1".into(), [].into()).await.expect("made");
    let task = json!({ "Type": "Task", "Resource": "work", "End": true });
    server.define("w", &json!({ "StartAt": "T", "States": { "T": task } })).await;
    let queue = |name: &str| format!("/v1/workflow-queues/{name}");
    for (name, priority) in [("urgent", 10), ("idle", -5), ("gone", 3), ("gone", 0)] {
        let made = server.put(&queue(name), &json!({ "priority": priority })).await.expect(200);
        assert_eq!(made, json!({ "name": name, "priority": priority }));
    }
    for (name, wrong) in [
        ("urgent", json!({ "priority": 1_001 })),
        ("urgent", json!({ "priority": -1_001 })),
        ("urgent", json!({})),
        (&*"x".repeat(81), json!({ "priority": 1 })),
    ] {
        let answer = server.put(&queue(name), &wrong).await;
        assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.text);
    }
    let page = server.get("/v1/workflow-queues?limit=1").await.expect(200);
    assert_eq!(page["items"], json!([{ "name": "idle", "priority": -5 }]));
    let cursor = page["next"].as_str().expect("another page");
    let page = server.get(&format!("/v1/workflow-queues?cursor={cursor}")).await.expect(200);
    assert_eq!(page, json!({ "items": [{ "name": "urgent", "priority": 10 }] }));
    // A reader gives nothing a priority.
    let request = server.request(Role::Reader, Method::PUT, &queue("urgent"));
    server.send(request.json(&json!({ "priority": 1 }))).await.expect(403);

    for (n, queue) in ["idle", "", "gone", "urgent", "idle", "urgent"].into_iter().enumerate() {
        let body = json!({ "workflowDefinition": { "name": "w", "version": -1 },
            "input": json!({ "n": n }).to_string(), "queue": queue });
        server.post(WORKFLOWS, &body).await.expect(200);
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let input: Value = serde_json::from_str(&server.work("work", Ok("{}")).await).unwrap();
        order.push(input["n"].clone());
    }
    assert_eq!(order, [3, 5, 1, 2, 0, 4].map(Value::from));
}

/// Clients that know only that API: its paths at the root, no token, nothing else behind it.
#[tokio::test]
async fn the_root_of_an_address_serves_clients_without_tokens() {
    let server = Server::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(ark_server::api::serve_manager(listener, server.state.clone()));
    let ask = |method: Method, path: &str| server.client.request(method, format!("{at}{path}"));
    assert_eq!(server.send(ask(Method::GET, "/_health")).await.status, 200);
    let body = json!({ "name": "m", "manager": "step-functions",
        "stateMachine": one(json!({ "Type": "Pass", "End": true })) });
    let define = ask(Method::POST, "/workflow-definitions").json(&body);
    server.send(define).await.expect(201);
    let body = json!({ "workflowDefinition": { "name": "m", "version": -1 }, "input": "{}" });
    let started = server.send(ask(Method::POST, "/workflows").json(&body)).await.expect(200);
    let id = started["id"].as_str().expect("an id");
    let shown = server.get(&format!("{WORKFLOWS}/{id}")).await.expect(200);
    assert_eq!(shown["status"], "succeeded");
    for _ in 0..2 {
        server.send(ask(Method::POST, "/workflows").json(&body)).await.expect(200);
    }
    // The way to the next page is good there, too.
    let list = "/workflows?workflowDefinitionName=m&limit=2";
    let page = server.send(ask(Method::GET, list)).await;
    let next = page.headers["x-next-page-path"].to_str().expect("a path").to_owned();
    let rest = server.send(ask(Method::GET, &next)).await.expect(200);
    assert_eq!(rest.as_array().map(Vec::len), Some(1));

    for path in ["/v1/environments", "/../v1/environments", "/%2e%2e/v1/tokens", "/", "/wm/_health"]
    {
        assert_eq!(server.send(ask(Method::GET, path)).await.status, 404, "{path}");
    }
    let foreign = ask(Method::POST, "/workflows").header("origin", "http://evil.example");
    assert_eq!(server.send(foreign.json(&body)).await.status, 403);
    let forged = ask(Method::GET, "/workflow-definitions").bearer_auth("wrong");
    assert_eq!(server.send(forged).await.status, 401);
}
