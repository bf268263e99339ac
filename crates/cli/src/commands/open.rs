//! `ark open`: where an app is reached; with `--console`, and where there is no app, a link that signs a
//! browser in to the console.

use ark_model::AppName;
use ark_model::exit::ExitCode;

use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app, here};
use crate::failure::{Ended, Exit, Failure};
use crate::launch::{FOLDER, launch_files};
use crate::output::Shown;

/// What `open` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark open web -e production\n  ark open --console\n  curl \"$(ark open web -e production)\"",
    after_help = "Names under .localhost are for browsers and curl; apps find each other by SERVICE_* variables."
)]
pub(crate) struct Args {
    /// App [default: the one of this folder; the console's link where there is none]
    #[arg(conflicts_with = "console")]
    app: Option<AppName>,
    /// Print a link that signs a browser in to the console, once, within 10 minutes
    #[arg(long)]
    console: bool,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    if args.console {
        return block_on(console(&context));
    }
    // Without a launch file the name of the folder is a guess: where it is no app, nobody meant one.
    let guessed = args.app.is_none() && launch_files(&here()?.join(FOLDER)).is_empty();
    let app = match app(args.app) {
        Err(_) if guessed => return block_on(console(&context)),
        app => app?,
    };
    let env = match args.env.get() {
        Err(_) if guessed => return block_on(console(&context)),
        env => env?,
    };
    block_on(async {
        let detail = match context.client.app(&env, &app).await {
            Err(failure) if guessed && failure.exit == ExitCode::NotFound.into() => {
                return console(&context).await;
            }
            detail => detail?,
        };
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

async fn console(context: &Context) -> Ended {
    let link = context.client.create_console_link().await?;
    let url = format!("{}{}", browser_base(&context.client.base()), link.path);
    let shown = ConsoleShown { url, expires_at: link.expires_at };
    context.out.one(&shown, |shown| shown.url.clone())?;
    Ok(Exit::DONE)
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct ConsoleShown {
    url: String,
    expires_at: jiff::Timestamp,
}

/// The server's address for a browser. Cookies belong to a host whatever the port, and apps answer
/// at the loopback address, too: the console has a name of its own there.
fn browser_base(base: &str) -> String {
    let Some((scheme, at)) = base.split_once("://") else { return base.to_owned() };
    for loopback in ["127.0.0.1", "[::1]", "localhost", "0.0.0.0"] {
        if let Some(port) = at.strip_prefix(loopback)
            && (port.is_empty() || port.starts_with(':'))
        {
            return format!("{scheme}://ark.localhost{port}");
        }
    }
    base.to_owned()
}

#[cfg(test)]
mod tests {
    use super::browser_base;

    #[test]
    fn on_this_machine_the_console_has_a_name_of_its_own() {
        for (base, expect) in [
            ("http://127.0.0.1:7070", "http://ark.localhost:7070"),
            ("http://[::1]:7070", "http://ark.localhost:7070"),
            ("http://localhost", "http://ark.localhost"),
            ("http://localhost.example.test:7070", "http://localhost.example.test:7070"),
            ("https://ark.example.test", "https://ark.example.test"),
        ] {
            assert_eq!(browser_base(base), expect);
        }
    }
}
