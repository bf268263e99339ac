//! Any bytes give an answer, and what is accepted survives being written and read.

use ark_model::definition::{Code, Definition, LaunchFile, Parsed, json_schema, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What holds for every answer.
fn sound(parsed: &Parsed, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for d in &parsed.diagnostics {
        assert_eq!(d.severity, d.code.severity());
        assert_eq!(d.line == 0, d.column == 0, "{d:?}");
        assert!(d.line <= text.split(['\n', '\r']).count(), "{d:?}");
        assert!(d.line == 0 || d.snippet.is_some(), "{d:?}");
        assert!(!d.render().is_empty() && !d.message.is_empty());
    }
    assert!(parsed.launch.is_some() || parsed.errors().next().is_some(), "refused without a word");
    let lines: Vec<_> = parsed.diagnostics.iter().map(|d| (d.line, d.column)).collect();
    assert!(lines.is_sorted(), "{lines:?}");
    let Some(LaunchFile::App(app)) = &parsed.launch else { return };
    let json = app.canonical_json();
    let back: Definition = serde_json::from_str(&json).expect("canonical JSON is read back");
    assert_eq!(&back, app.as_ref());
    assert_eq!(back.canonical_json(), json);
}

/// A file with a value in every section, for cutting and gluing.
const WHOLE: &str = "\
run: {type: docker, command: [./web, -v], stop_signal: SIGTERM, stop_grace: 30s}
env: [DB_URL, \"KEY\"]
env_defaults: {LOG_LEVEL: info, N: 3}
resources:
  cpu: 0.5
  max_mem: 1
expose:
- name: default
  port: 8080
  hosts: [web.example.test]
  health_check: &check
    type: http
    path: /_health
- {name: other, port: 81, health_check: *check}
deploy:
  strategy: canary
  max_surge: 25%
  steps: [{weight: 5}, {pause: 1m}, {analysis: {}}]
drain: {requests: 30s, streams: 5m}
autoscaling: {min_count: 2, max_count: 4, metric: cpu, metric_target: 50}
alarms:
- type: InternalErrorAlarm
  severity: major
  parameters: {threshold: 0.01, evaluationPeriods: 2}
databases: [\"dynamodb:us-west-1:things\"]
aws: {s3: {read: [bucket]}, custom: true}
team: eng-web # owner
shepherds:
lambda: {Events: {A: {Type: Kinesis, Properties: {BatchSize: 1, Other: [1, {a: .nan}]}}}}
";

#[derive(Clone, Debug)]
enum Change {
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Double(prop::sample::Index, usize),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let odd = prop::sample::select(vec![
        ":",
        " ",
        "\n",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "*check",
        "<<: ",
        "!!str ",
        "!x ",
        "\"",
        "'",
        "|\n",
        ">",
        "#",
        "%",
        "? ",
        "---\n",
        "...\n",
        "~",
        "\t",
        "\r",
        "\0",
        "é",
        "\u{2028}",
        "\u{feff}",
        "1e999",
        "-0.0",
        ".nan",
        "0x",
        "99999999999999999999",
        "true",
        ",",
    ]);
    prop_oneof![
        (index(), 0..30_usize).prop_map(|(at, n)| Change::Cut(at, n)),
        (index(), odd).prop_map(|(at, text)| Change::Insert(at, text.to_owned())),
        (index(), 0..80_usize).prop_map(|(at, n)| Change::Double(at, n)),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn apply(text: &str, changes: &[Change]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for change in changes {
        if chars.is_empty() {
            break;
        }
        let length = chars.len();
        match change {
            Change::Cut(at, n) => {
                let at = at.index(length);
                chars.drain(at..(at + n).min(length));
            }
            Change::Insert(at, text) => {
                let at = at.index(length);
                chars.splice(at..at, text.chars());
            }
            Change::Double(at, n) => {
                let at = at.index(length);
                let part = chars[at..(at + n).min(length)].to_vec();
                chars.splice(at..at, part);
            }
            Change::Swap(a, b) => chars.swap(a.index(length), b.index(length)),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        sound(&parse("x.yml", &bytes), &bytes);
    }

    #[test]
    fn any_text_gives_an_answer(text in "[ -~\\n\\t:\\-\\[\\]{}&*!|>'\"%@`#?,é]{0,200}") {
        sound(&parse("x.yml", text.as_bytes()), text.as_bytes());
    }

    #[test]
    fn a_damaged_file_gives_an_answer(changes in prop::collection::vec(change(), 1..12)) {
        let text = apply(WHOLE, &changes);
        sound(&parse("x.yml", text.as_bytes()), text.as_bytes());
    }

    /// Values of every kind under every key: the tables, the types and the schema agree.
    #[test]
    fn tables_and_types_never_disagree(file in file()) {
        let text = file.to_string();
        let parsed = parse("x.yml", text.as_bytes());
        sound(&parsed, text.as_bytes());
        let defect = parsed.diagnostics.iter().find(|d| d.message.contains("cannot be read: "));
        prop_assert!(defect.is_none(), "{text}\n{defect:?}");
        let launch = parsed.launch.is_some();
        prop_assert!(launch || parsed.errors().any(|d| d.code != Code::NotYaml), "{text}");
    }
}

/// JSON that follows the schema, with an odd value here and there. JSON is YAML.
fn file() -> impl Strategy<Value = Value> {
    let schema = json_schema();
    prop_oneof![
        4 => following(&schema["else"]),
        1 => following(&schema["then"]),
    ]
}

fn odd_value() -> BoxedStrategy<Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(7),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("30s"),
        json!("25%"),
        json!([]),
        json!(["a"]),
        json!([null]),
        json!({}),
        json!({"a": "b"}),
        json!(i64::MAX),
        json!("TODO"),
        json!("1"),
    ])
    .boxed()
}

fn following(schema: &Value) -> BoxedStrategy<Value> {
    let right = right_value(schema);
    prop_oneof![12 => right, 1 => odd_value()].boxed()
}

fn right_value(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return prop::sample::select(words.clone()).boxed();
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        return prop::strategy::Union::new(forms.iter().map(right_value)).boxed();
    }
    if let Some(only) = schema.get("const") {
        return Just(only.clone()).boxed();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str().unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "object" => mapping(schema),
        "array" => {
            prop::collection::vec(following(&schema["items"]), 0..3).prop_map(Value::from).boxed()
        }
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
            (min.unwrap_or(0)..=max.unwrap_or(9)).prop_map(Value::from).boxed()
        }
        "number" => {
            let (min, max) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            (min.unwrap_or(0.0)..=max.unwrap_or(9.0)).prop_map(Value::from).boxed()
        }
        "string" => prop::sample::select(vec![
            "a",
            "web",
            "/x",
            "/_health?a=b",
            "A_VAR",
            "web.example.test",
            "0 3 * * *",
            "UTC",
            "dynamodb:us-west-1:x",
            "90s",
            "5m",
            "50%",
            "eng-web",
            "{{.Team}}",
            "a@example.com",
        ])
        .prop_map(Value::from)
        .boxed(),
        _ => odd_value(),
    }
}

fn mapping(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(properties) = schema["properties"].as_object()
        && !properties.is_empty()
    {
        let names: Vec<String> = properties.keys().cloned().collect();
        let required: Vec<String> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let most = if schema["maxProperties"] == 1 { 1 } else { names.len().min(8) };
        let values: Vec<_> = names
            .iter()
            .map(|name| {
                following(&properties[name]).prop_map({
                    let name = name.clone();
                    move |value| (name.clone(), value)
                })
            })
            .collect();
        let needed: Vec<_> = values
            .iter()
            .zip(&names)
            .filter(|(_, name)| required.contains(name))
            .map(|(value, _)| value.clone())
            .collect();
        return (prop::sample::subsequence(values, 0..=most), Just(needed))
            .prop_flat_map(|(some, needed)| [some, needed].concat())
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
            .boxed();
    }
    if schema["additionalProperties"].is_object() {
        let value = following(&schema["additionalProperties"]);
        return prop::collection::btree_map("[A-Za-z_]{1,5}", value, 0..3)
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
            .boxed();
    }
    Just(json!({})).boxed()
}
