//! `ark shim` on its own, for this crate's tests and benchmarks: they have no `ark` to start.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(directory) => ark_engine::shim::run(Path::new(&directory)),
        None => ExitCode::FAILURE,
    }
}
