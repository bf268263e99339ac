//! Single behaviours that the recorded cases do not pin.

use ark_states::limits::{HISTORY_EVENTS_MAX, PAYLOAD_BYTES_MAX};
use ark_states::machine::{End, Event, MapItems, MapRunEnd, Refused, TaskTimeout};
use ark_states::test_state::{self, Configuration, InspectionLevel, TestStateError};
use ark_states::{Failure, Fuel};

use super::play::Play;

fn one(state: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{state},"Z":{{"Type":"Pass","End":true}}}}}}"#)
}

#[test]
fn the_documented_trace_of_retries() {
    let retry = r#"[{"ErrorEquals":["A","B"],"IntervalSeconds":1,"BackoffRate":2,"MaxAttempts":2},
                    {"ErrorEquals":["C"],"IntervalSeconds":5}]"#;
    let catch = r#"[{"ErrorEquals":["States.ALL"],"Next":"Z"}]"#;
    let mut play = Play::start(
        &one(&format!(
            r#"{{"Type":"Task","Resource":"w","End":true,"Retry":{retry},"Catch":{catch}}}"#
        )),
        "{}",
    );
    let mut waits = Vec::new();
    for error in ["A", "B", "C", "B"] {
        let task = play.take().task;
        play.fail(task, error).unwrap();
        waits.push(play.fire());
    }
    assert_eq!(waits, [1.0, 2.0, 5.0, 4.0]);
    assert_eq!(play.tasks[0].retry_count, 4);
    let task = play.take().task;
    play.fail(task, "B").unwrap();
    assert_eq!(play.output(), r#"{"Error":"B","Cause":"cause"}"#);
}

#[test]
fn a_wildcard_counts_all_errors_together() {
    let retry = r#"[{"ErrorEquals":["States.ALL"],"MaxAttempts":2,"MaxDelaySeconds":3,"IntervalSeconds":2,"JitterStrategy":"FULL"}]"#;
    let mut play = Play::start(
        &one(&format!(r#"{{"Type":"Task","Resource":"w","End":true,"Retry":{retry}}}"#)),
        "{}",
    );
    for (error, most) in [("X", 2.0), ("Y", 3.0)] {
        let task = play.take().task;
        play.fail(task, error).unwrap();
        let waited = play.fire();
        assert!((0.0..=most).contains(&waited), "{waited}");
    }
    let task = play.take().task;
    play.fail(task, "W").unwrap();
    assert_eq!(play.failure().name(), "W");
}

#[test]
fn who_takes_which_error() {
    let cases = [
        (r#"["States.ALL"]"#, "Any", true),
        (r#"["States.TaskFailed"]"#, "Any", true),
        (r#"["States.TaskFailed"]"#, "States.Timeout", false),
        (r#"["States.Timeout"]"#, "States.HeartbeatTimeout", true),
        (r#"["States.HeartbeatTimeout"]"#, "States.Timeout", false),
        (r#"["States.ALL"]"#, "States.Runtime", false),
        (r#"["States.Runtime"]"#, "States.Runtime", false),
        (r#"["Other"]"#, "Any", false),
    ];
    for (errors, error, caught) in cases {
        let catch = format!(r#"[{{"ErrorEquals":{errors},"Next":"Z"}}]"#);
        let state = format!(r#"{{"Type":"Task","Resource":"w","End":true,"Catch":{catch}}}"#);
        let mut play = Play::start(&one(&state), "{}");
        let task = play.take().task;
        play.fail(task, error).unwrap();
        assert_eq!(matches!(play.end, Some(End::Succeeded(_))), caught, "{errors} {error}");
    }
}

#[test]
fn a_late_answer_is_refused() {
    let mut play =
        Play::start(&one(r#"{"Type":"Task","Resource":"w","TimeoutSeconds":5,"End":true}"#), "{}");
    let task = play.take().task;
    play.send(Event::TaskTimedOut { task, timeout: TaskTimeout::Heartbeat }).unwrap();
    assert_eq!(play.failure().name(), "States.HeartbeatTimeout");
    assert_eq!(play.succeed(task, "1"), Err(Refused::WrongStatus));
    assert_eq!(
        play.send(Event::Stop { failure: Failure::new("E", "c") }),
        Err(Refused::WrongStatus)
    );
}

const PARALLEL: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
    {"StartAt":"T1","States":{"T1":{"Type":"Task","Resource":"w","End":true}}},
    {"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"Next":"T2"},
                             "T2":{"Type":"Task","Resource":"w","End":true}}},
    {"StartAt":"T3","States":{"T3":{"Type":"Task","Resource":"w","End":true}}}]}}}"#;

#[test]
fn the_first_failing_branch_aborts_the_others() {
    let mut play = Play::start(PARALLEL, "1");
    let (first, third) = (play.tasks[0].task, play.tasks[1].task);
    play.succeed(third, "3").unwrap();
    let before = play.history.len();
    play.fail(first, "E").unwrap();
    assert_eq!(
        play.types(before),
        ["ActivityFailed", "WaitStateAborted", "ParallelStateFailed", "ExecutionFailed"]
    );
    assert!(play.timers.is_empty(), "the wait's timer is cancelled");
}

#[test]
fn a_redrive_redoes_only_what_failed_or_was_aborted() {
    let mut play = Play::start(PARALLEL, "1");
    let (first, third) = (play.tasks[0].task, play.tasks[1].task);
    play.succeed(third, "3").unwrap();
    play.fail(first, "E").unwrap();
    let before = play.history.len();
    play.redrive();
    assert_eq!(play.types(before), ["ExecutionRedriven", "ActivityScheduled"]);
    let task = play.take().task;
    assert_ne!(task, first, "a new attempt has a new id");
    play.succeed(task, "1").unwrap();
    play.fire();
    let task = play.take().task;
    play.succeed(task, "2").unwrap();
    assert_eq!(play.output(), "[1,2,3]");
    assert_eq!(play.state.redrive_count(), 1);
    assert_eq!(play.send(Event::Redrive), Err(Refused::WrongStatus), "it ended well");
}

#[test]
fn a_redrive_keeps_iterations_that_succeeded() {
    let map = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,"MaxConcurrency":1,"ItemProcessor":
        {"StartAt":"T","States":{"T":{"Type":"Task","Resource":"w","End":true}}}}}}"#;
    let mut play = Play::start(map, "[1,2,3]");
    let task = play.take().task;
    play.succeed(task, r#""a""#).unwrap();
    let task = play.take().task;
    play.fail(task, "E").unwrap();
    assert_eq!(
        play.types(play.history.len() - 3),
        ["MapIterationFailed", "MapStateFailed", "ExecutionFailed"]
    );
    play.redrive();
    for output in [r#""b""#, r#""c""#] {
        let task = play.take().task;
        play.succeed(task, output).unwrap();
    }
    assert_eq!(play.output(), r#"["a","b","c"]"#);
}

#[test]
fn results_are_limited_to_256_kib_to_the_byte() {
    for (bytes, fits) in [(PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false)] {
        let text = format!("\"{}\"", "x".repeat(bytes - 2));
        let mut play = Play::start(&one(r#"{"Type":"Task","Resource":"w","End":true}"#), "{}");
        let task = play.take().task;
        play.succeed(task, &text).unwrap();
        if fits {
            assert_eq!(play.output(), text);
        } else {
            assert_eq!(play.failure().name(), "States.DataLimitExceeded");
            assert_eq!(
                play.failure().cause.as_deref(),
                Some(
                    "The state/task 'w' returned a result with a size exceeding the maximum number of bytes service limit."
                )
            );
        }
        // A state's own output.
        let pass = one(r#"{"Type":"Pass","Parameters":{"a.$":"$"},"OutputPath":"$.a","End":true}"#);
        let play = Play::start(&pass, &text);
        assert_eq!(matches!(play.end, Some(End::Succeeded(_))), fits);
    }
}

#[test]
fn an_endless_loop_ends_at_the_last_event() {
    let machine = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"A"}}}"#;
    let play = Play::start(machine, "{}");
    assert!(play.yields > 10, "it lets others go on");
    assert_eq!(play.history.len() as u64, HISTORY_EVENTS_MAX);
    assert_eq!(
        play.failure(),
        &Failure::new(
            "States.Runtime",
            "The execution reached the maximum number of history events (25000)."
        )
    );
}

/// Whatever other branches wait for ends with it, and what comes for them later finds nothing.
#[test]
fn the_last_event_ends_what_other_branches_wait_for() {
    let machine = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
        {"StartAt":"T","States":{"T":{"Type":"Task","Resource":"w","End":true}}},
        {"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"End":true}}},
        {"StartAt":"H","States":{"H":{"Type":"Task","Resource":"hold","Next":"A"},
            "A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"A"}}}]}}}"#;
    let mut play = Play::start(machine, "{}");
    let (waits, loops) = (play.tasks[0].task, play.tasks[1].task);
    assert_eq!((play.tasks.len(), play.timers.len()), (2, 1));
    play.succeed(loops, "{}").unwrap();
    assert_eq!(play.history.len() as u64, HISTORY_EVENTS_MAX);
    assert_eq!(play.types(play.history.len() - 1), ["ExecutionFailed"]);
    assert_eq!(play.failure().name(), "States.Runtime");
    assert!(play.tasks.is_empty() && play.timers.is_empty(), "nothing is open");
    assert_eq!(play.succeed(waits, "{}"), Err(Refused::WrongStatus));
}

/// Both languages' ways of saying what a task gets; a letter of two bytes counts as two.
#[test]
fn what_a_task_gets_is_limited_to_256_kib_to_the_byte() {
    let path = r#"{"Type":"Task","Resource":"w","Parameters":{"a.$":"$.text"},"End":true}"#;
    let jsonata = r#"{"Type":"Task","QueryLanguage":"JSONata","Resource":"w",
        "Arguments":{"a":"{% $states.input.text %}"},"End":true}"#;
    let frame = r#"{"a":""}"#.len();
    for state in [path, jsonata] {
        for letter in ["x", "é"] {
            for (bytes, fits) in [(PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false)] {
                let long = (bytes - frame) / letter.len();
                let odd = "y".repeat((bytes - frame) % letter.len());
                let input = format!(r#"{{"text":"{}{odd}"}}"#, letter.repeat(long));
                let play = Play::start(&one(state), &input);
                if fits {
                    assert_eq!(play.tasks[0].input.text().len(), bytes, "{letter} {state}");
                } else {
                    assert_eq!(
                        play.failure().name(),
                        "States.DataLimitExceeded",
                        "{letter} {state}"
                    );
                    assert!(!play.types(0).iter().any(|name| name.ends_with("Scheduled")));
                }
            }
        }
    }
}

#[test]
fn a_growing_value_is_refused_before_it_is_too_deep_to_handle() {
    let machine =
        r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"a.$":"$"},"Next":"A"}}}"#;
    let play = Play::start(machine, "{}");
    assert_eq!(play.failure().name(), "States.DataLimitExceeded");
}

#[test]
fn the_machines_timeout_ends_whatever_runs() {
    let machine = r#"{"TimeoutSeconds":5,"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":60,"End":true}}}"#;
    let mut play = Play::start(machine, "{}");
    assert_eq!(play.fire(), 5.0);
    assert!(matches!(play.end, Some(End::TimedOut(_))));
    assert_eq!(play.types(2), ["ExecutionTimedOut"]);
}

#[test]
fn inner_variables_end_with_their_scope_and_hide_outer_ones() {
    let machine = r#"{"StartAt":"S","States":{
        "S":{"Type":"Pass","Assign":{"x":1,"y":2},"Next":"M"},
        "M":{"Type":"Map","Next":"E","ItemProcessor":{"StartAt":"I","States":{
            "I":{"Type":"Pass","Assign":{"x":9},"Next":"J"},
            "J":{"Type":"Pass","Parameters":{"x.$":"$x","y.$":"$y"},"End":true}}}},
        "E":{"Type":"Pass","Parameters":{"x.$":"$x","all.$":"$"},"End":true}}}"#;
    let play = Play::start(machine, "[0]");
    assert_eq!(play.output(), r#"{"x":1,"all":[{"x":9,"y":2}]}"#);
}

#[test]
fn a_distributed_map_hands_over_selected_and_batched_items() {
    let machine = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,"Label":"L","MaxConcurrency":7,
        "ItemSelector":{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value"},
        "ItemBatcher":{"MaxItemsPerBatch":2,"BatchInput":{"k":1}},
        "ToleratedFailureCount":3,
        "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
            "StartAt":"I","States":{"I":{"Type":"Pass","End":true}}}}}}"#;
    let mut play = Play::start(machine, r#"["a","b","c"]"#);
    let request = play.map_runs.remove(0);
    let MapItems::Inputs(inputs) = &request.items else { panic!("{request:?}") };
    let inputs: Vec<&str> = inputs.iter().map(|input| &**input.text()).collect();
    assert_eq!(
        inputs,
        [
            r#"{"BatchInput":{"k":1},"Items":[{"i":0,"v":"a"},{"i":1,"v":"b"}]}"#,
            r#"{"BatchInput":{"k":1},"Items":[{"i":2,"v":"c"}]}"#,
        ]
    );
    assert!(request.express);
    assert_eq!((request.max_concurrency, request.tolerated_failure_count), (7, 3));
    assert!(request.arn.starts_with("arn:aws:states:us-east-1:111111111111:mapRun:machine-1/L:"));
    let end = MapRunEnd::Failed(Failure::new("States.ExceedToleratedFailureThreshold", "c"));
    play.send(Event::MapRunFinished { map_run: request.map_run, end }).unwrap();
    assert_eq!(
        play.types(play.history.len() - 3),
        ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]
    );
    // The run itself is redriven, not made anew.
    play.redrive();
    assert_eq!(play.redriven, [request.map_run]);
    assert_eq!(play.types(play.history.len() - 2), ["ExecutionRedriven", "MapRunRedriven"]);
}

#[test]
fn a_map_run_is_aborted_with_its_branch() {
    let machine = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
        {"StartAt":"M","States":{"M":{"Type":"Map","End":true,"ItemProcessor":
            {"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
             "StartAt":"I","States":{"I":{"Type":"Pass","End":true}}}}}},
        {"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E"}}}]}}}"#;
    let play = Play::start(machine, "[1]");
    assert_eq!(play.failure().name(), "E");
    let types = play.types(0);
    let at = types.iter().position(|kind| *kind == "MapRunAborted").expect("an event");
    assert_eq!(types[at + 1], "MapStateAborted");
    assert!(play.map_runs.is_empty(), "it is stopped");
}

#[test]
fn numbers_keep_their_text() {
    let play = Play::start(
        &one(r#"{"Type":"Pass","End":true}"#),
        "{ \"n\": 9007199254740993, \"b\": 123456789012345678901234567890 }",
    );
    assert_eq!(play.output(), r#"{"n":9007199254740993,"b":123456789012345678901234567890}"#);
    assert_eq!(
        play.history[0].details.input.as_deref(),
        Some("{ \"n\": 9007199254740993, \"b\": 123456789012345678901234567890 }")
    );
}

#[test]
fn a_redrive_does_over_a_state_whose_own_output_failed() {
    for state in [
        r#"{"Type":"Parallel","OutputPath":"$.none","End":true,"Branches":[
            {"StartAt":"T","States":{"T":{"Type":"Task","Resource":"w","End":true}}}]}"#,
        r#"{"Type":"Map","ItemsPath":"$.items","OutputPath":"$.none","End":true,"ItemProcessor":
            {"StartAt":"T","States":{"T":{"Type":"Task","Resource":"w","End":true}}}}"#,
    ] {
        let mut play = Play::start(&one(state), r#"{"items":[1]}"#);
        let task = play.take().task;
        play.succeed(task, "1").unwrap();
        assert_eq!(play.failure().name(), "States.Runtime");
        play.redrive();
        assert_eq!(play.tasks.len(), 1, "its work is done over");
    }
    let map = r#"{"Type":"Map","ItemsPath":"$.items","OutputPath":"$.none","End":true,"ItemProcessor":
        {"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
         "StartAt":"T","States":{"T":{"Type":"Pass","End":true}}}}"#;
    let mut play = Play::start(&one(map), r#"{"items":[1]}"#);
    let map_run = play.map_runs.remove(0).map_run;
    let end = MapRunEnd::Succeeded(ark_states::Document::new(ark_states::Value::array([])));
    play.send(Event::MapRunFinished { map_run, end }).unwrap();
    play.redrive();
    assert_ne!(play.map_runs[0].map_run, map_run);
}

#[test]
fn deep_definitions_and_inputs_are_read() {
    let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let state = format!(r#"{{"Type":"Pass","Parameters":{},"End":true}}"#, deep(900));
    let play = Play::start(&one(&state), &deep(900));
    assert_eq!(play.output(), deep(900));
    let branch = |inner: &str| {
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Parallel","End":true,"Branches":[{inner}]}}}}}}"#
        )
    };
    let mut machine = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#.to_owned();
    for _ in 0..40 {
        machine = branch(&machine);
    }
    assert_eq!(
        Play::start(&machine, "1").output(),
        format!("{}1{}", "[".repeat(40), "]".repeat(40))
    );
    for _ in 0..100 {
        machine = branch(&machine);
    }
    assert!(ark_states::Definition::parse(&machine).is_err());
}

#[test]
fn paths_that_lead_nowhere_are_worded_by_their_field() {
    let cases = [
        (
            r#"{"Type":"Wait","SecondsPath":"$.none","End":true}"#,
            "{}",
            "The SecondsPath parameter does not reference an input value: $.none",
        ),
        (
            r#"{"Type":"Wait","TimestampPath":"$.none","End":true}"#,
            "{}",
            "The TimestampPath parameter does not reference an input value: $.none",
        ),
        (
            r#"{"Type":"Pass","Parameters":{"a.$":"$.none"},"End":true}"#,
            r#"{ "z": 1, "b": 2 }"#,
            r#"The JSONPath '$.none' specified for the field 'a.$' could not be found in the input '{"z":1,"b":2}'"#,
        ),
        (
            r#"{"Type":"Pass","Parameters":{"a.$":"$"},"End":true}"#,
            "null",
            "Unable to apply Path transformation to null or empty input.",
        ),
        (
            r#"{"Type":"Wait","Seconds":999999999,"End":true}"#,
            "{}",
            "Wait state delay is too long.",
        ),
    ];
    for (state, input, cause) in cases {
        let play = Play::start(&one(state), input);
        let whole = format!(
            "An error occurred while executing the state 'A' (entered at the event id #2). {cause}"
        );
        assert_eq!(play.failure(), &Failure::new("States.Runtime", whole));
    }
}

#[test]
fn a_map_whose_selector_fails_leaves_nothing_running() {
    let map = r#"{"Type":"Map","ItemSelector":{"x.$":"$$.Map.Item.Value.x"},"End":true,
        "Retry":[{"ErrorEquals":["States.IntrinsicFailure"]}],
        "ItemProcessor":{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"w","End":true}}}}"#;
    let mut play = Play::start(&one(map), r#"[{"x":1},{"y":2}]"#);
    assert_eq!(play.failure().name(), "States.Runtime");
    assert!(play.tasks.is_empty());
    play.redrive();
    assert_eq!(play.failure().name(), "States.Runtime");
}

#[test]
fn a_state_that_costs_more_than_is_granted_is_not_tested() {
    let definition = r#"{"Type":"Pass","QueryLanguage":"JSONata","End":true,
        "Output":"{% $count([1..10000].($ * 2)) %}"}"#;
    let info = super::driver::info("{}", true);
    let test = |fuel: &Fuel| {
        let request = test_state::Request {
            definition,
            state_name: None,
            input: "{}",
            variables: None,
            context: None,
            level: InspectionLevel::Info,
            mock: None,
            field_validation: test_state::FieldValidation::default(),
            configuration: Configuration::default(),
            execution: &info,
            now: info.start_time,
            seed: 1,
            fuel,
        };
        test_state::run(&request)
    };
    let enough = test(&Fuel::of(1_000_000)).unwrap();
    assert_eq!(enough.output.unwrap().text().to_string(), "10000");
    let refused = test(&Fuel::of(5_000)).unwrap_err();
    assert!(matches!(&refused, TestStateError::Validation(why) if why.contains("costs more")));
}
