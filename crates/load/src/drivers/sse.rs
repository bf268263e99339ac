//! The driver `sse`: a long-lived GET of server-sent events whose ids must be
//! consecutive. An orderly end of the body is `ended`; anything else that ends the stream
//! is `cut`; a lost or repeated event is a protocol error.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::opening::{Opened, open};
use super::{Client, unwelcome};
use crate::connection::Connection;
use crate::http1::{BodyDecoder, Broken, Head};
use crate::ledger::Ticket;
use crate::outcome::{Class, Outcome};

const LINE_BYTES_MAX: usize = 64 * 1024;

/// Opens a stream and follows it for `life`, or until the run stops.
pub(super) async fn run(client: &Client, ticket: Ticket, life: Option<Duration>) {
    let request = format!("{}\r\n", client.request_head("GET", "/sse"));
    let Some(opened) = open(client, ticket, &request, 200, "stream").await else { return };
    let Opened { mut ticket, mut connection, head, excerpt } = opened;
    let outcome = match head.status {
        200 => {
            let end = life.map(|life| Instant::now() + life);
            follow(client, &mut ticket, &mut connection, &head, end).await
        }
        status => unwelcome(status, &excerpt),
    };
    ticket.finish(outcome);
}

async fn follow(
    client: &Client,
    ticket: &mut Ticket,
    connection: &mut Connection,
    head: &Head,
    end: Option<Instant>,
) -> Outcome {
    let kind = head.content_type.as_deref().unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Outcome::new(Class::ProtocolError, format!("content-type {kind:?} of a stream"));
    }
    let Connection { stream, inbox, .. } = connection;
    let mut decoder = BodyDecoder::new(head.framing);
    let mut events = Events::default();
    loop {
        let mut arrived = 0;
        let mut sink = |piece: &[u8]| events.feed(piece, &mut arrived);
        let decoded = decoder.decode(inbox, &mut sink);
        for _ in 0..arrived {
            ticket.message();
        }
        match decoded {
            Ok(false) => {}
            Ok(true) => return Outcome::new(Class::Ended, ""),
            Err(broken) => return cut(broken, &events),
        }
        let silent = Instant::now() + client.load.stream_silence_max;
        let wake = end.map_or(silent, |end| end.min(silent));
        tokio::select! {
            filled = inbox.fill(stream) => match filled {
                Ok(()) => {}
                Err(Broken::Eof) if decoder.ends_at_eof() => {
                    return Outcome::new(Class::Ended, "");
                }
                Err(broken) => return cut(broken, &events),
            },
            () = client.stopped() => return Outcome::ok(),
            () = sleep_until(wake) => {
                if end.is_some_and(|end| end <= wake) {
                    return Outcome::ok();
                }
                return Outcome::new(Class::Cut, format!("silence after {}", events.position()));
            }
        }
    }
}

fn cut(broken: Broken, events: &Events) -> Outcome {
    let after = events.position();
    match broken {
        Broken::Eof => {
            Outcome::new(Class::Cut, format!("closed without an orderly end, after {after}"))
        }
        Broken::Io(error) => Outcome::new(Class::Cut, format!("{error}, after {after}")),
        // The sink's own complaint: events out of order.
        Broken::Protocol(text) if text.starts_with("event ") => {
            Outcome::new(Class::ProtocolError, text)
        }
        Broken::Protocol(text) => Outcome::new(Class::Cut, format!("{text}, after {after}")),
    }
}

/// Splits a stream of bytes into events and checks their ids.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    /// Whether the event being received has any field.
    has_field: bool,
    id_last: Option<u64>,
    received: u64,
}

impl Events {
    fn feed(&mut self, piece: &[u8], arrived: &mut u64) -> Result<(), String> {
        for byte in piece {
            if *byte != b'\n' {
                if self.line.len() >= LINE_BYTES_MAX {
                    return Err("event line without end".to_owned());
                }
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if !line.is_empty() {
                // Lines that begin with a colon are comments (heartbeats).
                self.has_field |= line[0] != b':';
                self.check_id(line)?;
            } else if std::mem::take(&mut self.has_field) {
                self.received += 1;
                *arrived += 1;
            }
        }
        Ok(())
    }

    /// Ids that are numbers must be consecutive; others are the app's own affair.
    fn check_id(&mut self, line: &[u8]) -> Result<(), String> {
        let id = line.strip_prefix(b"id:").and_then(|id| std::str::from_utf8(id).ok());
        let Some(id) = id.and_then(|id| id.trim().parse::<u64>().ok()) else {
            return Ok(());
        };
        if let Some(last) = self.id_last
            && id != last + 1
        {
            return Err(format!("event id {id} follows {last}"));
        }
        self.id_last = Some(id);
        Ok(())
    }

    fn position(&self) -> String {
        match self.id_last {
            Some(id) => format!("{} events, the last with id {id}", self.received),
            None => format!("{} events", self.received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_and_their_ids_checked() {
        for (text, events, wrong) in [
            ("", 0, None),
            ("id: 1\ndata: x\n\nid: 2\ndata: y\n\n", 2, None),
            ("id:7\r\ndata:x\r\n\r\nid:8\r\n\r\n", 2, None),
            (": heartbeat\n\n: heartbeat\n\n", 0, None),
            ("data: x\n\nid: abc\n\n", 2, None),
            ("id: 1\n\nid: 3\n\n", 1, Some("event id 3 follows 1")),
            ("id: 1\n\nid: 1\n\n", 1, Some("event id 1 follows 1")),
            ("data: unfinished", 0, None),
        ] {
            for piece_len in [1, 3, 1000] {
                let mut state = Events::default();
                let mut arrived = 0;
                let mut pieces = text.as_bytes().chunks(piece_len);
                let result = pieces.try_for_each(|piece| state.feed(piece, &mut arrived));
                assert_eq!(result.err().as_deref(), wrong, "{text:?}");
                assert_eq!(arrived, events, "{text:?}");
            }
        }
    }
}
