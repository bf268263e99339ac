//! The engines of one host as one: images run on Docker, everything else as processes. The server
//! holds it as its engine; neither engine knows of the other.
//!
//! The Docker engine need not be there. As long as this Ark never ran a container, nothing depends
//! on it; from then on a daemon that does not answer means that nothing is known of what runs.

use std::path::PathBuf;
use std::sync::Arc;

use ark_model::artifact::Artifact;
use ark_model::ids::InstanceId;
use ark_model::instance::ObservedInstance;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::docker::DockerEngine;
use crate::engine::{
    ArtifactSource, Capabilities, Engine, EngineError, EngineKind, ExecSession, ExecSpec, LogQuery,
    LogStream, StartSpec, Stats, StopOptions,
};
use crate::process::ProcessEngine;

/// A process engine and a Docker engine.
pub struct HostEngines {
    processes: Arc<ProcessEngine>,
    containers: Arc<DockerEngine>,
    /// There once a container was to be started.
    used: PathBuf,
    changes: watch::Receiver<u64>,
    joined: JoinHandle<()>,
}

impl HostEngines {
    /// Joins them; `used` is a file that remembers that a container was ever started. Must be
    /// called within a tokio runtime.
    pub fn new(processes: ProcessEngine, containers: DockerEngine, used: PathBuf) -> Self {
        let (processes, containers) = (Arc::new(processes), Arc::new(containers));
        let (sender, changes) = watch::channel(0u64);
        let (mut one, mut other) = (processes.changes(), containers.changes());
        let joined = tokio::spawn(async move {
            loop {
                let changed = tokio::select! {
                    changed = one.changed() => changed,
                    changed = other.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
                sender.send_modify(|count| *count = count.wrapping_add(1));
            }
        });
        Self { processes, containers, used, changes, joined }
    }

    fn used(&self) -> bool {
        self.used.exists()
    }

    fn remember(&self) -> Result<(), EngineError> {
        if self.used() {
            return Ok(());
        }
        std::fs::write(&self.used, b"").map_err(|source| EngineError::Unavailable {
            engine: EngineKind::Docker,
            action: format!("write {}", self.used.display()),
            source,
        })
    }
}

impl Drop for HostEngines {
    fn drop(&mut self) {
        self.joined.abort();
    }
}

/// The answer of the first, or of the second when the first does not know the instance.
macro_rules! whoever_knows {
    ($self:ident, $call:ident, $id:expr $(, $argument:expr)*) => {
        match $self.processes.$call($id $(, $argument)*).await {
            Err(EngineError::Unknown(_)) if $self.used() => {
                $self.containers.$call($id $(, $argument)*).await
            }
            answer => answer,
        }
    };
}

#[async_trait]
impl Engine for HostEngines {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    fn kind_for(&self, artifact: &Artifact) -> EngineKind {
        match artifact {
            Artifact::Image { .. } => EngineKind::Docker,
            Artifact::Directory { .. } | Artifact::None => EngineKind::Process,
        }
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.containers.image_digest(reference).await
    }

    fn capabilities(&self) -> Capabilities {
        self.processes.capabilities()
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        match &spec.artifact {
            ArtifactSource::Image { .. } => {
                self.remember()?;
                self.containers.start(spec).await
            }
            ArtifactSource::Directory { .. } | ArtifactSource::None => {
                self.processes.start(spec).await
            }
        }
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        self.processes.stop(id, options).await?;
        if self.used() { self.containers.stop(id, options).await } else { Ok(()) }
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        self.processes.remove(id).await?;
        if self.used() { self.containers.remove(id).await } else { Ok(()) }
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let mut all = self.processes.list().await?;
        if self.used() {
            all.extend(self.containers.list().await?);
            all.sort_unstable_by_key(|seen| seen.id);
        }
        Ok(all)
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        whoever_knows!(self, logs, id, query.clone())
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        whoever_knows!(self, exec, id, spec)
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        whoever_knows!(self, stats, id)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
