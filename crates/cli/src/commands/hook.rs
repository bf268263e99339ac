//! `ark hook`: where Git hosting services tell of pushes, and what came of them.

use ark_model::api::{PushHookPut, PushHookView, PushState, PushView};
use clap::Subcommand;
use jiff::Timestamp;

use super::config::secret;
use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit};
use crate::output::table::Table;
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `hook` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark hook set shop --repo https://git.test/shop.git < secret.txt\n  ark hook pushes shop\n  ark hook list",
    after_help = "Give the hosting service (GitHub, Gitea, GitLab) the address that `set` prints, the same secret, and\nJSON as the form of its events. A push to the branch starts what `ark ci` does, on the server, which\nclones the repository as its own user: with the keys and credential helpers that user has."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make or change a push hook; its secret comes from standard input, or is asked for
    #[command(
        before_help = "Examples:\n  ark hook set shop --repo https://git.test/shop.git < secret.txt\n  ark hook set shop --repo /srv/git/shop.git --branch release"
    )]
    Set {
        /// Its name, part of its address
        name: String,
        /// What is built: an address that `git clone` understands, or a path on the server's disk
        #[arg(long, value_name = "REPOSITORY")]
        repo: String,
        /// The branch whose pushes are deployed
        #[arg(long, value_name = "NAME", default_value = "main")]
        branch: String,
    },
    /// List push hooks, without their secrets
    #[command(before_help = "Examples:\n  ark hook list")]
    List,
    /// Show what a hook was told, and what came of it
    #[command(before_help = "Examples:\n  ark hook pushes shop")]
    Pushes {
        /// The hook
        name: String,
    },
    /// Remove a push hook and its secret
    #[command(before_help = "Examples:\n  ark hook remove shop")]
    Remove {
        /// The hook
        name: String,
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
            Action::Set { name, repo, branch } => {
                let secret = secret(&format!("secret of {name}"))?;
                let request = PushHookPut { repository: repo, branch, secret };
                let set = context.client.set_push_hook(&name, &request).await?;
                context.out.one(&set, |set| format!("send push events to: {}", set.path))?;
            }
            Action::List => {
                let all = context.client.push_hooks().await?;
                context.out.list(&all, |rows| hooks(rows, Timestamp::now(), style))?;
            }
            Action::Pushes { name } => {
                let all = context.client.pushes(&name).await?;
                context.out.list(&all, |rows| pushes(rows, Timestamp::now(), style))?;
            }
            Action::Remove { name } => {
                context.client.remove_push_hook(&name).await?;
                context.out.say(format!("push hook {name} is removed"));
            }
        }
        Ok(Exit::DONE)
    })
}

fn hooks(rows: &[PushHookView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["hook", "repository", "branch", "address", "changed", "by"]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.repository.clone(),
            row.branch.clone(),
            row.path.clone(),
            ago(row.changed_at, now, style),
            row.changed_by.clone(),
        ]);
    }
    table.render(style)
}

fn pushes(rows: &[PushView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["commit", "age", "state", "log"]);
    for row in rows {
        let state = match row.state {
            PushState::Queued => "waits".to_owned(),
            PushState::Running => "is built and deployed".to_owned(),
            PushState::Ended { exit_code: Some(0) } => "done".to_owned(),
            PushState::Ended { exit_code: Some(code) } => format!("failed ({code})"),
            PushState::Ended { exit_code: None } => "was ended".to_owned(),
            PushState::Superseded => "a newer one came".to_owned(),
        };
        let commit = row.commit.get(..7).unwrap_or(&row.commit).to_owned();
        table.row([commit, ago(row.received_at, now, style), state, row.log.clone()]);
    }
    table.render(style)
}
