//! How an attempt can end. Used by the drivers to classify, by the ledger to count and
//! by reports as map keys. Knows nothing of sockets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The one class an attempt ends in. In JSON it is its name (`ok`, `status_503`,
/// `reset`, ...).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Class {
    /// A 2xx answer whose body was complete and right; or a stream that this client
    /// closed while it was healthy.
    Ok,
    /// A stream (SSE, WebSocket) that the server ended in an orderly way: the end of the
    /// body as framed, or a close frame 1000 or 1001. Not a failure.
    Ended,
    /// A request written on a reused connection that was closed (end of file, no reset)
    /// before the first byte of an answer and within 250 ms. Any server may close an idle
    /// connection at any time, so this is a failure only in strict mode. After that time
    /// the server has dropped a request that it had: [`Class::ClosedEarly`].
    ClosedIdleRace,
    /// A complete answer with this status, which is not 2xx.
    Status(u16),
    /// Nobody listened.
    ConnectRefused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The peer reset the connection.
    Reset,
    /// End of file before the answer's head was complete.
    ClosedEarly,
    /// End of file inside the answer's body.
    Truncated,
    /// No complete answer within the request's deadline.
    Timeout,
    /// The answer broke the protocol, or its body was not what was promised.
    ProtocolError,
    /// An established stream (SSE, WebSocket) broke: reset, end of file without an
    /// orderly end, broken framing, a close code other than 1000 and 1001, silence
    /// beyond the limit. The failure's text says which.
    Cut,
    /// This client's own machine failed (no ports, no descriptors).
    ClientError,
    /// Still unfinished when the deadline of `stop` passed.
    Abandoned,
}

impl Class {
    /// Whether a request that ended so was lost for its user. [`Class::ClosedIdleRace`]
    /// counts in strict mode only.
    #[must_use]
    pub fn is_failure(self, strict: bool) -> bool {
        match self {
            Self::Ok | Self::Ended => false,
            Self::ClosedIdleRace => strict,
            Self::Status(_)
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::Reset
            | Self::ClosedEarly
            | Self::Truncated
            | Self::Timeout
            | Self::ProtocolError
            | Self::Cut
            | Self::ClientError
            | Self::Abandoned => true,
        }
    }
}

/// Every class but `Status`, with its name.
const NAMES: [(Class, &str); 13] = [
    (Class::Ok, "ok"),
    (Class::Ended, "ended"),
    (Class::ClosedIdleRace, "closed_idle_race"),
    (Class::ConnectRefused, "connect_refused"),
    (Class::ConnectTimeout, "connect_timeout"),
    (Class::Reset, "reset"),
    (Class::ClosedEarly, "closed_early"),
    (Class::Truncated, "truncated"),
    (Class::Timeout, "timeout"),
    (Class::ProtocolError, "protocol_error"),
    (Class::Cut, "cut"),
    (Class::ClientError, "client_error"),
    (Class::Abandoned, "abandoned"),
];

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Status(code) = self {
            return write!(f, "status_{code}");
        }
        let name = NAMES.iter().find(|(class, _)| class == self);
        f.write_str(name.map_or("unnamed", |(_, name)| name))
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.to_string()
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(code) = text.strip_prefix("status_") {
            return code.parse().map(Self::Status).map_err(|_| format!("unknown class {text:?}"));
        }
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(class, _)| *class)
            .ok_or_else(|| format!("unknown class {text:?}"))
    }
}

impl TryFrom<String> for Class {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How one attempt ended, with the words for the list of failures.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) class: Class,
    /// What happened, for a reader of the report. Empty for successes.
    pub(crate) text: String,
}

impl Outcome {
    pub(crate) fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    pub(crate) fn ok() -> Self {
        Self::new(Class::Ok, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let mut all: Vec<Class> = NAMES.iter().map(|(class, _)| *class).collect();
        all.extend([Class::Status(404), Class::Status(503)]);
        for class in all {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        for wrong in ["", "fine", "status_", "status_x", "unnamed"] {
            assert!(wrong.parse::<Class>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn what_counts_as_a_failure() {
        for (class, lenient, strict) in [
            (Class::Ok, false, false),
            (Class::Ended, false, false),
            (Class::ClosedIdleRace, false, true),
            (Class::Status(404), true, true),
            (Class::Status(301), true, true),
            (Class::Cut, true, true),
            (Class::Abandoned, true, true),
        ] {
            assert_eq!(class.is_failure(false), lenient, "{class}");
            assert_eq!(class.is_failure(true), strict, "{class}");
        }
    }
}
