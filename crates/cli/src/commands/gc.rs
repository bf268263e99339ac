//! `ark gc`: removes what nothing needs any more.

use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit};
use crate::output::Shown;
use crate::output::numbers::{bytes, counted};

/// What `gc` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark gc",
    after_help = "Kept are the last 50 releases of each app, always the live one and the one to go back to."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    block_on(async {
        let report = context.client.gc().await?;
        context.out.one(&report, |report| {
            format!(
                "removed {}, {}, {}, {}: {}",
                counted(report.releases, "release"),
                counted(report.blobs, "file"),
                counted(report.instances, "ended instance"),
                counted(report.images, "image"),
                bytes(report.bytes)
            )
        })?;
        for why in &report.unreached {
            context.out.warn(format!("note: {why}"));
        }
        if !report.unreached.is_empty() {
            context.out.say("repeat `ark gc` when `ark doctor` finds the engine well");
        }
        Ok(Exit::DONE)
    })
}
