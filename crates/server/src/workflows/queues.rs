//! Queues of the workflow manager's workflows: a name, and the priority with which tasks of the
//! workflows in it are handed to workers. A queue needs not be made: one of which nothing was said has
//! priority 0. Which priority a workflow has is decided when it starts; its children have the same.
//!
//! Called by `manager` when a workflow starts, and by `api/workflow_queues`.

use std::collections::BTreeMap;

use ark_model::api::WorkflowQueue;
use ark_model::event::{EventKind, NewEvent};
use ark_store::{ReadTx, WriteTx};

use super::Workflows;
use super::error::{Refusal, WorkflowError};
use super::types::{Page, PageRequest};

/// Where the priorities are kept: JSON, by name.
const KEY: &str = "workflow_queues";
/// The most queues with a priority of their own.
const QUEUES_MAX: usize = 100;
/// The longest name, in characters.
pub(super) const NAME_CHARS_MAX: usize = 80;
/// Priorities lie between this and its negative.
const PRIORITY_MAX: i16 = 1_000;

fn refused(message: String) -> WorkflowError {
    Refusal::ValidationException.with(message)
}

fn all(tx: &ReadTx) -> Result<BTreeMap<String, i16>, WorkflowError> {
    match tx.meta(KEY)? {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(BTreeMap::new()),
    }
}

/// The priority that a workflow which starts in a queue gets.
pub(super) fn priority(tx: &ReadTx, queue: &str) -> Result<i64, WorkflowError> {
    Ok(all(tx)?.get(queue).copied().unwrap_or(0).into())
}

fn put(tx: &mut WriteTx, name: &str, priority: i16) -> Result<(), WorkflowError> {
    let mut queues = all(tx)?;
    match priority {
        0 => queues.remove(name),
        priority => queues.insert(name.to_owned(), priority),
    };
    if queues.len() > QUEUES_MAX {
        return Err(refused(format!(
            "at most {QUEUES_MAX} queues have a priority: give another one priority 0"
        )));
    }
    Ok(tx.put_meta(KEY, &serde_json::to_string(&queues)?)?)
}

impl Workflows {
    /// Gives a queue a priority. It holds for workflows that start from then on.
    ///
    /// # Errors
    /// `ValidationException`.
    pub async fn put_queue(
        &self,
        name: &str,
        priority: i16,
        by: &str,
    ) -> Result<WorkflowQueue, WorkflowError> {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let text = format!("the name of a queue has 1 to {NAME_CHARS_MAX} characters");
            return Err(refused(text));
        }
        if priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs() {
            let text = format!("a priority lies between -{PRIORITY_MAX} and {PRIORITY_MAX}");
            return Err(refused(text));
        }
        let queue = WorkflowQueue { name: name.to_owned(), priority };
        let (by, now, made) = (by.to_owned(), self.world.clock.now(), queue.clone());
        self.world
            .store
            .write(move |tx| -> Result<(), WorkflowError> {
                put(tx, &made.name, priority)?;
                let text = format!("workflow queue {} has priority {priority}", made.name);
                let kind = EventKind::WorkflowQueueChanged;
                tx.append_event(NewEvent::of_server(kind, by, now, text))?;
                Ok(())
            })
            .await?;
        Ok(queue)
    }

    /// Queues with a priority of their own, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn queues(&self, page: PageRequest) -> Result<Page<WorkflowQueue>, WorkflowError> {
        let (after, limit) = page.after_name();
        let queues = self.world.store.read(all).await?;
        let rows = queues
            .into_iter()
            .filter(|(name, _)| *name > after)
            .take(limit)
            .map(|(name, priority)| WorkflowQueue { name, priority });
        Ok(Page::of(rows.collect(), limit, |row: &WorkflowQueue| row.name.clone(), |row| row))
    }
}
