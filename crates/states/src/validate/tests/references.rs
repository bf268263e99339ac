//! What an expression reads where nothing is to be read, and how many findings are told.

use super::super::*;
use super::{one, shown};

#[test]
fn names_that_nothing_is_read_from_are_refused() {
    for (expression, names) in [
        ("phone", &["phone"][..]),
        ("phone.number", &["phone"]),
        ("$sum(items)", &["items"]),
        ("a + (b; [c, a])", &["a", "b", "c"]),
        ("{d: 1, 'k': e}", &["d", "e"]),
        ("$states.input.x ? y : z", &["y", "z"]),
        ("x[y = 1].z", &["x"]),
        ("$states.input ~> $merge(x)", &["x"]),
        ("$x := -y", &["y"]),
        ("'phone'.number", &["phone"]),
        ("(function($x) { $x })(y)(z)", &["y", "z"]),
        // A function has the context in which it is written, and what is called is read from one.
        ("$map($states.input.a, function($y) { phone })", &["phone"]),
        ("$map($states.input.a, function($y) { function() { phone & $y.x } })", &["phone"]),
        ("phone(1)", &["phone"]),
        ("sum(items)", &["sum", "items"]),
        ("phone(?, 1)", &["phone"]),
        ("$", &["$"]),
        ("$.phone", &["$"]),
        ("$[0]", &["$"]),
        ("$^(price)", &["$"]),
        ("$string($)", &["$"]),
        ("$ & phone & $", &["$", "phone"]),
        ("$map($states.input.a, function($x) { $ })", &["$"]),
        // Something else is the context, or there is none to be read.
        ("$states.input.x", &[]),
        ("$states.input.items[price > 1].(name & size)", &[]),
        ("$states.input.items.{'n': name}", &[]),
        ("$states.input.items{name: price}", &[]),
        ("$states.input.items^(price)", &[]),
        ("$map($states.input.l, function($v) { $v.y })", &[]),
        ("$states.input.items.$map(l, function($v) { $v & price & $.price })", &[]),
        ("$states.input.items[$ = 0].($ * 2)", &[]),
        ("$states.input.items^($)", &[]),
        ("$states.input.items{$string($): $}", &[]),
        ("[1..3].($ * 2)", &[]),
        ("$states.input ~> |$|{'n': $}|", &[]),
        ("$states.input ~> |items|{'n': price}|", &[]),
        ("'phone'", &[]),
        ("$sum([1])", &[]),
    ] {
        let text = one(&format!(
            r#""Type":"Pass","QueryLanguage":"JSONata","Output":{{"v":"{{% {expression} %}}"}}"#
        ));
        let expected: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    "UNSUPPORTED_JSONATA_EXPRESSION: Reference to '{name}' at the top level is not \
                     supported. at /States/A/Output/v"
                )
            })
            .collect();
        assert_eq!(shown(&text, MachineKind::Standard), expected, "{expression}");
    }
}

#[test]
fn what_states_lacks_in_a_field_is_refused() {
    let jsonata = r#""QueryLanguage":"JSONata""#;
    let task = |rest: &str| one(&format!(r#""Type":"Task","Resource":"w",{jsonata},{rest}"#));
    let map = |rest: &str| {
        one(&format!(
            r#""Type":"Map",{jsonata},"ItemProcessor":{{"StartAt":"B","States":{{"B":{{"Type":"Pass","End":true}}}}}},{rest}"#
        ))
    };
    let caught =
        |rest: &str| task(&format!(r#""Catch":[{{"ErrorEquals":["E"],"Next":"A",{rest}}}]"#));
    for (text, expected) in [
        (task(r#""Output":"{% $states.result.a %}","Assign":{"x":"{% $states.result[0] %}"}"#), ""),
        (map(r#""Output":"{% $count($states.result) %}""#), ""),
        (caught(r#""Output":"{% $states.errorOutput.Error %}","Assign":{"x":"{% $states.errorOutput %}"}"#), ""),
        // Nothing is known to be wrong with these.
        (task(r#""Arguments":"{% $states %}""#), ""),
        (task(r#""Arguments":"{% ($states := {'result': 1}; $states.result) %}""#), ""),
        (task(r#""Arguments":"{% $states.input.result & $states.input.(errorOutput) %}""#), ""),
        (task(r#""Arguments":{"a":"{% $states.result %}"}"#), "result at /States/A/Arguments/a"),
        (task(r#""Arguments":"{% $map([1], function($x) { $states.result.a[0] }) %}""#), "result at /States/A/Arguments"),
        (task(r#""TimeoutSeconds":"{% $states.errorOutput %}""#), "errorOutput at /States/A/TimeoutSeconds"),
        (task(r#""Output":"{% $states.errorOutput %}""#), "errorOutput at /States/A/Output"),
        (map(r#""Items":"{% $states.result %}""#), "result at /States/A/Items"),
        (map(r#""ItemSelector":{"a":"{% $states.result %}"}"#), "result at /States/A/ItemSelector/a"),
        (caught(r#""Output":"{% $states.result %}""#), "result at /States/A/Catch[0]/Output"),
        (one(&format!(r#""Type":"Pass",{jsonata},"Output":"{{% $states.result %}}""#)), "result at /States/A/Output"),
        (one(&format!(r#""Type":"Wait","Seconds":1,{jsonata},"Assign":{{"x":"{{% $states.result %}}"}}"#)), "result at /States/A/Assign/x"),
        (one(&format!(r#""Type":"Choice",{jsonata},"Choices":[{{"Next":"A","Condition":"{{% $states.result = 1 %}}"}}]"#)).replace(r#","End":true"#, ""), "result at /States/A/Choices[0]/Condition"),
    ] {
        let expected = match expected.split_once(' ') {
            Some((member, rest)) => vec![format!(
                "UNSUPPORTED_JSONATA_EXPRESSION: Reference to '$states.{member}' is not supported in \
                 this field. {rest}"
            )],
            None => vec![],
        };
        assert_eq!(shown(&text, MachineKind::Standard), expected, "{text}");
    }
}

#[test]
fn an_expression_is_opened_and_closed() {
    let output = |text: &str| {
        one(&format!(r#""Type":"Pass","QueryLanguage":"JSONata","Output":{{"v":["{text}"]}}"#))
    };
    for text in
        ["a {% 1 %} b", " {% states.input %} ", "5 %} of it", "{%%}", "{ %", "% }", "{% 1 %}"]
    {
        let found = shown(&output(text), MachineKind::Standard);
        assert!(found.iter().all(|line| !line.contains("must begin with")), "{text}: {found:?}");
    }
    let expected = "INVALID_JSONATA_EXPRESSION: A JSONata expression must begin with '{%' and end with \
                    '%}', without spaces before or behind at /States/A/Output/v[0]";
    for text in ["{% 1", "1 %}", " {% 1 %}", "{% 1 %} ", "{%", "%}"] {
        assert_eq!(shown(&output(text), MachineKind::Standard), [expected], "{text}");
    }
    // A name is no field of expressions, and in JSONPath mode nothing is.
    for text in [
        output("x").replace(r#""v":["x"]"#, "").replace(r#""Output":{}"#, r#""Comment":"{% 1""#),
        one(r#""Type":"Pass","Result":"{% 1""#),
    ] {
        assert_eq!(shown(&text, MachineKind::Standard), [""; 0], "{text}");
    }
}

/// As many names as an expression can have: what is not told is not looked for.
#[test]
fn names_are_told_up_to_the_most_findings() {
    let names: Vec<String> = (0..40_000).map(|n| format!("n{n:x}")).collect();
    let list = format!("[{}]", names.join(","));
    let expression = crate::jsonata::Expression::parse(&list).unwrap();
    let found = |most| expression.top_level_names(most);
    assert_eq!(found(0), []);
    assert_eq!(found(3), ["n0".into(), "n1".into(), "n2".into()]);
    assert_eq!(found(usize::MAX).len(), names.len());
    let text = one(&format!(
        r#""Type":"Pass","QueryLanguage":"JSONata","Output":["{{% {list} %}}","{{% {list} %}}"]"#
    ));
    let told =
        schema::check(Value::parse(&text).unwrap().as_object().unwrap(), MachineKind::Standard);
    assert_eq!(told.len(), FINDINGS_MAX);
    let last = &told[FINDINGS_MAX - 1];
    assert!(last.message.contains("'nc7'"), "{last:?}");
}

/// However many there are, and however long their places.
#[test]
fn findings_are_not_collected_beyond_those_that_are_told() {
    let wrong: Vec<String> = (0..1_000).map(|n| format!(r#""k{n}":"{{% + %}}""#)).collect();
    let text = one(&format!(
        r#""Type":"Pass","QueryLanguage":"JSONata","Output":{{{}}}"#,
        wrong.join(",")
    ));
    let told =
        schema::check(Value::parse(&text).unwrap().as_object().unwrap(), MachineKind::Standard);
    assert_eq!(told.len(), FINDINGS_MAX);
}
