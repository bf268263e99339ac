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
