//! The ways of being a client, one file each. Called by the running load with a ticket
//! for every attempt; each driver ends its ticket exactly once.

mod opening;
mod request;
mod sse;
mod upload;
mod websocket;

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Driver, Load};
use crate::connection::Pool;
use crate::http1::Broken;
use crate::ledger::{Ledger, Ticket, Try};
use crate::outcome::{Class, Outcome};

/// How much of an unwelcome answer's body goes into the failure's text.
const EXCERPT_BYTES: usize = 200;
/// Least time between two openings of one held stream, so that a server that ends each
/// stream at once is not hammered.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// What all attempts of a run share.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) load: Load,
    pub(crate) ledger: Ledger,
    pub(crate) pool: Pool,
    /// Becomes true when the run is being stopped.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Client {
    /// Makes one attempt of the mix.
    pub(crate) async fn run(&self, ticket: Ticket) {
        let life = Some(self.load.stream_lifetime);
        match ticket.driver() {
            Driver::KeepAlive | Driver::Slow => request::pooled(self, ticket).await,
            Driver::NewConnection => request::single(self, ticket).await,
            Driver::Upload => upload::run(self, ticket).await,
            Driver::Sse => sse::run(self, ticket, life).await,
            Driver::Ws => websocket::run(self, ticket, life).await,
        }
    }

    /// Keeps one stream open until the run stops.
    pub(crate) async fn hold(&self, driver: Driver) {
        while !self.is_stopping() {
            let opened = Instant::now();
            let ticket = self.ledger.start(driver, opened, Try::First);
            match driver {
                Driver::Sse => sse::run(self, ticket, None).await,
                _ => websocket::run(self, ticket, None).await,
            }
            tokio::select! {
                () = tokio::time::sleep_until(opened + REOPEN_PAUSE) => {}
                () = self.stopped() => {}
            }
        }
    }

    /// Waits until the run is being stopped.
    pub(crate) async fn stopped(&self) {
        // An error means that the handle is gone, which is a stop as well.
        let _ = self.stopping.clone().wait_for(|stop| *stop).await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.load.request_timeout
    }

    /// A request's head up to the blank line, which the caller adds.
    fn request_head(&self, method: &str, path: &str) -> String {
        let Load { host, headers, .. } = &self.load;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: ark-load\r\naccept: */*\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }
}

/// Where in an exchange something broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
}

/// The class of a broken request, by what the socket said and where.
fn classify(broken: Broken, stage: Stage, received: u64) -> Outcome {
    match (broken, stage) {
        (Broken::Eof, Stage::Head) => Outcome::new(
            Class::ClosedEarly,
            format!("closed before a complete head; {received} bytes received"),
        ),
        (Broken::Eof, Stage::Body) => Outcome::new(
            Class::Truncated,
            format!("closed inside the body; {received} bytes received, head included"),
        ),
        (Broken::Io(error), stage) => {
            let class = match error.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Class::Reset,
                io::ErrorKind::TimedOut => Class::Timeout,
                _ => Class::ClientError,
            };
            let place = match stage {
                Stage::Head => "before a complete head",
                Stage::Body => "inside the body",
            };
            Outcome::new(class, format!("{error} {place}; {received} bytes received"))
        }
        (Broken::Protocol(text), _) => Outcome::new(Class::ProtocolError, text),
    }
}

/// What broke an exchange whose request was `written` with this result. A server may
/// answer and close before it read the request, and then writing fails: what can still be
/// read decides. But a reset that the write was told of is not told again: reading then
/// gives a mere end of file.
fn with_write_error(written: io::Result<()>, broken: Broken) -> Broken {
    match (broken, written) {
        (Broken::Eof, Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
            Broken::Io(error)
        }
        (broken, _) => broken,
    }
}

/// The class of an answer outside 2xx.
fn unwelcome(status: u16, excerpt: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(excerpt);
    Outcome::new(Class::Status(status), format!("answer {status}: {}", text.trim()))
}

/// Keeps the first bytes of a body for a failure's text.
fn keep_excerpt(excerpt: &mut Vec<u8>, piece: &[u8]) {
    let room = EXCERPT_BYTES.saturating_sub(excerpt.len());
    excerpt.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_told_to_the_write_is_not_forgotten() {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        for (written, class) in [
            (Ok(()), Class::ClosedEarly),
            (Err(io::Error::from(BrokenPipe)), Class::ClosedEarly),
            (Err(io::Error::from(ConnectionReset)), Class::Reset),
        ] {
            let broken = with_write_error(written, Broken::Eof);
            assert_eq!(classify(broken, Stage::Head, 0).class, class);
        }
        let read = Broken::Io(ConnectionReset.into());
        let broken = with_write_error(Err(BrokenPipe.into()), read);
        assert_eq!(classify(broken, Stage::Body, 9).class, Class::Reset);
    }
}
