//! Schedules: the recorded table, and a simulated year of every schedule in it.

mod clock;
#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod table;
mod year;
