//! No token, no entry; each role may what its permission says and no more.

use ark_model::api::Role;
use ark_server::api::{self, Access, Operation};
use ark_server::auth::{Permission, allows};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::fixture::Server;

/// An address of the operation, with names that are well-formed.
fn path(operation: &Operation) -> String {
    operation
        .path
        .replace("{env}", "production")
        .replace("{app}", "web")
        .replace("{deployment}", "0192aaaa")
        .replace("{release}", "v1")
        .replace("{instance}", "web-000000")
        .replace("{token}", "0192aaaa")
        .replace("{sha256}", &"0".repeat(64))
}

fn request(server: &Server, operation: &Operation) -> RequestBuilder {
    let method = Method::from_bytes(operation.method.as_str().as_bytes()).expect("a method");
    server.bare(method, &path(operation)).json(&json!({}))
}

#[tokio::test]
async fn without_a_token_there_is_no_entry() {
    let server = Server::start().await;
    for operation in api::operations() {
        let bare = server.send(request(&server, &operation)).await;
        if operation.access == Access::Public {
            // It wants a signature in the place of a token.
            let signed = operation.id == "receivePush";
            assert_eq!(bare.status, if signed { 401 } else { 200 }, "{}", operation.id);
            continue;
        }
        bare.problem("unauthorized");
        assert_eq!(bare.headers["www-authenticate"], "Bearer", "{}", operation.id);
        for wrong in ["Bearer ark_0000", "Bearer ", "Basic YTpi", "ark", "Bearer \u{e9}"] {
            let request = request(&server, &operation).header("authorization", wrong);
            let answer = server.send(request).await;
            assert_eq!(answer.problem("unauthorized")["exit_code"], 7, "{} {wrong}", operation.id);
        }
    }
}

#[tokio::test]
async fn roles_may_what_the_table_says() {
    let server = Server::start().await;
    for operation in api::operations() {
        let Access::Needs(permission) = operation.access else { continue };
        for role in Role::ALL {
            if operation.id == "shutdown" && allows(role, permission) {
                // It would do it; its own test does.
                continue;
            }
            if operation.id == "followEvents" && allows(role, permission) {
                // It would go on for ever; its own tests do.
                continue;
            }
            let answer =
                server.send(request(&server, &operation).bearer_auth(server.token(role))).await;
            let forbidden = answer.status == 403 && answer.json()["code"] == "forbidden";
            assert_eq!(forbidden, !allows(role, permission), "{} as {role:?}", operation.id);
            assert_ne!(answer.status, 401, "{} as {role:?}", operation.id);
            assert_ne!(answer.status, 500, "{} as {role:?}: {}", operation.id, answer.text);
        }
    }
}

#[test]
fn what_changes_something_needs_more_than_reading() {
    for operation in api::operations() {
        // A link to the console may do what the token that asks for it may, and no more.
        let asks = ["plan", "planRollback", "findImages", "createConsoleLink"];
        let reads = operation.method == "GET" || asks.contains(&operation.id);
        let Access::Needs(permission) = operation.access else { continue };
        let reader = allows(Role::Reader, permission);
        let exempt = ["exec", "listTokens", "getEnvironmentValues"].contains(&operation.id);
        assert_eq!(reader, reads && !exempt, "{}: {permission:?}", operation.id);
    }
    assert!(!allows(Role::Deployer, Permission::ManageTokens));
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends_with_its_revocation() {
    let server = Server::start().await;
    let made = server.post("/v1/tokens", &json!({ "name": "ci", "role": "deployer" })).await;
    let made = made.expect(201);
    let raw = made["token"].as_str().expect("the token").to_owned();
    let id = made["id"].as_str().expect("its id").to_owned();
    let as_ci = || server.bare(Method::GET, "/v1/server").bearer_auth(&raw);
    assert_eq!(server.send(as_ci()).await.status, 200);
    let again = server.post("/v1/tokens", &json!({ "name": "ci", "role": "reader" })).await;
    again.problem("already-exists");
    let list = server.get("/v1/tokens").await;
    assert!(!list.text.contains(&raw), "a token's text is in the list");
    assert_eq!(list.expect(200)["items"].as_array().map(Vec::len), Some(4));
    for _ in 0..2 {
        assert_eq!(server.delete(&format!("/v1/tokens/{id}")).await.status, 204);
    }
    server.send(as_ci()).await.problem("unauthorized");
    server.delete("/v1/tokens/none").await.problem("token-not-found");
    // The name is free again, and nobody can lock themselves out.
    server.post("/v1/tokens", &json!({ "name": "ci", "role": "reader" })).await.expect(201);
    let own = server.get("/v1/tokens").await.json()["items"]
        .as_array()
        .and_then(|all| all.iter().find(|token| token["name"] == "admin"))
        .and_then(|token| token["id"].as_str().map(str::to_owned))
        .expect("the admin token");
    server.delete(&format!("/v1/tokens/{own}")).await.problem("invalid-value");
    for name in ["", "a b", "a/b", &"x".repeat(101)] {
        let answer = server.post("/v1/tokens", &json!({ "name": name, "role": "reader" })).await;
        answer.problem("invalid-value");
    }
}

#[tokio::test]
async fn an_access_key_is_shown_once_and_is_no_bearer_token() {
    let server = Server::start().await;
    let asked = json!({ "name": "workers", "role": "deployer", "kind": "aws" });
    let made = server.post("/v1/tokens", &asked).await.expect(201);
    let secret = made["secret_access_key"].as_str().expect("the secret").to_owned();
    let id = made["access_key_id"].as_str().expect("the id").to_owned();
    assert_eq!((made["kind"].as_str(), made.get("token")), (Some("aws"), None));
    let list = server.get("/v1/tokens").await;
    assert!(!list.text.contains(&secret), "the secret is in the list");
    assert!(list.text.contains(&id), "the id is not in the list");
    for bearer in [id.clone(), secret, format!("aws access key {id}")] {
        let request = server.bare(Method::GET, "/v1/server").bearer_auth(bearer);
        server.send(request).await.problem("unauthorized");
    }
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let server = Server::start().await;
    for (name, value) in [
        ("host", "evil.test"),
        ("origin", "http://evil.test"),
        ("origin", "http://web.production.localhost:8080"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in ["/healthz", "/v1/server"] {
            let request = server.request(Role::Admin, Method::GET, path).header(name, value);
            let answer = server.send(request).await;
            assert_eq!(answer.problem("foreign-origin")["exit_code"], 7, "{name}: {value}");
        }
    }
    let own = format!("http://{}", server.address);
    let request = server.request(Role::Admin, Method::GET, "/v1/server").header("origin", own);
    assert_eq!(server.send(request).await.status, 200);
}
