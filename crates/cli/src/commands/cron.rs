//! `ark cron`: which apps follow a schedule, and a word with one of them.

use ark_model::AppName;
use ark_model::api::{CronView, PAGE_ITEMS_MAX, RunRequest};
use clap::Subcommand;
use jiff::Timestamp;

use super::run::words;
use super::runs::list;
use crate::cli::block_on;
use crate::context::{Context, EnvArg, InEnv};
use crate::failure::{Ended, Exit};
use crate::output::table::{Table, or_dash};
use crate::output::times::{age, between_ms, exact};
use crate::output::{Shown, Style};

/// What `cron` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark cron list\n  ark cron trigger nightly -e production\n  ark cron pause nightly -e production"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the apps that follow a schedule, in all environments unless one is named
    #[command(before_help = "Examples:\n  ark cron list\n  ark cron list -e production --json")]
    List {
        #[command(flatten)]
        common: InEnv,
    },
    /// Run an app now, beside its schedule
    #[command(
        before_help = "Examples:\n  ark cron trigger nightly -e production\n  ark cron trigger nightly -e production --follow",
        after_help = "What `overlap` says of the schedule's own runs holds for this one, too."
    )]
    Trigger {
        /// App
        app: AppName,
        /// Show what it writes until it is over; ^C stops it
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        common: InEnv,
    },
    /// Let a schedule fire no more, over deployments too
    #[command(before_help = "Examples:\n  ark cron pause nightly -e production")]
    Pause {
        /// App
        app: AppName,
        #[command(flatten)]
        common: InEnv,
    },
    /// Let a paused schedule fire again; nothing is made up for
    #[command(before_help = "Examples:\n  ark cron resume nightly -e production")]
    Resume {
        /// App
        app: AppName,
        #[command(flatten)]
        common: InEnv,
    },
    /// List the runs of an app, and what was skipped or missed
    #[command(before_help = "Examples:\n  ark cron history nightly -e production")]
    History {
        /// App
        app: AppName,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ITEMS_MAX)))]
        limit: u32,
        #[command(flatten)]
        common: InEnv,
    },
}

impl Action {
    fn common(&self) -> &InEnv {
        match self {
            Self::List { common }
            | Self::Trigger { common, .. }
            | Self::Pause { common, .. }
            | Self::Resume { common, .. }
            | Self::History { common, .. } => common,
        }
    }
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.action.common().asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let common = args.action.common();
    let context = Context::new(&common.asking)?;
    block_on(async {
        match &args.action {
            Action::List { common } => {
                let crons = context.client.crons(common.env.env.clone()).await?;
                let style = context.out.style;
                context.out.list(&crons, |crons| render(crons, Timestamp::now(), style))?;
            }
            Action::Trigger { app, follow, common } => {
                let env = common.env.get()?;
                let run = context.client.start_run(&env, app, &RunRequest::default()).await?;
                if *follow {
                    return super::run::attached(&context, &env, app, run.number).await;
                }
                context.out.one(&run, |run| {
                    format!(
                        "run {} of {app} on {env}  (ark runs {app} {} -e {env})",
                        run.number, run.number
                    )
                })?;
            }
            Action::Pause { app, common } => say(&context, &common.env, app, "pause").await?,
            Action::Resume { app, common } => say(&context, &common.env, app, "resume").await?,
            Action::History { app, limit, common } => {
                let runs = context.client.runs(&common.env.get()?, app, *limit).await?;
                list(&context, &runs)?;
            }
        }
        Ok(Exit::DONE)
    })
}

async fn say(
    context: &Context,
    env: &EnvArg,
    app: &AppName,
    word: &str,
) -> Result<(), crate::failure::Failure> {
    let cron = context.client.cron_wish(&env.get()?, app, word).await?;
    let (style, now) = (context.out.style, Timestamp::now());
    context.out.one(&cron, |cron| render(std::slice::from_ref(cron), now, style))
}

fn render(crons: &[CronView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["app", "env", "schedule", "zone", "next", "running", "last run"]);
    for cron in crons {
        let last = cron.last.as_ref().map(|run| format!("{}: {}", run.number, words(run)));
        table.row([
            cron.app.to_string(),
            cron.env.to_string(),
            cron.schedule.clone(),
            cron.timezone.clone(),
            next(cron, now, style),
            cron.running.to_string(),
            or_dash(last),
        ]);
    }
    table.render(style)
}

/// When it fires next, or why it does not.
pub(crate) fn next(cron: &CronView, now: Timestamp, style: Style) -> String {
    match (&cron.paused_by, cron.stopped, cron.next_at) {
        (_, true, _) => "the app is stopped".to_owned(),
        (Some(by), ..) => format!("paused by {by}"),
        (None, false, None) => "never".to_owned(),
        (None, false, Some(at)) if style.utc => exact(at),
        (None, false, Some(at)) => format!("in {}", age(between_ms(now, at))),
    }
}
