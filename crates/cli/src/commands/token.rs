//! `ark token`: API tokens. A token's text is shown once, when it is made.

use ark_model::api::{Role, TokenCreate, TokenView};
use ark_model::exit::ExitCode;
use clap::Subcommand;
use jiff::Timestamp;

use crate::cli::block_on;
use crate::client::Connection;
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::table::Table;
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `token` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark token create ci --role deployer\n  ark token list\n  ark token revoke ci",
    after_help = "Roles: reader (reads everything but secrets), deployer (also deploys, scales, configures),\nadmin (everything)."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it: it is shown this once
    #[command(
        before_help = "Examples:\n  ark token create ci --role deployer\n  ark token create ci --role deployer > ci.token"
    )]
    Create {
        /// Who or what bears it
        name: String,
        /// reader, deployer or admin
        #[arg(long, value_parser = role)]
        role: Role,
        #[command(flatten)]
        common: Common,
    },
    /// List tokens, without their text
    #[command(before_help = "Examples:\n  ark token list")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a token
    #[command(before_help = "Examples:\n  ark token revoke ci")]
    Revoke {
        /// Name or id
        #[arg(value_name = "TOKEN")]
        which: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    connection: Connection,
}

impl Action {
    fn common(&self) -> &Common {
        match self {
            Self::Create { common, .. } | Self::List { common } | Self::Revoke { common, .. } => {
                common
            }
        }
    }
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.action.common().shown
}

pub(crate) fn run(args: Args) -> Ended {
    let common = args.action.common();
    let context = Context::new(&common.connection, common.shown)?;
    let style = context.out.style;
    block_on(async {
        match args.action {
            Action::Create { name, role, .. } => {
                let created = context.client.create_token(&TokenCreate { name, role }).await?;
                context.out.one(&created, |created| created.token.clone())?;
                let TokenView { name, role, .. } = &created.view;
                context.out.say(format!(
                    "token of {name} ({}); it is not shown again. use it: ARK_TOKEN",
                    role.as_str()
                ));
            }
            Action::List { .. } => {
                let tokens = context.client.tokens().await?;
                context.out.list(&tokens, |rows| render(rows, Timestamp::now(), style))?;
            }
            Action::Revoke { which, .. } => {
                let all = context.client.tokens().await?;
                let found = all
                    .iter()
                    .find(|t| t.id == which)
                    .or_else(|| all.iter().find(|t| t.name == which && t.revoked_at.is_none()));
                let found = found.ok_or_else(|| {
                    Failure::new(
                        ExitCode::NotFound,
                        "token-not-found",
                        format!("no token `{which}`"),
                    )
                    .remedy("all tokens", "ark token list")
                })?;
                context.client.revoke_token(&found.id).await?;
                context.out.say(format!("the token of {} is revoked", found.name));
            }
        }
        Ok(Exit::DONE)
    })
}

fn render(rows: &[TokenView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["name", "role", "age", "by", "revoked", "id"]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.role.as_str().to_owned(),
            ago(row.created_at, now, style),
            row.created_by.clone(),
            row.revoked_at.map_or_else(|| "–".to_owned(), |at| ago(at, now, style)),
            row.id.clone(),
        ]);
    }
    table.render(style)
}
