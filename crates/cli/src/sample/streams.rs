//! The sample app's long-lived answers: server-sent events and a WebSocket that echoes.
//! When the app stops, both get an orderly end: the event stream its last chunk, the
//! WebSocket a close frame 1001.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::App;

const EVENT_INTERVAL: Duration = Duration::from_millis(200);
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Events with the ids 1, 2, 3, ...
pub(super) async fn events(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(1_u64, move |id| {
        let app = Arc::clone(&app);
        async move {
            if id > 1 {
                tokio::select! {
                    () = sleep(EVENT_INTERVAL) => {}
                    () = stopped(app.listening.clone()) => return None,
                }
            }
            let version = &app.settings.identity.version;
            let event = Event::default().id(id.to_string()).event("heartbeat").data(version);
            Some((Ok(event), id + 1))
        }
    }))
}

/// Done when the app no longer listens.
async fn stopped(mut listening: watch::Receiver<()>) {
    while listening.changed().await.is_ok() {}
}

/// A WebSocket that sends each message back.
pub(super) async fn websocket(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    let open = app.websockets.token();
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX);
    let answer = upgrade.on_upgrade(move |socket| async move {
        echo(socket, app.listening.clone()).await;
        drop(open);
    });
    answer.into_response()
}

async fn echo(mut socket: WebSocket, listening: watch::Receiver<()>) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = stopped(listening.clone()) => return say_goodbye(socket).await,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // The library answers pings and close frames while we go on receiving.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
            Some(Err(_)) | None => return,
        }
    }
}

async fn say_goodbye(mut socket: WebSocket) {
    let frame = CloseFrame { code: close_code::AWAY, reason: "stopping".into() };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // The connection is closed by whoever gets the other's close frame last; what arrives
    // before it can no longer be answered.
    let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(CLOSE_TIMEOUT, answered).await;
}
