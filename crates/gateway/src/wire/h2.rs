//! HTTP/2, downstream and upstream, and every crossing with HTTP/1.1 but the one that needs none
//! (`exchange` keeps HTTP/1.1 on both sides to itself).
//!
//! - `server`: a client's connection; each of its streams is a task with a slot of its own.
//! - `outlet`: what it writes leaves once per turn. `guard`: closes connections that cost more than they ask for.
//! - `crossing`: one request, whichever side speaks what: the same admission, deadlines, drain and
//!   counting as everywhere (`passage`, `in_flight`).
//! - `way`: one direction of a message, from one [`side::Side`] to the other. A piece is taken in
//!   only when the piece before has left, and the sender's window grows by what has left: nothing
//!   is buffered beyond a window.
//! - `client`, `h1_client`, `target`: the sides. `shared`: connections to targets.
//! - `probe`: asks a target how it is; sends it copies.
//! - `fields`, `grpc`, `web_socket`: what messages say.
//!
//! Frames, HPACK and flow control are the `h2` crate's, and nothing outside of this folder knows
//! of it.

mod client;
mod crossing;
mod fields;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
pub(super) mod grpc;
mod guard;
mod h1_client;
mod h1_sink;
mod outlet;
mod own_answer;
mod probe;
mod server;
pub(crate) mod shared;
mod side;
mod target;
mod upgrade;
mod way;

pub(super) use h1_client::carry_out;
pub(crate) use probe::{probe, send_copy};
pub(super) use server::serve;

/// Who asks, on a connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) peer: std::net::IpAddr,
    /// The same in text.
    pub(super) address: String,
}

/// What an HTTP/2 connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of a body may be on its way in one stream, and over all streams of a connection, in
/// bytes: what a sender may send before it hears that it has left.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// For how long a connection may owe an answer, or take nothing, before the kernel gives it up, in
/// milliseconds.
const SILENT_MS: u64 = 300_000;
/// The most bytes of one stream that wait for the connection, in bytes.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// The most bytes that wait for an HTTP/1.1 connection, in bytes.
const H1_AHEAD_BYTES: usize = 64 << 10;
