//! `ark shim`: the parent of one instance. Started by the process engine, never by people.

use std::path::PathBuf;

use crate::failure::{Ended, Exit};

/// What `shim` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The instance's directory
    pub(crate) directory: PathBuf,
}

/// Must be called before any runtime or thread is started: it closes inherited descriptors.
pub(crate) fn run(args: &Args) -> Ended {
    let ended = ark_server::roles::shim::run(&args.directory);
    Ok(if ended == std::process::ExitCode::SUCCESS { Exit::DONE } else { Exit(1) })
}
