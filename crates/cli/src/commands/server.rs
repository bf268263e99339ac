//! `ark server`: the control plane alone, beside whichever gateway serves the data directory.

use std::path::PathBuf;

use ark_server::WithGateway;

use super::up;
use crate::failure::Ended;
use crate::output::{Output, Shown};

/// What `server` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark server\n  ark server --data-dir ./data --api 127.0.0.1:0 --json",
    after_help = "`ark up` is server and gateway together, and what most machines want."
)]
pub(crate) struct Args {
    /// Where everything is kept [default: ARK_DATA_DIR, else /var/lib/ark for root, ~/.local/share/ark]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    at: up::ApiArgs,
    /// Print one line of JSON when it is up
    #[arg(long)]
    json: bool,
}

pub(crate) fn shown(args: &Args) -> Shown {
    Shown { json: args.json, utc: false }
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(shown(&args));
    up::serve(out, up::data_dir(args.data_dir)?, args.at, WithGateway::Found)
}
