use super::*;

fn shown(text: &str, kind: MachineKind) -> Vec<String> {
    let line = |found: Finding| match found.location {
        Some(location) => format!("{}: {} at {location}", found.code, found.message),
        None => format!("{}: {}", found.code, found.message),
    };
    validate(text, kind).into_iter().map(line).collect()
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
            vec!["SCHEMA_VALIDATION_FAILED: Unexpected end of expression at /States/A/Output"],
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

/// Every definition that AWS ran must be accepted, and every recorded validation answered alike.
#[test]
fn recorded_definitions_are_judged_as_aws_judged_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/states-language");
    let read = |name: &str| -> Option<serde_json::Value> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).ok()?).ok()
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
