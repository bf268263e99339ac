//! Every recorded case against the interpreter: status, output, error, cause and events, details and
//! `previousEventId` included.
//!
//! The cases are read in place from `../shared/data/states-language`; without that folder the tests
//! say so and pass.

use std::path::{Path, PathBuf};

use ark_states::history::HistoryEvent;
use ark_states::machine::{End, ExecutionState, TaskRequest};
use ark_states::resource::Resource;
use ark_states::{Definition, Value};
use serde_json::{Value as Json, json};

use super::compare::{same, unjson};
use super::driver::{Ended, Work, World, failure, info, run, types};
use super::lacking::{Lack, skip};

fn data(file: &str) -> Option<Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/states-language");
    let path: PathBuf = folder.join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        skip(file, Lack::SharedData, &format!("{} is not there", path.display()));
        return None;
    };
    Some(serde_json::from_str(&text).expect("the cases are JSON"))
}

fn texts(case: &Json, key: &str) -> Vec<String> {
    let list = case[key].as_array();
    list.map(|list| list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

/// What differs, if anything.
fn judge(case: &Json, ended: &Ended) -> Result<(), String> {
    let expected = &case["expected"];
    let placeholders = texts(case, "placeholders");
    let (status, output, failed) = match &ended.end {
        End::Succeeded(output) => ("SUCCEEDED", Some(output), None),
        End::Failed(failure) => ("FAILED", None, Some(failure)),
        End::TimedOut(failure) => ("TIMED_OUT", None, Some(failure)),
        End::Aborted(failure) => ("ABORTED", None, Some(failure)),
    };
    if expected["status"] != status {
        return Err(format!("status {status}, {failed:?}\n  events {}", types(&ended.history)));
    }
    if let Some(output) = output
        && expected["has_output"] == true
    {
        let got: Json = serde_json::from_str(output.text()).unwrap();
        if !same(&expected["output"], &got, &placeholders) {
            return Err(format!("output {got}\n  wanted {}", expected["output"]));
        }
    }
    if let Some(failed) = failed {
        let error = json!(failed.error);
        if !same(&expected["error"], &error, &placeholders) {
            return Err(format!("error {error}, {failed:?}\n  wanted {}", expected["error"]));
        }
        let cause = json!(failed.cause);
        if !expected["cause"].is_null()
            && !same(&unjson(&expected["cause"]), &unjson(&cause), &placeholders)
        {
            return Err(format!("cause {cause}\n  wanted {}", expected["cause"]));
        }
    }
    judge_events(case, &ended.history)
}

fn judge_events(case: &Json, history: &[HistoryEvent]) -> Result<(), String> {
    let expected = &case["expected"];
    let Some(kinds) = expected["events"].as_array() else { return Ok(()) };
    if expected["events_exact"] == false {
        return Ok(());
    }
    let mut wanted: Vec<&str> = kinds.iter().filter_map(Json::as_str).collect();
    let mut got: Vec<&str> = history.iter().map(|event| event.kind.name()).collect();
    let parallel = texts(case, "needs").iter().any(|need| need == "Parallel");
    if parallel {
        wanted.sort_unstable();
        got.sort_unstable();
    }
    if wanted != got {
        return Err(format!("events {got:?}\n  wanted {wanted:?}"));
    }
    let Some(details) = expected["event_details"].as_array() else { return Ok(()) };
    if parallel {
        return Ok(());
    }
    let placeholders = texts(case, "placeholders");
    for (wanted, got) in details.iter().zip(history) {
        let event = got.to_wire(true);
        if wanted["prev"] != event["previousEventId"] {
            return Err(format!(
                "{} follows from {}\n  wanted {wanted}",
                event, event["previousEventId"]
            ));
        }
        let key = got.kind.details_key();
        if key.is_empty() || wanted.get(key).is_none() {
            continue;
        }
        let (wanted, got) = (&wanted[key], &event[key]);
        if wanted.to_string().contains("SdkHttpMetadata") {
            // Headers of AWS's function service.
            continue;
        }
        let (Some(wanted_members), Some(got_members)) = (wanted.as_object(), got.as_object())
        else {
            return Err(format!("details {got}\n  wanted {wanted}"));
        };
        let equal = wanted_members.len() == got_members.len()
            && wanted_members.iter().all(|(key, value)| {
                got_members.get(key).is_some_and(|other| {
                    same(value, other, &placeholders)
                        || same(&unjson(value), &unjson(other), &placeholders)
                })
            });
        if !equal {
            return Err(format!("details {got}\n  wanted {wanted}"));
        }
    }
    Ok(())
}

/// Runs one case with a worker.
fn run_case(case: &Json, worker: &dyn Fn(&TaskRequest) -> Work) -> Result<(), String> {
    let definition = case["definition"].to_string().replace("@{s1.activityArn}", ACTIVITY);
    let definition = Definition::from_value(&Value::parse(&definition).unwrap())
        .map_err(|error| format!("definition: {error}"))?;
    let setup = case["setup"].to_string();
    let world = World {
        worker,
        missing: if setup.contains("DeleteActivity") { ACTIVITY } else { "" },
        stop: setup.contains("StopExecution"),
    };
    let express = case["type"] == "EXPRESS";
    let info = info(case["input"].as_str().unwrap_or("{}"), express);
    let (_, ended) = run(&definition, ExecutionState::new(), &info, &world, 0);
    judge(case, &ended)
}

const ACTIVITY: &str = "arn:aws:states:us-east-1:111111111111:activity:a";

/// The recorded consumers of activities are state machines of their own; this is what they do.
fn activity(case: &Json) -> impl Fn(&TaskRequest) -> Work {
    let consumer = case["activity_worker"].to_string();
    move |request| {
        let name = "BASE_ID_ACTIVITY_CONSUMER";
        if consumer.contains("sendTaskFailure") {
            Work::Answer(name, Err(failure("Programmatic Error", request.input.text().clone())))
        } else if consumer.contains("sendTaskSuccess") {
            Work::Answer(name, Ok(request.input.value().clone()))
        } else {
            Work::Hang(name)
        }
    }
}

fn report(file: &str, failures: &[(String, String)], total: usize) {
    for (id, failure) in failures {
        eprintln!("{id}\n  {failure}");
    }
    assert!(failures.is_empty(), "{} of {total} cases of {file} differ", failures.len());
}

fn run_all(file: &str, of_case: impl Fn(&Json) -> Result<(), String>) {
    let Some(cases) = data(file) else { return };
    let cases = cases.as_array().expect("a list of cases");
    let only = std::env::var("CASE").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| case["id"].as_str().is_some_and(|id| id.contains(&only)))
    {
        let id = case["id"].as_str().unwrap_or_default().to_owned();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| of_case(case))) {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => failures.push((id, difference)),
            Err(_) => failures.push((id, "panicked".to_owned())),
        }
    }
    report(file, &failures, cases.len());
}

#[test]
fn executions() {
    run_all("cases.json", |case| run_case(case, &activity(case)));
}

/// What the recorded Python handler of a function does with an event. `direct` is a function named by
/// its ARN, whose errors are printed with spaces.
fn handle(source: &str, event: &Value, direct: bool) -> Option<Result<Value, ark_states::Failure>> {
    let raised = |kind: &str, message: &str, line: u32, code: &str| {
        let trace =
            format!("  File \\\"/var/task/handler.py\\\", line {line}, in handler\\n    {code}\\n");
        let (colon, comma) = if direct { (": ", ", ") } else { (":", ",") };
        let cause = format!(
            "{{\"errorMessage\"{colon}\"{message}\"{comma}\"errorType\"{colon}\"{kind}\"{comma}\
             \"requestId\"{colon}\"0-0\"{comma}\"stackTrace\"{colon}[\"{trace}\"]}}"
        );
        Some(Err(failure(kind, cause)))
    };
    if source.contains("time.sleep(60)") {
        None
    } else if source.contains("raise CustomException()") {
        raised("CustomException", "", 9, "raise CustomException()")
    } else if source.contains("raise Exception(") {
        let code = r#"raise Exception(\"Some exception was raised.\")"#;
        raised("Exception", "Some exception was raised.", 2, code)
    } else if source.contains("257 * 1024") {
        Some(Ok("a".repeat(257 * 1024).into()))
    } else if source.contains("b'\"HelloWorld!\"'") {
        Some(Ok("HelloWorld!".into()))
    } else {
        Some(Ok(event.clone()))
    }
}

/// The functions of a case. What only AWS's own service puts into an answer (HTTP headers, stack
/// traces) is no business of the language; such cases are left out below, by name.
fn function(case: &Json) -> impl Fn(&TaskRequest) -> Work + '_ {
    move |request| {
        let (name, payload) = match &request.resource {
            Resource::Lambda(arn) => (
                arn.rsplit(':').next().unwrap_or_default().to_owned(),
                request.input.value().clone(),
            ),
            _ => {
                let input = request.input.value();
                let name = input.get("FunctionName").and_then(Value::as_str).unwrap_or_default();
                let name = name.rsplit(':').next().unwrap_or_default().to_owned();
                (name, input.get("Payload").cloned().unwrap_or_else(Value::empty_object))
            }
        };
        let source = case["lambdas"][&name]["handler_source"].as_str();
        let Some(source) = source else {
            let cause = format!(
                "Function not found: arn:aws:lambda:us-east-1:111111111111:function:{name}:$LATEST \
                 (Service: AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; \
                 Request ID: 0; Proxy: null)"
            );
            return Work::Answer("", Err(failure("Lambda.ResourceNotFoundException", cause)));
        };
        let direct = matches!(request.resource, Resource::Lambda(_));
        match handle(source, &payload, direct) {
            None => Work::Hang(""),
            Some(Err(failure)) => Work::Answer("", Err(failure)),
            Some(Ok(value)) if direct => Work::Answer("", Ok(value)),
            Some(Ok(value)) => {
                let version = ("ExecutedVersion", Value::from("$LATEST"));
                let status = ("StatusCode", Value::from(200i64));
                Work::Answer("", Ok(Value::object([version, ("Payload", value), status])))
            }
        }
    }
}

/// Cases that need more than the language, with the reason.
const NOT_PURE: &[(&str, &str)] = &[
    (
        "test_lambda_task.py::TestTaskLambda::test_invoke_pipe",
        "the source of its functions is not recorded",
    ),
    (
        "test_lambda_task_service.py::TestTaskServiceLambda::test_invoke",
        "HTTP headers of AWS's service",
    ),
    ("test_numbered_mock_responses_multiple_success_invocations", "HTTP headers of AWS's service"),
    ("[TASK_LAMBDA_SDK_RESOURCE_JSONPATH_TO_JSONATA]", "HTTP headers of AWS's service"),
    ("[TASK_LAMBDA_SDK_RESOURCE_JSONATA_TO_JSONPATH]", "HTTP headers of AWS's service"),
];

#[test]
fn executions_with_functions() {
    run_all("cases_lambda.json", |case| {
        let id = case["id"].as_str().unwrap_or_default();
        if let Some((name, reason)) = NOT_PURE.iter().find(|(name, _)| id.contains(name)) {
            eprintln!("skipped: {name}: {reason}");
            return Ok(());
        }
        run_case(case, &function(case))
    });
}

/// A recorded TestState request.
fn test_state(case: &Json) -> Result<(), String> {
    use ark_states::test_state::{
        Configuration, FieldValidation, InspectionLevel, Mock, Request, run,
    };
    let asked = &case["request"];
    let text = |key: &str| asked[key].as_str();
    let mock = &asked["mock"];
    let error_output = &mock["errorOutput"];
    let configuration = &asked["stateConfiguration"];
    let mut execution = info("{}", true);
    execution.role_arn = text("roleArn").unwrap_or_default().into();
    let request = Request {
        definition: text("definition").unwrap_or_default(),
        state_name: text("stateName"),
        input: text("input").unwrap_or("{}"),
        variables: text("variables"),
        context: text("context"),
        level: match text("inspectionLevel") {
            Some("DEBUG") => InspectionLevel::Debug,
            Some("TRACE") => InspectionLevel::Trace,
            _ => InspectionLevel::Info,
        },
        mock: mock["result"].as_str().map(|text| Mock::Result(text.to_owned())).or_else(|| {
            error_output.is_object().then(|| {
                let part = |key: &str| error_output[key].as_str().unwrap_or_default();
                Mock::Error(failure(part("error"), part("cause")))
            })
        }),
        field_validation: match mock["fieldValidationMode"].as_str() {
            Some("PRESENT") => FieldValidation::Present,
            Some("NONE") => FieldValidation::None,
            _ => FieldValidation::Strict,
        },
        configuration: Configuration {
            retrier_retry_count: configuration["retrierRetryCount"].as_u64().unwrap_or(0) as u32,
            map_iteration_failure_count: configuration["mapIterationFailureCount"]
                .as_u64()
                .unwrap_or(0),
            map_item_reader_data: configuration["mapItemReaderData"].as_str().map(str::to_owned),
            error_caused_by_state: None,
        },
        execution: &execution,
        now: execution.start_time,
        seed: 1,
        fuel: &ark_states::Fuel::ample(),
    };
    let got = run(&request).map_err(|error| format!("refused: {error}"))?.to_wire();
    let mut expected = case["expected"].clone();
    expected.as_object_mut().unwrap().remove("ResponseMetadata");
    // The recorder parsed some of the texts.
    let parsed = |value: &Json| {
        let members = value.as_object().unwrap().iter();
        Json::Object(members.map(|(key, value)| (key.clone(), unjson(value))).collect())
    };
    let flat = |value: &Json| {
        let mut value = parsed(value);
        if value["inspectionData"].is_object() {
            value["inspectionData"] = parsed(&value["inspectionData"]);
        }
        value
    };
    if same(&flat(&expected), &flat(&got), &[]) {
        Ok(())
    } else {
        Err(format!("{got}\n  wanted {expected}"))
    }
}

#[test]
fn tested_states() {
    run_all("teststate_cases.json", test_state);
}
