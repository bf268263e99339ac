//! The instances of a data directory as they are now: every directory listed and its status read,
//! with what cannot have changed taken from a cache. The cache is a shortcut only; dropping it
//! changes no answer.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_model::ids::InstanceId;
use ark_model::instance::{EngineState, ObservedInstance};

use super::Inner;
use super::record::{InstanceDir, Labels, Status, read_json};

/// The directory of instances.
pub(super) struct Instances {
    root: PathBuf,
    cache: Mutex<HashMap<InstanceId, Cached>>,
}

struct Cached {
    labels: Labels,
    /// The status last read, and the file it was read from.
    status: Option<(StatusFile, Status)>,
}

/// Which version of a status file: each is a file of its own, by rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StatusFile {
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Instances {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, cache: Mutex::new(HashMap::new()) }
    }

    pub(super) fn root(&self) -> &std::path::Path {
        &self.root
    }

    pub(super) fn path(&self, id: InstanceId) -> PathBuf {
        self.root.join(id.to_string())
    }

    pub(super) fn dir(&self, id: InstanceId) -> InstanceDir {
        InstanceDir::new(self.path(id))
    }

    /// Every instance that has a directory, in order.
    pub(super) fn ids(&self) -> io::Result<Vec<InstanceId>> {
        let mut ids: Vec<InstanceId> = fs::read_dir(&self.root)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Labels and status of one instance; `None` when it is gone or its record is torn.
    pub(super) fn look(&self, id: InstanceId) -> Option<(Labels, Option<Status>)> {
        let dir = self.dir(id);
        let file = status_file(&dir);
        if let Some(cached) = self.lock().get(&id) {
            match (&cached.status, file) {
                (Some((seen, status)), Some(file)) if *seen == file => {
                    return Some((cached.labels.clone(), Some(status.clone())));
                }
                (_, None) if dir.path().is_dir() => return Some((cached.labels.clone(), None)),
                _ => {}
            }
        }
        let known = self.lock().get(&id).map(|cached| cached.labels.clone());
        let labels = match known {
            Some(labels) if dir.path().is_dir() => labels,
            Some(_) | None => read_json(&dir.spec()).ok()?,
        };
        let status = dir.read_status();
        let cached = file.zip(status.clone());
        self.lock().insert(id, Cached { labels: labels.clone(), status: cached });
        Some((labels, status))
    }

    /// Forgets what was cached of instances that are not in `present` (in order).
    pub(super) fn forget_all_but(&self, present: &[InstanceId]) {
        self.lock().retain(|id, _| present.binary_search(id).is_ok());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status_file(dir: &InstanceDir) -> Option<StatusFile> {
    let metadata = fs::metadata(dir.status()).ok()?;
    Some(StatusFile {
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        bytes: metadata.len(),
    })
}

impl Inner {
    /// Every instance, as it is now. An instance whose shim is dead is settled on the way.
    pub(super) fn list(&self) -> io::Result<Vec<ObservedInstance>> {
        let ids = self.instances.ids()?;
        let observed = ids.iter().filter_map(|id| self.observe(*id)).collect();
        self.instances.forget_all_but(&ids);
        Ok(observed)
    }

    fn is_torn(&self, id: InstanceId) -> bool {
        let dir = self.instances.dir(id);
        dir.status().exists() && !dir.is_locked() && dir.read_status().is_none()
    }

    /// One instance, as it is now.
    pub(super) fn observe(&self, id: InstanceId) -> Option<ObservedInstance> {
        let (labels, status) = self.instances.look(id)?;
        let state = match status {
            Some(status) if status.is_terminal() => status.state,
            Some(status) if self.instances.dir(id).is_locked() => status.state,
            // The shim is gone. It may have recorded the end just before, so look again first.
            Some(_) => {
                self.settle(id);
                self.instances.look(id)?.1?.state
            }
            // A status that is there and cannot be read was torn: it had begun, and its shim, which
            // may have been dying when the instance was adopted, is dead now.
            None if self.is_torn(id) => {
                self.settle(id);
                self.instances.look(id)?.1?.state
            }
            // Handed over, and its shim has not written yet.
            None => EngineState::Preparing,
        };
        let Labels { env, app, release } = labels;
        Some(ObservedInstance { id, env, app, release, state })
    }
}
