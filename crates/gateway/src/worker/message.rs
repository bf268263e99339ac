//! What a worker thread is told, by the conductor and by other workers.

use std::net::SocketAddr;
use std::sync::Arc;

use ark_model::route::ContainerNetwork;
use tokio::sync::oneshot;

use crate::listen::Door;
use crate::table::{RouteSlot, Table};
use crate::wire::slot::DoorSide;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A new table. Answered when it is in force on this worker.
    Install { table: Arc<Table>, changes: Arc<Changes>, done: oneshot::Sender<()> },
    /// Accept from this socket.
    Listen {
        listener: std::net::TcpListener,
        entry: Entry,
        /// Whom to serve, when not everyone.
        only: Option<ContainerNetwork>,
    },
    /// No longer accept from the socket that is bound to this address.
    Unlisten { address: SocketAddr },
    /// Serve a connection that another worker accepted.
    Serve { stream: std::net::TcpStream, peer: SocketAddr, entry: Entry },
    /// A target may have become ready: requests that are held look again.
    Nudge,
    /// Stop accepting: another gateway does. What is open goes on; clients are told to come back on
    /// another connection as they are answered, streams are ended one by one, and what is left at
    /// `until_ms` is cut.
    Retire { until_ms: u64 },
    /// Stop accepting; end when all connections have, at the latest at `until_ms`.
    /// Connections between requests are closed, streams that can end in order do.
    Stop { until_ms: u64 },
}

/// What a new table means for connections kept to targets.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Slots of targets to which no connection may be kept.
    pub(crate) retired: Vec<usize>,
    /// Slots that are free: whatever is kept of their last target is dropped.
    pub(crate) forgotten: Vec<usize>,
}

/// Through which door a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An HTTP port: requests are routed by host and path.
    Http(Door),
    /// A route's own port.
    Port(RouteSlot),
}

impl Entry {
    pub(crate) fn side(self) -> DoorSide {
        match self {
            Self::Http(_) => DoorSide::Outside,
            Self::Port(_) => DoorSide::Inside,
        }
    }
}
