//! `ark open`: where an app is reached.

use ark_model::AppName;
use ark_model::exit::ExitCode;

use crate::cli::block_on;
use crate::client::Connection;
use crate::context::{Context, EnvArg, app};
use crate::failure::{Ended, Exit, Failure};
use crate::output::Shown;

/// What `open` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark open web -e production\n  curl \"$(ark open web -e production)\"",
    after_help = "Names under .localhost are for browsers and curl; apps find each other by SERVICE_* variables."
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
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
    let (env, app) = (args.env.get()?, app(args.app)?);
    block_on(async {
        let detail = context.client.app(&env, &app).await?;
        if detail.addresses.is_empty() {
            return Err(Failure::new(
                ExitCode::NotFound,
                "no-address",
                format!("{app} on {env} has no address: it exposes no port, or no gateway runs"),
            )
            .remedy("look closer", "ark doctor"));
        }
        context.out.list(&detail.addresses, |addresses| {
            addresses.iter().map(|a| a.url.as_str()).collect::<Vec<_>>().join("\n")
        })?;
        Ok(Exit::DONE)
    })
}
