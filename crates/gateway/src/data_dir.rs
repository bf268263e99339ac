//! The gateway's files within the data directory: their names, atomic writing, and how a socket
//! whose path is too long for the kernel is reached all the same.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The gateway's socket.
pub(crate) const SOCKET: &str = "gateway.sock";
/// A second name of the socket of a gateway that is being replaced, as long as it lives.
pub(crate) const SOCKET_BEFORE: &str = "gateway-before.sock";
/// Who serves: pid, boot, addresses.
pub(crate) const IDENTITY: &str = "gateway.json";
/// Held by the supervisor.
pub(crate) const LOCK: &str = "gateway.lock";
/// The last table applied.
pub(crate) const TABLE: &str = "gateway-table.json";
/// The counters as of the last second.
pub(crate) const COUNTERS: &str = "gateway-counters.json";

/// The kernel's limit of a socket's path, less the closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Replaces `path` by `bytes`, readable by the owner alone: after a crash at any moment the file
/// holds either what it held before or all of `bytes`. `durable` makes it survive a power failure.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], durable: Durable) -> Result<()> {
    let temporary = path.with_extension("json.new");
    let write = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        match (durable, path.parent()) {
            (Durable::Yes, Some(parent)) => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(Error::file(path))
}

/// Whether a file must survive a power failure, or only a killed process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Synced to the disk.
    Yes,
    /// Left to the kernel.
    No,
}

/// A path by which a socket can be bound or dialled, valid while this lives.
pub(crate) struct SocketPath {
    path: PathBuf,
    /// Open for as long as `path` goes through `/proc/self/fd`.
    _directory: Option<File>,
}

impl SocketPath {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = File::open(parent)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_deep_in_the_tree_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("x".repeat(120));
        fs::create_dir(&deep).unwrap();
        let socket = SocketPath::new(&deep.join(SOCKET)).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(socket.as_path()).unwrap();
        std::os::unix::net::UnixStream::connect(socket.as_path()).unwrap();
    }

    #[test]
    fn files_are_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(TABLE);
        for text in ["one", "a longer one", "x"] {
            write_atomically(&path, text.as_bytes(), Durable::Yes).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
