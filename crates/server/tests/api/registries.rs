//! Registries of images, as those who may not set them meet them.

use ark_model::api::Role;
use reqwest::Method;
use serde_json::json;

use crate::fixture::Server;

/// What stands beside the path that images are sent to is not reached with its credentials.
#[tokio::test]
async fn only_names_under_the_path_of_a_registry_are_built_or_looked_for() {
    let f = Server::start().await;
    let set = |push| {
        let request = f.request(Role::Admin, Method::PUT, "/v1/registries/registry.test");
        f.send(request.json(&json!({"push": push})))
    };
    set(Some("shop")).await.expect(200);
    let find = |image: &str| {
        let request = f.request(Role::Reader, Method::POST, "/v1/images/find");
        f.send(request.json(&json!({"images": [image]})))
    };
    let build = |image: &str| {
        let context = format!("sha256:{}", "0".repeat(64));
        let request = f.request(Role::Deployer, Method::POST, "/v1/builds");
        f.send(request.json(&json!({"image": image, "context": context})))
    };
    for image in ["registry.test/shop/web:v1", "registry.test:5000/web:v1", "web:v1"] {
        find(image).await.expect(200);
    }
    let outside =
        ["registry.test/base/golden:v9", "registry.test/shopping/web:v1", "registry.test/shop:v1"];
    for image in outside {
        find(image).await.problem("invalid-value");
        build(image).await.problem("invalid-value");
    }
    set(None).await.expect(200);
    find("registry.test/shop/web:v1").await.problem("invalid-value");
    build("registry.test/shop/web:v1").await.problem("invalid-value");
}
