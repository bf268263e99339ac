//! Why an execution failed: the state, what it was given, and what its worker wrote last. The lines of
//! workers stand beside the history that AWS's API gives, so they are asked for by Ark's own.

use std::collections::BTreeMap;

use ark_model::api::{ExecutionEvent, ExecutionEventsQuery};
use ark_model::exit::ExitCode;
use serde_json::{Value, json};

use super::map_runs;
use super::target::execution_id;
use crate::client::Client;
use crate::failure::Failure;

/// Characters of each text that are shown.
const SHOWN_MAX: u32 = 10_000;
/// Events read at once, and how often, on the way from the end to the state that failed.
const PAGE: u32 = 100;
const PAGES_MAX: usize = 50;

/// Whether an event may have lines of a worker beside it.
pub(super) fn is_of_worker(kind: &str) -> bool {
    matches!(kind, "ActivityFailed" | "LambdaFunctionFailed" | "TaskFailed")
}

/// Some events of an execution; none where it has no history that could be shown.
async fn events(
    client: &Client,
    arn: &str,
    query: &ExecutionEventsQuery,
) -> Result<Vec<ExecutionEvent>, Failure> {
    let id = execution_id(arn);
    // A child of a map run is MACHINE/LABEL:NAME, and an execution of its machine like others.
    let Some((machine, name)) = id.split_once(':') else { return Ok(Vec::new()) };
    let machine = machine.split('/').next().unwrap_or_default();
    match client.execution_events(machine, name, query).await {
        Ok(page) => Ok(page.items),
        Err(failure) if failure.exit == ExitCode::NotFound.into() => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

/// The last lines of the worker whose failure an event is, where there are any.
pub(super) async fn worker_log(
    client: &Client,
    arn: &str,
    event: u64,
) -> Result<Option<String>, Failure> {
    let query = ExecutionEventsQuery {
        from: Some(event),
        text: Some(SHOWN_MAX),
        limit: Some(1),
        ..ExecutionEventsQuery::default()
    };
    let found = events(client, arn, &query).await?;
    Ok(found.into_iter().find(|e| e.id == event).and_then(|e| e.log).map(|log| log.text))
}

/// The state in which an execution failed, with its input, error, cause and the worker's last lines; of a
/// distributed Map the child that failed first, too.
pub(crate) async fn failed_state(client: &Client, arn: &str) -> Result<Option<Value>, Failure> {
    let Some(Chain { mut state, map_run }) = chain(client, arn).await? else { return Ok(None) };
    if let Some(run) = map_run
        && let Some(child) = map_runs::first_failed(client, &run).await?
    {
        state["failedChild"] = child;
    }
    Ok(Some(state))
}

/// What led to the end of an execution, back to the state that failed.
async fn chain(client: &Client, arn: &str) -> Result<Option<Chain>, Failure> {
    let (mut known, mut chain) = (BTreeMap::new(), Chain::default());
    let mut next = None;
    for _ in 0..PAGES_MAX {
        let query = ExecutionEventsQuery {
            from: next,
            newest: true,
            text: Some(SHOWN_MAX),
            limit: Some(PAGE),
        };
        let page = events(client, arn, &query).await?;
        let Some(newest) = page.first().map(|event| event.id) else { return Ok(None) };
        known.extend(page.into_iter().map(|event| (event.id, event)));
        let mut id = next.unwrap_or(newest);
        while let Some(event) = known.get(&id) {
            if chain.ends_with(event) {
                return Ok(Some(chain));
            }
            if event.previous == 0 || event.previous >= id {
                return Ok(None);
            }
            id = event.previous;
        }
        next = Some(id);
    }
    Ok(None)
}

/// What is known of the failure, from the end of the execution backwards.
#[derive(Debug, Default)]
struct Chain {
    /// The state as it is told.
    state: Value,
    /// The Map Run that it began.
    map_run: Option<String>,
}

impl Chain {
    /// Takes up an event; answers whether it is the state's beginning.
    fn ends_with(&mut self, event: &ExecutionEvent) -> bool {
        let texts = [("error", &event.error), ("cause", &event.cause), ("log", &event.log)];
        let is_end = event.kind.starts_with("Execution");
        for (name, text) in texts.into_iter().filter(|_| !is_end) {
            if let (Some(text), None) = (text, self.state.get(name)) {
                self.state[name] = json!(text.text);
            }
        }
        if self.map_run.is_none() {
            self.map_run.clone_from(&event.map_run);
        }
        let begins = event.kind.ends_with("StateEntered");
        if begins {
            self.state["state"] = json!(event.state);
            self.state["input"] = json!(event.input.as_ref().map(|input| &input.text));
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use ark_model::api::EventText;
    use jiff::Timestamp;

    use super::*;

    fn event(id: u64, kind: &str, word: &str) -> ExecutionEvent {
        let text = |word: &str| EventText { text: word.to_owned(), bytes: 1, cut: false };
        let fails = kind.ends_with("Failed");
        let enters = kind.ends_with("Entered");
        ExecutionEvent {
            id,
            previous: id - 1,
            at: Timestamp::UNIX_EPOCH,
            kind: kind.to_owned(),
            state: enters.then(|| word.to_owned()),
            index: None,
            resource: None,
            worker: None,
            map_run: None,
            input: enters.then(|| text("{}")),
            output: None,
            error: fails.then(|| text(word)),
            cause: None,
            log: is_of_worker(kind).then(|| text("last words")),
        }
    }

    #[test]
    fn the_newest_failure_and_its_state_are_told() {
        let mut chain = Chain::default();
        let end = [
            event(6, "ExecutionFailed", "Whole"),
            event(5, "ActivityFailed", "Last"),
            event(4, "ActivityScheduled", ""),
            event(3, "ActivityFailed", "First"),
            event(2, "TaskStateEntered", "Work"),
        ];
        let ended: Vec<bool> = end.iter().map(|event| chain.ends_with(event)).collect();
        assert_eq!(ended, [false, false, false, false, true]);
        let told = json!({ "error": "Last", "log": "last words", "state": "Work", "input": "{}" });
        assert_eq!((chain.state, chain.map_run), (told, None));
    }
}
