//! Every real launch file is accepted, or refused for the right reason.
//!
//! The reasons below were written by hand, from the list of mistakes that the authors of the files
//! are known to have made and from reading the files, before there was a validator. A file that
//! is not named is right. Warnings are listed only where they carry a decision.

use std::collections::BTreeMap;
use std::path::Path;

use ark_model::definition::{LaunchFile, Parsed, RunKind, Severity, parse};

use crate::shared;

/// File, and for each error its code, path and line.
type Refused = (&'static str, &'static [(&'static str, &'static str, usize)]);

const REFUSED: &[Refused] = &[
    // `write` without a colon, between a list and the next.
    ("past/ARCHIVED-ebs-snapshots__ebs-snapshots__25e7e9c1.yml", &[("E003", "", 15)]),
    ("past/ARCHIVED-ebs-snapshots__ebs-snapshots__c766f821.yml", &[("E003", "", 15)]),
    // `{}` is a whole document; a mapping after it is no YAML.
    ("past/sfncli__sfncli__d582e35d.yml", &[("E003", "", 3)]),
    // A mapping where a list of names belongs.
    ("past/resolve-ip__resolve-ip__a694cda2.yml", &[("E013", "env", 3)]),
    // A key that nothing ever read.
    ("past/resolve-ip__resolve-ip__005e0291.yml", &[("E012", "alarms[1].parameters.lifevest", 32)]),
    // Two typos in one alarm, and one of them again in another version.
    (
        "past/template-frontend__template-frontend__320d5c72.yml",
        &[("E012", "alarms[4].paramaters", 49), ("E012", "alarms[4].extraParamters", 51)],
    ),
    (
        "past/template-frontend__template-frontend__3d93c9b3.yml",
        &[("E012", "alarms[4].paramaters", 49)],
    ),
    // `soft_mem_limit` with its words in another order.
    (
        "past/kinesis-alerts-consumer__kinesis-alerts-consumer__a01c8509.yml",
        &[("E012", "resources.soft_limit_mem", 13)],
    ),
    // The key of another section with a value of this one: `state` was meant, and never set.
    (
        "past/who-is-who__who-is-who__6810ec0f.yml",
        &[("E012", "mesh_config.dev.migrationState", 51)],
    ),
    (
        "past/workflow-manager__workflow-manager__caa24e88.yml",
        &[("E012", "mesh_config.dev.migrationState", 74)],
    ),
    // `dynamo:` for `dynamodb:`.
    ("past/workflow-manager__workflow-manager__f91dcab3.yml", &[("E025", "databases[0]", 35)]),
    // A semicolon at the end of the name of a variable.
    ("past/who-is-who__who-is-who__174c1dfb.yml", &[("E019", "env[6]", 10)]),
];

/// Old forms that are understood: the file is accepted with this warning.
const WARNED: &[(&str, &str, &str)] = &[
    ("current/batchcli__batchcli.yml", "W101", "run.type"),
    ("past/ddb-to-es__ddb-to-es__00c3c183.yml", "W101", "run.type"),
    ("past/ddb-to-es__ddb-to-es__87734612.yml", "W102", "events"),
    (
        "past/kinesis-alerts-consumer__kinesis-alerts-consumer__a33a30c5.yml",
        "W102",
        "use_iam_roles",
    ),
    ("current/breakdown__breakdown.yml", "W102", "mesh_config"),
    ("past/resolve-ip__resolve-ip__373f20c9.yml", "W102", "pod_config.dev.migrationState"),
    ("current/analytics-monitor__analytics-monitor.yml", "W103", "shepherds"),
    ("current/resolve-ip__resolve-ip.yml", "W103", "env"),
    ("current/analytics-util__analytics-util.yml", "W104", "team"),
    ("current/template-frontend__template-frontend.yml", "W104", "team"),
    ("current/template-frontend__template-frontend.yml", "W104", "shepherds[0]"),
];

/// What some files hold, as a person reads them.
const KINDS: &[(&str, RunKind, u32)] = &[
    ("current/sfncli__sfncli.yml", RunKind::Worker, 1),
    ("current/workflow-manager__workflow-manager.yml", RunKind::Service, 16),
    ("current/ebs-snapshots__ebs-snapshots.yml", RunKind::Worker, 1),
    ("current/ddb-to-es__ddb-to-es.yml", RunKind::Lambda, 0),
    ("past/ddb-to-es__ddb-to-es__00c3c183.yml", RunKind::Lambda, 0),
    ("current/batchcli__batchcli.yml", RunKind::Job, 0),
    ("current/godoc-docker__godoc-docker.yml", RunKind::Service, 1),
];

/// Files of data stores and libraries.
const STORES: &[(&str, &str)] = &[
    ("current/who-is-who__who-is-who-db-us-west-2.yml", "dynamodb"),
    ("current/workflow-manager__sfn-execution-events-stream.yml", "kinesis-streams"),
    ("past/breakdown__breakdown-db__06485940.yml", "aurora"),
    ("past/workflow-manager__workflow-manager-db-search__5498bd2f.yml", "elasticsearch"),
    ("past/stealth__stealth__2811ac1f.yml", "library"),
];

fn read(shared: &Path, file: &str) -> Parsed {
    let bytes = std::fs::read(shared.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    parse(file, &bytes)
}

#[test]
fn every_real_file_is_accepted_or_refused_for_the_right_reason() {
    let Some(shared) =
        shared::launch("every_real_file_is_accepted_or_refused_for_the_right_reason")
    else {
        return;
    };
    let refused: BTreeMap<_, _> = REFUSED.iter().copied().collect();
    let mut wrong = Vec::new();
    let files = shared::files(&shared);
    assert!(files.len() >= 400, "only {} files", files.len());
    for file in &files {
        let parsed = read(&shared, file);
        let found: Vec<_> =
            parsed.errors().map(|d| (d.code.as_str(), d.path.as_str(), d.line)).collect();
        let expected = refused.get(file.as_str()).copied().unwrap_or_default();
        if found != expected || parsed.ok() != expected.is_empty() {
            let shown: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
            wrong.push(format!("{file}: expected {expected:?}, found {shown:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (file, _) in REFUSED {
        assert!(files.iter().any(|f| f == file), "{file} is gone");
    }
}

#[test]
fn old_forms_are_understood_and_warn() {
    let Some(shared) = shared::launch("old_forms_are_understood_and_warn") else { return };
    for (file, code, path) in WARNED {
        let parsed = read(&shared, file);
        assert!(parsed.ok(), "{file}: {:?}", parsed.diagnostics);
        assert!(
            parsed.warnings().any(|d| d.code.as_str() == *code && d.path == *path),
            "{file}: no {code} at {path} in {:?}",
            parsed.diagnostics
        );
    }
}

#[test]
fn files_mean_what_a_person_reads() {
    let Some(shared) = shared::launch("files_mean_what_a_person_reads") else { return };
    for (file, kind, count) in KINDS {
        match read(&shared, file).launch {
            Some(LaunchFile::App(app)) => {
                assert_eq!((app.run.kind, app.count()), (*kind, *count), "{file}");
            }
            other => panic!("{file}: {other:?}"),
        }
    }
    for (file, kind) in STORES {
        match read(&shared, file).launch {
            Some(LaunchFile::DataStore(store)) => assert_eq!(store.kind.as_str(), *kind, "{file}"),
            other => panic!("{file}: {other:?}"),
        }
    }
    // The old key and the new one mean the same.
    let old = read(&shared, "past/ddb-to-es__ddb-to-es__87734612.yml").launch;
    match old {
        Some(LaunchFile::App(app)) => {
            let lambda = app.lambda.expect("event sources");
            assert!(lambda.events.contains_key("ProcessDynamoDBStream"));
            assert_eq!(app.run.legacy_type.as_deref(), Some("lambda/us-west-1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn canonical_json_of_real_files_is_read_back_as_the_same() {
    let Some(shared) = shared::launch("canonical_json_of_real_files_is_read_back_as_the_same")
    else {
        return;
    };
    for file in shared::files(&shared) {
        let Some(launch) = read(&shared, &file).launch else { continue };
        let json = serde_json::to_string(&launch).expect("plain data");
        let back: LaunchFile =
            serde_json::from_str(&json).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(back, launch, "{file}");
        if let (LaunchFile::App(app), LaunchFile::App(back)) = (&launch, &back) {
            assert_eq!(back.canonical_json(), app.canonical_json(), "{file}");
            assert_eq!(back.digest(), app.digest(), "{file}");
        }
    }
}

#[test]
fn findings_point_into_the_file() {
    let Some(shared) = shared::launch("findings_point_into_the_file") else { return };
    for file in shared::files(&shared) {
        let text = std::fs::read_to_string(shared.join(&file)).expect("the files are UTF-8");
        for d in parse(&file, text.as_bytes()).diagnostics {
            let line = text.lines().nth(d.line - 1).unwrap_or_else(|| panic!("{file}: {d}"));
            assert!(d.column >= 1 && d.column <= line.chars().count(), "{file}: {d}");
            let letter = if d.severity == Severity::Error { 'E' } else { 'W' };
            assert!(d.code.as_str().starts_with(letter), "{file}: {d}");
        }
    }
}
