//! The judge on simulated traffic: how often it is wrong, how often it sees what it must, and what
//! it says.

mod known;
mod simulation;
mod traffic;
mod words;
