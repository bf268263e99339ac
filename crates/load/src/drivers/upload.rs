//! The driver `upload`: a chunked POST sent slowly, whose answer must be the same bytes.
//! Reads while it writes, because an echo answers before the request ends. Never retried.

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout_at};

use super::{Client, Stage, classify, keep_excerpt, unwelcome, with_write_error};
use crate::config::UploadShape;
use crate::connection::Connection;
use crate::http1::{Broken, Inbox, read_body, read_head};
use crate::ledger::Ticket;
use crate::outcome::{Class, Outcome};

/// The byte at an offset of the uploaded body: a prime period, so that a lost or repeated
/// piece of any usual size shows.
fn body_byte(offset: u64) -> u8 {
    b' ' + u8::try_from(offset % 89).unwrap_or_default()
}

pub(super) async fn run(client: &Client, mut ticket: Ticket) {
    let deadline = client.deadline();
    let mut connection = match Connection::open(&client.load, deadline).await {
        Ok(connection) => connection,
        Err(outcome) => return ticket.finish(outcome),
    };
    ticket.connected(connection.local_port);
    let mut head = client.request_head("POST", "/echo");
    head.push_str("content-type: application/octet-stream\r\n");
    head.push_str("transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let shape = client.load.upload;
    let exchanged = timeout_at(deadline, exchange(&mut ticket, &mut connection, &head, shape));
    let outcome = match exchanged.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err((broken, stage))) => classify(broken, stage, connection.inbox.received()),
        Err(_) => {
            let received = connection.inbox.received();
            let text = format!("no complete answer in time; {received} bytes received");
            Outcome::new(Class::Timeout, text)
        }
    };
    ticket.finish(outcome);
}

async fn exchange(
    ticket: &mut Ticket,
    connection: &mut Connection,
    request_head: &str,
    shape: UploadShape,
) -> Result<Outcome, (Broken, Stage)> {
    let Connection { stream, inbox, .. } = connection;
    let (mut reader, mut writer) = stream.split();
    let answer = receive(ticket, &mut reader, inbox);
    tokio::pin!(answer);
    // A refusal may come, complete, before the upload ends, and then the rest need not
    // be sent.
    let (status, echo) = tokio::select! {
        answered = &mut answer => answered?,
        sent = send(&mut writer, request_head, shape) => {
            let answered = answer.await;
            answered.map_err(|(broken, stage)| (with_write_error(sent, broken), stage))?
        }
    };
    let total = u64::from(shape.chunks) * u64::from(shape.chunk_bytes);
    Ok(match (status, echo.differs_at) {
        (200..=299, Some(at)) => {
            Outcome::new(Class::ProtocolError, format!("echo differs at byte {at} of {total}"))
        }
        (200..=299, None) if echo.bytes != total => {
            let text = format!("echo of {} bytes instead of {total}", echo.bytes);
            Outcome::new(Class::ProtocolError, text)
        }
        (200..=299, None) => Outcome::ok(),
        (status, _) => unwelcome(status, &echo.excerpt),
    })
}

/// What came back of the upload.
#[derive(Default)]
struct Echo {
    bytes: u64,
    /// The first byte that is not the one sent.
    differs_at: Option<u64>,
    excerpt: Vec<u8>,
}

async fn receive(
    ticket: &mut Ticket,
    reader: &mut ReadHalf<'_>,
    inbox: &mut Inbox,
) -> Result<(u16, Echo), (Broken, Stage)> {
    let head = read_head(reader, inbox).await.map_err(|broken| (broken, Stage::Head))?;
    ticket.answered(head.version);
    let mut echo = Echo::default();
    let mut sink = |piece: &[u8]| {
        keep_excerpt(&mut echo.excerpt, piece);
        for byte in piece {
            if echo.differs_at.is_none() && *byte != body_byte(echo.bytes) {
                echo.differs_at = Some(echo.bytes);
            }
            echo.bytes += 1;
        }
        Ok(())
    };
    let body = read_body(reader, inbox, head.framing, &mut sink).await;
    body.map_err(|broken| (broken, Stage::Body))?;
    Ok((head.status, echo))
}

async fn send(
    writer: &mut WriteHalf<'_>,
    head: &str,
    shape: UploadShape,
) -> Result<(), std::io::Error> {
    writer.write_all(head.as_bytes()).await?;
    let mut offset = 0_u64;
    for chunk in 0..shape.chunks {
        if chunk > 0 {
            sleep(shape.gap).await;
        }
        let end = offset + u64::from(shape.chunk_bytes);
        let mut framed = format!("{:x}\r\n", shape.chunk_bytes).into_bytes();
        framed.extend((offset..end).map(body_byte));
        framed.extend_from_slice(b"\r\n");
        writer.write_all(&framed).await?;
        offset = end;
    }
    writer.write_all(b"0\r\n\r\n").await
}
