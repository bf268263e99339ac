use super::*;
use crate::fuel::Fuel;
use crate::scope::{Context, Random, Variables};
use crate::value::Object;

macro_rules! json {
    ($($token:tt)*) => { Value::from(&serde_json::json!($($token)*)) };
}

fn read_from(path: &str, input: &Value, variables: &Object) -> Result<Value, EvalError> {
    let path = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let build = || json!({"State": {"Name": "S"}});
    let scope = Scope {
        input,
        context: &Context::new(&build),
        variables: &Variables::new(vec![variables]),
        random: &Random::new(1),
        fuel: &Fuel::ample(),
    };
    path.eval(&scope)
}

fn data() -> Value {
    json!({
        "store": {"book": [
            {"title": "a", "price": 8.95, "tags": ["x", "y"]},
            {"title": "b", "price": 12.99, "isbn": "0-1"},
            {"title": "c", "price": 8.99, "isbn": "0-2"},
        ], "bicycle": {"color": "red", "price": 19.95}},
        "numbers": [1, 2, 3, 4],
        "delivery-partner": "UQS",
        "@timestamp": "t",
        "a@b": {"c,d": 1},
        "nothing": null,
        "text": "hello",
    })
}

fn read(path: &str) -> Result<Value, EvalError> {
    let variables = Object::from_iter([("v".into(), json!({"a": [10, 20]}))]);
    read_from(path, &data(), &variables)
}

#[test]
fn paths_yield_what_the_dialect_yields() {
    let cases = [
        ("$.text", json!("hello")),
        ("$['text']", json!("hello")),
        ("$[\"text\"]", json!("hello")),
        ("$.delivery-partner", json!("UQS")),
        ("$.nothing", json!(null)),
        ("$.numbers[0]", json!(1)),
        ("$.numbers[-1]", json!(4)),
        ("$.numbers[1:3]", json!([2, 3])),
        ("$.numbers[:2]", json!([1, 2])),
        ("$.numbers[-2:]", json!([3, 4])),
        ("$.numbers[0,2]", json!([1, 3])),
        ("$.numbers[*]", json!([1, 2, 3, 4])),
        ("$.store.book[*].title", json!(["a", "b", "c"])),
        ("$.store.book[?(@.price < 10)].title", json!(["a", "c"])),
        ("$.store.book[?(@.isbn)].title", json!(["b", "c"])),
        ("$.store.book[?(!@.isbn)].title", json!(["a"])),
        ("$.store.book[?(@.price < 10 && @.isbn)].title", json!(["c"])),
        ("$.store.book[?(@.title == 'a' || @.title == \"c\")].price", json!([8.95, 8.99])),
        ("$.store.book[?(@.title in ['a', 'b'])].title", json!(["a", "b"])),
        ("$.store.book[?(@.title =~ /[AB]/i)].title", json!(["a", "b"])),
        ("$.store.book[?(@.tags contains 'x')].title", json!(["a"])),
        ("$.store.book[?(@.price == $.store.book[0].price)].title", json!(["a"])),
        ("$.store.book[?(@.tags size 2)].title", json!(["a"])),
        ("$..price", json!([8.95, 12.99, 8.99, 19.95])),
        ("$..book[0].title", json!(["a"])),
        ("$.store.bicycle['color','price']", json!({"color": "red", "price": 19.95})),
        ("$.store['bicycle','book'][0].title", json!(["a"])),
        ("$..nope", json!([])),
        ("$.numbers[?(@ > 2)]", json!([3, 4])),
        ("$.numbers.length()", json!(4)),
        ("$.text.length()", json!(5)),
        ("$.numbers.sum()", json!(10.0)),
        ("$.numbers.max()", json!(4.0)),
        ("$..price.min()", json!(8.95)),
        ("$.numbers.first()", json!(1)),
        ("$.store.bicycle.keys()", json!(["color", "price"])),
        // A name goes on to a blank, a dot or a bracket that opens.
        ("$.@timestamp", json!("t")),
        ("$.a@b.c,d", json!(1)),
        ("$$.State.Name", json!("S")),
        ("$v.a[1]", json!(20)),
        ("$v", json!({"a": [10, 20]})),
    ];
    for (path, expected) in cases {
        let got = read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        if path.contains("price") && got.as_array().is_some() {
            // The order among siblings follows the object's.
            let sort = |value: &Value| {
                let mut items: Vec<String> =
                    value.as_array().unwrap().iter().map(ToString::to_string).collect();
                items.sort();
                items
            };
            assert_eq!(sort(&got), sort(&expected), "{path}");
        } else {
            assert_eq!(got, expected, "{path}");
        }
    }
}

#[test]
fn a_wildcard_over_an_empty_object_is_empty() {
    assert_eq!(read_from("$[*]", &json!({}), &Object::new()).unwrap(), json!([]));
}

#[test]
fn what_is_missing_is_told_in_the_recorded_words() {
    let cases = [
        ("$.X", "No results for path: $['X']"),
        ("$.store.X", "No results for path: $['store']['X']"),
        ("$.no.such.result.path", "Missing property in path $['no']"),
        ("$.store.no.such", "Missing property in path $['store']['no']"),
        ("$.numbers[9]", "No results for path: $['numbers'][9]"),
        ("$.nothing[0]", "The path $['nothing'] is null"),
        ("$.text[0]", "Filter: [0] can only be applied to arrays. Current context is: \"hello\""),
        (
            "$.text.x",
            "Expected to find an object with property ['x'] in path $['text'] but found \
             'com.fasterxml.jackson.databind.node.TextNode'. This is not a json object according \
             to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonNodeJsonProvider'.",
        ),
        // Several names as well, also with more behind them.
        (
            "$.text['x','y'].z",
            "Expected to find an object with property ['x','y'] in path $['text'] but found \
             'com.fasterxml.jackson.databind.node.TextNode'. This is not a json object according \
             to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonNodeJsonProvider'.",
        ),
    ];
    for (path, expected) in cases {
        let expected = EvalError::NotFound { path: path.to_owned(), detail: expected.to_owned() };
        assert_eq!(read(path).unwrap_err(), expected, "{path}");
    }
    assert!(matches!(read("$w.a"), Err(EvalError::NotFound { .. })));
    let detail = "No results for path: $['Nope']".to_owned();
    let expected = EvalError::NotFound { path: "$$.Nope".to_owned(), detail };
    assert_eq!(read("$$.Nope").unwrap_err(), expected);
}

#[test]
fn a_filter_compares_only_what_is_of_one_kind() {
    let input = json!([
        {"n": 8, "id": "number"},
        {"n": "8", "id": "text"},
        {"n": "10", "id": "long"},
        {"n": "8.0", "id": "fraction"},
        {"n": true, "id": "true"},
        {"n": null, "id": "null"},
        {"id": "none"},
    ]);
    for (filter, expected) in [
        ("@.n < 10", json!(["number"])),
        ("@.n > 5", json!(["number"])),
        ("@.n > '10'", json!(["text", "fraction"])),
        ("@.n >= true", json!([])),
        // The left side decides how a number and a text are compared.
        ("@.n == 8", json!(["number", "text"])),
        ("8 == @.n", json!(["number", "text", "fraction"])),
        ("@.n === 8", json!(["number"])),
        ("@.n in [8]", json!(["number", "text"])),
        // What is not there equals nothing.
        ("@.x == @.y", json!([])),
        ("@.x != @.y && @.n == true", json!(["true"])),
        ("@.n == null", json!(["null"])),
        ("@.n =~ /true/", json!(["true"])),
        ("/8.*/ =~ @.n", json!(["number", "text", "fraction"])),
        ("@.n =~ /.*/", json!(["number", "text", "long", "fraction", "true", "null", "none"])),
        ("@.n =~ /.+/", json!(["number", "text", "long", "fraction", "true"])),
    ] {
        let path = format!("$[?({filter})].id");
        assert_eq!(read_from(&path, &input, &Object::new()), Ok(expected), "{filter}");
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for text in [
        "",
        "x",
        "$.",
        "$..",
        "$[",
        "$[]",
        "$['a",
        "$[?(]",
        "$[?()]",
        "$.a b",
        "$[1.5]",
        "$.a[",
        "$.a (b)",
        "$[?(@.a@b)]",
        "$[?(@.a ==)]",
        "$.f()",
        "$$$",
        "$[99999999999]",
        "$.length().x",
        "$['a',]",
    ] {
        assert!(Path::parse(text).is_err(), "{text}");
    }
    let deep = format!("${}", "[?(@.a".repeat(100));
    assert!(Path::parse(&deep).is_err());
    assert!(Path::parse(&format!("${}", ".a".repeat(600))).is_err());
}

#[test]
fn definite_and_reference_paths_are_told_apart() {
    for (path, definite, reference) in [
        ("$", true, true),
        ("$.a.b[0]", true, true),
        ("$.a[-1]", true, false),
        ("$.a[*]", false, false),
        ("$..a", false, false),
        ("$.a[0:2]", false, false),
        ("$.a[?(@.b)]", false, false),
        ("$.a.length()", true, false),
        ("$v.x", true, true),
    ] {
        let parsed = Path::parse(path).unwrap();
        assert_eq!(parsed.is_definite(), definite, "{path}");
        assert_eq!(parsed.is_reference(), reference, "{path}");
    }
}

#[test]
fn values_are_stored_where_the_path_says() {
    let cases = [
        ("$", json!({"a": 1}), json!(9)),
        ("$.b", json!({"a": 1}), json!({"a": 1, "b": 9})),
        ("$.a", json!({"a": 1}), json!({"a": 9})),
        ("$.b.c.d", json!({"a": 1}), json!({"a": 1, "b": {"c": {"d": 9}}})),
        ("$['x y'].z", json!({}), json!({"x y": {"z": 9}})),
        ("$.a[1]", json!({"a": [1, 2]}), json!({"a": [1, 9]})),
        ("$[0]", json!([1]), json!([9])),
    ];
    for (path, into, expected) in cases {
        let parsed = ReferencePath::parse(path).unwrap();
        assert_eq!(parsed.put(&into, json!(9)).unwrap(), expected, "{path}");
    }
    let put = |path, into| ReferencePath::parse(path).unwrap().put(&into, json!(1));
    let refused = put("$.r", json!("input1")).unwrap_err();
    assert_eq!(refused.to_string(), "Unable to apply ReferencePath $.r to input \"input1\"");
    assert_eq!(refused.name(), "States.ResultPathMatchFailure");
    assert!(put("$.a.b", json!({"a": 1})).is_err());
    assert!(put("$.a[2]", json!({"a": [1]})).is_err());
    for text in ["$$.a", "$v", "$.a[*]", "$.a[-1]", "$..a", "$.a[0:1]"] {
        assert!(ReferencePath::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_path_that_multiplies_is_stopped() {
    let wide: Vec<Value> = (0..400).map(|_| json!({"a": {"a": {"a": 1}}})).collect();
    let input = Value::object([("l", Value::array(wide))]);
    let filters = "[?($..a && $..a && $..a && $..a && $..a && $..a && $..a && $..a && $..a)]";
    let many = read_from(&format!("$.l{filters}"), &input, &Object::new());
    assert!(matches!(many, Err(EvalError::Failed { .. })), "{many:?}");
    let _ = read_from(&format!("${}", "..*".repeat(40)), &input, &Object::new());
}

#[test]
fn a_filter_that_compares_too_much_is_stopped() {
    let many: Vec<Value> = (0..20_000).map(|n| json!(n)).collect();
    let text = json!("a".repeat(200_000));
    let input = Value::object([("l", Value::array(many)), ("s", text)]);
    for path in [
        "$.l[?(@ in $.l)]",
        "$.l[?($.l == $.l)]",
        "$.l[?($.l subsetof $.l)]",
        "$.l[?($.l contains 'x')]",
        "$.l[?($.s =~ /(a*)*b/)]",
        "$.l[?($.s == $.s)]",
        "$.l[?($.s.length() == @)]",
        "$.l[?($.l.sum() == @)]",
    ] {
        let many = read_from(path, &input, &Object::new());
        assert!(matches!(many, Err(EvalError::Failed { .. })), "{path}");
    }
    // Lists as long as they are in practice.
    let id = |n: u32| Value::from(format!("{n:08x}-2f4b-4d0e-9c1a-7b3d5e6f8a90"));
    let items = (0..2_000).map(|n| Value::object([("id", id(n))]));
    let input_of_ids =
        Value::object([("items", Value::array(items)), ("ids", Value::array((0..1_000).map(id)))]);
    for (path, expected) in [
        ("$.items[?(@.id in $.ids)]", 1_000),
        ("$.items[?(@.id nin $.ids)]", 1_000),
        ("$.items[?($.ids contains @.id)]", 1_000),
    ] {
        let found = read_from(path, &input_of_ids, &Object::new());
        assert_eq!(
            found.map(|found| found.as_array().map(<[_]>::len)),
            Ok(Some(expected)),
            "{path}"
        );
    }
    let few = read_from("$.l[?(@ in [1,2] || @ == 7)]", &input, &Object::new());
    assert_eq!(few.map(|found| found.to_json()), Ok("[1,2,7]".to_owned()));
}
