//! DescribeMapRun, ListMapRuns, UpdateMapRun.

use serde_json::{Value, json};

use super::answer::{Answered, Object, nothing, seconds};
use super::call::Call;
use crate::workflows::UpdateMapRun;
use crate::workflows::types::MapRunCounts;

pub(super) async fn describe(call: Call) -> Answered {
    let run = call.workflows().describe_map_run(call.needed("mapRunArn")).await?;
    Object::default()
        .with("mapRunArn", run.arn)
        .with("executionArn", run.execution_arn)
        .with("status", run.status.as_str())
        .with("startDate", seconds(run.started_at))
        .maybe("stopDate", run.stopped_at.map(seconds))
        .with("maxConcurrency", run.max_concurrency)
        .with("toleratedFailurePercentage", run.tolerated_failure_percentage)
        .with("toleratedFailureCount", run.tolerated_failure_count)
        .with("itemCounts", counts(run.items))
        .with("executionCounts", counts(run.executions))
        .with("redriveCount", run.redrive_count)
        .maybe("redriveDate", run.redriven_at.map(seconds))
        .done()
}

fn counts(counts: MapRunCounts) -> Value {
    json!({
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "timedOut": counts.timed_out,
        "aborted": counts.aborted,
        "total": counts.total,
        "resultsWritten": counts.results_written,
        "failuresNotRedrivable": counts.failures_not_redrivable,
        "pendingRedrive": counts.pending_redrive,
    })
}

pub(super) async fn list(call: Call) -> Answered {
    let page = call.workflows().list_map_runs(call.needed("executionArn"), call.page()?).await?;
    let runs: Vec<Value> = page
        .items
        .into_iter()
        .map(|run| {
            Object::default()
                .with("executionArn", run.execution_arn)
                .with("mapRunArn", run.arn)
                .with("stateMachineArn", run.machine_arn)
                .with("startDate", seconds(run.started_at))
                .maybe("stopDate", run.stopped_at.map(seconds))
                .value()
        })
        .collect();
    Object::default().with("mapRuns", runs).maybe("nextToken", call.seal(page.next_token)?).done()
}

pub(super) async fn update(call: Call) -> Answered {
    let change = UpdateMapRun {
        max_concurrency: call.number("maxConcurrency"),
        tolerated_failure_percentage: call
            .input
            .get("toleratedFailurePercentage")
            .and_then(Value::as_f64),
        tolerated_failure_count: call.number("toleratedFailureCount"),
    };
    call.workflows().update_map_run(call.needed("mapRunArn"), change).await?;
    nothing()
}
