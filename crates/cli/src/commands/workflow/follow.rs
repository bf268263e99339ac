//! Following an execution: states as they pass, until the end.

use std::collections::HashMap;
use std::time::Duration;

use ark_model::exit::ExitCode;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::failing::{is_of_worker, worker_log};
use super::status::{child_of_map, render_execution};
use super::target::execution_id;
use super::{instant, is_over, map_runs};
use crate::client::{Client, is_passing};
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::Style;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(120);
/// Events read at once.
const PAGE: usize = 100;
/// How much of an input or cause is shown, in letters.
const SHOWN_MAX: usize = 2_000;

/// Prints what passes until the execution has ended; then the execution.
pub(crate) async fn follow(context: &Context, arn: &str) -> Ended {
    let come_back = format!("ark workflows --workflow-id {} --follow", execution_id(arn));
    tokio::select! {
        ended = watch(context, arn) => ended,
        _ = tokio::signal::ctrl_c() => {
            context.out.say(format!("the workflow goes on; come back: {come_back}"));
            Ok(ExitCode::Detached.into())
        }
    }
}

async fn watch(context: &Context, arn: &str) -> Ended {
    let mut seen = Seen::default();
    let mut away_since = None;
    loop {
        match look(context, arn, &mut seen).await {
            Ok(None) => away_since = None,
            Ok(Some(execution)) => {
                context.out.one(&execution, |e| render_execution(e, context.out.style))?;
                return Ok(exit_of(&execution));
            }
            Err(failure) if is_passing(&failure) || failure.code == "ServiceUnavailable" => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(failure);
                }
                context.client.rediscover();
            }
            Err(failure) => return Err(failure),
        }
        sleep(LOOK).await;
    }
}

/// How a command ends that waited for an execution.
pub(crate) fn exit_of(execution: &Value) -> Exit {
    match execution["status"].as_str() {
        Some("SUCCEEDED" | "RUNNING" | "PENDING_REDRIVE") => Exit::DONE,
        Some("TIMED_OUT") => ExitCode::TimedOut.into(),
        _ => ExitCode::Failed.into(),
    }
}

/// Prints new events; answers the execution when it had ended before they were read.
async fn look(context: &Context, arn: &str, seen: &mut Seen) -> Result<Option<Value>, Failure> {
    let execution =
        context.client.states("DescribeExecution", &json!({ "executionArn": arn })).await?;
    for mut event in newer(&context.client, arn, seen.last).await? {
        add_log(&context.client, arn, &mut event).await?;
        if event["type"] == "MapRunFailed"
            && let Some(run) = seen.map_run_of(&event)
            && let Some(child) = map_runs::first_failed(&context.client, run).await?
        {
            event["failedChild"] = child;
        }
        if context.out.json {
            context.out.value(&event)?;
        }
        if let Some(text) = seen.note(&event, context.out.talk_style) {
            context.out.event(instant(&event["timestamp"]), &text);
        }
    }
    Ok(is_over(&execution).then_some(execution))
}

/// Adds to the failure of a task what its worker wrote last: `workerLog`, where there is any.
pub(crate) async fn add_log(client: &Client, arn: &str, event: &mut Value) -> Result<(), Failure> {
    let id = event["id"].as_u64().unwrap_or_default();
    if is_of_worker(event["type"].as_str().unwrap_or_default())
        && let Some(log) = worker_log(client, arn, id).await?
    {
        event["workerLog"] = log.into();
    }
    Ok(())
}

/// Events after number `last`, oldest first.
async fn newer(client: &Client, arn: &str, last: u64) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Value> = Vec::new();
    let mut input = json!({ "executionArn": arn, "reverseOrder": true, "maxResults": PAGE });
    loop {
        let page = client.states("GetExecutionHistory", &input).await?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        let whole = events.len();
        found.extend(events.into_iter().filter(|e| e["id"].as_u64() > Some(last)));
        let reached = found.last().and_then(|e| e["id"].as_u64()).is_none_or(|id| id <= last + 1);
        match page.get("nextToken") {
            Some(token) if whole > 0 && !reached => input["nextToken"] = token.clone(),
            _ => break,
        }
    }
    found.reverse();
    Ok(found)
}

/// What was seen: enough to say in which state something failed.
#[derive(Debug, Default)]
struct Seen {
    last: u64,
    /// By number: the event before, and the name and input of a state that was entered.
    events: HashMap<u64, (u64, Option<(String, String)>)>,
    /// Map Runs by the number of the event that began them.
    map_runs: HashMap<u64, String>,
}

impl Seen {
    /// Notes an event; answers what is to be said of it.
    fn note(&mut self, event: &Value, style: Style) -> Option<String> {
        let id = event["id"].as_u64().unwrap_or_default();
        let before = event["previousEventId"].as_u64().unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default();
        let details = details(event);
        let text = |name: &str| shortened(details.and_then(|d| d.get(name)));
        let entered = kind.ends_with("StateEntered").then(|| (text("name"), text("input")));
        self.last = self.last.max(id);
        self.events.insert(id, (before, entered));
        if let Some(run) = details.and_then(|d| d.get("mapRunArn")).and_then(Value::as_str) {
            self.map_runs.insert(id, run.to_owned());
        }
        if let Some(state) = kind.strip_suffix("StateEntered") {
            return Some(format!("▸ {}   {}", text("name"), style.dim(state)));
        }
        if kind.ends_with("StateExited") {
            return Some(format!("{} {}", style.good("✓"), text("name")));
        }
        let error = details.and_then(|d| d.get("error")).is_some();
        if !(error && kind != "ExecutionFailed" && kind != "ExecutionAborted") {
            return None;
        }
        let (name, input) = self.state_of(before).unwrap_or_default();
        let mut out = format!("{} {name}   {}", style.bad("✗"), text("error"));
        let log = shortened(event.get("workerLog"));
        let child = event.get("failedChild").map(child_of_map).unwrap_or_default();
        let child = shortened(Some(&child.into()));
        let texts = [("cause", text("cause")), ("input", input), ("log", log), ("child", child)];
        for (label, text) in texts {
            for (number, line) in text.lines().enumerate() {
                let label = if number == 0 { label } else { "" };
                out.push_str(&format!("\n    {label:<6} {line}"));
            }
        }
        Some(out)
    }

    /// The Map Run whose end an event is.
    fn map_run_of(&self, event: &Value) -> Option<&str> {
        let mut id = event["previousEventId"].as_u64()?;
        loop {
            if let Some(run) = self.map_runs.get(&id) {
                return Some(run);
            }
            let (before, _) = self.events.get(&id)?;
            id = Some(*before).filter(|before| *before < id)?;
        }
    }

    /// The state in which an event happened: the nearest that was entered before it.
    fn state_of(&self, mut id: u64) -> Option<(String, String)> {
        // Numbers only go down; a history that says otherwise is not followed.
        while let Some((before, entered)) = self.events.get(&id) {
            if let Some(state) = entered {
                return Some(state.clone());
            }
            id = Some(*before).filter(|before| *before < id)?;
        }
        None
    }
}

/// The details of an event, whatever its kind.
pub(crate) fn details(event: &Value) -> Option<&Map<String, Value>> {
    let members = event.as_object()?;
    members.iter().find(|(name, _)| name.ends_with("EventDetails"))?.1.as_object()
}

fn shortened(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_state_with_input_error_and_cause() {
        let mut seen = Seen::default();
        let style = Style::plain(80);
        let entered = json!({ "id": 2, "previousEventId": 0, "type": "TaskStateEntered",
            "stateEnteredEventDetails": { "name": "Work", "input": "{\"a\":1}" } });
        assert_eq!(seen.note(&entered, style).as_deref(), Some("▸ Work   Task"));
        let scheduled = json!({ "id": 3, "previousEventId": 2, "type": "ActivityScheduled" });
        assert_eq!(seen.note(&scheduled, style), None);
        let failed = json!({ "id": 4, "previousEventId": 3, "type": "ActivityFailed",
            "activityFailedEventDetails": { "error": "E", "cause": "one\ntwo" },
            "workerLog": "reading\noops" });
        insta::assert_snapshot!(seen.note(&failed, style).unwrap(), @r#"
        ✗ Work   E
            cause  one
                   two
            input  {"a":1}
            log    reading
                   oops
        "#);
        assert_eq!(seen.last, 4);
    }

    #[test]
    fn a_failed_map_names_the_child_that_failed_first() {
        let mut seen = Seen::default();
        let style = Style::plain(80);
        let event =
            |id: u64, kind: &str| json!({ "id": id, "previousEventId": id - 1, "type": kind });
        let mut entered = event(2, "MapStateEntered");
        entered["stateEnteredEventDetails"] = json!({ "name": "M", "input": "[1]" });
        let mut begun = event(4, "MapRunStarted");
        begun["mapRunStartedEventDetails"] = json!({ "mapRunArn": "arn:run" });
        for event in [entered, event(3, "MapStateStarted"), begun] {
            seen.note(&event, style);
        }
        let mut failed = event(5, "MapRunFailed");
        failed["mapRunFailedEventDetails"] = json!({ "error": "TooMany", "cause": "failed" });
        assert_eq!(seen.map_run_of(&failed), Some("arn:run"));
        assert_eq!(seen.map_run_of(&event(3, "MapRunFailed")), None);
        failed["failedChild"] = json!({ "executionArn": "arn:aws:states:r:0:execution:m/l:c",
            "error": "Deep", "cause": "inside child" });
        insta::assert_snapshot!(seen.note(&failed, style).unwrap(), @r"
        ✗ M   TooMany
            cause  failed
            input  [1]
            child  m/l:c   Deep
                   inside child
        ");
    }
}
