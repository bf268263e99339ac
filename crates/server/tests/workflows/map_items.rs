//! 12: what the children of a distributed Map are told of their items.

use std::sync::Arc;

use ark_server::workflows::objects::FileObjects;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A distributed Map with these fields whose children give back what they get.
fn map(fields: Value) -> Value {
    let pass = json!({"Type": "Pass", "End": true});
    let mut map = json!({"Type": "Map", "End": true,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "P", "States": {"P": pass}}});
    for (name, value) in fields.as_object().unwrap() {
        map[name] = value.clone();
    }
    json!({"StartAt": "M", "States": {"M": map}})
}

/// Members of an object have their keys wherever the object comes from, in both languages.
#[tokio::test]
async fn a_member_of_an_object_is_told_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let object = json!({"x": 1, "y": [2]});
    std::fs::write(dir.path().join("in/object.json"), object.to_string()).unwrap();
    let mut f = Fixture::new().await;
    let objects = FileObjects::new(dir.path().to_owned());
    f.wf = f.wf.clone().with_objects(Arc::new(objects));

    let paths = json!({"k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value"});
    let item = "$states.context.Map.Item";
    let expressions =
        json!({"k": format!("{{% {item}.Key %}}"), "v": format!("{{% {item}.Value %}}")});
    let at = json!({"Bucket": "in", "Key": "object.json"});
    let reader = |field: &str| json!({"Resource": "s3:getObject", field: at});
    for (name, fields) in [
        ("read", json!({"ItemSelector": paths, "ItemReader": reader("Parameters")})),
        ("given", json!({"ItemSelector": paths})),
        (
            "given-jsonata",
            json!({"QueryLanguage": "JSONata", "Items": "{% $states.input %}",
                "ItemSelector": expressions}),
        ),
        (
            "read-jsonata",
            json!({"QueryLanguage": "JSONata", "ItemReader": reader("Arguments"),
                "ItemSelector": expressions}),
        ),
    ] {
        let machine = f.machine(name, map(fields)).await;
        let arn = f.start(&machine, object.clone()).await;
        f.settle().await;
        let expected = json!([{"k": "x", "v": 1}, {"k": "y", "v": [2]}]);
        assert_eq!(f.output(&arn).await, expected, "{name}");
    }
    let machine = f.machine("unselected", map(json!({"ItemReader": reader("Parameters")}))).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let expected = json!([{"Key": "x", "Value": 1}, {"Key": "y", "Value": [2]}]);
    assert_eq!(f.output(&arn).await, expected);
}
