//! Files made to exhaust or to confuse a reader get an error, and quickly.
//!
//! There is no assertion on time, which would depend on the machine: a file that is read in more
//! than linear time makes this test run for minutes instead of a second.

use std::fmt::Write as _;

use ark_model::definition::{Code, parse};

const MIB: usize = 1024 * 1024;

fn check(what: &str, text: impl AsRef<[u8]>, code: Code) {
    let parsed = parse("hostile.yml", text.as_ref());
    assert!(!parsed.ok(), "{what} was accepted");
    let first = parsed.errors().next().map(|d| d.code);
    assert_eq!(first, Some(code), "{what}: {:?}", parsed.diagnostics.first());
    assert!(parsed.diagnostics.len() <= 101, "{what}: {} findings", parsed.diagnostics.len());
    for diagnostic in &parsed.diagnostics {
        assert!(diagnostic.render().len() < 2000, "{what}: a finding of many lines");
    }
}

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// Fills the file up to just under its limit.
fn full(start: &str, unit: &str) -> String {
    let mut text = start.to_owned();
    while text.len() + unit.len() <= MIB {
        text.push_str(unit);
    }
    text
}

#[test]
fn bombs() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; 10].join(", "));
    }
    check("a bomb of aliases", &bomb, Code::TooManyValues);
    check("a bomb of one alias", full("a: &a [x, x]\nb: [", "*a,"), Code::TooManyValues);
    check("an alias in itself", "a: &a [*a]", Code::BadAlias);
    check("an alias of nothing", "a: *b", Code::BadAlias);
    check("a bomb of merges", full("a: &a {x: 1}\nb:\n", " <<: *a\n"), Code::TooManyValues);
}

#[test]
fn size_depth_and_number() {
    check("ten megabytes", "env: [A]\n".repeat(10 * MIB / 9), Code::TooLarge);
    check("one byte too many", vec![b'#'; MIB + 1], Code::TooLarge);
    check("a megabyte of names", full("env:\n", "- A\n"), Code::TooManyValues);
    check("keys", numbered(40_000, |i| format!("key{i}: 1\n")), Code::TooManyValues);
    check("brackets", full("a: ", "["), Code::TooDeep);
    check("braces", full("", "{a: "), Code::TooDeep);
    check("closed brackets", format!("a: {}{}", "[".repeat(40), "]".repeat(40)), Code::TooDeep);
    check("blocks", numbered(500, |i| format!("{}a:\n", " ".repeat(i))), Code::TooDeep);
    check("lists in a line", full("", "- "), Code::TooDeep);
    check("questions in a line", full("", "? "), Code::TooDeep);
    check("anchors in a line", numbered(60, |i| format!("&a{i} {{a: ")), Code::NotYaml);
}

#[test]
fn duplicates_and_wrong_types_everywhere() {
    check("a key many times", full("", "env: []\n"), Code::DuplicateKey);
    check("unknown keys", numbered(9_000, |i| format!("key{i}: 1\n")), Code::UnknownKey);
    check("nearly known keys", numbered(9_000, |i| format!("alarmz{i}: 1\n")), Code::UnknownKey);
    let store = numbered(9_000, |i| format!("  shardCoint{i}: 1\n"));
    check("nearly known keys of a store", format!("type: aurora\ndev:\n{store}"), Code::UnknownKey);
    check("numbers for names", format!("env:\n{}", "- 1\n".repeat(19_000)), Code::WrongType);
    check("nothing for names", format!("env:\n{}", "-\n".repeat(19_000)), Code::WrongType);
    check("keys that are none", full("", "?\n"), Code::BadKey);
    check("every section wrong", wrong_sections(), Code::WrongType);
}

fn wrong_sections() -> String {
    let sections = [
        "run",
        "env",
        "env_defaults",
        "resources",
        "expose",
        "dependencies",
        "deploy",
        "drain",
        "autoscaling",
        "alarms",
        "volumes",
        "databases",
        "aws",
        "pod_config",
        "deploy_config",
        "telemetry",
        "lambda",
        "build",
        "shepherds",
        "elbs",
        "access_groups",
    ];
    sections.map(|section| format!("{section}: 1.5\n")).concat()
}

#[test]
fn wrong_types_are_all_named_at_once() {
    let parsed = parse("x.yml", wrong_sections().as_bytes());
    assert_eq!(parsed.errors().count(), 21);
    assert!(parsed.errors().all(|d| d.code == Code::WrongType));
}

#[test]
fn odd_bytes() {
    check("NUL", "env: []\0\nteam: [", Code::NotYaml);
    check("an escape", "team: \u{1b}[31m", Code::NotYaml);
    check("no UTF-8", b"env: [\xff\xfe]", Code::NotUtf8);
    check("UTF-16", b"\xff\xfee\0n\0v\0:\0", Code::NotUtf8);
    check("a cut character", b"team: \xc3", Code::NotUtf8);
    check("a tab as indentation", "run:\n\ttype: docker\n", Code::NotYaml);
    check("two documents", "env: []\n---\nenv: []\n", Code::SeveralDocuments);
    check("nothing", "", Code::NotAMapping);
    check("spaces", " \n\n ", Code::NotAMapping);
    check("a comment", full("", "#\n"), Code::NotAMapping);
    check("null", "~", Code::NotAMapping);
    check("a text", "hello", Code::NotAMapping);
    check("a long text", full("team: ", "x"), Code::BadFormat);
    check("a long key", full("", "x") + ": 1", Code::TooLarge);
    check("a text of escapes", format!("team: \"{}\"", "\\n".repeat(MIB / 3)), Code::BadFormat);
    check("a NUL by escape", r#"env_defaults: {A: "\0"}"#, Code::BadFormat);
    check("colons", full("", ":"), Code::NotYaml);
    check("exclamation marks", full("", "!"), Code::NotYaml);
    check("percent signs", full("", "%"), Code::NotYaml);
    check("quotes", full("", "'"), Code::NotAMapping);
    check("a foreign tag", "team: !!python/object:os.system x", Code::UnknownTag);
}

#[test]
fn odd_bytes_that_do_no_harm() {
    for text in [
        "\u{feff}env: [A]\n",
        "env:\r\n- A\r\nteam: eng-web\r\n",
        "env: [A]",
        "---\nenv: [A]\n...\n",
        "# Ünïcödé\nenv: [A] # 漢字\n",
        "resources: {cpu: .25}\nx: &x {cpu: 1}\n",
        "resources: &r {cpu: -0.0}\n",
    ] {
        let parsed = parse("x.yml", text.as_bytes());
        let errors: Vec<_> = parsed.errors().filter(|d| d.path != "x").collect();
        assert!(errors.is_empty(), "{text:?}: {errors:?}");
    }
}

/// Found by fuzzing: the place was on a line that nobody had counted.
#[test]
fn carriage_returns_end_lines() {
    let parsed = parse("x.yml", b"e:\n-\r\r\n-\r\r?\r\r\r");
    assert!(parsed.diagnostics.iter().all(|d| d.snippet.is_some()), "{:?}", parsed.diagnostics);
    let parsed = parse("x.yml", b"a: 1\rb: 2\r\nc: 3\n");
    let lines: Vec<_> = parsed.diagnostics.iter().map(|d| d.line).collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn numbers_beyond_everything() {
    let text = "autoscaling: {min_count: 99999999999999999999999999, max_count: -1, metric: cpu, \
                metric_target: 1e999}\n\
                resources: {cpu: .nan, max_mem: .inf}\n\
                expose: [{port: 0x1FFFF}]\n";
    let parsed = parse("x.yml", text.as_bytes());
    let codes: Vec<_> = parsed.errors().map(|d| d.code).collect();
    assert_eq!(codes, [Code::OutOfRange; 6], "{:?}", parsed.diagnostics);
}
