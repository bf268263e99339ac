//! Opening the database: creation, checks, and the settings of each connection.
//!
//! A new database is made under another name and renamed when it is complete and on disk. So a
//! file `ark.db` that is empty or damaged was once whole, and is never replaced silently.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::data_dir::sync_dir;
use crate::error::StoreError;
use crate::migrate::{judge, migrate};
use crate::tx::signed;

/// The database within the data directory.
pub(crate) const DB_FILE: &str = "ark.db";
/// Databases up to this size are checked whole when they are opened; larger ones only where they
/// are read. 64 MiB take about a tenth of a second.
const CHECK_BYTES_MAX: u64 = 64 << 20;
/// How long a connection waits for a lock of another process (a backup, `sqlite3`), unless told otherwise.
pub(crate) const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// The write-ahead log is cut to this size after a checkpoint.
const WAL_BYTES_KEPT: i64 = 64 << 20;
/// The log is taken over into the file after so many pages of 4 KiB: a page that is written again and
/// again meanwhile is taken over once.
const CHECKPOINT_PAGES: i64 = 4_000;
/// What the writer keeps of the file in memory, at most.
const WRITER_CACHE_KIB: i64 = 32 << 10;

/// Opens the writer's connection to `<dir>/ark.db`, creating the database at `now` if there is
/// none.
pub(crate) fn open_file(dir: &Path, now: Timestamp) -> Result<Connection, StoreError> {
    let file = dir.join(DB_FILE);
    match std::fs::symlink_metadata(&file) {
        Ok(metadata) => {
            for file in [file.clone(), with_suffix(&file, "-wal"), with_suffix(&file, "-shm")] {
                keep_from_others(&file)?;
            }
            open_existing(&file, metadata.len()).map_err(|error| named(error, &file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create(dir, &file, now)?;
            writer(&file).map_err(|error| named(error, &file))
        }
        Err(error) => Err(StoreError::file("read", file)(error)),
    }
}

/// Apps run as users of their own, and pass through the data directory to get at their files: what
/// the control plane knows is not theirs to read. SQLite gives the log the rights of its database.
fn keep_from_others(file: &Path) -> Result<(), StoreError> {
    let rights = match std::fs::metadata(file) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::file("read", file)(error)),
    };
    if rights & 0o077 == 0 {
        return Ok(());
    }
    let owner_only = std::fs::Permissions::from_mode(0o600);
    match std::fs::set_permissions(file, owner_only) {
        // Another user's, who lets this one in by its group: theirs to protect.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        protected => protected.map_err(StoreError::file("protect", file)),
    }
}

/// Nothing is changed before the file has been found to be whole and ours.
fn open_existing(file: &Path, length: u64) -> Result<Connection, StoreError> {
    if length == 0 {
        let detail = "it is empty".to_owned();
        return Err(StoreError::Corrupt { file: file.to_owned(), detail });
    }
    let mut conn = open_connection(file)?;
    judge(&conn, file)?;
    if length <= CHECK_BYTES_MAX {
        check(&conn, file)?;
    }
    writer_settings(&conn, file)?;
    migrate(&mut conn)?;
    Ok(conn)
}

/// A database in memory, created at `now`.
pub(crate) fn open_memory(now: Timestamp) -> Result<Connection, StoreError> {
    let mut conn = Connection::open_in_memory()?;
    settings(&conn)?;
    migrate(&mut conn)?;
    write_epoch(&conn, now)?;
    Ok(conn)
}

/// A connection that can only read.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection, StoreError> {
    let file = dir.join(DB_FILE);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&file, flags)?;
    conn.pragma_update(None, "query_only", true)?;
    settings(&conn)?;
    Ok(conn)
}

fn create(dir: &Path, file: &Path, now: Timestamp) -> Result<(), StoreError> {
    let log = with_suffix(file, "-wal");
    if log.exists() {
        let detail = format!("it is gone, while its log {} is there", log.display());
        return Err(StoreError::Corrupt { file: file.to_owned(), detail });
    }
    let new = with_suffix(file, ".new");
    for leftover in [new.clone(), with_suffix(&new, "-wal"), with_suffix(&new, "-shm")] {
        match std::fs::remove_file(&leftover) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::file("remove", leftover)(error)),
        }
    }
    let owner_only =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    owner_only.map_err(StoreError::file("create", &new))?;
    let mut conn = writer(&new).map_err(|error| named(error, &new))?;
    let made = migrate(&mut conn).and_then(|()| write_epoch(&conn, now));
    made.map_err(|error| named(error, &new))?;
    // Closing the only connection moves the log into the file and removes it.
    conn.close().map_err(|(_, error)| StoreError::from(error))?;
    let synced = std::fs::File::open(&new).and_then(|f| f.sync_all());
    synced.map_err(StoreError::file("sync", &new))?;
    std::fs::rename(&new, file).map_err(StoreError::file("create", file))?;
    sync_dir(dir).map_err(StoreError::file("sync", dir))
}

fn writer(file: &Path) -> Result<Connection, StoreError> {
    let conn = open_connection(file)?;
    writer_settings(&conn, file)?;
    Ok(conn)
}

fn open_connection(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    settings(&conn)?;
    Ok(conn)
}

fn writer_settings(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail = format!("its file system cannot keep a write-ahead log (mode {mode})");
        return Err(StoreError::Corrupt { file: file.to_owned(), detail });
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    Ok(())
}

fn settings(conn: &Connection) -> Result<(), StoreError> {
    conn.busy_timeout(LOCK_WAIT_MAX)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // Plans that do not depend on the values of parameters: else every statement about a table with
    // a partial index is planned anew each time it is run.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(256);
    Ok(())
}

fn write_epoch(conn: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let epoch = signed(u64::try_from(now.as_millisecond()).unwrap_or(0));
    conn.execute("INSERT INTO counters (name, value) VALUES ('epoch', ?1)", [epoch])?;
    Ok(())
}

fn check(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let found = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { file: file.to_owned(), detail: found })
}

/// An error with the file that it is about, where SQLite did not name it.
fn named(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Corrupt { file, detail } if file.as_os_str().is_empty() => {
            StoreError::Corrupt { file: path.to_owned(), detail }
        }
        other => other,
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// See `.cargo/config.toml`: what is built elsewhere works as well, with more writing.
    #[test]
    fn what_a_savepoint_may_have_to_undo_is_kept_in_memory() {
        let conn = open_memory(Timestamp::UNIX_EPOCH).expect("a database");
        let asked = "SELECT sqlite_compileoption_used('STMTJRNL_SPILL=126976')";
        let is_so: bool = conn.query_row(asked, [], |row| row.get(0)).expect("an answer");
        assert!(is_so, "build within the repository, whose .cargo/config.toml says so");
    }
}
