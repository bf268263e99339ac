//! Wishes about apps and environments: recorded, answered at once, with an event each.

use ark_model::definition::Step;
use ark_model::deployment::Rollout;
use ark_model::instance::InstanceState;
use ark_model::rollout::{Asks, AsksFor};
use ark_model::{DeploymentId, DeploymentState};
use serde_json::{Value, json};

use crate::fixture::{LAUNCH, Server};

const APP: &str = "/v1/environments/dev/apps/web";

#[tokio::test]
async fn scale_stop_start_and_restart_are_recorded_with_who_and_why() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let wish = async |verb: &str, body: Value| server.post(&format!("{APP}/{verb}"), &body).await;
    let app = wish("scale", json!({ "count": 4 })).await.expect(200);
    assert_eq!((&app["wanted"], &app["scale"]), (&json!(4), &json!(4)));
    // Saying it again changes nothing, and makes no event.
    wish("scale", json!({ "count": 4 })).await.expect(200);
    let app = wish("stop", json!({})).await.expect(200);
    assert_eq!((&app["wanted"], &app["stopped"]), (&json!(0), &json!(true)));
    let app = wish("start", json!({})).await.expect(200);
    assert_eq!((&app["wanted"], &app["stopped"]), (&json!(4), &json!(false)));
    let app = wish("scale", json!({ "count": null })).await.expect(200);
    assert_eq!((&app["wanted"], &app["scale"]), (&json!(1), &Value::Null));
    wish("restart", json!({})).await.expect(200);
    let state = server
        .write(|tx| tx.app_state(&"dev".parse().expect("a name"), &crate::fixture::web()))
        .await
        .expect("the app");
    assert!(state.restart_before.is_some());
    let events = server.get("/v1/events?app=web&limit=500").await.expect(200);
    let changes: Vec<_> = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["kind"] == "app_changed")
        .map(|event| (event["by"].as_str(), event["env"].as_str()))
        .collect();
    assert_eq!(changes, [(Some("admin"), Some("dev")); 5]);
}

#[tokio::test]
async fn an_app_that_never_ran_cannot_be_started() {
    let server = Server::start().await;
    let d = server.deploy("dev", LAUNCH).await.expect(202);
    let id = d["id"].as_str().expect("an id");
    server.post(&format!("/v1/deployments/{id}/abort"), &json!({})).await.expect(202);
    for verb in ["start", "restart"] {
        let problem = server.post(&format!("{APP}/{verb}"), &json!({})).await;
        assert_eq!(problem.problem("not-deployed")["exit_code"], 5);
    }
}

#[tokio::test]
async fn a_stop_ends_the_deployment_that_waits() {
    let server = Server::start().await;
    let d = server.deploy("dev", LAUNCH).await.expect(202);
    let app = server.post(&format!("{APP}/stop"), &json!({})).await.expect(200);
    assert_eq!(app["waiting_deployment"], Value::Null);
    let id = d["id"].as_str().expect("an id");
    let d = server.get(&format!("/v1/deployments/{id}")).await.expect(200);
    assert_eq!(d["state"], "superseded", "nothing would ever begin it");
    // A deployment is also a start.
    server.deploy("dev", LAUNCH).await.expect(202);
    let app = server.get(APP).await.expect(200);
    assert_eq!(app["stopped"], false);
}

#[tokio::test]
async fn an_environment_is_destroyed_by_asking_twice_as_by_asking_once() {
    let server = Server::start().await;
    for (kind, status) in [(json!("permanent"), 201), (json!("permanent"), 200)] {
        let body = json!({ "name": "staging", "kind": kind });
        let made = server.post("/v1/environments", &body).await.expect(status);
        assert_eq!((&made["kind"], &made["owner"]), (&json!("permanent"), &json!("admin")));
    }
    let d = server.deploy("staging", LAUNCH).await.expect(202);
    for _ in 0..2 {
        let gone = server.delete("/v1/environments/staging").await.expect(202);
        assert_eq!(gone["state"], "destroying");
    }
    let id = d["id"].as_str().expect("an id");
    let d = server.get(&format!("/v1/deployments/{id}")).await.expect(200);
    assert_eq!(d["state"], "superseded");
    let problem = server.deploy("staging", LAUNCH).await;
    assert_eq!(problem.problem("environment-destroying")["exit_code"], 5);
    let body = json!({ "name": "staging" });
    server.post("/v1/environments", &body).await.problem("environment-destroying");
    let config = json!({ "set": { "A": { "value": "1" } } });
    let path = "/v1/environments/staging/apps/web/config";
    server.patch(path, &config).await.problem("environment-destroying");
    let events = server.get("/v1/events?env=staging&limit=500").await.expect(200);
    let destroying = |event: &&Value| event["kind"] == "environment_destroying";
    let count = events["items"].as_array().expect("events").iter().filter(destroying).count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn instances_are_listed_with_what_is_known_of_them() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let active = server.instance("dev", InstanceState::Active).await;
    let ended = server.instance("dev", InstanceState::Stopped).await;
    let rows = server.get(&format!("{APP}/instances")).await.expect(200);
    let rows = rows["items"].as_array().expect("rows");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["uuid"], json!(active));
    assert_eq!(rows[0]["id"], json!(active.short(&crate::fixture::web())));
    assert_eq!(rows[0]["state"], "active");
    assert_eq!(rows[0]["release"], 1);
    assert_eq!(rows[0]["address"], "127.0.0.1:20001");
    assert_eq!(rows[0]["ready"], true);
    assert_eq!(rows[0]["memory_bytes"], 4_096);
    let all = server.get(&format!("{APP}/instances?ended=true")).await.expect(200);
    assert_eq!(all["items"][1]["uuid"], json!(ended));
    assert_eq!(all["items"][1]["memory_bytes"], Value::Null);

    // With a gateway connected, its word on readiness counts, and apps have addresses.
    let http = ([127, 0, 0, 1], 8080).into();
    let boot = ark_model::BootId(uuid::Uuid::now_v7());
    server.state.observations.connected(boot, 7, vec![http], jiff::Timestamp::now());
    let app = server.get(APP).await.expect(200);
    assert_eq!((&app["ready"], &app["alive"]), (&json!(0), &json!(1)));
    let address = json!([{ "expose": "default", "url": "http://web.dev.localhost:8080" }]);
    assert_eq!(app["addresses"], address);
    let info = server.get("/v1/server").await.expect(200);
    assert_eq!(info["http"], json!(["http://127.0.0.1:8080"]));
    assert_eq!(info["gateway"]["connected"], true);
    assert_eq!(info["engine"]["kind"], "fake");
    assert_eq!(info["engine"]["capabilities"][0]["enforced"], false);
}

#[tokio::test]
async fn the_doctor_looks_at_everything() {
    let server = Server::start().await;
    let report = server.get("/v1/doctor").await.expect(200);
    assert_eq!(report["outcome"], "fail", "no gateway is connected");
    let checks = report["checks"].as_array().expect("checks");
    let outcome = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name} was not looked at: {checks:?}"))["outcome"].clone()
    };
    assert_eq!(outcome("store"), "ok");
    assert_eq!(outcome("gateway"), "fail");
    assert_eq!(outcome("engine"), "ok");
    assert_eq!(outcome("memory limit"), "warn");
    let unwell = checks.iter().filter(|check| check["outcome"] != "ok");
    for check in unwell {
        assert!(check["remedy"].is_string(), "{check}");
    }
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_says_so_and_takes_nothing_new() {
    let server = Server::start().await;
    let asked = server.state.shutdown.clone();
    let answer = server.post("/v1/shutdown", &json!({ "apps": true })).await.expect(202);
    assert_eq!(answer["apps"], true);
    assert!(asked.requested().await.apps);
    // Its door is closed: either nobody answers any more, or the answer says why.
    let late = server.bare(reqwest::Method::GET, "/healthz").send().await;
    assert!(late.is_err() || late.is_ok_and(|answer| answer.status() == 503));
}

#[tokio::test]
async fn what_is_said_to_one_step_is_refused_at_the_next() {
    let server = Server::start().await;
    let d = server.deploy("dev", LAUNCH).await.expect(202);
    let id: DeploymentId = d["id"].as_str().expect("an id").parse().expect("an id");
    let stand = async |step: usize| {
        let state = DeploymentState::Stepping;
        server
            .write(move |tx| {
                let mut d = tx.deployment(id)?.expect("its record");
                let before = d.state;
                let now = jiff::Timestamp::now();
                let steps = vec![Step::Pause(None), Step::Approval {}, Step::Weight(100)];
                let asks = [AsksFor::Promotion, AsksFor::Approval][step];
                let rollout = d.rollout.get_or_insert_with(|| Rollout::new(steps, now));
                rollout.step = step;
                rollout.asks = Some(Asks { since: now, what: asks });
                (d.state, d.started_at) = (state, Some(now));
                tx.put_deployment(&d, before)?;
                Ok(())
            })
            .await;
    };
    let say = async |word: &str, body: Value| {
        server.post(&format!("/v1/deployments/{id}/{word}"), &body).await
    };
    stand(0).await;
    say("promote", json!({ "step": 1 })).await.expect(202);
    stand(1).await;
    // The second press of the same button: nobody has given the approval.
    let problem = say("promote", json!({ "step": 1 })).await.problem("nothing-to-say");
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains("step 2 of 3 (approval)"), "{detail}");
    assert!(detail.contains("waits for an approval"), "{detail}");
    say("approve", json!({ "step": 1 })).await.problem("nothing-to-say");
    let d = server.write(move |tx| Ok(tx.deployment(id)?.expect("its record"))).await;
    let rollout = d.rollout.expect("steps");
    assert!(rollout.approvals.is_empty());
    assert_eq!(rollout.promoted.map(|promoted| promoted.until), Some(1));
    say("approve", json!({ "step": 2 })).await.expect(202);
    // Who does not say where, means where it is.
    say("promote", json!({})).await.expect(202);
}
