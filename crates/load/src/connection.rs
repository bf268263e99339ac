//! TCP connections of the load client: opening them under a deadline, and the pool of
//! persistent ones. Called by the drivers; speaks no HTTP.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::Load;
use crate::http1::Inbox;
use crate::outcome::{Class, Outcome};

/// An open connection with what was read ahead from it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) inbox: Inbox,
    pub(crate) local_port: u16,
    /// Whether an exchange was completed on it before.
    pub(crate) reused: bool,
}

impl Connection {
    /// Connects before `deadline` or the connect timeout, whichever is earlier.
    pub(crate) async fn open(load: &Load, deadline: Instant) -> Result<Self, Outcome> {
        let limit = deadline.min(Instant::now() + load.connect_timeout);
        let stream = match timeout_at(limit, TcpStream::connect(load.target)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(connect_error(&error)),
            Err(_) => {
                let text = "connection was not established in time";
                return Err(Outcome::new(Class::ConnectTimeout, text));
            }
        };
        // A request is written whole; waiting for more would only add latency.
        let settled = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        match settled {
            Ok(address) => Ok(Self {
                stream,
                inbox: Inbox::default(),
                local_port: address.port(),
                reused: false,
            }),
            Err(error) => Err(connect_error(&error)),
        }
    }

    /// Whether the server has neither closed it nor sent anything unasked. Looks only
    /// at what has arrived already.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let nothing = self.stream.try_read(&mut byte);
        self.inbox.unread().is_empty()
            && matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The class of a failed connect, by the operating system's word.
pub(crate) fn connect_error(error: &io::Error) -> Outcome {
    let class = match error.kind() {
        io::ErrorKind::ConnectionRefused => Class::ConnectRefused,
        io::ErrorKind::TimedOut => Class::ConnectTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Class::Reset,
        _ => Class::ClientError,
    };
    Outcome::new(class, format!("connect: {error}"))
}

/// The persistent connections. Each is used in turn, so that all of them stay in use and
/// a server's change is met by every one.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    size: usize,
}

#[derive(Debug, Default)]
struct PoolState {
    idle: VecDeque<Connection>,
    /// Connections that exist, idle or in use.
    open: usize,
}

/// What the pool has for a request.
#[derive(Debug)]
pub(crate) enum Checkout {
    /// An idle connection.
    Reuse(Box<Connection>),
    /// The caller opens one.
    OpenNew,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { state: Mutex::new(PoolState::default()), size }
    }

    fn with<T>(&self, act: impl FnOnce(&mut PoolState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives out a slot; the caller ends it with [`Pool::check_in`] or [`Pool::forget`].
    /// `discarded` is called for each idle connection found closed.
    pub(crate) fn check_out(&self, mut discarded: impl FnMut()) -> Checkout {
        self.with(|state| {
            // Fill the pool first: all connections of a run shall be exercised.
            while state.open >= self.size
                && let Some(connection) = state.idle.pop_front()
            {
                if connection.is_quiet() {
                    return Checkout::Reuse(Box::new(connection));
                }
                state.open -= 1;
                discarded();
            }
            state.open += 1;
            Checkout::OpenNew
        })
    }

    /// Returns a healthy connection; beyond the pool's size it is closed.
    pub(crate) fn check_in(&self, mut connection: Connection) {
        connection.reused = true;
        self.with(|state| {
            if state.open > self.size {
                state.open -= 1;
            } else {
                state.idle.push_back(connection);
            }
        });
    }

    /// A connection that was given out does not come back.
    pub(crate) fn forget(&self) {
        self.with(|state| state.open -= 1);
    }
}
