//! `ark restart`: every instance is replaced by a new one of the same release, start-first.

use ark_model::AppName;
use ark_model::api::InstancesQuery;
use jiff::Timestamp;

use super::settle::{Wait, settle};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::Ended;
use crate::output::Shown;

/// What `restart` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark restart web -e production\n  ark restart web -e production --detach"
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
        let all = InstancesQuery::default();
        // Which ones must go, rather than when they were made: clocks of two machines differ.
        let old: Vec<_> = context.client.instances(&env, &app, &all).await?;
        context.client.restart(&env, &app).await?;
        context.out.event(Timestamp::now(), &format!("{app} on {env} is being restarted"));
        settle(&context, &env, &app, args.wait, async |detail| {
            let row = &detail.row;
            if row.ready != row.wanted || row.alive != row.wanted {
                return Ok(false);
            }
            let now = context.client.instances(&env, &app, &all).await?;
            Ok(!now.iter().any(|i| i.state.is_alive() && old.iter().any(|o| o.uuid == i.uuid)))
        })
        .await
    })
}
