//! `ark rollback`: back to an earlier release.

use ark_model::api::RollbackRequest;
use ark_model::{AppName, ReleaseNumber};

use super::deploy::detached;
use super::follow_deployment::{Ending, follow};
use super::plan::{say, unanswered};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::Ended;
use crate::output::Shown;

/// What `rollback` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark rollback web -e production\n  ark rollback web -e production --to v41\n  ark rollback web -e production --plan",
    after_help = "Without --to: the last release that succeeded, is not live and was not rolled back from.\nA running deployment is aborted first.\nNeither registry nor repository is needed. Exit codes are those of ark deploy; with --plan those of ark plan."
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    /// To which release
    #[arg(long, value_name = "RELEASE")]
    to: Option<ReleaseNumber>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say where it would lead and what it would do, and change nothing
    #[arg(long, conflicts_with_all = ["reason", "detach"])]
    plan: bool,
    /// Return as soon as the server has accepted it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    block_on(async {
        let request = RollbackRequest { to: args.to, reason: args.reason, expect: None };
        if args.plan {
            let plan = context.client.plan_rollback(&env, &app, &request).await;
            return say(&context, &plan.map_err(unanswered)?);
        }
        let view = context.client.rollback(&env, &app, &request).await?;
        if args.detach {
            return detached(&context, &view);
        }
        follow(&context, view, Ending::Data).await
    })
}
