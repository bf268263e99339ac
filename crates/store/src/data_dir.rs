//! The lock of a data directory: one server at a time.
//!
//! The lock is the kernel's (`flock`), so it ends with the process that holds it, however that
//! ends; the pid in the file is only for the message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::StoreError;

/// The name of the lock file within the data directory.
const LOCK_FILE: &str = "ark.lock";

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
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = match holder(&mut file) {
                Some(pid) => format!("process {pid}"),
                None => "another process".to_owned(),
            };
            return Err(StoreError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path)(error)),
    }
    // A full disk must not keep a server from starting: the lock holds without the pid.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(DirLock { _file: file })
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
