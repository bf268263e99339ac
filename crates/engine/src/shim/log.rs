//! The instance's log: what it writes, line by line, with the time and the stream, in files of
//! bounded size and number. Written by the shim alone; read by the engine's `log_reader`.
//!
//! A line of the file is `<RFC 3339 time> <o|e|a> <bytes as they were written>`. Files are named
//! `log.<n>`; the highest is being written, lower ones never change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::engine::{LOG_LINE_BYTES_MAX, LogLimits, LogSource};

/// How a source is written in the file.
pub(crate) const fn letter(source: LogSource) -> u8 {
    match source {
        LogSource::Stdout => b'o',
        LogSource::Stderr => b'e',
        LogSource::Ark => b'a',
    }
}

/// The path of file `index` of a log.
pub(crate) fn log_file(directory: &Path, index: u64) -> PathBuf {
    directory.join(format!("log.{index}"))
}

/// The numbers of the log files in a directory, in order.
pub(crate) fn log_files(directory: &Path) -> Vec<u64> {
    let Ok(listing) = fs::read_dir(directory) else { return Vec::new() };
    let mut indexes: Vec<u64> = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("log.")?.parse().ok())
        .collect();
    indexes.sort_unstable();
    indexes
}

/// Writes one log. Never fails towards its caller: an instance must not stand still because a
/// disk is full, so lines that cannot be written are counted and the loss is noted later.
pub(crate) struct LogWriter {
    directory: PathBuf,
    limits: LogLimits,
    index: u64,
    file: File,
    file_bytes: u64,
    /// The time of the last line, so that a clock set back does not disorder the log.
    last: Timestamp,
    partial: [Vec<u8>; 2],
    batch: Vec<u8>,
    lines_lost: u64,
    /// Whether the last write may have stopped within a line.
    torn: bool,
}

impl LogWriter {
    /// Begins a log, or goes on in its newest file.
    pub(crate) fn create(directory: &Path, limits: LogLimits) -> io::Result<Self> {
        let index = log_files(directory).last().copied().unwrap_or(0);
        let file = open(directory, index)?;
        let file_bytes = file.metadata()?.len();
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            index,
            file,
            file_bytes,
            last: Timestamp::now(),
            partial: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            lines_lost: 0,
            torn: false,
        })
    }

    /// Takes what the instance wrote to one of its streams; writes the lines it completes.
    pub(crate) fn take(&mut self, stream: Stream, mut bytes: &[u8]) {
        let time = self.time();
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            partial.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.add_split(&time, stream.source(), &partial);
            partial.clear();
        }
        partial.extend_from_slice(bytes);
        // Exactly the limit may yet be a whole line.
        let mut rest = partial.as_slice();
        while rest.len() > LOG_LINE_BYTES_MAX {
            let (piece, tail) = rest.split_at(LOG_LINE_BYTES_MAX);
            self.add(&time, stream.source(), piece);
            rest = tail;
        }
        let consumed = partial.len() - rest.len();
        partial.drain(..consumed);
        self.partial[stream as usize] = partial;
        self.flush();
    }

    /// The stream has ended: writes what it left without a line end.
    pub(crate) fn finish(&mut self, stream: Stream) {
        let partial = std::mem::take(&mut self.partial[stream as usize]);
        if !partial.is_empty() {
            let time = self.time();
            self.add_split(&time, stream.source(), &partial);
            self.flush();
        }
    }

    /// Adds a line of Ark's own.
    pub(crate) fn note(&mut self, text: &str) {
        let time = self.time();
        self.add(&time, LogSource::Ark, text.replace('\n', " ").as_bytes());
        self.flush();
    }

    fn time(&mut self) -> String {
        self.last = self.last.max(Timestamp::now());
        format!("{:.6}", self.last)
    }

    fn add_split(&mut self, time: &str, source: LogSource, line: &[u8]) {
        if line.is_empty() {
            self.add(time, source, line);
        }
        for piece in line.chunks(LOG_LINE_BYTES_MAX) {
            self.add(time, source, piece);
        }
    }

    fn add(&mut self, time: &str, source: LogSource, line: &[u8]) {
        let line_bytes = (time.len() + line.len() + 4) as u64;
        let pending = self.batch.len() as u64;
        if self.file_bytes + pending > 0
            && self.file_bytes + pending + line_bytes > self.limits.file_bytes_max
        {
            self.flush();
            self.rotate();
        }
        self.batch.extend_from_slice(time.as_bytes());
        self.batch.extend_from_slice(&[b' ', letter(source), b' ']);
        self.batch.extend_from_slice(line);
        self.batch.push(b'\n');
    }

    /// One write per batch, so that a reader sees whole lines nearly always.
    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lines = self.batch.iter().filter(|byte| **byte == b'\n').count() as u64;
        let mut before = Vec::new();
        if self.torn {
            before.push(b'\n');
        }
        if self.lines_lost > 0 {
            let lost =
                format!("{:.6} a {} lines were lost: no space\n", self.last, self.lines_lost);
            before.extend_from_slice(lost.as_bytes());
        }
        self.batch.splice(0..0, before);
        match self.file.write_all(&self.batch) {
            Ok(()) => {
                self.file_bytes += self.batch.len() as u64;
                self.lines_lost = 0;
                self.torn = false;
            }
            Err(_) => {
                self.lines_lost += lines;
                self.torn = true;
            }
        }
        self.batch.clear();
    }

    fn rotate(&mut self) {
        let Ok(file) = open(&self.directory, self.index + 1) else { return };
        self.index += 1;
        self.file = file;
        self.file_bytes = 0;
        let kept = u64::from(self.limits.files_max.max(1));
        for index in log_files(&self.directory) {
            if index + kept <= self.index {
                let _ = fs::remove_file(log_file(&self.directory, index));
            }
        }
    }
}

fn open(directory: &Path, index: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(log_file(directory, index))
}

/// One of the two streams of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Stream {
    const fn source(self) -> LogSource {
        match self {
            Self::Stdout => LogSource::Stdout,
            Self::Stderr => LogSource::Stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path) -> Vec<(u8, Vec<u8>)> {
        let mut lines = Vec::new();
        for index in log_files(directory) {
            let bytes = fs::read(log_file(directory, index)).unwrap();
            for line in bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n') {
                assert_eq!(line[26], b'Z', "a fixed width of time");
                lines.push((line[28], line[30..].to_vec()));
            }
        }
        lines
    }

    #[test]
    fn lines_are_cut_where_they_end_whatever_the_pieces() {
        let text = b"first\n\nthird\xff\x00\r\nlast without end";
        for size in 1..text.len() {
            let place = tempfile::tempdir().unwrap();
            let mut log = LogWriter::create(place.path(), LogLimits::default()).unwrap();
            for piece in text.chunks(size) {
                log.take(Stream::Stdout, piece);
                log.take(Stream::Stderr, b"");
            }
            log.finish(Stream::Stdout);
            log.finish(Stream::Stderr);
            let expected: Vec<(u8, Vec<u8>)> =
                ["first".as_bytes(), b"", b"third\xff\x00\r", b"last without end"]
                    .map(|line| (b'o', line.to_vec()))
                    .into();
            assert_eq!(written(place.path()), expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_long_line_becomes_several_and_no_byte_is_lost() {
        for (length, pieces) in
            [(LOG_LINE_BYTES_MAX, 1), (LOG_LINE_BYTES_MAX + 1, 2), (3 * LOG_LINE_BYTES_MAX, 3)]
        {
            for chunk in [1_000, 65_536] {
                let place = tempfile::tempdir().unwrap();
                let mut log = LogWriter::create(place.path(), LogLimits::default()).unwrap();
                let mut text = vec![b'x'; length];
                text.push(b'\n');
                for piece in text.chunks(chunk) {
                    log.take(Stream::Stderr, piece);
                }
                let lines = written(place.path());
                assert_eq!(lines.len(), pieces, "{length} bytes in chunks of {chunk}");
                assert_eq!(lines.iter().map(|(_, line)| line.len()).sum::<usize>(), length);
            }
        }
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let place = tempfile::tempdir().unwrap();
        let limits = LogLimits { file_bytes_max: 1_000, files_max: 3 };
        let mut log = LogWriter::create(place.path(), limits).unwrap();
        for number in 0..1_000 {
            log.take(Stream::Stdout, format!("line {number}\n").as_bytes());
        }
        let files = log_files(place.path());
        assert_eq!(files.len(), 3);
        for index in files {
            let bytes = fs::metadata(log_file(place.path(), index)).unwrap().len();
            assert!(bytes <= 1_000, "{bytes}");
        }
        let lines = written(place.path());
        assert_eq!(lines.last().unwrap().1, b"line 999");
        assert!(
            lines.windows(2).all(|pair| pair[0].1 < pair[1].1 || pair[0].1.len() < pair[1].1.len())
        );
    }
}
