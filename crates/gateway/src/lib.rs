//! The data plane: terminates connections, balances, probes, drains, measures.

pub mod adopt;
mod data_dir;
pub mod error;
mod frames;
pub mod link;
pub mod process;

pub use error::{Error, Result};
