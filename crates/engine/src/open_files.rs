//! The limit of open files. A server holds a descriptor for each client that waits, and the soft limit it is
//! started with is often 1,024; programs that still use `select` need theirs to stay at that. So the server
//! raises its own, and instances get what it was started with.
//!
//! Called by the server as it starts and when an instance's command is prepared. Must not lower a limit of
//! this process.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before it was raised.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises this process's soft limit of open files to the hard one.
///
/// # Errors
/// The system refuses it; the limit stays as it was.
pub fn raise() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    if let Some(soft) = limit.current {
        // Whoever comes second finds the raised one, and returns above.
        let _ = STARTED_WITH.set(soft);
    }
    Ok(())
}

/// The soft limit that instances get; `None` is that of this process.
pub(crate) fn of_instances() -> Option<u64> {
    STARTED_WITH.get().copied()
}

/// Sets the soft limit of this process, no higher than its hard one. Only system calls: it runs between fork
/// and exec.
pub(crate) fn set(soft: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(soft, |maximum| soft.min(maximum)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}
