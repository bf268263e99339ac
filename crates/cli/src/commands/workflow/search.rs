//! `ark workflow search`: executions of a workflow, by their state, by whether somebody has dealt with
//! them, by how their names begin, by how they failed; and the children of a Map Run.

use ark_model::api::{ExecutionsQuery, PAGE_ITEMS_MAX, WorkflowStatus, WorkflowsQuery};
use ark_model::workflow::ExecutionStatus;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::target::{execution_id, machine_arn};
use super::{instant, text};
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::table::{Table, or_dash};
use crate::output::times::{ago, between_ms, length};

/// Pages that are looked through for a text, 10,000 failures each.
const FAILURE_PAGES_MAX: usize = 100;

/// Which executions.
pub(super) struct How {
    /// A state of executions, in whichever case.
    pub(super) status: Option<String>,
    pub(super) unresolved: bool,
    /// The beginning of a name.
    pub(super) name: Option<String>,
    pub(super) error: Option<String>,
    pub(super) limit: u32,
}

/// Whose executions.
pub(super) enum Whose {
    Workflow(String),
    MapRun(String),
}

pub(super) async fn run(context: &Context, whose: Whose, how: How) -> Ended {
    let How { status, unresolved, name, error, limit } = how;
    let workflow = match whose {
        Whose::Workflow(workflow) => workflow,
        Whose::MapRun(arn) => {
            return search(context, json!({ "mapRunArn": arn }), status, limit).await;
        }
    };
    match (&name, &error) {
        (None, None) if unresolved => self::unresolved(context, workflow, limit).await,
        (None, None) => {
            let of = json!({ "stateMachineArn": machine_arn(&workflow) });
            search(context, of, status, limit).await
        }
        (Some(_), _) | (_, Some(_)) => {
            let status = status.map(|word| {
                let known = ExecutionStatus::from_word(&word.to_uppercase());
                known.ok_or_else(|| Failure::usage(format!("`{word}` is no state of an execution")))
            });
            let query = ExecutionsQuery {
                status: status.transpose()?,
                unresolved,
                name,
                error,
                limit: Some(limit.min(PAGE_ITEMS_MAX)),
                ..ExecutionsQuery::default()
            };
            found(context, &workflow, query, limit as usize).await
        }
    }
}

async fn search(context: &Context, of: Value, status: Option<String>, limit: u32) -> Ended {
    let mut input = of;
    input["maxResults"] = limit.into();
    if let Some(status) = status {
        input["statusFilter"] = status.to_uppercase().into();
    }
    let page = context.client.states("ListExecutions", &input).await?;
    let executions = page["executions"].as_array().cloned().unwrap_or_default();
    context.out.list(&executions, |executions| {
        let mut table = Table::new(["execution", "status", "started", "took"]);
        for execution in executions {
            let begun = instant(&execution["startDate"]);
            let took = execution.get("stopDate").map(|at| length(between_ms(begun, instant(at))));
            table.row([
                execution_id(&text(execution, "executionArn")),
                text(execution, "status").to_lowercase(),
                ago(begun, Timestamp::now(), context.out.style),
                or_dash(took),
            ]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}

/// Executions by their names or how they failed: pages are looked through until there are enough.
async fn found(context: &Context, workflow: &str, query: ExecutionsQuery, limit: usize) -> Ended {
    let (mut found, mut query, mut pages) = (Vec::new(), query, 0);
    loop {
        let page = context.client.executions(workflow, &query).await?;
        found.extend(page.items);
        pages += 1;
        query.cursor = page.next;
        if query.cursor.is_none() || found.len() >= limit || pages >= FAILURE_PAGES_MAX {
            break;
        }
    }
    let not_all = query.error.is_some() && query.cursor.is_some() && found.len() < limit;
    found.truncate(limit);
    context.out.list(&found, |found| {
        let mut table = Table::new(["execution", "status", "ended", "why"]);
        for one in found {
            let ended = one.stopped_at.unwrap_or(one.started_at);
            let why = [one.error.as_deref(), one.cause.as_deref()];
            let why: Vec<&str> =
                why.into_iter().flatten().filter(|text| !text.is_empty()).collect();
            table.row([
                format!("{}:{}", one.workflow, one.name),
                one.status.as_str().to_lowercase(),
                ago(ended, Timestamp::now(), context.out.style),
                why.join(": ").replace('\n', " "),
            ]);
        }
        table.render(context.out.style)
    })?;
    if not_all {
        let looked = FAILURE_PAGES_MAX * 10_000;
        context.out.say(format!("only the newest {looked} failures were looked through"));
    }
    Ok(Exit::DONE)
}

async fn unresolved(context: &Context, workflow: String, limit: u32) -> Ended {
    let query = WorkflowsQuery {
        workflow_definition_name: workflow,
        limit: Some(limit),
        oldest_first: None,
        page_token: None,
        status: Some(WorkflowStatus::Failed),
        resolved_by_user: Some(false),
        summary_only: Some(true),
    };
    let found = context.client.workflows(&query).await?;
    context.out.list(&found, |found| {
        let mut table = Table::new(["execution", "failed", "why"]);
        for workflow in found {
            let failed = workflow.stopped_at.unwrap_or(workflow.last_updated);
            let why = workflow.status_reason.as_deref().unwrap_or_default().replace('\n', " ");
            let failed = ago(failed, Timestamp::now(), context.out.style);
            table.row([workflow.id.clone(), failed, why]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}
