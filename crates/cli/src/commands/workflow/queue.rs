//! `ark workflow queue`: which queue's tasks are handed to workers first.

use ark_model::api::WorkflowQueue;
use clap::Subcommand;

use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit};
use crate::output::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Give a queue a priority: workers get tasks of higher priority first
    #[command(
        before_help = "Examples:\n  ark workflow queue set urgent 10\n  ark workflow queue set nightly -5\n  ark workflow queue set urgent 0",
        after_help = "It holds for workflows that start from then on. 0 is what a queue has of which nothing was said."
    )]
    Set {
        /// Name of the queue, as a workflow's start names it
        name: String,
        /// From -1000 to 1000
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-1000..=1000))]
        priority: i16,
        #[command(flatten)]
        common: Asking,
    },
    /// Queues with a priority of their own
    #[command(before_help = "Examples:\n  ark workflow queue list")]
    List {
        #[command(flatten)]
        common: Asking,
    },
}

impl Queue {
    pub(crate) fn common(&self) -> &Asking {
        match self {
            Self::Set { common, .. } | Self::List { common } => common,
        }
    }
}

pub(crate) async fn run(context: &Context, queue: Queue) -> Ended {
    match queue {
        Queue::Set { name, priority, .. } => {
            let made = context.client.put_workflow_queue(&name, priority).await?;
            context.out.one(&made, |queue| {
                format!("queue {} has priority {}", queue.name, queue.priority)
            })?;
        }
        Queue::List { .. } => {
            let queues = context.client.workflow_queues().await?;
            context.out.list(&queues, |queues| {
                let mut table = Table::new(["queue", "priority"]);
                for WorkflowQueue { name, priority } in queues {
                    table.row([name.clone(), priority.to_string()]);
                }
                table.render(context.out.style)
            })?;
        }
    }
    Ok(Exit::DONE)
}
