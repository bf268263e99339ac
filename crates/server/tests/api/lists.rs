//! Lists come in pages: nothing twice, nothing left out.

use std::collections::BTreeSet;

use ark_model::environment::AppState;
use ark_model::{DeploymentState, InstanceState};
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
        ("/v1/apps", 8, "environment"),
        ("/v1/apps?name=PP", 8, "environment"),
        ("/v1/environments/dev/apps?name=PP", 7, "app"),
        ("/v1/environments/dev/apps?name=app3", 1, "app"),
        ("/v1/environments/dev/apps?name=%25", 0, "app"),
        ("/v1/environments/dev/apps?name=", 8, "app"),
        ("/v1/environments/dev/apps/web/releases", 7, "number"),
        ("/v1/environments/dev/apps/web/config/versions", 7, "version"),
        ("/v1/deployments", 14, "id"),
        ("/v1/deployments?env=dev&app=web", 7, "id"),
        ("/v1/deployments?env=e1", 0, "id"),
        ("/v1/deployments?env=dev", 14, "id"),
        ("/v1/deployments?app=app3", 1, "id"),
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
async fn all_apps_are_those_of_each_environment() {
    let server = Server::start().await;
    for (env, app) in [("dev", "web"), ("dev", "worker"), ("live", "web")] {
        let path = format!("/v1/environments/{env}/apps/{app}/deployments");
        server.post(&path, &crate::fixture::deploy_body(LAUNCH)).await.expect(202);
    }
    server.post("/v1/environments", &json!({ "name": "empty" })).await.expect(201);
    for name in ["", "WEB", "ork", "none"] {
        let found = all(&server, &format!("/v1/apps?name={name}"), 2).await;
        let names: Vec<&Value> = found.iter().map(|one| &one["environment"]["name"]).collect();
        assert_eq!(names, ["dev", "empty", "live"]);
        for one in &found {
            let env = one["environment"]["name"].as_str().unwrap_or_default();
            let of_env = server.get(&format!("/v1/environments/{env}")).await.expect(200);
            assert_eq!(one["environment"], of_env);
            let path = format!("/v1/environments/{env}/apps?name={name}");
            assert_eq!(one["apps"], server.get(&path).await.expect(200));
        }
    }
}

/// However many environments are asked for, an answer ends with the one that makes it two thousand apps.
#[tokio::test]
async fn a_page_of_all_apps_ends_before_it_is_too_long() {
    let server = Server::start().await;
    let now = jiff::Timestamp::now();
    for env in ["a", "b", "c", "d", "e"] {
        server.post("/v1/environments", &json!({ "name": env })).await.expect(201);
        server
            .write(move |tx| {
                for n in 0..501 {
                    let (env, app) = (env.parse().expect("a name"), format!("app-{n}"));
                    let app = app.parse().expect("a name");
                    tx.put_app_state(&AppState::new(env, app, now))?;
                }
                Ok(())
            })
            .await;
    }
    let first = server.get("/v1/apps?limit=500").await.expect(200);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(first["next"], "d");
    // Each has its first five hundred, and says where the others are.
    let of_a = &first["items"][0]["apps"];
    assert_eq!(of_a["items"].as_array().map(Vec::len), Some(500));
    let rest = format!("/v1/environments/a/apps?cursor={}", of_a["next"].as_str().expect("more"));
    let rest = server.get(&rest).await.expect(200);
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    let last = server.get("/v1/apps?limit=500&cursor=d").await.expect(200);
    assert_eq!(
        (&last["items"][0]["environment"]["name"], &last["next"]),
        (&json!("e"), &json!(null))
    );
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

/// The rows of a list, and each app's row asked alone, which is always read anew.
async fn rows(server: &Server) -> (Vec<Value>, Vec<Value>) {
    let path = "/v1/environments/dev/apps";
    let listed = server.get(path).await.expect(200)["items"].as_array().expect("rows").clone();
    let mut alone = Vec::new();
    for row in &listed {
        let app = row["app"].as_str().expect("a name");
        let mut detail = server.get(&format!("{path}/{app}")).await.expect(200);
        let keys = row.as_object().expect("a row");
        detail.as_object_mut().expect("an app").retain(|key, _| keys.contains_key(key));
        alone.push(detail);
    }
    (listed, alone)
}

/// A list keeps what it read: whatever is recorded, the next list tells of it.
#[tokio::test]
async fn a_list_of_apps_tells_of_every_change() {
    let server = Server::start().await;
    let app = "/v1/environments/dev/apps/web";
    let mut before = Vec::new();
    for step in 0..9 {
        match step {
            0 => {
                server.deploy("dev", LAUNCH).await.expect(202);
            }
            1 => {
                server.finish("dev", DeploymentState::Replacing).await;
            }
            2 => {
                server.finish("dev", DeploymentState::Succeeded).await;
            }
            3 => {
                server.instance("dev", InstanceState::Active).await;
            }
            4 => {
                server.post(&format!("{app}/scale"), &json!({ "count": 4 })).await.expect(200);
            }
            5 => {
                // One ends by itself.
                server
                    .write(|tx| {
                        let web = crate::fixture::web();
                        let mut one =
                            tx.alive_instances_of(&"dev".parse().expect("a name"), &web)?;
                        let mut one = one.remove(0);
                        one.state = InstanceState::Stopped;
                        one.stopped_at = Some(jiff::Timestamp::now());
                        one.cause = Some(ark_model::instance::StopCause::Vanished);
                        tx.put_instance(&one)
                    })
                    .await;
            }
            6 => {
                server.post(&format!("{app}/stop"), &json!({})).await.expect(200);
            }
            7 => {
                let launch = format!("{LAUNCH}env_defaults: {{A: \"1\"}}\n");
                server.deploy("dev", &launch).await.expect(202);
            }
            _ => {
                server.finish("dev", DeploymentState::RolledBack).await;
            }
        }
        let (listed, alone) = rows(&server).await;
        assert_eq!(listed, alone, "step {step}");
        assert_ne!(listed, before, "step {step} shows");
        assert_eq!(rows(&server).await.0, listed, "and stays as it is");
        before = listed;
    }
    // An environment of the same name is another one.
    server
        .write(|tx| tx.delete_environment(&"dev".parse().expect("a name"), jiff::Timestamp::now()))
        .await;
    server.deploy("dev", LAUNCH).await.expect(202);
    let (listed, alone) = rows(&server).await;
    assert_eq!((listed.len(), &listed), (1, &alone));
    assert_eq!(listed[0]["live"], Value::Null, "{listed:?}");
}

/// Each answer to a wish is followed by a list that knows of it, however many write and read at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_are_never_behind_what_was_acknowledged() {
    let server = Server::on_disk().await;
    let names: Vec<String> = (0..4).map(|n| format!("app{n}")).collect();
    for name in &names {
        let path = format!("/v1/environments/dev/apps/{name}/deployments");
        server.post(&path, &crate::fixture::deploy_body(LAUNCH)).await.expect(202);
    }
    let server = &server;
    let writers = names.iter().enumerate().map(|(at, name)| async move {
        for count in 1..=40_u32 {
            let path = format!("/v1/environments/dev/apps/{name}/scale");
            server.post(&path, &json!({ "count": count })).await.expect(200);
            let listed = server.get("/v1/environments/dev/apps").await.expect(200);
            assert_eq!(listed["items"][at]["wanted"], json!(count), "{name}");
        }
    });
    futures::future::join_all(writers).await;
}
