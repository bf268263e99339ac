//! The import table of `ARCHITECTURE.md`, held over `cargo metadata`: an allow-list among Ark's own
//! crates, and a deny-list for outsiders that a crate must not know.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate, and the Ark crates it may import.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("ark-model", &[]),
    ("ark-states", &["ark-model"]),
    ("ark-planner", &["ark-model"]),
    ("ark-store", &["ark-model"]),
    ("ark-engine", &["ark-model"]),
    ("ark-gateway", &["ark-model"]),
    ("ark-console", &["ark-model"]),
    (
        "ark-server",
        &[
            "ark-model",
            "ark-states",
            "ark-planner",
            "ark-store",
            "ark-engine",
            "ark-gateway",
            "ark-console",
        ],
    ),
    ("ark-load", &[]),
    ("ark", &["ark-model", "ark-server", "ark-load"]),
];

/// Each crate, and outsiders that it must not know, directly.
const MUST_NOT_KNOW: [(&str, &[&str]); 10] = [
    ("ark-model", &["tokio", "hyper", "axum", "reqwest", "rusqlite", "rand", "clap"]),
    ("ark-states", &["tokio", "hyper", "axum", "reqwest", "rusqlite", "rand", "clap"]),
    ("ark-planner", &["tokio", "hyper", "axum", "reqwest", "rusqlite", "rand", "clap"]),
    ("ark-store", &["hyper", "axum", "reqwest", "clap"]),
    ("ark-engine", &["axum", "rusqlite", "clap"]),
    ("ark-gateway", &["axum", "rusqlite", "reqwest", "clap"]),
    ("ark-console", &["rusqlite", "reqwest", "hyper", "clap"]),
    ("ark-server", &["clap", "indicatif"]),
    ("ark-load", &["hyper", "axum", "reqwest", "rusqlite", "clap"]),
    ("ark", &["rusqlite", "bollard", "kube"]),
];

/// Normal dependencies of every package of the workspace, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            // Tests may know more than the crate they test.
            let normal = dependencies.iter().filter(|d| d["kind"].is_null());
            (text(&package["name"]), normal.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let dependencies = dependencies();
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(members, table.keys().copied().collect(), "the table names every crate, once");
    for (name, imports) in &dependencies {
        let own: BTreeSet<&str> =
            imports.iter().map(String::as_str).filter(|d| members.contains(d)).collect();
        let allowed: BTreeSet<&str> = table[name.as_str()].iter().copied().collect();
        let more: Vec<_> = own.difference(&allowed).collect();
        assert!(more.is_empty(), "{name} must not import {more:?}");
    }
}

#[test]
fn crates_do_not_know_what_they_must_not_know() {
    let dependencies = dependencies();
    for (name, denied) in MUST_NOT_KNOW {
        for outsider in denied {
            assert!(!dependencies[name].contains(*outsider), "{name} must not know {outsider}");
        }
    }
}
