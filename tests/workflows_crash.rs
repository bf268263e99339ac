//! `kill -9` of the server again and again while workflows run: what was acknowledged is there
//! afterwards, each piece of work was done once, and everything ends (workflows.md, failure mode 2).
//!
//! The workers count what they do by the task's token, as the documentation asks of a worker that
//! must not repeat an effect. `ARK_CRASHES=50` kills more often than ten times.

#![allow(clippy::print_stdout, reason = "the run reports what it counted")]

#[path = "workflows/client.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod client;
mod harness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_server::auth::{SignedRequest, sign};
use client::{Answer, Client};
use harness::Ark;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

const WORKERS: usize = 8;
/// Starts between two kills, at most: enough to keep the workers busy, few enough to end soon.
const STARTS_PER_ROUND: u64 = 15;
/// Tasks of one execution: before, three items, after.
const TASKS: usize = 5;
const OVER: Duration = Duration::from_secs(150);

/// What the outside knows.
#[derive(Default)]
struct Ledger {
    /// Executions whose start was acknowledged, and their inputs.
    started: BTreeMap<String, Value>,
    /// The number of the effect done under each token.
    effects: HashMap<String, u64>,
    /// The work each effect was: execution and step, from the task's input.
    work: HashMap<String, Vec<String>>,
    /// How often each token's result was acknowledged.
    acknowledged: HashMap<String, u32>,
    /// Results that were sent while the server died: whether they counted is not known.
    in_doubt: BTreeSet<String>,
    /// Results refused although none was in doubt and nobody else had the task.
    wrongly_refused: Vec<String>,
    /// Tokens that were handed out more than once.
    handed_again: BTreeSet<String>,
}

/// The server at whatever address it has now.
#[derive(Clone)]
struct Wire {
    client: Arc<Mutex<Client>>,
    ledger: Arc<Mutex<Ledger>>,
    over: Arc<AtomicBool>,
}

impl Wire {
    /// One operation; `None` when the server died over it.
    async fn attempt(&self, operation: &str, input: &Value) -> Option<Answer> {
        let client = self.client.lock().unwrap().clone();
        let body = input.to_string();
        let mut headers = HeaderMap::new();
        let host = client.base.trim_start_matches("http://").to_owned();
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        for (name, value) in [
            ("host", host),
            ("x-amz-date", now),
            ("x-amz-target", format!("AWSStepFunctions.{operation}")),
            ("content-type", "application/x-amz-json-1.0".to_owned()),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        let request = SignedRequest {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: body.as_bytes(),
        };
        let signed = sign(request, &client.key, &client.secret, "us-east-1", "states");
        headers.insert("authorization", signed.expect("signed").parse().expect("a value"));
        let request = client.http.post(&client.base).headers(headers).body(body);
        let answer = request.send().await.ok()?;
        let good = answer.status().as_u16() == 200;
        let unavailable = answer.status().is_server_error();
        let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        if unavailable {
            return None;
        }
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Some(if good { Ok(answer.clone()) } else { Err((text("__type"), text("message"))) })
    }

    /// One operation, until a server answers it.
    async fn insist(&self, operation: &str, input: &Value) -> Answer {
        let until = Instant::now() + OVER;
        loop {
            if let Some(answer) = self.attempt(operation, input).await {
                return answer;
            }
            assert!(Instant::now() < until, "no server answers {operation}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn work(&self, activity: &str, pause: u64) {
        while !self.over.load(Ordering::Relaxed) {
            let poll = json!({ "activityArn": activity, "workerName": "w" });
            let Some(Ok(task)) = self.attempt("GetActivityTask", &poll).await else {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            };
            let Some(token) = task["taskToken"].as_str() else { continue };
            let input = task["input"].as_str().expect("an input").to_owned();
            let effect = self.effect(token, input);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.answer(token, effect).await;
        }
    }

    /// Does the work, unless it was done under this token.
    fn effect(&self, token: &str, input: String) -> u64 {
        let mut ledger = self.ledger.lock().unwrap();
        if let Some(done) = ledger.effects.get(token).copied() {
            ledger.handed_again.insert(token.to_owned());
            return done;
        }
        let number = ledger.effects.len() as u64;
        ledger.effects.insert(token.to_owned(), number);
        ledger.work.entry(input).or_default().push(token.to_owned());
        number
    }

    async fn answer(&self, token: &str, effect: u64) {
        let input = json!({ "taskToken": token, "output": effect.to_string() });
        loop {
            let answer = self.attempt("SendTaskSuccess", &input).await;
            if self.note(token, answer) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Writes down what became of a result; answers whether it is settled.
    fn note(&self, token: &str, answer: Option<Answer>) -> bool {
        let mut ledger = self.ledger.lock().unwrap();
        match answer {
            None => {
                ledger.in_doubt.insert(token.to_owned());
                return false;
            }
            Some(Ok(_)) => *ledger.acknowledged.entry(token.to_owned()).or_default() += 1,
            Some(Err((name, text))) => {
                // Of two workers that hold it, the other may have been first.
                let known = ledger.in_doubt.contains(token) || ledger.handed_again.contains(token);
                if !known {
                    ledger.wrongly_refused.push(format!("{name}: {text}"));
                }
            }
        }
        true
    }

    /// Starts executions as fast as the budget lets it.
    async fn start_all(&self, machine: &str, budget: &AtomicU64) {
        let mut next = 0;
        while !self.over.load(Ordering::Relaxed) {
            if next >= budget.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            let name = format!("e{next}");
            next += 1;
            let input = json!({ "name": name, "items": [1, 2, 3] });
            let start = json!({
                "stateMachineArn": machine, "name": name, "input": input.to_string(),
            });
            let arn = match self.insist("StartExecution", &start).await {
                Ok(started) => started["executionArn"].as_str().expect("an ARN").to_owned(),
                // An earlier attempt counted, and it has ended by now.
                Err((error, _)) if error == "ExecutionAlreadyExists" => {
                    format!("{}:{name}", machine.replace(":stateMachine:", ":execution:"))
                }
                Err(error) => panic!("{name}: {error:?}"),
            };
            self.ledger.lock().unwrap().started.insert(arn, input);
        }
    }
}

fn definition(activity: &str) -> Value {
    let task = |step: &str, more: Value| {
        let mut task = json!({
            "Type": "Task", "Resource": activity, "ResultPath": format!("$.{step}"),
            "Parameters": { "name.$": "$.name", "step": step },
        });
        for (key, value) in more.as_object().expect("fields") {
            task[key] = value.clone();
        }
        task
    };
    let mut item = task("item", json!({ "End": true }));
    item["Parameters"] = json!({ "name.$": "$.name", "step.$": "$.item" });
    item.as_object_mut().expect("a state").remove("ResultPath");
    json!({ "StartAt": "Before", "States": {
        "Before": task("before", json!({ "Next": "Each" })),
        "Each": {
            "Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.each", "Next": "Rest",
            "ItemSelector": { "name.$": "$.name", "item.$": "$$.Map.Item.Value" },
            "ItemProcessor": { "StartAt": "Item", "States": { "Item": item } },
        },
        "Rest": { "Type": "Wait", "Seconds": 1, "Next": "After" },
        "After": task("after", json!({ "End": true })),
    } })
}

/// The effects an execution's output holds.
fn effects_of(output: &Value) -> Vec<u64> {
    let each = output["each"].as_array().cloned().unwrap_or_default();
    let all = [&output["before"], &output["after"]].into_iter().chain(&each);
    all.filter_map(Value::as_u64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_once_over_a_server_killed_again_and_again() {
    let crashes: u64 = std::env::var("ARK_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let made = client.good("CreateActivity", json!({ "name": "work" })).await;
    let activity = made["activityArn"].as_str().expect("an ARN").to_owned();
    let machine = json!({
        "name": "m", "roleArn": "arn:aws:iam::000000000000:role/any",
        "definition": definition(&activity).to_string(),
    });
    let machine = client.good("CreateStateMachine", machine).await;
    let machine = machine["stateMachineArn"].as_str().expect("an ARN").to_owned();
    let wire =
        Wire { client: Arc::new(Mutex::new(client)), ledger: Arc::default(), over: Arc::default() };
    let budget = Arc::new(AtomicU64::new(STARTS_PER_ROUND));
    let mut tasks = Vec::new();
    for n in 0..WORKERS {
        let (wire, activity) = (wire.clone(), activity.clone());
        tasks.push(tokio::spawn(async move { wire.work(&activity, n as u64 * 7).await }));
    }
    let (starter, target, allowed) = (wire.clone(), machine.clone(), budget.clone());
    tasks.push(tokio::spawn(async move { starter.start_all(&target, &allowed).await }));

    // At moments that have nothing to do with each other.
    let moments = [137, 911, 433, 59, 702, 255, 1_190];
    for (round, moment) in (0..crashes).zip(moments.into_iter().cycle()) {
        tokio::time::sleep(Duration::from_millis(moment)).await;
        tokio::task::block_in_place(|| {
            ark.kill_server();
            ark.start_server();
        });
        wire.client.lock().unwrap().base = format!("http://{}", ark.api);
        budget.store((round + 2) * STARTS_PER_ROUND, Ordering::Relaxed);
    }
    let expected = (crashes + 1) * STARTS_PER_ROUND;
    let until = Instant::now() + OVER;
    loop {
        let open = json!({ "stateMachineArn": machine, "statusFilter": "RUNNING" });
        let open = wire.insist("ListExecutions", &open).await.expect("a list");
        let open = open["executions"].as_array().map_or(0, Vec::len);
        if open == 0 && wire.ledger.lock().unwrap().started.len() as u64 == expected {
            break;
        }
        assert!(Instant::now() < until, "{open} executions never ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    wire.over.store(true, Ordering::Relaxed);
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        // A panic of a worker is a failure of the test; that it was ended is not.
        assert!(task.await.err().is_none_or(|error| error.is_cancelled()));
    }
    judge(&wire, &machine, expected, crashes).await;
}

async fn judge(wire: &Wire, machine: &str, expected: u64, crashes: u64) {
    let ledger = std::mem::take(&mut *wire.ledger.lock().unwrap());
    let mut listed = BTreeSet::new();
    let mut token = None;
    loop {
        let mut list = json!({ "stateMachineArn": machine, "maxResults": 100 });
        if let Some(token) = token {
            list["nextToken"] = token;
        }
        let page = wire.insist("ListExecutions", &list).await.expect("a list");
        for execution in page["executions"].as_array().expect("a list") {
            let arn = execution["executionArn"].as_str().expect("an ARN");
            assert!(listed.insert(arn.to_owned()), "listed twice: {arn}");
        }
        token = page.get("nextToken").cloned();
        if token.is_none() {
            break;
        }
    }
    let started: BTreeSet<String> = ledger.started.keys().cloned().collect();
    assert_eq!(listed, started, "what was acknowledged is what there is");
    let mut seen = BTreeSet::new();
    for (arn, input) in &ledger.started {
        let describe = json!({ "executionArn": arn });
        let view = wire.insist("DescribeExecution", &describe).await.expect("it is there");
        assert_eq!(view["status"], "SUCCEEDED", "{view}");
        let text = |key: &str| -> Value {
            serde_json::from_str(view[key].as_str().expect(key)).expect("JSON")
        };
        assert_eq!(text("input"), *input);
        let effects = effects_of(&text("output"));
        assert_eq!(effects.len(), TASKS, "{view}");
        for effect in effects {
            assert!(seen.insert(effect), "effect {effect} counts twice: {view}");
        }
        let page = json!({ "executionArn": arn, "maxResults": 1_000 });
        let history = wire.insist("GetExecutionHistory", &page).await.expect("a history");
        let events = history["events"].as_array().expect("a list");
        let ids = events.iter().map(|event| event["id"].as_u64());
        assert!(ids.eq((1..=events.len() as u64).map(Some)), "a gap: {history}");
        for kind in ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"] {
            let count = events.iter().filter(|event| event["type"] == kind).count();
            assert_eq!(count, TASKS, "{kind}: {history}");
        }
    }
    // Every effect is in an output, and every piece of work was one effect.
    assert_eq!(seen.len(), ledger.effects.len(), "effects that count nowhere");
    assert_eq!(ledger.work.len(), ledger.effects.len(), "work done under two tokens");
    assert_eq!(ledger.effects.len() as u64, expected * TASKS as u64);
    let twice = ledger.acknowledged.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "results acknowledged twice");
    assert_eq!(ledger.wrongly_refused, Vec::<String>::new());
    println!(
        "{crashes} kills: {expected} executions, {} effects, {} results in doubt, {} tasks handed \
         out again under their token",
        ledger.effects.len(),
        ledger.in_doubt.len(),
        ledger.handed_again.len()
    );
}
