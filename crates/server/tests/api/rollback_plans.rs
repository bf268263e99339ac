//! What is said of a rollback before it is asked for, held against what is then recorded.

use ark_model::DeploymentState;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{LAUNCH, Server};
use ark_model::api::Role;

const APP: &str = "/v1/environments/production/apps/web";

fn launch(number: u32, strategy: &str) -> String {
    format!("{LAUNCH}env_defaults: {{NUMBER: \"{number}\"}}\ndeploy: {{strategy: {strategy}}}\n")
}

async fn succeeded(server: &Server, number: u32) {
    server.deploy("production", &launch(number, "rolling")).await.expect(202);
    server.finish("production", DeploymentState::Succeeded).await;
}

/// What the server says where a rollback leads, by its plan and by the app; then goes there.
async fn said_and_done(server: &Server, body: Value) -> (Value, Value) {
    let before = server.get("/v1/deployments").await.text;
    // Whoever reads may ask.
    let asked = server.request(Role::Reader, Method::POST, &format!("{APP}/rollback/plan"));
    let plan = server.send(asked.json(&body)).await.expect(200);
    assert_eq!(server.get("/v1/deployments").await.text, before, "asking changes nothing");
    if body.get("to").is_none() {
        assert_eq!(server.get(APP).await.expect(200)["rollback_to"], plan["release"]);
    }
    let done = server.post(&format!("{APP}/rollback"), &body).await.expect(202);
    assert_eq!((&done["release"], &done["strategy"]), (&plan["release"], &plan["strategy"]));
    (plan, done)
}

fn steps(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().expect("steps").iter().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn where_a_rollback_leads_is_said_before() {
    let server = Server::start().await;
    let plan = format!("{APP}/rollback/plan");
    server.post(&plan, &json!({})).await.problem("environment-not-found");
    succeeded(&server, 1).await;
    server.post(&plan, &json!({})).await.problem("release-not-found");
    server.post(&plan, &json!({ "to": 7 })).await.problem("release-not-found");
    assert_eq!(server.get(APP).await.expect(200)["rollback_to"], Value::Null);

    // Half way through the third: what was live, although the first was live before it.
    succeeded(&server, 2).await;
    server.deploy("production", &launch(3, "rolling")).await.expect(202);
    server.finish("production", DeploymentState::Replacing).await;
    let (plan, _) = said_and_done(&server, json!({})).await;
    assert_eq!((&plan["release"], &plan["live"]), (&json!(2), &json!(2)));
    assert_eq!(steps(&plan)[0], "abort the running deployment of v3");
    let found = steps(&plan);
    assert!(found.iter().any(|step| step.starts_with("let the requests in v3 end")), "{found:?}");
}

#[tokio::test]
async fn a_rollback_does_not_lead_forth_again() {
    let server = Server::start().await;
    for number in 1..=3 {
        succeeded(&server, number).await;
    }
    let (plan, _) = said_and_done(&server, json!({})).await;
    assert_eq!(plan["release"], 2);
    assert_eq!(plan["config"][0]["name"], "NUMBER");
    assert_eq!((&plan["config"][0]["from"], &plan["config"][0]["to"]), (&json!("3"), &json!("2")));
    server.finish("production", DeploymentState::Succeeded).await;
    let app = server.get(APP).await.expect(200);
    assert_eq!((&app["live"], &app["previous"]), (&json!(2), &json!(3)));
    let (plan, _) = said_and_done(&server, json!({})).await;
    assert_eq!(plan["release"], 1, "and not the third, which was rolled back from");
}

#[tokio::test]
async fn a_rollback_says_how_the_release_takes_over() {
    for (strategy, taken, words) in [
        ("rolling", "rolling", "replace 1 instance of v2 by v1"),
        ("recreate", "recreate", "stop all of v2 first"),
        // It served a moment ago.
        ("canary", "rolling", "replace 1 instance of v2 by v1"),
    ] {
        let server = Server::start().await;
        server.deploy("production", &launch(1, strategy)).await.expect(202);
        server.finish("production", DeploymentState::Succeeded).await;
        succeeded(&server, 2).await;
        let (plan, _) = said_and_done(&server, json!({ "to": 1 })).await;
        assert_eq!(plan["strategy"], taken, "{strategy}");
        let found = steps(&plan);
        assert!(found.iter().any(|step| step.starts_with(words)), "{strategy}: {found:?}");
        let changes = plan["definition"].as_array().expect("changes");
        let differs = changes.iter().any(|change| change["path"] == "deploy.strategy");
        assert_eq!(differs, strategy != "rolling", "{changes:?}");
    }
}

/// More than is read at a time lies between the live release and the one that is good.
#[tokio::test]
async fn a_good_release_is_found_behind_a_long_history() {
    let server = Server::start().await;
    for number in 1..=2 {
        succeeded(&server, number).await;
    }
    for number in 3..33 {
        server.deploy("production", &launch(number, "rolling")).await.expect(202);
        server.finish("production", DeploymentState::Failed).await;
    }
    let (plan, _) = said_and_done(&server, json!({})).await;
    assert_eq!(plan["release"], 1);
}
