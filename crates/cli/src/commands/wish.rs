//! What `promote`, `pause`, `resume` and `approve` have in common: the running deployment of an app
//! is told something, and what comes of it is shown or followed.

use ark_model::api::{DeploymentView, WishRequest};
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};

use super::follow_deployment::{Ending, follow};
use crate::cli::block_on;
use crate::client::Client;
use crate::context::{self, Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::deployment;

/// Which deployment, why, and whether to wait for its end.
#[derive(Debug, clap::Args)]
pub(crate) struct WishArgs {
    /// App [default: the only launch file in ./launch, else the name of this folder]
    pub(crate) app: Option<AppName>,
    #[command(flatten)]
    pub(crate) env: EnvArg,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Follow the deployment to its end
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// The id of the deployment that runs.
pub(crate) async fn running(
    client: &Client,
    env: &EnvName,
    app: &AppName,
) -> Result<String, Failure> {
    let detail = client.app(env, app).await?;
    let row = detail.row;
    let found = row.running_deployment.or(row.waiting_deployment);
    found.map(|d| d.id.to_string()).ok_or_else(|| {
        Failure::new(
            ExitCode::Conflict,
            "nothing-runs",
            format!("no deployment of {app} runs on {env}"),
        )
        .remedy("the last ones", format!("ark deployments {app} -e {env}"))
    })
}

/// Says a word that needs nothing else.
pub(crate) fn say(args: WishArgs, word: &'static str) -> Ended {
    tell(args, async |client, id, reason| {
        client.wish(&id, word, &WishRequest { step: None, reason }).await
    })
}

/// Tells the running deployment something, and shows or follows it.
pub(crate) fn tell(
    args: WishArgs,
    tell: impl AsyncFnOnce(&Client, String, Option<String>) -> Result<DeploymentView, Failure>,
) -> Ended {
    let env = args.env.get()?;
    let app = context::app(args.app)?;
    let context = Context::new(&args.asking)?;
    block_on(async {
        let id = running(&context.client, &env, &app).await?;
        let view = tell(&context.client, id, args.reason).await?;
        if args.wait {
            return follow(&context, view, Ending::Data).await;
        }
        let now = jiff::Timestamp::now();
        context.out.one(&view, |view| deployment::progress_line(view, now))?;
        Ok(Exit::DONE)
    })
}
