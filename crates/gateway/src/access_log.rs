//! The access log: one JSON line per request of a route, off the hot path. Workers write lines into
//! a buffer of their own and hand over whole buffers; a thread writes them out. Should it not keep
//! up, buffers are dropped and counted rather than waited for. A line holds no query, no field and no
//! body: what is secret stands there.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ark_model::ids::{InstanceId, ReleaseNumber};
use ark_model::route::RouteKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::counters::Outcome;
use crate::error::{Error, Result};
use crate::worker::Found;

/// Where lines go, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Where.
    pub to: AccessLogTo,
    /// Of so many requests one is logged; 1 means all.
    pub one_in: u32,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogTo {
    /// `access.log` in the data directory, rotated.
    File,
    /// Standard output.
    Stdout,
}

/// The file's name in the data directory.
pub const FILE: &str = "access.log";
/// A file of this size is moved aside, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// How many are kept beside the one that is written.
const FILES_KEPT: u32 = 4;
/// A buffer of this size is handed over, in bytes; smaller ones once a second.
const BUFFER_BYTES: usize = 32 << 10;
/// How many buffers may wait to be written.
const BUFFERS_MAX: usize = 64;
/// The most of a host and of a path that is logged, in characters.
const HOST_CHARS_MAX: usize = 255;
const PATH_CHARS_MAX: usize = 2048;

/// Takes buffers from all workers.
#[derive(Debug)]
pub(crate) struct Sink {
    buffers: SyncSender<Vec<u8>>,
    pub(crate) one_in: u32,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    /// Starts the writing thread. It ends when this is dropped.
    pub(crate) fn start(log: AccessLog, data_dir: &Path) -> Result<Self> {
        let (buffers, incoming) = sync_channel(BUFFERS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut out = match log.to {
            AccessLogTo::Stdout => Out::Stdout(io::stdout()),
            AccessLogTo::File => {
                let path = data_dir.join(FILE);
                Out::File(open(&path).map_err(Error::file(&path))?, path)
            }
        };
        let counted = dropped.clone();
        std::thread::Builder::new()
            .name("ark-access-log".to_owned())
            .spawn(move || write_out(&incoming, &mut out, &counted))
            .map_err(Error::start("thread for the access log"))?;
        Ok(Self { buffers, one_in: log.one_in.max(1), dropped })
    }

    /// Hands over what a worker has written, where it is enough or `all` is wanted.
    pub(crate) fn hand_over(&self, buffer: &mut Vec<u8>, all: bool) {
        if buffer.is_empty() || (buffer.len() < BUFFER_BYTES && !all) {
            return;
        }
        let lines = std::mem::replace(buffer, Vec::with_capacity(BUFFER_BYTES + 1024));
        if let Err(error) = self.buffers.try_send(lines) {
            let (std::sync::mpsc::TrySendError::Full(lines)
            | std::sync::mpsc::TrySendError::Disconnected(lines)) = error;
            let count = memchr::memchr_iter(b'\n', &lines).count();
            self.dropped.fetch_add(count as u64, Relaxed);
        }
    }
}

enum Out {
    Stdout(io::Stdout),
    File(File, PathBuf),
}

fn write_out(incoming: &Receiver<Vec<u8>>, out: &mut Out, dropped: &AtomicU64) {
    while let Ok(mut lines) = incoming.recv() {
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let said = format!("{{\"at\":\"{}\",\"dropped\":{lost}}}\n", Timestamp::now());
            lines.extend_from_slice(said.as_bytes());
        }
        if let Err(error) = out.write(&lines) {
            tracing::error!(%error, "access log cannot be written");
            // A full disk is not written to in a tight loop.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Out {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(lines).and_then(|()| out.flush()),
            Self::File(file, path) => {
                file.write_all(lines)?;
                if file.metadata()?.len() >= FILE_BYTES_MAX {
                    rotate(path)?;
                    *file = open(path)?;
                }
                Ok(())
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Whoever may read requests' paths and addresses is for the owner to say.
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Moves the file aside as `.1`, what was `.1` as `.2`, and so on; the oldest is overwritten.
fn rotate(path: &Path) -> io::Result<()> {
    let aside = |number: u32| path.with_extension(format!("log.{number}"));
    for number in (1..FILES_KEPT).rev() {
        if aside(number).exists() {
            std::fs::rename(aside(number), aside(number + 1))?;
        }
    }
    std::fs::rename(path, aside(1))
}

/// A request that will be logged.
#[derive(Debug)]
pub(crate) struct Line {
    found: Found,
    client: IpAddr,
    method: String,
    host: String,
    path: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// `None` when it reached no target.
    pub(crate) target: Option<(InstanceId, ReleaseNumber)>,
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

#[derive(Serialize)]
struct Record<'a> {
    at: Timestamp,
    #[serde(flatten)]
    route: &'a RouteKey,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: Option<u16>,
    outcome: &'static str,
    bytes: u64,
    us: u64,
    instance: Option<InstanceId>,
    release: Option<ReleaseNumber>,
}

impl Line {
    pub(crate) fn new(found: Found, client: IpAddr, method: &str, host: &str, path: &str) -> Self {
        let cut = |text: &str, most: usize| text.chars().take(most).collect();
        Self {
            found,
            client,
            method: cut(method, 32),
            host: cut(host, HOST_CHARS_MAX),
            path: cut(path, PATH_CHARS_MAX),
        }
    }

    /// Appends the line.
    pub(crate) fn write(&self, ending: Ending, buffer: &mut Vec<u8>) {
        let record = Record {
            at: Timestamp::now(),
            route: &self.found.key,
            client: self.client.to_canonical(),
            method: &self.method,
            host: &self.host,
            path: &self.path,
            status: ending.status,
            outcome: match (ending.outcome, ending.status) {
                (Outcome::Answered, Some(500..)) => "failed",
                (Outcome::Answered, _) => "served",
                (Outcome::Cut, _) => "cut",
                (Outcome::ClientGone, _) => "client_gone",
            },
            bytes: ending.bytes,
            us: u64::try_from(ending.took.as_micros()).unwrap_or(u64::MAX),
            instance: ending.target.map(|(instance, _)| instance),
            release: ending.target.map(|(_, release)| release),
        };
        let before = buffer.len();
        match serde_json::to_writer(&mut *buffer, &record) {
            Ok(()) => buffer.push(b'\n'),
            Err(_) => buffer.truncate(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for n in 0..8 {
            std::fs::write(&path, n.to_string()).unwrap();
            rotate(&path).unwrap();
        }
        let read =
            |number: u32| std::fs::read_to_string(path.with_extension(format!("log.{number}")));
        for (number, expected) in [(1, "7"), (2, "6"), (3, "5"), (4, "4")] {
            assert_eq!(read(number).unwrap(), expected);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted() {
        let (buffers, incoming) = sync_channel(1);
        let sink = Sink { buffers, one_in: 1, dropped: Arc::default() };
        let mut buffer = b"a\nb\n".to_vec();
        sink.hand_over(&mut buffer, false);
        assert_eq!(buffer, b"a\nb\n", "too little to be handed over");
        for _ in 0..3 {
            let mut buffer = b"a\nb\n".to_vec();
            sink.hand_over(&mut buffer, true);
            assert!(buffer.is_empty());
        }
        assert_eq!(sink.dropped.load(Relaxed), 4);
        drop(incoming);
    }
}
