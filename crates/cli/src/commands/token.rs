//! `ark token`: API tokens and access keys. A token's text, or a key's secret, is shown once, when
//! it is made.

use ark_model::api::{Role, TokenCreate, TokenKind, TokenSecret, TokenView};
use ark_model::exit::ExitCode;
use clap::Subcommand;
use jiff::Timestamp;

use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit, Failure};
use crate::output::table::Table;
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `token` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark token create ci --role deployer\n  ark token create --kind aws --json\n  ark token revoke ci",
    after_help = "Roles: reader (reads everything but secrets), deployer (also deploys, scales, configures),\nadmin (everything)."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it: it is shown this once
    #[command(
        before_help = "Examples:\n  ark token create ci --role deployer\n  ark token create ci --role deployer > ci.token\n  ark token create workers --kind aws --json"
    )]
    Create {
        /// Who or what bears it; an access key may do without: it is named after its beginning
        #[arg(required_unless_present = "kind", required_if_eq("kind", "bearer"))]
        name: Option<String>,
        /// reader, deployer or admin; deployer when absent for an access key
        #[arg(long, value_parser = role, required_unless_present = "kind", required_if_eq("kind", "bearer"))]
        role: Option<Role>,
        /// bearer: sent with each request; aws: an access key with which AWS's clients sign
        #[arg(long, value_parser = kind)]
        kind: Option<TokenKind>,
    },
    /// List tokens, without their text
    #[command(before_help = "Examples:\n  ark token list")]
    List,
    /// Revoke a token
    #[command(before_help = "Examples:\n  ark token revoke ci")]
    Revoke {
        /// Name or id
        #[arg(value_name = "TOKEN")]
        which: String,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

fn kind(text: &str) -> Result<TokenKind, String> {
    let found = TokenKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| format!("one of {}", TokenKind::ALL.map(TokenKind::as_str).join(", ")))
}

/// A name for an access key that was given none: names of valid tokens are unique.
fn unnamed() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("aws-{}", &id[..8])
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let style = context.out.style;
    block_on(async {
        match args.action {
            Action::Create { name, role, kind } => {
                let kind = kind.unwrap_or_default();
                let request = TokenCreate {
                    name: name.unwrap_or_else(unnamed),
                    role: role.unwrap_or(Role::Deployer),
                    kind,
                };
                let created = context.client.create_token(&request).await?;
                context.out.one(&created, |created| match &created.secret {
                    TokenSecret::Bearer { token } => token.clone(),
                    TokenSecret::Aws { secret_access_key } => format!(
                        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={secret_access_key}",
                        created.view.access_key_id.as_deref().unwrap_or_default(),
                    ),
                })?;
                let TokenView { name, role, .. } = &created.view;
                let (what, use_it) = match kind {
                    TokenKind::Bearer => ("token", "ARK_TOKEN"),
                    TokenKind::Aws => ("access key", "AWS's clients, with this server as endpoint"),
                };
                context.out.say(format!(
                    "{what} of {name} ({}); it is not shown again. use it: {use_it}",
                    role.as_str()
                ));
            }
            Action::List => {
                let tokens = context.client.tokens().await?;
                context.out.list(&tokens, |rows| render(rows, Timestamp::now(), style))?;
            }
            Action::Revoke { which } => {
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
    let mut table = Table::new(["name", "kind", "role", "age", "by", "revoked", "id"]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.kind.as_str().to_owned(),
            row.role.as_str().to_owned(),
            ago(row.created_at, now, style),
            row.created_by.clone(),
            row.revoked_at.map_or_else(|| "–".to_owned(), |at| ago(at, now, style)),
            row.id.clone(),
        ]);
    }
    table.render(style)
}
