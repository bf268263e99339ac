//! The JSON Schema accepts what the judge accepts, and refuses the coarse mistakes.

use ark_model::definition::{json_schema, parse};
use serde_json::{Value, json};

use crate::shared;

fn validator() -> jsonschema::Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .build(&json_schema())
        .expect("the schema is one")
}

/// Read by the library alone, so that our own reader cannot hide anything.
fn json_of(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

#[test]
fn every_accepted_real_file_validates() {
    let Some(launch) = shared::launch("every_accepted_real_file_validates") else { return };
    let validator = validator();
    let mut accepted = 0;
    for file in shared::files(&launch) {
        let bytes = std::fs::read(launch.join(&file)).expect("a file");
        if !parse(&file, &bytes).ok() {
            continue;
        }
        accepted += 1;
        let value = json_of(std::str::from_utf8(&bytes).expect("UTF-8"));
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
    assert!(accepted > 300, "only {accepted} files were accepted");
}

#[test]
fn coarse_mistakes_do_not_validate() {
    let validator = validator();
    for text in [
        "alarms: [{type: BadRequestAlarm, severity: major, paramaters: {}}]",
        "alarms: [{type: BadRequestAlarm}]",
        "env: A",
        "env: {A: b}",
        "team: [a]",
        "expose: [{name: a}]",
        "expose: [{port: 0}]",
        "run: {type: dokcer}",
        "deploy: {strategy: bluegreen}",
        "deploy: {steps: [{weight: 5, pause: 1m}]}",
        "deploy: {max_surge: 101%}",
        "drain: {requests: 30}",
        "type: mongodb",
        "type: dynamodb\nrun: {}",
        "envs: []",
    ] {
        assert!(!validator.is_valid(&json_of(text)), "{text}");
        assert!(!parse("x.yml", text.as_bytes()).ok(), "{text}");
    }
}

#[test]
fn editors_get_descriptions_defaults_and_choices() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let app = &schema["else"]["properties"];
    let check = &app["expose"]["items"]["properties"]["health_check"]["properties"];
    assert_eq!(check["interval"]["default"], json!("1s"));
    assert_eq!(app["deploy"]["properties"]["max_surge"]["default"], json!("25%"));
    assert_eq!(app["mesh_config"]["deprecated"], json!(true));
    let mut keys = 0;
    described(&schema["else"], "", &mut keys);
    described(&schema["then"], "", &mut keys);
    assert!(keys > 120, "only {keys} keys");
}

fn described(schema: &Value, path: &str, keys: &mut usize) {
    for (name, key) in schema["properties"].as_object().into_iter().flatten() {
        *keys += 1;
        let text = key["description"].as_str().unwrap_or_default();
        assert!(text.len() > 5, "{path}.{name} is not described");
        let path = format!("{path}.{name}");
        described(key, &path, keys);
        described(&key["items"], &path, keys);
        described(&key["additionalProperties"], &path, keys);
    }
}
