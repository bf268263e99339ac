//! The judge: is the new side of a deployment worse than the old one? Pure; called by the server's
//! deployment task with what the gateway measured on both sides over the same time, and by nothing
//! else. It knows no clock: the caller says when, and which look at the data this is.
//!
//! ```text
//! verdict        both sides' windows -> pass, fail or inconclusive, with reasons
//!  window        what was measured: counts, latencies, sizes, in slices of time
//!  settings      how sure, how much, how many
//!  counts        exact tests of sparse counts
//!  kayenta       the judge of another tool, for those who know it from there
//!  special       logarithms of factorials, the normal distribution
//! ```
//!
//! `docs/judge.md` has the formulas, their sources and how often it errs.

pub mod counts;
pub mod kayenta;
pub mod settings;
pub mod special;
mod verdict;
pub mod window;

pub use settings::{Effect, Look, Settings, early_look_due};
pub use verdict::verdict;
pub use window::{SideWindow, Slice};
