//! Recorded sequences of calls, replayed: every answer must be the recorded one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::client::{Answer, Client};
use crate::exceptions::{Exception, judge};
use crate::harness::Ark;
use crate::recorded;
use crate::same::differences;

/// Sequences replayed at a time.
const AT_ONCE: usize = 16;
/// How long an execution may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

const NO_SERVICES: &str = "AWS's other services are not there to be called";
const DROPPED: &str = "the recorder left out these events";
const RAISED: &str = "AWS has raised the bound from 10240 to 32768 since this was recorded";

/// Recorded call sequences that are answered otherwise.
const SEQUENCES: [Exception; 6] = [
    Exception {
        test: "test_aws_sdk.py::TestAwsSdk::test_invalid_secret_name",
        differences: &[
            "get_execution_history.events: expected 9 items got 3",
            "get_execution_history.events[2].taskScheduledEventDetails: expected <x> got nothing",
            "get_execution_history.events[2].type: expected \"TaskScheduled\" got \"ExecutionFailed\"",
            "get_execution_history.events[2].executionFailedEventDetails: expected nothing got <x>The \
             resource arn:aws:states:::aws-sdk:secretsmanager:createSecret is not served by Ark.<x>",
        ],
        why: NO_SERVICES,
    },
    Exception {
        test: "test_aws_sdk.py::TestAwsSdk::test_no_such_bucket",
        differences: &[
            "get_execution_history.events: expected 9 items got 3",
            "get_execution_history.events[2].taskScheduledEventDetails: expected <x> got nothing",
            "get_execution_history.events[2].type: expected \"TaskScheduled\" got \"ExecutionFailed\"",
            "get_execution_history.events[2].executionFailedEventDetails: expected nothing got <x>The \
             resource arn:aws:states:::aws-sdk:s3:listObjects is not served by Ark.<x>",
        ],
        why: NO_SERVICES,
    },
    Exception {
        test: "test_base_scenarios.py::TestBaseScenarios::test_parallel_state[PARALLEL_STATE]",
        differences: &["get_execution_history.events: without recorded \"\", beyond recorded \
             \"ParallelStateSucceeded\""],
        why: DROPPED,
    },
    Exception {
        test: "test_base_scenarios.py::TestBaseScenarios::test_parallel_state[PARALLEL_STATE_PARAMETERS]",
        differences: &["get_execution_history.events: without recorded \"\", beyond recorded \
             \"ParallelStateSucceeded\""],
        why: DROPPED,
    },
    Exception {
        test: "test_base_scenarios.py::TestBaseScenarios::test_parallel_state_nested",
        differences: &["get_execution_history.events: without recorded \"\", beyond recorded \
             \"ParallelStateSucceeded ParallelStateExited ParallelStateSucceeded\""],
        why: DROPPED,
    },
    Exception {
        test: "test_field_validation_mode.py::TestFieldValidationMode::\
               test_strict_mode_aws_sdk_lambda_get_function_task[integer_more_than_maximum_allowed]",
        differences: &["s1 TestState: Ok(Object {\"output\": String(\"{\\\"Configuration\\\":\
             {\\\"MemorySize\\\":10241}}\"), \"status\": String(\"SUCCEEDED\")})"],
        why: RAISED,
    },
];

/// Recorded refusals that are answered otherwise.
const REFUSALS: [Exception; 1] = [Exception {
    test: "test_field_validation_mode.py::TestFieldValidationMode::\
           test_strict_mode_aws_sdk_lambda_get_function_task[integer_more_than_maximum_allowed]\
           #validation-exception",
    differences: &[
        ".Code: expected \"ValidationException\" got nothing",
        ".Message: expected \"Mock result schema validation error: Field 'MemorySize' exceeds the \
         maximum value\" got nothing",
        ".output: expected nothing got \"{\\\"Configuration\\\":{\\\"MemorySize\\\":10241}}\"",
        ".status: expected nothing got \"SUCCEEDED\"",
    ],
    why: RAISED,
}];

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
            let mut replay = Replay { client, trace, done: BTreeMap::new() };
            (name, replay.run().await)
        });
    }
    judge(running.join_all().await, &SEQUENCES);
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
        judged.push((name, differences(&expected, &got, &[])));
    }
    judge(judged, &REFUSALS);
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
        judged.push((name, differences(&case["expected"], &got, &[])));
    }
    judge(judged, &[]);
}

struct Replay {
    client: Client,
    trace: Value,
    /// What each step was answered, with its operation.
    done: BTreeMap<String, (String, Answer)>,
}

impl Replay {
    /// Where the answers differ.
    async fn run(&mut self) -> Vec<String> {
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
                return vec![format!("{id} {operation}: {answer:?}")];
            }
            self.done.insert(id, (operation.clone(), answer));
            if operation == "StartExecution" {
                self.work();
            }
        }
        let names = self.names();
        let matches = self.trace["matches"].as_object().cloned().unwrap_or_default();
        let mut found = Vec::new();
        for (key, what) in &matches {
            let mut expected = self.trace["recorded_content"][key].clone();
            // What was recorded twice, under either name.
            if let Some(fields) = expected.as_object_mut()
                && fields.contains_key("Error")
            {
                fields.remove("message");
            }
            let mut got = match (self.got(what), &expected) {
                // An exception of which only the text was kept.
                (got, Value::String(_)) if got.get("Error").is_some() => {
                    self.composed(&json!({ "$exc": what["step"] }))
                }
                (got, _) => got,
            };
            if is_client_side(&expected) {
                continue;
            }
            let left_out = as_recorded(&mut expected, &mut got, &names);
            let differences = differences(&expected, &got, &names).into_iter();
            found.extend(differences.chain(left_out).map(|found| format!("{key}{found}")));
        }
        found
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

/// In some histories the recorder took the events of branches out of their order: without number and
/// instant, sorted. Those are compared as a set; both sides are left without them. Says which
/// events the recorder left out.
fn as_recorded(expected: &mut Value, got: &mut Value, names: &[String]) -> Option<String> {
    let is_loose = |event: &Value| event["id"] == json!([0]);
    let wanted = expected.get_mut("events")?.as_array_mut()?;
    let events = got.get_mut("events")?.as_array_mut()?;
    if !wanted.iter().any(is_loose) {
        return None;
    }
    let (loose, numbered): (Vec<Value>, Vec<Value>) = wanted.drain(..).partition(is_loose);
    let is_numbered = |event: &Value| numbered.iter().any(|wanted| wanted["id"] == event["id"]);
    let (kept, mut rest): (Vec<Value>, Vec<Value>) = events.drain(..).partition(is_numbered);
    let unnumbered = |mut event: Value| {
        event["id"] = json!([0]);
        event["previousEventId"] = json!(0);
        event
    };
    let missing = loose.into_iter().filter(|wanted| {
        let same =
            |event: &Value| differences(wanted, &unnumbered(event.clone()), names).is_empty();
        match rest.iter().position(same) {
            Some(index) => {
                rest.remove(index);
                false
            }
            None => true,
        }
    });
    let missing: Vec<Value> = missing.collect();
    let types = |events: &[Value]| {
        events.iter().map(|event| text(&event["type"])).collect::<Vec<_>>().join(" ")
    };
    let found = format!(
        ".events: without recorded {:?}, beyond recorded {:?}",
        types(&missing),
        types(&rest)
    );
    (*wanted, *events) = (numbered, kept);
    Some(found)
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
