//! Leases of environments: who may give, renew and lift one, and what can have none.

use ark_model::api::Role;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, Server};

async fn lease(server: &Server, role: Role, env: &str, seconds: u64) -> Answer {
    let path = format!("/v1/environments/{env}/lease");
    let request = server.request(role, Method::PUT, &path).json(&json!({ "seconds": seconds }));
    server.send(request).await
}

/// Seconds from now until the lease in an answer runs out.
fn left(view: &Value) -> i64 {
    let until = view["lease"]["until"].as_str().expect("a lease");
    let until: Timestamp = until.parse().expect("an instant");
    until.duration_since(Timestamp::now()).as_secs()
}

#[tokio::test]
async fn a_lease_is_given_renewed_and_lifted_and_each_is_an_event() {
    let server = Server::start().await;
    let made = server
        .post("/v1/environments", &json!({ "name": "eng1", "lease_seconds": 28_800 }))
        .await
        .expect(201);
    assert!((28_790..=28_801).contains(&left(&made)), "{made}");
    assert_eq!(made["lease"]["by"], "admin");
    let renewed = lease(&server, Role::Admin, "eng1", 86_400).await.expect(200);
    assert!((86_390..=86_401).contains(&left(&renewed)), "{renewed}");
    let shown = server.get("/v1/environments/eng1").await.expect(200);
    assert_eq!(shown["lease"], renewed["lease"]);
    // Made once more, its lease may become longer and never shorter.
    let again = |seconds: u64| json!({ "name": "eng1", "lease_seconds": seconds });
    assert!(left(&server.post("/v1/environments", &again(90_000)).await.expect(200)) > 86_401);
    assert!(left(&server.post("/v1/environments", &again(60)).await.expect(200)) > 86_401);
    let lifted = server.delete("/v1/environments/eng1/lease").await.expect(200);
    assert!(lifted.get("lease").is_none(), "{lifted}");
    server.delete("/v1/environments/eng1/lease").await.expect(200);
    let events = server.get("/v1/events?env=eng1&kind=environment_lease").await.expect(200);
    let texts: Vec<&str> = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .map(|e| e["text"].as_str().expect("text"))
        .collect();
    assert_eq!(texts.len(), 4, "{texts:?}");

    // Nothing has one that was not asked for.
    let plain = server.post("/v1/environments", &json!({ "name": "eng2" })).await.expect(201);
    assert!(plain.get("lease").is_none(), "{plain}");
    let again = json!({ "name": "eng2", "lease_seconds": 3_600 });
    server.post("/v1/environments", &again).await.problem("already-exists");
    let plain = server.get("/v1/environments/eng2").await.expect(200);
    assert!(plain.get("lease").is_none(), "{plain}");
}

#[tokio::test]
async fn what_is_permanent_has_no_lease_and_its_length_has_bounds() {
    let server = Server::start().await;
    server.post("/v1/environments", &json!({ "name": "production" })).await.expect(201);
    lease(&server, Role::Admin, "production", 3_600).await.problem("invalid-value");
    for made in [
        json!({ "name": "staging", "kind": "permanent", "lease_seconds": 3_600 }),
        json!({ "name": "eng1", "lease_seconds": 59 }),
        json!({ "name": "eng1", "lease_seconds": 31_622_401 }),
    ] {
        server.post("/v1/environments", &made).await.problem("invalid-value");
    }
    let all = server.get("/v1/environments").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "what was refused made nothing");
    lease(&server, Role::Admin, "none", 3_600).await.problem("environment-not-found");
    server.delete("/v1/environments/production").await.expect(202);
    lease(&server, Role::Admin, "production", 3_600).await.problem("environment-destroying");
}

#[tokio::test]
async fn who_may_not_destroy_an_environment_can_only_keep_it_longer() {
    let server = Server::start().await;
    server.post("/v1/environments", &json!({ "name": "theirs" })).await.expect(201);
    lease(&server, Role::Deployer, "theirs", 3_600).await.problem("forbidden");
    lease(&server, Role::Admin, "theirs", 3_600).await.expect(200);
    lease(&server, Role::Deployer, "theirs", 1_800).await.problem("forbidden");
    lease(&server, Role::Deployer, "theirs", 7_200).await.expect(200);
    lease(&server, Role::Reader, "theirs", 9_000).await.problem("forbidden");
    let lift = server.request(Role::Deployer, Method::DELETE, "/v1/environments/theirs/lease");
    server.send(lift).await.expect(200);

    // Whoever made one may end it sooner.
    let mine = json!({ "name": "mine", "lease_seconds": 7_200 });
    let make = server.request(Role::Deployer, Method::POST, "/v1/environments").json(&mine);
    server.send(make).await.expect(201);
    let view = lease(&server, Role::Deployer, "mine", 60).await.expect(200);
    assert!(left(&view) <= SignedDuration::from_secs(61).as_secs());
}
