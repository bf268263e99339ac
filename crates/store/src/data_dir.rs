//! The lock of a data directory: one server at a time.
//!
//! The lock is the kernel's (`flock`), so it ends with the process that holds it, however that
//! ends; the pid in the file is only for the message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// The name of the lock file within the data directory.
const LOCK_FILE: &str = "ark.lock";

/// How long the lock of a server that is no more may be held: a process that it was about to start, killed
/// between the two steps of starting one, has it until the second.
const LEFT_OVER_MAX: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held while the store is open; dropping it frees the directory.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

/// Creates the directory for its owner alone, if it does not exist.
pub(crate) fn create(dir: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(StoreError::file("create", dir))
}

/// Takes the directory, or says who has it.
pub(crate) fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::file("open", &path))?;
    let begun = Instant::now();
    while let Err(error) = file.try_lock() {
        let TryLockError::WouldBlock = error else {
            return Err(StoreError::file("lock", &path)(error.into()));
        };
        let holder = holder(&mut file);
        if holder.is_none_or(runs) || begun.elapsed() > LEFT_OVER_MAX {
            let holder =
                holder.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return Err(StoreError::InUse { dir: dir.to_owned(), holder });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    // A full disk must not keep a server from starting: the lock holds without the pid.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(DirLock { _file: file })
}

/// Whether the process is there; one that nobody has waited for yet runs no more.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes entries of `dir` that were created or renamed durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lock, held by a file on which the process `pid` stands.
    fn held(dir: &Path, pid: u32) -> DirLock {
        let lock = lock(dir).unwrap();
        std::fs::write(dir.join(LOCK_FILE), format!("{pid}\n")).unwrap();
        lock
    }

    #[test]
    fn what_a_dead_server_left_behind_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        // Until it is waited for it stands in the system's table, and runs no more.
        while runs(dead.id()) {
            std::thread::sleep(LOOK_AGAIN);
        }
        let left = held(dir.path(), dead.id());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                drop(left);
            });
            lock(dir.path()).unwrap();
        });
        dead.wait().unwrap();
    }

    #[test]
    fn a_server_that_runs_keeps_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _held = held(dir.path(), std::process::id());
        let refused = lock(dir.path()).unwrap_err();
        let own = format!("process {}", std::process::id());
        assert!(
            matches!(&refused, StoreError::InUse { holder, .. } if *holder == own),
            "{refused}"
        );
    }
}
