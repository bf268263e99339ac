//! A command with a terminal: its output comes as it is, without the frames by which the daemon tells two
//! streams apart. bollard looks for frames all the same, and takes output that begins with a byte of 0 to 2
//! for one of up to 4 GiB; therefore the connection is taken over here.
//!
//! Called by `exec`. Only for a daemon whose socket is on this host.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long the daemon may take to begin.
const BEGIN: Duration = Duration::from_secs(20);
/// The longest refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why a command was not begun.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// The daemon's status and words.
    Refused(u16, String),
    /// It did not answer.
    Broken(io::Error),
}

impl From<io::Error> for NotBegun {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Starts a command that was created with a terminal (`POST /exec/ID/start`), and is connected with it.
pub(super) async fn start(socket: &Path, exec: &str) -> Result<TokioIo<Upgraded>, NotBegun> {
    let late = |_| NotBegun::Broken(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(BEGIN, begin(socket, exec)).await.map_err(late)?
}

async fn begin(socket: &Path, exec: &str) -> Result<TokioIo<Upgraded>, NotBegun> {
    let stream = UnixStream::connect(socket).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(format!("/exec/{exec}/start"))
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from_static(br#"{"Detach":false,"Tty":true}"#)))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status();
    if status != hyper::StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let words = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(NotBegun::Refused(status.as_u16(), words));
    }
    Ok(TokioIo::new(hyper::upgrade::on(answer).await.map_err(io::Error::other)?))
}
