//! The drivers `keep_alive`, `slow` and `new_connection`: one GET and its whole answer.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::{Client, Stage, classify, keep_excerpt, unwelcome, with_write_error};
use crate::config::Driver;
use crate::connection::{Checkout, Connection};
use crate::http1::{Broken, read_body, read_head};
use crate::ledger::{Ticket, Try};
use crate::outcome::{Class, Outcome};

/// A server that closed an idle connection just before our request got there is noticed as
/// soon as the request is written. One that kept the request for longer than this and then
/// closed has dropped it, and no idle race excuses that.
const IDLE_RACE_WINDOW: Duration = Duration::from_millis(250);

/// How one exchange on an open connection went.
enum Exchange {
    /// A complete answer; whether the connection may be used again.
    Complete { outcome: Outcome, reusable: bool },
    /// End of file on a reused connection before any byte of an answer, within the window.
    IdleRace,
    /// Anything else; the connection is of no more use.
    Broken(Outcome),
}

/// A GET on a pooled connection. A lost race with an idle close is entered as such
/// and, as browsers do for safe methods, the request is made once more, on a connection
/// of its own.
pub(super) async fn pooled(client: &Client, mut ticket: Ticket) {
    let deadline = client.deadline();
    let checkout = client.pool.check_out(|| client.ledger.idle_discarded());
    let slot = Slot { client };
    let opened = match checkout {
        Checkout::Reuse(connection) => Ok(*connection),
        Checkout::OpenNew => Connection::open(&client.load, deadline).await,
    };
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(outcome) => return ticket.finish(outcome),
    };
    match exchange(client, &mut ticket, &mut connection, deadline).await {
        Exchange::Complete { outcome, reusable } => {
            if reusable {
                slot.check_in(connection);
            }
            ticket.finish(outcome);
        }
        Exchange::Broken(outcome) => ticket.finish(outcome),
        Exchange::IdleRace => {
            drop(slot);
            let (driver, intended) = (ticket.driver(), ticket.intended());
            let text = "reused connection was closed before any byte of the answer";
            ticket.finish(Outcome::new(Class::ClosedIdleRace, text));
            if !client.load.strict {
                let again = client.ledger.start(driver, intended, Try::Second);
                single(client, again).await;
            }
        }
    }
}

/// A GET on a connection of its own.
pub(super) async fn single(client: &Client, mut ticket: Ticket) {
    let deadline = client.deadline();
    let outcome = match Connection::open(&client.load, deadline).await {
        Err(outcome) => outcome,
        Ok(mut connection) => {
            match exchange(client, &mut ticket, &mut connection, deadline).await {
                Exchange::Complete { outcome, .. } | Exchange::Broken(outcome) => outcome,
                Exchange::IdleRace => classify(Broken::Eof, Stage::Head, 0),
            }
        }
    };
    ticket.finish(outcome);
}

/// A slot of the pool, given back even when the attempt is aborted.
struct Slot<'a> {
    client: &'a Client,
}

impl Slot<'_> {
    fn check_in(self, connection: Connection) {
        self.client.pool.check_in(connection);
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.client.pool.forget();
    }
}

fn request(client: &Client, driver: Driver) -> String {
    let mut head = match driver {
        Driver::Slow => {
            let ms = client.load.slow.as_millis();
            client.request_head("GET", &format!("/slow?ms={ms}"))
        }
        _ => client.request_head("GET", &client.load.path),
    };
    if driver == Driver::NewConnection {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

async fn exchange(
    client: &Client,
    ticket: &mut Ticket,
    connection: &mut Connection,
    deadline: Instant,
) -> Exchange {
    ticket.connected(connection.local_port);
    connection.inbox.begin();
    let request = request(client, ticket.driver());
    let bytes_expected = match ticket.driver() {
        Driver::KeepAlive | Driver::NewConnection => client.load.body_bytes_expected,
        _ => None,
    };
    let begun = Instant::now();
    let talk = talk(ticket, connection, &request, bytes_expected);
    let talked = timeout_at(deadline, talk).await;
    let received = connection.inbox.received();
    match talked {
        Ok(Ok((outcome, reusable))) => {
            // Bytes after the answer's end belong to no request.
            let reusable = reusable && connection.inbox.unread().is_empty();
            Exchange::Complete { outcome, reusable }
        }
        Ok(Err((Broken::Eof, Stage::Head)))
            if connection.reused && received == 0 && begun.elapsed() < IDLE_RACE_WINDOW =>
        {
            Exchange::IdleRace
        }
        Ok(Err((broken, stage))) => Exchange::Broken(classify(broken, stage, received)),
        Err(_) => Exchange::Broken(Outcome::new(
            Class::Timeout,
            format!("no complete answer in time; {received} bytes received"),
        )),
    }
}

async fn talk(
    ticket: &mut Ticket,
    connection: &mut Connection,
    request: &str,
    bytes_expected: Option<u64>,
) -> Result<(Outcome, bool), (Broken, Stage)> {
    let Connection { stream, inbox, .. } = connection;
    let written = stream.write_all(request.as_bytes()).await;
    let fully_written = written.is_ok();
    let head = read_head(stream, inbox)
        .await
        .map_err(|broken| (with_write_error(written, broken), Stage::Head))?;
    ticket.answered(head.version.clone());
    let mut bytes = 0;
    let mut excerpt = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes += piece.len() as u64;
        keep_excerpt(&mut excerpt, piece);
        Ok(())
    };
    read_body(stream, inbox, head.framing, &mut sink)
        .await
        .map_err(|broken| (broken, Stage::Body))?;
    let outcome = match (head.status, bytes_expected) {
        (101, _) => Outcome::new(Class::ProtocolError, "answer 101 to a plain request"),
        (200..=299, Some(expected)) if bytes != expected => {
            let text = format!("body of {bytes} bytes instead of {expected}");
            Outcome::new(Class::ProtocolError, text)
        }
        (200..=299, _) => Outcome::ok(),
        (status, _) => unwelcome(status, &excerpt),
    };
    Ok((outcome, head.reusable && fully_written))
}
