//! `ark stop`: stops an app. Its releases and configuration stay.

use ark_model::AppName;

use super::settle::{Wait, settle};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::Ended;
use crate::output::Shown;

/// What `stop` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark stop web -e staging",
    after_help = "Requests end first, as in a deployment. Start it again: ark start APP -e ENV."
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    wait: Wait,
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
        context.client.stop(&env, &app).await?;
        settle(&context, &env, &app, args.wait, async |detail| Ok(detail.row.alive == 0)).await
    })
}
