//! JSON Schema of a launch file, for editors: completion, hover texts, defaults, and the coarse
//! mistakes underlined while typing. Made from the same tables as the judge, whose verdict stands
//! where a schema cannot say a rule.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::duration::DURATION_PATTERN;
use super::format;
use super::shape::{Entries, Key, List, Map, Repeats, Shape, TextRule, Unknown};
use super::text::RUN_TYPES;

/// The schema of a launch file as JSON Schema, draft 2020-12: an app, or a data store when there
/// is a `type` at the top.
pub fn json_schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ark launch file",
        "type": "object",
        "if": {"required": ["type"]},
        "then": map(&format::STORE),
        "else": map(&format::APP),
    })
}

fn map(map: &Map) -> Json {
    let properties: JsonMap<String, Json> =
        map.keys.iter().map(|entry| (entry.name.to_owned(), key(entry))).collect();
    let mut schema = json!({
        "type": "object",
        "description": map.doc,
        "properties": properties,
    });
    if map.unknown == Unknown::Refused {
        schema["additionalProperties"] = json!(false);
    }
    let required: Vec<&str> = map.keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if map.one_of {
        schema["minProperties"] = json!(1);
        schema["maxProperties"] = json!(1);
    }
    schema
}

fn key(key: &Key) -> Json {
    let mut schema = shape(&key.shape);
    // A key without a value is taken as absent, with a warning.
    if !key.required {
        schema = nullable(schema);
    }
    schema["description"] = json!(key.doc);
    if let Some(default) = key.default {
        let default: Json = serde_json::from_str(default).unwrap_or(Json::Null);
        schema["default"] = default;
    }
    if let Some(why) = key.legacy {
        schema["deprecated"] = json!(true);
        schema["description"] = json!(format!("{} Old: {why}.", key.doc));
    }
    schema
}

fn nullable(mut schema: Json) -> Json {
    if let Some(kind) = schema.get("type").and_then(Json::as_str) {
        schema["type"] = json!([kind, "null"]);
        if let Some(Json::Array(words)) = schema.get_mut("enum") {
            words.push(Json::Null);
        }
        return schema;
    }
    match schema.get_mut("anyOf") {
        Some(Json::Array(forms)) => {
            forms.push(json!({"type": "null"}));
            schema
        }
        // Whatever may stand there may also be missing.
        _ => schema,
    }
}

fn shape(shape: &Shape) -> Json {
    match shape {
        Shape::Text(rule) => text(*rule),
        Shape::Word(words) => json!({
            "type": "string",
            "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
            "markdownEnumDescriptions":
                words.iter().map(|(_, meaning)| *meaning).collect::<Vec<_>>(),
        }),
        Shape::Scalar => json!({"anyOf": [
            {"type": "string"}, {"type": "number"}, {"type": "boolean"},
        ]}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Shape::Duration { .. } => json!({"anyOf": [
            {
                "type": "string",
                "pattern": DURATION_PATTERN,
                "examples": ["30s", "5m", "1h30m", "500ms"],
            },
            {"const": 0},
        ]}),
        Shape::OpenDuration { min_ms, max_ms } => {
            let mut schema = self::shape(&Shape::Duration { min_ms: *min_ms, max_ms: *max_ms });
            if let Some(Json::Array(forms)) = schema.get_mut("anyOf") {
                forms.push(json!({"type": "object", "maxProperties": 0}));
                forms.push(json!({"type": "null"}));
            }
            schema
        }
        Shape::Quantity => json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            {"type": "string", "pattern": "^((100|[0-9]{1,2})%|[0-9]{1,10})$"},
        ]}),
        Shape::List(items) => list(items),
        Shape::Map(keys) => map(keys),
        Shape::Entries(free) => entries(free),
        Shape::Any => json!({}),
    }
}

fn list(list: &List) -> Json {
    let mut schema = json!({"type": "array", "items": shape(&list.item)});
    if list.min > 0 {
        schema["minItems"] = json!(list.min);
    }
    // A repeated value is a warning; an editor should say so, a validator must not refuse.
    if list.repeats == Repeats::Warn {
        schema["$comment"] = json!("each value once");
    }
    schema
}

fn entries(entries: &Entries) -> Json {
    let mut names = text(entries.key);
    if let Some(names) = names.as_object_mut() {
        names.remove("type");
    }
    json!({
        "type": "object",
        "propertyNames": names,
        "additionalProperties": shape(&entries.value),
    })
}

/// The part of a rule that a pattern can say.
fn text(rule: TextRule) -> Json {
    let label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
    let pattern = match rule {
        TextRule::Free | TextRule::Timezone | TextRule::Schedule => {
            return json!({"type": "string"});
        }
        TextRule::Filled | TextRule::Owner | TextRule::Team => r"\S".to_owned(),
        TextRule::RunType => return run_type(),
        TextRule::Variable => r"^[A-Za-z_.-][A-Za-z0-9_.-]*$".to_owned(),
        TextRule::Label => format!("^{label}$"),
        TextRule::Token => r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$".to_owned(),
        TextRule::Host => {
            let label = label.replace("a-z", "A-Za-z");
            format!(r"^{label}(\.{label})*$")
        }
        TextRule::RoutePath => r"^/[^\s?#;]*$".to_owned(),
        TextRule::Url => r"^https?://[^\s#@/?]+([/?][^\s#]*)?$".to_owned(),
        TextRule::RequestPath => r"^/[^\s#]*$".to_owned(),
        TextRule::FolderPath => "^/.".to_owned(),
        TextRule::Database => r"^[a-z0-9-]+:[a-z0-9-]+:\S+$".to_owned(),
    };
    json!({"type": "string", "pattern": pattern})
}

fn run_type() -> Json {
    json!({"anyOf": [
        {
            "type": "string",
            "enum": RUN_TYPES.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
            "markdownEnumDescriptions":
                RUN_TYPES.iter().map(|(_, meaning)| *meaning).collect::<Vec<_>>(),
        },
        {"type": "string", "pattern": "^(workflow|lambda/[a-z0-9-]+)$", "deprecated": true},
    ]})
}
