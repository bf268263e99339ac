//! What tasks, readers and writers ask for.

use super::super::*;
use super::{one, shown};

const SCHEMA: &str = "SCHEMA_VALIDATION_FAILED: ";

#[test]
fn fields_of_the_services_that_ark_serves_are_known() {
    let path = |resource: &str, parameters: &str| {
        one(&format!(r#""Type":"Task","Resource":"{resource}","Parameters":{parameters}"#))
    };
    let jsonata = |resource: &str, arguments: &str| {
        one(&format!(
            r#""Type":"Task","QueryLanguage":"JSONata","Resource":"{resource}","Arguments":{arguments}"#
        ))
    };
    let lambda = "arn:aws:states:::lambda:invoke";
    let start = "arn:aws:states:::states:startExecution";
    for (text, expected) in [
        (path(lambda, r#"{"FunctionName.$":"$.f","Payload":{"Any":1},"LogType.$":"$.l"}"#), vec![]),
        (
            path(&format!("{lambda}.waitForTaskToken"), r#"{"FunctionName":"f","Qualifier":"1"}"#),
            vec![],
        ),
        (
            path(lambda, r#"{"FunctionNam":"f"}"#),
            vec![
                "The field \"FunctionNam\" is not supported by Step Functions",
                "The field 'FunctionName' is required but was missing",
            ],
        ),
        (
            path(lambda, r#"{"FunctionName":"f","Paylod.$":"$"}"#),
            vec!["The field \"Paylod\" is not supported by Step Functions"],
        ),
        (
            path(start, r#"{"StateMachineArn":"m","Input.$":"$","Name":"n","TraceHeader":"t"}"#),
            vec![],
        ),
        (
            path(&format!("{start}.sync:2"), r#"{"StateMachineArn.$":"$.m","Inputs":{}}"#),
            vec!["The field \"Inputs\" is not supported by Step Functions"],
        ),
        (
            path("states:startExecution.sync", "{}"),
            vec!["The field 'StateMachineArn' is required but was missing"],
        ),
        (
            path("arn:aws:states:::http:invoke", r#"{"Method":"GET","Url":"u"}"#),
            vec![
                "The field \"Url\" is not supported by Step Functions",
                "The field 'ApiEndpoint' is required but was missing",
            ],
        ),
        (
            path(
                "http:invoke",
                r#"{"ApiEndpoint":"u","Method":"GET","Headers":{"a":"b"},"QueryParameters":{},"RequestBody":{},"Transform":{},"Authentication":{"ConnectionArn":"c"}}"#,
            ),
            vec![],
        ),
        (jsonata(lambda, r#"{"FunctionName":"f","Payload":"{% 1 %}"}"#), vec![]),
        (jsonata(lambda, r#""{% $doesNotExist %}""#), vec![]),
        (
            jsonata(lambda, r#"{"FunctionName.$":"f"}"#),
            vec![
                "The field \"FunctionName.$\" is not supported by Step Functions",
                "The field 'FunctionName' is required but was missing",
            ],
        ),
        // The input is the request.
        (one(&format!(r#""Type":"Task","Resource":"{lambda}""#)), vec![]),
        // Services whose fields Ark does not know, and functions and activities, whose input is theirs.
        (path("arn:aws:states:::sqs:sendMessage", r#"{"X":1}"#), vec![]),
        (path("arn:aws:states:::aws-sdk:lambda:invoke", r#"{"X":1}"#), vec![]),
        (path("arn:aws:lambda:us-east-1:1:function:f", r#"{"X":1}"#), vec![]),
        (path("resize", r#"{"X":1}"#), vec![]),
    ] {
        let field = if text.contains("Arguments") { "Arguments" } else { "Parameters" };
        let expected: Vec<String> =
            expected.iter().map(|line| format!("{SCHEMA}{line} at /States/A/{field}")).collect();
        assert_eq!(shown(&text, MachineKind::Standard), expected, "{text}");
    }
    assert_eq!(
        shown(&one(r#""Type":"Task","Resource":"""#), MachineKind::Standard),
        [format!("{SCHEMA}Value is not a valid resource ARN at /States/A/Resource")]
    );
}
