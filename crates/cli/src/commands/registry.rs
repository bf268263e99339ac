//! `ark registry`: where images are fetched from and sent to, and who signs in there.

use ark_model::api::{RegistryPut, RegistryView};
use clap::Subcommand;
use jiff::Timestamp;

use super::config::secret;
use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit};
use crate::output::table::Table;
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `registry` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark registry set registry.test:5000 --user ci --push shop < token.txt\n  ark registry list\n  ark registry remove registry.test:5000",
    after_help = "Images of a registry that is set are fetched by digest and with its credentials. With --push, `ark\nbuild` and `ark ci` call images REGISTRY/PATH/NAME:COMMIT and send them there."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Use a registry; replaces what was set before
    #[command(
        before_help = "Examples:\n  ark registry set registry.test:5000 --user ci < token.txt\n  ark registry set registry.test:5000 --user ci --push shop\n  ark registry set registry.test"
    )]
    Set {
        /// Its host, with its port where that is not the usual one; docker.io is Docker's own
        host: String,
        /// Who signs in; the password comes from standard input, or is asked for
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Send images that are built there, under this path
        #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
        push: Option<String>,
    },
    /// List registries, without passwords
    #[command(before_help = "Examples:\n  ark registry list")]
    List,
    /// Forget a registry and its password
    #[command(before_help = "Examples:\n  ark registry remove registry.test:5000")]
    Remove {
        /// Its host
        host: String,
    },
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let style = context.out.style;
    block_on(async {
        match args.action {
            Action::Set { host, user, push } => {
                let password = match &user {
                    Some(user) => Some(secret(&format!("password of {user}"))?),
                    None => None,
                };
                let set = context
                    .client
                    .set_registry(&host, &RegistryPut { user, password, push })
                    .await?;
                context.out.one(&set, |set| format!("registry {} is set", set.host))?;
            }
            Action::List => {
                let all = context.client.registries().await?;
                context.out.list(&all, |rows| render(rows, Timestamp::now(), style))?;
            }
            Action::Remove { host } => {
                context.client.remove_registry(&host).await?;
                context.out.say(format!("registry {host} is forgotten"));
            }
        }
        Ok(Exit::DONE)
    })
}

fn render(rows: &[RegistryView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["registry", "user", "built images", "changed", "by"]);
    for row in rows {
        table.row([
            row.host.clone(),
            row.user.clone().unwrap_or_else(|| "–".to_owned()),
            row.image("…").unwrap_or_else(|| "–".to_owned()),
            ago(row.changed_at, now, style),
            row.changed_by.clone(),
        ]);
    }
    table.render(style)
}
