//! From an upload to a recorded deployment, and back.

use ark_model::DeploymentState;
use ark_model::api::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, LAUNCH, Server, deploy_body, manifest};

const APP: &str = "/v1/environments/production/apps/web";

async fn put_blob(server: &Server, sha256: &str, content: &[u8]) -> Answer {
    let request = server.request(Role::Deployer, Method::PUT, &format!("/v1/blobs/{sha256}"));
    server.send(request.body(content.to_vec())).await
}

/// A launch file that differs from every other one by its number.
fn launch(number: u32) -> String {
    format!("{LAUNCH}env_defaults: {{NUMBER: \"{number}\"}}\n")
}

#[tokio::test]
async fn a_directory_is_sent_once_and_deployed_by_digest() {
    let server = Server::start().await;
    let content = b"#!/bin/sh\nexec true\n";
    let (manifest, sha256) = manifest(content);
    let offer = json!({ "manifest": manifest });
    let answer = server.post("/v1/artifacts", &offer).await.expect(200);
    assert_eq!(answer["missing"], json!([sha256.to_string()]));
    let digest = answer["digest"].clone();
    assert_eq!(digest, json!(manifest.digest().to_string()));

    let mut body = deploy_body(LAUNCH);
    body["artifact"] = json!({ "kind": "directory", "digest": digest });
    let early = server.post(&format!("{APP}/deployments"), &body).await;
    let problem = early.problem("artifact-incomplete");
    assert_eq!(problem["missing"], json!([sha256.to_string()]));

    let sha256 = sha256.to_string();
    put_blob(&server, &sha256, b"something else").await.problem("digest-mismatch");
    assert_eq!(put_blob(&server, &sha256, content).await.status, 201);
    assert_eq!(put_blob(&server, &sha256, content).await.status, 200);
    let again = server.post("/v1/artifacts", &offer).await.expect(200);
    assert_eq!(again["missing"], json!([]));

    let answer = server.post(&format!("{APP}/deployments"), &body).await;
    let location = answer.headers["location"].to_str().expect("an address").to_owned();
    let deployment = answer.expect(202);
    assert_eq!(location, format!("/v1/deployments/{}", deployment["id"].as_str().expect("an id")));
    assert_eq!(deployment["state"], "queued");
    assert_eq!(deployment["release"], 1);
    assert_eq!(deployment["receipt"], Value::Null);
    let shown = server.get(&location).await.expect(200);
    assert_eq!(shown["id"], deployment["id"]);

    let env = server.get("/v1/environments/production").await.expect(200);
    assert_eq!(env["kind"], "permanent");

    let mut unknown = body.clone();
    unknown["artifact"]["digest"] = json!("0".repeat(64));
    let answer = server.post(&format!("{APP}/deployments"), &unknown).await;
    answer.problem("artifact-incomplete");
}

#[tokio::test]
async fn manifests_that_lead_outside_are_refused() {
    let server = Server::start().await;
    for path in ["../x", "/etc/passwd", "a//b", ""] {
        let entry = json!({ "path": path, "type": "directory" });
        let offer = json!({ "manifest": { "entries": [entry] } });
        server.post("/v1/artifacts", &offer).await.problem("invalid-value");
    }
}

#[tokio::test]
async fn the_same_content_is_the_same_release() {
    let server = Server::start().await;
    for (launch, release) in [(launch(1), 1), (launch(2), 2), (launch(1), 1), (launch(3), 3)] {
        let deployment = server.deploy("dev", &launch).await.expect(202);
        assert_eq!(deployment["release"], release);
    }
    let dev = server.get("/v1/environments/dev").await.expect(200);
    assert_eq!(dev["kind"], "development");
    let newest = server.get("/v1/apps/web/releases/newest").await.expect(200);
    assert_eq!((&newest["number"], &newest["env"]), (&json!(3), &json!("dev")));
    let body = json!({ "from": { "env": "dev", "number": 2 } });
    let deployed = server.post(&format!("{APP}/deployments"), &body).await.expect(202);
    assert_eq!((&deployed["release"], &deployed["env"]), (&json!(1), &json!("production")));
}

#[tokio::test]
async fn of_waiting_deployments_only_the_newest_is_left() {
    let server = Server::start().await;
    let first = server.deploy("production", &launch(1)).await.expect(202);
    server.finish("production", DeploymentState::Replacing).await;
    let mut ids = Vec::new();
    for number in 2..8 {
        ids.push(server.deploy("production", &launch(number)).await.expect(202)["id"].clone());
    }
    let newest = ids.pop().expect("the last one");
    for id in ids {
        let d = server.get(&format!("/v1/deployments/{}", id.as_str().expect("an id"))).await;
        let d = d.expect(200);
        assert_eq!(d["state"], "superseded");
        assert_eq!(d["exit_code"], 5);
        assert_ne!(d["finished_at"], Value::Null);
        assert_eq!(d["receipt"], Value::Null);
    }
    let app = server.get(APP).await.expect(200);
    assert_eq!(app["waiting_deployment"]["id"], newest);
    assert_eq!(app["running_deployment"]["id"], first["id"]);
    let first_id = first["id"].as_str().expect("an id");
    let running = server.get(&format!("/v1/deployments/{first_id}")).await.expect(200);
    assert_eq!(running["abort"], Value::Null, "a waiting one leaves the running one alone");

    let mut now = deploy_body(&launch(9));
    now["now"] = json!(true);
    server.post(&format!("{APP}/deployments"), &now).await.expect(202);
    let running = server.get(&format!("/v1/deployments/{first_id}")).await.expect(200);
    assert_eq!(running["abort"]["superseded"], true);
    let events = server.get(&format!("/v1/events?deployment={first_id}")).await.expect(200);
    let kinds: Vec<_> =
        events["items"].as_array().expect("events").iter().map(|e| &e["kind"]).collect();
    assert_eq!(kinds, ["deployment_queued", "deployment_progress"]);
}

#[tokio::test]
async fn a_rollback_finds_the_last_good_release() {
    let server = Server::start().await;
    let rollback = format!("{APP}/rollback");
    server.post(&rollback, &json!({})).await.problem("environment-not-found");
    server.deploy("production", &launch(1)).await.expect(202);
    server.finish("production", DeploymentState::Succeeded).await;
    // Nothing to go back to, and nothing is changed by asking.
    let before = server.get("/v1/deployments").await.text;
    let problem = server.post(&rollback, &json!({})).await.problem("release-not-found");
    assert_eq!(problem["exit_code"], 6);
    server.post(&rollback, &json!({ "to": 7 })).await.problem("release-not-found");
    assert_eq!(server.get("/v1/deployments").await.text, before);

    for (number, end) in [
        (2, DeploymentState::Succeeded),
        (3, DeploymentState::RolledBack),
        (4, DeploymentState::Failed),
        (5, DeploymentState::Succeeded),
    ] {
        server.deploy("production", &launch(number)).await.expect(202);
        server.finish("production", end).await;
    }
    let back = server.post(&rollback, &json!({ "reason": "slow" })).await.expect(202);
    assert_eq!((&back["release"], &back["kind"]), (&json!(2), &json!("rollback")));
    assert_eq!(back["reason"], "slow");
    server.finish("production", DeploymentState::Succeeded).await;
    let again = server.post(&rollback, &json!({})).await.expect(202);
    assert_eq!(again["release"], 1, "what was rolled back from is not good");
    // Half way: what was live. The running one gives way.
    server.finish("production", DeploymentState::Succeeded).await;
    let running = server.deploy("production", &launch(6)).await.expect(202);
    server.finish("production", DeploymentState::Replacing).await;
    let back = server.post(&rollback, &json!({})).await.expect(202);
    assert_eq!(back["release"], 1);
    let id = running["id"].as_str().expect("an id");
    let running = server.get(&format!("/v1/deployments/{id}")).await.expect(200);
    assert_eq!(running["abort"]["superseded"], true);
    let named = server.post(&rollback, &json!({ "to": 3 })).await.expect(202);
    assert_eq!(named["release"], 3, "a release that is named is believed");
}

#[tokio::test]
async fn a_deployment_ends_when_it_is_aborted() {
    let server = Server::start().await;
    let d = server.deploy("dev", &launch(1)).await.expect(202);
    let id = d["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/deployments/{id}");
    server.get(&format!("{path}/receipt")).await.problem("deployment-running");
    let ended = server.post(&format!("{path}/abort"), &json!({})).await.expect(202);
    assert_eq!(ended["state"], "superseded", "one that waits ends at once");
    let again = server.post(&format!("{path}/abort"), &json!({})).await;
    again.problem("deployment-finished");
    let app = server.get("/v1/environments/dev/apps/web").await.expect(200);
    assert_eq!(app["waiting_deployment"], Value::Null);

    let d = server.deploy("dev", &launch(2)).await.expect(202);
    server.finish("dev", DeploymentState::Replacing).await;
    let id = d["id"].as_str().expect("an id").to_owned();
    let reason = json!({ "reason": "wrong branch" });
    for _ in 0..2 {
        let asked = server.post(&format!("/v1/deployments/{id}/abort"), &reason).await.expect(202);
        assert_eq!(asked["state"], "replacing", "the tasks take it back");
        assert_eq!(asked["abort"]["reason"], "wrong branch");
        assert_eq!(asked["abort"]["superseded"], false);
    }
    server.finish("dev", DeploymentState::Succeeded).await;
    let receipt = server.get(&format!("/v1/deployments/{id}/receipt")).await.expect(200);
    for key in ["served", "failed", "cut", "retried", "longest_stall_ms"] {
        assert_eq!(receipt[key], 0, "{key}");
        assert_eq!(receipt["old"][key], 0, "{key}");
        assert_eq!(receipt["new"][key], 0, "{key}");
    }
}

#[tokio::test]
async fn a_request_that_is_repeated_under_its_key_is_carried_out_once() {
    let server = Server::start().await;
    let path = format!("{APP}/deployments");
    let send = async |role: Role, key: &str, body: &Value| {
        let request = server.request(role, Method::POST, &path).header("idempotency-key", key);
        server.send(request.json(body)).await
    };
    let body = deploy_body(LAUNCH);
    let first = send(Role::Admin, "k1", &body).await;
    let again = send(Role::Admin, "k1", &body).await;
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(first.headers["location"], again.headers["location"]);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    send(Role::Admin, "k1", &deploy_body(&launch(2))).await.problem("idempotency-conflict");
    let other = send(Role::Admin, "k2", &body).await.expect(202);
    assert_ne!(other["id"], first.json()["id"]);
    // Somebody else's key is another key.
    let theirs = send(Role::Deployer, "k1", &body).await.expect(202);
    assert_ne!(theirs["id"], first.json()["id"]);
    let all = server.get("/v1/deployments").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(3));
    for key in ["", "a b", &"x".repeat(129)] {
        send(Role::Admin, key, &body).await.problem("invalid-value");
    }
    // What was refused may be tried again under the same key.
    let missing = format!("{LAUNCH}env: [DB_URL]\n");
    send(Role::Admin, "k3", &deploy_body(&missing)).await.problem("missing-config");
    let set = json!({ "set": { "DB_URL": { "value": "x" } } });
    server.patch(&format!("{APP}/config"), &set).await.expect(200);
    send(Role::Admin, "k3", &deploy_body(&missing)).await.expect(202);
    let rollback = format!("{APP}/rollback");
    let back = async || {
        let request = server.request(Role::Admin, Method::POST, &rollback);
        let request = request.header("idempotency-key", "r1").json(&json!({ "to": 1 }));
        server.send(request).await.expect(202)
    };
    assert_eq!(back().await["id"], back().await["id"]);
}

#[tokio::test]
async fn every_missing_value_is_named_at_once() {
    let server = Server::start().await;
    let launch = format!(
        "{LAUNCH}env: [DB_URL, SESSION_KEY, LOG_LEVEL, PORT, _APP_NAME]\nenv_defaults: {{LOG_LEVEL: info}}\n"
    );
    let problem = server.deploy("production", &launch).await.problem("missing-config");
    assert_eq!((&problem["status"], &problem["exit_code"]), (&json!(403), &json!(7)));
    assert_eq!(problem["missing"], json!(["DB_URL", "SESSION_KEY"]));
    let plan = server.post(&format!("{APP}/plan"), &deploy_body(&launch)).await.expect(200);
    assert_eq!(plan["missing"], json!(["DB_URL", "SESSION_KEY"]));
    let remedy = json!([
        { "label": "set them", "command": "ark config set -e production web DB_URL=…" },
        { "label": "secret", "command": "ark config set -e production web --secret SESSION_KEY" },
    ]);
    assert_eq!(problem["remedy"], remedy);
    assert_eq!(plan["remedy"], remedy);
    // A refusal makes neither environment nor app.
    server.get("/v1/environments/production").await.problem("environment-not-found");

    let set = json!({ "set": {
        "DB_URL": { "value": "postgres://db" },
        "SESSION_KEY": { "value": "s3cret", "secret": true },
        "UNUSED": { "value": "1" },
    } });
    server.patch(&format!("{APP}/config"), &set).await.expect(200);
    server.deploy("production", &launch).await.expect(202);
    let release = server.get(&format!("{APP}/releases/v1")).await.expect(200);
    let config: Vec<(&str, &Value)> = release["config"]
        .as_array()
        .expect("its configuration")
        .iter()
        .map(|entry| (entry["name"].as_str().expect("a name"), &entry["value"]))
        .collect();
    assert_eq!(
        config,
        [
            ("DB_URL", &json!("postgres://db")),
            ("LOG_LEVEL", &json!("info")),
            ("SESSION_KEY", &Value::Null),
        ],
        "what is not declared is not pinned"
    );
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let server = Server::start().await;
    let plan_of = async |launch: &str| {
        server.post(&format!("{APP}/plan"), &deploy_body(launch)).await.expect(200)
    };
    let first = plan_of(LAUNCH).await;
    assert_eq!((&first["changes"], &first["release"]), (&json!(true), &json!(1)));
    assert_eq!(first["live"], Value::Null);
    assert!(first["steps"].as_array().is_some_and(|steps| steps.len() >= 2), "{first}");
    assert_eq!(server.get("/v1/environments").await.json()["items"], json!([]));

    server.deploy("production", LAUNCH).await.expect(202);
    server.finish("production", DeploymentState::Succeeded).await;
    let same = plan_of(LAUNCH).await;
    assert_eq!(same["changes"], false);
    assert_eq!(same["steps"], json!([]));
    assert_eq!((&same["release"], &same["release_exists"]), (&json!(1), &json!(true)));

    let other = format!(
        "{LAUNCH}autoscaling: {{min_count: 3}}\nenv_defaults: {{LOG_LEVEL: debug}}\nresources: {{max_mem: 0.5}}\naws: {{custom: true}}\n"
    );
    let plan = plan_of(&other).await;
    assert_eq!((&plan["changes"], &plan["release"]), (&json!(true), &json!(2)));
    assert_eq!(plan["instances"], 3);
    assert_eq!(plan["config"][0]["name"], "LOG_LEVEL");
    assert_eq!(plan["config"][0]["change"], "added");
    let paths: Vec<_> =
        plan["definition"].as_array().expect("changes").iter().map(|c| &c["path"]).collect();
    assert!(paths.contains(&&json!("autoscaling.min_count")), "{paths:?}");
    let unenforced: Vec<_> =
        plan["not_enforced"].as_array().expect("a list").iter().map(|n| &n["path"]).collect();
    assert_eq!(unenforced, ["aws", "resources.max_mem"]);
    let worker = "run: {type: docker, command: [./web]}\ndeploy: {strategy: canary}\n";
    let steps = plan_of(worker).await["steps"].to_string();
    assert!(steps.contains("waits for a person"), "nothing to judge by: {steps}");

    server.deploy("production", &other).await.expect(202);
    let diff = server.get(&format!("{APP}/diff?from=v1&to=2")).await.expect(200);
    assert_eq!(diff["changes"], true);
    assert_eq!(diff["config"], plan["config"]);
    assert_eq!(diff["definition"], plan["definition"]);
    let none = server.get(&format!("{APP}/diff?from=v1&to=v1")).await.expect(200);
    assert_eq!(none["changes"], false);
}

#[tokio::test]
async fn a_deployment_is_found_by_a_part_of_its_id() {
    let server = Server::start().await;
    let one = server.deploy("dev", &launch(1)).await.expect(202);
    let two = server.deploy("dev", &launch(2)).await.expect(202);
    let id = |d: &Value| d["id"].as_str().expect("an id").to_owned();
    let ending = id(&one)[28..].to_owned();
    let found = server.get(&format!("/v1/deployments/{ending}")).await.expect(200);
    assert_eq!(found["id"], one["id"]);
    let whole = id(&two);
    assert_eq!(server.get(&format!("/v1/deployments/{whole}")).await.expect(200)["id"], two["id"]);
    // Both were made within the same seconds: their beginnings are alike.
    let beginning = &id(&one)[..8];
    if id(&two).starts_with(beginning) {
        let problem = server.get(&format!("/v1/deployments/{beginning}")).await;
        assert_eq!(problem.problem("ambiguous")["exit_code"], 5);
    }
    server.get("/v1/deployments/abc").await.problem("deployment-not-found");
}

#[tokio::test]
async fn what_nothing_needs_is_collected_and_nothing_else() {
    let server = Server::start().await;
    let send = async |content: &'static [u8]| {
        let (manifest, sha256) = manifest(content);
        server.post("/v1/artifacts", &json!({ "manifest": manifest })).await.expect(200);
        assert_eq!(put_blob(&server, &sha256.to_string(), content).await.status, 201);
        (manifest.digest(), sha256)
    };
    let (deployed, kept) = send(b"deployed").await;
    let (_, offered) = send(b"offered just now").await;
    let loose = ark_model::Sha256::of(b"never named");
    assert_eq!(put_blob(&server, &loose.to_string(), b"never named").await.status, 201);
    let mut body = deploy_body(LAUNCH);
    body["artifact"] = json!({ "kind": "directory", "digest": deployed });
    server.post(&format!("{APP}/deployments"), &body).await.expect(202);
    assert_eq!(server.post("/v1/gc", &json!({})).await.expect(200)["blobs"], 0, "all is young");
    for sha256 in [&kept, &offered, &loose] {
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
        let file = std::fs::File::open(server.blobs.path(sha256)).expect("the blob");
        file.set_modified(long_ago).expect("its time");
    }
    let report = server.post("/v1/gc", &json!({})).await.expect(200);
    assert_eq!((&report["blobs"], &report["bytes"]), (&json!(1), &json!(11)));
    assert!(server.blobs.has(&kept) && server.blobs.has(&offered) && !server.blobs.has(&loose));
    let releases = server.get(&format!("{APP}/releases")).await.expect(200);
    assert_eq!(releases["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_host_leads_to_one_app() {
    let server = Server::start().await;
    let text = LAUNCH.replace("port: 80,", "port: 80, hosts: [web.example.test], ");
    let deploy = async |env: &str, app: &str| {
        let path = format!("/v1/environments/{env}/apps/{app}/deployments");
        server.post(&path, &deploy_body(&text)).await
    };
    deploy("production", "web").await.expect(202);
    let problem = deploy("production", "shop").await.problem("already-exists");
    assert_eq!(problem["exit_code"], 5);
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains("web.example.test") && detail.contains("web"), "{detail}");
    // Again itself, and an environment that is made from the same file.
    deploy("production", "web").await.expect(202);
    deploy("dev", "web").await.expect(202);
}

#[tokio::test]
async fn a_frozen_environment_takes_no_deployment_unless_told_why_and_every_rollback() {
    let server = Server::start().await;
    server.deploy("production", &launch(1)).await.expect(202);
    server.finish("production", DeploymentState::Succeeded).await;
    server.deploy("production", &launch(2)).await.expect(202);
    server.finish("production", DeploymentState::Succeeded).await;

    // Each day for 25 hours: always.
    let window = "/v1/environments/production/freeze/always";
    let always = json!({
        "effect": "deny", "cron": "0 0 * * *", "seconds": 90_000, "time_zone": "Europe/Berlin",
    });
    let put = |role: Role, body: &Value| server.request(role, Method::PUT, window).json(body);
    server.send(put(Role::Deployer, &always)).await.problem("forbidden");
    let mut nowhere = always.clone();
    nowhere["time_zone"] = json!("Berlin");
    server.send(put(Role::Admin, &nowhere)).await.problem("invalid-value");
    let view = server.send(put(Role::Admin, &always)).await.expect(200);
    assert_eq!(view["frozen"], json!({ "window": "always", "until": null }));
    assert_eq!(view["freeze"][0]["cron"], "0 0 * * *");

    let refused = server.deploy("production", &launch(3)).await;
    let problem = refused.problem("frozen");
    assert_eq!(problem["exit_code"], 7);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("`always` is open")));
    // Other environments are not.
    server.deploy("staging", &launch(3)).await.expect(202);

    let rollback = server.post(&format!("{APP}/rollback"), &json!({})).await.expect(202);
    assert_eq!(rollback["release"], 1);
    server.finish("production", DeploymentState::Succeeded).await;

    let mut body = deploy_body(&launch(3));
    body["override_freeze"] = json!("  ");
    server.post(&format!("{APP}/deployments"), &body).await.problem("frozen");
    body["override_freeze"] = json!("the site is down");
    let deployment = server.post(&format!("{APP}/deployments"), &body).await.expect(202);
    let finished = server.finish("production", DeploymentState::Succeeded).await;
    assert_eq!(finished.id.to_string(), deployment["id"].as_str().expect("an id"));
    assert!(finished.notes[0].ends_with(": the site is down"), "{:?}", finished.notes);
    let events = server.get("/v1/events?env=production").await;
    assert!(events.text.contains("overridden by"), "{}", events.text);

    server.send(server.request(Role::Admin, Method::DELETE, window)).await.expect(200);
    let gone = server.send(server.request(Role::Admin, Method::DELETE, window)).await;
    gone.problem("freeze-not-found");
    server.deploy("production", &launch(4)).await.expect(202);
}

#[tokio::test]
async fn no_app_answers_where_the_console_is() {
    let server = Server::start().await;
    let launch = |host: &str| LAUNCH.replace("port: 80,", &format!("port: 80, hosts: [{host}],"));
    for host in ["ark.localhost", "Web.Ark.localhost"] {
        let problem = server.deploy("dev", &launch(host)).await.problem("already-exists");
        assert!(
            problem["detail"].as_str().is_some_and(|words| words.contains("console")),
            "{problem}"
        );
        let plan = "/v1/environments/dev/apps/web/plan";
        let plan = server.post(plan, &deploy_body(&launch(host))).await.expect(200);
        let named = format!("`{}`", host.to_ascii_lowercase());
        assert!(plan["refusals"][0].as_str().is_some_and(|words| words.contains(&named)), "{plan}");
    }
    server.deploy("dev", &launch("park.localhost")).await.expect(202);
    // Its apps would be web.ark.localhost.
    server.deploy("ark", LAUNCH).await.problem("already-exists");
    server.post("/v1/environments", &json!({ "name": "ark" })).await.problem("already-exists");
    let set = json!({ "set": { "A": { "value": "1" } } });
    let config = "/v1/environments/ark/apps/web/config";
    server.patch(config, &set).await.problem("already-exists");
    server.get("/v1/environments/ark").await.problem("environment-not-found");
}

#[tokio::test]
async fn the_traffic_of_all_environments_is_one_question() {
    let server = Server::start().await;
    let found = server.get("/v1/traffic?slice_s=10").await.expect(200);
    assert_eq!(found, json!({ "slice_s": 10, "slices": found["slices"] }));
    server.get("/v1/traffic?slice_s=11").await.problem("invalid-value");
}

#[tokio::test]
async fn what_is_done_is_what_was_planned_or_nothing() {
    let server = Server::start().await;
    let app = "/v1/environments/dev/apps/web";
    let launch = LAUNCH.replace("expose:", "env: [LEVEL]\nexpose:");
    let level = async |value: &str| {
        let set = json!({ "set": { "LEVEL": { "value": value } } });
        server.patch(&format!("{app}/config"), &set).await.expect(200);
    };
    level("info").await;
    let planned = async |body: &Value| {
        let plan = server.post(&format!("{app}/plan"), body).await.expect(200);
        plan["expect"].as_str().expect("what it rests on").to_owned()
    };
    let body = deploy_body(&launch);
    let deploy = async |expect: &str| {
        let mut body = body.clone();
        body["expect"] = json!(expect);
        server.post(&format!("{app}/deployments"), &body).await
    };
    let first = planned(&body).await;
    assert_eq!(first, planned(&body).await, "nothing has changed");
    // The value that was shown is another by now.
    level("debug").await;
    deploy(&first).await.problem("plan-changed");
    let second = planned(&body).await;
    deploy(&second).await.expect(202);
    // It waits: whoever planned before would supersede it without knowing.
    deploy(&second).await.problem("plan-changed");
    server.finish("dev", DeploymentState::Succeeded).await;

    level("trace").await;
    deploy(&planned(&body).await).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let back = json!({ "to": 1 });
    let plan = server.post(&format!("{app}/rollback/plan"), &back).await.expect(200);
    let rollback = json!({ "to": 1, "expect": plan["expect"] });
    server.post(&format!("{app}/stop"), &json!({})).await.expect(200);
    let problem = server.post(&format!("{app}/rollback"), &rollback).await;
    assert_eq!(problem.problem("plan-changed")["exit_code"], 5);
    let plan = server.post(&format!("{app}/rollback/plan"), &back).await.expect(200);
    let rollback = json!({ "to": 1, "expect": plan["expect"] });
    server.post(&format!("{app}/rollback"), &rollback).await.expect(202);
}
