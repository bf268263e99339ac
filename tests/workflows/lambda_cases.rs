//! The recorded executions that need functions, through AWS's own client: `lambda_cases.py` defines,
//! starts and looks at them as a user does, and works as their functions.

use serde_json::{Map, Value, json};

use crate::aws_clients::{clients, python, said};
use crate::client::Client;
use crate::exceptions::{Exception, judge};
use crate::harness::Ark;
use crate::recorded;
use crate::same::differences;

/// What the recording calls by these names is any text.
const NAMES: [&str; 4] =
    ["snf_role_arn", "sfn_role_arn", "lambda_function_1_name", "lambda_function_name"];
const AT_THE_DOOR: &str = "a result beyond the limit is refused when the worker sends it";
const EXCEPTIONS: [Exception; 5] = [
    Exception {
        test: "test_states_errors.py::TestStatesErrors::test_service_task_lambada_catch_state_all_data_limit_\
               exceeded_on_large_utf8_response#get_execution_history",
        differences: &[
            ".events[4].taskFailedEventDetails.cause: expected \"The state/task <x>\" got \"\"",
            ".events[4].taskFailedEventDetails.error: expected \"States.DataLimitExceeded\" got \
             \"ValidationException\"",
            ".output.Cause: expected \"The state/task <x>\" got \"\"",
            ".output.Error: expected \"States.DataLimitExceeded\" got \"ValidationException\"",
        ],
        why: AT_THE_DOOR,
    },
    Exception {
        test: "test_states_errors.py::TestStatesErrors::test_task_lambda_data_limit_exceeded_on_large_utf8_\
               response#get_execution_history",
        differences: &[
            ".events[4].lambdaFunctionFailedEventDetails.cause: expected \"The state/task <x>\" got \"\"",
            ".events[4].lambdaFunctionFailedEventDetails.error: expected \"States.DataLimitExceeded\" \
             got \"ValidationException\"",
            ".output.Cause: expected \"The state/task <x>\" got \"\"",
            ".output.Error: expected \"States.DataLimitExceeded\" got \"ValidationException\"",
        ],
        why: AT_THE_DOOR,
    },
    Exception {
        test: "test_task_service_lambda.py::TestTaskServiceLambda::test_no_such_function_catch\
               #get_execution_history",
        differences: &[
            ".events[4].taskFailedEventDetails.cause: expected \"Function not found: arn:<x>\" got \
             \"Function not found: no_such_<x>create it.\"",
            ".output.Cause: expected \"Function not found: arn:<x>\" got \"Function not found: \
             no_such_<x>create it.\"",
            ".output.task_failed_error.Cause: expected \"Function not found: arn:<x>\" got \
             \"Function not found: no_such_<x>create it.\"",
        ],
        why: "Ark says what to do about it",
    },
    Exception {
        test: "test_lambda_task.py::TestTaskLambda::test_invoke_pipe#get_execution_history",
        differences: &[
            ".cause: expected null got \"Function not found: <x>\"",
            ".error: expected null got \"Lambda.ResourceNotFoundException\"",
            ".events: expected 12 items got 6",
            ".events[4].lambdaFunctionSucceededEventDetails: expected <x> got nothing",
            ".events[4].type: expected \"LambdaFunctionSucceeded\" got \"LambdaFunctionFailed\"",
            ".events[4].lambdaFunctionFailedEventDetails: expected nothing got <x>",
            ".output: expected <x> got null",
            ".status: expected \"SUCCEEDED\" got \"FAILED\"",
        ],
        why: "the source of its functions is not recorded",
    },
    Exception {
        test: "test_lambda_task_service.py::TestTaskServiceLambda::test_invoke_unsupported_param\
               #get_execution_history",
        differences: &[
            ".events[4].taskSucceededEventDetails.output.LogResult: expected <x> got nothing",
            ".events[4].taskSucceededEventDetails.output.SdkHttpMetadata.AllHttpHeaders.\
             X-Amz-Log-Result: expected <x> got nothing",
            ".events[4].taskSucceededEventDetails.output.SdkHttpMetadata.HttpHeaders.\
             X-Amz-Log-Result: expected <x> got nothing",
            ".output.LogResult: expected <x> got nothing",
            ".output.SdkHttpMetadata.AllHttpHeaders.X-Amz-Log-Result: expected <x> got nothing",
            ".output.SdkHttpMetadata.HttpHeaders.X-Amz-Log-Result: expected <x> got nothing",
            ".output.final.LogResult: expected <x> got nothing",
            ".output.final.SdkHttpMetadata.AllHttpHeaders.X-Amz-Log-Result: expected <x> got nothing",
            ".output.final.SdkHttpMetadata.HttpHeaders.X-Amz-Log-Result: expected <x> got nothing",
        ],
        why: "LogType: the log of a worker is not Ark's to show",
    },
];

#[test]
fn recorded_executions_with_functions_end_as_recorded() {
    let (Some(bin), Some(file), Some(cases)) =
        (clients(), recorded::file("cases_lambda.json"), recorded::cases("cases_lambda.json"))
    else {
        return;
    };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/workflows/lambda_cases.py");
    let report = ark.dir.path().join("report.json");
    let (file, to) = (file.to_string_lossy(), report.to_string_lossy());
    let ran = python(&bin, &client, &[script, &client.base, &file, &to]);
    let text = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{}", said(&ran)));
    let ended: Vec<Value> = serde_json::from_str(&text).expect("a list");
    assert_eq!(ended.len(), cases.len(), "{}", said(&ran));
    let judged = cases.iter().zip(&ended).map(|(case, ended)| {
        assert_eq!(case["id"], ended["id"]);
        let name = case["id"].as_str().unwrap_or_default().to_owned();
        let names = NAMES.map(str::to_owned);
        (name, differences(&expected(case), &got(case, ended), &names))
    });
    judge(judged.collect(), &EXCEPTIONS);
}

/// What was recorded of the execution, and its events where they were recorded in their order.
fn expected(case: &Value) -> Value {
    let recorded = &case["expected"];
    let mut expected = Map::new();
    for member in ["status", "error", "cause"] {
        expected.insert(member.into(), recorded[member].clone());
    }
    if recorded["has_output"] == true {
        expected.insert("output".into(), recorded["output"].clone());
    }
    if let Some(events) = recorded["event_details"].as_array().filter(|_| in_order(case)) {
        let events = events.iter().map(|event| {
            let mut event = event.clone();
            event["previousEventId"] = event["prev"].take();
            event.as_object_mut().expect("an event").remove("prev");
            event
        });
        expected.insert("events".into(), events.collect());
    }
    expected.into()
}

/// The same of what came.
fn got(case: &Value, ended: &Value) -> Value {
    let execution = &ended["execution"];
    let mut got = Map::new();
    for member in ["status", "error", "cause"] {
        got.insert(member.into(), execution[member].clone());
    }
    if case["expected"]["has_output"] == true {
        let output = execution["output"].as_str().and_then(|text| serde_json::from_str(text).ok());
        got.insert("output".into(), output.unwrap_or_default());
    }
    if in_order(case) && case["expected"]["event_details"].is_array() {
        let mut events = ended["events"].clone();
        for event in events.as_array_mut().into_iter().flatten() {
            event.as_object_mut().expect("an event").remove("timestamp");
        }
        got.insert("events".into(), events);
    }
    json!(got)
}

/// Branches that run at once are told in no certain order.
fn in_order(case: &Value) -> bool {
    let needs = case["needs"].as_array().into_iter().flatten();
    case["expected"]["events_exact"] == true && needs.into_iter().all(|need| need != "Parallel")
}
