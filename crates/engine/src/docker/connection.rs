//! The way to the daemon: made at the first call that needs it, in the newest version of the API
//! that both sides speak, and made anew by whoever comes next when it failed. Used by every other
//! file of this engine.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use super::tls::TlsDaemon;
use super::unavailable;
use crate::engine::EngineError;

/// How long one answer of the daemon may take. Streams are not bounded by it.
const ANSWER_SECONDS: u64 = 60;
/// How long the daemon may take to say what it is.
const HELLO: Duration = Duration::from_secs(5);

/// Which limits the daemon's host cannot hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MissingLimits {
    pub(super) memory: bool,
    pub(super) cpu: bool,
    pub(super) pids: bool,
}

/// A daemon, known by its socket or its address.
pub(super) struct Connection {
    socket: PathBuf,
    tls: Option<TlsDaemon>,
    docker: OnceCell<Docker>,
    missing: Mutex<MissingLimits>,
}

impl Connection {
    pub(super) fn new(socket: PathBuf, tls: Option<TlsDaemon>) -> Self {
        Self { socket, tls, docker: OnceCell::new(), missing: Mutex::default() }
    }

    /// Its socket on this host.
    pub(super) fn socket(&self) -> Option<&Path> {
        Some(&self.socket)
    }

    /// The client, once the daemon has said which version it speaks.
    pub(super) async fn get(&self) -> Result<&Docker, EngineError> {
        self.docker.get_or_try_init(|| self.greet()).await
    }

    async fn greet(&self) -> Result<Docker, EngineError> {
        let socket = self.socket.to_string_lossy().into_owned();
        let place = self.tls.as_ref().map_or(socket.as_str(), TlsDaemon::address);
        let action = format!("reach the Docker engine at {place}");
        let docker = match &self.tls {
            Some(tls) => tls.connect(ANSWER_SECONDS),
            None => Docker::connect_with_unix(&socket, ANSWER_SECONDS, API_DEFAULT_VERSION),
        };
        let docker = docker.map_err(|e| unavailable(&action, e))?;
        let greeting = async {
            let docker = docker.negotiate_version().await?;
            let info = docker.info().await?;
            Ok::<_, Error>((docker, info))
        };
        let (docker, info) = tokio::time::timeout(HELLO, greeting)
            .await
            .map_err(|e| unavailable(&action, e))?
            .map_err(|e| unavailable(&action, e))?;
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = MissingLimits {
            memory: info.memory_limit == Some(false),
            cpu: info.cpu_cfs_quota == Some(false),
            pids: info.pids_limit == Some(false),
        };
        Ok(docker)
    }

    /// As the daemon said when it was first reached; nothing is missing before that.
    pub(super) fn missing_limits(&self) -> MissingLimits {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
