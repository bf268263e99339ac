//! `ark releases`: the releases of an app, newest first.

use ark_model::AppName;
use ark_model::api::{PAGE_ITEMS_MAX, ReleaseRow};
use ark_model::artifact::Artifact;
use jiff::Timestamp;

use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::{Ended, Exit};
use crate::output::table::{Table, or_dash};
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `releases` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark releases web -e production\n  ark releases web -e production --limit 5 --json"
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ITEMS_MAX)))]
    limit: u32,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    block_on(async {
        let rows = context.client.releases(&env, &app, args.limit).await?;
        let style = context.out.style;
        context.out.list(&rows, |rows| render(rows, Timestamp::now(), style))?;
        Ok(Exit::DONE)
    })
}

fn render(rows: &[ReleaseRow], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["release", "", "age", "by", "config", "artifact", "commit"]);
    for row in rows {
        table.row([
            row.number.to_string(),
            if row.live { "live" } else { "" }.to_owned(),
            ago(row.created_at, now, style),
            row.created_by.clone(),
            row.config_version.to_string(),
            artifact(&row.artifact),
            or_dash(row.commit.as_deref()),
        ]);
    }
    table.render(style)
}

/// An artifact in words.
pub(crate) fn artifact(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Directory { digest } => format!("directory {}", digest.short()),
        Artifact::Image { reference, digest: Some(digest) } => format!("{reference}@{digest}"),
        Artifact::Image { reference, digest: None } => reference.clone(),
        Artifact::None => "–".to_owned(),
    }
}
