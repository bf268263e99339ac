//! The gateway's two processes without the rest of Ark: for tests and benchmarks.
//!
//! `gateway DATA_DIR ADDRESS...` supervises, where an address with `tls:` before it speaks TLS; `gateway DATA_DIR` with the supervisor's socket on
//! standard input serves.

use std::error::Error;
use std::path::PathBuf;

use ark_gateway::role::{self, Config, Program};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let data_dir = PathBuf::from(arguments.next().ok_or("which data directory?")?);
    let mut config = Config { data_dir: data_dir.clone(), ..Config::default() };
    for text in arguments {
        let text = text.to_string_lossy();
        match text.strip_prefix("tls:") {
            Some(address) => config.https.push(address.parse()?),
            None => config.http.push(text.parse()?),
        }
    }
    if config.http.is_empty() {
        return Ok(role::run_worker(&data_dir)?);
    }
    let program = Program { path: std::env::current_exe()?, arguments: vec![data_dir.into()] };
    Ok(role::run_supervisor(&config, program)?)
}
