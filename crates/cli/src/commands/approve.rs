//! `ark approve`: approves the step that waits for it.

use super::wish::{WishArgs, say};
use crate::failure::Ended;
use crate::output::Shown;

/// What `approve` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark approve web -e production\n  ark approve web -e production --reason \"checked by hand\" --wait",
    after_help = "Exit code 5 when no step waits for an approval."
)]
pub(crate) struct Args {
    #[command(flatten)]
    wish: WishArgs,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.wish.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    say(args.wish, "approve")
}
