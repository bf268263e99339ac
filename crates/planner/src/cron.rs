//! Work by the clock: when a schedule fires, and what is to be done about it now. Pure; called by the
//! server's cron loop with the instant (invariant I10), and by whatever else follows a schedule.
//!
//! - [`schedule`]: a schedule read from text, its next and its previous firing in an IANA zone.
//! - [`plan`]: which firings are due now, which of them run, are skipped or were missed.
//!
//! **Daylight saving.** A schedule fires at every instant at which its zone's clock shows a time of
//! the schedule, and at no other. So a time that the clock leaves out in spring does not fire that
//! day, and one that the clock shows twice in autumn fires twice. Who wants neither names a zone
//! without changes (`UTC`) or a time that no change touches.
//!
//! **Exactly once.** A firing is named by its instant. [`plan`] is given the instant up to which all
//! is decided and gives the next one; whoever writes down both in one transaction fires nothing twice
//! and leaves nothing out, whatever happens between two calls and whichever way the clock jumps.

mod firing;
mod schedule;

pub use firing::{
    Cause, Decision, Firing, Input, MissedFirings, ON_TIME_FOR, Plan, RUNS_MAX, Skipped, delay,
    plan,
};
pub use schedule::{Form, Schedule, ScheduleError};
