//! `ark deployments`: deployments, newest first.

use ark_model::AppName;
use ark_model::api::{DeploymentView, DeploymentsQuery, PAGE_ITEMS_MAX};
use ark_model::deployment::{DeploymentKind, DeploymentState};
use jiff::Timestamp;

use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit};
use crate::output::numbers::count;
use crate::output::table::Table;
use crate::output::times::{ago, between_ms, length};
use crate::output::{Shown, Style};

/// What `deployments` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark deployments\n  ark deployments web -e production\n  ark deployments web -e production --limit 1 --json"
)]
pub(crate) struct Args {
    /// Only of this app
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
    let env = args.env.optional()?;
    block_on(async {
        let query = DeploymentsQuery { env, app: args.app, cursor: None, limit: Some(args.limit) };
        let rows = context.client.deployments(&query).await?;
        let style = context.out.style;
        context.out.list(&rows, |rows| render(rows, Timestamp::now(), style))?;
        Ok(Exit::DONE)
    })
}

fn render(rows: &[DeploymentView], now: Timestamp, style: Style) -> String {
    let mut table =
        Table::new(["id", "app", "env", "release", "state", "age", "took", "traffic", "by", "why"]);
    for row in rows {
        let end = row.finished_at.unwrap_or(now);
        let took = between_ms(row.started_at.unwrap_or(row.created_at), end);
        table.row([
            short_id(row),
            row.app.to_string(),
            row.env.to_string(),
            match row.kind {
                DeploymentKind::Deploy => row.release.to_string(),
                DeploymentKind::Rollback => format!("{} (rollback)", row.release),
            },
            state(row.state).to_owned(),
            ago(row.created_at, now, style),
            length(took),
            traffic(row),
            row.created_by.clone(),
            row.diagnosis_words.clone().or_else(|| row.reason.clone()).unwrap_or_default(),
        ]);
    }
    table.render(style)
}

/// The end of an id, by which the server finds it again: an UUIDv7 begins with the time, which
/// deployments of one minute share.
pub(crate) fn short_id(view: &DeploymentView) -> String {
    let id = view.id.to_string();
    id.get(id.len() - 12..).unwrap_or(&id).to_owned()
}

fn traffic(row: &DeploymentView) -> String {
    row.receipt.as_ref().map_or_else(
        || "–".to_owned(),
        |receipt| {
            let total = &receipt.total;
            let lost = total.failed + total.cut;
            format!("{} of {} failed", count(lost), count(total.served + lost))
        },
    )
}

/// The words for a state.
pub(crate) fn state(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Queued => "queued",
        DeploymentState::Replacing => "replacing",
        DeploymentState::Stepping => "in steps",
        DeploymentState::Keeping => "old side kept",
        DeploymentState::Draining => "draining",
        DeploymentState::Returning => "returning",
        DeploymentState::Succeeded => "succeeded",
        DeploymentState::RolledBack => "rolled back",
        DeploymentState::Failed => "failed",
        DeploymentState::TimedOut => "timed out",
        DeploymentState::Superseded => "superseded",
    }
}
