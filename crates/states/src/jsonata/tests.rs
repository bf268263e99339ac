use super::*;
use crate::fuel::Fuel;
use crate::scope::{Context, Random, Variables};
use crate::value::Object;

macro_rules! json {
    ($($token:tt)*) => { Value::from(&serde_json::json!($($token)*)) };
}

fn eval(text: &str) -> Result<Value, EvalError> {
    eval_with(text, &Fuel::ample())
}

fn eval_with(text: &str, fuel: &Fuel) -> Result<Value, EvalError> {
    let expression =
        Expression::parse(text).map_err(|error| EvalError::Thrown(error.to_string()))?;
    let input = json!({
        "orders": [
            {"id": "o1", "items": [{"sku": "a", "price": 3, "n": 2}, {"sku": "b", "price": 5, "n": 1}]},
            {"id": "o2", "items": [{"sku": "a", "price": 4, "n": 4}]},
        ],
        "big": 9_007_199_254_740_993_i64,
    });
    let variables = Object::from_iter([("v".into(), json!({"x": [1, 2]}))]);
    let build = || json!({"State": {"Name": "S"}});
    expression.eval(&StatesBinding {
        input: &input,
        result: Some(&json!({"ok": true})),
        error_output: None,
        context: &Context::new(&build),
        variables: &Variables::new(vec![&variables]),
        random: &Random::new(7),
        fuel,
        now: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    })
}

#[test]
fn expressions_give_what_the_language_says() {
    let cases = [
        ("$states.input.orders.items.price", json!([3, 5, 4])),
        ("$states.input.orders[0].items[-1].sku", json!("b")),
        ("$states.input.orders[id='o2'].id", json!("o2")),
        ("$states.input.orders[id='o2'].id[]", json!(["o2"])),
        ("$sum($states.input.orders.items.(price * n))", json!(27)),
        ("$states.input.orders.items{sku: $sum(price)}", json!({"a": 7, "b": 5})),
        ("$states.input.orders.items^(>price).price", json!([5, 4, 3])),
        (
            "$states.input.orders.items.{'o': %.id, 's': sku}",
            json!([{"o": "o1", "s": "a"}, {"o": "o1", "s": "b"}, {"o": "o2", "s": "a"}]),
        ),
        (
            "$states.input.orders@$o.$o.items@$i[$i.price > 3].[$o.id, $i.sku]",
            json!(["o1", "b", "o2", "a"]),
        ),
        ("$states.input.orders#$i.items.($i & sku)", json!(["0a", "0b", "1a"])),
        ("$states.result.ok", json!(true)),
        ("$states.context.State.Name", json!("S")),
        ("$states.input.big", json!(9_007_199_254_740_993_i64)),
        ("$v.x", json!([1, 2])),
        ("1 + 2 * 3 - 4 / 2", json!(5)),
        ("0.1 + 0.2 & ''", json!("0.3")),
        ("[1..3]", json!([1, 2, 3])),
        ("$map([1..3], function($x) { $x * 2 }) ~> $sum", json!(12)),
        ("$range(1, 9, 9)", json!(1)),
        ("$range(0, 10, 3)", json!([0, 3, 6, 9])),
        ("$partition([1..5], 2)", json!([[1, 2], [3, 4], [5]])),
        ("$hash('input data', 'MD5')", json!("812f45842bc6d66ee14572ce20db8e86")),
        ("$parse('{\"a\": [1]}').a", json!([1])),
        ("$random(5) = $random(5)", json!(true)),
        // What java.util.Random gives, as Step Functions does.
        ("$random(42)", json!(0.727_563_680_032_868_1)),
        ("$random(0)", json!(0.730_967_787_376_657)),
        ("$random(0.9)", json!(0.730_967_787_376_657)),
        ("$random(-1)", json!(0.268_942_630_880_504_96)),
        ("$length($uuid())", json!(36)),
        ("$now()", json!("2026-01-02T03:04:05.678Z")),
        ("$millis()", json!(1_767_323_045_678_i64)),
        ("{'a': 1} ~> |$|{'b': a + 1}, 'a'|", json!({"b": 2})),
        (
            "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, $a + $n) }; $f(20000, 0))",
            json!(200_010_000),
        ),
        ("$replace('abc', /(b)(c)/, '$2$1')", json!("acb")),
        // Boundaries of words are ASCII's, as in JavaScript.
        ("$replace('éx', /\\Bx/, '')", json!("éx")),
        ("$replace('ax', /\\Bx/, '')", json!("a")),
        ("$replace('éx', /\\bx/, '')", json!("é")),
        (
            "$distinct([1, '1', 1.0, null, true, [1], [1], [2], 0, -0, null])",
            json!([1, "1", null, true, [1], [2], 0]),
        ),
        (
            "$distinct([{'a': 1, 'b': [2]}, {'b': [2], 'a': 1}, {'a': 1, 'b': [3]}])",
            json!([{"a": 1, "b": [2]}, {"a": 1, "b": [3]}]),
        ),
        ("$distinct([[[[[1]]]], [[[[2]]]], [[[[1]]]]])", json!([[[[[1]]]], [[[[2]]]]])),
        ("$count($distinct([$states.input.big, 9007199254740992, $states.input.big]))", json!(2)),
        ("$contains(\"hello$world\", /^hello\\$/)", json!(true)),
        ("$contains('hello$world', /^hello\\ /)", json!(false)),
        ("$formatNumber(12345.6, '#,###.00')", json!("12,345.60")),
        ("$formatInteger(2789, 'w')", json!("two thousand, seven hundred and eighty-nine")),
        (
            "$fromMillis(1510067557121, '[FNn], [D1o] [MNn] [Y]')",
            json!("Tuesday, 7th November 2017"),
        ),
        ("$toMillis('2017-11-07T15:07:54.972Z')", json!(1_510_067_274_972_i64)),
        ("$toMillis('2017-11-07T15:07:54')", json!(1_510_067_274_000_i64)),
        ("$toMillis('2017-11')", json!(1_509_494_400_000_i64)),
        ("$toMillis('2018-02-30')", json!(1_519_948_800_000_i64)),
        // A position where nothing is gives nothing.
        ("[$states.input.orders.none[0], $states.input.orders.none[-1]]", json!([])),
        // One item alone is not sorted: it stays what it was.
        ("$states.input.orders[0]^(id).id", json!("o1")),
        ("$states.input.orders[id='o2'].items^(price)", json!({"sku": "a", "price": 4, "n": 4})),
        ("$states.input.big^($)", json!(9_007_199_254_740_993_i64)),
        ("$spread([{'a': 1}])", json!([{"a": 1}])),
        ("$substring('array', $none, 1)", json!("")),
        ("$substring('array', $none)", json!("array")),
        ("$spread({'a': 1})", json!({"a": 1})),
        ("{'a': 4}.* / 2", json!(2)),
        ("([1..3])#$i.($ * $i)", json!([0, 2, 6])),
        ("[4, 5]#$i.**", json!([4, 5])),
        // A match of nothing is one, but there is no next behind it.
        ("$contains('abc', /x*/)", json!(true)),
        ("$match('', /x*/).index", json!(0)),
        ("$count($split('ab', /b|$/))", json!(2)),
        // A limit of pieces at a text is cut to a whole number, as JavaScript's split does; matches of
        // a pattern are counted up to it.
        ("$split('a, b, c, d', ', ', 2.5)", json!(["a", "b"])),
        ("$split('a, b, c, d', ', ', 0.5)", json!([])),
        ("$split('abcd', '', 2.5)", json!(["a", "b"])),
        ("$split('a, b, c, d', /, /, 2.5)", json!(["a", "b", "c"])),
    ];
    for (text, expected) in cases {
        let got = eval(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn nothing_is_told_from_null() {
    for text in
        ["$x", "$states.input.nope", "$states.errorOutput", "[1][5]", "()", "$sum", "$", "$$"]
    {
        assert_eq!(eval(text), Err(EvalError::Undefined), "{text}");
    }
    assert_eq!(eval("null"), Ok(Value::Null));
}

#[test]
fn errors_have_the_references_codes_and_texts() {
    for (text, expected) in [
        ("$eval('1')", "T1006: Attempted to invoke a non-function"),
        ("sum([1])", "T1005: Attempted to invoke a non-function. Did you mean $sum?"),
        ("'a' + 1", "T2001: The left side of the \"+\" operator must evaluate to a number"),
        ("$number('x')", "D3030: Unable to cast value to a number: \"x\""),
        ("$sum('a')", "T0412: Argument 1 of function \"sum\" must be an array of \"numbers\""),
        (
            "$uppercase(1)",
            "T0410: Argument 1 of function \"uppercase\" does not match function signature",
        ),
        ("$error('boom')", "D3137: boom"),
        ("$error('')", "D3137: $error() function evaluated"),
        ("$assert(false, '')", "D3141: $assert() statement failed"),
        ("$split('abc', /x*/)", "D1004: Regular expression matches zero length string"),
        ("$match('abc', /x*/, 1)", "D1004: Regular expression matches zero length string"),
        // What goes wrong on the right of these names them.
        (
            "false or 'a' + 1",
            "T2001: The left side of the \"or\" operator must evaluate to a number",
        ),
        (
            "true and $uppercase(1)",
            "T0410: Argument 1 of function \"and\" does not match function signature",
        ),
        (
            "$toMillis('2018-02-01T09:42Z')",
            "D3110: The argument of the toMillis function must be an ISO 8601 formatted timestamp. Given \"2018-02-01T09:42Z\"",
        ),
        ("1 2", "S0201: Syntax error: 2"),
        ("(1", "S0203: Expected \")\" before end of expression"),
        ("1 +", "S0207: Unexpected end of expression"),
        ("'a", "S0101: String literal must be terminated by a matching quote"),
        (
            "1 < 'a'",
            "T2009: The values 1 and \"a\" either side of operator \"<\" must be of the same data type",
        ),
    ] {
        assert_eq!(eval(text), Err(EvalError::Thrown(expected.to_owned())), "{text}");
    }
}

#[test]
fn hostile_expressions_are_stopped() {
    let double =
        "$f := function($x, $n) { $n = 0 ? $x : $f([[$x], [$x]], $n - 1) }; $a := $f(0, 60)";
    let nested = [
        "(".repeat(5_000),
        "-".repeat(5_000) + "1",
        "1".to_owned() + &"+1".repeat(50_000),
        format!("({double}; $a)"),
        format!("({double}; $a = $f(0, 60))"),
        format!("({double}; $string($a))"),
        format!("({double}; $a ~> |**|{{'x': 1}}|)"),
        format!("({double}; $a.**)"),
        format!("({double}; $states.input ~> |$|{{'x': $a}}|)"),
    ];
    // More patterns in turn than an evaluation keeps at hand.
    let many_patterns: String =
        (500..520).map(|n| format!("$contains('a', /(a?){{{n}}}b/),")).collect();
    let many_patterns = format!("$map([1..3000], function() {{ [{many_patterns} 1] }})");
    let hostile = [
        "($f := function($n) { 1 + $f($n + 1) }; $f(0))",
        "($f := function() { $f() }; $f())",
        "[1..1e9]",
        "($f := function($s) { $f($s & $s) }; $f('aaaaaaaa'))",
        "$pad('a', 1e9)",
        "$replace($pad('a', 100000, 'a'), 'a', $pad('b', 100000))",
        "($f := function($x) { $f([$x]) }; $f(1))",
        "($f := function($g) { $f(function() { $g }) }; $f(1))",
        "($f := function($g) { $f($g ~> $g) }; $f(function($x) { $x }))",
        "$parse($pad('[', 100000, '['))",
        "$range(0, 1e300, 1)",
        "/(a{1000}){1000}/",
        "$fromMillis(1e300)",
        "$map([1..1000000], function($x) { [1..1000000] })",
        "$sort([1..1000000], function($a, $b) { $a < $b })",
        // Much that is only gone through.
        "$replace($pad('', 100000, 'ab'), /[ab]*c|a/, '')",
        "$split($pad('', 100000, 'ab'), /(?:[ab]*c)?a/)",
        "($s := $pad('', 100000, 'ab'); $count($match($s, /[ab]*c|b/)))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { $length($s) }))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { $s < $s }))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { $s = $s }))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { $s in [$s, 1] }))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { $substringBefore($s, 'b') }))",
        "($s := $pad('', 500000, 'a'); $map([1..1000], function() { {$s: 1} }))",
        "($s := $pad('', 500000, 'a'); $sort($map([1..1000], function() { $s })))",
        "($s := $pad('', 500000, 'a'); [1..1000]^($s))",
        "($a := $map([1..10000], function() { '' }); $map([1..1000], function() { $join($a) }))",
        "($a := $parse('[' & $pad('', 100000, '0,') & '0]'); $map([1..1000], function() { $a ? 1 : 2 }))",
        "($a := [0..10000]; $a[$a])",
        // Groups of long matches, which are gone through with all states of the pattern.
        "($s := $pad('', 500000, 'a'); $count($match($s, /(a?){200}(a*)/)))",
        // Short texts, patterns of many states.
        "$map([1..1000000], function() { $contains('a', /(a?){5000}b/) })",
        &many_patterns,
        "($o := $merge($map([1..3000], function($i) { {$string($i): $i} })); $map([1..1000], function() { $o = $o }))",
    ];
    for text in hostile.into_iter().chain(nested.iter().map(String::as_str)) {
        let start = &text[..text.len().min(60)];
        assert!(matches!(eval(text), Err(EvalError::Thrown(_))), "{start}");
    }
    // A large answer within the budget of an execution, and beyond the smaller one of these tests.
    assert!(matches!(eval("[1..1000000].$states.input"), Err(EvalError::Thrown(_))));
    assert!(eval("$abs(-9223372036854775808)").is_ok() && eval("-(-9223372036854775808)").is_ok());
    assert_eq!(eval("$contains($pad('a', 50000, 'a'), /^(a+)+$/)"), Ok(Value::Bool(true)));
    assert_eq!(eval("$boolean($match('aaa', /(a*)*b/))"), Err(EvalError::Undefined));
    // What only looks hostile.
    assert_eq!(eval("$count($split($pad('', 20000, 'a,'), /,\\s*/))"), Ok(Value::from(10_001)));
    assert_eq!(eval("$trim($pad('', 1000000))"), Ok("".into()));
}

#[test]
fn a_pattern_of_many_states_is_paid_for_once() {
    let spent = |times: usize| {
        let fuel = Fuel::ample();
        let text = format!("$map([1..{times}], function() {{ $contains('a', /(a?){{5000}}b/) }})");
        assert!(eval_with(&text, &fuel).is_ok(), "{times}");
        fuel.spent()
    };
    let (once, often) = (spent(1), spent(1_001));
    assert!(once > 10_000 / 16, "{once}");
    assert!(often - once < 1_000 * 30, "{once} {often}");
    // It does not matter what was evaluated before.
    assert_eq!(spent(1), once);
}

/// A result says by name what no JSON number is; calculating with it fails, as in the reference.
#[test]
fn numbers_beyond_all_numbers_are_named() {
    for (text, expected) in [
        ("1/0", r#""Infinity""#),
        ("[-1/0, 0/0, 1]", r#"["-Infinity","NaN",1]"#),
        ("{'k': 1/0}", r#"{"k":"Infinity"}"#),
    ] {
        assert_eq!(eval(text).map(|value| value.to_json()), Ok(expected.to_owned()), "{text}");
    }
    for (text, code) in [("1/0 + 1", "D1001"), ("$string(1/0)", "D3001"), ("$abs(1/0)", "D1001")] {
        let refused = eval(text);
        assert!(
            matches!(&refused, Err(EvalError::Thrown(told)) if told.starts_with(code)),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn lists_of_thousands_are_within_the_budget() {
    for (text, expected) in [
        ("$count($distinct($map([1..4000], function($n) { $string($n) })))", 4_000),
        ("$count($distinct([1..4000].{'id': $}))", 4_000),
        ("($ids := [1..1000]; $count([1..2000][$ in $ids]))", 1_000),
    ] {
        assert_eq!(eval(text), Ok(Value::from(expected)), "{text}");
    }
}

#[test]
fn what_the_state_may_not_spend_any_more_is_the_expressions_error() {
    let fuel = Fuel::ample();
    fuel.burn(crate::limits::FUEL_SPENT_MAX + 1);
    let refused = eval_with("1", &fuel).unwrap_err();
    assert!(matches!(refused, EvalError::Thrown(_)), "{refused:?}");
    assert_eq!(refused.name(), crate::error::names::QUERY_EVALUATION_ERROR);
}
