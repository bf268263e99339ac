//! The loops of the control plane, one file each. A loop takes no input: it reads what is recorded
//! and what is observed, plans, records the plan, carries it out, and is its own retry.

pub mod deployments;
pub(crate) mod diagnose;
mod engine_calls;
pub mod hooks;
pub mod housekeeping;
mod reconcile;
mod record;
pub mod start_spec;
