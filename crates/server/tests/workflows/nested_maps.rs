//! Maps within the children of a Map Run.

use ark_model::workflow::ExecutionStatus;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A distributed Map whose children of this kind map their items with this state.
fn nested(kind: &str, state: &Value) -> Value {
    let inner = json!({"Type": "Map", "End": true,
        "ItemProcessor": {"StartAt": "P", "States": {"P": state}}});
    json!({"StartAt": "M", "States": {"M": {"Type": "Map", "End": true,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind},
            "StartAt": "I", "States": {"I": inner}}}}})
}

/// 12.
#[tokio::test]
async fn a_map_within_a_child_of_a_map_run_is_a_map_like_any() {
    let f = Fixture::new().await;
    let refuses = json!({"Type": "Fail", "Error": "Inner"});
    for kind in ["STANDARD", "EXPRESS"] {
        let passes = nested(kind, &json!({"Type": "Pass", "End": true}));
        let machine = f.machine(&format!("passes-{kind}"), passes).await;
        let arn = f.start(&machine, json!([[1, 2], [3], []])).await;
        f.settle().await;
        assert_eq!(f.output(&arn).await, json!([[1, 2], [3], []]), "{kind}");

        let machine = f.machine(&format!("fails-{kind}"), nested(kind, &refuses)).await;
        let arn = f.start(&machine, json!([[1]])).await;
        f.settle().await;
        let view = f.view(&arn).await;
        assert_eq!(view.status, ExecutionStatus::Failed, "{kind}");
        assert_eq!(view.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"), "{kind}");
    }
}
