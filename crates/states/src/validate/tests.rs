#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod references;
mod repeats;
mod resources;
mod warnings;

use super::*;

fn shown(text: &str, kind: MachineKind) -> Vec<String> {
    let line = |found: Finding| match found.location {
        Some(location) => format!("{}: {} at {location}", found.code, found.message),
        None => format!("{}: {}", found.code, found.message),
    };
    validate(text, kind).into_iter().map(line).collect()
}

#[test]
fn patterns_have_a_size_together() {
    let machine = |count: usize| {
        let states: Vec<String> = (0..count)
            .map(|n| {
                format!(r#"'k{n}': '{{% $contains("a", /(a?){{4000}}b/) %}}'"#).replace('\'', "\"")
            })
            .map(|text| text.replace(r#""a""#, "'a'"))
            .collect();
        format!(
            r#"{{"StartAt":"P","QueryLanguage":"JSONata","States":{{"P":{{"Type":"Pass","End":true,"Output":{{{}}}}}}}}}"#,
            states.join(",")
        )
    };
    assert_eq!(validate(&machine(3), MachineKind::Standard), []);
    let findings = validate(&machine(120), MachineKind::Standard);
    assert!(findings.iter().any(|one| one.message.contains("too large together")), "{findings:?}");
}

#[test]
fn findings_are_told_in_the_recorded_words() {
    for (text, expected) in [
        (r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#, vec![]),
        ("{}", vec!["SCHEMA_VALIDATION_FAILED: These fields are required: [States, StartAt] at /"]),
        (" ", vec!["SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object"]),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"C":{"Type":"Pass","End":true}}}"#,
            vec![
                "MISSING_TRANSITION_TARGET: Missing 'Next' target: B at /States/A/Next",
                "MISSING_TRANSITION_TARGET: State \"C\" is not reachable. at /States/C",
            ],
        ),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"A"}}}"#,
            vec!["MISSING_END_STATE: Workflow has no terminal state"],
        ),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","TimeoutSeconds":1,"Output":{},"End":true}}}"#,
            vec![
                "SCHEMA_VALIDATION_FAILED: Field 'TimeoutSeconds' is not supported at /States/A",
                "SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONPath', but field \
                 'Output' is only supported for the 'JSONata' QueryLanguage at /States/A",
            ],
        ),
        (
            r#"{"StartAt":"A","QueryLanguage":"JSONata","States":{"A":{"Type":"Pass","Output":"{% 1 + %}","End":true}}}"#,
            vec!["INVALID_JSONATA_EXPRESSION: Unexpected end of expression at /States/A/Output"],
        ),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Timestamp":"x","End":true}}}"#,
            vec![
                "SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at \
                 /States/A/Timestamp",
            ],
        ),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"p.$":"States.X()"},"End":true}}}"#,
            vec![
                "SCHEMA_VALIDATION_FAILED: The value for the field 'p.$' must be a valid JSONPath \
                 or a valid intrinsic function call at /States/A/Parameters",
            ],
        ),
    ] {
        assert_eq!(shown(text, MachineKind::Standard), expected, "{text}");
    }
    let found = &validate("not a definition", MachineKind::Standard)[0];
    assert_eq!(
        found.location.as_deref(),
        Some("[Source: (String)\"not a definition\"; line: 1, column: 4]")
    );
}

#[test]
fn a_refusal_says_null_where_there_is_no_place() {
    let endless = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"A"}}}"#;
    assert_eq!(
        refusal(&validate(endless, MachineKind::Standard)).as_deref(),
        Some(
            "Invalid State Machine Definition: 'MISSING_END_STATE: Workflow has no terminal state at \
             null'"
        )
    );
    assert_eq!(refusal(&[]), None);
}

/// One state of a machine, as a definition.
fn one(state: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{{{state},"End":true}}}}}}"#)
}

#[test]
fn parts_are_judged_by_their_own_fields() {
    let pass = r#""StartAt":"B","States":{"B":{"Type":"Pass","End":true}}"#;
    let inner = format!(r#"{{{pass}}}"#);
    let map = |rest: &str| {
        let config = r#""ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}"#;
        let read =
            r#""Resource":"arn:aws:states:::s3:getObject","Parameters":{"Bucket":"b","Key":"k"}"#;
        let rest = rest.replace(r#""Resource":"r""#, read);
        one(&format!(r#""Type":"Map","ItemProcessor":{{{config},{pass}}}{rest}"#))
    };
    let task = |rest: &str| one(&format!(r#""Type":"Task","Resource":"w"{rest}"#));
    let whole = |rest: &str| {
        format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","End":true}}}}{rest}}}"#)
    };
    for (text, expected) in [
        (
            whole(r#","Comment":"c","Version":"1.0","TimeoutSeconds":5,"QueryLanguage":"JSONata""#),
            "",
        ),
        (whole(r#","Foo":1"#), "Field 'Foo' is not supported at /"),
        (whole(r#","Version":"2""#), "The only supported 'Version' is \"1.0\" at /Version"),
        (
            whole(r#","TimeoutSeconds":0"#),
            "'TimeoutSeconds' must be a whole number from 1 to 99999999 at /TimeoutSeconds",
        ),
        (
            whole(r#","QueryLanguage":"SQL""#),
            "'QueryLanguage' must be one of [JSONPath, JSONata] at /QueryLanguage",
        ),
        (
            task(
                r#","Retry":[{"ErrorEquals":["E"],"IntervalSeconds":5,"MaxDelaySeconds":6,"JitterStrategy":"FULL"}]"#,
            ),
            "",
        ),
        (
            task(r#","Retry":[{"ErrorEquals":["E"],"IntervalSeconds":5,"MaxDelaySeconds":5}]"#),
            "'MaxDelaySeconds' must be greater than 'IntervalSeconds' at \
             /States/A/Retry[0]/MaxDelaySeconds",
        ),
        (
            task(r#","Retry":[{"ErrorEquals":["E"],"Tries":5}]"#),
            "Field 'Tries' is not supported at /States/A/Retry[0]",
        ),
        (
            task(r#","Retry":[{"ErrorEquals":["E"],"JitterStrategy":"SOME"}]"#),
            "'JitterStrategy' must be one of [FULL, NONE] at /States/A/Retry[0]/JitterStrategy",
        ),
        (
            map(
                r#","Label":"l","ItemReader":{"Resource":"arn:aws:states:::s3:getObject","Parameters":{"Bucket":"b","Key.$":"$.k"},"ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW","MaxItemsPath":"$.m"}},"ItemBatcher":{"MaxItemsPerBatch":2,"BatchInput":{"a.$":"$.a"}},"ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket":"b"},"WriterConfig":{"Transformation":"FLATTEN","OutputType":"JSONL"}}"#,
            ),
            "",
        ),
        (
            map(r#","ItemReader":{"ReaderConfig":{}}"#),
            "These fields are required: [Resource] at /States/A/ItemReader",
        ),
        (
            map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"InputType":"XML"}}"#),
            "'InputType' must be one of [CSV, JSON, JSONL, PARQUET, MANIFEST] at \
             /States/A/ItemReader/ReaderConfig/InputType",
        ),
        (map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"InputType":"PARQUET"}}"#), ""),
        (
            map(
                r#","ItemReader":{"Resource":"r","ReaderConfig":{"InputType":"MANIFEST","ManifestType":"S3_INVENTORY"}}"#,
            ),
            "",
        ),
        (
            map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"ManifestType":"HIVE"}}"#),
            "'ManifestType' must be one of [ATHENA_DATA, S3_INVENTORY] at \
             /States/A/ItemReader/ReaderConfig/ManifestType",
        ),
        (
            map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"Transformation":"UNPACK"}}"#),
            "'Transformation' must be one of [NONE, LOAD_AND_FLATTEN] at \
             /States/A/ItemReader/ReaderConfig/Transformation",
        ),
        (
            map(r#","ItemReader":{"Resource":"r","Arguments":{}}"#),
            "Field 'Arguments' is not supported at /States/A/ItemReader",
        ),
        (
            map(r#","ItemBatcher":{"MaxItemsPerBatch":-1}"#),
            "Minimum value is 0 at /States/A/ItemBatcher/MaxItemsPerBatch",
        ),
        (map(r#","ItemBatcher":{"MaxItemsPerBatch":0,"MaxInputBytesPerBatch":0}"#), ""),
        (
            map(r#","ItemBatcher":{"MaxItemsPerBatch":1,"MaxItemsPerBatchPath":"$.n"}"#),
            "There should only be one of the following fields: [MaxItemsPerBatch, \
             MaxItemsPerBatchPath] at /States/A/ItemBatcher",
        ),
        (map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"MaxItems":0}}"#), ""),
        (
            map(r#","ItemReader":{"Resource":"r","ReaderConfig":{"MaxItems":100000001}}"#),
            "Maximum value is 100000000 at /States/A/ItemReader/ReaderConfig/MaxItems",
        ),
        (
            map(
                r#","ItemReader":{"Resource":"r","ReaderConfig":{"MaxItemsPath":"$$.Execution.Input.n"}}"#,
            ),
            "Value is not a Reference Path at /States/A/ItemReader/ReaderConfig/MaxItemsPath",
        ),
        (
            map(r#","ItemBatcher":{"MaxItemsPerBatchPath":"x["}"#),
            "Value is not a valid JSONPath at /States/A/ItemBatcher/MaxItemsPerBatchPath",
        ),
        (
            map(r#","ResultWriter":{"WriterConfig":{"OutputType":"XML"}}"#),
            "'OutputType' must be one of [JSON, JSONL] at \
             /States/A/ResultWriter/WriterConfig/OutputType",
        ),
        (
            map(r#","Label":"a b""#),
            "'Label' must have 1 to 40 characters, none of them white space, a control character \
             or one of <>{}[]?*\"#%\\^|~`$&,;: at /States/A/Label",
        ),
        (
            one(&format!(
                r#""Type":"Map","ItemProcessor":{inner},"ItemBatcher":{{"MaxItemsPerBatch":1}}"#
            )),
            "Field 'ItemBatcher' is only supported for Map states in 'DISTRIBUTED' mode at \
             /States/A/ItemBatcher",
        ),
        (
            one(&format!(
                r#""Type":"Map","ItemProcessor":{{"ProcessorConfig":{{"Mode":"OTHER","X":1}},{pass}}}"#
            )),
            "Field 'X' is not supported at /States/A/ItemProcessor/ProcessorConfig\n\
             'Mode' must be one of [INLINE, DISTRIBUTED] at \
             /States/A/ItemProcessor/ProcessorConfig/Mode",
        ),
    ] {
        let found = shown(&text, MachineKind::Standard).join("\n");
        assert_eq!(found.replace("SCHEMA_VALIDATION_FAILED: ", ""), expected, "{text}");
    }
    assert_eq!(
        shown(&map(""), MachineKind::Express),
        ["SCHEMA_VALIDATION_FAILED: Express state machine does not support Map states in \
          'DISTRIBUTED' mode at /States/A/ItemProcessor/ProcessorConfig/Mode"]
    );
}

#[test]
fn values_of_fields_are_judged() {
    let task = |rest: &str| one(&format!(r#""Type":"Task","Resource":"w",{rest}"#));
    let wait = |rest: &str| one(&format!(r#""Type":"Wait",{rest}"#));
    let map = |rest: &str| {
        one(&format!(
            r#""Type":"Map","ItemProcessor":{{"StartAt":"B","States":{{"B":{{"Type":"Pass","End":true}}}}}},{rest}"#
        ))
    };
    let choice = |rule: &str| {
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Choice","Choices":[{{{rule}}}]}},"Z":{{"Type":"Succeed"}}}}}}"#
        )
    };
    let jsonata = r#""QueryLanguage":"JSONata""#;
    let long = "x".repeat(81);
    for (text, expected) in [
        (task(r#""TimeoutSeconds":9,"HeartbeatSeconds":8"#), ""),
        (task(&format!(r#"{jsonata},"TimeoutSeconds":"{{% 1 %}}","HeartbeatSeconds":5"#)), ""),
        (
            task(r#""TimeoutSeconds":8,"HeartbeatSeconds":8"#),
            "'HeartbeatSeconds' must be smaller than 'TimeoutSeconds' at /States/A/HeartbeatSeconds",
        ),
        (
            task(r#""TimeoutSeconds":0"#),
            "'TimeoutSeconds' must be a whole number from 1 to 99999999 at /States/A/TimeoutSeconds",
        ),
        (
            task(r#""TimeoutSeconds":"{% 1 %}""#),
            "'TimeoutSeconds' must be a whole number from 1 to 99999999 at /States/A/TimeoutSeconds",
        ),
        (
            task(r#""TimeoutSeconds":1,"TimeoutSecondsPath":"$.t""#),
            "There should only be one of the following fields: [TimeoutSeconds, TimeoutSecondsPath] at \
             /States/A",
        ),
        (
            wait(r#""Seconds":-1"#),
            "'Seconds' must be a whole number from 0 to 99999999 at /States/A/Seconds",
        ),
        (wait(r#""Seconds":0"#), ""),
        (
            wait(r#""Timestamp":"{% $now() %}""#),
            "String does not match RFC3339 timestamp at /States/A/Timestamp",
        ),
        (wait(&format!(r#"{jsonata},"Timestamp":"{{% $now() %}}""#)), ""),
        (map(r#""MaxConcurrency":0,"ToleratedFailurePercentage":12.5"#), ""),
        (map(r#""MaxConcurrency":-1"#), "Minimum value is 0 at /States/A/MaxConcurrency"),
        (
            map(r#""MaxConcurrency":"$.n""#),
            "Expected value of type Integer at /States/A/MaxConcurrency",
        ),
        (
            map(r#""MaxConcurrencyPath":"$$.Execution.Input.n""#),
            "Value is not a Reference Path at /States/A/MaxConcurrencyPath",
        ),
        (
            map(r#""ToleratedFailureCountPath":"$.n[*]""#),
            "Value is not a Reference Path at /States/A/ToleratedFailureCountPath",
        ),
        (map(r#""MaxConcurrencyPath":"$n","ItemsPath":"$$.Execution.Input.n""#), ""),
        (
            map(r#""ToleratedFailurePercentage":-1"#),
            "Minimum value is 0.0 at /States/A/ToleratedFailurePercentage",
        ),
        (
            map(r#""ToleratedFailurePercentage":101"#),
            "Maximum value is 100.0 at /States/A/ToleratedFailurePercentage",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":["E"],"IntervalSeconds":1.5}]"#),
            "'IntervalSeconds' must be a whole number from 1 to 99999999 at \
             /States/A/Retry[0]/IntervalSeconds",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":["E"],"BackoffRate":0.5}]"#),
            "'BackoffRate' must be a number from 1 at /States/A/Retry[0]/BackoffRate",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":["E"],"MaxAttempts":-1}]"#),
            "'MaxAttempts' must be a whole number from 0 to 99999999 at \
             /States/A/Retry[0]/MaxAttempts",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":[]}]"#),
            "'ErrorEquals' must not be empty at /States/A/Retry[0]/ErrorEquals",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":[1]}]"#),
            "Expected value of type String at /States/A/Retry[0]/ErrorEquals",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":["States.ALL","E"]}]"#),
            "'States.ALL' must stand alone and in the last rule at /States/A/Retry[0]/ErrorEquals",
        ),
        (
            task(r#""Retry":[{"ErrorEquals":["States.ALL"]},{"ErrorEquals":["E"]}]"#),
            "'States.ALL' must stand alone and in the last rule at /States/A/Retry[0]/ErrorEquals",
        ),
        (task(r#""Assign":{"a":1,"größe_2.$":"$.x","_":0}"#), ""),
        (
            task(r#""Assign":{"states.$":"$"}"#),
            "The variable name 'states' is reserved at /States/A/Assign",
        ),
        (
            task(r#""Assign":{"a.b":1}"#),
            "'a.b' is not a name of a variable: 1 to 80 letters, digits and underscores, the first \
             no digit at /States/A/Assign",
        ),
        (
            task(&format!(r#""Assign":{{"{long}":1}}"#)),
            &*format!(
                "'{long}' is not a name of a variable: 1 to 80 letters, digits and underscores, the \
                 first no digit at /States/A/Assign"
            ),
        ),
        (task(r#""Assign":[]"#), "Expected value of type Object at /States/A/Assign"),
        (task(r#""Comment":1"#), "Expected value of type String at /States/A/Comment"),
        (choice(r#""Variable":"$.a","IsNull":true,"Next":"Z","Comment":"c""#), ""),
        (
            choice(r#""Not":{"Variable":"$.a","IsNull":true,"Next":"Z"},"Next":"Z""#),
            "Field 'Next' is not supported at /States/A/Choices[0]/Not",
        ),
        (
            choice(r#""Or":[{"And":[{"Variable":"$.a","IsNull":true,"Assign":{}}]}],"Next":"Z""#),
            "Field 'Assign' is not supported at /States/A/Choices[0]/Or/And",
        ),
        (
            choice(r#""Variable":"$.a","IsNull":true,"Output":1,"Next":"Z""#),
            "Field 'Output' is not supported at /States/A/Choices[0]",
        ),
    ] {
        let found = shown(&text, MachineKind::Standard).join("\n");
        assert_eq!(found.replace("SCHEMA_VALIDATION_FAILED: ", ""), expected, "{text}");
    }
    let rule = |rule: &str| {
        let text = choice(rule).replacen('{', &format!("{{{jsonata},"), 1);
        shown(&text, MachineKind::Standard).join("\n").replace("SCHEMA_VALIDATION_FAILED: ", "")
    };
    assert_eq!(rule(r#""Condition":"{% true %}","Next":"Z","Output":1,"Assign":{"a":1}"#), "");
    assert_eq!(
        rule(r#""Condition":"yes","Next":"Z""#),
        "Expected a boolean or a JSONata expression at /States/A/Choices[0]/Condition"
    );
    assert_eq!(
        rule(r#""Condition":true,"Variable":"$.a","Next":"Z""#),
        "Field 'Variable' is not supported at /States/A/Choices[0]"
    );
}

#[test]
fn a_number_of_a_map_has_no_path_in_jsonata() {
    let text = one(
        r#""Type":"Map","QueryLanguage":"JSONata","ItemBatcher":{"MaxItemsPerBatch":1,"MaxItemsPerBatchPath":"$.n"},"ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}"#,
    );
    assert_eq!(
        shown(&text, MachineKind::Standard),
        ["SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field \
          'MaxItemsPerBatchPath' is only supported for the 'JSONPath' QueryLanguage at \
          /States/A/ItemBatcher"]
    );
}

#[test]
fn a_label_stands_once() {
    let map = |next: &str, inner: &str| {
        format!(
            r#"{{"Type":"Map","Label":"l",{next},"ItemProcessor":{{"StartAt":"{inner}","States":{{"{inner}":{{"Type":"Pass","End":true}}}}}}}}"#
        )
    };
    let (first, second) = (map(r#""Next":"B""#, "a"), map(r#""End":true"#, "b"));
    assert_eq!(
        shown(
            &format!(r#"{{"StartAt":"A","States":{{"A":{first},"B":{second}}}}}"#),
            MachineKind::Standard
        ),
        ["DUPLICATE_LABEL_NAME: Duplicate Label name: l at /States/B/Label"]
    );
}

#[test]
fn iterations_run_by_express_machines_are_judged_as_such() {
    let text = one(
        r#""Type":"Map","ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},"StartAt":"B","States":{"B":{"Type":"Task","Resource":"arn:aws:states:::sqs:sendMessage.waitForTaskToken","End":true}}}"#,
    );
    assert_eq!(
        shown(&text, MachineKind::Standard),
        ["SCHEMA_VALIDATION_FAILED: Express state machine does not support '.waitForTaskToken' \
          service integration  at /States/A/ItemProcessor/States/B/Resource"]
    );
}

/// Every definition that AWS ran must be accepted, and every recorded validation answered alike.
#[test]
fn recorded_definitions_are_judged_as_aws_judged_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/states-language");
    if !folder.is_dir() {
        return lacking::skip(
            "recorded_definitions_are_judged_as_aws_judged_them",
            lacking::Lack::SharedData,
            &format!("{} is not there", folder.display()),
        );
    }
    let read = |name: &str| -> Option<serde_json::Value> {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}")))
    };
    let mut wrong = Vec::new();
    for case in read("cases.json").and_then(|c| c.as_array().cloned()).unwrap_or_default() {
        let text = match &case["definition"] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let kind =
            if case["type"] == "EXPRESS" { MachineKind::Express } else { MachineKind::Standard };
        let found = validate(&text, kind);
        if !found.is_empty() {
            wrong.push(format!("{} {found:?}", case["id"]));
        }
    }
    for case in
        read("validation_cases.json").and_then(|c| c.as_array().cloned()).unwrap_or_default()
    {
        let (Some(text), Some(expected)) =
            (case["request"]["definition"].as_str(), case["expected"]["diagnostics"].as_array())
        else {
            continue;
        };
        let kind = if case["request"]["type"] == "EXPRESS" {
            MachineKind::Express
        } else {
            MachineKind::Standard
        };
        let found = validate(text, kind);
        let alike = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| {
                found.code == expected["code"]
                    && found.message == expected["message"]
                    && found.location.as_deref() == expected["location"].as_str()
            });
        if !alike {
            wrong.push(format!("{} {found:?} {expected:?}", case["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_inner_scope_only_reads_what_an_outer_one_assigns() {
    let machine = |outer: &str, inner: &str, mode: &str| {
        let states =
            format!(r#""StartAt":"I","States":{{"I":{{"Type":"Pass",{inner}"End":true}}}}"#);
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass",{outer}"Next":"P"}},
            "P":{{"Type":"Parallel","Branches":[{{"StartAt":"M","States":{{"M":{{"Type":"Map","End":true,
                "ItemProcessor":{{"ProcessorConfig":{mode},{states}}}}}}}}}],"End":true}}}}}}"#
        )
    };
    let (inline, distributed) =
        (r#"{"Mode":"INLINE"}"#, r#"{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}"#);
    let place = "/States/P/Branches[0]/States/M/ItemProcessor/States/I/Assign";
    let hidden = format!(
        "SCHEMA_VALIDATION_FAILED: The variable 'x' is assigned in an outer scope: an inner scope can \
         only read it at {place}"
    );
    let (x, y) = (r#""Assign":{"x.$":"$"},"#, r#""Assign":{"y":1},"#);
    for (outer, inner, mode, expected) in [
        (x, x, inline, vec![hidden]),
        (x, y, inline, vec![]),
        ("", x, inline, vec![]),
        (x, x, distributed, vec![]),
    ] {
        let text = machine(outer, inner, mode);
        assert_eq!(shown(&text, MachineKind::Standard), expected, "{text}");
    }
}
