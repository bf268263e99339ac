//! Forgetting instances: what is secret or large goes at once, the log stays a while.

use std::fs;
use std::io;
use std::time::SystemTime;

use ark_model::ids::InstanceId;

use super::record::{EVENTS, InstanceDir, Spec, Status, read_json};
use super::start::removed_path;
use super::{Inner, unavailable};
use crate::engine::EngineError;

impl Inner {
    /// Forgets an instance that has ended.
    pub(super) fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        let dir = self.instances.dir(id);
        if !dir.path().exists() {
            return Ok(());
        }
        if !dir.read_status().is_some_and(|status| Status::is_terminal(&status)) {
            if dir.is_locked() {
                return Err(EngineError::StillThere(id));
            }
            // A shim that just ended, or a dead one.
            if dir.status().exists() || dir.read_stop_request().is_some() {
                self.settle(id);
            }
            if !dir.read_status().is_some_and(|status| status.is_terminal()) {
                return Err(EngineError::StillThere(id));
            }
        }
        if let Ok(spec) = read_json::<Spec>(&dir.spec()) {
            spec.cgroups.remove();
        }
        self.set_aside(id).map_err(|error| unavailable("remove the instance", error))?;
        self.changed();
        Ok(())
    }

    /// Moves the directory out of sight in one step, then deletes all but the log.
    pub(super) fn set_aside(&self, id: InstanceId) -> io::Result<()> {
        let target = removed_path(self, id);
        match fs::rename(self.instances.path(id), &target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let _ = fs::remove_file(self.instances.root().join(EVENTS).join(id.to_string()));
        strip(&InstanceDir::new(target))
    }

    /// Deletes logs that have been kept long enough, and the oldest when there are too many. Also
    /// finishes removals that a crash interrupted.
    pub(super) fn sweep_removed(&self) {
        let Ok(listing) = fs::read_dir(&self.removed) else { return };
        let mut kept = Vec::new();
        for entry in listing.flatten() {
            let dir = InstanceDir::new(entry.path());
            let _ = strip(&dir);
            let removed_at = entry.metadata().and_then(|metadata| metadata.modified());
            kept.push((removed_at.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let now = SystemTime::now();
        for (place, (removed_at, path)) in kept.into_iter().enumerate() {
            let age = now.duration_since(removed_at).unwrap_or_default();
            if place >= self.options.removed_max || age >= self.options.log_retention {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// Deletes everything but the log and the status. What changes nothing leaves the directory's time
/// as it is: the time of removal.
fn strip(dir: &InstanceDir) -> io::Result<()> {
    for file in [dir.spec(), dir.manifest(), dir.stop_request(), dir.lock(), dir.shim_log()] {
        ignore_missing(fs::remove_file(file))?;
    }
    ignore_missing(fs::remove_dir_all(dir.files()))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
