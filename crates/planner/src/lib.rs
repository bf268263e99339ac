//! Desired and observed state in, a plan out; pure.
//!
//! Called by `ark-server`'s tasks and by its simulator. Knows no clock, no randomness and no I/O:
//! the instant is part of the input (invariant I10), so the same input gives the same plan.

pub mod converge;
pub mod cron;
pub mod failures;
pub mod freeze;
pub mod hooks;
pub mod judge;
mod keeping;
pub mod lease;
pub mod observed;
pub mod placement;
pub mod planted;
pub mod policy;
pub mod queue;
mod replacing;
mod returning;
pub mod rollout;
pub mod runs;
pub mod stepping;
pub mod time;
pub mod watch;
pub mod wishes;

pub use converge::{Action, Progress};
pub use observed::{Admission, HostSeen, Measured, ProbeSeen, Seen, ShareSeen};
pub use planted::Planted;
pub use policy::Policy;
pub use rollout::{Beginning, Input, Plan, Transition, plan};
