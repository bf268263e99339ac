//! The data plane: terminates connections, balances, probes, drains, measures.
//!
//! A gateway is a process of its own (`role`), started and started anew by a tiny supervisor that
//! keeps its listening sockets. It is fed numbered route tables by the server (`link` is the
//! server's end, `control` the gateway's), keeps the last one on disk (`saved`) and serves without
//! the server. The parts:
//!
//! - `wire`: bytes. HTTP/1.1 and HTTP/2 on both sides, tunnels, chunked bodies, WebSocket frames.
//! - `worker`: one thread per core; admission, and how the removal of a target is acknowledged.
//! - `table`, `target`, `counters`: what workers read and count.
//! - `balance`, `pool`, `split`, `limiter`, `concurrency`, `rate`, `retry_budget`, `rules`: which
//!   target a request goes to, and whether it is let in at all.
//! - `callers`: who calls which route through its own port.
//! - `tls`: certificates, and TLS towards clients; `acme`: certificates that are got and renewed.
//! - `registry`, `conductor`: from tables to those; reports, checkpoints, the end.
//! - `health`: probes. The gateway owns readiness.
//!
//! It must not know the store or any engine: it receives a table and emits measurements.

pub mod access_log;
pub mod acme;
pub mod adopt;
mod balance;
mod callers;
mod clock;
mod concurrency;
mod conductor;
mod control;
mod counters;
mod data_dir;
pub mod error;
mod frames;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
mod handoff;
mod health;
#[cfg(test)]
#[path = "../../../tests/harness/lacking.rs"]
mod lacking;
mod lazy_histogram;
mod limiter;
pub mod link;
mod listen;
pub mod metrics;
mod pool;
mod predecessor;
pub mod process;
mod rate;
mod refusals;
mod registry;
mod retry_budget;
pub mod role;
mod route_local;
mod rules;
mod saved;
mod split;
mod supervisor;
mod table;
mod target;
pub mod tls;
mod wire;
mod worker;

pub use error::{Error, Result};
