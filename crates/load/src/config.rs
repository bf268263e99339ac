//! What a run of the load client does: the builder and its limits. Called by tests and
//! the quickstart; opens no socket itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::running::Running;

const RATE_PER_SECOND_MAX: f64 = 100_000.0;
const STREAMS_MAX: usize = 10_000;
const IN_FLIGHT_MAX: usize = 65_536;

/// One way of being a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// GET on a pool of persistent connections, each used in turn.
    KeepAlive,
    /// GET on a new connection each, with `connection: close`.
    NewConnection,
    /// GET `/slow?ms=N` on the same pool of persistent connections.
    Slow,
    /// POST `/echo` with a chunked body sent slowly on a new connection; the answer must
    /// be the same bytes.
    Upload,
    /// GET `/sse`, held open; event ids must be consecutive.
    Sse,
    /// WebSocket on `/ws`, held open; each message must come back.
    Ws,
}

impl Driver {
    /// All drivers, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::KeepAlive, Self::NewConnection, Self::Slow, Self::Upload, Self::Sse, Self::Ws];

    /// Whether its connections live long and end by a decision of one side.
    #[must_use]
    pub fn is_stream(self) -> bool {
        match self {
            Self::Sse | Self::Ws => true,
            Self::KeepAlive | Self::NewConnection | Self::Slow | Self::Upload => false,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeepAlive => "keep_alive",
            Self::NewConnection => "new_connection",
            Self::Slow => "slow",
            Self::Upload => "upload",
            Self::Sse => "sse",
            Self::Ws => "ws",
        })
    }
}

/// A slow upload: `chunks` of `chunk_bytes`, one each `gap`.
#[derive(Debug, Clone, Copy)]
pub struct UploadShape {
    /// Number of chunks.
    pub chunks: u32,
    /// Bytes of each chunk.
    pub chunk_bytes: u32,
    /// Pause before each chunk but the first.
    pub gap: Duration,
}

/// Why a load could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither a mix nor streams were given.
    #[error("load has nothing to do: give it a mix or streams")]
    NothingToDo,
    /// A number of the builder is out of its range.
    #[error("{what} is out of range (allowed: {allowed})")]
    OutOfRange {
        /// The builder's method.
        what: &'static str,
        /// The range in words.
        allowed: &'static str,
    },
    /// A path, host or header would break the request it goes into.
    #[error("{what} {value:?} cannot be part of a request")]
    BadText {
        /// The builder's method.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The runtime's threads could not be started.
    #[error("runtime of the load client")]
    Runtime(#[source] io::Error),
}

/// When requests begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Open loop: this many each second, come what may.
    Rate { per_second: f64 },
    /// Closed loop: this many at a time, each after the one before. For benchmarks of
    /// throughput; its latencies hide stalls.
    Closed { workers: usize },
}

/// The settings of a run. Made by [`Load::builder`].
#[derive(Debug, Clone)]
pub struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) host: String,
    pub(crate) pace: Pace,
    pub(crate) mix: Vec<(Driver, u32)>,
    pub(crate) sse_streams: usize,
    pub(crate) websockets: usize,
    pub(crate) path: String,
    pub(crate) body_bytes_expected: Option<u64>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) slow: Duration,
    pub(crate) upload: UploadShape,
    pub(crate) message_interval: Duration,
    pub(crate) stream_lifetime: Duration,
    pub(crate) stream_silence_max: Duration,
    pub(crate) keep_alive_connections: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) failures_kept_max: usize,
    pub(crate) strict: bool,
    pub(crate) threads: usize,
}

impl Load {
    /// A load on `target`, with `host` as the host header. Without further settings it
    /// does nothing: give it a [`Load::mix`] or streams.
    #[must_use]
    pub fn builder(target: SocketAddr, host: &str) -> Self {
        Self {
            target,
            host: host.to_owned(),
            pace: Pace::Rate { per_second: 100.0 },
            mix: Vec::new(),
            sse_streams: 0,
            websockets: 0,
            path: "/".to_owned(),
            body_bytes_expected: None,
            headers: Vec::new(),
            slow: Duration::from_millis(500),
            upload: UploadShape { chunks: 10, chunk_bytes: 1024, gap: Duration::from_millis(50) },
            message_interval: Duration::from_millis(100),
            stream_lifetime: Duration::from_secs(5),
            stream_silence_max: Duration::from_secs(10),
            keep_alive_connections: 16,
            in_flight_max: 1024,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(35),
            failures_kept_max: 50,
            strict: false,
            threads: 1,
        }
    }

    /// Open loop with this many arrivals each second (default 100, at most 100,000).
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.pace = Pace::Rate { per_second };
        self
    }

    /// Closed loop: `workers` requests at a time as fast as they are answered.
    #[must_use]
    pub fn closed_loop(mut self, workers: usize) -> Self {
        self.pace = Pace::Closed { workers };
        self
    }

    /// Which drivers share the arrivals, with their weights. A stream driver in the mix
    /// opens, at each of its arrivals, a stream that lives for
    /// [`Load::stream_lifetime`].
    #[must_use]
    pub fn mix(mut self, mix: impl IntoIterator<Item = (Driver, u32)>) -> Self {
        self.mix = mix.into_iter().filter(|(_, weight)| *weight > 0).collect();
        self
    }

    /// Holds this many SSE streams open during the whole run, opening each again when
    /// it ends or breaks.
    #[must_use]
    pub fn sse_streams(mut self, streams: usize) -> Self {
        self.sse_streams = streams;
        self
    }

    /// Holds this many WebSockets open during the whole run, opening each again when it
    /// ends or breaks.
    #[must_use]
    pub fn websockets(mut self, streams: usize) -> Self {
        self.websockets = streams;
        self
    }

    /// What `keep_alive` and `new_connection` ask for (default `/`).
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Demands that each body on [`Load::path`] has this many bytes.
    #[must_use]
    pub fn expect_body_bytes(mut self, bytes: u64) -> Self {
        self.body_bytes_expected = Some(bytes);
        self
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long `slow` asks the app to take (default 500 ms).
    #[must_use]
    pub fn slow(mut self, time: Duration) -> Self {
        self.slow = time;
        self
    }

    /// The shape of uploads (default 10 chunks of 1 KiB, one each 50 ms).
    #[must_use]
    pub fn upload(mut self, shape: UploadShape) -> Self {
        self.upload = shape;
        self
    }

    /// Pause between two messages on a WebSocket (default 100 ms).
    #[must_use]
    pub fn message_interval(mut self, interval: Duration) -> Self {
        self.message_interval = interval;
        self
    }

    /// How long a stream of the mix lives before this client closes it (default 5 s).
    #[must_use]
    pub fn stream_lifetime(mut self, lifetime: Duration) -> Self {
        self.stream_lifetime = lifetime;
        self
    }

    /// An SSE stream without a byte, or a WebSocket message without its echo, for this
    /// long is cut (default 10 s).
    #[must_use]
    pub fn stream_silence_max(mut self, silence: Duration) -> Self {
        self.stream_silence_max = silence;
        self
    }

    /// Number of persistent connections (default 16). More are opened, and closed after
    /// one use, when all are busy.
    #[must_use]
    pub fn keep_alive_connections(mut self, connections: usize) -> Self {
        self.keep_alive_connections = connections;
        self
    }

    /// Bound on attempts of the mix in flight (default 1024). An arrival beyond it is not
    /// started and counts as overflow.
    #[must_use]
    pub fn in_flight_max(mut self, attempts: usize) -> Self {
        self.in_flight_max = attempts;
        self
    }

    /// Deadline of a connection's establishment (default 5 s).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Deadline of a request, connection included (default 30 s); for streams, the
    /// deadline of the answer's head.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long `stop` waits for what is in flight (default 35 s).
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// How many failures keep their text (default 50).
    #[must_use]
    pub fn failures_kept_max(mut self, failures: usize) -> Self {
        self.failures_kept_max = failures;
        self
    }

    /// Counts `closed_idle_race` as a failure and does not retry it.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Threads of the load's runtime (default 1; more only to measure throughput).
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Starts the load on threads of its own.
    ///
    /// # Errors
    /// When a setting is out of range, or threads cannot be started. A target that does
    /// not answer is no error: it is what the report counts.
    pub fn start(self) -> Result<Running, LoadError> {
        self.check()?;
        Running::start(self).map_err(LoadError::Runtime)
    }

    fn check(&self) -> Result<(), LoadError> {
        let range = |fine: bool, what, allowed| {
            if fine { Ok(()) } else { Err(LoadError::OutOfRange { what, allowed }) }
        };
        if self.mix.is_empty() && self.sse_streams == 0 && self.websockets == 0 {
            return Err(LoadError::NothingToDo);
        }
        match self.pace {
            Pace::Rate { per_second } => range(
                per_second > 0.0 && per_second <= RATE_PER_SECOND_MAX,
                "rate",
                "above 0, at most 100,000 a second",
            )?,
            Pace::Closed { workers } => {
                range((1..=IN_FLIGHT_MAX).contains(&workers), "closed_loop", "1 to 65,536")?;
            }
        }
        let streams = self.sse_streams.max(self.websockets);
        range(streams <= STREAMS_MAX, "streams", "at most 10,000 of each")?;
        range((1..=IN_FLIGHT_MAX).contains(&self.in_flight_max), "in_flight_max", "1 to 65,536")?;
        range((1..=64).contains(&self.threads), "threads", "1 to 64")?;
        let upload_fits = self.upload.chunks > 0 && self.upload.chunk_bytes > 0;
        range(upload_fits, "upload", "at least one chunk of one byte")?;
        range(!self.message_interval.is_zero(), "message_interval", "above 0")?;
        self.check_texts()
    }

    fn check_texts(&self) -> Result<(), LoadError> {
        let visible = |text: &str, spaces: bool| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || (spaces && c == ' '))
        };
        let check = |what, value: &str, spaces: bool| {
            if visible(value, spaces) {
                Ok(())
            } else {
                let value = value.to_owned();
                Err(LoadError::BadText { what, value })
            }
        };
        check("host", &self.host, false)?;
        check("path", &self.path, false)?;
        for (name, value) in &self.headers {
            check("header name", name, false)?;
            check("header value", value, true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Load {
        let target = SocketAddr::from(([127, 0, 0, 1], 9));
        Load::builder(target, "app.test").mix([(Driver::KeepAlive, 1)])
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let target = SocketAddr::from(([127, 0, 0, 1], 9));
        for (load, expect) in [
            (Load::builder(target, "a"), "nothing to do"),
            (Load::builder(target, "a").mix([(Driver::Ws, 0)]), "nothing to do"),
            (base().rate(0.0), "rate"),
            (base().rate(f64::NAN), "rate"),
            (base().rate(1e9), "rate"),
            (base().closed_loop(0), "closed_loop"),
            (base().in_flight_max(0), "in_flight_max"),
            (base().threads(0), "threads"),
            (base().sse_streams(1_000_000), "streams"),
            (base().path("/a b"), "path"),
            (base().path(""), "path"),
            (base().header("x", "a\r\nb: c"), "header value"),
            (base().message_interval(Duration::ZERO), "message_interval"),
        ] {
            let error = load.check().expect_err(expect).to_string();
            assert!(error.contains(expect), "{error:?} names {expect:?}");
        }
        assert!(base().check().is_ok());
    }
}
