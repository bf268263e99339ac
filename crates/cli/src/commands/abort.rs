//! `ark abort`: ends a running deployment before its time.

use ark_model::AppName;
use ark_model::api::AbortRequest;

use super::follow_deployment::{Ending, follow};
use super::wish::running;
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit};
use crate::output::Shown;

/// What `abort` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark abort web -e production\n  ark abort 4f1b8a2c90de --reason \"wrong branch\"",
    after_help = "The old release takes over again first. Exit code 0 when the deployment has ended."
)]
pub(crate) struct Args {
    /// App whose deployment runs, or a deployment by the beginning or the end of its id
    what: String,
    #[command(flatten)]
    env: EnvArg,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
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
    block_on(async {
        let request = AbortRequest { reason: args.reason };
        let id = match app_meant(&args.what, &args.env) {
            Some(app) => running(&context.client, &args.env.get()?, &app).await?,
            None => args.what,
        };
        let view = context.client.abort(&id, &request).await?;
        if args.detach {
            context
                .out
                .one(&view, |view| format!("{} {} is being aborted", view.app, view.release))?;
            return Ok(Exit::DONE);
        }
        follow(&context, view, Ending::Aborted).await
    })
}

/// The app that is meant: with an environment always one, without only when it cannot be an id.
fn app_meant(what: &str, env: &EnvArg) -> Option<AppName> {
    let like_an_id = what.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    match env.env.is_none() && like_an_id {
        true => None,
        false => what.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_and_an_id_are_told_apart() {
        let env = |name: Option<&str>| EnvArg { env: name.map(|n| n.parse().unwrap()) };
        let meant = |what, name| app_meant(what, &env(name)).map(|app| app.to_string());
        assert_eq!(meant("web", None).as_deref(), Some("web"));
        assert_eq!(meant("4f1b8a2c90de", None), None);
        assert_eq!(meant("cafe", None), None);
        assert_eq!(meant("cafe", Some("production")).as_deref(), Some("cafe"));
    }
}
