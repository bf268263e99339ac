//! Probes: the gateway owns readiness (each target, candidates and draining ones included). They
//! run on a thread of their own, so that load on workers cannot make a healthy target look bad.
//! Before each probe the process that owns the address is looked at: an address whose process has
//! ended belongs to nobody, whatever answers there.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ark_model::route::{Probe, ProbeCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::process;
use crate::registry::Probed;
use crate::target::Target;
use crate::worker::Shared;

/// The most of an answer a probe reads, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How long the next piece of a bad answer's body is waited for.
const BODY_PATIENCE: Duration = Duration::from_millis(250);
/// The most of a failed answer's body that is told.
const BODY_CHARS_MAX: usize = 120;
/// How soon a target is asked again while nothing listens there yet: asking costs it nothing, and
/// a deployment should not wait for the rest of a second.
const NOT_YET_LISTENING: Duration = Duration::from_millis(50);

/// The probing thread.
#[derive(Debug)]
pub(crate) struct Probes {
    updates: mpsc::UnboundedSender<Vec<Probed>>,
}

impl Probes {
    /// Starts the thread. It ends when this is dropped.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self> {
        let (updates, mut incoming) = mpsc::unbounded_channel::<Vec<Probed>>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::start("runtime for probes"))?;
        let run = move || {
            runtime.block_on(async {
                let mut running = HashMap::new();
                while let Some(wanted) = incoming.recv().await {
                    update(&mut running, wanted, &shared);
                }
            });
        };
        std::thread::Builder::new()
            .name("ark-probes".to_owned())
            .spawn(run)
            .map_err(Error::start("thread for probes"))?;
        Ok(Self { updates })
    }

    /// From now on exactly these are probed.
    pub(crate) fn set(&self, wanted: Vec<Probed>) {
        // The thread lives as long as this does.
        let _ = self.updates.send(wanted);
    }
}

struct Running {
    probed: Probed,
    task: tokio::task::JoinHandle<()>,
}

/// Starts what is new or asked differently, ends what is no longer wanted.
fn update(running: &mut HashMap<usize, Running>, wanted: Vec<Probed>, shared: &Arc<Shared>) {
    let mut next = HashMap::with_capacity(wanted.len());
    for probed in wanted {
        let slot = probed.target.slot;
        let known = running.remove(&slot).filter(|known| {
            let same = Arc::ptr_eq(&known.probed.target, &probed.target)
                && known.probed.probe == probed.probe
                && known.probed.host == probed.host
                && known.probed.speaks_h2 == probed.speaks_h2;
            if !same {
                known.task.abort();
            }
            same
        });
        let entry = known.unwrap_or_else(|| {
            let task = tokio::spawn(watch(probed.clone(), shared.clone()));
            Running { probed, task }
        });
        next.insert(slot, entry);
    }
    running.drain().for_each(|(_, old)| old.task.abort());
    *running = next;
}

/// Probes one target for as long as it is wanted.
async fn watch(probed: Probed, shared: Arc<Shared>) {
    let Probed { target, probe, host, speaks_h2 } = probed;
    let interval = Duration::from_millis(probe.interval_ms.max(10));
    loop {
        let wait = round(&target, (&probe, &host, speaks_h2), interval, &shared).await;
        sleep(wait).await;
    }
}

/// One probe; how long to wait until the next.
async fn round(
    target: &Target,
    (probe, host, speaks_h2): (&Probe, &str, bool),
    interval: Duration,
    shared: &Shared,
) -> Duration {
    if target.process().is_some_and(|process| !process::is_alive(process)) {
        if target.process_ended() {
            shared.readiness_changed();
        }
        return interval;
    }
    let limit = Duration::from_millis(probe.timeout_ms.max(1));
    let failure = match timeout(limit, ask(target.address, &probe.check, host, speaks_h2)).await {
        Ok(Ok(())) => {
            // Between the first look and the answer the process may have ended and another one
            // have taken the port.
            if target.process().is_none_or(process::is_alive)
                && target.probe_succeeded(probe.successes)
            {
                shared.readiness_changed();
            }
            return interval;
        }
        Ok(Err(failure)) => failure,
        Err(_) => {
            let words = format!("{} got no answer within {} ms", asked(probe), probe.timeout_ms);
            Failure { words, nothing_listens: false }
        }
    };
    if target.probe_failed(failure.words, probe.failures) {
        shared.readiness_changed();
    }
    if failure.nothing_listens { interval.min(NOT_YET_LISTENING) } else { interval }
}

/// Why a probe failed.
#[derive(Debug)]
struct Failure {
    words: String,
    nothing_listens: bool,
}

fn asked(probe: &Probe) -> String {
    match &probe.check {
        ProbeCheck::Http { path } => format!("GET {path}"),
        ProbeCheck::Tcp => "connecting".to_owned(),
    }
}

async fn ask(
    address: SocketAddr,
    check: &ProbeCheck,
    host: &str,
    speaks_h2: bool,
) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| Failure {
        nothing_listens: error.kind() == io::ErrorKind::ConnectionRefused,
        words: match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("connection to {address} refused"),
            _ => format!("connection to {address}: {error}"),
        },
    })?;
    let ProbeCheck::Http { path } = check else { return Ok(()) };
    let failed = |words: String| Failure { words, nothing_listens: false };
    if speaks_h2 {
        let answer = crate::wire::h2::probe(stream, host, path).await;
        let (status, line) = answer.map_err(|words| failed(format!("GET {path}: {words}")))?;
        return verdict(path, status, &line).map_err(failed);
    }
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ark-gateway\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let broke = |error: io::Error| failed(format!("GET {path}: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let answer = read_answer(&mut stream).await.map_err(broke)?;
    match judge(&answer) {
        Some((status, line)) => verdict(path, status, &line).map_err(failed),
        None if answer.is_empty() => {
            Err(failed(format!("GET {path}: the connection was closed without an answer")))
        }
        None => Err(failed(format!("GET {path}: the answer is not HTTP"))),
    }
}

/// Whether an answer is a success, and in words what it is else.
fn verdict(path: &str, status: u16, line: &str) -> Result<(), String> {
    match (status, line) {
        (200..=399, _) => Ok(()),
        (_, "") => Err(format!("GET {path} answered {status}")),
        (_, line) => Err(format!("GET {path} answered {status}: {line:?}")),
    }
}

/// The first line of a failed answer's body, as far as it is told.
pub(crate) fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.trim().lines().next().unwrap_or("");
    line.chars().take(BODY_CHARS_MAX).collect()
}

/// The head and what comes of the body; a good status need not be read to the end, and nobody waits long for
/// the rest of a bad one: who answers may keep the connection open.
async fn read_answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::with_capacity(1024);
    while answer.len() < ANSWER_BYTES_MAX {
        let patience = match judge(&answer) {
            Some((200..=399, _)) => break,
            Some(_) if has_a_line(&answer) => break,
            Some(_) => BODY_PATIENCE,
            // The check as a whole has its time.
            None => Duration::MAX,
        };
        match timeout(patience, stream.read_buf(&mut answer)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(Ok(_)) => {}
            // What was answered before the connection broke counts.
            Ok(Err(_)) if !answer.is_empty() => break,
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(answer)
}

/// Whether the body has come as far as it is told.
fn has_a_line(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
    answer[head..].trim_ascii_start().contains(&b'\n')
}

/// Status and beginning of the body, once the head is complete.
fn judge(answer: &[u8]) -> Option<(u16, String)> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(answer).ok()? else { return None };
    Some((response.code?, first_line(&answer[length..])))
}
