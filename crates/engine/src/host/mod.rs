//! The engines of one host as one: images run on Docker, everything else as processes. The server
//! holds it as its engine; neither engine knows of the other.
//!
//! The Docker engine need not be there. As long as this Ark never ran a container, nothing depends
//! on it; from then on a daemon that does not answer means that nothing is known of containers.
//! Processes are never affected by it: they are listed, stopped and removed without asking it.

mod daemon;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ark_model::artifact::Artifact;
use ark_model::definition::Rights;
use ark_model::ids::{AppName, EnvName, InstanceId};
use ark_model::instance::ObservedInstance;
use ark_model::route::ContainerNetwork;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::daemon::Daemon;
use crate::docker::DockerEngine;
use crate::engine::{
    ArtifactSource, BuildSpec, BuildStream, Capabilities, Engine, EngineError, EngineKind,
    ExecSession, ExecSpec, LogQuery, LogStream, Sight, StartSpec, Stats, StopOptions,
};
use crate::process::ProcessEngine;

/// A process engine and a Docker engine.
pub struct HostEngines {
    processes: Arc<ProcessEngine>,
    containers: Arc<Daemon>,
    /// There once a container was to be started.
    used: PathBuf,
    changes: watch::Sender<u64>,
    joined: JoinHandle<()>,
}

impl HostEngines {
    /// Joins them; `used` is a file that remembers that a container was ever started. Must be
    /// called within a tokio runtime.
    pub fn new(processes: ProcessEngine, containers: DockerEngine, used: PathBuf) -> Self {
        let (processes, containers) = (Arc::new(processes), Arc::new(containers));
        let changes = watch::Sender::new(0u64);
        let sender = changes.clone();
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
        let containers = Arc::new(Daemon::new(containers, changes.clone()));
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
                let engine = &$self.containers.engine;
                let action = concat!(stringify!($call), " of a container");
                $self.containers.call(action, engine.$call($id $(, $argument)*)).await
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
        let call = self.containers.engine.image_digest(reference);
        self.containers.call("look for an image", call).await
    }

    async fn published_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let call = self.containers.engine.published_digest(reference);
        self.containers.call("ask a registry for an image", call).await
    }

    async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        let call = self.containers.engine.keep_image(reference);
        self.containers.call("look for an image", call).await
    }

    async fn build(&self, spec: BuildSpec) -> Result<BuildStream, EngineError> {
        self.containers.engine.build(spec).await
    }

    async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        let removing = self.containers.engine.remove_images(keep, age);
        match self.containers.call("remove images", removing).await {
            // Nobody misses a daemon that was never used.
            Err(EngineError::Unavailable { .. }) if !self.used() => Ok(0),
            answer => answer,
        }
    }

    fn refuses(&self, env: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        self.containers.engine.refuses(env, app, rights)
    }

    fn capabilities(&self) -> Capabilities {
        self.processes.capabilities()
    }

    async fn users(&self) -> Result<BTreeMap<u32, (EnvName, AppName)>, EngineError> {
        self.processes.users().await
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        match &spec.artifact {
            ArtifactSource::Image { .. } => {
                self.remember()?;
                self.containers.call("start a container", self.containers.engine.start(spec)).await
            }
            ArtifactSource::Directory { .. } | ArtifactSource::None => {
                self.processes.start(spec).await
            }
        }
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        if self.processes.knows(id) || !self.used() {
            return self.processes.stop(id, options).await;
        }
        self.containers.call("stop a container", self.containers.engine.stop(id, options)).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        if self.processes.knows(id) || !self.used() {
            return self.processes.remove(id).await;
        }
        self.containers.call("remove a container", self.containers.engine.remove(id)).await
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let mut sight = self.look().await?;
        match sight.silent.pop() {
            Some((_, error)) => Err(error),
            None => Ok(sight.seen),
        }
    }

    async fn look(&self) -> Result<Sight, EngineError> {
        let mut sight = Sight { seen: self.processes.list().await?, ..Sight::default() };
        if self.used() {
            match self.containers.seen().await {
                Ok(containers) => sight.seen.extend(containers),
                Err(error) => sight.silent.push((EngineKind::Docker, error)),
            }
            sight.seen.sort_unstable_by_key(|seen| seen.id);
        }
        Ok(sight)
    }

    fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        self.containers.engine.networks()
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
        self.changes.subscribe()
    }
}
