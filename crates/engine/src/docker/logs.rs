//! Logs: read from the daemon while the container exists, and from a file after it was removed.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use ark_model::ids::InstanceId;
use ark_model::instance::EngineState;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::{Inner, connection, container_name, unavailable};
use crate::engine::{EngineError, LOG_LINE_BYTES_MAX, LogLine, LogQuery, LogSource, LogStream};

/// How often an instance that has not begun is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The most of a removed container's log that is kept, in lines.
const KEPT_LINES_MAX: &str = "100000";

impl Inner {
    pub(super) async fn logs(
        self: &Arc<Self>,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<LogStream, EngineError> {
        let removed = self.place.removed_log(id);
        let tail = query.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string());
        match self.find(id).await? {
            Some(seen) if query.follow && seen.state == EngineState::Preparing => {
                let inner = Arc::clone(self);
                let begun = async move {
                    inner.begun(id).await?;
                    inner.read(id, &tail, true).await
                };
                return Ok(since(stream::once(begun).try_flatten().boxed(), query.since));
            }
            Some(_) => {}
            None if removed.exists() => {
                let file = std::fs::File::open(&removed);
                let file = file.map_err(|e| unavailable("open a log", e))?;
                let lines: Vec<LogLine> = BufReader::new(file)
                    .lines()
                    .map_while(Result::ok)
                    .filter_map(|line| serde_json::from_str(&line).ok())
                    .collect();
                let skipped = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
                let lines: Vec<_> = lines.into_iter().skip(skipped).map(Ok).collect();
                return Ok(since(stream::iter(lines).boxed(), query.since));
            }
            None => return Err(EngineError::Unknown(id)),
        }
        Ok(since(self.read(id, &tail, query.follow).await?, query.since))
    }

    /// Waits until an instance has begun, or never will: the daemon takes what has not begun for
    /// ended, and a log that follows it would end at once.
    async fn begun(&self, id: InstanceId) -> Result<(), EngineError> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            match self.find(id).await?.map(|seen| seen.state) {
                Some(EngineState::Preparing) => {}
                Some(
                    EngineState::Running { .. }
                    | EngineState::Stopping { .. }
                    | EngineState::Exited { .. }
                    | EngineState::StartFailed { .. }
                    | EngineState::Gone,
                )
                | None => return Ok(()),
            }
            // Not by wake-ups alone: an event may be lost.
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
    }

    pub(super) async fn read(
        &self,
        id: InstanceId,
        tail: &str,
        follow: bool,
    ) -> Result<LogStream, EngineError> {
        let docker = self.connection.get().await?.clone();
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(tail)
            .follow(follow)
            .build();
        let mut order = Order { by_the_second: self.connection.is_podman(), ..Order::default() };
        let lines = docker.logs(&container_name(id), Some(options)).filter_map(move |output| {
            let read = match output {
                Ok(output) => {
                    line(output).and_then(|(line, whole)| order.admit(line, whole)).map(Ok)
                }
                // It has no container (yet), so it wrote nothing.
                Err(error) if connection::status(&error) == Some(404) => None,
                Err(error) => Some(Err(unavailable("read a log", error))),
            };
            std::future::ready(read)
        });
        Ok(lines.boxed())
    }

    /// Saves the log of a container that is about to be removed.
    pub(super) async fn keep_log(&self, id: InstanceId) -> Result<(), EngineError> {
        if self.place.removed_log(id).exists() {
            return Ok(());
        }
        let lines: Vec<LogLine> = self.read(id, KEPT_LINES_MAX, false).await?.try_collect().await?;
        let mut kept = Vec::new();
        for line in lines {
            let written = serde_json::to_writer(&mut kept, &line);
            written.map_err(|e| unavailable("keep a log", e))?;
            kept.push(b'\n');
        }
        self.place.write_removed_log(id, &kept).map_err(|e| unavailable("keep a log", e))
    }
}

fn since(lines: LogStream, since: Option<Timestamp>) -> LogStream {
    let Some(since) = since else { return lines };
    let wanted = move |line: &Result<LogLine, EngineError>| {
        let wanted = line.as_ref().map_or(true, |line| line.at >= since);
        std::future::ready(wanted)
    };
    lines.filter(wanted).boxed()
}

/// Puts right what the daemon gets wrong: it reads the end of a file again after each rotation, and
/// writes two streams down by two hands.
#[derive(Default)]
struct Order {
    /// The instant of the last whole line of standard output, and of standard error.
    whole: [Option<Timestamp>; 2],
    latest: Option<Timestamp>,
    /// Podman tells whole seconds, and reads nothing again.
    by_the_second: bool,
}

impl Order {
    /// The line, unless it was read before. Its time never goes back.
    fn admit(&mut self, mut line: LogLine, whole: bool) -> Option<LogLine> {
        let stream = usize::from(line.stream == LogSource::Stderr);
        // No two lines of one stream have the same instant, in nanoseconds.
        let again = self.whole[stream].is_some_and(|before| line.at <= before);
        if again && !self.by_the_second {
            return None;
        }
        if whole {
            self.whole[stream] = Some(line.at);
        }
        line.at = self.latest.map_or(line.at, |latest| latest.max(line.at));
        self.latest = Some(line.at);
        Some(line)
    }
}

/// `2026-11-21T10:00:00.123456789Z text`, as the daemon frames it; and whether the line ends there.
fn line(output: LogOutput) -> Option<(LogLine, bool)> {
    let (stream, bytes) = match output {
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => {
            (LogSource::Stdout, message)
        }
        LogOutput::StdIn { .. } => return None,
    };
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let text = &bytes[space + 1..];
    let (text, whole) = text.strip_suffix(b"\n").map_or((text, false), |text| (text, true));
    let text = String::from_utf8_lossy(&text[..text.len().min(LOG_LINE_BYTES_MAX)]).into_owned();
    Some((LogLine { at, stream, text }, whole))
}
