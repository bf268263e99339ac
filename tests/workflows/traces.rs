//! Recorded sequences of calls, replayed: every answer must be the recorded one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::client::{Answer, Client};
use crate::harness::Ark;
use crate::recorded;
use crate::same::difference;

/// Sequences replayed at a time.
const AT_ONCE: usize = 16;
/// How long an execution may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Recordings that Ark does not answer as AWS did, by a part of their name or of what is asked in
/// them, each with its reason.
const EXCEPTIONS: [(&str, &str); 11] = [
    (NO_MODELS, "a mock is not held to the models of AWS's services: there are none in Ark"),
    ("AllHttpHeaders", "no HTTP request is made whose headers could be shown"),
    ("test_aws_sdk.py", "AWS's other services are not there to be called"),
    ("test_parallel_state[", DROPPED),
    ("test_parallel_state_nested", DROPPED),
    ("distributed_item_selector_parameters", MAP_RUN_ORDER),
    ("distributed_items_path_from_previous", MAP_RUN_ORDER),
    ("test_wait_timestamp_invalid", VALIDATION),
    ("test_illegal_escapes", VALIDATION),
    ("ILLEGAL_WFTT", VALIDATION),
    ("NOT_A_DEF", VALIDATION),
];
const DROPPED: &str = "the recorder left out a kind of event";
const MAP_RUN_ORDER: &str =
    "which event precedes the exit of a distributed Map was recorded both ways";
const VALIDATION: &str =
    "definitions are judged by what can be parsed; all of AWS's findings follow";
/// Marks cases whose mock must be refused because of what a service of AWS would answer.
const NO_MODELS: &str = "Mock result schema validation error";

#[tokio::test(flavor = "multi_thread")]
async fn recorded_call_sequences_are_answered_as_recorded() {
    let Some(traces) = recorded::cases("api_traces.json") else { return };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    for trace in traces {
        let (client, places) = (client.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let name = trace["test"].as_str().unwrap_or_default().to_owned();
            let asked = format!("{}{}", trace["steps"], trace["recorded_content"]);
            let mut replay = Replay { client, trace, done: BTreeMap::new() };
            let difference = replay.run().await;
            (name, asked, difference)
        });
    }
    judge(running.join_all().await, &EXCEPTIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_refusals_are_refused_as_recorded() {
    let Some(cases) = recorded::cases("validation_cases.json") else { return };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let mut judged = Vec::new();
    for case in cases {
        let name = case["id"].as_str().unwrap_or_default().to_owned();
        let operation = case["api"].as_str().unwrap_or_default();
        let request = &case["request"];
        if name.contains("already_exists") {
            // The recording had made one of that name before.
            let mut first = request.clone();
            first["definition"] =
                json!("{\"StartAt\":\"S\",\"States\":{\"S\":{\"Type\":\"Succeed\"}}}");
            let _ = client.call(operation, &first).await;
        }
        let answer = client.call(operation, request).await;
        let expected = match case.get("expected_error") {
            Some(error) => error["Error"].clone(),
            None => case["expected"].clone(),
        };
        let got = match answer {
            Ok(answer) => answer,
            Err((code, message)) => json!({ "Code": code, "Message": message }),
        };
        judged.push((name, format!("{request}{expected}"), difference(&expected, &got, &[])));
    }
    judge(judged, &EXCEPTIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_tests_of_states_are_answered_as_recorded() {
    let Some(cases) = recorded::cases("teststate_cases.json") else { return };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let mut judged = Vec::new();
    for case in cases {
        let name = case["id"].as_str().unwrap_or_default().to_owned();
        let got = match client.call("TestState", &case["request"]).await {
            Ok(answer) => answer,
            Err((code, message)) => json!({ "Error": { "Code": code, "Message": message } }),
        };
        judged.push((
            name,
            format!("{}{}", case["request"], case["expected"]),
            difference(&case["expected"], &got, &[]),
        ));
    }
    judge(judged, &EXCEPTIONS);
}

/// Name, everything recorded, and where the answer differs.
type Judged = (String, String, Option<String>);

fn judge(judged: Vec<Judged>, exceptions: &[(&str, &str)]) {
    let count = judged.len();
    let mut wrong = Vec::new();
    let mut excepted = 0;
    for (name, asked, difference) in judged {
        let Some(difference) = difference else { continue };
        let reason =
            exceptions.iter().find(|(part, _)| name.contains(part) || asked.contains(part));
        match reason {
            Some((_, why)) => {
                excepted += 1;
                eprintln!("excepted: {name}: {why}");
            }
            None => wrong.push(format!("{name}\n    {difference}")),
        }
    }
    wrong.sort();
    eprintln!("{count} cases, {excepted} excepted");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

struct Replay {
    client: Client,
    trace: Value,
    /// What each step was answered, with its operation.
    done: BTreeMap<String, (String, Answer)>,
}

impl Replay {
    /// Where the first difference is.
    async fn run(&mut self) -> Option<String> {
        for step in self.trace["steps"].as_array().cloned().unwrap_or_default() {
            let (id, operation) = (text(&step["id"]), text(&step["op"]));
            let params = self.filled(&step["params"]);
            if step["expect_error"] == true
                && self.names().iter().any(|n| n.contains("nonexistent"))
            {
                // The recorder deleted it here without a word.
                self.delete_machines().await;
            }
            if self.waits(&id, &operation) {
                self.wait_ended().await;
            }
            let answer = self.client.call(&operation, &params).await;
            if answer.is_err() != step["expect_error"].as_bool().unwrap_or(false) {
                return Some(format!("{id} {operation}: {answer:?}"));
            }
            self.done.insert(id, (operation.clone(), answer));
            if operation == "StartExecution" {
                self.work();
            }
        }
        let names = self.names();
        let matches = self.trace["matches"].as_object().cloned().unwrap_or_default();
        matches.iter().find_map(|(key, what)| {
            let mut expected = self.trace["recorded_content"][key].clone();
            // What was recorded twice, under either name.
            if let Some(fields) = expected.as_object_mut()
                && fields.contains_key("Error")
            {
                fields.remove("message");
            }
            let got = match (self.got(what), &expected) {
                // An exception of which only the text was kept.
                (got, Value::String(_)) if got.get("Error").is_some() => {
                    self.composed(&json!({ "$exc": what["step"] }))
                }
                (got, _) => got,
            };
            if is_client_side(&expected) {
                return None;
            }
            difference(&expected, &got, &names).map(|found| format!("{key}{found}"))
        })
    }

    /// The recorder waited for the end of an execution before it looked at it, but where it stopped
    /// one or watched it run.
    fn waits(&self, id: &str, operation: &str) -> bool {
        let looks = ["GetExecutionHistory", "DescribeExecution", "ListExecutions"];
        let recorded = self.trace["matches"].as_object().into_iter().flatten();
        let watched = recorded
            .filter(|(_, what)| what["step"] == id)
            .any(|(key, _)| self.trace["recorded_content"][key]["status"] == "RUNNING");
        looks.contains(&operation) && !watched
    }

    async fn delete_machines(&self) {
        for (operation, answer) in self.done.values() {
            let (Ok(answer), "CreateStateMachine") = (answer, operation.as_str()) else { continue };
            let asked = json!({ "stateMachineArn": answer["stateMachineArn"] });
            self.client.good("DeleteStateMachine", asked).await;
        }
    }

    async fn wait_ended(&self) {
        let until = Instant::now() + ENDED_WITHIN;
        for (operation, answer) in self.done.values() {
            let (Ok(answer), "StartExecution") = (answer, operation.as_str()) else { continue };
            let asked = json!({ "executionArn": answer["executionArn"] });
            while let Ok(execution) = self.client.call("DescribeExecution", &asked).await
                && execution["status"] == "RUNNING"
                && Instant::now() < until
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Parameters with what earlier steps were answered.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.filled_text(text)),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(k, v)| (k.clone(), self.filled(v)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn filled_text(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("@{") {
            filled.push_str(&rest[..at]);
            rest = &rest[at + 2..];
            match rest.find('}') {
                Some(end) => {
                    filled.push_str(&self.answered(&rest[..end]));
                    rest = &rest[end + 1..];
                }
                None => {
                    // `ARN[:-4] + "0000"`, as the recorder wrote it with the reference's own text.
                    let reference = format!("{}Arn", rest.trim_end_matches("0000"));
                    let arn = self.answered(&reference);
                    filled.push_str(&arn[..arn.len().saturating_sub(4)]);
                    filled.push_str("0000");
                    rest = "";
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    /// `s1.stateMachineArn` of what was answered; `s1.$typename` is the name of a refusal.
    fn answered(&self, reference: &str) -> String {
        let Some((step, member)) = reference.split_once('.') else { return String::new() };
        match self.done.get(step) {
            Some((_, Ok(answer))) => text(&answer[member]),
            Some((_, Err((name, _)))) if member == "$typename" => name.clone(),
            _ => String::new(),
        }
    }

    fn got(&self, what: &Value) -> Value {
        match what["kind"].as_str() {
            Some("composite") => self.composed(&what["object"]),
            _ => match self.done.get(&text(&what["step"])) {
                Some((_, Ok(answer))) => answer.clone(),
                Some((_, Err((code, message)))) => {
                    json!({ "Error": { "Code": code, "Message": message } })
                }
                None => Value::Null,
            },
        }
    }

    fn composed(&self, value: &Value) -> Value {
        if let Some(step) = value.get("$exc").and_then(Value::as_str) {
            let Some((operation, Err((code, message)))) = self.done.get(step) else {
                return Value::Null;
            };
            return Value::String(format!(
                "An error occurred ({code}) when calling the {operation} operation: {message}"
            ));
        }
        match value {
            Value::Object(fields) => {
                let composed = fields.iter().map(|(k, v)| (k.clone(), self.composed(v)));
                Value::Object(composed.collect::<Map<_, _>>())
            }
            other => self.filled(other),
        }
    }

    /// Names that the recording uses in place of texts.
    fn names(&self) -> Vec<String> {
        let transformers = self.trace["regex_transformers"].as_array().into_iter().flatten();
        let mut names: Vec<String> = transformers.map(|pair| text(&pair[1])).collect();
        let always = ["snf_role_arn", "sfn_role_arn", "RandomNumberGenerated"];
        names.extend(always.map(str::to_owned));
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names
    }

    /// Starts the workers that the recording had beside the sequence.
    fn work(&self) {
        for worker in self.trace["activity_worker"].as_array().into_iter().flatten() {
            let (client, states) =
                (self.client.clone(), worker["activity_worker_template"]["States"].clone());
            let arn = self.filled_text(&text(&worker["activity_arn"]));
            tokio::spawn(async move {
                let asked = json!({ "activityArn": arn, "workerName": worker_name(&states) });
                let task = client.call("GetActivityTask", &asked).await.unwrap_or_default();
                if task.get("taskToken").is_some() {
                    work_through(&client, &states, &task).await;
                }
            });
        }
    }
}

fn worker_name(states: &Value) -> Value {
    states["GetActivityTask"]["Parameters"]["WorkerName"].clone()
}

/// The recorder's workers were state machines themselves: this walks through what they did.
async fn work_through(client: &Client, states: &Value, task: &Value) {
    let mut name = "TaskReceived".to_owned();
    loop {
        let state = &states[&name];
        if let Some(seconds) = state["Seconds"].as_u64() {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        let operation = text(&state["Resource"]).rsplit(':').next().map(|operation| {
            let (first, rest) = operation.split_at(operation.len().min(1));
            first.to_uppercase() + rest
        });
        if let Some(operation) = operation.filter(|operation| !operation.is_empty()) {
            let mut input = Map::new();
            for (key, value) in state["Parameters"].as_object().into_iter().flatten() {
                let value = match value.as_str() {
                    Some("$.GetActivityTaskOutput.TaskToken") => task["taskToken"].clone(),
                    Some("$.GetActivityTaskOutput.Input") => task["input"].clone(),
                    _ => value.clone(),
                };
                let key = key.trim_end_matches(".$");
                let (first, rest) = key.split_at(1);
                input.insert(first.to_lowercase() + rest, value);
            }
            let _ = client.call(&operation, &Value::Object(input)).await;
        }
        match state["Next"].as_str() {
            Some(next) => name = next.to_owned(),
            None => return,
        }
    }
}

/// What the recorder's client refused by itself never reached AWS.
fn is_client_side(expected: &Value) -> bool {
    let says = |value: &Value| {
        value.as_str().is_some_and(|text| text.starts_with("Parameter validation failed"))
    };
    says(expected) || says(&expected["exception_value"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
