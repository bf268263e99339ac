//! The WebSocket of `exec`: connects, says what to run, hands out messages.
//!
//! The upgrade goes through the same HTTP client as everything else, so that a refusal arrives as
//! a problem with its words. What the messages mean is in `ark_model::api`.

use ark_model::api::{ExecFromClient, ExecFromServer};
use ark_model::exit::ExitCode;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::Client;
use crate::failure::Failure;

/// The largest message either side sends.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What arrived from the server.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Bytes of the command's standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// Something else.
    Said(ExecFromServer),
}

/// The direction to the server.
#[derive(Debug)]
pub(crate) struct ExecSender(SplitSink<WebSocketStream<Upgraded>, Message>);

/// The direction from the server.
#[derive(Debug)]
pub(crate) struct ExecReceiver(SplitStream<WebSocketStream<Upgraded>>);

impl Client {
    /// Opens the two directions; `path` is the address of the operation.
    pub(crate) async fn exec(&self, path: &str) -> Result<(ExecSender, ExecReceiver), Failure> {
        let key = generate_key();
        let response = self
            .send(|| {
                self.request(Method::GET, path)
                    .header("connection", "upgrade")
                    .header("upgrade", "websocket")
                    .header("sec-websocket-version", "13")
                    .header("sec-websocket-key", &key)
            })
            .await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(broken("the server did not open a WebSocket"));
        }
        let upgraded = response.upgrade().await.map_err(|error| self.unreachable(&error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        let (sender, receiver) = socket.split();
        Ok((ExecSender(sender), ExecReceiver(receiver)))
    }
}

impl ExecSender {
    /// Says something.
    pub(crate) async fn say(&mut self, message: &ExecFromClient) -> Result<(), Failure> {
        let text = serde_json::to_string(message).map_err(|error| broken(&error.to_string()))?;
        self.0.send(Message::text(text)).await.map_err(|error| broken(&error.to_string()))
    }

    /// Sends bytes to the command's standard input.
    pub(crate) async fn stdin(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        self.0.send(Message::binary(bytes)).await.map_err(|error| broken(&error.to_string()))
    }
}

impl ExecReceiver {
    /// The next thing that arrives. An end without a last word is a failure.
    pub(crate) async fn next(&mut self) -> Result<Arrived, Failure> {
        loop {
            let message = match self.0.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(broken(&error.to_string())),
                None => return Err(broken("the connection ended before the command did")),
            };
            match message {
                Message::Text(text) => {
                    return serde_json::from_str(&text)
                        .map(Arrived::Said)
                        .map_err(|error| broken(&error.to_string()));
                }
                Message::Binary(bytes) => match bytes.first() {
                    Some(1) => return Ok(Arrived::Stdout(bytes.slice(1..))),
                    Some(2) => return Ok(Arrived::Stderr(bytes.slice(1..))),
                    Some(_) | None => {}
                },
                Message::Close(_) => {
                    return Err(broken(
                        "the server closed the connection before the command ended",
                    ));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::new(ExitCode::Failed, "exec-broken", format!("the command's connection broke: {why}"))
        .detail("the command is ended by the server")
}
