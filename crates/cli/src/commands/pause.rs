//! `ark pause`: lets a deployment in steps stay where it is.

use super::wish::{WishArgs, say};
use crate::failure::Ended;
use crate::output::Shown;

/// What `pause` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark pause web -e production\n  ark pause web -e production --reason \"the p99 looks odd\"",
    after_help = "Traffic stays as it is. After 24 hours it is aborted. Go on: ark resume."
)]
pub(crate) struct Args {
    #[command(flatten)]
    wish: WishArgs,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.wish.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    say(args.wish, "pause")
}
