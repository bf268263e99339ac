//! A connection of one's own to the daemon's socket, for what the client library has no room for: an answer
//! that is read as it comes, and a connection that becomes something else. Called by `buildkit` and
//! `terminal`. Only for a daemon whose socket is on this host.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Collected, Limited};
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// How long the daemon may take to accept a connection.
const HELLO: Duration = Duration::from_secs(5);
/// The longest refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Ends the connection when nobody needs it any more; what it was upgraded to lives on.
pub(super) struct Connected(JoinHandle<()>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Connects; the reason when that fails.
pub(super) async fn connect<B>(socket: &Path) -> Result<(SendRequest<B>, Connected), String>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::time::timeout(HELLO, UnixStream::connect(socket)).await;
    let stream = stream
        .map_err(|_| format!("the daemon did not accept a connection within {HELLO:?}"))?
        .map_err(|error| format!("the daemon cannot be reached: {error}"))?;
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| format!("the daemon broke off: {error}"))?;
    let running = tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok((sender, Connected(running)))
}

/// What the daemon says in an answer that is none.
pub(super) async fn refusal(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    let words = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.message);
    words.unwrap_or_else(|_| format!("the daemon answered {status}"))
}
