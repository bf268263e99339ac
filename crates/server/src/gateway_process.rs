//! The gateway's processes, as the server sees them: adopted when they are there, started when they
//! are not, started again when both gateway and supervisor have died.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ark_gateway::adopt::{RunningGateway, find};

use crate::error::ServerError;
use crate::roles::Doors;

/// How long a started gateway may take to serve.
const UP_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long neither process may be there before the server starts new ones.
const GONE_FOR: Duration = Duration::from_secs(1);

/// Where the gateway's output goes.
pub fn log_file(data_dir: &Path) -> PathBuf {
    data_dir.join("gateway.log")
}

/// Makes sure that a gateway serves `data_dir` through `doors`. Port 0 means any, or the one that a
/// running gateway has.
///
/// # Errors
/// When the address is a stranger's, or the gateway does not come up.
pub async fn ensure(
    exe: &Path,
    data_dir: &Path,
    doors: &Doors,
) -> Result<RunningGateway, ServerError> {
    if let Some(running) = find(data_dir) {
        agree(running.http.first(), doors.http)?;
        if let Some(https) = doors.https {
            if running.https.is_empty() {
                return Err(ServerError::GatewayWithoutTls);
            }
            agree(running.https.first(), https)?;
        }
        return wait_until_serving(data_dir).await;
    }
    check_free("HTTP", doors.http, "--http")?;
    if let Some(https) = doors.https {
        check_free("HTTPS", https, "--https")?;
    }
    spawn(exe, data_dir, doors)?;
    wait_until_serving(data_dir).await
}

fn agree(found: Option<&SocketAddr>, wanted: SocketAddr) -> Result<(), ServerError> {
    match found {
        Some(found) if wanted.port() != 0 && *found != wanted => {
            Err(ServerError::GatewayElsewhere { found: *found, wanted })
        }
        _ => Ok(()),
    }
}

/// Says who is in the way before anything is started.
///
/// # Errors
/// When the address is taken or cannot be had.
pub fn check_free(
    what: &'static str,
    address: SocketAddr,
    flag: &'static str,
) -> Result<(), ServerError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(ServerError::AddressTaken { what, address, flag })
        }
        Err(source) => Err(ServerError::Address { what, address, source }),
    }
}

fn spawn(exe: &Path, data_dir: &Path, doors: &Doors) -> Result<(), ServerError> {
    let failed = |source| ServerError::Spawn { program: exe.to_owned(), source };
    let path = log_file(data_dir);
    let log =
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut command = Command::new(exe);
    command.arg("gateway").arg("--data-dir").arg(data_dir);
    command.arg("--http").arg(doors.http.to_string());
    if let Some(https) = doors.https {
        command.arg("--https").arg(https.to_string());
    }
    if doors.redirect {
        command.arg("--redirect");
    }
    for listener in &doors.proxy_protocol {
        command.arg("--proxy-protocol").arg(listener);
    }
    command.args(&doors.more);
    let mut child =
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(failed)?;
    // It outlives this process; while this one lives it must not become a zombie.
    let reaper = move || {
        let _ = child.wait();
    };
    std::thread::Builder::new().name("gateway-reaper".into()).spawn(reaper).map_err(failed)?;
    Ok(())
}

async fn wait_until_serving(data_dir: &Path) -> Result<RunningGateway, ServerError> {
    let deadline = Instant::now() + UP_DEADLINE;
    loop {
        if let Some(running) = find(data_dir).filter(|g| g.serving && !g.http.is_empty()) {
            return Ok(running);
        }
        if Instant::now() >= deadline {
            let log = log_file(data_dir);
            return Err(ServerError::GatewaySilent { seconds: UP_DEADLINE.as_secs(), log });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Starts a new gateway whenever both processes have died. Ends when dropped.
pub async fn keep(exe: PathBuf, data_dir: PathBuf, doors: Doors) {
    let mut gone_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if find(&data_dir).is_some() {
            gone_since = None;
            continue;
        }
        let since = *gone_since.get_or_insert_with(Instant::now);
        if since.elapsed() < GONE_FOR {
            continue;
        }
        tracing::warn!("the gateway and its supervisor are gone; starting new ones");
        if let Err(error) = ensure(&exe, &data_dir, &doors).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "no gateway could be started"
            );
        }
        gone_since = None;
    }
}

/// Waits until no gateway process is left.
pub async fn wait_gone(data_dir: &Path, deadline: Duration) -> bool {
    let until = Instant::now() + deadline;
    while find(data_dir).is_some() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}
