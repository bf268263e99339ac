//! `ark resume`: lets a paused deployment go on.

use super::wish::{WishArgs, say};
use crate::failure::Ended;
use crate::output::Shown;

/// What `resume` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark resume web -e production\n  ark resume web -e production --wait",
    after_help = "It goes on where it was. Exit code 5 when it is not paused."
)]
pub(crate) struct Args {
    #[command(flatten)]
    wish: WishArgs,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.wish.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    say(args.wish, "resume")
}
