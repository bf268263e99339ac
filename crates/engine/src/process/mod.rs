//! The process engine: instances are processes of this host, each the child of an `ark shim` that
//! outlives the server. The server's tasks call it through [`Engine`]; a new object over the same
//! data directory sees and rules everything an earlier one started (adoption).
//!
//! The engine writes the intent (`spec.json`, `stop.json`) and reads what the shim recorded
//! (`status.json`, `log.<n>`); see `docs/engines.md` for every file. What is cached here can be
//! lost at any moment without loss.

mod adopt;
pub(crate) mod cgroup;
pub(crate) mod end;
mod exec;
pub(crate) mod host;
mod instances;
mod log_reader;
pub(crate) mod record;
mod removed;
mod start;
mod users;
mod volumes;
mod watcher;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_model::ids::{AppName, EnvName, InstanceId};
use ark_model::instance::{EngineState, ObservedInstance};
use async_trait::async_trait;
use tokio::sync::watch;

use self::cgroup::Hierarchies;
use self::instances::Instances;
use self::record::{EVENTS, InstanceDir, StopRequest, write_json};
use self::users::Users;
use self::volumes::Volumes;
use self::watcher::Watcher;
use crate::engine::{
    Capabilities, Engine, EngineError, EngineKind, ExecSession, ExecSpec, LogQuery, LogStream,
    StartSpec, Stats, StopOptions,
};

/// How a process engine is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOptions {
    /// How long the log of a removed instance stays readable.
    pub log_retention: Duration,
    /// Of how many removed instances logs are kept at the most; the oldest go first.
    pub removed_max: usize,
    /// Which control groups are used.
    pub cgroups: CgroupUse,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            log_retention: Duration::from_secs(24 * 3_600),
            removed_max: 500,
            cgroups: CgroupUse::Auto,
        }
    }
}

/// Which control groups an engine uses. Anything but `Auto` is for tests and for hosts whose
/// groups belong to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupUse {
    /// Version 2 where it offers what is needed, else version 1.
    Auto,
    /// Version 1 alone.
    Version1Only,
    /// None: no limits, and processes are found by descent, session and mark.
    Never,
}

/// Runs instances as processes of this host.
pub struct ProcessEngine {
    inner: Arc<Inner>,
    _watcher: Watcher,
}

/// What the engine's calls and its watcher share.
struct Inner {
    /// One directory per instance.
    instances: Instances,
    /// What is left of removed instances: their logs.
    removed: PathBuf,
    shim_command: Vec<OsString>,
    hierarchies: Hierarchies,
    users: Mutex<Users>,
    volumes: Volumes,
    options: ProcessOptions,
    changes: watch::Sender<u64>,
    /// Shims that were just started, for the watcher to follow.
    arrivals: watcher::Arrivals,
}

impl ProcessEngine {
    /// An engine over `<data_dir>/instances`. `shim_command` and the directory of an instance make
    /// the command line of its shim; the first part is an absolute path.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the directories cannot be made or watched.
    pub fn new(data_dir: &Path, shim_command: Vec<OsString>) -> Result<Self, EngineError> {
        Self::with_options(data_dir, shim_command, ProcessOptions::default())
    }

    /// [`ProcessEngine::new`] with options.
    ///
    /// # Errors
    /// As [`ProcessEngine::new`].
    pub fn with_options(
        data_dir: &Path,
        shim_command: Vec<OsString>,
        options: ProcessOptions,
    ) -> Result<Self, EngineError> {
        let failed = |source| unavailable("open the data directory", source);
        fs::create_dir_all(data_dir).map_err(failed)?;
        let data_dir = data_dir.canonicalize().map_err(failed)?;
        let instances = data_dir.join("instances");
        let removed = data_dir.join("removed");
        for (directory, mode) in
            [(&instances, 0o711), (&instances.join(EVENTS), 0o700), (&removed, 0o700)]
        {
            fs::create_dir_all(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(mode)))
                .map_err(failed)?;
        }
        let arrivals = watcher::Arrivals::new().map_err(failed)?;
        let inner = Arc::new(Inner {
            users: Mutex::new(Users::detect(&data_dir, &instances)),
            instances: Instances::new(instances),
            volumes: Volumes::new(&data_dir),
            removed,
            shim_command,
            hierarchies: cgroup::detect(options.cgroups),
            options,
            changes: watch::Sender::new(0),
            arrivals,
        });
        inner.adopt().map_err(failed)?;
        let watcher = Watcher::start(Arc::clone(&inner)).map_err(failed)?;
        Ok(Self { inner, _watcher: watcher })
    }

    /// Runs blocking work away from the runtime's own threads.
    /// Whether an instance is this engine's and not removed.
    pub(crate) fn knows(&self, id: InstanceId) -> bool {
        self.inner.instances.path(id).exists()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| unavailable("finish the call", io::Error::other(error)))?
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    fn capabilities(&self) -> Capabilities {
        let hierarchies = &self.inner.hierarchies;
        Capabilities {
            memory_limit: hierarchies.memory(),
            cpu_limit: hierarchies.cpu(),
            pids_limit: hierarchies.pids(),
            kill_everything: hierarchies.ending(),
            app_isolation: self.inner.lock_users().enforcement(),
        }
    }

    async fn users(&self) -> Result<BTreeMap<u32, (EnvName, AppName)>, EngineError> {
        self.blocking(|inner| {
            let apps = inner.lock_users().apps();
            apps.map_err(|error| unavailable("read which user each app runs as", error))
        })
        .await
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        let spec = spec.clone();
        self.blocking(move |inner| inner.start(&spec)).await
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        self.blocking(move |inner| inner.stop(id, options)).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        self.blocking(move |inner| inner.remove(id)).await
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        self.blocking(|inner| {
            inner.list().map_err(|error| unavailable("read the directory of instances", error))
        })
        .await
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        self.blocking(move |inner| {
            let directory = inner.instances.path(id);
            let removed = inner.removed.join(id.to_string());
            if !directory.exists() && !removed.exists() {
                return Err(EngineError::Unknown(id));
            }
            Ok(log_reader::read(id, directory, removed, query))
        })
        .await
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        let spec = spec.clone();
        let handle = tokio::runtime::Handle::current();
        self.blocking(move |inner| {
            let _runtime = handle.enter();
            inner.exec(id, &spec)
        })
        .await
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        self.blocking(move |inner| inner.stats(id)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }
}

impl Inner {
    /// Wakes whoever waits on `changes`.
    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock_users(&self) -> std::sync::MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Leaves the request where the shim finds it whenever it looks, then wakes the shim.
    fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        let dir = self.instances.dir(id);
        let known = dir.path().is_dir();
        if !known || dir.read_status().is_some_and(|status| status.is_terminal()) {
            return Ok(());
        }
        let request = StopRequest::new(options);
        let end = |request: &StopRequest| {
            request.at.as_millisecond().saturating_add_unsigned(request.grace_ms)
        };
        let earlier = dir.read_stop_request();
        if earlier.is_none_or(|earlier| end(&request) < end(&earlier)) {
            // The first request's signal and time stay what they were; only the end comes nearer.
            let request = match earlier {
                Some(earlier) => StopRequest { grace_ms: request.grace_ms, ..earlier },
                None => request,
            };
            write_json(&dir.stop_request(), &request)
                .map_err(|error| unavailable("record the request to stop", error))?;
        }
        match dir.read_status() {
            Some(status) if dir.is_locked() => signal_shim(&status),
            // Nobody is in charge: it never began, or its shim is dead.
            Some(_) | None if !dir.is_locked() => self.settle(id),
            // A shim that has not written its first status looks for the request by itself.
            Some(_) | None => {}
        }
        self.changed();
        Ok(())
    }

    /// What the engine can say of one instance now.
    fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        let (dir, status) = self.running(id)?;
        let spec: record::Spec = record::read_json(&dir.spec())
            .map_err(|error| unavailable("read the instance's record", error))?;
        let scope = end::Scope {
            id,
            cgroups: &spec.cgroups,
            shim: status.shim.map(|shim| shim.pid),
            session: status.main.map(|main| main.pid),
        };
        let (rss_bytes, living_cpu_time, processes) = host::usage(&scope.members());
        let cpu_time = spec.cgroups.cpu_time().unwrap_or(living_cpu_time);
        Ok(Stats { rss_bytes, cpu_time, processes })
    }

    /// The directory and status of an instance whose main process runs.
    fn running(&self, id: InstanceId) -> Result<(InstanceDir, record::Status), EngineError> {
        let dir = self.instances.dir(id);
        if !dir.path().is_dir() {
            return Err(EngineError::Unknown(id));
        }
        let status = dir.read_status().filter(|_| dir.is_locked());
        match status {
            Some(status) => match status.state {
                EngineState::Running { .. } | EngineState::Stopping { .. } => Ok((dir, status)),
                EngineState::Preparing
                | EngineState::Exited { .. }
                | EngineState::StartFailed { .. }
                | EngineState::Gone => Err(EngineError::NotRunning(id)),
            },
            None => Err(EngineError::NotRunning(id)),
        }
    }
}

/// Wakes the shim that wrote `status`, and nobody else: the descriptor is opened first and the
/// identity checked through it, so that a pid that was given out again is not signalled.
fn signal_shim(status: &record::Status) {
    let Some(shim) = status.shim else { return };
    let Some(pidfd) = host::open_process(shim) else { return };
    // It may be ending by itself.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::TERM);
}

fn unavailable(action: &str, source: io::Error) -> EngineError {
    EngineError::Unavailable { engine: EngineKind::Process, action: action.to_owned(), source }
}

fn refused(detail: impl Into<String>) -> EngineError {
    EngineError::Refused { engine: EngineKind::Process, detail: detail.into() }
}
