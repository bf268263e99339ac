//! The gateway's socket: takes tables from the server and tells it what is in force and what was
//! measured. One connection controls; a newer one takes its place. A server that reads slowly
//! holds up nothing: of reports it gets the latest, and they are cumulative.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_model::gateway::{CallReport, FromGateway, PROTOCOL, Report, TargetReport, ToGateway};
use ark_model::ids::{BootId, Generation};
use ark_model::route::RouteTable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::data_dir::{SOCKET, SocketPath};
use crate::error::{Error, Result};
use crate::frames::{self, FrameReader};
use crate::metrics::{CONTENT_TYPE, Totals};

/// How long a new connection may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one frame may take to be read by the server, before it is taken for dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request for metrics, in bytes.
const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;
/// How many answers to tables may wait to be sent.
const ANSWERS_MAX: usize = 16;

/// What the server asks for, as the conductor gets it.
#[derive(Debug)]
pub(crate) enum Request {
    /// Put this table in force.
    Apply { table: Box<RouteTable>, answer: oneshot::Sender<Result<(), String>> },
    /// Reports up to here are stored.
    Stored { seq: u64 },
    /// Another gateway has taken over.
    Retire { grace_ms: u64 },
    /// End.
    Shutdown { grace_ms: u64 },
}

/// What a connection is told at its beginning, and where it finds the rest.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) boot: BootId,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// The latest report.
    pub(crate) reports: watch::Receiver<Arc<Report>>,
    /// For who asks for metrics.
    pub(crate) totals: Arc<Mutex<Totals>>,
}

/// Opens the socket, readable by its owner alone, in place of one that is left over.
pub(crate) fn bind(data_dir: &Path) -> Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    let temporary = data_dir.join(format!("{SOCKET}.{}", std::process::id()));
    let open = || {
        let _ = std::fs::remove_file(&temporary);
        let socket = SocketPath::new(&temporary)?;
        let listener = UnixListener::bind(socket.as_path())?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&temporary, &path)?;
        Ok(listener)
    };
    open().map_err(Error::file(&path))
}

/// Accepts connections until dropped.
pub(crate) async fn run(listener: UnixListener, desk: Desk) {
    let mut current: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "cannot accept control connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !is_trusted(&stream) {
            tracing::warn!("control connection of another user refused");
            continue;
        }
        // `GET ` would be the length of a frame far too large, so the two cannot be mistaken.
        let mut first = [0];
        if matches!(timeout(HELLO_TIMEOUT, peek(&stream, &mut first)).await, Ok(Ok(1)))
            && first == *b"G"
        {
            tokio::spawn(timeout(HELLO_TIMEOUT, answer_http(stream, desk.totals.clone())));
            continue;
        }
        let Ok(Some(connection)) = timeout(HELLO_TIMEOUT, greet(stream, &desk)).await else {
            continue;
        };
        if let Some(older) = current.take() {
            older.abort();
        }
        let desk = desk.clone();
        current = Some(tokio::spawn(async move {
            if let Err(error) = converse(connection, desk).await {
                tracing::info!(error = %error, "control connection ended");
            }
        }));
    }
}

/// The first byte, left where it is.
async fn peek(stream: &UnixStream, first: &mut [u8; 1]) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        let flags = rustix::net::RecvFlags::PEEK;
        match rustix::net::recv(stream, &mut first[..], flags) {
            Ok((count, _)) => return Ok(count),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                // Readiness was left over: clear it, and wait anew.
                let _ = stream.try_io(tokio::io::Interest::READABLE, || -> std::io::Result<()> {
                    Err(std::io::ErrorKind::WouldBlock.into())
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers `GET /metrics`: `curl --unix-socket gateway.sock http://gateway/metrics`.
async fn answer_http(mut stream: UnixStream, totals: Arc<Mutex<Totals>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(1..) if head.len() <= HTTP_HEAD_BYTES_MAX => {}
            _ => return,
        }
    }
    let (status, body) = match head.starts_with(b"GET /metrics ") {
        true => ("200 OK", totals.lock().unwrap_or_else(PoisonError::into_inner).render()),
        false => ("404 Not Found", "there is only /metrics\n".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    // A reader that has left wants no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Only the user who runs the gateway, and root, may control it.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

struct Connection {
    frames: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

async fn greet(stream: UnixStream, desk: &Desk) -> Option<Connection> {
    let (read, mut write) = stream.into_split();
    let mut frames = FrameReader::new(read);
    match frames.next().await {
        Ok(Some(ToGateway::Hello { protocol })) => {
            if protocol != PROTOCOL {
                tracing::warn!(protocol, "control connection speaks another protocol");
            }
        }
        _ => return None,
    }
    let applied = desk.reports.borrow().applied;
    let hello = FromGateway::Hello {
        protocol: PROTOCOL,
        boot: desk.boot,
        pid: std::process::id().cast_signed(),
        http: desk.http.clone(),
        applied,
    };
    write.write_all(&frames::encode(&hello).ok()?).await.ok()?;
    Some(Connection { frames, write })
}

async fn converse(connection: Connection, desk: Desk) -> Result<()> {
    let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        ended = listen(connection.frames, desk.requests, answers) => ended,
        ended = speak(connection.write, desk.reports, outgoing) => ended,
    }
}

async fn listen(
    mut frames: FrameReader<OwnedReadHalf>,
    requests: mpsc::Sender<Request>,
    answers: mpsc::Sender<FromGateway>,
) -> Result<()> {
    while let Some(message) = frames.next::<ToGateway>().await? {
        let request = match message {
            ToGateway::Hello { .. } => continue,
            ToGateway::ReportStored { seq } => Request::Stored { seq },
            ToGateway::Retire { grace_ms } => Request::Retire { grace_ms },
            ToGateway::Shutdown { grace_ms } => Request::Shutdown { grace_ms },
            ToGateway::Table { table } => {
                let generation = table.generation;
                let (answer, applied) = oneshot::channel();
                let answers = answers.clone();
                tokio::spawn(async move {
                    let Ok(applied) = applied.await else { return };
                    let _ = answers.send(say(generation, applied)).await;
                });
                Request::Apply { table: Box::new(table), answer }
            }
        };
        if requests.send(request).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn say(generation: Generation, applied: Result<(), String>) -> FromGateway {
    match applied {
        Ok(()) => FromGateway::Ack { generation },
        Err(reason) => FromGateway::Refused { generation, reason },
    }
}

async fn speak(
    mut write: OwnedWriteHalf,
    mut reports: watch::Receiver<Arc<Report>>,
    mut outgoing: mpsc::Receiver<FromGateway>,
) -> Result<()> {
    reports.mark_changed();
    let mut told: Option<Arc<Report>> = None;
    loop {
        let frame = tokio::select! {
            // An acknowledgement is waited for; a report can wait.
            biased;
            answer = outgoing.recv() => match answer {
                Some(answer) => frames::encode(&answer)?,
                None => return Ok(()),
            },
            changed = reports.changed() => match changed {
                Ok(()) => {
                    let latest = reports.borrow_and_update().clone();
                    let frame = frames::encode(&FromGateway::Report(news(&latest, told.as_deref())))?;
                    told = Some(latest);
                    frame
                }
                Err(_) => return Ok(()),
            },
        };
        match timeout(SEND_TIMEOUT, write.write_all(&frame)).await {
            Ok(written) => written.map_err(|source| Error::Socket { source })?,
            Err(_) => {
                let within_ms = crate::clock::millis(SEND_TIMEOUT);
                return Err(Error::Silent { expected: "reading", within_ms });
            }
        }
    }
}

/// `latest` without the targets and calls of which nothing has changed since `told` was sent on this
/// connection. What was made in between and never sent makes no difference.
fn news(latest: &Report, told: Option<&Report>) -> Report {
    let known: HashMap<_, _> = told
        .iter()
        .flat_map(|report| &report.targets)
        .map(|target| ((target.instance, target.route.expose.as_str()), target))
        .collect();
    let is_news = |target: &&TargetReport| {
        known.get(&(target.instance, target.route.expose.as_str())) != Some(target)
    };
    let calls_known: HashSet<&CallReport> = told.iter().flat_map(|report| &report.calls).collect();
    let calls = latest.calls.iter().filter(|call| !calls_known.contains(call));
    Report {
        boot: latest.boot,
        seq: latest.seq,
        applied: latest.applied,
        targets: latest.targets.iter().filter(is_news).cloned().collect(),
        routes: latest.routes.clone(),
        refusals: latest.refusals.clone(),
        lost: latest.lost.clone(),
        certificates: latest.certificates.clone(),
        calls: calls.cloned().collect(),
    }
}
