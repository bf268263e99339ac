//! GetActivityTask, SendTaskSuccess, SendTaskFailure, SendTaskHeartbeat.

use std::time::Duration;

use super::answer::{Answered, Object, confirmed, nothing};
use super::call::Call;

/// How long a worker waits for a task.
const WAIT: Duration = Duration::from_secs(60);

/// A worker that is gone before its answer was written does not have the task: it is offered again.
pub(super) async fn poll(call: Call) -> Answered {
    let until = call.now + WAIT;
    let task = call
        .workflows()
        .poll_activity(call.needed("activityArn"), call.owned("workerName"), until)
        .await?;
    let Some(task) = task else { return nothing() };
    let answer = Object::default()
        .with("taskToken", task.token.as_str())
        .with("input", task.input.as_str())
        .value();
    Ok(confirmed(&answer, move || task.delivered()))
}

pub(super) async fn success(call: Call) -> Answered {
    let output = call.needed("output").to_owned();
    call.workflows().task_succeeded(call.needed("taskToken"), output).await?;
    nothing()
}

/// `log` is not AWS's: `ark worker` sends the last lines that its command wrote.
pub(super) async fn failure(call: Call) -> Answered {
    let (error, cause, log) = (call.owned("error"), call.owned("cause"), call.owned("log"));
    let token = call.needed("taskToken");
    call.workflows().task_failed_with_log(token, error, cause, log).await?;
    nothing()
}

pub(super) async fn heartbeat(call: Call) -> Answered {
    call.workflows().task_heartbeat(call.needed("taskToken")).await?;
    nothing()
}
