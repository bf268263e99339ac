//! The driver `ws`: a WebSocket whose every message must come back. A close frame 1000 or
//! 1001 is `ended`; any other end of an established WebSocket is `cut`.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::opening::{Opened, open};
use super::{Client, unwelcome};
use crate::connection::Connection;
use crate::http1::Broken;
use crate::ledger::Ticket;
use crate::outcome::{Class, Outcome};
use crate::websocket::{ACCEPT, Frame, KEY, Masks, Opcode, masked_frame, parse_frame};

/// How long the closing handshake may take once this client began it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a WebSocket and echoes over it for `life`, or until the run stops.
pub(super) async fn run(client: &Client, ticket: Ticket, life: Option<Duration>) {
    let request = handshake(client);
    let Some(opened) = open(client, ticket, &request, 101, "WebSocket").await else { return };
    let Opened { mut ticket, connection, head, excerpt } = opened;
    let outcome = match head.status {
        101 if head.websocket_accept.as_deref() == Some(ACCEPT) => {
            let end = life.map(|life| Instant::now() + life);
            let socket = Socket::new(connection);
            socket.echo(client, &mut ticket, end).await
        }
        101 => {
            let text = format!("sec-websocket-accept {:?}", head.websocket_accept);
            Outcome::new(Class::ProtocolError, text)
        }
        200..=299 => {
            Outcome::new(Class::ProtocolError, format!("answer {} to an upgrade", head.status))
        }
        status => unwelcome(status, &excerpt),
    };
    ticket.finish(outcome);
}

fn handshake(client: &Client) -> String {
    let mut request = client.request_head("GET", "/ws");
    request.push_str("connection: upgrade\r\nupgrade: websocket\r\n");
    request.push_str("sec-websocket-version: 13\r\nsec-websocket-key: ");
    request.push_str(KEY);
    request.push_str("\r\n\r\n");
    request
}

/// An established WebSocket.
struct Socket {
    connection: Connection,
    masks: Masks,
    /// The message that was sent and has not come back.
    pending: Option<Pending>,
    /// Payload of the fragments of an unfinished message.
    fragments: Vec<u8>,
    sent: u64,
}

struct Pending {
    payload: Vec<u8>,
    sent_at: Instant,
}

impl Socket {
    fn new(connection: Connection) -> Self {
        let masks = Masks::new(connection.local_port);
        Self { connection, masks, pending: None, fragments: Vec::new(), sent: 0 }
    }

    /// Echoes until the server, the run or `end` ends it.
    async fn echo(mut self, client: &Client, ticket: &mut Ticket, end: Option<Instant>) -> Outcome {
        let load = &client.load;
        let mut next_send = Instant::now();
        loop {
            if let Err(outcome) = self.take_frames(ticket).await {
                return outcome;
            }
            let wake = match &self.pending {
                Some(pending) => pending.sent_at + load.stream_silence_max,
                None => next_send,
            };
            let wake = end.map_or(wake, |end| end.min(wake));
            let Connection { stream, inbox, .. } = &mut self.connection;
            tokio::select! {
                filled = inbox.fill(stream) => if let Err(broken) = filled {
                    return self.cut(broken);
                },
                () = client.stopped() => return self.close(ticket).await,
                () = sleep_until(wake) => {
                    if end.is_some_and(|end| end <= wake) {
                        return self.close(ticket).await;
                    }
                    if self.pending.is_some() {
                        return Outcome::new(Class::Cut, format!("no echo of message {}", self.sent));
                    }
                    if let Err(broken) = self.send_message().await {
                        return self.cut(broken);
                    }
                    next_send = Instant::now() + load.message_interval;
                }
            }
        }
    }

    async fn send_message(&mut self) -> Result<(), Broken> {
        self.sent += 1;
        let payload = format!("message {}", self.sent).into_bytes();
        let sending = self.send(Opcode::Text, &payload).await;
        self.pending = Some(Pending { payload, sent_at: Instant::now() });
        match sending {
            // A close frame may be waiting to be read; it, not this error, is the verdict.
            Err(Broken::Io(_)) => Ok(()),
            other => other,
        }
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Broken> {
        let frame = masked_frame(opcode, payload, self.masks.next());
        match timeout(WRITE_TIMEOUT, self.connection.stream.write_all(&frame)).await {
            Ok(written) => written.map_err(Broken::Io),
            Err(_) => Err(Broken::Protocol("a frame could not be written in time".to_owned())),
        }
    }

    /// Handles all complete frames; an error is the end of this WebSocket.
    async fn take_frames(&mut self, ticket: &mut Ticket) -> Result<(), Outcome> {
        loop {
            let frame = match parse_frame(&mut self.connection.inbox) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(self.cut(broken)),
            };
            match frame.opcode {
                Opcode::Ping => {
                    // If this fails, reading will say why.
                    let _ = self.send(Opcode::Pong, &frame.payload).await;
                }
                Opcode::Pong => {}
                Opcode::Close => return Err(self.closed_by_server(&frame).await),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    self.take_data(&frame, ticket)?;
                }
            }
        }
    }

    fn take_data(&mut self, frame: &Frame, ticket: &mut Ticket) -> Result<(), Outcome> {
        self.fragments.extend_from_slice(&frame.payload);
        if !frame.fin {
            return Ok(());
        }
        let message = std::mem::take(&mut self.fragments);
        match self.pending.take() {
            Some(pending) if pending.payload == message => {
                ticket.message();
                Ok(())
            }
            Some(_) => Err(Outcome::new(
                Class::ProtocolError,
                format!("message {} came back changed", self.sent),
            )),
            None => Err(Outcome::new(
                Class::ProtocolError,
                format!("a message nobody sent, after {}", self.sent),
            )),
        }
    }

    async fn closed_by_server(&mut self, frame: &Frame) -> Outcome {
        let code = frame.close_code();
        let reply: &[u8] = frame.payload.get(..2).unwrap_or_default();
        // The verdict stands; the reply is courtesy.
        let _ = self.send(Opcode::Close, reply).await;
        if matches!(code, 1000 | 1001) {
            return Outcome::new(Class::Ended, "");
        }
        Outcome::new(Class::Cut, format!("close code {code}, after {} messages", self.sent))
    }

    /// The closing handshake from this side, in a healthy WebSocket.
    async fn close(mut self, ticket: &mut Ticket) -> Outcome {
        let _ = self.send(Opcode::Close, &1000_u16.to_be_bytes()).await;
        let farewell = async {
            loop {
                match parse_frame(&mut self.connection.inbox) {
                    Ok(Some(frame)) if frame.opcode == Opcode::Close => return,
                    Ok(Some(frame)) => {
                        // An echo that was under way.
                        let pending = self.pending.take();
                        if pending.is_some_and(|pending| pending.payload == frame.payload) {
                            ticket.message();
                        }
                    }
                    Ok(None) => {
                        let Connection { stream, inbox, .. } = &mut self.connection;
                        if inbox.fill(stream).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        };
        // Whether the server bids farewell in time is no longer this attempt's matter.
        let _ = timeout(CLOSE_TIMEOUT, farewell).await;
        Outcome::ok()
    }

    fn cut(&self, broken: Broken) -> Outcome {
        let text = match broken {
            Broken::Eof => "closed without a close frame".to_owned(),
            Broken::Io(error) => error.to_string(),
            Broken::Protocol(text) => text,
        };
        Outcome::new(Class::Cut, format!("{text}, after {} messages", self.sent))
    }
}
