//! Taking over what an earlier engine started, and putting in order what a dead shim left: its
//! processes are ended and the instance's end is recorded, once, by whoever gets the lock.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use ark_model::ids::InstanceId;
use ark_model::instance::{EngineState, Exit, StartFailure};
use jiff::Timestamp;

use super::end::Scope;
use super::record::{InstanceDir, Spec, Status, read_json};
use super::{Inner, host, log_reader};
use crate::engine::LogLimits;
use crate::shim::LogWriter;

/// How long leftovers of a dead shim may take to end.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// SIGKILL: what the main process gets when its shim dies.
const SIGKILL: i32 = 9;

impl Inner {
    /// Goes through the directories once, before the first call: starts that were handed over but
    /// never begun are begun, dead shims' instances are settled, half-made directories go.
    pub(super) fn adopt(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.instances.root())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(super::start::STAGING_PREFIX) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        for id in self.instances.ids()? {
            let dir = self.instances.dir(id);
            match self.instances.look(id) {
                Some((_, Some(status))) => {
                    if !status.is_terminal() && !dir.is_locked() {
                        self.settle(id);
                    }
                }
                Some((_, None)) => {
                    if dir.is_locked() {
                        continue;
                    }
                    // A status file that is there was torn by a power failure: it had begun.
                    if dir.status().exists() || dir.read_stop_request().is_some() {
                        self.settle(id);
                    } else if let Err(error) = self.spawn_shim(id) {
                        tracing::warn!(instance = %id, %error, "cannot start the shim of an instance");
                    }
                }
                None => {
                    tracing::warn!(instance = %id, "the record of an instance is torn; set aside");
                    self.end_unrecorded(id);
                    self.set_aside(id)?;
                }
            }
        }
        self.sweep_removed();
        Ok(())
    }

    /// Records the end of an instance whose shim is dead, after ending whatever it left. Does
    /// nothing when somebody is in charge or the end is recorded already.
    pub(super) fn settle(&self, id: InstanceId) {
        let dir = self.instances.dir(id);
        if !dir.path().is_dir() {
            return;
        }
        let lock = match dir.try_lock() {
            Ok(Some(lock)) => lock,
            // A shim, or another call, is in charge.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(instance = %id, %error, "cannot lock the record of an instance");
                return;
            }
        };
        let status = dir.read_status();
        if status.as_ref().is_some_and(Status::is_terminal) {
            return;
        }
        if let Err(error) = settle_locked(id, &dir, status) {
            tracing::warn!(instance = %id, %error, "cannot record the end of an instance");
        }
        drop(lock);
        self.changed();
    }

    /// Ends what belongs to an instance of which nothing but the id can be read.
    fn end_unrecorded(&self, id: InstanceId) {
        let limits = super::record::Limits {
            memory_bytes: Some(1),
            cpu_cores: Some(1.0),
            pids_max: Some(1),
        };
        let cgroups = self.hierarchies.plan(id, &limits);
        let scope = Scope { id, cgroups: &cgroups, shim: None, session: None };
        scope.end_all(Instant::now() + END_DEADLINE);
        cgroups.remove();
    }
}

fn settle_locked(id: InstanceId, dir: &InstanceDir, status: Option<Status>) -> io::Result<()> {
    let spec: Option<Spec> = read_json(&dir.spec()).ok();
    // After a restart of the host nothing is left, and the pids mean others.
    let same_boot = status.as_ref().is_none_or(|status| status.boot_id == host::boot_id());
    if let (true, Some(spec)) = (same_boot, &spec) {
        let session = status.as_ref().and_then(|status| status.main).map(|main| main.pid);
        let scope = Scope { id, cgroups: &spec.cgroups, shim: None, session };
        if !scope.end_all(Instant::now() + END_DEADLINE) {
            tracing::warn!(instance = %id, "processes of a dead shim cannot be ended");
        }
        spec.cgroups.remove();
    }
    let requested = dir.read_stop_request().is_some();
    let exit = |signal| Exit {
        began: None,
        code: None,
        signal,
        out_of_memory: false,
        requested,
        at: Timestamp::now(),
    };
    let began = status.as_ref().is_some_and(|status| status.main.is_some());
    let state = match (began, requested) {
        (true, _) => EngineState::Exited { exit: exit(same_boot.then_some(SIGKILL)) },
        (false, true) => EngineState::Exited { exit: exit(None) },
        (false, false) => {
            let last = log_reader::last_line_of(&dir.shim_log());
            let detail = match last {
                Some(words) => format!("its shim ended before it began: {words}"),
                None => "its shim ended before it began".to_owned(),
            };
            EngineState::StartFailed { reason: StartFailure::Other { detail } }
        }
    };
    let log_limits = spec.as_ref().map_or_else(LogLimits::default, |spec| spec.log_limits);
    if let Ok(mut log) = LogWriter::create(dir.path(), log_limits) {
        log.note(if same_boot {
            "its shim was gone; whatever was left has been ended"
        } else {
            "the host was restarted"
        });
    }
    let (shim, main) = status.map(|status| (status.shim, status.main)).unwrap_or_default();
    dir.write_status(&Status { boot_id: host::boot_id(), shim, main, state })
}
