//! StartExecution, StartSyncExecution, DescribeExecution, StopExecution, RedriveExecution,
//! ListExecutions, GetExecutionHistory.

use ark_model::workflow::ExecutionStatus;
use serde_json::{Value, json};

use super::answer::{Answered, Object, done, seconds};
use super::call::Call;
use super::error::WireError;
use crate::workflows::types::Redrivable;
use crate::workflows::{ExecutionView, ListExecutions, RedriveFilter, StartExecution};

/// What an Express execution is billed in, and at least.
const BILLED_MS: i64 = 100;
const BILLED_MIB: u64 = 64;

fn start_of(call: &Call) -> StartExecution {
    StartExecution {
        machine_arn: call.needed("stateMachineArn").to_owned(),
        name: call.owned("name"),
        input: call.owned("input"),
        trace_header: call.owned("traceHeader"),
        ..StartExecution::default()
    }
}

pub(super) async fn start(call: Call) -> Answered {
    let started = call.workflows().start_execution(start_of(&call)).await?;
    Object::default()
        .with("executionArn", started.execution_arn)
        .with("startDate", seconds(started.started_at))
        .done()
}

pub(super) async fn start_sync(call: Call) -> Answered {
    let ended = call.workflows().start_sync_execution(start_of(&call)).await?.execution;
    let stopped_at = ended.stopped_at.unwrap_or(call.now);
    let ran = stopped_at.duration_since(ended.started_at).as_millis();
    let ran = i64::try_from(ran).unwrap_or(i64::MAX).max(1);
    let billed = ran.saturating_add(BILLED_MS - 1) / BILLED_MS * BILLED_MS;
    described(&call, &ended)
        .with("stopDate", seconds(stopped_at))
        .with(
            "billingDetails",
            json!({
                "billedDurationInMilliseconds": billed,
                "billedMemoryUsedInMB": BILLED_MIB,
            }),
        )
        .done()
}

/// What both kinds of executions say of themselves.
fn described(call: &Call, execution: &ExecutionView) -> Object {
    let all = call.text("includedData") != Some("METADATA_ONLY");
    let details = json!({ "included": all });
    let only = |text: Option<&String>| text.filter(|_| all).cloned();
    // An execution that ran out of its own time says so by its status alone.
    let timed_out = execution.status == ExecutionStatus::TimedOut && execution.cause.is_none();
    let error = execution.error.as_ref().filter(|_| !timed_out);
    Object::default()
        .with("executionArn", execution.arn.as_str())
        .with("stateMachineArn", execution.machine_arn.as_str())
        .with("name", execution.name.as_str())
        .with("status", execution.status.as_str())
        .with("startDate", seconds(execution.started_at))
        .maybe("stopDate", execution.stopped_at.map(seconds))
        .maybe("input", only(Some(&execution.input)))
        .with("inputDetails", details.clone())
        .maybe("output", only(execution.output.as_ref()))
        .maybe("outputDetails", execution.output.as_ref().map(|_| details))
        .maybe("error", only(error))
        .maybe("cause", only(execution.cause.as_ref()))
        .maybe("traceHeader", execution.trace_header.clone())
}

pub(super) async fn describe(call: Call) -> Answered {
    let execution = call.workflows().describe_execution(call.needed("executionArn")).await?;
    let (redrivable, reason) = match &execution.redrivable {
        Redrivable::Yes => ("REDRIVABLE", None),
        Redrivable::ByMapRun => ("REDRIVABLE_BY_MAP_RUN", None),
        Redrivable::No(reason) => ("NOT_REDRIVABLE", Some(reason.clone())),
    };
    described(&call, &execution)
        .maybe("mapRunArn", execution.map_run_arn)
        .maybe("stateMachineVersionArn", execution.version_arn)
        .maybe("stateMachineAliasArn", execution.alias_arn)
        .with("redriveCount", execution.redrive_count)
        .maybe("redriveDate", execution.redriven_at.map(seconds))
        .with("redriveStatus", redrivable)
        .maybe("redriveStatusReason", reason)
        .done()
}

pub(super) async fn stop(call: Call) -> Answered {
    let (error, cause) = (call.owned("error"), call.owned("cause"));
    let stopped_at =
        call.workflows().stop_execution(call.needed("executionArn"), error, cause).await?;
    Object::default().with("stopDate", seconds(stopped_at)).done()
}

pub(super) async fn redrive(call: Call) -> Answered {
    let token = call.owned("clientToken");
    let redriven_at =
        call.workflows().redrive_execution(call.needed("executionArn"), token).await?;
    Object::default().with("redriveDate", seconds(redriven_at)).done()
}

pub(super) async fn list(call: Call) -> Answered {
    let (machine_arn, map_run_arn) = (call.owned("stateMachineArn"), call.owned("mapRunArn"));
    if machine_arn.is_some() == map_run_arn.is_some() {
        return Err(WireError::validation(
            "Exactly one of stateMachineArn and mapRunArn must be specified",
        ));
    }
    let list = ListExecutions {
        machine_arn,
        map_run_arn,
        status: call.text("statusFilter").and_then(ExecutionStatus::from_word),
        redrive: match call.text("redriveFilter") {
            Some("REDRIVEN") => Some(RedriveFilter::Redriven),
            Some(_) => Some(RedriveFilter::NotRedriven),
            None => None,
        },
        page: call.page()?,
    };
    let page = call.workflows().list_executions(list).await?;
    let executions: Vec<Value> = page.items.into_iter().map(row).collect();
    Object::default()
        .with("executions", executions)
        .maybe("nextToken", call.seal(page.next_token)?)
        .done()
}

fn row(execution: ExecutionView) -> Value {
    Object::default()
        .with("executionArn", execution.arn)
        .with("stateMachineArn", execution.machine_arn)
        .with("name", execution.name)
        .with("status", execution.status.as_str())
        .with("startDate", seconds(execution.started_at))
        .maybe("stopDate", execution.stopped_at.map(seconds))
        .maybe("mapRunArn", execution.map_run_arn)
        .maybe("itemCount", execution.item_count)
        .maybe("stateMachineVersionArn", execution.version_arn)
        .maybe("stateMachineAliasArn", execution.alias_arn)
        .with("redriveCount", execution.redrive_count)
        .maybe("redriveDate", execution.redriven_at.map(seconds))
        .value()
}

pub(super) async fn history(call: Call) -> Answered {
    let newest_first = call.flag("reverseOrder").unwrap_or(false);
    let with_data = call.flag("includeExecutionData").unwrap_or(true);
    let page = call
        .workflows()
        .history(call.needed("executionArn"), call.page()?, newest_first, with_data)
        .await?;
    let answer = Object::default()
        .with("events", page.items)
        .maybe("nextToken", call.seal(page.next_token)?)
        .value();
    done(&answer)
}
