//! `ark scale`: the number of instances of an app.

use std::str::FromStr;

use ark_model::AppName;
use ark_model::api::SCALE_MAX;

use super::settle::{Wait, settle};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::Ended;
use crate::output::Shown;

/// What `scale` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark scale web=5 -e production\n  ark scale web=default -e production",
    after_help = "It holds over deployments until it is said anew; `default` goes back to the launch file."
)]
pub(crate) struct Args {
    /// App and number of instances
    #[arg(value_name = "APP=N")]
    target: Target,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    asking: Asking,
}

/// `web=5`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    app: AppName,
    count: Option<u32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (app, count) = text.split_once('=').ok_or("write it as APP=N, like web=5")?;
        let app = app.parse().map_err(|error| format!("{error}"))?;
        let count = match count {
            "default" => None,
            digits => Some(
                digits
                    .parse()
                    .ok()
                    .filter(|count| *count <= SCALE_MAX)
                    .ok_or_else(|| format!("the number is 0 to {SCALE_MAX}, or `default`"))?,
            ),
        };
        Ok(Self { app, count })
    }
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let env = args.env.get()?;
    let Target { app, count } = args.target;
    block_on(async {
        let before = context.client.scale(&env, &app, count).await?;
        if before.row.running_deployment.is_some() && !args.wait.detach {
            context.out.say("a deployment is running; it brings the new number about");
        }
        settle(&context, &env, &app, args.wait, async |detail| {
            let row = &detail.row;
            Ok(row.stopped || (row.ready == row.wanted && row.alive == row.wanted))
        })
        .await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_app_and_a_number() {
        for (text, expect) in [
            ("web=5", Some(Some(5))),
            ("web=0", Some(Some(0))),
            ("web=default", Some(None)),
            ("web", None),
            ("web=", None),
            ("web=-1", None),
            ("web=1001", None),
            ("Web=1", None),
        ] {
            assert_eq!(text.parse::<Target>().ok().map(|t| t.count), expect, "{text}");
        }
    }
}
