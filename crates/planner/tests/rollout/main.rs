//! Tables of plans: one situation, one expected step. Whole runs are the simulator's work.

mod case;
mod keeping;
mod replacing;
