//! A strict HTTP/1.1 response parser over a growing buffer. Called by the drivers;
//! holds no socket and no clock. It refuses what a careful client would refuse
//! (bare line feeds, two framings at once): a proxy that emits it has a fault.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// Why reading stopped before its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer closed its side (a FIN).
    Eof,
    /// The socket failed.
    Io(io::Error),
    /// What arrived is not HTTP, or not what was promised.
    Protocol(String),
}

impl Broken {
    fn protocol(text: impl Into<String>) -> Self {
        Self::Protocol(text.into())
    }
}

/// Bytes received and not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buf: Vec<u8>,
    start: usize,
    /// Bytes received since [`Inbox::begin`].
    received: u64,
}

impl Inbox {
    /// Starts the count of received bytes anew, for the next exchange.
    pub(crate) fn begin(&mut self) {
        self.received = 0;
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.buf.len());
        if self.start == self.buf.len() {
            self.buf.clear();
            self.start = 0;
        }
    }

    /// Waits for at least one more byte. May be cancelled without losing any.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> Result<(), Broken> {
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        self.buf.reserve(READ_BYTES);
        match from.read_buf(&mut self.buf).await {
            Ok(0) => Err(Broken::Eof),
            Ok(bytes) => {
                self.received += bytes as u64;
                Ok(())
            }
            Err(error) => Err(Broken::Io(error)),
        }
    }
}

/// The parts of a response head that this client acts on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the connection may carry another request afterwards.
    pub(crate) reusable: bool,
    /// `x-ark-sample-version`.
    pub(crate) version: Option<String>,
    /// `sec-websocket-accept`.
    pub(crate) websocket_accept: Option<String>,
    /// `content-type`.
    pub(crate) content_type: Option<String>,
}

/// How the body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Takes one response head off the buffer; `None` when it is not complete yet.
pub(crate) fn parse_head(inbox: &mut Inbox) -> Result<Option<Head>, Broken> {
    let unread = inbox.unread();
    let magic = b"HTTP/1.";
    let seen = unread.len().min(magic.len());
    if unread[..seen] != magic[..seen] {
        let shown = String::from_utf8_lossy(&unread[..unread.len().min(40)]);
        return Err(Broken::protocol(format!("not an HTTP answer: {shown:?}")));
    }
    let Some(end) = find_head_end(unread)? else {
        if unread.len() > HEAD_BYTES_MAX {
            return Err(Broken::protocol(format!("response head above {HEAD_BYTES_MAX} bytes")));
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(&unread[..end])
        .map_err(|_| Broken::protocol("response head is not UTF-8"))?;
    let head = interpret_head(text)?;
    inbox.consume(end + 4);
    Ok(Some(head))
}

/// The offset of the blank line's CRLFCRLF; an error when a line ends in a bare LF.
fn find_head_end(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut line_start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\n' {
            continue;
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Broken::protocol("a line of the head ends in a bare LF"));
        }
        if at - 1 == line_start && line_start > 0 {
            return Ok(Some(line_start - 2));
        }
        line_start = at + 1;
    }
    Ok(None)
}

fn interpret_head(text: &str) -> Result<Head, Broken> {
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let (minor, status) = parse_status_line(status_line)?;
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut keep_alive = minor == 1;
    let mut head = Head {
        status,
        framing: Framing::UntilClose,
        reusable: false,
        version: None,
        websocket_accept: None,
        content_type: None,
    };
    for line in lines {
        let (name, value) = parse_field(line)?;
        if name.eq_ignore_ascii_case("content-length") {
            let bytes = value
                .parse::<u64>()
                .ok()
                .filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| Broken::protocol(format!("content-length {value:?}")))?;
            if length.is_some() {
                return Err(Broken::protocol("two content-length fields"));
            }
            length = Some(bytes);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(Broken::protocol(format!("transfer-encoding {value:?}")));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(',').map(str::trim) {
                if token.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                }
            }
        } else if name.eq_ignore_ascii_case("x-ark-sample-version") {
            head.version = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("sec-websocket-accept") {
            head.websocket_accept = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("content-type") {
            head.content_type = Some(value.to_owned());
        }
    }
    head.framing = framing(status, length, chunked)?;
    head.reusable = keep_alive && head.framing != Framing::UntilClose;
    Ok(head)
}

fn framing(status: u16, length: Option<u64>, chunked: bool) -> Result<Framing, Broken> {
    if status < 200 || status == 204 || status == 304 {
        return Ok(Framing::Length(0));
    }
    match (length, chunked) {
        (Some(_), true) => Err(Broken::protocol("both content-length and transfer-encoding")),
        (Some(bytes), false) => Ok(Framing::Length(bytes)),
        (None, true) => Ok(Framing::Chunked),
        (None, false) => Ok(Framing::UntilClose),
    }
}

fn parse_status_line(line: &str) -> Result<(u8, u16), Broken> {
    let wrong = || Broken::protocol(format!("status line {line:?}"));
    let rest = line.strip_prefix("HTTP/1.").ok_or_else(wrong)?;
    let minor = match rest.as_bytes().first() {
        Some(b'0') => 0,
        Some(b'1') => 1,
        _ => return Err(wrong()),
    };
    let rest = rest[1..].strip_prefix(' ').ok_or_else(wrong)?;
    let code = rest.get(..3).ok_or_else(wrong)?;
    let after = &rest[3..];
    if !code.bytes().all(|byte| byte.is_ascii_digit())
        || !(after.is_empty() || after.starts_with(' '))
    {
        return Err(wrong());
    }
    match code.parse() {
        Ok(status) if status >= 100 => Ok((minor, status)),
        _ => Err(wrong()),
    }
}

fn parse_field(line: &str) -> Result<(&str, &str), Broken> {
    let wrong = || Broken::protocol(format!("header line {line:?}"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(wrong());
    }
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
        return Err(wrong());
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

/// Takes the payload of a body, piece by piece; its error ends the reading.
pub(crate) type Sink<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<(), String> + Send);

/// Decodes a body from the buffer, piece by piece.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: BodyState,
}

#[derive(Debug)]
enum BodyState {
    Length { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkDataEnd,
    Trailer,
    UntilClose,
    Done,
}

impl BodyDecoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(left) => BodyState::Length { left },
            Framing::Chunked => BodyState::ChunkSize,
            Framing::UntilClose => BodyState::UntilClose,
        };
        Self { state }
    }

    /// Whether an end of file at this point is the body's proper end.
    pub(crate) fn ends_at_eof(&self) -> bool {
        matches!(self.state, BodyState::UntilClose | BodyState::Done)
    }

    /// Hands all payload in the buffer to `sink`; true once the body is complete.
    pub(crate) fn decode(&mut self, inbox: &mut Inbox, sink: Sink<'_>) -> Result<bool, Broken> {
        loop {
            match &mut self.state {
                BodyState::Done | BodyState::Length { left: 0 } => {
                    self.state = BodyState::Done;
                    return Ok(true);
                }
                BodyState::Length { left } => {
                    let bytes = take(inbox, *left, sink)?;
                    if bytes == 0 {
                        return Ok(false);
                    }
                    *left -= bytes;
                }
                BodyState::UntilClose => {
                    take(inbox, u64::MAX, sink)?;
                    return Ok(false);
                }
                BodyState::ChunkSize => {
                    let Some(line) = take_line(inbox)? else {
                        return Ok(false);
                    };
                    self.state = match parse_chunk_size(&line)? {
                        0 => BodyState::Trailer,
                        left => BodyState::ChunkData { left },
                    };
                }
                BodyState::ChunkData { left: 0 } => self.state = BodyState::ChunkDataEnd,
                BodyState::ChunkData { left } => {
                    let bytes = take(inbox, *left, sink)?;
                    if bytes == 0 {
                        return Ok(false);
                    }
                    *left -= bytes;
                }
                BodyState::ChunkDataEnd => {
                    let unread = inbox.unread();
                    let seen = unread.len().min(2);
                    if unread[..seen] != b"\r\n"[..seen] {
                        return Err(Broken::protocol("a chunk does not end in CRLF"));
                    }
                    if seen < 2 {
                        return Ok(false);
                    }
                    inbox.consume(2);
                    self.state = BodyState::ChunkSize;
                }
                BodyState::Trailer => match take_line(inbox)? {
                    None => return Ok(false),
                    Some(line) if line.is_empty() => self.state = BodyState::Done,
                    Some(_) => {}
                },
            }
        }
    }
}

fn take(inbox: &mut Inbox, at_most: u64, sink: Sink<'_>) -> Result<u64, Broken> {
    let unread = inbox.unread();
    let bytes = usize::try_from(at_most).map_or(unread.len(), |most| most.min(unread.len()));
    if bytes > 0 {
        sink(&unread[..bytes]).map_err(Broken::Protocol)?;
        inbox.consume(bytes);
    }
    Ok(bytes as u64)
}

fn take_line(inbox: &mut Inbox) -> Result<Option<String>, Broken> {
    let unread = inbox.unread();
    let Some(end) = unread.iter().position(|byte| *byte == b'\n') else {
        if unread.len() > CHUNK_LINE_BYTES_MAX {
            return Err(Broken::protocol("a chunk's line has no end"));
        }
        return Ok(None);
    };
    let line = unread[..end]
        .strip_suffix(b"\r")
        .ok_or_else(|| Broken::protocol("a chunk's line ends in a bare LF"))?;
    let line = String::from_utf8_lossy(line).into_owned();
    inbox.consume(end + 1);
    Ok(Some(line))
}

fn parse_chunk_size(line: &str) -> Result<u64, Broken> {
    let digits = line.split(';').next().unwrap_or_default().trim_end();
    let valid = !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
        .ok_or_else(|| Broken::protocol(format!("chunk size {line:?}")))
}

/// Reads the next head that is final or 101; interim answers (100, 103) are skipped.
pub(crate) async fn read_head<R: AsyncRead + Unpin>(
    from: &mut R,
    inbox: &mut Inbox,
) -> Result<Head, Broken> {
    const INTERIM_MAX: usize = 16;
    let mut interim = 0;
    loop {
        match parse_head(inbox)? {
            Some(head) if head.status >= 200 || head.status == 101 => return Ok(head),
            Some(_) => {
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(Broken::protocol("too many interim answers"));
                }
            }
            None => inbox.fill(from).await?,
        }
    }
}

/// Reads a whole body, handing its payload to `sink`.
pub(crate) async fn read_body<R: AsyncRead + Unpin>(
    from: &mut R,
    inbox: &mut Inbox,
    framing: Framing,
    sink: Sink<'_>,
) -> Result<(), Broken> {
    let mut decoder = BodyDecoder::new(framing);
    while !decoder.decode(inbox, sink)? {
        match inbox.fill(from).await {
            Ok(()) => {}
            Err(Broken::Eof) if decoder.ends_at_eof() => return Ok(()),
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
