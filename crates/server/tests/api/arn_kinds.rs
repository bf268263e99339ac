//! What every operation of Step Functions' API that takes an ARN says to one of another kind. (Routes of
//! aliases have a refusal of their own.)

use ark_model::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Server;

const STATES: &str = "arn:aws:states:us-east-1:000000000000";

/// Every kind of ARN: its type, and how it goes on.
const KINDS: [(&str, &str); 5] = [
    ("stateMachine", "m"),
    ("activity", "a"),
    ("execution", "m:e"),
    ("express", "m:e:1"),
    ("mapRun", "m/L:0b0f2b1e-6f0a-4a3c-9d8e-1f2a3b4c5d6e"),
];

/// Every operation that takes an ARN: which member, the kinds that it takes, and what else it needs.
fn operations() -> Vec<(&'static str, &'static str, &'static [&'static str], Value)> {
    let (machine, activity, execution, map_run) =
        (&["stateMachine"][..], &["activity"][..], &["execution"][..], &["mapRun"][..]);
    let tagged = &["stateMachine", "activity"][..];
    vec![
        ("DeleteActivity", "activityArn", activity, json!({})),
        ("DeleteStateMachine", "stateMachineArn", machine, json!({})),
        ("DeleteStateMachineAlias", "stateMachineAliasArn", machine, json!({})),
        ("DeleteStateMachineVersion", "stateMachineVersionArn", machine, json!({})),
        ("DescribeActivity", "activityArn", activity, json!({})),
        ("DescribeExecution", "executionArn", execution, json!({})),
        ("DescribeMapRun", "mapRunArn", map_run, json!({})),
        ("DescribeStateMachine", "stateMachineArn", machine, json!({})),
        ("DescribeStateMachineAlias", "stateMachineAliasArn", machine, json!({})),
        ("DescribeStateMachineForExecution", "executionArn", execution, json!({})),
        ("GetActivityTask", "activityArn", activity, json!({})),
        ("GetExecutionHistory", "executionArn", execution, json!({})),
        ("ListExecutions", "stateMachineArn", machine, json!({})),
        ("ListExecutions", "mapRunArn", map_run, json!({})),
        ("ListMapRuns", "executionArn", execution, json!({})),
        ("ListStateMachineAliases", "stateMachineArn", machine, json!({})),
        ("ListStateMachineVersions", "stateMachineArn", machine, json!({})),
        ("ListTagsForResource", "resourceArn", tagged, json!({})),
        ("PublishStateMachineVersion", "stateMachineArn", machine, json!({})),
        ("RedriveExecution", "executionArn", execution, json!({})),
        ("StartExecution", "stateMachineArn", machine, json!({})),
        ("StartSyncExecution", "stateMachineArn", machine, json!({})),
        ("StopExecution", "executionArn", execution, json!({})),
        ("TagResource", "resourceArn", tagged, json!({ "tags": [] })),
        ("UntagResource", "resourceArn", tagged, json!({ "tagKeys": [] })),
        ("UpdateMapRun", "mapRunArn", map_run, json!({ "maxConcurrency": 1 })),
        (
            "UpdateStateMachine",
            "stateMachineArn",
            machine,
            json!({ "roleArn": "arn:aws:iam::1:role/x" }),
        ),
        ("UpdateStateMachineAlias", "stateMachineAliasArn", machine, json!({ "description": "x" })),
    ]
}

#[tokio::test]
async fn an_arn_of_another_kind_is_refused_in_one_way() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    for (operation, member, takes, more) in operations() {
        for (kind, rest) in KINDS {
            if takes.contains(&kind) {
                continue;
            }
            let mut input = more.clone();
            let arn = format!("{STATES}:{kind}:{rest}");
            input[member] = arn.into();
            let request = server.request(Role::Admin, Method::POST, "/");
            let request = request.header("x-amz-target", format!("AWSStepFunctions.{operation}"));
            let answer = server.send(request.json(&input)).await;
            let refused = json!({ "__type": "InvalidArn",
                "message": format!("Invalid Arn: 'Resource type not valid in this context: {kind}'") });
            if (answer.status, answer.json()) != (400, refused) {
                wrong.push(format!("{operation} {kind}: {} {}", answer.status, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
