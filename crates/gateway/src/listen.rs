//! Listening sockets: bound with a long backlog, so that connections wait rather than be refused
//! while a gateway process is replaced.

use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, Result};

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// What connections of one listening socket begin with, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Door {
    /// TLS is spoken.
    pub tls: bool,
    /// A balancer before the gateway says first for whom it speaks (PROXY protocol). Who does not
    /// say it is not served: else anyone could claim any address.
    pub proxy_protocol: bool,
    /// Requests are sent to this port over TLS instead of being served.
    pub redirect_to: Option<u16>,
}

/// Whether an address must be one of this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Now, or nothing is listened on.
    Now,
    /// It may come and go, as a network of containers does with its engine; the socket outlives
    /// that.
    Later,
}

/// Listens on `address`, non-blocking.
pub(crate) fn bind(address: SocketAddr, presence: Presence) -> Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that the port is free at once after a restart; two live listeners stay impossible.
        socket.set_reuse_address(true)?;
        if presence == Presence::Later {
            socket.set_freebind_v4(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|source| Error::Listen { address, source })
}
