//! `ark workflow activities`: how busy the workers of each activity are.

use ark_model::api::{TASKS_COUNTED_MAX, WorkflowActivity};

use crate::context::Context;
use crate::failure::{Ended, Exit};
use crate::output::table::{Table, or_dash};

pub(crate) async fn run(context: &Context) -> Ended {
    let activities = context.client.workflow_activities().await?;
    context.out.list(&activities, |activities| {
        let mut table = Table::new(["activity", "busy", "working", "waiting", "tasks to do"]);
        for activity in activities {
            let WorkflowActivity { name, ready, working, waiting, active_percent } = activity;
            let ready = match *ready >= TASKS_COUNTED_MAX {
                true => format!("{ready} or more"),
                false => ready.to_string(),
            };
            table.row([
                name.clone(),
                or_dash(active_percent.map(|percent| format!("{percent:.0} %"))),
                working.to_string(),
                waiting.to_string(),
                ready,
            ]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}
