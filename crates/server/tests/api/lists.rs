//! Lists come in pages: nothing twice, nothing left out.

use std::collections::BTreeSet;

use ark_model::DeploymentState;
use serde_json::{Value, json};

use crate::fixture::{LAUNCH, Server};

/// All items of a list, page by page.
async fn all(server: &Server, path: &str, limit: u32) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    let separator = if path.contains('?') { '&' } else { '?' };
    for _ in 0..100 {
        let page = server.get(&format!("{path}{separator}limit={limit}{cursor}")).await.expect(200);
        let some = page["items"].as_array().expect("items").clone();
        assert!(some.len() <= limit as usize, "{path}: {} items", some.len());
        items.extend(some);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
    panic!("{path} does not end");
}

#[tokio::test]
async fn pages_hold_everything_once() {
    let server = Server::start().await;
    for number in 0..7 {
        let launch = format!("{LAUNCH}env_defaults: {{NUMBER: \"{number}\"}}\n");
        server.deploy("dev", &launch).await.expect(202);
        server.finish("dev", DeploymentState::Succeeded).await;
        server.post("/v1/environments", &json!({ "name": format!("e{number}") })).await.expect(201);
        server
            .post("/v1/tokens", &json!({ "name": format!("t{number}"), "role": "reader" }))
            .await
            .expect(201);
        let set = json!({ "set": { "A": { "value": number.to_string() } } });
        server.patch("/v1/environments/dev/apps/web/config", &set).await.expect(200);
        let app = format!("/v1/environments/dev/apps/app{number}/deployments");
        server.post(&app, &crate::fixture::deploy_body(LAUNCH)).await.expect(202);
    }
    for (path, count, key) in [
        ("/v1/environments", 8, "name"),
        ("/v1/environments/dev/apps", 8, "app"),
        ("/v1/environments/dev/apps/web/releases", 7, "number"),
        ("/v1/environments/dev/apps/web/config/versions", 7, "version"),
        ("/v1/deployments", 14, "id"),
        ("/v1/deployments?env=dev&app=web", 7, "id"),
        ("/v1/deployments?env=e1", 0, "id"),
        ("/v1/tokens", 10, "id"),
    ] {
        let whole = all(&server, path, 500).await;
        let keys: BTreeSet<String> = whole.iter().map(|item| item[key].to_string()).collect();
        assert_eq!((whole.len(), keys.len()), (count, count), "{path}");
        for limit in [1, 3, 7, 8] {
            assert_eq!(all(&server, path, limit).await, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn deployments_are_listed_newest_first() {
    let server = Server::start().await;
    for number in 0..3 {
        let launch = format!("{LAUNCH}env_defaults: {{NUMBER: \"{number}\"}}\n");
        server.deploy("dev", &launch).await.expect(202);
    }
    let releases: Vec<u64> = all(&server, "/v1/deployments", 2)
        .await
        .iter()
        .filter_map(|d| d["release"].as_u64())
        .collect();
    assert_eq!(releases, [3, 2, 1]);
}

#[tokio::test]
async fn configuration_has_versions_and_a_guard_against_lost_changes() {
    let server = Server::start().await;
    let path = "/v1/environments/dev/apps/web/config";
    let first = json!({ "set": { "A": { "value": "1" }, "B": { "value": "2" } } });
    assert_eq!(server.patch(path, &first).await.expect(200)["version"], 1);
    assert_eq!(server.patch(path, &first).await.expect(200)["version"], 1, "nothing differs");
    let second =
        json!({ "set": { "A": { "value": "x" } }, "unset": ["B", "C"], "expect_version": 1 });
    let config = server.patch(path, &second).await.expect(200);
    assert_eq!(config["version"], 2);
    assert_eq!(config["values"].as_array().map(Vec::len), Some(1));
    assert_eq!(config["values"][0]["value"], "x");
    assert_eq!(config["values"][0]["version"], 2);
    assert_eq!(config["values"][0]["changed_by"], "admin");
    assert_eq!(server.patch(path, &second).await.problem("config-conflict")["exit_code"], 5);
    let versions = server.get(&format!("{path}/versions")).await.expect(200);
    assert_eq!(versions["items"][0]["set"], json!(["A"]));
    assert_eq!(versions["items"][0]["unset"], json!(["B"]));
    for bad in [
        json!({ "set": { "1A": { "value": "" } } }),
        json!({ "set": { "A B": { "value": "" } } }),
        json!({ "set": { "": { "value": "" } } }),
        json!({ "unset": ["A=B"] }),
        json!({ "set": { "A": { "value": "a\u{0}b" } } }),
        json!({ "set": { "A": { "value": "1" } }, "unset": ["A"] }),
        json!({ "set": { "A": { "value": "x".repeat((64 << 10) + 1) } } }),
    ] {
        server.patch(path, &bad).await.problem("invalid-value");
    }
    assert_eq!(server.get(path).await.expect(200)["version"], 2);
}
