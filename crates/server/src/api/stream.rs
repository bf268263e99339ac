//! Server-sent events with a limit: a task makes them, a short queue holds them, and a reader that
//! does not keep up is dismissed with a resume point instead of being waited for.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{StreamExt as _, once};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;
use super::guard::place;
use super::operation::Shared;

/// Events that wait for the reader.
const QUEUE: usize = 256;
/// How long a full queue is waited for.
const SLOW_READER: Duration = Duration::from_secs(20);
/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where a task puts its events.
pub(super) struct Outlet {
    queue: mpsc::Sender<Event>,
    last: Arc<Mutex<Option<Event>>>,
}

/// The stream is over: its reader left, or was too slow.
#[derive(Debug)]
pub(super) struct Over;

impl Outlet {
    /// Hands an event to the reader. `farewell` is the last event of a reader that is too slow.
    pub(super) async fn send(
        &self,
        event: Event,
        farewell: impl FnOnce() -> Option<Event>,
    ) -> Result<(), Over> {
        match tokio::time::timeout(SLOW_READER, self.queue.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over),
            Err(_) => {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = farewell();
                Err(Over)
            }
        }
    }

    /// Resolves when the reader has left.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Answers with the events that `produce` makes. Ends when it ends, when the reader leaves, and
/// when the server is to end.
pub(super) fn events<P, F>(state: &Shared, produce: P) -> Result<Response, ApiError>
where
    P: FnOnce(Outlet) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let place = place(&state.streams, "streams")?;
    let (queue, receiver) = mpsc::channel(QUEUE);
    let last = Arc::new(Mutex::new(None));
    let producing = produce(Outlet { queue, last: last.clone() });
    let ending = state.shutdown.requested();
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = producing => {}
            _ = ending => {}
        }
    });
    Ok(response(receiver, last))
}

/// What is in the queue, and at its end what is to be said last.
fn response(receiver: mpsc::Receiver<Event>, last: Arc<Mutex<Option<Event>>>) -> Response {
    let farewell = once(async move {
        let event = last.lock().unwrap_or_else(PoisonError::into_inner).take();
        futures::stream::iter(event)
    });
    let stream = ReceiverStream::new(receiver).chain(farewell.flatten());
    let stream = stream.map(Ok::<Event, Infallible>);
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("still here");
    Sse::new(stream.boxed()).keep_alive(heartbeat).into_response()
}

/// Whether the client asked for server-sent events.
pub(super) fn wants_events(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accept| accept.contains("text/event-stream"))
}

/// The resume point that a reconnecting client sends.
pub(super) fn last_event_id(headers: &http::HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

/// An event with JSON as data.
pub(super) fn json_event<T: serde::Serialize>(name: &str, id: Option<String>, data: &T) -> Event {
    let text = serde_json::to_string(data).unwrap_or_default();
    let event = Event::default().event(name).data(text);
    match id {
        Some(id) => event.id(id),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_hangs_is_dismissed_with_its_resume_point() {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let last = Arc::new(Mutex::new(None));
        let outlet = Outlet { queue, last: last.clone() };
        let mut sent = 0;
        // Nobody reads: the queue takes what it takes, then the reader is given up.
        let over = loop {
            let farewell = || Some(json_event("lagged", None, &sent));
            let event = json_event("event", Some((sent + 1).to_string()), &"x");
            match outlet.send(event, farewell).await {
                Ok(()) => sent += 1,
                Err(over) => break over,
            }
            assert!(sent <= QUEUE, "the queue has no limit");
        };
        drop((over, outlet));
        let body = response(receiver, last).into_body();
        let text = axum::body::to_bytes(body, 1 << 20).await.expect("the stream ends");
        let text = std::str::from_utf8(&text).expect("text");
        assert_eq!(text.matches("event: event").count(), QUEUE);
        assert!(text.trim_end().ends_with(&format!("event: lagged\ndata: {QUEUE}")), "{text}");
    }
}
