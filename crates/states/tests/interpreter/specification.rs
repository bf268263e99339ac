//! The specification field by field: what the recorded cases do not show of states and of both query
//! languages. Tables of a state, its input, and what comes of it.

use ark_states::validate::{MachineKind, validate};

use super::play::Play;

/// The state `A`, and `Z` for wherever it may lead.
pub(super) fn one(state: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{state},"Z":{{"Type":"Pass","End":true}}}}}}"#)
}

/// Runs a state whose work, if it has any, ends with `result`.
fn played(state: &str, input: &str, result: &str) -> Play {
    let mut play = Play::start(&one(state), input);
    while play.end.is_none() {
        if play.tasks.is_empty() {
            play.fire();
            continue;
        }
        let task = play.take().task;
        play.succeed(task, result).unwrap();
    }
    play
}

#[track_caller]
fn gives(state: &str, input: &str, result: &str, output: &str) {
    let play = played(state, input, result);
    assert!(
        matches!(&play.end, Some(ark_states::machine::End::Succeeded(_))),
        "{state}: {:?}",
        play.end
    );
    assert_eq!(play.output(), output, "{state}");
}

#[test]
fn json_path_states_pass_data_in_order() {
    let task = r#""Type":"Task","Resource":"w","End":true"#;
    for (state, input, output) in [
        // InputPath, Parameters, the work, ResultSelector, ResultPath, OutputPath.
        (
            &*format!(
                r#"{{{task},"InputPath":"$.a","Parameters":{{"p.$":"$.b"}},"ResultSelector":{{"s.$":"$.r"}},"ResultPath":"$.t","OutputPath":"$.t"}}"#
            ),
            r#"{"a":{"b":1},"c":2}"#,
            r#"{"s":9}"#,
        ),
        (
            &*format!(r#"{{{task},"InputPath":"$.a","ResultPath":"$.t.u"}}"#),
            r#"{"a":{"b":1},"c":2}"#,
            r#"{"a":{"b":1},"c":2,"t":{"u":{"r":9}}}"#,
        ),
        (&*format!(r#"{{{task},"ResultPath":null}}"#), r#"{"c":2}"#, r#"{"c":2}"#),
        (&*format!(r#"{{{task},"OutputPath":null}}"#), r#"{"c":2}"#, "{}"),
        (&*format!(r#"{{{task},"OutputPath":"$$.State.Name"}}"#), "{}", r#""A""#),
        (
            &*format!(r#"{{{task},"ResultSelector":{{"i.$":"$$.Execution.Input.c","k":1}}}}"#),
            r#"{"c":2}"#,
            r#"{"i":2,"k":1}"#,
        ),
        (
            &*format!(r#"{{{task},"ResultPath":"$.l[1]"}}"#),
            r#"{"l":[1,2]}"#,
            r#"{"l":[1,{"r":9}]}"#,
        ),
        (
            r#"{"Type":"Pass","InputPath":"$.a","Result":{"x.$":"$.kept"},"ResultPath":"$.r","End":true}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"r":{"x.$":"$.kept"}}"#,
        ),
        (
            r#"{"Type":"Pass","InputPath":null,"Parameters":{"a.$":"$","l":[{"n.$":"$$.State.Name"},"$.x"]},"End":true}"#,
            r#"{"a":1}"#,
            r#"{"a":{},"l":[{"n":"A"},"$.x"]}"#,
        ),
        (
            r#"{"Type":"Wait","Seconds":1,"InputPath":"$.a","OutputPath":"$.b","End":true}"#,
            r#"{"a":{"b":3}}"#,
            "3",
        ),
        (r#"{"Type":"Succeed","InputPath":"$.a","OutputPath":"$.b"}"#, r#"{"a":{"b":3}}"#, "3"),
        (
            r#"{"Type":"Choice","InputPath":"$.a","OutputPath":"$.b","Choices":[{"Variable":"$.b","IsNumeric":true,"Next":"Z"}]}"#,
            r#"{"a":{"b":3}}"#,
            "3",
        ),
        (
            r#"{"Type":"Parallel","InputPath":"$.a","Parameters":{"q.$":"$.b"},"ResultSelector":{"first.$":"$[0].q","all.$":"$[*].q"},"ResultPath":"$.r","End":true,
                "Branches":[{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}},{"StartAt":"C","States":{"C":{"Type":"Pass","End":true}}}]}"#,
            r#"{"a":{"b":3}}"#,
            r#"{"a":{"b":3},"r":{"first":3,"all":[3,3]}}"#,
        ),
        (
            r#"{"Type":"Map","ItemsPath":"$.l","ItemSelector":{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value","k.$":"$.k"},"ResultPath":"$.r","End":true,
                "ItemProcessor":{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}}"#,
            r#"{"l":["x"],"k":5}"#,
            r#"{"l":["x"],"k":5,"r":[{"i":0,"v":"x","k":5}]}"#,
        ),
        (
            r#"{"Type":"Map","ItemsPath":"$.l","End":true,"ResultSelector":{"n.$":"States.ArrayLength($)"},
                "ItemProcessor":{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}}"#,
            r#"{"l":[]}"#,
            r#"{"n":0}"#,
        ),
    ] {
        gives(state, input, r#"{"r":9}"#, output);
    }
}

#[test]
fn jsonata_states_see_states_as_they_were_at_entry() {
    let task = r#""Type":"Task","QueryLanguage":"JSONata","Resource":"w","End":true"#;
    for (state, output) in [
        (&*format!("{{{task}}}"), r#"{"r":9}"#),
        (
            &*format!(
                r#"{{{task},"Arguments":"{{% $states.input.c %}}","Output":{{"i":"{{% $states.input %}}","r":"{{% $states.result.r %}}","n":"{{% $states.context.State.Name %}}"}}}}"#
            ),
            r#"{"i":{"c":2},"r":9,"n":"A"}"#,
        ),
        // Assign and Output see neither each other's values nor the new ones.
        (
            &*format!(
                r#"{{{task},"Assign":{{"x":"{{% $states.result.r %}}"}},"Output":"{{% $exists($x) %}}"}}"#
            ),
            "false",
        ),
        (r#"{"Type":"Pass","QueryLanguage":"JSONata","End":true}"#, r#"{"c":2}"#),
        (
            r#"{"Type":"Pass","QueryLanguage":"JSONata","Output":[1,"{% 1+1 %}"],"End":true}"#,
            "[1,2]",
        ),
        (r#"{"Type":"Pass","QueryLanguage":"JSONata","Output":null,"End":true}"#, "null"),
        (
            r#"{"Type":"Pass","QueryLanguage":"JSONata","Output":{"a":" {% 1 %}","b":"{% 1 %} ","c":"{%1%}"},"End":true}"#,
            r#"{"a":" {% 1 %}","b":"{% 1 %} ","c":1}"#,
        ),
        (r#"{"Type":"Succeed","QueryLanguage":"JSONata","Output":"{% $states.input.c %}"}"#, "2"),
        (
            r#"{"Type":"Wait","QueryLanguage":"JSONata","Seconds":"{% $states.input.c %}","Output":"{% 'done' %}","End":true}"#,
            r#""done""#,
        ),
        (
            r#"{"Type":"Parallel","QueryLanguage":"JSONata","Arguments":{"q":"{% $states.input.c %}"},"End":true,
                "Branches":[{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}]}"#,
            r#"[{"q":2}]"#,
        ),
        (
            r#"{"Type":"Map","QueryLanguage":"JSONata","Items":[1,"{% $states.input.c %}"],"End":true,
                "ItemSelector":{"v":"{% $states.context.Map.Item.Value %}","i":"{% $states.context.Map.Item.Index %}"},
                "Output":"{% $states.result.v %}",
                "ItemProcessor":{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}}"#,
            "[1,2]",
        ),
        (
            r#"{"Type":"Choice","QueryLanguage":"JSONata","Choices":[{"Condition":false,"Next":"Z"},{"Condition":"{% $states.input.c = 2 %}","Output":{"by":"rule"},"Next":"Z"}],"Output":{"by":"default"},"Default":"Z"}"#,
            r#"{"by":"rule"}"#,
        ),
        (
            r#"{"Type":"Choice","QueryLanguage":"JSONata","Choices":[{"Condition":"{% $states.input.c = 3 %}","Output":{"by":"rule"},"Next":"Z"}],"Output":{"by":"default"},"Default":"Z"}"#,
            r#"{"by":"default"}"#,
        ),
        // A rule that holds and says nothing of the output passes the input on.
        (
            r#"{"Type":"Choice","QueryLanguage":"JSONata","Choices":[{"Condition":true,"Next":"Z"}],"Output":{"by":"default"},"Default":"Z"}"#,
            r#"{"c":2}"#,
        ),
    ] {
        gives(state, r#"{"c":2}"#, r#"{"r":9}"#, output);
    }
}

#[test]
fn a_choice_assigns_by_its_rule_or_by_default_and_never_by_both() {
    for (language, rule) in [
        ("JSONPath", r#""Variable":"$.x","NumericEquals":1"#),
        ("JSONata", r#""Condition":"{% $states.input.x = 1 %}""#),
    ] {
        for (input, assign, set) in [
            (r#"{"x":1}"#, r#""Assign":{"v":"rule"},"#, Some("\"rule\"")),
            (r#"{"x":1}"#, "", None),
            (r#"{"x":2}"#, r#""Assign":{"v":"rule"},"#, Some("\"default\"")),
        ] {
            let machine = format!(
                r#"{{"QueryLanguage":"{language}","StartAt":"C","States":{{
                    "C":{{"Type":"Choice","Choices":[{{{rule},{assign}"Next":"Z"}}],"Default":"Z",
                        "Assign":{{"v":"default"}}}},
                    "Z":{{"Type":"Pass","End":true}}}}}}"#
            );
            let play = Play::start(&machine, input);
            let assigned = play.history.iter().find_map(|e| e.details.assigned_variables.clone());
            let assigned = assigned.map(|variables| variables[0].1.to_string());
            assert_eq!(assigned.as_deref(), set, "{language} {input} {assign}");
        }
    }
}

#[test]
fn variables_are_set_together_and_seen_from_the_next_state_on() {
    let machine = |language: &str, set: &str, swap: &str, shown: &str| {
        format!(
            r#"{{"QueryLanguage":"{language}","StartAt":"S","States":{{
                "S":{{"Type":"Pass","Assign":{set},"Next":"T"}},
                "T":{{"Type":"Pass","Assign":{swap},"Next":"U"}},
                "U":{{"Type":"Pass",{shown},"End":true}}}}}}"#
        )
    };
    let path = machine(
        "JSONPath",
        r#"{"a.$":"$.x","b":2}"#,
        r#"{"a.$":"$b","b.$":"$a"}"#,
        r#""Parameters":{"a.$":"$a","b.$":"$b"}"#,
    );
    let jsonata = machine(
        "JSONata",
        r#"{"a":"{% $states.input.x %}","b":2}"#,
        r#"{"a":"{% $b %}","b":"{% $a %}"}"#,
        r#""Output":{"a":"{% $a %}","b":"{% $b %}"}"#,
    );
    for machine in [path, jsonata] {
        let play = Play::start(&machine, r#"{"x":1}"#);
        assert_eq!(play.output(), r#"{"a":2,"b":1}"#);
        let set: Vec<_> = play
            .history
            .iter()
            .filter_map(|event| event.details.assigned_variables.clone())
            .collect();
        let pair = |a: &str, b: &str| vec![("a".into(), a.into()), ("b".into(), b.into())];
        assert_eq!(set, [pair("1", "2"), pair("2", "1")]);
    }
    // JSONPath: Assign sees the result before ResultSelector.
    let machine = r#"{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"w","Assign":{"raw.$":"$"},"ResultSelector":{"s.$":"$.r"},"Next":"B"},
        "B":{"Type":"Pass","Parameters":{"raw.$":"$raw","in.$":"$"},"End":true}}}"#;
    let mut play = Play::start(machine, "{}");
    let task = play.take().task;
    play.succeed(task, r#"{"r":9}"#).unwrap();
    assert_eq!(play.output(), r#"{"raw":{"r":9},"in":{"s":9}}"#);
    // What could not be assigned leaves all variables as they were.
    let machine = r#"{"StartAt":"S","States":{"S":{"Type":"Pass","Assign":{"a":1,"b.$":"$.none"},"End":true}}}"#;
    assert_eq!(Play::start(machine, "{}").failure().name(), "States.Runtime");
}

#[test]
fn a_choice_sets_what_its_rule_says_or_what_it_says_itself() {
    let choice = r#"{"Type":"Choice","Default":"Y","Assign":{"by":"default","own":1},
        "Choices":[{"Variable":"$.n","NumericEquals":1,"Assign":{"by":"rule"},"Next":"X"},
                   {"Variable":"$.n","NumericEquals":2,"Next":"X"}]}"#;
    let machine = format!(
        r#"{{"StartAt":"S","States":{{"S":{{"Type":"Pass","Assign":{{"by":"nobody","own":0}},"Next":"C"}},"C":{choice},
            "X":{{"Type":"Pass","Parameters":{{"by.$":"$by","own.$":"$own"}},"End":true}},
            "Y":{{"Type":"Pass","Parameters":{{"by.$":"$by","own.$":"$own"}},"End":true}}}}}}"#
    );
    for (n, output) in [
        (1, r#"{"by":"rule","own":0}"#),
        (2, r#"{"by":"nobody","own":0}"#),
        (3, r#"{"by":"default","own":1}"#),
    ] {
        assert_eq!(Play::start(&machine, &format!(r#"{{"n":{n}}}"#)).output(), output, "{n}");
    }
}

#[test]
fn a_machine_of_one_language_may_hold_states_of_the_other() {
    let machine = r#"{"StartAt":"P","States":{
        "P":{"Type":"Parallel","QueryLanguage":"JSONata","Arguments":{"v":"{% $states.input.v %}"},"Next":"Z","Branches":[
            {"StartAt":"B","States":{"B":{"Type":"Pass","Parameters":{"w.$":"$.v"},"Assign":{"inner.$":"$.w"},"Next":"C"},
                                     "C":{"Type":"Pass","QueryLanguage":"JSONata","Output":"{% $inner + $states.input.w %}","End":true}}}]},
        "Z":{"Type":"Pass","Parameters":{"sum.$":"$[0]"},"End":true}}}"#;
    assert_eq!(validate(machine, MachineKind::Standard), []);
    assert_eq!(Play::start(machine, r#"{"v":4}"#).output(), r#"{"sum":8}"#);
}
