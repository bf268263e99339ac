//! What can go wrong around the gateway. Requests that fail are not errors here: they are answers
//! (`wire::answer`).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the gateway, its supervisor or a link to it gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the data directory cannot be read or written.
    #[error("file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("address {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A gateway serves this data directory already.
    #[error("a gateway (pid {pid}) serves this data directory already")]
    AlreadyRunning {
        /// Its process id.
        pid: i32,
    },
    /// The gateway's socket cannot be reached, or broke.
    #[error("gateway socket")]
    Socket {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The other side of the gateway's socket said nothing within the time allowed.
    #[error("gateway socket: no {expected} within {within_ms} ms")]
    Silent {
        /// What was waited for.
        expected: &'static str,
        /// For how long, in milliseconds.
        within_ms: u64,
    },
    /// The other side of the gateway's socket does not keep to the protocol.
    #[error("gateway socket: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS")]
    Tls {
        /// The library's reason.
        #[source]
        source: rustls::Error,
    },
    /// Starting a thread, runtime or process.
    #[error("{what}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn start(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Start { what, source }
    }
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
