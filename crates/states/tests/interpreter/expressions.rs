//! Any text as a path, a call, a choice rule, an expression or a definition: it is refused or gives an
//! answer, the same one twice, and nothing panics. The texts are strung together from the words of
//! each language, so that many of them parse.

use ark_states::choice::Condition;
use ark_states::intrinsics::Call;
use ark_states::jsonata::Expression;
use ark_states::jsonpath::{Path, ReferencePath};
use ark_states::scope::{Context, Random, Scope, StatesBinding, Variables};
use ark_states::validate::{MachineKind, validate};
use ark_states::value::Object;
use ark_states::{Definition, EvalError, Fuel, Value};
use proptest::prelude::*;
use serde_json::json;

const INPUT: &str = r#"{"a":[1,2.5,-9223372036854775808,1e308,"x",null,{"b":[{"c":"d"}]}],"s":"2016-08-18T17:33:00Z","":{}}"#;

const PATH: &[&str] = &[
    "$",
    "$$",
    "$v",
    ".a",
    ".s",
    ".b",
    "..",
    ".*",
    "[*]",
    "[0]",
    "[-1]",
    "[",
    "]",
    "0",
    ":",
    "1",
    "-9223372036854775808",
    "9223372036854775807",
    "99999999999999999999",
    ",",
    "'a'",
    "['']",
    "?(",
    "@",
    "@.c",
    "==",
    "=~",
    "/x/i",
    "/(",
    "&&",
    "||",
    "!",
    "<",
    " in ",
    " nin ",
    ")",
    "(",
    ".length()",
    ".min()",
    ".sum()",
    ".keys()",
    "'",
    "\\",
    "\"",
    "é",
    "\u{0}",
    " ",
];

const CALL: &[&str] = &[
    "States.Array(",
    "States.ArrayPartition(",
    "States.ArrayRange(",
    "States.ArrayGetItem(",
    "States.ArrayUnique(",
    "States.ArrayContains(",
    "States.ArrayLength(",
    "States.Format('{}{',",
    "States.Base64Encode(",
    "States.Base64Decode(",
    "States.Hash(",
    "States.JsonMerge(",
    "States.StringToJson(",
    "States.JsonToString(",
    "States.MathAdd(",
    "States.MathRandom(",
    "States.StringSplit(",
    "States.UUID(",
    "$",
    "$.a",
    "$.a[*]",
    "$$.x",
    "$v",
    "'{}'",
    "'MD5'",
    "'",
    "\\",
    "0",
    "-1",
    "1.5",
    "1e308",
    "-9223372036854775808",
    "9223372036854775807",
    "null",
    "true",
    "false",
    ",",
    ",",
    ")",
    ")",
    " ",
];

const JSONATA: &[&str] = &[
    "$states.input",
    "$states",
    "$v",
    "$",
    "$$",
    ".",
    ".a",
    "a",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ":",
    ";",
    ",",
    "*",
    "**",
    "%",
    "+",
    "-",
    "/",
    "&",
    "=",
    "!=",
    "<",
    ">=",
    " in ",
    " and ",
    " or ",
    "..",
    "?",
    "~>",
    ":=",
    "@$i",
    "#$i",
    "^(",
    "|",
    "function($x){",
    "$x",
    "$map(",
    "$reduce(",
    "$sort(",
    "$string(",
    "$number(",
    "$split(",
    "$replace(",
    "$match(",
    "$pad(",
    "$formatNumber(",
    "$formatInteger(",
    "$parseInteger(",
    "$toMillis(",
    "$fromMillis(",
    "$substring(",
    "$abs(",
    "$round(",
    "$power(",
    "$formatBase(",
    "$range(",
    "$partition(",
    "$parse(",
    "$merge(",
    "$each(",
    "$join(",
    "'x'",
    "'#,##0.00;(#)'",
    "'[Y0001]-[M]'",
    "\"",
    "/x+/",
    "/(",
    "0",
    "1",
    "2",
    "-1",
    "1e308",
    "9223372036854775807",
    "1e-320",
    "null",
    "true",
    "'\u{1f600}'",
    "é",
    " ",
    "`",
    "\\",
];

const RULE: &[&str] = &[
    "And",
    "Or",
    "Not",
    "Variable",
    "Next",
    "StringMatches",
    "StringEqualsPath",
    "IsPresent",
    "NumericLessThan",
    "TimestampEquals",
    "TimestampGreaterThanPath",
    "BooleanEquals",
    "IsNull",
];

const DEFINITION: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"StartAt\":\"A\"",
    "\"States\":{\"A\":",
    "\"Type\":",
    "\"Map\"",
    "\"Task\"",
    "\"Choice\"",
    "\"Pass\"",
    "\"Wait\"",
    "\"Parallel\"",
    "\"Branches\":",
    "\"Retry\":",
    "\"ItemProcessor\":",
    "\"ProcessorConfig\":",
    "\"ItemReader\":",
    "\"Label\":",
    "\"Choices\":",
    "\"ErrorEquals\":",
    "\"Parameters\":",
    "\"p.$\":",
    "\"$.a\"",
    "\"{% 1 + %}\"",
    "\"{%%}\"",
    "\"End\":true",
    "\"QueryLanguage\":\"JSONata\"",
    "\"A\"",
    "null",
    "1",
    "-1",
    "1e999",
    "\"é\"",
];

fn soup(words: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 1..most).prop_map(|words| words.concat())
}

/// The answer of `ask` within a scope, the same whenever it is asked.
fn twice<T: PartialEq + std::fmt::Debug>(ask: impl Fn(&Scope<'_>) -> T) {
    let input = Value::parse(INPUT).unwrap();
    let variables = Object::from_iter([("v".into(), input.clone())]);
    let build = || Value::from(&json!({"x": 1}));
    let answer = || {
        ask(&Scope {
            input: &input,
            context: &Context::new(&build),
            variables: &Variables::new(vec![&variables]),
            random: &Random::new(3),
            fuel: &Fuel::ample(),
        })
    };
    assert_eq!(answer(), answer());
}

fn jsonata(text: &str) -> Option<Result<Value, EvalError>> {
    let expression = Expression::parse(text).ok()?;
    let input = Value::parse(INPUT).unwrap();
    let variables = Object::from_iter([("v".into(), input.clone())]);
    let build = || Value::from(&json!({"x": 1}));
    Some(expression.eval(&StatesBinding {
        input: &input,
        result: None,
        error_output: None,
        context: &Context::new(&build),
        variables: &Variables::new(vec![&variables]),
        random: &Random::new(7),
        fuel: &Fuel::ample(),
        now: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }))
}

/// A choice rule from numbers, `depth` rules deep at most.
fn rule(numbers: &mut impl Iterator<Item = u32>, depth: u32) -> serde_json::Value {
    let mut members = serde_json::Map::new();
    for _ in 0..1 + numbers.next().unwrap_or(0) % 3 {
        let name = RULE[numbers.next().unwrap_or(0) as usize % RULE.len()];
        let value = match numbers.next().unwrap_or(0) % 10 {
            0 | 1 if depth > 0 => json!([rule(numbers, depth - 1), rule(numbers, depth - 1)]),
            2 if depth > 0 => rule(numbers, depth - 1),
            3 => json!("$.s"),
            4 => json!("$.a[?(@.b)]"),
            5 => json!("*\\\\*x"),
            6 => json!(true),
            7 => json!(-1.5),
            8 => json!("2016-08-18T17:33:00Z"),
            _ => json!("$.a[0]"),
        };
        members.insert(name.to_owned(), value);
    }
    members.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_path_answers(text in soup(PATH, 10), tail in ".{0,6}") {
        for text in [format!("${text}"), format!("{text}{tail}")] {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(path.text(), &text);
                twice(|scope| path.eval(scope));
            }
            if let Ok(path) = ReferencePath::parse(&text) {
                twice(|scope| path.put(scope.input, Value::Null));
            }
        }
    }

    #[test]
    fn any_call_answers(text in soup(CALL, 8), tail in ".{0,6}") {
        let open = text.matches('(').count().saturating_sub(text.matches(')').count());
        for text in [format!("{text}{}", ")".repeat(open)), format!("{text}{tail}")] {
            if let Ok(call) = Call::parse(&text) {
                twice(|scope| call.eval(scope));
            }
        }
    }

    #[test]
    fn any_rule_answers(numbers in prop::collection::vec(any::<u32>(), 1..24)) {
        let rule = Value::from(&rule(&mut numbers.into_iter(), 3));
        if let Ok(condition) = Condition::parse(rule.as_object().unwrap()) {
            twice(|scope| condition.eval(scope));
        }
    }

    #[test]
    fn any_expression_answers(text in soup(JSONATA, 12), tail in ".{0,6}") {
        let count = |c| text.matches(c).count();
        let brackets = "]".repeat(count('[').saturating_sub(count(']')));
        let braces = "}".repeat(count('{').saturating_sub(count('}')));
        let parens = ")".repeat(count('(').saturating_sub(count(')')));
        for text in [format!("{text}{braces}{brackets}{parens}"), format!("{text}{tail}")] {
            prop_assert_eq!(jsonata(&text), jsonata(&text));
        }
    }

    #[test]
    fn any_definition_is_judged(text in soup(DEFINITION, 24), tail in ".{0,6}") {
        let opened = format!("{{\"StartAt\":\"A\",\"States\":{{\"A\":{{{text}");
        let mut open = Vec::new();
        for c in opened.chars() {
            match c {
                '{' => open.push('}'),
                '[' => open.push(']'),
                '}' | ']' => drop(open.pop()),
                _ => {}
            }
        }
        let closed: String = opened.chars().chain(open.into_iter().rev()).collect();
        for text in [closed, format!("{text}{tail}")] {
            for kind in [MachineKind::Standard, MachineKind::Express] {
                if validate(&text, kind).is_empty() {
                    prop_assert!(Definition::parse(&text).is_ok(), "{text}");
                }
            }
        }
    }
}
