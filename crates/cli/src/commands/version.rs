//! `ark version`: the version of this program.

use crate::failure::{Ended, Exit};
use crate::output::{Output, Shown};

/// What `version` takes.
#[derive(Debug, clap::Args)]
#[command(before_help = "Examples:\n  ark version\n  ark version --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn shown(args: &Args) -> Shown {
    Shown { json: args.json, utc: false }
}

pub(crate) fn run(args: Args) -> Ended {
    let version = env!("CARGO_PKG_VERSION");
    let system = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let value = serde_json::json!({"version": version, "system": system});
    Output::new(shown(&args)).one(&value, |_| format!("ark {version} ({system})"))?;
    Ok(Exit::DONE)
}
