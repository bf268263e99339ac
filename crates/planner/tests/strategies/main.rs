//! The strategies, as transcripts: a small world carries each plan out at once and acknowledges
//! what it is told to; what the plans do over time is held against what is expected. Crashes, late
//! acknowledgements and everything else that goes wrong are the simulator's work.

mod back;
mod course;
mod judged;
mod world;
