//! The specification of failures: who takes which, how long is waited, in which words they are told.

use ark_states::machine::{Event, TaskTimeout};
use ark_states::{Failure, Value};

use super::play::Play;
use super::specification::one;

/// The failure of the state `A`, entered by the second event.
fn worded(error: &str, cause: &str) -> Failure {
    let whole = format!(
        "An error occurred while executing the state 'A' (entered at the event id #2). {cause}"
    );
    Failure::new(error, whole)
}

#[test]
fn catchers_hand_on_the_error_in_both_languages() {
    let state = |rest: &str| format!(r#"{{"Type":"Task","Resource":"w","End":true,{rest}}}"#);
    for (rest, output) in [
        (r#""Catch":[{"ErrorEquals":["E"],"Next":"Z"}]"#, r#"{"Error":"E","Cause":"cause"}"#),
        (
            r#""InputPath":"$.a","Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":"$.e","Next":"Z"}]"#,
            r#"{"a":1,"e":{"Error":"E","Cause":"cause"}}"#,
        ),
        (
            r#""Catch":[{"ErrorEquals":["States.TaskFailed"],"ResultPath":null,"Next":"Z"}]"#,
            r#"{"a":1}"#,
        ),
        (
            r#""QueryLanguage":"JSONata","Catch":[{"ErrorEquals":["Other","E"],"Next":"Z"}]"#,
            r#"{"Error":"E","Cause":"cause"}"#,
        ),
        (
            r#""QueryLanguage":"JSONata","Output":"{% 'own' %}","Catch":[{"ErrorEquals":["E"],"Output":{"was":"{% $states.errorOutput.Error %}","in":"{% $states.input.a %}"},"Next":"Z"}]"#,
            r#"{"was":"E","in":1}"#,
        ),
    ] {
        let mut play = Play::start(&one(&state(rest)), r#"{"a":1}"#);
        let task = play.take().task;
        play.fail(task, "E").unwrap();
        assert_eq!(play.output(), output, "{rest}");
    }
    for (language, assign) in [
        ("JSONPath", r#"{"e.$":"$.Error"}"#),
        ("JSONata", r#"{"e":"{% $states.errorOutput.Error %}"}"#),
    ] {
        let machine = format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","QueryLanguage":"{language}","Resource":"w","End":true,
                "Assign":{{"e":"own","own":true}},"Catch":[{{"ErrorEquals":["E"],"Assign":{assign},"Next":"Z"}}]}},
                "Z":{{"Type":"Pass","QueryLanguage":"JSONata","Output":{{"e":"{{% $e %}}","own":"{{% $exists($own) %}}"}},"End":true}}}}}}"#
        );
        let mut play = Play::start(&machine, "{}");
        let task = play.take().task;
        play.fail(task, "E").unwrap();
        assert_eq!(play.output(), r#"{"e":"E","own":false}"#, "{language}");
    }
    // A catcher that fails is caught by nobody.
    let state = state(
        r#""QueryLanguage":"JSONata","Catch":[{"ErrorEquals":["E"],"Output":"{% $none %}","Next":"Z"},{"ErrorEquals":["States.ALL"],"Next":"Z"}]"#,
    );
    let mut play = Play::start(&one(&state), "{}");
    let task = play.take().task;
    play.fail(task, "E").unwrap();
    assert_eq!(play.failure().name(), "States.QueryEvaluationError");
}

#[test]
fn a_failing_field_is_retried_and_caught_where_that_may_help() {
    let state = |arguments: &str, rules: &str| {
        format!(
            r#"{{"Type":"Task","QueryLanguage":"JSONata","Resource":"w","Arguments":"{{% {arguments} %}}","End":true,{rules}}}"#
        )
    };
    let retry = r#""Retry":[{"ErrorEquals":["States.QueryEvaluationError"],"MaxAttempts":1}]"#;
    let mut play = Play::start(&one(&state("$none", retry)), "{}");
    assert_eq!(play.fire(), 1.0);
    assert_eq!(play.failure().name(), "States.QueryEvaluationError");
    assert_eq!(
        play.types(0),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "EvaluationFailed",
            "EvaluationFailed",
            "ExecutionFailed"
        ]
    );
    let details = &play.history[2].details;
    assert_eq!(details.location.as_deref(), Some("Arguments"));
    assert_eq!(details.state.as_deref(), Some("A"));
    let catch = r#""Catch":[{"ErrorEquals":["States.ALL"],"Next":"Z"}]"#;
    let play = Play::start(&one(&state("$none", catch)), "{}");
    let cause = "An error occurred while executing the state 'A' (entered at the event id #2). The \
                 JSONata expression '$none' specified for the field 'Arguments' returned nothing \
                 (undefined).";
    let output = Value::object([
        ("Error", Value::from("States.QueryEvaluationError")),
        ("Cause", Value::from(cause)),
    ]);
    assert_eq!(play.output(), output.to_json());
}

#[test]
fn retriers_count_wait_and_begin_anew() {
    let waits = |retry: &str, errors: &[&str]| {
        let state = format!(r#"{{"Type":"Task","Resource":"w","End":true,"Retry":{retry}}}"#);
        let mut play = Play::start(&one(&state), "{}");
        let mut waits = Vec::new();
        for error in errors {
            let task = play.take().task;
            play.fail(task, error).unwrap();
            if play.end.is_some() {
                break;
            }
            waits.push(play.fire());
        }
        waits
    };
    let all = ["E"; 9];
    for (retry, expected) in [
        (r#"[{"ErrorEquals":["E"]}]"#, &[1.0, 2.0, 4.0][..]),
        (r#"[{"ErrorEquals":["E"],"MaxAttempts":0}]"#, &[]),
        (r#"[{"ErrorEquals":["F"]}]"#, &[]),
        (r#"[{"ErrorEquals":["E"],"IntervalSeconds":3,"BackoffRate":1.0}]"#, &[3.0, 3.0, 3.0]),
        (r#"[{"ErrorEquals":["E"],"BackoffRate":1.5}]"#, &[1.0, 1.5, 2.25]),
        (
            r#"[{"ErrorEquals":["E"],"MaxAttempts":5,"MaxDelaySeconds":5}]"#,
            &[1.0, 2.0, 4.0, 5.0, 5.0],
        ),
        // The first that takes the error decides, also when it has no attempt left.
        (
            r#"[{"ErrorEquals":["E"],"MaxAttempts":1},{"ErrorEquals":["States.ALL"],"MaxAttempts":5}]"#,
            &[1.0],
        ),
    ] {
        assert_eq!(waits(retry, &all), expected, "{retry}");
    }
    // Left and entered again, a state has all its attempts.
    let machine = r#"{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"w","Retry":[{"ErrorEquals":["E"],"MaxAttempts":1}],"Next":"A"}}}"#;
    let mut play = Play::start(machine, "{}");
    for _ in 0..3 {
        let task = play.take();
        assert_eq!(task.retry_count, 0);
        play.fail(task.task, "E").unwrap();
        assert_eq!(play.fire(), 1.0);
        let task = play.take();
        assert_eq!(task.retry_count, 1);
        play.succeed(task.task, "{}").unwrap();
    }
}

#[test]
fn a_failed_branch_is_its_own_error_and_a_failed_branch() {
    let parallel = |rest: &str| {
        format!(
            r#"{{"Type":"Parallel","End":true,{rest},"Branches":[{{"StartAt":"B","States":{{"B":{{"Type":"Fail","Error":"E","Cause":"c"}}}}}}]}}"#
        )
    };
    for name in ["E", "States.BranchFailed", "States.TaskFailed", "States.ALL"] {
        let play = Play::start(
            &one(&parallel(&format!(r#""Catch":[{{"ErrorEquals":["{name}"],"Next":"Z"}}]"#))),
            "{}",
        );
        assert_eq!(play.output(), r#"{"Error":"E","Cause":"c"}"#, "{name}");
    }
    // Neither a task nor an iteration is a branch.
    for state in [
        r#"{"Type":"Map","End":true,"Catch":[{"ErrorEquals":["States.BranchFailed"],"Next":"Z"}],"ItemProcessor":
            {"StartAt":"B","States":{"B":{"Type":"Fail","Error":"E","Cause":"c"}}}}"#,
        r#"{"Type":"Parallel","End":true,"OutputPath":"$.none","Catch":[{"ErrorEquals":["States.BranchFailed"],"Next":"Z"}],
            "Branches":[{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}]}"#,
    ] {
        let play = Play::start(&one(state), "[1]");
        assert!(play.end.is_some() && play.types(0).contains(&"ExecutionFailed"), "{state}");
    }
}

#[test]
fn failures_have_awss_words() {
    let query = |field: &str, expression: &str, expected: &str, was: &str| {
        format!(
            "The JSONata expression '{expression}' specified for the field '{field}' returned an \
             unexpected result type. Expected '{expected}', but was {was}"
        )
    };
    let jsonata = "\"QueryLanguage\":\"JSONata\"";
    for (state, error, cause) in [
        (
            r#"{"Type":"Choice","Choices":[{"Variable":"$.a","IsNull":true,"Next":"Z"}]}"#.to_owned(),
            "States.NoChoiceMatched",
            "Failed to transition out of the state. The state does not point to a next state."
                .to_owned(),
        ),
        (
            r#"{"Type":"Choice","Choices":[{"Variable":"$.no.x","IsNull":true,"Next":"Z"}],"Default":"Z"}"#
                .to_owned(),
            "States.Runtime",
            "Invalid path '$.no.x': The choice state's condition path references an invalid value."
                .to_owned(),
        ),
        (
            format!(r#"{{"Type":"Choice",{jsonata},"Choices":[{{"Condition":"{{% 'yes' %}}","Next":"Z"}}]}}"#),
            "States.QueryEvaluationError",
            query("Choices[0]/Condition", "'yes'", "boolean", "'string' for value: \"yes\""),
        ),
        (
            r#"{"Type":"Pass","InputPath":"$.no","End":true}"#.to_owned(),
            "States.Runtime",
            "Invalid path '$.no' : No results for path: $['no']".to_owned(),
        ),
        (
            r#"{"Type":"Pass","OutputPath":"$.no.x","End":true}"#.to_owned(),
            "States.Runtime",
            "Invalid path '$.no.x' : Missing property in path $['no']".to_owned(),
        ),
        (
            r#"{"Type":"Pass","ResultPath":"$.a.b","End":true}"#.to_owned(),
            "States.ResultPathMatchFailure",
            "Unable to apply ReferencePath $.a.b to input {\"a\":1}".to_owned(),
        ),
        (
            r#"{"Type":"Pass","Parameters":{"x.$":"States.ArrayGetItem(States.Array(1), 5)"},"End":true}"#
                .to_owned(),
            "States.IntrinsicFailure",
            "The function 'States.ArrayGetItem(States.Array(1), 5)' had the following error: The index \
             5 is out of the bounds of an array of 1 items"
                .to_owned(),
        ),
        (
            format!(r#"{{"Type":"Wait",{jsonata},"Seconds":"{{% 'x' %}}","End":true}}"#),
            "States.QueryEvaluationError",
            query("Seconds", "'x'", "number", "'string' for value: \"x\""),
        ),
        (
            format!(r#"{{"Type":"Wait",{jsonata},"Seconds":"{{% -1 %}}","End":true}}"#),
            "States.QueryEvaluationError",
            "The Seconds field cannot be negative: -1".to_owned(),
        ),
        (
            format!(r#"{{"Type":"Pass",{jsonata},"Assign":"{{% 1 %}}","End":true}}"#),
            "States.QueryEvaluationError",
            query("Assign", "1", "object", "'number' for value: 1"),
        ),
        (
            format!(r#"{{"Type":"Pass",{jsonata},"Output":"{{% function($x) {{ $x }} %}}","End":true}}"#),
            "States.QueryEvaluationError",
            "The JSONata expression 'function($x) { $x }' specified for the field 'Output' returned \
             nothing (undefined)."
                .to_owned(),
        ),
        (
            format!(r#"{{"Type":"Pass",{jsonata},"Output":"{{% 1 / 0 + 1 %}}","End":true}}"#),
            "States.QueryEvaluationError",
            "The JSONata expression '1 / 0 + 1' specified for the field 'Output' threw an error during \
             evaluation. D1001: Number out of range: null"
                .to_owned(),
        ),
        (
            format!(
                r#"{{"Type":"Task",{jsonata},"Resource":"w","TimeoutSeconds":"{{% 0 %}}","End":true}}"#
            ),
            "States.QueryEvaluationError",
            "The TimeoutSeconds field must be between 1 and 99999999 but was: 0".to_owned(),
        ),
        (
            r#"{"Type":"Map","ItemsPath":"$.a","End":true,"ItemProcessor":{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}}"#
                .to_owned(),
            "States.Runtime",
            "Reference path \"$.a\" must point to array but was: 1".to_owned(),
        ),
    ] {
        let play = Play::start(&one(&state), r#"{"a":1}"#);
        assert_eq!(play.failure(), &worded(error, &cause), "{state}");
    }
}

/// A field of a rule or a catcher is named with its place in the state, in the cause and in the event.
#[test]
fn fields_of_rules_and_catchers_are_named_by_their_place() {
    let choice = |rule: &str| {
        format!(
            r#"{{"StartAt":"A","QueryLanguage":"JSONata","States":{{"A":{{"Type":"Choice","Choices":[
                {{"Condition":"{{% false %}}","Next":"B"}},{{"Condition":"{{% true %}}",{rule},"Next":"B"}}]}},
                "B":{{"Type":"Succeed"}}}}}}"#
        )
    };
    let catch = |fields: &str| {
        format!(
            r#"{{"StartAt":"A","QueryLanguage":"JSONata","States":{{"A":{{"Type":"Task","Resource":"w","End":true,
                "Arguments":"{{% $error('x') %}}","Catch":[{{"ErrorEquals":["E"],"Next":"B"}},
                {{"ErrorEquals":["States.ALL"],{fields},"Next":"B"}}]}},"B":{{"Type":"Succeed"}}}}}}"#
        )
    };
    for (machine, place) in [
        (choice(r#""Output":{"v":"{% $states.input.no %}"}"#), "Choices[1]/Output/v"),
        (choice(r#""Assign":{"x":"{% $states.input.no %}"}"#), "Choices[1]/Assign/x"),
        (catch(r#""Output":{"v":["{% $states.input.no %}"]}"#), "Catch[1]/Output/v[0]"),
        (catch(r#""Assign":{"x":"{% $states.input.no %}"}"#), "Catch[1]/Assign/x"),
    ] {
        let play = Play::start(&machine, "{}");
        let detail = format!(
            "The JSONata expression '$states.input.no' specified for the field '{place}' returned \
             nothing (undefined)."
        );
        let expected = worded("States.QueryEvaluationError", &detail);
        assert_eq!(play.failure(), &expected, "{machine}");
        let told = play.history.iter().rev().find_map(|event| event.details.location.clone());
        assert_eq!(told.as_deref(), Some(place), "{machine}");
    }
}

#[test]
fn a_fail_state_says_what_its_fields_say() {
    let fail = |fields: &str| {
        let state = format!(r#"{{"Type":"Fail"{fields}}}"#);
        let machine = format!(r#"{{"StartAt":"A","States":{{"A":{state}}}}}"#);
        Play::start(&machine, r#"{"e":"E","c":7}"#).failure().clone()
    };
    let (none, some) = (None, |text: &str| Some(text.into()));
    for (fields, error, cause) in [
        ("", none.clone(), none.clone()),
        (r#","Error":"X","Cause":"y""#, some("X"), some("y")),
        (r#","ErrorPath":"$.e""#, some("E"), none.clone()),
        (
            r#","ErrorPath":"States.Format('{}-{}', $.e, $$.State.Name)","CausePath":"States.JsonToString($)""#,
            some("E-A"),
            some(r#"{"e":"E","c":7}"#),
        ),
        (
            r#","QueryLanguage":"JSONata","Error":"{% $states.input.e %}","Cause":"{% $string($states.input.c) %}""#,
            some("E"),
            some("7"),
        ),
        (r#","QueryLanguage":"JSONata","Error":"plain""#, some("plain"), none),
    ] {
        assert_eq!(fail(fields), Failure { error, cause }, "{fields}");
    }
    assert_eq!(fail(r#","CausePath":"$.c""#).name(), "States.Runtime");
    assert_eq!(
        fail(r#","QueryLanguage":"JSONata","Cause":"{% $states.input.c %}""#).name(),
        "States.QueryEvaluationError"
    );
}

#[test]
fn times_of_tasks_come_from_literals_paths_and_expressions() {
    for (language, fields) in [
        ("JSONPath", r#""TimeoutSeconds":50,"HeartbeatSeconds":5"#),
        ("JSONPath", r#""TimeoutSecondsPath":"$.t","HeartbeatSecondsPath":"$.h""#),
        (
            "JSONata",
            r#""TimeoutSeconds":"{% $states.input.t %}","HeartbeatSeconds":"{% $states.input.h %}""#,
        ),
    ] {
        let state = format!(
            r#"{{"Type":"Task","QueryLanguage":"{language}","Resource":"w",{fields},"End":true}}"#
        );
        let mut play = Play::start(&one(&state), r#"{"t":50,"h":5}"#);
        let task = play.take();
        assert_eq!((task.timeout_seconds, task.heartbeat_seconds), (Some(50), Some(5)));
        let details = &play.history[2].details;
        assert_eq!((details.timeout_in_seconds, details.heartbeat_in_seconds), (Some(50), Some(5)));
        play.send(Event::TaskTimedOut { task: task.task, timeout: TaskTimeout::Total }).unwrap();
        assert_eq!(play.failure(), &Failure { error: Some("States.Timeout".into()), cause: None });
    }
    for (fields, input) in [
        (r#""TimeoutSecondsPath":"$.t""#, r#"{"t":0}"#),
        (r#""TimeoutSecondsPath":"$.t""#, r#"{"t":"5"}"#),
        (r#""TimeoutSecondsPath":"$.t""#, r#"{"t":1.5}"#),
        (r#""HeartbeatSecondsPath":"$.t""#, r#"{"t":100000000}"#),
        (r#""HeartbeatSecondsPath":"$.t""#, "{}"),
    ] {
        let state = format!(r#"{{"Type":"Task","Resource":"w",{fields},"End":true}}"#);
        assert_eq!(Play::start(&one(&state), input).failure().name(), "States.Runtime", "{input}");
    }
}
