//! Warnings, which keep nothing from being stored.

use super::super::*;
use super::{one, shown};

#[test]
fn paths_that_nothing_reads_are_warned_of() {
    let inner =
        |state: &str| format!(r#"{{"StartAt":"B","States":{{"B":{{{state},"End":true}}}}}}"#);
    let choice = |rule: &str| {
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Choice","Choices":[{{{rule},"Next":"Z"}}]}},"Z":{{"Type":"Succeed"}}}}}}"#
        )
    };
    let fail =
        |rest: &str| format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Fail",{rest}}}}}}}"#);
    for (text, expected) in [
        (
            one(
                r#""Type":"Pass","Parameters":{"a.$":"$.b","c":"$5","d":"$","e":"States.X","f":["$.g"]}"#,
            ),
            vec![],
        ),
        (
            one(r#""Type":"Pass","Parameters":{"a":"$.b"}"#),
            vec!["NO_DOLLAR at /States/A/Parameters/a"],
        ),
        (
            one(
                r#""Type":"Pass","Parameters":{"a":[{"b":"$$.Execution.Id"}]},"Assign":{"x":"$['y']"}"#,
            ),
            vec!["NO_DOLLAR at /States/A/Parameters/a[0]/b", "NO_DOLLAR at /States/A/Assign/x"],
        ),
        (
            one(r#""Type":"Task","Resource":"w","ResultSelector":{"id":"States.UUID()"}"#),
            vec!["NO_DOLLAR at /States/A/ResultSelector/id"],
        ),
        (
            one(&format!(
                r#""Type":"Parallel","Branches":[{}]"#,
                inner(r#""Type":"Pass","Parameters":{"a":"$.b"}"#)
            )),
            vec!["NO_DOLLAR at /States/A/Branches[0]/States/B/Parameters/a"],
        ),
        (
            one(&format!(
                r#""Type":"Map","ItemSelector":{{"a":"$.b"}},"ItemProcessor":{}"#,
                inner(r#""Type":"Pass","Result":"$.x""#)
            )),
            vec![
                "NO_DOLLAR at /States/A/ItemSelector/a",
                "PASS_RESULT_IS_STATIC at /States/A/ItemProcessor/States/B/Result",
            ],
        ),
        (
            one(r#""Type":"Pass","Result":{"unsupported.$":["$.jsonpath"]}"#),
            vec!["PASS_RESULT_IS_STATIC at /States/A/Result"],
        ),
        (one(r#""Type":"Pass","Result":{"price":"$1"}"#), vec![]),
        (one(r#""Type":"Pass","QueryLanguage":"JSONata","Output":{"a":"$.b"}"#), vec![]),
        (
            fail(r#""Error":"$.e","Cause":"States.Format('{}', $.c)""#),
            vec!["NO_PATH at /States/A/Error", "NO_PATH at /States/A/Cause"],
        ),
        (fail(r#""ErrorPath":"$.e","CausePath":"$.c""#), vec![]),
        (
            choice(r#""Variable":"$.a","StringEquals":"$.b""#),
            vec!["NO_PATH at /States/A/Choices[0]/StringEquals"],
        ),
        (
            choice(r#""And":[{"Not":{"Variable":"$.a","StringEquals":"$.b"}}]"#),
            vec!["NO_PATH at /States/A/Choices[0]/And[0]/Not/StringEquals"],
        ),
        (choice(r#""Variable":"$.a","StringEqualsPath":"$.b""#), vec![]),
        (choice(r#""Variable":"$.a","StringMatches":"$.*""#), vec![]),
    ] {
        let place =
            |found: Finding| format!("{} at {}", found.code, found.location.unwrap_or_default());
        assert_eq!(warnings(&text).into_iter().map(place).collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(shown(&text, MachineKind::Standard), [""; 0], "{text}");
    }
}

#[test]
fn warnings_have_a_limit_and_need_a_machine() {
    let many: Vec<String> = (0..1_000).map(|n| format!(r#""k{n}":"$.x""#)).collect();
    let text = one(&format!(r#""Type":"Pass","Parameters":{{{}}}"#, many.join(",")));
    assert_eq!(warnings(&text).len(), FINDINGS_MAX);
    for text in ["", "{", "[]", "{}", r#"{"States":[]}"#, r#"{"States":{"A":1}}"#] {
        assert_eq!(warnings(text), [], "{text}");
    }
}
