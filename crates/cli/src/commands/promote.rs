//! `ark promote`: lets a deployment in steps go on, to the next step or to the end.

use super::wish::{WishArgs, tell};
use crate::failure::Ended;
use crate::output::Shown;
use ark_model::api::PromoteRequest;

/// What `promote` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark promote web -e production\n  ark promote web -e production --full --wait",
    after_help = "Goes on over the step at which it waits (pause, approval, analysis). While the old side is only kept:\n\
                  lets it go. Exit codes: 5 when nothing runs or nothing waits, 6 no such app."
)]
pub(crate) struct Args {
    /// Over all steps: all of the traffic as soon as enough instances are ready
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    wish: WishArgs,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.wish.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let full = args.full;
    tell(args.wish, async move |client, id, reason| {
        client.promote(&id, &PromoteRequest { full, step: None, reason }).await
    })
}
