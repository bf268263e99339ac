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

#[test]
fn readers_and_writers_name_what_they_read_and_write() {
    let map = |rest: &str| {
        one(&format!(
            r#""Type":"Map","ItemProcessor":{{"ProcessorConfig":{{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}},"StartAt":"B","States":{{"B":{{"Type":"Pass","End":true}}}}}},{rest}"#
        ))
    };
    let s3 = "arn:aws:states:::s3";
    let writer = |members: &str| map(&format!(r#""ResultWriter":{{{members}}}"#));
    let reader = |members: &str| map(&format!(r#""ItemReader":{{{members}}}"#));
    let format = r#""WriterConfig":{"OutputType":"JSON","Transformation":"NONE"}"#;
    for (text, expected) in [
        (
            writer(&format!(
                r#""Resource":"{s3}:putObject","Parameters":{{"Bucket":"b","Prefix":"x"}}"#
            )),
            "",
        ),
        (
            writer(&format!(
                r#""Resource":"{s3}:putObject","Parameters":{{"Bucket.$":"$.b"}},{format}"#
            )),
            "",
        ),
        (writer(format), ""),
        (writer(""), "These fields are required: [Resource, Parameters] at /States/A/ResultWriter"),
        (
            writer(r#""Parameters":{"Bucket":"b","Prefix":"x"}"#),
            "These fields are required: [Resource] at /States/A/ResultWriter",
        ),
        (
            writer(&format!(r#""Parameters":{{"Bucket":"b"}},{format}"#)),
            "These fields are required: [Resource] at /States/A/ResultWriter",
        ),
        (
            writer(&format!(r#""Resource":"{s3}:putObject",{format}"#)),
            "These fields are required: [Parameters] at /States/A/ResultWriter",
        ),
        (
            writer(&format!(r#""Resource":"{s3}:putObject","Parameters":{{"Prefix":"b"}}"#)),
            "The field 'Bucket' is required but was missing at /States/A/ResultWriter/Parameters",
        ),
        (
            writer(&format!(r#""Resource":"{s3}:getObject","Parameters":{{"Bucket":"b"}}"#)),
            "'Resource' must be one of [arn:aws:states:::s3:putObject] at /States/A/ResultWriter/Resource",
        ),
        (
            reader(&format!(
                r#""Resource":"{s3}:getObject","Parameters":{{"Bucket":"b","Key.$":"$.k"}}"#
            )),
            "",
        ),
        (reader(&format!(r#""Resource":"{s3}:listObjectsV2","Parameters":{{"Bucket":"b"}}"#)), ""),
        (
            reader(
                r#""Resource":"arn:aws-cn:states:::s3:listObjectsV2","Parameters":{"Bucket":"b","Prefix":"p"}"#,
            ),
            "",
        ),
        // As others that Ark serves, without the prefix.
        (reader(r#""Resource":"s3:listObjectsV2","Parameters":{"Bucket":"b"}"#), ""),
        (reader(r#""Resource":"s3:getObject","Parameters":{"Bucket":"b","Key":"k"}"#), ""),
        (writer(r#""Resource":"s3:putObject","Parameters":{"Bucket":"b"}"#), ""),
        (
            reader(&format!(
                r#""Resource":"{s3}:deleteObject","Parameters":{{"Bucket":"b","Key":"k"}}"#
            )),
            "'Resource' must be one of [arn:aws:states:::s3:getObject, \
             arn:aws:states:::s3:listObjectsV2] at /States/A/ItemReader/Resource",
        ),
        (
            reader(&format!(r#""Resource":"{s3}:getObject","Parameters":{{"Bucket":"b"}}"#)),
            "The field 'Key' is required but was missing at /States/A/ItemReader/Parameters",
        ),
        (
            reader(&format!(r#""Resource":"{s3}:getObject""#)),
            "These fields are required: [Parameters] at /States/A/ItemReader",
        ),
        (
            reader(&format!(
                r#""Resource":"{s3}:listObjectsV2","Parameters":{{"Bucket":"b"}},"ReaderConfig":{{"Transformation":"LOAD_AND_FLATTEN"}}"#
            )),
            "These fields are required: [InputType] at /States/A/ItemReader/ReaderConfig",
        ),
        (
            reader(&format!(
                r#""Resource":"{s3}:listObjectsV2","Parameters":{{"Bucket":"b"}},"ReaderConfig":{{"Transformation":"LOAD_AND_FLATTEN","InputType":"JSON"}}"#
            )),
            "",
        ),
        // One expression may give all of them.
        (
            reader(&format!(r#""Resource":"{s3}:getObject","Arguments":"{{% $states.input %}}""#))
                .replacen(r#""Type""#, r#""QueryLanguage":"JSONata","Type""#, 1),
            "",
        ),
    ] {
        let found = shown(&text, MachineKind::Standard).join("\n");
        assert_eq!(found.replace(SCHEMA, ""), expected, "{text}");
    }
}
