//! A command with a terminal: its output comes as it is, without the frames by which the daemon tells two
//! streams apart. bollard looks for frames all the same, and takes output that begins with a byte of 0 to 2
//! for one of up to 4 GiB; therefore the connection is taken over here.
//!
//! Called by `exec`. Only for a daemon whose socket is on this host.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::raw;

/// How long the daemon may take to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// Why a command was not begun.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// The daemon's status and words.
    Refused(StatusCode, String),
    /// It did not answer.
    Broken(String),
}

/// Starts a command that was created with a terminal (`POST /exec/ID/start`), and is connected with it.
pub(super) async fn start(socket: &Path, exec: &str) -> Result<TokioIo<Upgraded>, NotBegun> {
    let late = |_| NotBegun::Broken(format!("the daemon did not begin it within {BEGIN:?}"));
    tokio::time::timeout(BEGIN, begin(socket, exec)).await.map_err(late)?
}

async fn begin(socket: &Path, exec: &str) -> Result<TokioIo<Upgraded>, NotBegun> {
    let broken = |error: &dyn std::error::Error| NotBegun::Broken(error.to_string());
    // The connection is kept by what it becomes.
    let (mut sender, connected) = raw::connect(socket).await.map_err(NotBegun::Broken)?;
    let request = Request::post(format!("/exec/{exec}/start"))
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from_static(br#"{"Detach":false,"Tty":true}"#)))
        .map_err(|error| broken(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(NotBegun::Refused(answer.status(), raw::refusal(answer).await));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|error| broken(&error))?;
    drop(connected);
    Ok(TokioIo::new(upgraded))
}
