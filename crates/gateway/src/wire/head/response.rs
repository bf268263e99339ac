//! Heads of responses.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{Connection, Lengths, connection_names, elements, line_start};
use super::{FIELDS_MAX, Field, HeadError, has_bare_lf};

/// How the body of a response ends, as its sender framed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the gateway must know of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead {
    pub(crate) length: usize,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the target keeps the connection.
    pub(crate) keep_alive: bool,
    /// For how long, when it says so (`Keep-Alive: timeout=5`), in seconds.
    pub(crate) keep_alive_s: Option<u64>,
    /// Whether it is a stream of events.
    pub(crate) event_stream: bool,
    /// Whether it switches to WebSocket.
    pub(crate) web_socket: bool,
    names_others: bool,
    bare_lf: bool,
}

/// How a response is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The gateway frames the body in chunks.
    pub(crate) chunked: bool,
    /// What is said of the connection.
    pub(crate) connection: SayConnection,
}

/// What a response says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SayConnection {
    Nothing,
    Close,
    /// To an HTTP/1.0 client that asked for it.
    KeepAlive,
    Upgrade,
}

/// Parses the head at the beginning of `bytes` and, as `shape` decides, writes it as it is passed
/// on to the end of `out`. `None` when the head has not ended yet. `to_head`: the request was
/// HEAD, so that there is no body whatever the fields say.
pub(crate) fn parse_response(
    bytes: &[u8],
    to_head: bool,
    out: &mut Vec<u8>,
    shape: impl FnOnce(&ResponseHead) -> Option<Shape>,
) -> Result<Option<ResponseHead>, HeadError> {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut space)?;
    let length = match parsed {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let bytes = &bytes[..length];
    let head = judge(bytes, &response, to_head)?;
    if let Some(shape) = shape(&head) {
        write(bytes, &response, &head, shape, out);
    }
    Ok(Some(head))
}

/// Parses the head at the beginning of `bytes` for a client of HTTP/2: the fields that are passed
/// on, without those of one hop.
pub(crate) fn parse_answer(
    bytes: &[u8],
    to_head: bool,
) -> Result<Option<(ResponseHead, HeaderMap)>, HeadError> {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut space)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let head = judge(&bytes[..length], &response, to_head)?;
    let mut map = HeaderMap::with_capacity(response.headers.len());
    let mut length_written = false;
    for field in response.headers.iter() {
        let kind = Field::of(field.name.as_bytes());
        if is_kept(kind, field, response.headers, &head, &mut length_written) {
            let bad = |_| HeadError::Malformed("field");
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let malformed = HeadError::Malformed("field name");
            map.append(name.map_err(|_| malformed)?, value.map_err(bad)?);
        }
    }
    Ok(Some((head, map)))
}

fn judge(
    bytes: &[u8],
    response: &httparse::Response<'_, '_>,
    to_head: bool,
) -> Result<ResponseHead, HeadError> {
    let status = response.code.unwrap_or(0);
    if !(100..=999).contains(&status) {
        return Err(HeadError::Malformed("status"));
    }
    let mut lengths = Lengths::default();
    let mut connection = Connection::default();
    let mut keep_alive_s = None;
    let (mut event_stream, mut web_socket) = (false, false);
    for field in response.headers.iter() {
        match Field::of(field.name.as_bytes()) {
            Field::Connection => connection.add(field.value),
            Field::ContentLength => {
                lengths.add_length(field.value)?;
            }
            Field::TransferEncoding => lengths.add_coding(field.value)?,
            Field::KeepAlive => keep_alive_s = timeout_of(field.value),
            Field::ContentType => {
                let kind = field.value.split(|b| *b == b';').next().unwrap_or_default();
                event_stream = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
            }
            Field::Upgrade => {
                web_socket = elements(field.value).any(|e| e.eq_ignore_ascii_case(b"websocket"));
            }
            Field::Accept
            | Field::Forwarded
            | Field::ForwardedFor
            | Field::ForwardedWhat
            | Field::Hop
            | Field::Host
            | Field::Timeout
            | Field::Other => {}
        }
    }
    let framing = match (status, lengths.chunked, lengths.length) {
        (100..=199 | 204 | 304, ..) => Framing::None,
        _ if to_head => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, false, Some(0)) => Framing::None,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    let persistent = match response.version {
        Some(1) => !connection.close,
        _ => connection.keep_alive && !connection.close,
    };
    // A sender of both lengths may mean either; the connection cannot be trusted after it.
    let ambiguous = lengths.chunked && lengths.length.is_some();
    Ok(ResponseHead {
        length: bytes.len(),
        status,
        framing,
        keep_alive: persistent && !ambiguous && framing != Framing::UntilClose,
        keep_alive_s,
        event_stream: event_stream && framing != Framing::None,
        web_socket: web_socket && status == 101,
        names_others: connection.names_others,
        bare_lf: has_bare_lf(bytes),
    })
}

fn timeout_of(value: &[u8]) -> Option<u64> {
    elements(value).find_map(|element| {
        let digits = std::str::from_utf8(element).ok()?.strip_prefix("timeout=")?;
        digits.parse().ok()
    })
}

fn write(
    bytes: &[u8],
    response: &httparse::Response<'_, '_>,
    head: &ResponseHead,
    shape: Shape,
    out: &mut Vec<u8>,
) {
    push_status_line(out, head.status, response.reason.unwrap_or(""));
    copy_fields(bytes, response.headers, head, out);
    if shape.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(match shape.connection {
        SayConnection::Nothing => b"",
        SayConnection::Close => b"Connection: close\r\n",
        SayConnection::KeepAlive => b"Connection: keep-alive\r\n",
        SayConnection::Upgrade => b"Connection: upgrade\r\n",
    });
    out.extend_from_slice(b"\r\n");
}

fn push_status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    let digit = |place: u16| b'0' + u8::try_from(status / place % 10).unwrap_or(0);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether a field is passed on.
fn is_kept(
    kind: Field,
    field: &httparse::Header<'_>,
    fields: &[httparse::Header<'_>],
    head: &ResponseHead,
    length_written: &mut bool,
) -> bool {
    let keep = match kind {
        Field::Connection | Field::KeepAlive | Field::Hop | Field::TransferEncoding => false,
        Field::Upgrade => head.status == 101 || head.status == 426,
        Field::ContentLength => {
            let meant = head.framing != Framing::Chunked && !matches!(head.status, ..200 | 204);
            meant && !std::mem::replace(length_written, true)
        }
        Field::Accept
        | Field::ContentType
        | Field::Forwarded
        | Field::ForwardedFor
        | Field::ForwardedWhat
        | Field::Host
        | Field::Timeout
        | Field::Other => true,
    };
    keep && !(head.names_others && kind.removable() && connection_names(fields, field.name))
}

/// Copies the lines of all fields that are passed on, neighbours in one go.
fn copy_fields(
    bytes: &[u8],
    fields: &[httparse::Header<'_>],
    head: &ResponseHead,
    out: &mut Vec<u8>,
) {
    let mut length_written = false;
    let mut run_start = None;
    for field in fields {
        let kind = Field::of(field.name.as_bytes());
        let keep = is_kept(kind, field, fields, head, &mut length_written);
        let start = line_start(bytes, field);
        match (keep, run_start) {
            // Lines that end with LF alone are not copied but written anew.
            (true, _) if head.bare_lf => {
                out.extend_from_slice(field.name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(field.value);
                out.extend_from_slice(b"\r\n");
            }
            (true, None) => run_start = Some(start),
            (false, Some(from)) => {
                out.extend_from_slice(&bytes[from..start]);
                run_start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if let Some(from) = run_start {
        out.extend_from_slice(&bytes[from..bytes.len() - 2]);
    }
}
