//! The files of this engine, for what a container cannot carry:
//!
//! | file of `<data-dir>/docker` | holds |
//! | --- | --- |
//! | `cluster` | the id that this Ark's containers are labelled with |
//! | `pending/<id>.json` | a start whose container is not known to be there, with all it needs (mode 0600: it holds secrets), or why it failed (then without them), where its container does not say so |
//! | `stops/<id>.json` | when a stop was asked for and when its grace ends |
//! | `fetched/<digest>.json` | an image that was fetched: by which names; its time is when it was last asked for |
//! | `removed/<id>.jsonl` | the log of a removed container |
//! | `networks.json` | the environments' networks as last seen: the gateway listens in them, also while the daemon is away |
//!
//! Each file is replaced whole by rename. Written and read by this engine alone.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ark_model::definition::{Rights, Volume};
use ark_model::ids::{AppName, EnvName, InstanceId, ReleaseNumber};
use ark_model::instance::{PortBinding, StartFailure};
use ark_model::route::ContainerNetwork;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config;
use crate::engine::{LogLimits, Published, StartSpec};

/// The directory of the files.
pub(super) struct Place {
    root: PathBuf,
}

/// A start that has no container yet.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) env: EnvName,
    pub(super) app: AppName,
    pub(super) release: ReleaseNumber,
    pub(super) at: Timestamp,
    pub(super) stage: Stage,
}

/// How far a pending start is.
#[derive(Serialize, Deserialize)]
pub(super) enum Stage {
    /// Its image is being fetched.
    Waiting(Box<PendingSpec>),
    /// It never got a container.
    Failed(StartFailure),
}

/// [`StartSpec`] as it is kept until its container exists.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingSpec {
    command: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    reference: String,
    digest: Option<String>,
    #[serde(default)]
    host_names: Vec<String>,
    ports: Vec<PortBinding>,
    #[serde(default)]
    published: Vec<Published>,
    memory_bytes: Option<u64>,
    #[serde(default)]
    memory_soft_bytes: Option<u64>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    user: Option<String>,
    #[serde(flatten)]
    rights: Rights,
    cpu_cores: Option<f64>,
    pids_max: Option<u64>,
    stop_signal: ark_model::definition::StopSignal,
    stop_grace: Duration,
    log_limits: LogLimits,
}

impl Pending {
    pub(super) fn waiting(spec: &StartSpec, reference: &str, digest: Option<&str>) -> Self {
        Self {
            env: spec.env.clone(),
            app: spec.app.clone(),
            release: spec.release,
            at: Timestamp::now(),
            stage: Stage::Waiting(Box::new(PendingSpec {
                command: spec.command.clone(),
                arguments: spec.arguments.clone(),
                variables: spec.variables.clone(),
                reference: reference.to_owned(),
                digest: digest.map(str::to_owned),
                host_names: spec.host_names.clone(),
                ports: spec.ports.clone(),
                published: spec.published.clone(),
                memory_bytes: spec.memory_bytes,
                memory_soft_bytes: spec.memory_soft_bytes,
                volumes: spec.volumes.clone(),
                user: spec.user.clone(),
                rights: spec.rights.clone(),
                cpu_cores: spec.cpu_cores,
                pids_max: spec.pids_max,
                stop_signal: spec.stop_signal,
                stop_grace: spec.stop_grace,
                log_limits: spec.log_limits,
            })),
        }
    }

    /// Of an instance by its container's labels; `None` when they are not this engine's.
    pub(super) fn failed(labels: &HashMap<String, String>, reason: StartFailure) -> Option<Self> {
        Some(Self {
            env: labels.get(config::ENV)?.parse().ok()?,
            app: labels.get(config::APP)?.parse().ok()?,
            release: labels.get(config::RELEASE)?.parse().ok()?,
            at: Timestamp::now(),
            stage: Stage::Failed(reason),
        })
    }

    /// The spec of a waiting start.
    pub(super) fn spec(&self, id: InstanceId) -> Option<StartSpec> {
        let Stage::Waiting(kept) = &self.stage else { return None };
        Some(StartSpec {
            id,
            env: self.env.clone(),
            app: self.app.clone(),
            release: self.release,
            node: ark_model::NodeName::local(),
            command: kept.command.clone(),
            arguments: kept.arguments.clone(),
            variables: kept.variables.clone(),
            artifact: crate::engine::ArtifactSource::Image {
                reference: kept.reference.clone(),
                digest: kept.digest.clone(),
            },
            host_names: kept.host_names.clone(),
            ports: kept.ports.clone(),
            published: kept.published.clone(),
            memory_bytes: kept.memory_bytes,
            memory_soft_bytes: kept.memory_soft_bytes,
            volumes: kept.volumes.clone(),
            user: kept.user.clone(),
            rights: kept.rights.clone(),
            cpu_cores: kept.cpu_cores,
            pids_max: kept.pids_max,
            stop_signal: kept.stop_signal,
            stop_grace: kept.stop_grace,
            log_limits: kept.log_limits,
        })
    }
}

/// A stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskedStop {
    /// When it was first asked for.
    pub(super) at: Timestamp,
    /// When the grace ends.
    pub(super) kill_at: Timestamp,
    /// Whether there was no process to signal: the container is never started.
    pub(super) before_start: bool,
    /// Whether the daemon is known to have passed the signal on.
    #[serde(default = "told")]
    pub(super) told: bool,
}

/// An image that was fetched.
pub(super) struct Fetched {
    /// Its id at the daemon.
    pub(super) image: String,
    /// The names by which it was.
    pub(super) names: Vec<String>,
    /// When it was last asked for.
    pub(super) at: Timestamp,
}

/// [`Fetched`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Note {
    image: String,
    names: Vec<String>,
}

/// Before it was written down, nothing was told again.
fn told() -> bool {
    true
}

impl Place {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        for folder in ["pending", "stops", "removed", "fetched"] {
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(folder))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Deletes the starts that wait, and for good: whoever still has this place in hand writes no other.
    /// [`Self::open`] makes room for new ones.
    pub(super) fn forget_pending(root: &Path) -> io::Result<()> {
        match fs::remove_dir_all(root.join("pending")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The id of this Ark, made at the first call.
    pub(super) fn cluster(&self) -> io::Result<String> {
        let path = self.root.join("cluster");
        match fs::read_to_string(&path) {
            Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        replace(&path, id.as_bytes())?;
        Ok(id)
    }

    fn file(&self, folder: &str, id: InstanceId, kind: &str) -> PathBuf {
        self.root.join(folder).join(format!("{id}.{kind}"))
    }

    pub(super) fn pending(&self, id: InstanceId) -> Option<Pending> {
        read(&self.file("pending", id, "json"))
    }

    /// Why a start failed, where its container does not say so.
    pub(super) fn failure(&self, id: InstanceId) -> Option<StartFailure> {
        match self.pending(id)?.stage {
            Stage::Failed(reason) => Some(reason),
            Stage::Waiting(_) => None,
        }
    }

    pub(super) fn write_pending(&self, id: InstanceId, pending: &Pending) -> io::Result<()> {
        replace(&self.file("pending", id, "json"), &serde_json::to_vec(pending)?)
    }

    pub(super) fn drop_pending(&self, id: InstanceId) -> io::Result<()> {
        delete(&self.file("pending", id, "json"))
    }

    pub(super) fn all_pending(&self) -> io::Result<Vec<InstanceId>> {
        ids(&self.root.join("pending"))
    }

    pub(super) fn stop(&self, id: InstanceId) -> Option<AskedStop> {
        read(&self.file("stops", id, "json"))
    }

    pub(super) fn write_stop(&self, id: InstanceId, stop: AskedStop) -> io::Result<()> {
        replace(&self.file("stops", id, "json"), &serde_json::to_vec(&stop)?)
    }

    pub(super) fn all_stops(&self) -> io::Result<Vec<InstanceId>> {
        ids(&self.root.join("stops"))
    }

    /// Where the log of a removed instance stands.
    pub(super) fn removed_log(&self, id: InstanceId) -> PathBuf {
        self.file("removed", id, "jsonl")
    }

    pub(super) fn write_removed_log(&self, id: InstanceId, lines: &[u8]) -> io::Result<()> {
        replace(&self.removed_log(id), lines)
    }

    fn note_of(&self, image: &str) -> PathBuf {
        let digest = image.rsplit_once(':').map_or(image, |(_, digest)| digest);
        self.root.join("fetched").join(format!("{digest}.json"))
    }

    /// Notes that an image was fetched by this name.
    pub(super) fn note_fetched(&self, image: &str, name: &str) -> io::Result<()> {
        let path = self.note_of(image);
        let note = Note { image: image.to_owned(), names: vec![name.to_owned()] };
        let mut note: Note = read(&path).unwrap_or(note);
        if !note.names.iter().any(|known| known == name) {
            note.names.push(name.to_owned());
        }
        replace(&path, &serde_json::to_vec(&note)?)
    }

    /// Somebody is about to use an image; nothing when it was not fetched.
    pub(super) fn touch_fetched(&self, image: &str) -> io::Result<()> {
        let path = self.note_of(image);
        match read::<Note>(&path) {
            Some(note) => replace(&path, &serde_json::to_vec(&note)?),
            None => Ok(()),
        }
    }

    pub(super) fn forget_fetched(&self, image: &str) -> io::Result<()> {
        delete(&self.note_of(image))
    }

    /// The images that were fetched.
    pub(super) fn all_fetched(&self) -> io::Result<Vec<Fetched>> {
        let fetched = |entry: fs::DirEntry| {
            let Note { image, names } = read(&entry.path())?;
            let at = entry.metadata().ok()?.modified().ok()?.try_into().ok()?;
            Some(Fetched { image, names, at })
        };
        Ok(fs::read_dir(self.root.join("fetched"))?.flatten().filter_map(fetched).collect())
    }

    /// The networks as last seen.
    pub(super) fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        read(&self.root.join("networks.json")).unwrap_or_default()
    }

    pub(super) fn write_networks(
        &self,
        networks: &BTreeMap<EnvName, ContainerNetwork>,
    ) -> io::Result<()> {
        replace(&self.root.join("networks.json"), &serde_json::to_vec(networks)?)
    }

    /// What belongs to a removed instance, its log excepted.
    pub(super) fn forget(&self, id: InstanceId) -> io::Result<()> {
        self.drop_pending(id)?;
        delete(&self.file("stops", id, "json"))
    }

    /// Deletes logs of removed instances that are too old or too many.
    pub(super) fn prune(&self, retention: Duration, removed_max: usize) -> io::Result<()> {
        let mut logs: Vec<(SystemTime, PathBuf)> = fs::read_dir(self.root.join("removed"))?
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        logs.sort();
        let surplus = logs.len().saturating_sub(removed_max);
        for (index, (modified, path)) in logs.into_iter().enumerate() {
            let old = modified.elapsed().is_ok_and(|age| age > retention);
            if old || index < surplus {
                delete(&path)?;
            }
        }
        Ok(())
    }
}

fn ids(folder: &Path) -> io::Result<Vec<InstanceId>> {
    let id = |entry: fs::DirEntry| entry.path().file_stem()?.to_str()?.parse().ok();
    Ok(fs::read_dir(folder)?.flatten().filter_map(id).collect())
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whole or not at all, and on disk before it is believed.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
