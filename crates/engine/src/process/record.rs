//! What the process engine keeps on disk of an instance, one directory each: written by the engine
//! (the intent) and by the shim (what became of it), read by both and by every later engine.
//!
//! Files appear whole by rename. Nothing is flushed to the disk itself: the records speak of
//! processes, which a power failure ends as well. A file that such a failure tore is read as
//! absent, never as something else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_model::definition::StopSignal;
use ark_model::ids::{AppName, EnvName, InstanceId, ReleaseNumber};
use ark_model::instance::{EngineState, PortBinding, ProcessIdentity};
use jiff::Timestamp;
use nix::fcntl::{FcntlArg, fcntl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroup::CgroupPlan;
use crate::engine::{LogLimits, StopOptions};

/// What `list` gives back of a start; the only part of a [`Spec`] the engine reads again for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels {
    pub(crate) env: EnvName,
    pub(crate) app: AppName,
    pub(crate) release: ReleaseNumber,
}

/// `spec.json`: all the shim needs. Holds secrets: mode 0600, and no `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) id: InstanceId,
    #[serde(flatten)]
    pub(crate) labels: Labels,
    pub(crate) command: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Where the blobs of `manifest.json` are; `None` when there are no files.
    pub(crate) blobs: Option<PathBuf>,
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) limits: Limits,
    pub(crate) stop_signal: StopSignal,
    pub(crate) stop_grace_ms: u64,
    pub(crate) log_limits: LogLimits,
    /// The user it runs as; `None` is the user Ark runs as.
    pub(crate) user: Option<User>,
    /// The soft limit of open files; `None` is that of the shim.
    #[serde(default)]
    pub(crate) open_files: Option<u64>,
    /// Which cgroups to make.
    pub(crate) cgroups: CgroupPlan,
}

/// Limits for an instance and all it starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) pids_max: Option<u64>,
}

/// A user and group of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `status.json`: written by the shim, and by the engine once the shim is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The life of the kernel in which it was written.
    pub(crate) boot_id: String,
    /// Who wrote it; `None` when the shim never did.
    pub(crate) shim: Option<ProcessIdentity>,
    /// The main process, once there was one; kept when it has ended.
    pub(crate) main: Option<ProcessIdentity>,
    pub(crate) state: EngineState,
}

impl Status {
    /// Whether nothing of the instance runs any more.
    pub(crate) fn is_terminal(&self) -> bool {
        match self.state {
            EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. } => {
                false
            }
            EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone => {
                true
            }
        }
    }
}

/// `stop.json`: that the instance was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopRequest {
    pub(crate) at: Timestamp,
    pub(crate) signal: StopSignal,
    pub(crate) grace_ms: u64,
}

impl StopRequest {
    pub(crate) fn new(options: StopOptions) -> Self {
        let grace_ms = u64::try_from(options.grace.as_millis()).unwrap_or(u64::MAX);
        Self { at: Timestamp::now(), signal: options.signal, grace_ms }
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// The directory of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceDir {
    path: PathBuf,
}

impl InstanceDir {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its own copy of the artifact: its working directory.
    pub(crate) fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// What the shim itself had to say, a panic say.
    pub(crate) fn shim_log(&self) -> PathBuf {
        self.path.join("shim.log")
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    pub(crate) fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }

    pub(crate) fn stop_request(&self) -> PathBuf {
        self.path.join("stop.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The status; `None` when there is none yet or the file is torn.
    pub(crate) fn read_status(&self) -> Option<Status> {
        read_json(&self.status()).ok()
    }

    /// The request to stop, when there is one.
    pub(crate) fn read_stop_request(&self) -> Option<StopRequest> {
        read_json(&self.stop_request()).ok()
    }

    /// Replaces the status and wakes every engine that watches.
    pub(crate) fn write_status(&self, status: &Status) -> io::Result<()> {
        write_json(&self.status(), status)?;
        self.announce();
        Ok(())
    }

    /// Touches the file in `.events` beside the directory that engines watch: one watch serves all
    /// instances. Only a wake-up, so failing is no error.
    fn announce(&self) {
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) {
            let _ = File::create(parent.join(EVENTS).join(name));
        }
    }

    /// Takes the lock that the one process in charge of the instance holds for its life: its shim,
    /// or an engine that tidies up after a dead shim. `None` when another holds it.
    pub(crate) fn try_lock(&self) -> io::Result<Option<InstanceLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.lock())?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(Some(InstanceLock { _file: file })),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether somebody is in charge, asked without taking the lock: the kernel releases it when
    /// its holder dies, so this tells a living shim from a dead one without any pid.
    pub(crate) fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.lock()) else { return false };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok()
            && i32::from(lock.l_type) != libc::F_UNLCK
    }
}

/// The folder beside the instances' directories in which shims announce changes.
pub(crate) const EVENTS: &str = ".events";

/// The lock of [`InstanceDir::try_lock`]; released when dropped.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _file: File,
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Reads a JSON file; a torn one is an error of kind `InvalidData`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(|error| {
        // Only the place of the mistake: the text may hold secrets.
        let place = format!("not valid JSON at line {} column {}", error.line(), error.column());
        io::Error::new(io::ErrorKind::InvalidData, place)
    })
}

/// Tells apart the temporary files of calls that write the same file at once.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Writes a JSON file, mode 0600, so that it is there whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let count = WRITES.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_death_of_the_holder_frees_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let dir = InstanceDir::new(place.path());
        assert!(!dir.is_locked());
        let held = dir.try_lock().unwrap().unwrap();
        assert!(dir.is_locked());
        assert!(dir.try_lock().unwrap().is_none());
        drop(held);
        assert!(!dir.is_locked());
        assert!(dir.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_torn_status_is_no_status() {
        let place = tempfile::tempdir().unwrap();
        let dir = InstanceDir::new(place.path());
        let status = Status {
            boot_id: "b".into(),
            shim: None,
            main: Some(ProcessIdentity { pid: 7, start_ticks: 8 }),
            state: EngineState::Stopping { since: Timestamp::UNIX_EPOCH },
        };
        dir.write_status(&status).unwrap();
        assert_eq!(dir.read_status(), Some(status));
        let whole = fs::read(dir.status()).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(dir.status(), &whole[..length]).unwrap();
            assert_eq!(dir.read_status(), None, "cut to {length} bytes");
        }
        fs::write(dir.status(), vec![0; whole.len()]).unwrap();
        assert_eq!(dir.read_status(), None, "zeroes");
    }

    #[test]
    fn a_torn_file_is_reported_without_its_text() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spec.json");
        fs::write(&path, r#"{"variables": [["TOKEN", "hush"#).unwrap();
        let error = read_json::<serde_json::Value>(&path).unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
