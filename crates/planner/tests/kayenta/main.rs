//! The published canary judge against its recorded cases, and the U test against scipy's.

mod classifier;
#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod mann_whitney;
mod scorer;
mod shared;
mod statistics;
