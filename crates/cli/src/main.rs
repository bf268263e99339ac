//! The `ark` binary.

use std::process::ExitCode;

mod sample;

fn main() -> ExitCode {
    // A role that is started by engines, not by people: one thread keeps it small.
    if std::env::args().nth(1).as_deref() == Some("sample") {
        return run_sample();
    }
    ExitCode::SUCCESS
}

fn run_sample() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.map_err(anyhow::Error::from).and_then(|rt| rt.block_on(sample::run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sample::log(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
