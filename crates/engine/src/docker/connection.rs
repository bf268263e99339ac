//! The way to the daemon: made at the first call that needs it, in the newest version of the API
//! that both sides speak, and made anew by whoever comes next when it failed. Used by every other
//! file of this engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::ListContainersOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use super::DockerOptions;
use super::ssh::SshDaemon;
use super::tls::TlsDaemon;
use super::unavailable;
use crate::engine::EngineError;

/// How long one answer of the daemon may take. Streams are not bounded by it.
const ANSWER_SECONDS: u64 = 60;
/// How long the daemon may take to say that it is there.
const HELLO: Duration = Duration::from_secs(5);
/// How long one that is there may take to say what it is: Podman first asks its helpers and the package
/// manager for their versions. With [`HELLO`], no longer than a call may take in all.
const INTRODUCTION: Duration = Duration::from_secs(14);

/// Which limits the daemon's host cannot hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MissingLimits {
    pub(super) memory: bool,
    pub(super) cpu: bool,
    pub(super) pids: bool,
}

/// How a daemon is reached.
enum Way {
    /// It is not, and why.
    None(String),
    Socket(PathBuf),
    Tls(TlsDaemon),
    Ssh(SshDaemon),
}

/// A daemon, known by its socket or its address.
pub(super) struct Connection {
    way: Way,
    docker: OnceCell<Docker>,
    missing: Mutex<MissingLimits>,
    podman: AtomicBool,
}

impl Connection {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let way = match (&options.none, &options.tls, &options.ssh) {
            (Some(why), ..) => Way::None(why.clone()),
            (None, Some(tls), _) => Way::Tls(tls.clone()),
            (None, None, Some(ssh)) => Way::Ssh(ssh.clone()),
            (None, None, None) => Way::Socket(options.socket.clone()),
        };
        let (missing, podman) = (Mutex::default(), AtomicBool::new(false));
        Self { way, docker: OnceCell::new(), missing, podman }
    }

    /// Its socket on this host.
    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Socket(socket) => Some(socket),
            Way::None(_) | Way::Tls(_) | Way::Ssh(_) => None,
        }
    }

    /// The client, once the daemon has said which version it speaks.
    pub(super) async fn get(&self) -> Result<&Docker, EngineError> {
        self.docker.get_or_try_init(|| self.greet()).await
    }

    async fn greet(&self) -> Result<Docker, EngineError> {
        let (place, docker) = match &self.way {
            Way::None(why) => return Err(unavailable("reach a Docker engine", why.as_str())),
            Way::Socket(socket) => {
                let socket = socket.to_string_lossy().into_owned();
                let docker =
                    Docker::connect_with_unix(&socket, ANSWER_SECONDS, API_DEFAULT_VERSION);
                (socket, docker)
            }
            Way::Tls(tls) => (tls.address().to_owned(), tls.connect(ANSWER_SECONDS)),
            Way::Ssh(ssh) => (ssh.to_string(), ssh.connect(ANSWER_SECONDS)),
        };
        let action = format!("reach the Docker engine at {place}");
        let docker = docker.map_err(|e| unavailable(&action, e))?;
        let late = |e| unavailable(&action, e);
        let refused = |e| unavailable(&action, e);
        tokio::time::timeout(HELLO, docker.ping()).await.map_err(late)?.map_err(refused)?;
        let introduction = async {
            let asked = docker.clone();
            tokio::try_join!(docker.negotiate_version(), asked.info(), asked.version())
        };
        let (docker, info, version) = tokio::time::timeout(INTRODUCTION, introduction)
            .await
            .map_err(late)?
            .map_err(refused)?;
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = MissingLimits {
            memory: info.memory_limit == Some(false),
            cpu: info.cpu_cfs_quota == Some(false),
            pids: info.pids_limit == Some(false),
        };
        let parts = version.components.unwrap_or_default();
        let podman = parts.iter().any(|part| part.name.starts_with("Podman"));
        self.podman.store(podman, Ordering::Relaxed);
        Ok(docker)
    }

    /// Whether it is Podman's service, as it said when it was first reached.
    pub(super) fn is_podman(&self) -> bool {
        self.podman.load(Ordering::Relaxed)
    }

    /// As the daemon said when it was first reached; nothing is missing before that.
    pub(super) fn missing_limits(&self) -> MissingLimits {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often, and how soon, a question is asked again.
const ASKED_MAX: usize = 60;
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Whether an answer cannot be read because a container is in a state that is Podman's alone and lasts for
/// a moment: it has ended, and what it leaves is being cleared away.
fn is_of_a_moment<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::JsonDataError { message, .. }) if message.contains("`stopped`"))
}

/// What the daemon says of one container.
pub(super) async fn inspect(
    docker: &Docker,
    name: &str,
) -> Result<ContainerInspectResponse, Error> {
    let mut answer = docker.inspect_container(name, None).await;
    for _ in 0..ASKED_MAX {
        if !is_of_a_moment(&answer) {
            break;
        }
        tokio::time::sleep(ASK_AGAIN).await;
        answer = docker.inspect_container(name, None).await;
    }
    answer
}

/// The containers that it has.
pub(super) async fn list(
    docker: &Docker,
    options: &ListContainersOptions,
) -> Result<Vec<ContainerSummary>, Error> {
    let mut answer = docker.list_containers(Some(options.clone())).await;
    for _ in 0..ASKED_MAX {
        if !is_of_a_moment(&answer) {
            break;
        }
        tokio::time::sleep(ASK_AGAIN).await;
        answer = docker.list_containers(Some(options.clone())).await;
    }
    answer
}

/// Whether a container cannot be made because there is one of its name.
pub(super) fn name_is_taken(error: &Error) -> bool {
    // Podman takes it for a fault of its own.
    let podmans = || status(error) == Some(500) && words(error).contains("is already in use");
    status(error) == Some(409) || podmans()
}

/// The HTTP status of a refusal by the daemon.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The daemon's own words where there are any.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => other.to_string(),
    }
}
