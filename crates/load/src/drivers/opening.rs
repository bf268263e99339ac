//! Opening a stream: connect, ask, read the answer's head. Shared by `sse` and `ws`, which differ in
//! what they ask and in what they do once they are welcome.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use super::{Client, Stage, classify, keep_excerpt, with_write_error};
use crate::connection::Connection;
use crate::http1::{Broken, Head, read_body, read_head};
use crate::ledger::Ticket;
use crate::outcome::{Class, Outcome};

/// An answered opening.
pub(super) struct Opened {
    pub(super) ticket: Ticket,
    pub(super) connection: Connection,
    pub(super) head: Head,
    /// The beginning of the body, when the answer was not the welcome one.
    pub(super) excerpt: Vec<u8>,
}

/// Sends `request`, a whole head. `None` when that broke: then the ticket has its outcome.
pub(super) async fn open(
    client: &Client,
    mut ticket: Ticket,
    request: &str,
    welcome: u16,
    noun: &str,
) -> Option<Opened> {
    let deadline = client.deadline();
    let mut connection = match Connection::open(&client.load, deadline).await {
        Ok(connection) => connection,
        Err(outcome) => {
            ticket.finish(outcome);
            return None;
        }
    };
    ticket.connected(connection.local_port);
    let outcome = match timeout_at(deadline, ask(&mut connection, request, welcome)).await {
        Ok(Ok((head, excerpt))) => {
            ticket.answered(head.version.clone());
            return Some(Opened { ticket, connection, head, excerpt });
        }
        Ok(Err((broken, stage))) => classify(broken, stage, connection.inbox.received()),
        Err(_) => Outcome::new(Class::Timeout, format!("no {noun} opened in time")),
    };
    ticket.finish(outcome);
    None
}

/// For any answer but the welcome one its body is read too.
async fn ask(
    connection: &mut Connection,
    request: &str,
    welcome: u16,
) -> Result<(Head, Vec<u8>), (Broken, Stage)> {
    let Connection { stream, inbox, .. } = connection;
    let written = stream.write_all(request.as_bytes()).await;
    let head = read_head(stream, inbox)
        .await
        .map_err(|broken| (with_write_error(written, broken), Stage::Head))?;
    let mut excerpt = Vec::new();
    if head.status != welcome {
        let mut sink = |piece: &[u8]| {
            keep_excerpt(&mut excerpt, piece);
            Ok(())
        };
        let body = read_body(stream, inbox, head.framing, &mut sink).await;
        body.map_err(|broken| (broken, Stage::Body))?;
    }
    Ok((head, excerpt))
}
