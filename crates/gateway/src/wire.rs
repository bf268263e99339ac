//! HTTP on the wire. HTTP/1.1 by our own loop, since the cost of a request is what a gateway is judged by.
//! Called by `worker` with accepted connections. Everything above (tables, probes, counters,
//! drain) knows nothing of bytes; nothing here knows of files, the server or other workers.
//!
//! A connection is one task. It waits in few places, each a `poll_fn` that also looks at its
//! [`slot`]: deadlines and drain arrive there, so a request arms no timer. In the common case a
//! request costs one read and one write on either side, and no allocation.

pub(crate) mod answer;
pub(crate) mod buffer;
mod chunked;
pub(crate) mod conn;
mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod h2;
mod head;
mod in_flight;
mod mirror;
mod pace;
mod passage;
pub(crate) mod proxy_protocol;
mod relay;
pub(crate) mod slot;
pub(crate) mod stream;
mod tunnel;
mod upload;
pub(crate) mod upstream;
mod web_socket;
mod wires;
mod without_target;

pub(crate) use head::is_token;
pub(crate) use passage::GIVEN_UP;
