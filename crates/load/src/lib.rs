//! An independent load client with exact accounting: the judge of every test that
//! claims "no request was lost".
//!
//! It shares nothing with the gateway and imports no other crate of Ark. HTTP/1.1,
//! chunked bodies, server-sent events and WebSocket are spoken over bare TCP sockets by
//! a parser of its own, so that a reset, a truncated body or an unexpected close is
//! seen as what it was, and not as some library's "connection error".
//!
//! Arrivals are an **open loop**: they follow a schedule, whether or not the server keeps
//! up, and latency is counted from the *intended* start. A server that freezes for a
//! second therefore shows a second of bad latencies, and not one bad sample.
//!
//! Every attempt ends in exactly one [`Class`]; the sum of all classes equals the number
//! of attempts started (minus those still in flight in a snapshot).
//!
//! The load runs on a runtime and threads of its own: a test may block its own
//! thread (wait for a process, say) without slowing the load.
//!
//! ```no_run
//! use ark_load::{Driver, Load};
//! # async fn example() -> Result<(), ark_load::LoadError> {
//! let target = "127.0.0.1:8080".parse().expect("an address");
//! let load = Load::builder(target, "web.production.localhost")
//!     .rate(500.0)
//!     .mix([(Driver::KeepAlive, 6), (Driver::NewConnection, 3), (Driver::Slow, 1)])
//!     .sse_streams(4)
//!     .websockets(4)
//!     .start()?;
//! // ... roll the app over ...
//! let report = load.stop().await;
//! assert_eq!(report.failed(), 0, "{report}");
//! # Ok(())
//! # }
//! ```

mod config;
mod connection;
mod drivers;
mod http1;
mod ledger;
mod outcome;
mod report;
mod running;
mod schedule;
mod websocket;

pub use config::{Driver, Load, LoadError, UploadShape};
pub use outcome::Class;
pub use report::{Failure, Latency, Report, Stall, Tally, VersionSeen};
pub use running::Running;
