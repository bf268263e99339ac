//! `ark submit`: starts a workflow as workers expect it: its input names the execution.

use ark_server::workflows::manager::conventions::with_name;

use super::workflow::{read_input, start};
use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Failure};
use crate::output::Shown;

/// What `submit` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark submit resize '{\"file\": \"a.png\"}'\n  ark submit resize:3 '{\"file\": \"a.png\"}' --follow",
    after_help = "The input gets a member _EXECUTION_NAME, which `ark worker` needs. `ark workflow start` gives the\ninput as it is."
)]
pub(crate) struct Args {
    /// Name, with a version or an alias after a colon
    workflow: String,
    /// Input: a JSON object; `-` reads standard input
    #[arg(default_value = "{}")]
    input: String,
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
    let name = uuid::Uuid::new_v4().to_string();
    let input = with_name(&read_input(&args.input)?, &name).map_err(Failure::usage)?;
    let context = Context::new(&args.asking)?;
    block_on(start(&context, &args.workflow, input, Some(name), args.follow))
}
