//! Why the store refused or could not do something. Every variant is something a caller can act
//! on: answer 404 or 409, try again, free disk space, restore a backup.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ffi::ErrorCode;

/// Why the store refused or could not do something.
///
/// Cloneable because one failed commit is the answer to every closure of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The queue stayed full, or the closure waited in it for too long. It did not run.
    #[error("the store is busy: the write or read waited {waited_ms} ms and was not begun")]
    Busy {
        /// For how long it had waited, in milliseconds.
        waited_ms: u64,
    },
    /// Another program has held the database's lock for as long as a transaction waits for it. Nothing of
    /// the transaction was kept.
    #[error("another program holds the lock of the store's database")]
    Locked {
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The store was closed. The closure did not run, or its group was not committed.
    #[error("the store is closed")]
    Closed,
    /// The closure panicked; what it wrote was rolled back.
    #[error("a store transaction panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// No space is left on the disk. Nothing of the transaction was kept; reads go on, and writes
    /// work again once there is room.
    #[error("the disk that holds the store is full")]
    DiskFull {
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The disk failed. Writes that were acknowledged before are not affected.
    #[error("the store's disk failed")]
    Io {
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The database file is damaged, or is no database.
    #[error(
        "the database {file} is damaged ({detail}); stop the server and restore {file} from a backup (nothing was changed)",
        file = file.display()
    )]
    Corrupt {
        /// Which file; empty for an in-memory store.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The database was written by a newer version of Ark.
    #[error(
        "the database {file} has schema {found}, this program knows up to {known}: use the newer ark, or restore a backup made before its upgrade",
        file = file.display()
    )]
    Newer {
        /// Which file.
        file: PathBuf,
        /// The schema version found.
        found: u32,
        /// The newest schema version known.
        known: u32,
    },
    /// A database of an earlier version cannot be brought to this one's schema. It stands as it was.
    #[error(
        "the database cannot be brought to schema {to}; nothing was changed: go on with the ark that wrote it"
    )]
    Migration {
        /// The schema version that was not reached.
        to: u32,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Another process has the data directory open.
    #[error("the data directory {dir} is in use by {holder}", dir = dir.display())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// `process 4711`, or `another process` when it left no pid.
        holder: String,
    },
    /// A file of the data directory cannot be used.
    #[error("{what} {path}", path = path.display())]
    File {
        /// What was attempted, as a verb: `open`, `create`, `sync`.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A record, or one that it refers to, does not exist.
    #[error("{noun} {key} does not exist")]
    NotFound {
        /// Of what kind.
        noun: &'static str,
        /// Which.
        key: String,
    },
    /// A record of that key exists already.
    #[error("{noun} {key} exists already")]
    Exists {
        /// Of what kind.
        noun: &'static str,
        /// Which.
        key: String,
    },
    /// The record is not in the state the writer believed it to be in.
    #[error("{noun} {key} is {found}, not {expected}: it was changed meanwhile")]
    Conflict {
        /// Of what kind.
        noun: &'static str,
        /// Which.
        key: String,
        /// What the writer believed.
        expected: String,
        /// What is recorded.
        found: String,
    },
    /// The lease was taken by another holder, released, or never given.
    #[error("lease {name} with token {token} is no longer held")]
    StaleLease {
        /// Which.
        name: String,
        /// The fencing token that was shown.
        token: u64,
    },
    /// The idempotency key was used before for a different request.
    #[error("idempotency key {key} was used before for a different request")]
    KeyReused {
        /// Which.
        key: String,
    },
    /// No port is left.
    #[error("no port is free between {first} and {last}: {wanted} wanted, {free} found")]
    NoPort {
        /// How many were wanted.
        wanted: usize,
        /// How many were free.
        free: usize,
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
    /// A limit is reached.
    #[error("{noun}: at most {max} are allowed")]
    Limit {
        /// Of what.
        noun: &'static str,
        /// The limit.
        max: u64,
    },
    /// A stored record cannot be read: it was written by another version, or changed by hand.
    #[error("the record of {noun} {key} cannot be read")]
    Record {
        /// Of what kind.
        noun: &'static str,
        /// Which.
        key: String,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Anything else that SQLite refused: a defect of this crate.
    #[error("the store's database refused a statement")]
    Sqlite {
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
}

impl StoreError {
    /// Whether the same closure may succeed a little later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Locked { .. } | Self::DiskFull { .. } | Self::Io { .. }
        )
    }

    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source: Arc::new(source) }
    }

    pub(crate) fn not_found(noun: &'static str, key: &(impl ToString + ?Sized)) -> Self {
        Self::NotFound { noun, key: key.to_string() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        let error = match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { source },
            Some(ErrorCode::DiskFull) => Self::DiskFull { source },
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Self::Io { source }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { file: PathBuf::new(), detail: source.to_string() }
            }
            Some(_) | None => Self::Sqlite { source },
        };
        last_failure::note(&error);
        error
    }
}

/// What SQLite said last in this thread. A closure's own error may be of any type; the group it belongs
/// to must know why SQLite ended the transaction of all of them.
pub(crate) mod last_failure {
    use std::cell::RefCell;

    use super::StoreError;

    thread_local! {
        static LAST: RefCell<Option<StoreError>> = const { RefCell::new(None) };
    }

    pub(super) fn note(error: &StoreError) {
        LAST.set(Some(error.clone()));
    }

    pub(crate) fn forget() {
        LAST.set(None);
    }

    pub(crate) fn take() -> Option<StoreError> {
        LAST.take()
    }
}
