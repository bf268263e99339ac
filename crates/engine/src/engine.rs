//! The contract of an engine: what runs instances, and what it says of them. The server's tasks
//! call it, once per step and repeatedly; the process engine, the fake and (later) Docker and
//! Kubernetes implement it, and one conformance suite holds them to it.
//!
//! An engine keeps no truth in memory: whatever it answers, a new engine object over the same
//! place (a data directory, a Docker daemon) answers too. It must not know the store, the gateway
//! or plans, and it must never write a variable's value to a log or an error (I8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::artifact::{Artifact, Manifest};
use ark_model::definition::{Rights, StopSignal, Volume};
use ark_model::ids::{AppName, EnvName, InstanceId, NodeName, ReleaseNumber, Sha256};
use ark_model::instance::{ObservedInstance, PortBinding};
use ark_model::route::ContainerNetwork;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub use crate::capabilities::{Capabilities, Enforcement};

/// The variable that every engine adds to the declared environment of an instance: its id. It
/// marks the instance's processes, so that they are found again where there are no cgroups.
pub const INSTANCE_ID_VARIABLE: &str = "ARK_INSTANCE_ID";

/// The variable that says where a volume is: `ARK_VOLUME_DATA` of one named `data`.
pub(crate) fn volume_variable(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("ARK_VOLUME_{}", name.chars().map(upper).collect::<String>())
}

/// The longest line of log an engine keeps as one, in bytes; longer lines become several.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// Runs instances and says what it sees of them.
///
/// Every call is idempotent and returns soon: work that takes time goes on in the background and
/// shows in [`Engine::list`]. A caller puts a deadline around each call all the same.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// Which engine runs an artifact of this kind here; [`Engine::kind`] unless several are joined.
    fn kind_for(&self, artifact: &Artifact) -> EngineKind {
        let _ = artifact;
        self.kind()
    }

    /// The digest that pins an image for a release: its content's id, or what it is called in its
    /// registry where that is configured. `None` when neither has the image (yet), when one that is to
    /// be sent to its registry was not, or when this engine runs none. Nothing is fetched.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn image_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let _ = reference;
        Ok(None)
    }

    /// The digest that an image has in its registry, asked for with the credentials that are configured,
    /// else without. `None` when the registry has none, or when this engine runs no images. Nothing is
    /// fetched.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], also when the registry says nothing.
    async fn published_digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let _ = reference;
        Ok(None)
    }

    /// Says that somebody is about to use an image that was built here: for [`Engine::remove_images`]
    /// it is as young as one built now. Answers whether it is there. ([`Engine::image_digest`] says so of
    /// one that was fetched.)
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        Ok(self.image_digest(reference).await?.is_some())
    }

    /// Builds an image. The stream goes on until the image is there; dropping it ends the build.
    ///
    /// # Errors
    /// [`EngineError::ImageExists`], [`EngineError::Refused`], [`EngineError::Unavailable`]. What
    /// the builder has against it is the stream's last item.
    async fn build(&self, spec: BuildSpec) -> Result<BuildStream, EngineError> {
        let _ = spec;
        Err(EngineError::Refused { engine: self.kind(), detail: "it builds no images".to_owned() })
    }

    /// Removes images that this Ark built or fetched, that are not among `keep` (names or digests), that
    /// no container has, and that were built, fetched, named or kept longer ago than `age`. Answers how
    /// many.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        let _ = (keep, age);
        Ok(0)
    }

    /// Why its policy does not let containers of an app have these rights; `None` when it does.
    fn refuses(&self, env: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        let _ = (env, app, rights);
        None
    }

    /// The users of this host that only one app's instances run as, each with its app. Empty where
    /// apps share a user, or a user says nothing.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn users(&self) -> Result<BTreeMap<u32, (EnvName, AppName)>, EngineError> {
        Ok(BTreeMap::new())
    }

    /// What it can hold an instance to on this host, and why not what it cannot.
    fn capabilities(&self) -> Capabilities;

    /// Hands an instance over. When this returns `Ok` the start survives a crash of the caller,
    /// and `list` shows the instance as `Preparing`, `StartFailed`, `Running` or beyond. A second
    /// start of the same id does nothing, whatever became of the first.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when this engine can never run such a spec, and
    /// [`EngineError::Unavailable`] when it cannot be reached or its disk is full; trying again
    /// helps with the second. Anything found out later is a `StartFailed` state.
    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError>;

    /// Asks an instance to end: the signal now, SIGKILL to everything it started when the grace is
    /// over. Asking again can only shorten the grace. An instance that has ended, or that the
    /// engine does not know, is left alone.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError>;

    /// [`Engine::stop`] without grace.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn kill(&self, id: InstanceId) -> Result<(), EngineError> {
        let options = StopOptions { signal: StopSignal::Kill, grace: Duration::ZERO };
        self.stop(id, options).await
    }

    /// Forgets an instance that has ended and deletes its files and its environment; `list` shows
    /// it no more. Its log stays readable for the engine's retention time. An unknown id is fine.
    ///
    /// # Errors
    /// [`EngineError::StillThere`] when it has not ended; [`EngineError::Unavailable`].
    async fn remove(&self, id: InstanceId) -> Result<(), EngineError>;

    /// Everything the engine knows of, as it is now; in order of id. An id that is missing is
    /// gone.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]: then nothing is known, which is not the same as nothing
    /// running.
    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError>;

    /// [`Engine::list`], where a part may be silent: what several joined engines say each for
    /// itself.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]: nothing is known of anything.
    async fn look(&self) -> Result<Sight, EngineError> {
        Ok(Sight { seen: self.list().await?, ..Sight::default() })
    }

    /// How many calls may be under way at once; more only wait for each other.
    fn parallel(&self) -> usize {
        1
    }

    /// The networks of this host's containers, by environment. Those in it reach the host by its
    /// address there. What was last known; nothing is asked.
    fn networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        BTreeMap::new()
    }

    /// An instance's log, oldest line first. The stream ends at the last line, or, when following,
    /// once the instance has ended and all was read.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::Unavailable`].
    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError>;

    /// Runs another command beside a running instance: same environment, working directory, user
    /// and limits. It ends with the instance, and when the session is dropped.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::NotRunning`], [`EngineError::ExecFailed`],
    /// [`EngineError::Refused`], [`EngineError::Unavailable`].
    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError>;

    /// What an instance and everything it started use now.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::NotRunning`], [`EngineError::Unavailable`].
    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError>;

    /// Changes its value whenever an instance's state may have changed. A wake-up only: it may
    /// fire for nothing, and a caller looks at the world from time to time without it.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// An image to build.
#[derive(Debug, Clone)]
pub struct BuildSpec {
    /// The context: what stands where. Must pass [`Manifest::check_context`].
    pub manifest: Manifest,
    /// The directory that holds the blobs, as in [`ArtifactSource::Directory`].
    pub blobs: PathBuf,
    /// The Dockerfile within the context.
    pub dockerfile: String,
    /// Name and tag of the image.
    pub image: String,
}

/// What a builder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// A line of its log.
    Line(String),
    /// The image is there: its digest. The last item.
    Done(String),
    /// It could not be built: why. The last item.
    Failed(String),
}

/// A build under way.
pub type BuildStream = BoxStream<'static, Result<Built, EngineError>>;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Processes of this host, each under an `ark shim`.
    Process,
    /// Containers of a Docker or Podman engine.
    Docker,
    /// Pods.
    Kubernetes,
    /// In memory, scripted: for simulation and benchmarks.
    Fake,
}

impl EngineKind {
    /// As `ark status` shows it: `process`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
            Self::Fake => "fake",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What engines see of their instances.
#[derive(Debug, Default)]
pub struct Sight {
    /// What they know of, in order of id. What is missing is gone, unless its engine is silent.
    pub seen: Vec<ObservedInstance>,
    /// Engines of this host that say nothing now, and why: of their instances nothing is known.
    pub silent: Vec<(EngineKind, EngineError)>,
    /// The hosts of the cluster, in order of name; empty where this host is the only one.
    pub nodes: Vec<NodeSight>,
}

/// A host of the cluster, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSight {
    /// Which.
    pub name: NodeName,
    /// Why nothing is known of what it runs, when that is so.
    pub silent: Option<String>,
    /// Whether it is to be empty: nothing is placed there, and what is there moves.
    pub draining: bool,
    /// Whether it runs images and nothing else.
    pub images_only: bool,
    /// Where the ports of its instances are reached; `None` for this host's own addresses.
    pub address: Option<IpAddr>,
}

/// All an engine needs to start an instance.
#[derive(Clone, PartialEq)]
pub struct StartSpec {
    /// Which instance; never used twice.
    pub id: InstanceId,
    /// Its environment; a label that `list` gives back.
    pub env: EnvName,
    /// Its app; a label that `list` gives back. On the process engine also decides its uid.
    pub app: AppName,
    /// Its release; a label that `list` gives back.
    pub release: ReleaseNumber,
    /// The host on which it is placed.
    pub node: NodeName,
    /// Program and arguments, without a shell. A program without `/` is looked up in the `PATH` of
    /// `variables`; a relative one is relative to the working directory. May be empty only for an
    /// image, which then runs its own.
    pub command: Vec<String>,
    /// For an image without a `command`: what its own entry point is given, in the place of the image's
    /// own arguments. Means nothing beside a `command`.
    pub arguments: Vec<String>,
    /// The complete environment; nothing is inherited. The engine adds only
    /// [`INSTANCE_ID_VARIABLE`] and where each volume is (`ARK_VOLUME_<NAME>`). May hold secrets: never printed, never logged.
    pub variables: Vec<(String, String)>,
    /// What is run.
    pub artifact: ArtifactSource,
    /// Names by which it reaches this host, where the host is elsewhere for it: a container's, in
    /// its own network. A process needs none.
    pub host_names: Vec<String>,
    /// The ports it will listen on, checked to be free before it is started.
    pub ports: Vec<PortBinding>,
    /// Ports of its own that are to be reached at addresses of its host; for engines of other hosts.
    pub published: Vec<Published>,
    /// Hard limit in bytes for it and all it starts.
    pub memory_bytes: Option<u64>,
    /// Bytes that it should not exceed while memory is short on the host; at most `memory_bytes`.
    pub memory_soft_bytes: Option<u64>,
    /// Folders that outlive it, shared by all instances of its app in its environment.
    pub volumes: Vec<Volume>,
    /// The user of its image that it runs as, by name; the image's own when absent. A process runs
    /// as its app's user.
    pub user: Option<String>,
    /// What it may do beyond what every container may. Refused when [`Engine::refuses`] it; nothing to a
    /// process.
    pub rights: Rights,
    /// Hard limit in cores, fractional; 0 is no limit.
    pub cpu_cores: Option<f64>,
    /// The most processes and threads it may have at once.
    pub pids_max: Option<u64>,
    /// What asks it to end when [`Engine::stop`] is called by nobody: host shutdown, say.
    pub stop_signal: StopSignal,
    /// How long it then has.
    pub stop_grace: Duration,
    /// How much log is kept.
    pub log_limits: LogLimits,
}

impl fmt::Debug for StartSpec {
    /// Names of variables only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("StartSpec")
            .field("id", &self.id)
            .field("env", &self.env)
            .field("app", &self.app)
            .field("release", &self.release)
            .field("command", &self.command)
            .field("arguments", &self.arguments)
            .field("variables", &names)
            .field("ports", &self.ports)
            .field("memory_bytes", &self.memory_bytes)
            .field("cpu_cores", &self.cpu_cores)
            .field("pids_max", &self.pids_max)
            .finish_non_exhaustive()
    }
}

/// A port of an instance that is reached at an address of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Where it listens, in its own network.
    pub port: u16,
    /// Where it is reached.
    pub address: SocketAddr,
}

/// Where an instance's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// A directory by content: each instance gets its own copy as its working directory.
    Directory {
        /// What stands where. Must pass [`Manifest::check`].
        manifest: Manifest,
        /// The directory that holds the blobs; each file is named by the 64 hex digits of its
        /// digest, in a folder named by the first two of them: `ab/abcd...`.
        blobs: PathBuf,
    },
    /// A container image.
    Image {
        /// As it was named by the user.
        reference: String,
        /// Digest that pins it, when the engine resolved it.
        digest: Option<String>,
    },
    /// Nothing: the command is on the host already. The working directory is empty.
    None,
}

/// How much of an instance's log is kept: `file_bytes_max` times `files_max` at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// A file is closed and the next begun when it has reached this many bytes.
    pub file_bytes_max: u64,
    /// How many files are kept, the one being written included. At least 1.
    pub files_max: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { file_bytes_max: 10 << 20, files_max: 5 }
    }
}

/// How an instance is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOptions {
    /// Sent at once, to the whole process group.
    pub signal: StopSignal,
    /// Then SIGKILL follows for everything.
    pub grace: Duration,
}

impl Default for StopOptions {
    fn default() -> Self {
        Self { signal: StopSignal::Term, grace: Duration::from_secs(30) }
    }
}

/// Which lines of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last so many of what the log holds now. `None` is all of it.
    pub tail: Option<usize>,
    /// Only lines written at this time or later.
    pub since: Option<Timestamp>,
    /// Go on with new lines until the instance has ended.
    pub follow: bool,
}

/// One line of an instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the engine read it. Never decreases within a log.
    pub at: Timestamp,
    /// Who wrote it.
    pub stream: LogSource,
    /// The line without its end; bytes that are not UTF-8 are replaced. At most
    /// [`LOG_LINE_BYTES_MAX`] bytes of what was written.
    pub text: String,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// The instance, to its standard output.
    Stdout,
    /// The instance, to its standard error.
    Stderr,
    /// The engine, about the instance.
    Ark,
}

/// Lines of a log; an error ends it.
pub type LogStream = BoxStream<'static, Result<LogLine, EngineError>>;

/// A command to run beside an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments; looked up as in [`StartSpec::command`].
    pub command: Vec<String>,
    /// Whether it wants a terminal. An engine that has none to give runs it without:
    /// [`ExecSession::terminal`] tells.
    pub tty: bool,
}

/// A command that runs beside an instance. Dropping it ends the command.
pub struct ExecSession {
    /// What it reads; dropping this is end of file. `None` once taken.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes. `None` once taken.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// What it writes to standard error. `None` once taken.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// The size of its terminal, columns and rows, to be set as it changes. `None` when it has no
    /// terminal; with one, all it writes comes by `stdout`.
    pub terminal: Option<watch::Sender<(u16, u16)>>,
    /// Resolves when it has ended, to its exit code; 128 + signal when a signal ended it. Dropping
    /// it ends the command.
    pub exit: BoxFuture<'static, Result<i32, EngineError>>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").finish_non_exhaustive()
    }
}

/// What an instance and everything it started use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Resident memory, in bytes; pages shared between its processes count for each.
    pub rss_bytes: u64,
    /// Processor time since its start, of all its processes that still run and, where the engine
    /// can tell, of those that ended.
    pub cpu_time: Duration,
    /// How many processes.
    pub processes: u32,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such instance.
    #[error("instance {0} is unknown to the engine")]
    Unknown(InstanceId),
    /// It does not run (yet, or any more).
    #[error("instance {0} is not running")]
    NotRunning(InstanceId),
    /// It has not ended, so it cannot be removed.
    #[error("instance {0} has not ended")]
    StillThere(InstanceId),
    /// This engine can never do it.
    #[error("the {engine} engine cannot do this: {detail}")]
    Refused {
        /// Which engine.
        engine: EngineKind,
        /// What, and what would help.
        detail: String,
    },
    /// An image of this name is there, and none is ever overwritten.
    #[error("image {0} exists, and an image is never overwritten")]
    ImageExists(String),
    /// The command of an exec could not be run.
    #[error("command `{program}` cannot be run in instance {id}")]
    ExecFailed {
        /// Beside which instance.
        id: InstanceId,
        /// The program.
        program: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The engine or its disk did not answer; it may later.
    #[error("the {engine} engine is not available: {action} failed")]
    Unavailable {
        /// Which engine.
        engine: EngineKind,
        /// What was tried: `read the directory of instances`.
        action: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    /// With its causes, one after the other, for people. The system's reason is what tells a daemon that is
    /// not there from one that refuses.
    pub fn words(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    /// The same, to be said after which engine it is.
    pub fn cause(&self) -> String {
        match self {
            Self::Unavailable { action, source, .. } => format!("{action} failed: {source}"),
            error => error.words(),
        }
    }
}

/// Where the blob with this digest stands in a directory of blobs.
pub fn blob_path(blobs: &Path, sha256: Sha256) -> PathBuf {
    let hex = sha256.to_string();
    blobs.join(&hex[..2]).join(hex)
}
