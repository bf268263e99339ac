//! Desired and observed state in, a plan out; pure.
//!
//! Called by `ark-server`'s tasks and by its simulator. Knows no clock, no randomness and no I/O:
//! the instant is part of the input (invariant I10), so the same input gives the same plan.

pub mod converge;
pub mod judge;
pub mod observed;
pub mod policy;
pub mod queue;
pub mod rollout;
pub mod time;

pub use converge::{Action, Progress};
pub use observed::{Admission, ProbeSeen, Seen};
pub use policy::Policy;
pub use rollout::{Input, Plan, Transition, plan};
