//! Forward-only, numbered migrations, part of the program.
//!
//! The version of a database is its `user_version`. Each migration runs in a transaction of its
//! own together with the new version, so a crash leaves the one before or the one after. A file
//! that is newer than the program is refused.

use std::path::Path;

use rusqlite::Connection;

use crate::error::StoreError;

/// All migrations; the first has number 1. Never edit one that was released: add another.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_foundation.sql"),
    include_str!("../migrations/0002_workflows.sql"),
    include_str!("../migrations/0003_sessions.sql"),
    include_str!("../migrations/0004_workflow_manager.sql"),
    include_str!("../migrations/0005_workflow_inbox.sql"),
    include_str!("../migrations/0006_runs.sql"),
    include_str!("../migrations/0007_runs_ended.sql"),
    include_str!("../migrations/0008_pushes.sql"),
    include_str!("../migrations/0009_app_changes.sql"),
    include_str!("../migrations/0010_workflow_upkeep.sql"),
    include_str!("../migrations/0011_nodes.sql"),
    include_str!("../migrations/0012_calls.sql"),
    include_str!("../migrations/0013_measures.sql"),
    include_str!("../migrations/0014_deployment_traffic.sql"),
    include_str!("../migrations/0015_workflow_items_logs.sql"),
    include_str!("../migrations/0016_workflow_items_by_index.sql"),
    include_str!("../migrations/0017_lists_by_index.sql"),
    include_str!("../migrations/0018_config_setters.sql"),
];

/// `ArkD`: says that the file is Ark's, to `file(1)` and to ourselves.
const APPLICATION_ID: i32 = 0x4172_6b44;

/// Refuses a database that is not Ark's or is newer than this program. Reads only.
pub(crate) fn judge(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let found = version(conn)?;
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        let detail = "it is a database of some other program".to_owned();
        return Err(StoreError::Corrupt { file: file.to_owned(), detail });
    }
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::Newer { file: file.to_owned(), found, known });
    }
    Ok(())
}

/// Brings a database that is new or passed [`judge`] up to this program's version.
pub(crate) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    migrate_to(conn, MIGRATIONS.len())
}

/// As [`migrate`], but stops at a version: tests want what an earlier program left.
pub(crate) fn migrate_to(conn: &mut Connection, last: usize) -> Result<(), StoreError> {
    let found = version(conn)?;
    for (version, sql) in (1..).zip(MIGRATIONS).take(last).skip(found as usize) {
        step(conn, version, sql).map_err(|error| match StoreError::from(error) {
            StoreError::Sqlite { source } => StoreError::Migration { to: version, source },
            other => other,
        })?;
    }
    Ok(())
}

fn step(conn: &mut Connection, version: u32, sql: &str) -> Result<(), rusqlite::Error> {
    let transaction = conn.transaction()?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

fn version(conn: &Connection) -> Result<u32, StoreError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    /// A server that is started again and again, as by a supervisor, neither loops in a half-done schema
    /// nor fills the disk.
    #[tokio::test]
    async fn a_migration_that_fails_changes_nothing_however_often_it_is_tried() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = jiff::Timestamp::UNIX_EPOCH;
        drop(Store::open(dir.path(), now).expect("a store"));
        let file = dir.path().join("ark.db");
        let before = MIGRATIONS.len() - 1;
        let mut conn = Connection::open_in_memory().expect("a database");
        migrate_to(&mut conn, before).expect("an earlier schema");
        conn.execute_batch(
            "CREATE TABLE config_setters (in_the_way); INSERT INTO meta VALUES ('kept', 'yes');",
        )
        .expect("what is in the way");
        std::fs::remove_file(&file).expect("the store is closed");
        conn.execute("VACUUM INTO ?1", [file.to_string_lossy()]).expect("a file of it");

        let mut sizes = Vec::new();
        for _ in 0..5 {
            let refused = Store::open(dir.path(), now).expect_err("a table is in the way");
            let to = u32::try_from(MIGRATIONS.len()).expect("few");
            assert!(
                matches!(refused, StoreError::Migration { to: t, .. } if t == to),
                "{refused:?}"
            );
            let files = std::fs::read_dir(dir.path()).expect("the directory");
            let size = |entry: std::fs::DirEntry| entry.metadata().expect("a file").len();
            sizes.push(files.map(|entry| size(entry.expect("an entry"))).sum::<u64>());
            let conn = Connection::open(&file).expect("the file");
            assert_eq!(version(&conn).expect("a version") as usize, before);
        }
        assert!(sizes.iter().all(|size| *size == sizes[1]), "{sizes:?}");
        let conn = Connection::open(&file).expect("the file");
        conn.execute_batch("DROP TABLE config_setters").expect("nothing is in the way");
        drop(conn);
        let store = Store::open(dir.path(), now).expect("it goes on from there");
        let kept = store.read(|tx| tx.meta("kept")).await;
        assert_eq!(kept.expect("a read"), Some("yes".to_owned()));
    }
}
