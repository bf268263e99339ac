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
//! - `tls`: certificates, and TLS towards clients.
//! - `registry`, `conductor`: from tables to those; reports, checkpoints, the end.
//! - `health`: probes. The gateway owns readiness.
//!
//! It must not know the store or any engine: it receives a table and emits measurements.

pub mod adopt;
mod clock;
mod conductor;
mod control;
mod counters;
mod data_dir;
pub mod error;
mod frames;
pub mod gateway;
mod handoff;
mod health;
mod lazy_histogram;
pub mod link;
mod listen;
pub mod process;
mod refusals;
mod registry;
pub mod role;
mod saved;
mod supervisor;
mod table;
mod target;
pub mod tls;
mod wire;
mod worker;

pub use error::{Error, Result};
