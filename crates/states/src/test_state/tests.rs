//! What is given in place of a reader's object and of inner states.

use serde_json::json;

use std::sync::Arc;

use super::*;

fn info() -> ExecutionInfo {
    let name: Arc<str> = "n".into();
    ExecutionInfo {
        express: false,
        arn: name.clone(),
        name: name.clone(),
        input: "{}".into(),
        role_arn: name.clone(),
        start_time: Timestamp::UNIX_EPOCH,
        state_machine_arn: name.clone(),
        state_machine_name: name,
        alias_arn: None,
        version_arn: None,
    }
}

/// The answer's wire form, or why the request is refused.
fn ask(state: &serde_json::Value, mock: Mock, configuration: Configuration) -> serde_json::Value {
    ask_with(state, Some(mock), configuration, None, None)
}

fn ask_with(
    state: &serde_json::Value,
    mock: Option<Mock>,
    configuration: Configuration,
    state_name: Option<&str>,
    context: Option<&str>,
) -> serde_json::Value {
    let (definition, execution) = (state.to_string(), info());
    let answer = run(&Request {
        definition: &definition,
        state_name,
        input: "{}",
        variables: None,
        context,
        level: InspectionLevel::Debug,
        mock,
        field_validation: FieldValidation::default(),
        configuration,
        execution: &execution,
        now: Timestamp::UNIX_EPOCH,
        seed: 1,
        fuel: &Fuel::ample(),
    });
    answer.map_or_else(|refused| json!(refused.to_string()), |answer| answer.to_wire())
}

fn map(config: &serde_json::Value) -> serde_json::Value {
    json!({"Type": "Map", "End": true, "ItemSelector": {"v.$": "$$.Map.Item.Value"},
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": config,
            "Parameters": {"Bucket": "b", "Key": "k"}},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}})
}

#[test]
fn the_data_of_a_reader_is_as_in_its_source() {
    for (config, data, selected, pointed) in [
        (json!({"InputType": "JSON"}), "[1]", r#"[{"v":1}]"#, None),
        (
            json!({"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}),
            "a,b\n1,2\n3,4\n",
            r#"[{"v":{"a":"1","b":"2"}},{"v":{"a":"3","b":"4"}}]"#,
            None,
        ),
        (json!({"InputType": "JSONL", "MaxItems": 2}), "1\n2\n3\n", r#"[{"v":1},{"v":2}]"#, None),
        (
            json!({"InputType": "JSON", "ItemsPointer": "/a/b"}),
            r#"{"a":{"b":[7]}}"#,
            r#"[{"v":7}]"#,
            Some("[7]"),
        ),
    ] {
        let configuration =
            Configuration { map_item_reader_data: Some(data.into()), ..Configuration::default() };
        let answer = ask(&map(&config), Mock::Result("[]".into()), configuration);
        let seen = &answer["inspectionData"];
        assert_eq!(seen["afterItemSelector"], selected, "{answer}");
        assert_eq!(seen["afterItemsPointer"].as_str(), pointed, "{answer}");
    }
    let broken =
        Configuration { map_item_reader_data: Some("{".into()), ..Configuration::default() };
    let refused = ask(&map(&json!({"InputType": "JSON"})), Mock::Result("[]".into()), broken);
    assert!(refused.as_str().is_some_and(|why| why.starts_with("mapItemReaderData is not")));
}

#[test]
fn an_error_comes_from_an_inner_state() {
    let asked = |name: &str| {
        let failure = Failure::new("E", "c");
        let caused =
            Configuration { error_caused_by_state: Some(name.into()), ..Configuration::default() };
        ask(&map(&json!({"InputType": "JSON"})), Mock::Error(failure), caused)
    };
    assert_eq!(asked("I")["error"], "E");
    let refused = asked("J");
    assert!(refused.as_str().is_some_and(|why| why.contains("'J'")), "{refused}");
}

#[test]
fn a_state_is_judged_as_in_a_machine() {
    let refused = |state: &serde_json::Value| {
        ask_with(state, None, Configuration::default(), None, None).as_str().map(str::to_owned)
    };
    let catch = json!([{"ErrorEquals": ["E"], "Next": "B"}]);
    assert_eq!(
        refused(&json!({"Type": "Pass", "Catch": catch, "End": true})).as_deref(),
        Some(
            "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: Field 'Catch' is not \
             supported at /'"
        )
    );
    let jsonata = json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% 1 + %}",
        "Next": "B"});
    assert_eq!(
        refused(&jsonata).as_deref(),
        Some(
            "Invalid State Machine Definition: 'INVALID_JSONATA_EXPRESSION: Unexpected end of \
             expression at /Output'"
        )
    );
    let machine = json!({"StartAt": "A", "States": {"A": jsonata}});
    let told = refused(&machine).unwrap_or_default();
    assert!(told.contains("at /States/A/Output"), "{told}");
}

#[test]
fn a_state_that_stands_alone_may_lead_nowhere() {
    let ask =
        |state: &serde_json::Value| ask_with(state, None, Configuration::default(), None, None);
    for state in [json!({"Type": "Pass", "Result": 1}), json!({"Type": "Wait", "Seconds": 1})] {
        let answer = ask(&state);
        assert_eq!(answer["status"], "SUCCEEDED", "{answer}");
        assert_eq!(answer["nextState"], serde_json::Value::Null, "{answer}");
    }
    let refused = |state: serde_json::Value| {
        let answer = ask(&state);
        let told = answer.as_str().unwrap_or_default().to_owned();
        assert!(told.contains("Exactly one of the fields 'Next' and 'End'"), "{answer}");
        told
    };
    refused(json!({"Type": "Pass", "Next": "B", "End": true}));
    // Of a machine's states, also of one within a state that stands alone, one or the other is asked for.
    let machine = json!({"StartAt": "A", "States": {"A": {"Type": "Pass"}}});
    assert!(refused(json!({"Type": "Parallel", "Branches": [machine]})).contains("/Branches"));
    assert!(refused(machine).contains("at /States/A"));
}

#[test]
fn what_belongs_together_is_given_together() {
    let pass = json!({"Type": "Pass", "End": true});
    let task = json!({"Type": "Task", "Resource": "w", "End": true});
    let plain = Configuration::default;
    let failure = Failure { error: None, cause: Some("c".into()) };
    for (refused, why) in [
        (ask_with(&pass, None, plain(), None, Some("{}")), "together with a mock"),
        (ask_with(&pass, None, plain(), Some("S"), None), "definition of a state machine"),
        (ask(&task, Mock::Error(failure), plain()), "must have an error"),
    ] {
        assert!(refused.as_str().is_some_and(|text| text.contains(why)), "{refused}");
    }
    let mocked = Mock::Result("{}".into());
    let answer = ask_with(&task, Some(mocked), plain(), None, Some("{}"));
    assert_eq!(answer["status"], "SUCCEEDED");
}
