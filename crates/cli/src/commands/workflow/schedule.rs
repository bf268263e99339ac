//! `ark workflow schedule`: executions that the clock starts.

use ark_model::api::{SchedulePut, ScheduleView};
use ark_model::definition::{DurationText, Overlap};
use clap::{Subcommand, ValueEnum};

use super::read_input;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit};
use crate::output::table::{Table, or_dash};
use crate::output::times::exact;

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Make a schedule, or change it
    #[command(
        before_help = "Examples:\n  ark workflow schedule add nightly resize '0 3 * * *' --zone Europe/Berlin\n  ark workflow schedule add hourly resize:live '0 * * * *' --overlap allow --catch-up 0s"
    )]
    Add {
        /// Name
        name: String,
        /// What it starts: name, with a version or an alias after a colon
        workflow: String,
        /// When: minute, hour, day, month, day of the week
        cron: String,
        /// Time zone whose clock the cron expression follows
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        zone: String,
        /// Input as JSON; `-` reads standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// Whose workers do it
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
        /// What a firing does while the one before still runs
        #[arg(long, value_enum, default_value = "forbid")]
        overlap: Policy,
        /// Make up for a missed firing that is not older; 0s for never
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        catch_up: DurationText,
        #[command(flatten)]
        common: Asking,
    },
    /// List schedules
    #[command(before_help = "Examples:\n  ark workflow schedule list")]
    List {
        #[command(flatten)]
        common: Asking,
    },
    /// Let a schedule start nothing until it is resumed
    #[command(before_help = "Examples:\n  ark workflow schedule pause nightly")]
    Pause {
        /// Name
        name: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Let a paused schedule go on
    #[command(before_help = "Examples:\n  ark workflow schedule resume nightly")]
    Resume {
        /// Name
        name: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Remove a schedule; what it started goes on
    #[command(before_help = "Examples:\n  ark workflow schedule remove nightly")]
    Remove {
        /// Name
        name: String,
        #[command(flatten)]
        common: Asking,
    },
}

/// What a firing does while the one before still runs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Policy {
    /// It is skipped
    Forbid,
    /// Both run
    Allow,
    /// The one before is stopped
    Replace,
}

impl From<Policy> for Overlap {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Forbid => Self::Forbid,
            Policy::Allow => Self::Allow,
            Policy::Replace => Self::Replace,
        }
    }
}

impl Schedule {
    pub(crate) fn common(&self) -> &Asking {
        match self {
            Self::Add { common, .. }
            | Self::List { common }
            | Self::Pause { common, .. }
            | Self::Resume { common, .. }
            | Self::Remove { common, .. } => common,
        }
    }
}

pub(crate) async fn run(context: &Context, schedule: Schedule) -> Ended {
    let client = &context.client;
    let view = match schedule {
        Schedule::Add {
            name, workflow, cron, zone, input, namespace, overlap, catch_up, ..
        } => {
            let put = SchedulePut {
                workflow,
                cron,
                time_zone: zone,
                input: read_input(&input)?,
                namespace,
                overlap: overlap.into(),
                catch_up_seconds: std::time::Duration::from(catch_up).as_secs(),
            };
            client.put_schedule(&name, &put).await?
        }
        Schedule::List { .. } => return list(context).await,
        Schedule::Pause { name, .. } => client.tell_schedule(&name, "pause").await?,
        Schedule::Resume { name, .. } => client.tell_schedule(&name, "resume").await?,
        Schedule::Remove { name, .. } => {
            client.remove_schedule(&name).await?;
            context.out.say(format!("{name} is removed"));
            return Ok(Exit::DONE);
        }
    };
    context.out.one(&view, |view| match view.next_at {
        Some(at) => {
            format!("{} starts {} next at {}", view.name, view.schedule.workflow, exact(at))
        }
        None if view.paused => format!("{} is paused", view.name),
        None => format!("{} never starts again", view.name),
    })?;
    Ok(Exit::DONE)
}

async fn list(context: &Context) -> Ended {
    let schedules = context.client.schedules().await?;
    context.out.list(&schedules, |schedules| {
        let mut table = Table::new(["schedule", "workflow", "when", "zone", "next", "last"]);
        for view in schedules {
            let ScheduleView { name, schedule, paused, next_at, last, .. } = view;
            let next = match next_at {
                Some(at) => exact(*at),
                None if *paused => "paused".to_owned(),
                None => or_dash(None::<String>),
            };
            let last = last.as_ref().map(|last| match &last.skipped {
                Some(why) => format!("{}: {why}", exact(last.at)),
                None => exact(last.at),
            });
            let (workflow, when) = (schedule.workflow.clone(), schedule.cron.clone());
            table.row([
                name.clone(),
                workflow,
                when,
                schedule.time_zone.clone(),
                next,
                or_dash(last),
            ]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}
