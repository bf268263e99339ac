//! States that stand twice in one object.

use super::super::*;
use super::{one, shown};

/// Of equal keys a reader keeps the last: one of the states would be gone without a word.
#[test]
fn a_state_that_stands_twice_is_told() {
    let pass = r#"{"Type":"Pass","End":true}"#;
    let twice = format!(r#"{{"StartAt":"B","States":{{"B":{pass},"B":{pass}}}}}"#);
    let told = |place: &str| {
        vec![format!(
            "DUPLICATE_STATE_NAME: Duplicate State name: B found in state machine at {place}"
        )]
    };
    for (text, expected) in [
        (twice.clone(), told("/States/B")),
        (
            format!(r#"{{"StartAt":"B","States":{{"B":{pass},"\u0042":{pass}}}}}"#),
            told("/States/B"),
        ),
        (
            one(&format!(
                r#""Type":"Parallel","Branches":[{{"StartAt":"C","States":{{"C":{pass}}}}},{twice}]"#
            )),
            told("/States/A/Branches[1]/States/B"),
        ),
        (
            one(&format!(r#""Type":"Map","ItemProcessor":{twice}"#)),
            told("/States/A/ItemProcessor/States/B"),
        ),
        (
            one(&format!(
                r#""Type":"Parallel","Branches":[{{"StartAt":"B","States":{{"B":{pass}}}}},{{"StartAt":"B","States":{{"B":{pass}}}}}]"#
            )),
            told("/States/A/Branches[1]/States/B"),
        ),
        // Payloads may hold what they like.
        (one(&format!(r#""Type":"Pass","Result":{twice}"#)), vec![]),
        (one(r#""Type":"Pass","Result":{"a":1,"a":2}"#), vec![]),
    ] {
        assert_eq!(shown(&text, MachineKind::Standard), expected, "{text}");
    }
}
