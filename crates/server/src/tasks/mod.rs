//! The loops of the control plane, one file each. A loop takes no input: it reads what is recorded
//! and what is observed, plans, records the plan, carries it out, and is its own retry.

pub(crate) mod calls;
pub(crate) mod crons;
pub mod deployments;
pub(crate) mod diagnose;
mod engine_calls;
pub mod hooks;
mod hosts;
pub mod housekeeping;
pub(crate) mod needed;
mod on_demand;
mod reconcile;
mod record;
pub mod round;
pub mod runs;
pub mod start_spec;
