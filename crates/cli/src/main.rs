//! The `ark` binary: every role and every command. It reads the command line, runs one command,
//! prints its failure and ends with the exit code of the contract (`ark_model::exit`).
//!
//! A command is one file in `commands`; commands speak to the server through `client` and to
//! people through `output`. The roles `up`, `server`, `gateway` and `shim` are calls into the
//! crates that implement them.

mod cli;
mod client;
mod commands;
mod compose;
mod confirm;
mod context;
mod docker_ignore;
mod env_file;
mod failure;
mod git;
mod images;
mod launch;
mod manifest;
mod output;
mod project_path;
mod sample;
mod settings;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(cli::run().0)
}
