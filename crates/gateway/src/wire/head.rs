//! Heads of HTTP/1 messages: parsed strictly, judged, and written anew for the other side in the
//! same pass. Nothing here does I/O.
//!
//! What is refused, because two servers might read it differently: both `Content-Length` and
//! `Transfer-Encoding`; several different lengths; any transfer coding but one `chunked`;
//! `Transfer-Encoding` in HTTP/1.0; a line that ends with a bare LF; folded lines; a space before
//! the colon; control characters; none or several `Host` fields.

use std::io::Write as _;
use std::ops::Range;

mod fields;
mod request;
mod response;

pub(crate) use fields::{Field, Lengths, TIMEOUT_FIELD, is_token};
pub(crate) use request::{
    Forward, Method, RequestBody, RequestHead, Version, is_host, parse_request,
};
pub(crate) use response::{
    Framing, ResponseHead, SayConnection, Shape, parse_answer, parse_response,
};

/// The most fields a head may have.
pub(crate) const FIELDS_MAX: usize = 100;
/// The most bytes a head may take.
pub(crate) const HEAD_BYTES_MAX: usize = super::buffer::LARGE_BYTES;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// It is not HTTP as it must be: what is wrong.
    Malformed(&'static str),
    /// As [`HeadError::Malformed`], in a way that two servers might read differently: what is used to
    /// smuggle one request within another.
    Smuggling(&'static str),
    /// More than [`FIELDS_MAX`] fields or [`HEAD_BYTES_MAX`] bytes.
    TooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A transfer coding other than `chunked`.
    Coding,
    /// A method the gateway does not forward.
    Method,
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Version,
            // A space before the colon and folded lines end here too.
            httparse::Error::HeaderName => Self::Smuggling("field name"),
            httparse::Error::HeaderValue => Self::Malformed("field value"),
            httparse::Error::NewLine => Self::Malformed("line end"),
            httparse::Error::Status => Self::Malformed("status"),
            httparse::Error::Token => Self::Malformed("request line"),
        }
    }
}

/// Adds a field to a written head, which ends with an empty line.
pub(crate) fn add_field(head: &mut Vec<u8>, name: &str, value: &str) {
    head.truncate(head.len().saturating_sub(2));
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
}

/// As [`add_field`] with a number; where that stands.
pub(crate) fn add_number(head: &mut Vec<u8>, name: &str, number: u64) -> Range<usize> {
    head.truncate(head.len().saturating_sub(2));
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    let start = head.len();
    // Writing to a list of bytes does not fail.
    let _ = write!(head, "{number}");
    let end = head.len();
    head.extend_from_slice(b"\r\n\r\n");
    start..end
}

/// Whether a line ends with LF alone.
fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

#[cfg(test)]
mod tests;
