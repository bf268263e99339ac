//! The interpreter at its boundary: recorded cases, single behaviours, properties.

#![expect(clippy::print_stderr, reason = "tests say what they skip and what differs")]

mod behaviour;
mod compare;
mod driver;
mod expressions;
mod failing;
mod game;
mod hostile;
#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod map_runs;
mod play;
mod properties;
mod recorded;
mod seen;
mod specification;
