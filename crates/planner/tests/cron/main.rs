//! Schedules: the recorded table, and a simulated year of every schedule in it.

mod clock;
mod table;
mod year;
