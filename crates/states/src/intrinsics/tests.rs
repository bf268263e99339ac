use super::*;
use crate::fuel::Fuel;
use crate::scope::{Context, Random, Variables};
use crate::value::Object;

macro_rules! json {
    ($($token:tt)*) => { Value::from(&serde_json::json!($($token)*)) };
}

fn call(text: &str, input: &Value) -> Result<Value, EvalError> {
    let call = Call::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let build = || json!({"Execution": {"Name": "run-1-x"}});
    let variables = Object::from_iter([("v".into(), json!(7))]);
    call.eval(&Scope {
        input,
        context: &Context::new(&build),
        variables: &Variables::new(vec![&variables]),
        random: &Random::new(5),
        fuel: &Fuel::ample(),
    })
}

#[test]
fn every_function_does_what_is_documented() {
    let input = json!({
        "a": [1, 2, 3, 4, 5], "o": {"x": 1}, "s": "text", "n": null, "f": 1.1,
        "m": {"Arg1": 1, "Arg2": []}, "d": [1, 1.0, "1", [1], [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}, null, null],
    });
    let cases = [
        ("States.Array()", json!([])),
        ("States.Array('a', 1, null, $.s, $v, true)", json!(["a", 1, null, "text", 7, true])),
        ("States.ArrayPartition($.a, 2)", json!([[1, 2], [3, 4], [5]])),
        ("States.ArrayPartition($.a, 1.6)", json!([[1, 2], [3, 4], [5]])),
        ("States.ArrayContains($.a, 5)", json!(true)),
        ("States.ArrayContains($.d, States.StringToJson('\\{\"b\":2,\"a\":1\\}'))", json!(true)),
        ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
        ("States.ArrayRange(0, 10, 3)", json!([0, 3, 6, 9])),
        ("States.ArrayRange(1, 9, 9)", json!([1])),
        ("States.ArrayRange(5, 1, -2)", json!([5, 3, 1])),
        ("States.ArrayRange(5, 1, 2)", json!([])),
        ("States.ArrayGetItem($.a, 2)", json!(3)),
        ("States.ArrayLength($.a)", json!(5)),
        ("States.ArrayUnique($.d)", json!([1, "1", [1], {"a": 1, "b": 2}, null])),
        ("States.Base64Encode('Data to encode')", json!("RGF0YSB0byBlbmNvZGU=")),
        ("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", json!("Data to encode")),
        ("States.Base64Decode('')", json!("")),
        ("States.Base64Decode('RGF0YSB0byBlbmNvZGU')", json!("Data to encode")),
        ("States.Base64Decode('YQ')", json!("a")),
        ("States.Base64Decode('YR==')", json!("a")),
        ("States.Hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
        ("States.Hash('input data', 'MD5')", json!("812f45842bc6d66ee14572ce20db8e86")),
        (
            "States.JsonMerge($.o, States.StringToJson('\\{\"x\":2,\"y\":3\\}'), false)",
            json!({"x": 2, "y": 3}),
        ),
        ("States.StringToJson('')", json!(null)),
        ("States.StringToJson(' ')", json!(null)),
        ("States.StringToJson('-0')", json!(0)),
        ("States.StringToJson('1.1')", json!(1.1)),
        ("States.JsonToString($.m)", json!("{\"Arg1\":1,\"Arg2\":[]}")),
        ("States.JsonToString($.s)", json!("\"text\"")),
        ("States.MathAdd(1.49, 1.5)", json!(3)),
        ("States.MathAdd(-1.5, -1.51)", json!(-3)),
        ("States.MathAdd(-0.5, 0.5)", json!(1)),
        ("States.MathRandom(3, 4)", json!(3)),
        (
            "States.StringSplit('This.is+a,test=string', '.+,=')",
            json!(["This", "is", "a", "test", "string"]),
        ),
        ("States.StringSplit(', , ,', ',')", json!([" ", " "])),
        ("States.StringSplit(',,,,', ',')", json!([])),
        ("States.Format('no places')", json!("no places")),
        ("States.Format('{} and {}.', $.n, $.f)", json!("null and 1.1.")),
        ("States.Format('{}', $.m)", json!("{Arg1=1, Arg2=[]}")),
        ("States.Format('\\{\\}{}\\'\\\\', 'x')", json!("{}x'\\")),
        ("States.Format($.s)", json!("text")),
        (
            "States.ArrayGetItem(States.StringSplit($$.Execution.Name, '-'), \
             States.MathAdd(States.ArrayLength(States.StringSplit($$.Execution.Name, '-')), -1))",
            json!("x"),
        ),
    ];
    for (text, expected) in cases {
        let got = call(text, &input).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn a_seed_draws_the_same_number_again() {
    let draw = |text| call(text, &Value::Null).unwrap().as_i64().unwrap();
    let first = draw("States.MathRandom(0, 999, 3)");
    assert_eq!(first, draw("States.MathRandom(0, 999, 3)"));
    assert!((0..999).contains(&first));
    assert!((13..45).contains(&draw("States.MathRandom(12.5, 44.51)")));
    assert_eq!(call("States.UUID()", &Value::Null).unwrap().as_str().unwrap().len(), 36);
}

#[test]
fn what_a_function_cannot_do_is_an_intrinsic_failure() {
    let long = format!("States.Hash('{}', 'MD5')", "x".repeat(10_001));
    let cases = [
        "States.ArrayPartition('x', 2)",
        "States.ArrayPartition($.a, 0)",
        "States.ArrayPartition($.a, -1)",
        "States.ArrayContains(1, 1)",
        "States.ArrayRange(0, 1000, 1)",
        "States.ArrayRange(0, 1, 0)",
        "States.ArrayGetItem($.a, 9)",
        "States.ArrayGetItem($.a, -1)",
        "States.ArrayLength('x')",
        "States.Base64Decode('*')",
        "States.Base64Decode('YQ=')",
        "States.Base64Decode('YWJjZ')",
        "States.Hash('x', 'SHA-3')",
        "States.Hash($.a, 'MD5')",
        "States.JsonMerge($.o, $.o, true)",
        "States.JsonMerge($.a, $.o, false)",
        "States.StringToJson('{')",
        "States.MathAdd('1', 2)",
        "States.MathAdd(1e300, 2)",
        "States.MathRandom(2, 2)",
        "States.StringSplit(1, ',')",
        "States.Format('{}')",
        "States.Format('x', 1)",
        "States.Format(1)",
        &long,
    ];
    let input = json!({"a": [1], "o": {}});
    for text in cases {
        let error = call(text, &input).expect_err(text);
        assert_eq!(error.name(), "States.IntrinsicFailure", "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("The function '{text}' had")), "{error}");
    }
}

#[test]
fn a_missing_argument_is_told_in_the_recorded_words() {
    let error = call("States.Format('{}', $.nope)", &json!({"other": 1})).unwrap_err();
    assert_eq!(error.name(), "States.Runtime");
    assert_eq!(
        error.to_string(),
        "The function 'States.Format('{}', $.nope)' had the following error: The JsonPath argument \
         for the field '$.nope' could not be found in the input '{\"other\":1}'"
    );
}

#[test]
fn what_is_no_call_is_refused() {
    for text in [
        "",
        "States.Format",
        "States.Nope(1)",
        "Format('x')",
        "States.UUID(1)",
        "States.Format()",
        "States.Format('x",
        "States.Format('x',)",
        "States.Format('x') y",
        "States.MathAdd(1)",
        "States.Array(a)",
        "States.Format('\\\"')",
        "States.Format('\\')",
        "States.Array(\"a\")",
        "States.StringSplit('a', 'b')[0]",
    ] {
        assert!(Call::parse(text).is_err(), "{text}");
    }
    let nested = |depth: usize| format!("{}1{}", "States.Array(".repeat(depth), ")".repeat(depth));
    assert!(Call::parse(&nested(10)).is_ok());
    assert!(Call::parse(&nested(11)).is_err());
}
