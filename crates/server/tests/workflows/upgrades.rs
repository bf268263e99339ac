//! What runs when a server of an earlier version ends is ended by this one.

use std::path::Path;

use ark_model::api::WorkflowStatus;
use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::Refusal;
use ark_server::world::Clock as _;
use ark_store::Store;
use rusqlite::Connection;
use serde_json::json;

use crate::fixture::{Fixture, clock, one_task};

/// The schema before executions had an inbox, map runs counted their items and workers' last lines were
/// kept.
const EARLIER: [&str; 4] = [
    include_str!("../../../store/migrations/0001_foundation.sql"),
    include_str!("../../../store/migrations/0002_workflows.sql"),
    include_str!("../../../store/migrations/0003_sessions.sql"),
    include_str!("../../../store/migrations/0004_workflow_manager.sql"),
];
/// What says that a file is a store.
const APPLICATION_ID: i32 = 0x4172_6b44;

/// Puts a store that is closed back into the earlier schema, with all rows that have a place in it.
fn put_back(dir: &Path) {
    let (file, now) = (dir.join("ark.db"), dir.join("now.db"));
    let conn = Connection::open(&file).unwrap();
    conn.execute("VACUUM INTO ?1", [now.to_str().unwrap()]).unwrap();
    drop(conn);
    std::fs::remove_file(&file).unwrap();
    let conn = Connection::open(&file).unwrap();
    EARLIER.iter().for_each(|sql| conn.execute_batch(sql).unwrap());
    conn.execute("ATTACH ?1 AS later", [now.to_str().unwrap()]).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let tables =
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    conn.execute_batch("PRAGMA foreign_keys = 0").unwrap();
    for table in names(tables) {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}', 'main')"));
        let columns = columns.join(", ");
        conn.execute_batch(&format!(
            "DELETE FROM main.{table};
            INSERT INTO main.{table} ({columns}) SELECT {columns} FROM later.{table};"
        ))
        .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    // Numbers are never given again.
    conn.execute_batch(
        "DELETE FROM main.sqlite_sequence;
        INSERT INTO main.sqlite_sequence SELECT * FROM later.sqlite_sequence
            WHERE name IN (SELECT name FROM main.sqlite_schema);
        DETACH later",
    )
    .unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    conn.pragma_update(None, "user_version", EARLIER.len() as u32).unwrap();
    drop(conn);
    std::fs::remove_file(now).unwrap();
}

/// 18.
#[tokio::test]
async fn what_an_earlier_schema_left_running_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (activity, machine, works, token, waits, ended) = {
        let f = Fixture::on(Store::open(dir.path(), clock.now()).unwrap(), clock.clone()).await;
        let activity = f.activity("a").await;
        let machine = f.machine("m", one_task(&activity, json!({"TimeoutSeconds": 90}))).await;
        let branches = json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true, "Branches": [
            {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": true}}},
            one_task(&activity, json!({})),
        ]}}});
        let waits = f.machine("w", branches).await;
        let ended = f.start_as(&machine, "ended", "{}").await.unwrap();
        let (token, _) = f.take(&activity).await.unwrap();
        f.succeed(&token, json!({"n": 1})).await;
        let works = f.start(&machine, json!({"n": 7})).await;
        let (token, _) = f.take(&activity).await.unwrap();
        f.settle().await;
        let waits = f.start(&waits, json!({"kept": "x".repeat(10_000)})).await;
        f.settle().await;
        (activity, machine, works, token, waits, ended)
    };
    put_back(dir.path());

    let f = Fixture::on(Store::open(dir.path(), clock.now()).unwrap(), clock).await;
    assert_eq!(f.output(&ended).await, json!({"n": 1}));
    assert_eq!(f.status(&works).await, ExecutionStatus::Running);
    f.succeed(&token, json!({"n": 8})).await;
    assert_eq!(f.output(&works).await, json!({"n": 8}));
    let (of_branch, input) = f.take(&activity).await.expect("the branch's task is still offered");
    assert_eq!(input["kept"].as_str().map(str::len), Some(10_000));
    f.succeed(&of_branch, json!("branch")).await;
    f.seconds(60).await;
    assert_eq!(f.output(&waits).await[1], "branch");
    for arn in [&ended, &works, &waits] {
        assert!(f.types(arn).await.ends_with(&["ExecutionSucceeded"]), "{arn}");
    }
    // One that nobody answers ends by its timeout, and new ones take no number that was given.
    let late = f.start(&machine, json!({})).await;
    f.seconds(90).await;
    assert_eq!(f.view(&late).await.error.as_deref(), Some("States.Timeout"));
}

/// What was stored was judged by the version that stored it.
#[tokio::test]
async fn a_workflow_goes_on_whose_definition_would_be_refused_now() {
    let f = Fixture::new().await;
    let definition = json!({"StartAt": "Before", "QueryLanguage": "JSONata", "States": {
        "Before": {"Type": "Pass", "Next": "Look"},
        "Look": {"Type": "Pass", "Output": "{% $exists(phone) %}", "End": true},
    }});
    assert!(!f.wf.judge_definition(&definition.to_string(), MachineType::Standard).is_empty());
    let machine = f.machine("m", definition).await;
    let first = f.start_as(&machine, "first", "{}").await.unwrap();
    assert_eq!(f.output(&first).await, json!(false));

    let again = f.wf.manager().resume("m:first", "Look").await.unwrap();
    f.settle().await;
    let again = f.wf.manager().workflow(&again.id, false).await.unwrap();
    assert_eq!(again.status, WorkflowStatus::Succeeded);
    let nowhere = f.wf.manager().resume("m:first", "Nowhere").await.unwrap_err();
    assert_eq!(nowhere.refusal(), Some(Refusal::ValidationException));
}
