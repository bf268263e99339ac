//! `ark workflows`: one execution, now or until its end.

use super::workflow::follow::{exit_of, follow};
use super::workflow::status::{described, render_execution};
use super::workflow::target::execution_arn;
use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::Ended;
use crate::output::Shown;

/// What `workflows` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark workflows --workflow-id resize:8f2c\n  ark workflows --workflow-id resize:8f2c --follow",
    after_help = "Ends with 0 when the workflow runs or succeeded, 1 when it failed or was stopped, 4 when its time\nwas over."
)]
pub(crate) struct Args {
    /// NAME:EXECUTION, an ARN, or the execution's name
    #[arg(long, value_name = "ID")]
    workflow_id: String,
    /// Show states as they pass, until the end
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    block_on(async {
        let arn = execution_arn(&context.client, &args.workflow_id).await?;
        if args.follow {
            return follow(&context, &arn).await;
        }
        let execution = described(&context.client, &arn).await?;
        context.out.one(&execution, |e| render_execution(e, context.out.style))?;
        Ok(exit_of(&execution))
    })
}
