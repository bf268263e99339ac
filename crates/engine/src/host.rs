//! The engines of one host as one: images run on Docker, everything else as processes. The server
//! holds it as its engine; neither engine knows of the other.
//!
//! The Docker engine need not be there. As long as this Ark never ran a container, nothing depends
//! on it; from then on a daemon that does not answer means that nothing is known of containers.
//! Processes are never affected by it: they are listed, stopped and removed without asking it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ark_model::artifact::Artifact;
use ark_model::ids::{AppName, EnvName, InstanceId};
use ark_model::instance::ObservedInstance;
use ark_model::route::ContainerNetwork;
use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::docker::DockerEngine;
use crate::engine::{
    ArtifactSource, BuildSpec, BuildStream, Capabilities, Engine, EngineError, EngineKind,
    ExecSession, ExecSpec, LogQuery, LogStream, Sight, StartSpec, Stats, StopOptions,
};
use crate::process::ProcessEngine;

/// How long the daemon may take to say what runs before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(4);

/// A question to the daemon under way.
type Asked = JoinHandle<Result<Vec<ObservedInstance>, EngineError>>;

/// A process engine and a Docker engine.
pub struct HostEngines {
    processes: Arc<ProcessEngine>,
    containers: Arc<DockerEngine>,
    /// There once a container was to be started.
    used: PathBuf,
    changes: watch::Sender<u64>,
    /// The daemon was asked what runs and has not answered yet.
    question: Mutex<Option<Asked>>,
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
        Self { processes, containers, used, changes, question: Mutex::default(), joined }
    }

    fn used(&self) -> bool {
        self.used.exists()
    }

    /// What the daemon says runs. One that hangs is waited for once: until it has answered, it is
    /// silent for everybody else at once.
    async fn containers_seen(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let silent = || EngineError::Unavailable {
            engine: EngineKind::Docker,
            action: "list containers".to_owned(),
            source: std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("the daemon did not answer within {PATIENCE:?}"),
            ),
        };
        let mut question = self.question.lock().await;
        if question.as_ref().is_some_and(|asked| !asked.is_finished()) {
            return Err(silent());
        }
        // A late answer tells of long ago; it is worth only that there is one again.
        let (containers, changes) = (Arc::clone(&self.containers), self.changes.clone());
        let asked = question.insert(tokio::spawn(async move {
            let begun = tokio::time::Instant::now();
            let answer = containers.list().await;
            if begun.elapsed() >= PATIENCE {
                changes.send_modify(|count| *count = count.wrapping_add(1));
            }
            answer
        }));
        let Ok(answer) = tokio::time::timeout(PATIENCE, asked).await else { return Err(silent()) };
        *question = None;
        answer.unwrap_or_else(|_| Err(silent()))
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

    async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        self.containers.keep_image(reference).await
    }

    async fn build(&self, spec: BuildSpec) -> Result<BuildStream, EngineError> {
        self.containers.build(spec).await
    }

    async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        self.containers.remove_images(keep, age).await
    }

    fn allows_privileged(&self, env: &EnvName, app: &AppName) -> bool {
        self.containers.allows_privileged(env, app)
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
                self.containers.start(spec).await
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
        self.containers.stop(id, options).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        if self.processes.knows(id) || !self.used() {
            return self.processes.remove(id).await;
        }
        self.containers.remove(id).await
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
            match self.containers_seen().await {
                Ok(containers) => sight.seen.extend(containers),
                Err(error) => sight.silent.push((EngineKind::Docker, error)),
            }
            sight.seen.sort_unstable_by_key(|seen| seen.id);
        }
        Ok(sight)
    }

    fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        self.containers.networks()
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
