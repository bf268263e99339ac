//! Why the server does not start, or ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use ark_store::{BlobError, SecretError, StoreError};

/// Why `ark up` or `ark server` gives up. Each names what failed and what helps.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error("the data directory {dir} cannot be used", dir = dir.display())]
    DataDir {
        /// Which.
        dir: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// The artifacts cannot be opened.
    #[error("the artifacts cannot be opened")]
    Blobs(#[from] BlobError),
    /// The key of the secrets cannot be opened.
    #[error("the key of the secrets cannot be opened")]
    Keyring(#[from] SecretError),
    /// The key is missing or another one, although the store knows which it was.
    #[error(
        "{file} is not the key that this store's secrets were sealed with; put the right one back from a backup, or delete {file} and the database together to begin anew",
        file = file.display()
    )]
    WrongKey {
        /// Where the key belongs.
        file: PathBuf,
    },
    /// The engine cannot be used.
    #[error("the process engine cannot be used")]
    Engine(#[source] ark_engine::EngineError),
    /// The store of objects that was named cannot be used.
    #[error("{0}; ARK_S3_ENDPOINT says where it is")]
    Objects(String),
    /// An address is taken by somebody else.
    #[error("{what} address {address} is taken by another program; give another with {flag}")]
    AddressTaken {
        /// `API` or `HTTP`.
        what: &'static str,
        /// Which address.
        address: SocketAddr,
        /// The option that changes it.
        flag: &'static str,
    },
    /// An address cannot be listened on, for another reason.
    #[error("{what} address {address} cannot be listened on")]
    Address {
        /// `API` or `HTTP`.
        what: &'static str,
        /// Which address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A setting in the server's environment cannot be used.
    #[error("{name} cannot be used: {detail}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A gateway serves this data directory at another address.
    #[error(
        "a gateway of this data directory serves {found}, not {wanted}; stop it with `ark down`, or leave out --http"
    )]
    GatewayElsewhere {
        /// Where it serves.
        found: SocketAddr,
        /// Where it was to.
        wanted: SocketAddr,
    },
    /// A gateway that speaks no TLS runs where one was wanted that does.
    #[error(
        "the gateway of this data directory runs without --https; stop it with `ark down`, or leave out --https"
    )]
    GatewayWithoutTls,
    /// The gateway was started and does not answer.
    #[error("the gateway did not come up within {seconds} s; see {log}", log = log.display())]
    GatewaySilent {
        /// How long it was waited for.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// A process could not be started.
    #[error("{program} cannot be started", program = program.display())]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another server holds the lease of the controller.
    #[error("another server controls this store until {until}")]
    Controlled {
        /// When its lease ends.
        until: jiff::Timestamp,
    },
}
