//! What a gateway must know of gRPC: where messages end, what a status means to the counters, how
//! a call is refused, and until when its caller waits.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

/// Statuses of gRPC that the gateway says itself.
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

/// Where in the messages of one direction the next byte stands: each has five bytes before it, of
/// which four are its length.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::wire) struct Messages {
    head_bytes: u8,
    length: u32,
    left: u32,
    /// Messages that have begun.
    pub(in crate::wire) count: u64,
}

impl Messages {
    pub(in crate::wire) fn between(&self) -> bool {
        self.head_bytes == 0 && self.left == 0
    }

    /// Takes in `data`. With `stop`, says where the first message in it ends.
    pub(in crate::wire) fn scan(&mut self, data: &[u8], stop: bool) -> Option<usize> {
        let mut at = 0;
        while at < data.len() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len() - at);
                at += count;
                self.left -= u32::try_from(count).unwrap_or(self.left);
            } else {
                if self.head_bytes == 0 {
                    (self.length, self.count) = (0, self.count + 1);
                } else {
                    self.length = self.length << 8 | u32::from(data[at]);
                }
                at += 1;
                self.head_bytes += 1;
                if self.head_bytes == 5 {
                    (self.head_bytes, self.left) = (0, self.length);
                }
            }
            if stop && self.between() {
                return Some(at);
            }
        }
        None
    }
}

/// Whether these are the fields of a gRPC request.
pub(super) fn is_grpc(fields: &HeaderMap) -> bool {
    fields
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// How long the caller waits: `grpc-timeout`, at most eight digits and a unit.
pub(super) fn timeout(fields: &HeaderMap) -> Option<Duration> {
    let text = fields.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The time that is left, as the next one is told it.
pub(super) fn timeout_field(left: Duration) -> HeaderValue {
    let millis = left.as_millis();
    let text = match millis {
        0..100_000_000 => format!("{}m", millis.max(1)),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1m"))
}

/// What a call's trailers (or its only head) say of its end.
pub(super) fn status_of(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The HTTP status as which an ended call is counted.
pub(super) fn counted_as(status: u16) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        DEADLINE_EXCEEDED => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        RESOURCE_EXHAUSTED => 429,
        UNIMPLEMENTED => 501,
        UNAVAILABLE => 503,
        16 => 401,
        _ => 500,
    }
}

/// The status by which a call is refused where HTTP has `status`.
fn status_for(status: u16) -> u16 {
    match status {
        404 | 405 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => RESOURCE_EXHAUSTED,
        502 | 503 => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// The fields that end a call which the gateway refuses.
pub(super) fn refusal(http_status: u16, message: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(3);
    fields.insert("grpc-status", HeaderValue::from(status_for(http_status)));
    // Percent-encoding is only needed beyond printable ASCII, which the gateway does not say.
    let plain: String =
        message.chars().filter(|c| (' '..='~').contains(c) && *c != '%').take(200).collect();
    if let Ok(message) = HeaderValue::try_from(plain) {
        fields.insert("grpc-message", message);
    }
    fields
}

/// The trailers of a call that the gateway ends because its instance is replaced.
pub(super) fn going_away() -> HeaderMap {
    refusal(503, "the instance is being replaced; call again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_in_any_split() {
        let bytes = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0]].concat();
        for piece in 1..bytes.len() {
            let mut messages = Messages::default();
            for part in bytes.chunks(piece) {
                messages.scan(part, false);
            }
            assert!(!messages.between());
            assert_eq!(messages.count, 3);
        }
        assert_eq!(Messages::default().scan(&bytes, true), Some(8));
        let mut begun = Messages::default();
        begun.scan(&bytes[..6], false);
        assert_eq!(begun.scan(&bytes[6..], true), Some(2));
    }

    #[test]
    fn timeouts_are_read_and_said() {
        let of = |text: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&fields)
        };
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(of("99999999S"), Some(Duration::from_secs(99_999_999)));
        for bad in ["", "m", "123456789m", "1x", "-1S", "1.5S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(timeout_field(Duration::from_millis(250)), "250m");
        assert_eq!(timeout_field(Duration::from_secs(200_000)), "200000S");
        assert_eq!(timeout_field(Duration::ZERO), "1m");
    }
}
