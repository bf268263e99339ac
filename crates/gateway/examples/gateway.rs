//! The gateway's two processes without the rest of Ark: for tests and benchmarks.
//!
//! `gateway DATA_DIR ADDRESS...` supervises; `gateway DATA_DIR` with the supervisor's socket on
//! standard input serves.

use std::error::Error;
use std::path::PathBuf;

use ark_gateway::role::{self, Config, Program};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let data_dir = PathBuf::from(arguments.next().ok_or("which data directory?")?);
    let http = arguments
        .map(|text| text.to_string_lossy().parse())
        .collect::<Result<Vec<_>, std::net::AddrParseError>>()?;
    if http.is_empty() {
        return Ok(role::run_worker(&data_dir)?);
    }
    let program =
        Program { path: std::env::current_exe()?, arguments: vec![data_dir.clone().into()] };
    Ok(role::run_supervisor(&Config { data_dir, http, ..Config::default() }, program)?)
}
