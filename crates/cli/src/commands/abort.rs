//! `ark abort`: ends a running deployment before its time.

use ark_model::api::AbortRequest;

use super::follow_deployment::{Ending, follow};
use crate::cli::block_on;
use crate::client::Connection;
use crate::context::Context;
use crate::failure::{Ended, Exit};
use crate::output::Shown;

/// What `abort` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark abort 4f1b8a2c90de\n  ark abort 4f1b8a2c90de --reason \"wrong branch\"",
    after_help = "The old release takes over again first. Exit code 0 when the deployment has ended."
)]
pub(crate) struct Args {
    /// Deployment, by the beginning or the end of its id (`ark deployments`)
    deployment: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Return as soon as the server has accepted it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.connection, args.shown)?;
    block_on(async {
        let request = AbortRequest { reason: args.reason };
        let view = context.client.abort(&args.deployment, &request).await?;
        if args.detach {
            context
                .out
                .one(&view, |view| format!("{} {} is being aborted", view.app, view.release))?;
            return Ok(Exit::DONE);
        }
        follow(&context, view, Ending::Aborted).await
    })
}
