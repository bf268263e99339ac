//! The OpenAPI 3.1 document, generated from the same table of operations that builds the router.
//! `docs/openapi.json` is this document; a test holds it to the code.

use std::collections::BTreeSet;

use ark_model::api::{Problem, ProblemCode};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::error::PROBLEM_JSON;
use super::operation::{Access, Content, Operation, SchemaOf, subschema};
use crate::auth::Permission;

/// Problems that any operation may answer with.
const COMMON: [ProblemCode; 6] = [
    ProblemCode::ForeignOrigin,
    ProblemCode::Busy,
    ProblemCode::ShuttingDown,
    ProblemCode::StorageFailed,
    ProblemCode::Timeout,
    ProblemCode::Internal,
];

/// The document, with all keys sorted, so that its text depends on nothing but the API.
pub fn document(operations: &[Operation]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = subschema::<Problem>(&mut generator).to_value();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        let described = describe(operation, &problem, &mut generator);
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.as_str().to_ascii_lowercase(), described);
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ark",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "From a launch file to live traffic.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7070", "description": "The default of `ark up`." }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    });
    sorted(document)
}

/// The document as it is committed and served.
pub fn text(operations: &[Operation]) -> String {
    let mut text = serde_json::to_string_pretty(&document(operations)).unwrap_or_default();
    text.push('\n');
    text
}

fn describe(operation: &Operation, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters(operation, generator),
        "responses": responses(operation, problem, generator),
        "security": match operation.access {
            Access::Public => json!([]),
            Access::Needs(_) => json!([{ "token": [] }]),
        },
    });
    let role = match operation.access {
        Access::Public => String::new(),
        Access::Needs(permission) => format!("Needs the role `{}`.", role_words(permission)),
    };
    let words = [operation.description, role.as_str()];
    let words: Vec<&str> = words.into_iter().filter(|text| !text.is_empty()).collect();
    let fields = described.as_object_mut().expect("built as an object just above");
    if !words.is_empty() {
        fields.insert("description".into(), words.join("\n\n").into());
    }
    if let Some((client, server)) = operation.frames {
        let frames = json!({
            "client": client(generator).to_value(),
            "server": server(generator).to_value(),
        });
        fields.insert("x-ark-websocket".into(), frames);
    }
    if let Some(content) = content(operation.request, generator) {
        fields.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    described
}

fn role_words(permission: Permission) -> &'static str {
    permission.weakest().as_str()
}

fn parameters(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters: Vec<Value> = path_names(operation.path)
        .map(|name| {
            let (schema, words) = path_parameter(name);
            json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": words })
        })
        .collect();
    if let Some(schema_of) = operation.query {
        parameters.extend(query_parameters(schema_of, generator));
    }
    if operation.idempotent_by_key {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "schema": { "type": "string", "maxLength": 128 },
            "description": "Makes repeating the request harmless for a day: the same key with the \
                same body answers what the first one answered.",
        }));
    }
    parameters
}

/// The names in braces.
pub(super) fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> (Value, &'static str) {
    let text = json!({ "type": "string" });
    match name {
        "env" => (text, "Name of the environment."),
        "app" => (text, "Name of the app."),
        "deployment" => (text, "Id of the deployment, or a prefix of it that fits only one."),
        "release" => (text, "Number of the release: `v42` or `42`."),
        "instance" => (text, "Short or whole id of the instance."),
        "token" => (text, "Id of the token."),
        "window" => (text, "Name of the freeze window."),
        "host" => (text, "Host of the registry, with its port where that is not the usual one."),
        "hook" => (text, "Name of the push hook."),
        "run" => (json!({ "type": "integer" }), "Number of the run."),
        "workflow" => (
            text,
            "Under `/wm` the id of a workflow: a UUID, `NAME:EXECUTION`, or an ARN. Else its name.",
        ),
        "execution" => (text, "Name of the execution."),
        "schedule" => (text, "Name of the schedule."),
        "queue" => (text, "Name of the queue."),
        "namespace" => (text, "Namespace of the state resource."),
        "name" => (text, "Name of the definition or state resource."),
        "version" => (json!({ "type": "integer" }), "Number of the version, from 0."),
        "sha256" => (
            json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            "Digest of the content, as 64 hex digits.",
        ),
        _ => (text, ""),
    }
}

/// The properties of the query's schema, as parameters.
fn query_parameters(schema_of: SchemaOf, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = schema_of(generator).to_value();
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let words = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        json!({
            "name": name,
            "in": "query",
            "required": required.contains(name.as_str()),
            "schema": schema,
            "description": words.unwrap_or_default(),
        })
    };
    properties.iter().map(parameter).collect()
}

fn responses(operation: &Operation, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let mut good = json!({ "description": status_words(operation.status) });
    if let Some(content) = content(operation.answer, generator) {
        good["content"] = content;
    }
    responses.insert(operation.status.to_string(), good);
    for status in operation.problem_statuses() {
        let codes: Vec<&str> = operation
            .problem_codes()
            .into_iter()
            .filter(|code| code.status() == status)
            .map(ProblemCode::as_str)
            .collect();
        let words = format!("`{}`", codes.join("`, `"));
        let content = json!({ PROBLEM_JSON: { "schema": problem } });
        responses.insert(status.to_string(), json!({ "description": words, "content": content }));
    }
    Value::Object(responses)
}

impl Operation {
    /// Every problem the operation may answer with.
    pub fn problem_codes(&self) -> BTreeSet<ProblemCode> {
        let mut codes: BTreeSet<ProblemCode> = COMMON.into_iter().collect();
        codes.extend(self.problems);
        if let Access::Needs(_) = self.access {
            codes.extend([ProblemCode::Unauthorized, ProblemCode::Forbidden]);
        }
        if self.query.is_some() || matches!(self.request, Content::Json(_)) {
            codes.insert(ProblemCode::BadRequest);
        }
        match self.request {
            Content::Empty => {}
            Content::Json(_) => {
                codes.extend([ProblemCode::TooLarge, ProblemCode::UnsupportedType]);
            }
            _ => {
                codes.insert(ProblemCode::TooLarge);
            }
        }
        if self.idempotent_by_key {
            codes.insert(ProblemCode::IdempotencyConflict);
        }
        if path_names(self.path).next().is_some() {
            codes.insert(ProblemCode::InvalidValue);
        }
        codes
    }

    fn problem_statuses(&self) -> BTreeSet<u16> {
        self.problem_codes().into_iter().map(ProblemCode::status).collect()
    }
}

fn status_words(status: u16) -> &'static str {
    match status {
        101 => "The connection becomes a WebSocket.",
        201 => "Created.",
        202 => "Accepted; the work goes on in the server.",
        204 => "Done; there is nothing to say.",
        _ => "The answer.",
    }
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Option<Value> {
    let schema = |schema_of: SchemaOf, generator: &mut SchemaGenerator| json!({ "schema": schema_of(generator).to_value() });
    Some(match content {
        Content::Empty => return None,
        Content::Json(of) => json!({ "application/json": schema(of, generator) }),
        Content::Lines(of) => json!({ "application/x-ndjson": schema(of, generator) }),
        Content::Events(of) => json!({ "text/event-stream": schema(of, generator) }),
        Content::LinesOrEvents(of) => json!({
            "application/x-ndjson": schema(of, generator),
            "text/event-stream": schema(of, generator),
        }),
        Content::Bytes => json!({ "application/octet-stream": {} }),
        Content::Text(media_type) => {
            let kind = media_type.split(';').next().unwrap_or(media_type);
            json!({ kind: { "schema": { "type": "string" } } })
        }
    })
}

/// Sorts by hand: whether `serde_json` keeps the order of keys is a feature that any other crate
/// of the build may switch on.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}
