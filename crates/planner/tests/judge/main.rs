//! The judge on simulated traffic: how often it is wrong, how often it sees what it must, and what
//! it says.

mod known;
#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod simulation;
mod traffic;
mod words;
