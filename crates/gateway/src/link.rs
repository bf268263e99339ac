//! The server's end of the gateway's socket: dial, say hello, push tables, receive
//! acknowledgements and reports. Every wait has a deadline. It keeps no state beyond the
//! connection: after any error, dial again and push the current table.

use std::path::Path;
use std::time::Duration;

use ark_model::gateway::{FromGateway, PROTOCOL, ToGateway};
use ark_model::ids::{BootId, Generation};
use ark_model::route::RouteTable;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::data_dir::{SOCKET, SocketPath};
use crate::error::{Error, Result};
use crate::frames::{self, FrameReader};

/// How long dialling and the hello may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one message may take to be handed to the gateway.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the gateway may be silent before it is taken for dead. It reports each 250 ms.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A connection to the gateway.
#[derive(Debug)]
pub struct Link {
    /// What is said to the gateway.
    pub sender: LinkSender,
    /// What it says.
    pub receiver: LinkReceiver,
    /// What it said first.
    pub welcome: Welcome,
}

/// The gateway's answer to hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// This life of the gateway; counters are cumulative within it.
    pub boot: BootId,
    /// Its process id.
    pub pid: i32,
    /// The addresses on which HTTP is accepted.
    pub http: Vec<std::net::SocketAddr>,
    /// The generation in force.
    pub applied: Option<Generation>,
}

impl Link {
    /// Dials the gateway of `data_dir` and says hello, within [`DIAL_TIMEOUT`]. From then on this
    /// is the gateway's one controlling connection; an older one is closed by it.
    pub async fn dial(data_dir: &Path) -> Result<Self> {
        let connect = async {
            let socket = SocketPath::new(&data_dir.join(SOCKET))
                .map_err(|source| Error::Socket { source })?;
            let connected = UnixStream::connect(socket.as_path()).await;
            connected.map_err(|source| Error::Socket { source })
        };
        let stream = timeout(DIAL_TIMEOUT, connect).await;
        Self::greet(stream.unwrap_or(Err(silent("connection", DIAL_TIMEOUT)))?).await
    }

    /// Says hello on a connection to a gateway's socket.
    pub(crate) async fn greet(stream: UnixStream) -> Result<Self> {
        let hello = async {
            let (read, write) = stream.into_split();
            let mut sender = LinkSender { write };
            let mut receiver = LinkReceiver { frames: FrameReader::new(read) };
            sender.send(&ToGateway::Hello { protocol: PROTOCOL }).await?;
            let welcome = receiver.hello().await?;
            Ok(Self { sender, receiver, welcome })
        };
        timeout(DIAL_TIMEOUT, hello).await.unwrap_or(Err(silent("hello", DIAL_TIMEOUT)))
    }
}

/// The sending half.
#[derive(Debug)]
pub struct LinkSender {
    write: OwnedWriteHalf,
}

impl LinkSender {
    /// Pushes a table. Its acknowledgement or refusal arrives at the receiver.
    pub async fn push(&mut self, table: RouteTable) -> Result<()> {
        self.send(&ToGateway::Table { table }).await
    }

    /// Says that all reports up to `seq` are stored.
    pub async fn report_stored(&mut self, seq: u64) -> Result<()> {
        self.send(&ToGateway::ReportStored { seq }).await
    }

    /// Ends the gateway and its supervisor; requests may end for at most `grace`.
    pub async fn shutdown(&mut self, grace: Duration) -> Result<()> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.send(&ToGateway::Shutdown { grace_ms }).await
    }

    /// Sends any message. Not cancel-safe: after a dropped call the link is of no use.
    pub async fn send(&mut self, message: &ToGateway) -> Result<()> {
        let frame = frames::encode(message)?;
        match timeout(SEND_TIMEOUT, self.write.write_all(&frame)).await {
            Ok(written) => written.map_err(|source| Error::Socket { source }),
            Err(_) => Err(silent("reading", SEND_TIMEOUT)),
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct LinkReceiver {
    frames: FrameReader<OwnedReadHalf>,
}

impl LinkReceiver {
    /// The next message, within [`SILENCE_MAX`]. An error means: dial anew. Cancel-safe, so it may
    /// stand in a `select!`.
    pub async fn next(&mut self) -> Result<FromGateway> {
        match timeout(SILENCE_MAX, self.frames.next()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => {
                Err(Error::Protocol { reason: "the gateway closed the connection".to_owned() })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(silent("report", SILENCE_MAX)),
        }
    }

    async fn hello(&mut self) -> Result<Welcome> {
        match self.next().await? {
            FromGateway::Hello { protocol, boot, pid, http, applied } if protocol == PROTOCOL => {
                Ok(Welcome { boot, pid, http, applied })
            }
            FromGateway::Hello { protocol, .. } => {
                let reason =
                    format!("the gateway speaks protocol {protocol}, this is protocol {PROTOCOL}");
                Err(Error::Protocol { reason })
            }
            FromGateway::Ack { .. } | FromGateway::Refused { .. } | FromGateway::Report(_) => {
                Err(Error::Protocol { reason: "the gateway did not say hello first".to_owned() })
            }
        }
    }
}

fn silent(expected: &'static str, within: Duration) -> Error {
    Error::Silent { expected, within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) }
}
