//! The judge: is the new side of a deployment worse than the old one? Pure; called by the server's
//! deployment task with what the gateway measured on both sides over the same time, and by nothing
//! else. It knows no clock: the caller says when, and which look at the data this is.
//!
//! ```text
//! verdict     both sides' windows -> pass, fail or inconclusive, with reasons
//!  window       what was measured: counts, latencies, sizes, in slices of time
//!  settings     how sure, how much, how many
//!  rates        errors, client errors, redirects, clients gone
//!  latency      median, p90, p99, and the whole
//!  sizes        answers that became much smaller or larger
//!   counts        exact tests of counts
//!   ranks         rank tests on histograms
//!   quantiles     quantiles and how well they are known
//!   aligned       both sides in blocks of time; clusters of requests
//!   words         numbers for readers
//!   special       logarithms of factorials, the normal distribution
//! kayenta     the judge of another tool, for those who know it from there
//! ```
//!
//! `docs/judge.md` has the formulas, their sources and how often it errs.

mod aligned;
pub mod counts;
pub mod kayenta;
mod latency;
mod quantiles;
mod ranks;
mod rates;
pub mod settings;
mod sizes;
pub mod special;
mod verdict;
pub mod window;
mod words;

pub use settings::{Effect, Look, Settings, early_look_due};
pub use verdict::verdict;
pub use window::{SideWindow, Slice};
