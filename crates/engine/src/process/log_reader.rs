//! Reading an instance's log while its shim writes and rotates it: the last lines, lines since a
//! time, and following until the instance has ended. Works on the files alone.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::ids::InstanceId;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use super::record::InstanceDir;
use crate::engine::{EngineError, EngineKind, LogLine, LogQuery, LogSource, LogStream};
use crate::shim::{log_file, log_files};

/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Opens a stream of the log in `directory`. `removed` is where the directory goes when the
/// instance is removed while its log is followed.
pub(crate) fn read(
    id: InstanceId,
    directory: PathBuf,
    removed: PathBuf,
    query: LogQuery,
) -> LogStream {
    let reader = Reader { directory, removed, query, at: None, carry: Vec::new() };
    let batches = stream::unfold(Some(reader), move |reader| async move {
        let reader = reader?;
        Some(match step(id, reader).await {
            Ok((lines, next)) => (Ok(lines), next),
            Err(error) => (Err(error), None),
        })
    });
    batches
        .flat_map(|batch| {
            stream::iter(match batch {
                Ok(lines) => lines.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
        .boxed()
}

type Step = (Vec<LogLine>, Option<Reader>);

async fn step(id: InstanceId, reader: Reader) -> Result<Step, EngineError> {
    let unavailable = |source: io::Error| EngineError::Unavailable {
        engine: EngineKind::Process,
        action: format!("read the log of instance {id}"),
        source,
    };
    let (lines, next) = tokio::task::spawn_blocking(move || reader.next())
        .await
        .map_err(|error| unavailable(io::Error::other(error)))?
        .map_err(unavailable)?;
    if lines.is_empty() && next.is_some() {
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
    Ok((lines, next))
}

struct Reader {
    directory: PathBuf,
    removed: PathBuf,
    query: LogQuery,
    /// The file being read, once begun.
    at: Option<Position>,
    /// The beginning of a line whose end has not been read.
    carry: Vec<u8>,
}

struct Position {
    index: u64,
    file: File,
}

impl Reader {
    /// The next lines, and the reader to go on with. No lines and a reader: nothing new yet.
    fn next(mut self) -> io::Result<Step> {
        if self.at.is_none() && !self.begin()? {
            let go_on = self.query.follow && !self.has_ended();
            return Ok((Vec::new(), go_on.then_some(self)));
        }
        // Looked at before reading: what is written before the end is then seen for sure.
        let ended = self.has_ended();
        let mut lines = Vec::new();
        loop {
            let (bytes, advanced) = self.read_chunk()?;
            self.add(&bytes, &mut lines);
            if !lines.is_empty() {
                return Ok((lines, Some(self)));
            }
            if bytes.is_empty() && !advanced {
                break;
            }
        }
        if self.query.follow && !ended {
            return Ok((lines, Some(self)));
        }
        // A shim that was killed leaves half a line.
        lines.extend(parse(&self.carry).filter(|line| self.wants(line)));
        Ok((lines, None))
    }

    /// Finds where to begin. `false` when there is no log yet.
    fn begin(&mut self) -> io::Result<bool> {
        let indexes = self.files();
        let Some(&newest) = indexes.last() else { return Ok(false) };
        let (index, offset) = match self.query.tail {
            None => (indexes[0], 0),
            Some(count) => find_tail(self.place(), &indexes, count)?.unwrap_or((newest, 0)),
        };
        let mut file = match File::open(log_file(self.place(), index)) {
            Ok(file) => file,
            // Rotated away since it was listed: begin again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(offset))?;
        self.at = Some(Position { index, file });
        Ok(true)
    }

    /// Reads on; at the end of a file that is no longer written, goes to the next.
    fn read_chunk(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let next = self
            .at
            .as_ref()
            .and_then(|at| self.files().into_iter().find(|index| *index > at.index));
        let Some(at) = &mut self.at else { return Ok((Vec::new(), false)) };
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = at.file.read(&mut chunk)?;
        if length > 0 {
            chunk.truncate(length);
            return Ok((chunk, false));
        }
        let Some(next) = next else { return Ok((Vec::new(), false)) };
        match File::open(log_file(self.place(), next)) {
            Ok(file) => {
                self.at = Some(Position { index: next, file });
                self.carry.clear();
                Ok((Vec::new(), true))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), false)),
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, bytes: &[u8], lines: &mut Vec<LogLine>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.carry.extend_from_slice(end);
                    lines.extend(parse(&self.carry).filter(|line| self.wants(line)));
                    self.carry.clear();
                }
                None => self.carry.extend_from_slice(piece),
            }
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        self.query.since.is_none_or(|since| line.at >= since)
    }

    fn place(&self) -> &Path {
        if self.directory.exists() { &self.directory } else { &self.removed }
    }

    fn files(&self) -> Vec<u64> {
        log_files(self.place())
    }

    fn has_ended(&self) -> bool {
        let dir = InstanceDir::new(self.place());
        dir.read_status().map_or(!dir.path().exists(), |status| status.is_terminal())
    }
}

/// Where the last `count` lines begin: the file and the offset in it.
fn find_tail(place: &Path, indexes: &[u64], count: usize) -> io::Result<Option<(u64, u64)>> {
    let mut wanted = count;
    let mut begin = None;
    for (age, &index) in indexes.iter().rev().enumerate() {
        let Ok(file) = File::open(log_file(place, index)) else { break };
        let bytes = file.metadata()?.len();
        if count == 0 {
            return Ok(Some((index, bytes)));
        }
        let mut end = bytes;
        while end > 0 {
            let start = end.saturating_sub(CHUNK_BYTES as u64);
            let mut chunk = vec![0; (end - start) as usize];
            file.read_exact_at(&mut chunk, start)?;
            for position in memchr::memrchr_iter(b'\n', &chunk) {
                let after = start + position as u64 + 1;
                if after == bytes {
                    // The end of the newest line is not the beginning of another.
                    continue;
                }
                wanted -= 1;
                if wanted == 0 {
                    return Ok(Some((index, after)));
                }
            }
            end = start;
        }
        begin = Some((index, 0));
        if bytes > 0 {
            wanted -= 1;
        }
        if wanted == 0 || age + 1 == indexes.len() {
            return Ok(begin);
        }
    }
    Ok(begin)
}

/// Reads `<time> <o|e|a> <text>`; anything else is not a line.
fn parse(line: &[u8]) -> Option<LogLine> {
    let space = memchr::memchr(b' ', line)?;
    let at: Timestamp = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let stream = match line.get(space + 1)? {
        b'o' => LogSource::Stdout,
        b'e' => LogSource::Stderr,
        b'a' => LogSource::Ark,
        _ => return None,
    };
    let text = String::from_utf8_lossy(line.get(space + 3..)?).into_owned();
    Some(LogLine { at, stream, text })
}

/// The last lines of a log, without a runtime; for a shim's own last words too.
pub(crate) fn last_line_of(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: VecDeque<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.back().map(|line| line.chars().take(400).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LogLimits;
    use crate::shim::{LogWriter, Stream};

    async fn texts(place: &Path, query: LogQuery) -> Vec<String> {
        let id = InstanceId(uuid::Uuid::nil());
        read(id, place.to_owned(), place.join("removed"), query)
            .map(|line| line.unwrap().text)
            .collect()
            .await
    }

    #[tokio::test]
    async fn a_tail_of_any_length_is_the_end_of_the_whole() {
        let place = tempfile::tempdir().unwrap();
        let limits = LogLimits { file_bytes_max: 300, files_max: 4 };
        let mut log = LogWriter::create(place.path(), limits).unwrap();
        for number in 0..100 {
            log.take(Stream::Stdout, format!("{number}\n").as_bytes());
        }
        let whole = texts(place.path(), LogQuery::default()).await;
        assert!(whole.len() > 10 && whole.last().unwrap() == "99", "{whole:?}");
        for tail in 0..whole.len() + 3 {
            let found = texts(place.path(), LogQuery { tail: Some(tail), ..LogQuery::default() });
            let expected = &whole[whole.len().saturating_sub(tail)..];
            assert_eq!(found.await, expected, "tail {tail}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_line_is_skipped() {
        let place = tempfile::tempdir().unwrap();
        let good = "2026-01-02T03:04:05.000000Z e oh \u{fffd}";
        fs::write(
            log_file(place.path(), 3),
            b"\ntorn\n2026-01-02T03:04:05.000000Z e oh \xff\n2026-01-02T03:04:05.000000Z x y\n",
        )
        .unwrap();
        let found = texts(place.path(), LogQuery::default()).await;
        assert_eq!(found, [good.split_once(" e ").unwrap().1]);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        assert_eq!(parse(b"2026-01-02T03:04:05Z o ").unwrap().text, "");
        assert_eq!(parse(b"2026-01-02T03:04:05Z o"), None);
    }
}
