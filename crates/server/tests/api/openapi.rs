//! The committed document is the code's.

use std::collections::BTreeSet;
use std::path::Path;

use ark_server::api;

use crate::fixture::Server;

#[test]
fn the_committed_document_is_the_one_the_code_generates() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let generated = api::openapi::text(&api::operations());
    if std::env::var_os("ARK_BLESS").is_some() {
        std::fs::write(&file, &generated).expect("docs/openapi.json can be written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/openapi.json is not what the code says; if the change is meant: \
         ARK_BLESS=1 cargo test -p ark-server --test api"
    );
}

#[tokio::test]
async fn the_document_is_served_and_complete() {
    let server = Server::start().await;
    let answer = server.send(server.bare(reqwest::Method::GET, "/openapi.json")).await;
    let document = answer.expect(200);
    assert_eq!(document, api::openapi::document(&api::operations()));
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for operation in api::operations() {
        let method = operation.method.as_str().to_ascii_lowercase();
        let described = &document["paths"][operation.path][&method];
        assert!(ids.insert(operation.id), "{} stands twice", operation.id);
        assert_eq!(described["operationId"], operation.id);
        for parameter in described["parameters"].as_array().expect("parameters") {
            let words = parameter["description"].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "{} {}", operation.id, parameter["name"]);
        }
    }
    // Every reference leads somewhere.
    let text = answer.text;
    for reference in text.split("\"$ref\": \"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a closing quote");
        assert!(schemas.contains_key(name), "{name} is not described");
    }
    assert!(schemas.len() > 50, "only {} schemas", schemas.len());
}

#[test]
fn every_problem_code_can_be_documented_by_some_operation() {
    let documented: BTreeSet<&str> = api::operations()
        .iter()
        .flat_map(api::Operation::problem_codes)
        .map(ark_model::api::ProblemCode::as_str)
        .collect();
    // These come from the router itself, before any operation is chosen, or from races that the
    // common 503 and 409 stand for.
    let from_the_router =
        ["no-such-operation", "method-not-allowed", "stale-writer", "not-supported"];
    for code in ark_model::api::ProblemCode::ALL {
        let code = code.as_str();
        assert!(
            documented.contains(code) || from_the_router.contains(&code),
            "{code} is documented by no operation"
        );
    }
}
