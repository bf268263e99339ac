//! `docs/definitions.md` and the code say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ark_model::definition::{Code, json_schema, parse};
use serde_json::Value;

/// Findings whose examples are no text, too long for a page, or no matter of the file alone.
const WITHOUT_EXAMPLES: &[Code] =
    &[Code::NotUtf8, Code::TooLarge, Code::TooDeep, Code::TooManyValues, Code::WrongEngine];

const BEGIN: &str = "<!-- keys: begin -->\n";
const END: &str = "<!-- keys: end -->";

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/definitions.md"))
}

fn text() -> String {
    std::fs::read_to_string(page()).expect("docs/definitions.md")
}

/// Each finding's section: heading and text.
fn sections(text: &str) -> Vec<(String, String)> {
    text.split("\n### ")
        .skip(1)
        .map(|section| {
            let (heading, body) = section.split_once('\n').expect("a heading and a text");
            (heading.to_owned(), body.to_owned())
        })
        .collect()
}

fn examples(body: &str) -> Vec<String> {
    body.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_code_is_explained_in_order_and_no_other() {
    let headings: Vec<String> = sections(&text()).into_iter().map(|(h, _)| h).collect();
    let codes: Vec<String> =
        Code::ALL.iter().map(|code| format!("{code} {}", code.slug())).collect();
    assert_eq!(headings, codes);
}

#[test]
fn each_example_gives_its_finding_and_its_remedy_gives_none() {
    let explained: BTreeMap<_, _> = sections(&text()).into_iter().collect();
    for code in Code::ALL {
        let body = &explained[&format!("{code} {}", code.slug())];
        assert!(body.split_whitespace().count() >= 15, "{code} is hardly explained");
        let examples = examples(body);
        if WITHOUT_EXAMPLES.contains(code) {
            assert!(examples.is_empty(), "{code} has an example that is not tried");
            continue;
        }
        let [wrong, right] = examples.as_slice() else {
            panic!("{code} needs a wrong and a right example");
        };
        let found = parse("wrong.yml", wrong.as_bytes()).diagnostics;
        assert_eq!(found.len(), 1, "{code}: {found:?}");
        assert_eq!(found[0].code, *code, "{found:?}");
        assert_eq!(found[0].severity, code.severity());
        assert!(found[0].line > 0 && found[0].snippet.is_some(), "{code}: {found:?}");
        let found = parse("right.yml", right.as_bytes()).diagnostics;
        assert!(found.is_empty(), "{code}: the remedy still gives {found:?}");
    }
}

#[test]
fn the_first_example_of_the_page_is_accepted() {
    let text = text();
    let all = examples(&text);
    let example = all.iter().find(|e| e.starts_with("run:")).expect("an example");
    let parsed = parse("web.yml", example.as_bytes());
    assert!(parsed.ok() && parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
}

/// Set `UPDATE_DOCS=1` to write the table anew.
#[test]
fn the_table_of_keys_is_that_of_the_schema() {
    let text = text();
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (table, after) = rest.split_once(END).expect("the end of the table");
    let schema = json_schema();
    let mut fresh = String::new();
    for (title, branch) in [("An app", "else"), ("A data store", "then")] {
        fresh.push_str(&format!("\n**{title}**\n\n"));
        fresh.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        rows(&schema[branch], "", &mut fresh);
    }
    fresh.push('\n');
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), format!("{before}{BEGIN}{fresh}{END}{after}")).expect("writing");
        return;
    }
    assert_eq!(table, fresh, "run the test with UPDATE_DOCS=1");
}

fn rows(schema: &Value, parent: &str, out: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    // Sorted here: whether the library keeps the order is a feature any crate may switch on.
    let mut properties: Vec<_> = properties.iter().collect();
    properties.sort_by_key(|(name, _)| name.as_str());
    for (name, key) in properties {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        let default = key.get("default").map(|d| format!("`{d}`")).unwrap_or_default();
        let cell = |text: &str| text.replace('|', "\\|");
        let old = if key["deprecated"] == true { " (old)" } else { "" };
        out.push_str(&format!(
            "| `{path}`{old} | {} | {} | {} |\n",
            cell(&value(key)),
            cell(&default),
            cell(key["description"].as_str().unwrap_or_default()),
        ));
        // Two sides of one form: the first speaks for both.
        if name == "prod" && key["properties"] == schema["properties"]["dev"]["properties"] {
            continue;
        }
        rows(key, &path, out);
        rows(&key["items"], &format!("{path}[]"), out);
        rows(&key["additionalProperties"], &format!("{path}.<name>"), out);
    }
}

fn value(key: &Value) -> String {
    let words = |schema: &Value| {
        schema["enum"].as_array().map(|words| {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            format!("`{}`", words.join("`, `"))
        })
    };
    if let Some(words) = words(key).or_else(|| words(&key["anyOf"][0])) {
        return words;
    }
    let kind = match &key["type"] {
        Value::Array(kinds) => kinds[0].as_str().unwrap_or_default(),
        Value::String(kind) => kind,
        _ if key["anyOf"][0]["examples"].is_array() => return "duration".to_owned(),
        _ if key["anyOf"].is_array() => return "count or share".to_owned(),
        _ => return "anything".to_owned(),
    };
    match kind {
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "list".to_owned(),
        "object" => "mapping".to_owned(),
        number => {
            let word = if number == "integer" { "whole number" } else { "number" };
            let limit = |name: &str| key[name].as_f64().unwrap_or(f64::NAN);
            format!("{word}, {} to {}", limit("minimum"), limit("maximum"))
        }
    }
}
