//! The wire itself: signatures, permissions, names, pages, what is unknown.

use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::Ark;

const ROLE: &str = "arn:aws:iam::000000000000:role/any";
const DEFINITION: &str =
    "{ \"StartAt\" : \"S\",\n\"States\": {\"S\": {\"Type\":\"Succeed\"}}, \"Comment\":\"\u{e4}\" }";

fn machine(name: &str) -> Value {
    json!({ "name": name, "definition": DEFINITION, "roleArn": ROLE })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_signs_with_a_good_key_is_served() {
    let ark = Ark::up();
    let client = Client::of(&ark, "reader");
    client.good("ListActivities", json!({})).await;
    let (status, text) = client.send("ListActivities", "{}", "wrong").await;
    assert_eq!((status, text.contains("InvalidSignatureException")), (400, true), "{text}");
    let stranger = Client { key: "AKIAAAAAAAAAAAAAAAAA".into(), ..client.clone() };
    assert_eq!(stranger.refused("ListActivities", json!({})).await, "UnrecognizedClientException");
    // A reader reads.
    let denied = client.refused("CreateActivity", json!({ "name": "a" })).await;
    assert_eq!(denied, "AccessDeniedException");
    assert_eq!(client.refused("Nothing", json!({})).await, "UnknownOperationException");
    let bare = reqwest::Client::new();
    let answer = bare.post(&client.base).body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let text = answer.text().await.expect("a body");
    assert!(text.contains("MissingAuthenticationTokenException"), "{text}");
    // The key ends with its revocation.
    let list = ark.json(&["token", "list", "--json"]);
    let tokens = list.as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    let id = tokens
        .iter()
        .find(|token| token["access_key_id"] == client.key.as_str())
        .and_then(|token| token["id"].as_str())
        .expect("the key is listed");
    assert!(ark.run(&["token", "revoke", id]).status.success());
    assert_eq!(client.refused("ListActivities", json!({})).await, "UnrecognizedClientException");
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_versions_aliases_activities_and_tags_are_kept() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let made = client.good("CreateStateMachine", machine("m")).await;
    let arn = made["stateMachineArn"].as_str().expect("an ARN");
    assert_eq!(client.good("CreateStateMachine", machine("m")).await, made, "the same again");
    let described = client.good("DescribeStateMachine", json!({ "stateMachineArn": arn })).await;
    assert_eq!(described["definition"], DEFINITION, "byte for byte");
    for (name, input) in [
        ("InvalidName", machine("a b")),
        ("ValidationException", machine(&"x".repeat(81))),
        ("InvalidArn", json!({ "name": "n", "definition": DEFINITION, "roleArn": "x" })),
        ("InvalidDefinition", json!({ "name": "n", "definition": "[", "roleArn": ROLE })),
        (
            "ValidationException",
            json!({
                "name": "n", "definition": DEFINITION, "roleArn": ROLE,
                "versionDescription": "without publish",
            }),
        ),
    ] {
        assert_eq!(client.refused("CreateStateMachine", input).await, name);
    }

    let publish = json!({ "stateMachineArn": arn });
    let first = client.good("PublishStateMachineVersion", publish.clone()).await;
    assert_eq!(first, client.good("PublishStateMachineVersion", publish).await, "idempotent");
    let v1 = first["stateMachineVersionArn"].as_str().expect("an ARN");
    let other = DEFINITION.replace("Comment", "Version");
    let other = other.replace('\u{e4}', "1.0");
    let update = json!({ "stateMachineArn": arn, "definition": other, "publish": true });
    let updated = client.good("UpdateStateMachine", update).await;
    let v2 = updated["stateMachineVersionArn"].as_str().expect("an ARN");
    assert!(v1.ends_with(":m:1") && v2.ends_with(":m:2"), "{v1} {v2}");
    let routes = |a: u32, b: u32| {
        json!([
            { "stateMachineVersionArn": v1, "weight": a },
            { "stateMachineVersionArn": v2, "weight": b },
        ])
    };
    let alias = |routes: Value| json!({ "name": "live", "routingConfiguration": routes });
    for wrong in [routes(50, 49), json!([{ "stateMachineVersionArn": arn, "weight": 100 }])] {
        let refused = client.refused("CreateStateMachineAlias", alias(wrong)).await;
        assert_eq!(refused, "ValidationException");
    }
    let made = client.good("CreateStateMachineAlias", alias(routes(20, 80))).await;
    assert_eq!(made, client.good("CreateStateMachineAlias", alias(routes(20, 80))).await);
    let refused = client.refused("CreateStateMachineAlias", alias(routes(30, 70))).await;
    assert_eq!(refused, "ConflictException");
    let delete = json!({ "stateMachineVersionArn": v1 });
    assert_eq!(client.refused("DeleteStateMachineVersion", delete).await, "ConflictException");
    let listed = json!({ "stateMachineArn": v2 });
    let listed = client.good("ListStateMachineAliases", listed).await;
    assert_eq!(listed["stateMachineAliases"].as_array().map(Vec::len), Some(1));

    let activity = client.good("CreateActivity", json!({ "name": "a--b" })).await;
    assert_eq!(client.good("CreateActivity", json!({ "name": "a--b" })).await, activity);
    for resource in [arn, activity["activityArn"].as_str().expect("an ARN")] {
        let tags = json!([{ "key": "k", "value": "v" }, { "key": "l" }]);
        client.good("TagResource", json!({ "resourceArn": resource, "tags": tags })).await;
        let untag = json!({ "resourceArn": resource, "tagKeys": ["l", "none"] });
        client.good("UntagResource", untag).await;
        let tags = client.good("ListTagsForResource", json!({ "resourceArn": resource })).await;
        assert_eq!(tags, json!({ "tags": [{ "key": "k", "value": "v" }] }));
        let many: Vec<Value> = (0..50).map(|n| json!({ "key": format!("k{n}") })).collect();
        let many = json!({ "resourceArn": resource, "tags": many });
        assert_eq!(client.refused("TagResource", many).await, "TooManyTags");
    }

    client.good("DeleteStateMachine", json!({ "stateMachineArn": arn })).await;
    client.good("DeleteStateMachine", json!({ "stateMachineArn": arn })).await;
    for gone in [arn, v1] {
        let gone = json!({ "stateMachineArn": gone });
        let refused = client.refused("DescribeStateMachine", gone).await;
        assert_eq!(refused, "StateMachineDoesNotExist");
    }
    // Another of that name has no tags, and numbers its versions from 1.
    let again = json!({
        "name": "m", "definition": DEFINITION, "roleArn": ROLE, "publish": true,
    });
    let again = client.good("CreateStateMachine", again).await;
    assert_eq!(again["stateMachineVersionArn"], v1);
    let tags = client.good("ListTagsForResource", json!({ "resourceArn": arn })).await;
    assert_eq!(tags, json!({ "tags": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_are_told_to_who_asks_and_keep_nothing_from_being_made() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let definition = r#"{"StartAt":"S","States":{"S":{"Type":"Pass","Result":"$.x","End":true}}}"#;
    let judged = async |more: Value| {
        let mut asked = json!({ "definition": definition });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = client.good("ValidateStateMachineDefinition", asked).await;
        assert_eq!(answer["result"], "OK", "{answer}");
        answer["diagnostics"].clone()
    };
    assert_eq!(judged(json!({})).await, json!([]));
    assert_eq!(judged(json!({ "severity": "ERROR" })).await, json!([]));
    let told = judged(json!({ "severity": "WARNING" })).await;
    let expected = json!({ "severity": "WARNING", "code": "PASS_RESULT_IS_STATIC",
        "location": "/States/S/Result", "message": told[0]["message"] });
    assert_eq!(told, json!([expected]));
    let made = json!({ "name": "warned", "definition": definition, "roleArn": ROLE });
    client.good("CreateStateMachine", made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_and_their_tokens_cannot_be_made_up() {
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    for n in 0..7 {
        client.good("CreateActivity", json!({ "name": format!("a{n}") })).await;
        client.good("CreateStateMachine", machine(&format!("m{n}"))).await;
    }
    let (mut names, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut input = json!({ "maxResults": 3 });
        if !token.is_null() {
            input["nextToken"] = token.clone();
        }
        let page = client.good("ListActivities", input).await;
        let items = page["activities"].as_array().expect("a list").clone();
        assert!(items.len() <= 3);
        names.extend(items.into_iter().map(|item| item["name"].clone()));
        // Others come in between.
        client.good("CreateActivity", json!({ "name": "a6" })).await;
        match page.get("nextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(names, ["a0", "a1", "a2", "a3", "a4", "a5", "a6"]);
    let token = token.as_str().expect("a token");
    // Another list's, a changed one, and nonsense.
    let other = client.refused("ListStateMachines", json!({ "nextToken": token })).await;
    assert_eq!(other, "InvalidToken");
    let flipped = if token.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{flipped}", &token[..token.len() - 1]);
    let cut = &token[..token.len() / 2];
    for wrong in [changed.as_str(), cut, "x", "====", "2"] {
        let refused = client.refused("ListActivities", json!({ "nextToken": wrong })).await;
        assert_eq!(refused, "InvalidToken", "{wrong}");
    }
}
