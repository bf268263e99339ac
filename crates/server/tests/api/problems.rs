//! Every error is a problem document with the status, the code and the exit code of the contract.

use ark_engine::EngineKind;
use ark_model::api::Role;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{LAUNCH, Server, deploy_body};

#[tokio::test]
async fn errors_have_one_form() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    let long = "x".repeat(3 << 20);
    let app = "/v1/environments/dev/apps/web";
    for (method, path, body, status, code, exit) in [
        ("GET", "/v1/nothing", "", 404, "no-such-operation", 6),
        ("PUT", "/", "", 404, "no-such-operation", 6),
        ("PUT", "/v1/server", "", 405, "method-not-allowed", 2),
        ("GET", "/v1/environments/none", "", 404, "environment-not-found", 6),
        ("GET", "/v1/environments/UPPER", "", 422, "invalid-value", 2),
        ("GET", "/v1/environments/none/apps", "", 404, "environment-not-found", 6),
        ("GET", "/v1/environments/dev/apps/none", "", 404, "app-not-found", 6),
        ("GET", "/v1/environments/dev/apps/web/releases/v9", "", 404, "release-not-found", 6),
        ("GET", "/v1/environments/dev/apps/web/releases/x", "", 422, "invalid-value", 2),
        ("GET", "/v1/environments/dev/apps/web/diff?from=v9", "", 404, "release-not-found", 6),
        (
            "GET",
            "/v1/environments/dev/apps/web/logs?instance=web-x",
            "",
            404,
            "instance-not-found",
            6,
        ),
        ("GET", "/v1/environments/dev/apps/web/logs?tail=99999", "", 422, "invalid-value", 2),
        (
            "GET",
            "/v1/environments/dev/apps/web/instances/web-x/exec",
            "",
            404,
            "instance-not-found",
            6,
        ),
        ("GET", "/v1/apps/none/releases/newest", "", 404, "release-not-found", 6),
        ("GET", "/v1/deployments/none", "", 404, "deployment-not-found", 6),
        (
            "GET",
            "/v1/deployments/00000000-0000-7000-8000-000000000000",
            "",
            404,
            "deployment-not-found",
            6,
        ),
        ("GET", "/v1/deployments?limit=0", "", 422, "invalid-value", 2),
        ("GET", "/v1/deployments?limit=501", "", 422, "invalid-value", 2),
        ("GET", "/v1/deployments?limit=many", "", 400, "bad-request", 2),
        ("GET", "/v1/deployments?cursor=x", "", 422, "invalid-value", 2),
        ("GET", "/v1/deployments?env=UPPER", "", 400, "bad-request", 2),
        ("GET", "/v1/events?after=x", "", 400, "bad-request", 2),
        ("POST", "/v1/environments", "", 400, "bad-request", 2),
        ("POST", "/v1/environments", "{", 400, "bad-request", 2),
        ("POST", "/v1/environments", r#"{"name":"dev","knd":1}"#, 400, "bad-request", 2),
        (
            "POST",
            "/v1/environments",
            r#"{"name":"dev","kind":"permanent"}"#,
            409,
            "already-exists",
            5,
        ),
        (
            "POST",
            "/v1/environments/dev/apps/web/scale",
            r#"{"count":1001}"#,
            422,
            "invalid-value",
            2,
        ),
        ("POST", "/v1/environments/dev/apps/web/scale", r#"{"count":-1}"#, 400, "bad-request", 2),
        ("POST", "/v1/environments/dev/apps/none/stop", "", 404, "app-not-found", 6),
        ("POST", "/v1/environments/dev/apps/web/deployments", "{}", 400, "bad-request", 2),
        (
            "POST",
            "/v1/environments/dev/apps/web/rollback",
            r#"{"to":9}"#,
            404,
            "release-not-found",
            6,
        ),
        ("POST", "/v1/environments/none/apps/web/rollback", "{}", 404, "environment-not-found", 6),
        ("DELETE", "/v1/environments/none", "", 404, "environment-not-found", 6),
        ("PATCH", "/v1/environments/dev/apps/web/config", long.as_str(), 413, "too-large", 2),
        ("PUT", "/v1/blobs/xyz", "abc", 422, "invalid-value", 2),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = server.request(Role::Admin, method.clone(), path);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let answer = server.send(request).await;
        let context = format!("{method} {path} {}", &body[..body.len().min(60)]);
        assert_eq!(answer.status, status, "{context}: {}", answer.text);
        let problem = answer.problem(code);
        assert_eq!(problem["exit_code"], exit, "{context}");
        let id = answer.headers["x-request-id"].to_str().expect("text");
        assert_eq!(problem["request_id"], id, "{context}");
    }
    let request = server.request(Role::Admin, Method::POST, &format!("{app}/rollback")).body("{}");
    server.send(request).await.problem("unsupported-type");
}

#[tokio::test]
async fn launch_files_are_refused_with_every_finding() {
    let server = Server::with_engine(EngineKind::Process).await;
    let typo = "run: {type: docker, command: [./web]}\nalarms:\n- type: InternalErrorAlarm\n  \
        severity: major\n  paramaters: {threshold: 0.1}\nteem: eng\n";
    let problem = server.deploy("dev", typo).await.problem("invalid-definition");
    assert_eq!((&problem["status"], &problem["exit_code"]), (&json!(422), &json!(2)));
    let found = problem["diagnostics"].as_array().expect("findings");
    let errors: Vec<_> = found.iter().filter(|d| d["severity"] == "error").collect();
    assert!(errors.len() >= 2, "{found:?}");
    assert!(errors.iter().any(|d| d["suggestion"] == "parameters"), "{found:?}");
    assert!(errors.iter().all(|d| d["line"].as_u64() > Some(0)), "{found:?}");

    let store = "type: dynamodb\napplication: web\ndev: {regions: [us-west-1]}\n";
    server.deploy("dev", store).await.problem("data-store");
    let library = server.deploy("dev", "type: library\n").await.problem("not-runnable");
    let words = library["detail"].as_str().expect("words");
    assert!(words.contains("never run") && !words.contains("data store"), "{words}");
    server.deploy("dev", "run: {type: docker}\n").await.problem("not-runnable");
    let mut image = deploy_body(LAUNCH);
    image["artifact"] = json!({ "kind": "image", "reference": "web:1", "digest": null });
    let answer = server.post("/v1/environments/dev/apps/web/deployments", &image).await;
    answer.problem("not-runnable");
    // Nothing was made on the way.
    assert_eq!(server.get("/v1/environments").await.expect(200)["items"], json!([]));
    assert_eq!(server.get("/v1/deployments").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn what_is_asked_for_stands_over_the_launch_file() {
    let server = Server::start().await;
    let path = "/v1/environments/production/apps/web/deployments";
    let canary = format!("{LAUNCH}deploy_config: {{canaryInProd: true}}\n");
    let blue_green = format!("{LAUNCH}deploy: {{strategy: blue-green}}\n");
    for (launch, asked, expected) in [
        (canary.as_str(), None, "canary"),
        (blue_green.as_str(), None, "blue-green"),
        (LAUNCH, Some("recreate"), "recreate"),
        (LAUNCH, Some("canary"), "canary"),
        (canary.as_str(), Some("rolling"), "rolling"),
    ] {
        let mut body = deploy_body(launch);
        if let Some(asked) = asked {
            body["strategy"] = json!(asked);
        }
        let plan =
            server.post("/v1/environments/production/apps/web/plan", &body).await.expect(200);
        assert_eq!((&plan["strategy"], &plan["refusals"]), (&json!(expected), &json!([])));
        let deployed = server.post(path, &body).await.expect(202);
        assert_eq!(deployed["strategy"], expected);
    }
    // In another environment the same file asks for no canary.
    let deployed = server.deploy("dev", &canary).await.expect(202);
    assert_eq!(deployed["strategy"], "rolling");
}

#[tokio::test]
async fn a_word_for_which_a_deployment_does_not_wait_is_a_conflict() {
    let server = Server::start().await;
    let deployed = server.deploy("production", LAUNCH).await.expect(202);
    let id = deployed["id"].as_str().expect("an id");
    for word in ["promote", "pause", "resume", "approve"] {
        let path = format!("/v1/deployments/{id}/{word}");
        let problem = server.post(&path, &json!({})).await.problem("nothing-to-say");
        assert_eq!(problem["exit_code"], 5, "{word}");
    }
    let path = "/v1/deployments/ffffffff/promote";
    server.post(path, &json!({"full": true})).await.problem("deployment-not-found");
}

#[tokio::test]
async fn a_plan_refuses_the_rights_that_a_deployment_refuses() {
    let launch = |privileged| {
        format!(
            "run: {{type: docker, command: [./web], privileged: {privileged}}}\nexpose: [{{name: default, port: 80}}]\n"
        )
    };
    for (kind, why) in [
        (EngineKind::Process, "`run.privileged` is for containers; leave it out"),
        (EngineKind::Fake, "`run.privileged` of web is not allowed in this test"),
    ] {
        let server = Server::with_engine(kind).await;
        let plan = async |privileged| {
            let body = deploy_body(&launch(privileged));
            server.post("/v1/environments/dev/apps/web/plan", &body).await.expect(200)
        };
        assert_eq!(plan(true).await["refusals"], json!([why]), "{kind:?}");
        assert_eq!(plan(false).await["refusals"], json!([]), "{kind:?}");
        let refused = server.deploy("dev", &launch(true)).await.problem("not-runnable");
        assert_eq!(refused["detail"], why, "{kind:?}");
    }
}
