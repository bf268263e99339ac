//! Definitions that ask for too much: each ends in the error that fits, without writing or computing
//! what nobody may have. (Expressions by themselves: `jsonata/tests.rs`.)

use ark_states::{Definition, Value};
use serde_json::{Value as Json, json};

use super::play::Play;

/// The error of a machine of one state, and its cause.
#[track_caller]
fn fails(mut state: Json, input: &Json) -> (String, String) {
    state["End"] = true.into();
    let machine = json!({"StartAt": "S", "States": {"S": state}});
    let definition = Definition::from_value(&Value::from(&machine)).expect("a machine");
    let play = Play::start_of(definition, &input.to_string(), 1);
    let failure = play.failure();
    (failure.name().to_owned(), failure.cause.as_deref().unwrap_or_default().to_owned())
}

fn fields(count: usize, value: &str) -> Json {
    (0..count)
        .map(|at| (format!("f{at}.$"), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn many_copies_of_a_large_input_are_not_written_out() {
    let input = json!({"s": "x".repeat(200_000)});
    // Two gigabytes, were it written.
    let copies = fields(10_000, "$");
    for state in [
        json!({"Type": "Pass", "Parameters": copies}),
        json!({"Type": "Task", "Resource": "w", "Parameters": copies}),
        json!({"Type": "Pass", "Assign": copies}),
    ] {
        assert_eq!(fails(state, &input).0, "States.DataLimitExceeded");
    }
    let output: serde_json::Map<_, _> =
        (0..2_000).map(|at| (format!("f{at}"), json!("{% $states.input %}"))).collect();
    let state = json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": output});
    assert_eq!(fails(state, &input).0, "States.DataLimitExceeded");
}

#[test]
fn intrinsic_functions_make_no_endless_text_or_array() {
    let input = json!({"s": "x".repeat(200_000)});
    let many = |count: usize| vec!["$.s"; count].join(",");
    let format = format!("States.Format('{}',{})", "{}".repeat(1_000), many(1_000));
    let array = format!("States.Array({})", many(1_000));
    for (call, said) in [
        (format.clone(), "longer than"),
        (format!("States.ArrayLength(States.StringSplit({format}, ','))"), "longer than"),
        (format!("States.JsonToString({array})"), "longer than"),
        ("States.ArrayRange(0, 1000000000, 1)".to_owned(), "more than 1000 items"),
        ("States.ArrayRange(-9223372036854775808, 9223372036854775807, 1)".to_owned(), "items"),
        ("States.Hash($.s, 'MD5')".to_owned(), "longer than 10000 characters"),
        ("States.Base64Encode($.s)".to_owned(), "longer than 10000 characters"),
    ] {
        let state = json!({"Type": "Pass", "Parameters": {"a.$": call}});
        let (error, cause) = fails(state, &input);
        assert_eq!(error, "States.IntrinsicFailure", "{}", &cause[..cause.len().min(200)]);
        assert!(cause.contains(said), "{said}");
    }
    let state = json!({"Type": "Pass", "Parameters": {"a.$": array}});
    assert_eq!(fails(state, &input).0, "States.DataLimitExceeded");
    let nested = "States.Array(".repeat(11) + &")".repeat(11);
    let state = json!({"Type": "Pass", "Parameters": {"a.$": nested}, "End": true});
    let machine = json!({"StartAt": "S", "States": {"S": state}});
    assert!(Definition::from_value(&Value::from(&machine)).is_err());
}

#[test]
fn paths_look_at_no_more_than_they_may() {
    let deep = (0..900).fold(json!(1), |inner, _| json!({ "a": inner, "b": 1 }));
    for path in ["$..*..*..*", "$..a..a..a..b"] {
        let state = json!({"Type": "Pass", "Parameters": {"a.$": path}});
        let (error, cause) = fails(state, &deep);
        let is_bound = error == "States.DataLimitExceeded" || cause.contains("Invalid path");
        assert!(is_bound, "{path}: {error}");
    }
    let input = json!({"a": ["a".repeat(100_000)]});
    let state =
        json!({"Type": "Pass", "Parameters": {"a.$": "$.a[?(@ =~ /(a+)+b/)]"}, "End": true});
    let machine = json!({"StartAt": "S", "States": {"S": state}});
    assert_eq!(Play::start(&machine.to_string(), &input.to_string()).output(), r#"{"a":[]}"#);
}

/// The errors of expressions are those of the state.
#[test]
fn hostile_expressions_fail_their_state() {
    // Bounds of ours have no code.
    let memory = "threw an error during evaluation: The evaluation needs more than";
    let depth = "threw an error during evaluation: Stack overflow.";
    for (expression, told) in [
        ("($s := $pad('', 10000000, 'a'); $map([1..100], function() { $s & $s }))", memory),
        ("($f := function($n) { 1 + $f($n + 1) }; $f(0))", depth),
        ("$pad('a', 1000000000)", memory),
        ("[1..1000000000]", "threw an error during evaluation. D2014: "),
        ("$eval('1')", "threw an error during evaluation. T1006: "),
    ] {
        let output = format!("{{% {expression} %}}");
        let state = json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": output});
        let (error, cause) = fails(state, &json!({}));
        assert_eq!(error, "States.QueryEvaluationError", "{cause}");
        assert!(cause.contains(told), "{expression}: {cause}");
    }
}
