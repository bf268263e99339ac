//! Field names that mean something to a proxy, and the lists some of them hold.

use super::HeadError;

/// The fields a proxy must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Accept,
    Connection,
    ContentLength,
    ContentType,
    Forwarded,
    ForwardedFor,
    /// `X-Forwarded-Host`, `X-Forwarded-Proto` and `X-Ark-Mirror`, which are the gateway's to say, and
    /// every name that differs from one of the gateway's own by `_` for `-` alone: an app that reads
    /// fields as CGI and WSGI do cannot tell the two apart.
    ForwardedWhat,
    Host,
    /// `Keep-Alive`.
    KeepAlive,
    /// Other fields that concern one hop alone.
    Hop,
    TransferEncoding,
    /// `X-Ark-Timeout-Ms`: how long who asks will wait.
    Timeout,
    Upgrade,
    Other,
}

/// How long who asks will wait for the answer, in milliseconds: taken from the client, told to the
/// target.
pub(crate) const TIMEOUT_FIELD: &str = "X-Ark-Timeout-Ms";

impl Field {
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        let is_own = |text: &str| is_as_cgi(name, text);
        match name.len() {
            2 if is("te") => Self::Hop,
            4 if is("host") => Self::Host,
            6 if is("accept") => Self::Accept,
            7 if is("upgrade") => Self::Upgrade,
            9 if is("forwarded") => Self::Forwarded,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Hop,
            12 if is_own("x-ark-mirror") => Self::ForwardedWhat,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            15 if is_own("x-forwarded-for") => Self::ForwardedWhat,
            16 if is("proxy-connection") => Self::Hop,
            16 if is("x-ark-timeout-ms") => Self::Timeout,
            16 if is_own("x-ark-timeout-ms") => Self::ForwardedWhat,
            16 if is_own("x-forwarded-host") => Self::ForwardedWhat,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is_own("x-forwarded-proto") => Self::ForwardedWhat,
            18 if is("proxy-authenticate") => Self::Hop,
            19 if is("proxy-authorization") => Self::Hop,
            _ => Self::Other,
        }
    }

    /// Whether `Connection` may name it to have it removed. What frames and routes a message may
    /// not be removed by its sender.
    pub(crate) fn removable(self) -> bool {
        match self {
            Self::Host | Self::ContentLength | Self::TransferEncoding | Self::Connection => false,
            Self::Accept
            | Self::ContentType
            | Self::Forwarded
            | Self::ForwardedFor
            | Self::ForwardedWhat
            | Self::KeepAlive
            | Self::Hop
            | Self::Timeout
            | Self::Upgrade
            | Self::Other => true,
        }
    }
}

/// Whether `name` is `text` to who takes `_` for `-`.
fn is_as_cgi(name: &[u8], text: &str) -> bool {
    let same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
    name.len() == text.len() && name.iter().zip(text.bytes()).all(same)
}

/// Whether `byte` may stand in a field name or method.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The elements of a comma-separated list, trimmed, empty ones left out.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What the `Connection` fields of one head say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Whether it names other fields, which must then be looked for.
    pub(super) names_others: bool,
}

impl Connection {
    pub(super) fn add(&mut self, value: &[u8]) {
        for element in elements(value) {
            if element.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if element.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if element.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.names_others = true;
            }
        }
    }
}

/// Whether one of the `Connection` fields among `fields` names `name`.
pub(super) fn connection_names(fields: &[httparse::Header<'_>], name: &str) -> bool {
    fields
        .iter()
        .filter(|field| Field::of(field.name.as_bytes()) == Field::Connection)
        .flat_map(|field| elements(field.value))
        .any(|element| element.eq_ignore_ascii_case(name.as_bytes()))
}

/// How `Content-Length` and `Transfer-Encoding` frame a body, collected field by field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lengths {
    pub(crate) length: Option<u64>,
    pub(super) chunked: bool,
}

impl Lengths {
    /// Returns whether the field repeats what was said and must be left out.
    pub(crate) fn add_length(&mut self, value: &[u8]) -> Result<bool, HeadError> {
        let length = parse_length(value).ok_or(HeadError::Smuggling("content-length"))?;
        match self.length {
            Some(before) if before != length => {
                Err(HeadError::Smuggling("several different content-lengths"))
            }
            Some(_) => Ok(true),
            None => {
                self.length = Some(length);
                Ok(false)
            }
        }
    }

    pub(super) fn add_coding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.chunked {
            return Err(HeadError::Smuggling("several transfer-encodings"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::Coding);
        }
        self.chunked = true;
        Ok(())
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Where the line of a field begins within `head`.
pub(super) fn line_start(head: &[u8], field: &httparse::Header<'_>) -> usize {
    field.name.as_ptr() as usize - head.as_ptr() as usize
}
