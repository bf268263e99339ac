//! A marked secret appears nowhere but where it is asked for by name.

use std::sync::{Arc, Mutex};

use ark_model::DeploymentState;
use ark_model::api::Role;
use ark_model::instance::InstanceState;
use ark_server::api;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{LAUNCH, Server, deploy_body};

const MARKER: &str = "hunter2-marked-secret";

#[tokio::test]
async fn a_secret_is_in_no_answer() {
    let log = Log::kept();
    let server = Server::start().await;
    for env in ["production", "dev"] {
        let path = format!("/v1/environments/{env}/apps/web/config");
        let set = json!({ "set": { "API_KEY": { "value": MARKER, "secret": true } } });
        server.patch(&path, &set).await.expect(200);
        // Set again, the same: no new version, so no new release.
        assert_eq!(server.patch(&path, &set).await.expect(200)["version"], 1);
        let launch = format!("{LAUNCH}env: [API_KEY]\n");
        server.deploy(env, &launch).await.expect(202);
        server.finish(env, DeploymentState::Succeeded).await;
        let plan = format!("/v1/environments/{env}/apps/web/plan");
        let plan = server.post(&plan, &deploy_body(&launch)).await.expect(200);
        assert_eq!(plan["changes"], false, "a secret is known by its version");
        server.instance(env, InstanceState::Active).await;
    }
    // Requests that are refused while they carry it.
    let path = "/v1/environments/production/apps/web/config";
    for body in [
        json!({ "set": { "API_KEY": MARKER } }),
        json!({ "set": { "API_KEY": { "value": { MARKER: 1 } } } }),
        json!({ "set": { "API_KEY": { "value": 1, "secret": MARKER } } }),
        json!({ "set": MARKER }),
        json!({ "set": { "API_KEY": { "value": MARKER, "secret": true } }, "expect_version": 99 }),
        json!({ "set": { "API_KEY": { "value": format!("{MARKER}\u{0}"), "secret": true } } }),
        json!({ "set": { "API_KEY": { "value": MARKER.repeat(9_000), "secret": true } } }),
    ] {
        assert!(server.patch(path, &body).await.status >= 400);
    }
    let mut half =
        serde_json::to_string(&json!({ "set": { "A": { "value": MARKER } } })).expect("JSON");
    half.truncate(half.len() - 4);
    let request = server.request(Role::Admin, Method::PATCH, path);
    let request = request.header("content-type", "application/json").body(half);
    assert_eq!(server.send(request).await.status, 400);
    // A plain value that becomes a secret: neither side is shown from then on.
    let plain = json!({ "set": { "LATE": { "value": MARKER, "secret": true } } });
    server.patch("/v1/environments/dev/apps/web/config", &plain).await.expect(200);

    for operation in api::operations() {
        let skipped = ["followEvents", "exec", "getEnvironmentValues"].contains(&operation.id);
        if operation.method != "GET" || skipped {
            continue;
        }
        for env in ["production", "dev"] {
            let path = operation
                .path
                .replace("{env}", env)
                .replace("{app}", "web")
                .replace("{release}", "v1")
                .replace("{token}", "x")
                .replace("{deployment}", "0000");
            server.get(&path).await;
        }
    }
    let deployments = server.get("/v1/deployments").await.expect(200);
    for d in deployments["items"].as_array().expect("deployments") {
        let id = d["id"].as_str().expect("an id");
        server.get(&format!("/v1/deployments/{id}")).await.expect(200);
        server.get(&format!("/v1/deployments/{id}/receipt")).await.expect(200);
    }
    assert!(server.heard().len() > 10_000, "little was asked");
    assert!(!server.heard().contains("hunter2"), "a secret is in an answer");
    let log = log.text();
    assert!(log.contains("request refused"), "nothing was logged");
    assert!(!log.contains("hunter2"), "a secret is in the log");
}

/// Everything that the server logs, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// From now on, by every thread of these tests.
    fn kept() -> Self {
        let log = Self::default();
        let to = log.clone();
        let filter = tracing_subscriber::EnvFilter::new("ark_server=trace,ark_store=trace");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || to.clone())
            .try_init()
            .expect("no other test of this program keeps the log");
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panics with it")).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("see above").extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn values_for_a_local_run_need_the_right_and_leave_an_event() {
    let server = Server::start().await;
    for env in ["production", "dev"] {
        let path = format!("/v1/environments/{env}/apps/web/config");
        let set = json!({ "set": {
            "API_KEY": { "value": MARKER, "secret": true },
            "LEVEL": { "value": "info" },
        } });
        server.patch(&path, &set).await.expect(200);
        server
            .deploy(env, &format!("{LAUNCH}env: [API_KEY]\nenv_defaults: {{LEVEL: x, MODE: y}}\n"))
            .await
            .expect(202);
        server.finish(env, DeploymentState::Succeeded).await;
    }
    let ask = async |role: Role, env: &str| {
        let path = format!("/v1/environments/{env}/apps/web/environment");
        server.send(server.request(role, Method::GET, &path)).await
    };
    let refused = ask(Role::Deployer, "production").await;
    assert_eq!(refused.problem("secrets-protected")["exit_code"], 7);
    ask(Role::Reader, "dev").await.problem("forbidden");
    assert!(!server.heard().contains(MARKER));
    ask(Role::Admin, "production").await.expect(200);
    let resolved = ask(Role::Deployer, "dev").await.expect(200);
    assert_eq!(resolved["config_version"], 1);
    let value = |name: &str| {
        let all = resolved["variables"].as_array().expect("variables");
        let found = all.iter().find(|v| v["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{name} is not among {all:?}"));
        (found["value"].clone(), found["source"].clone(), found["secret"].clone())
    };
    assert_eq!(value("API_KEY"), (json!(MARKER), json!("config"), json!(true)));
    assert_eq!(value("LEVEL"), (json!("info"), json!("config"), json!(false)));
    assert_eq!(value("MODE"), (json!("y"), json!("default"), json!(false)));
    assert_eq!(value("_DEPLOY_ENV"), (json!("dev"), json!("injected"), json!(false)));
    assert_eq!(value("_IS_LOCAL").0, json!("true"));
    let events = server.get("/v1/events?limit=500").await.expect(200);
    let reads: Vec<_> = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["kind"] == "config_read")
        .map(|event| (event["by"].as_str(), event["env"].as_str()))
        .collect();
    assert_eq!(reads, [(Some("admin"), Some("production")), (Some("deployer"), Some("dev"))]);
}
