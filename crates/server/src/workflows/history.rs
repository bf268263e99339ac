//! The history of an execution, page by page. [`up`] and [`down`] leave long texts the references
//! they are kept as: whoever needs them whole says so with [`whole`], once it is known of which
//! events.

use ark_states::history::HistoryEvent;
use ark_store::ReadTx;

use super::Workflows;
use super::error::{Refusal, WorkflowError};
use super::executions::find;
use super::facts::kept_text;
use super::lists::{PageToken, page_size};
use super::types::{HistoryPage, Page, PageRequest};

/// Steps read at once.
const STEPS_PAGE: usize = 200;

impl Workflows {
    /// Events of an execution, oldest first or newest first, in the wire's form; without
    /// `include_data` inputs, outputs and causes are left out.
    ///
    /// # Errors
    /// `InvalidArn`, `InvalidToken`, `ExecutionDoesNotExist`.
    pub async fn history(
        &self,
        arn: &str,
        page: PageRequest,
        newest_first: bool,
        include_data: bool,
    ) -> Result<HistoryPage, WorkflowError> {
        let page = self.events(arn, page, newest_first).await?;
        let items = page.items.iter().map(|event| event.to_wire(include_data)).collect();
        Ok(Page { items, next_token: page.next_token })
    }

    /// As [`Self::history`], in the interpreter's form.
    ///
    /// # Errors
    /// As [`Self::history`].
    pub async fn events(
        &self,
        arn: &str,
        page: PageRequest,
        newest_first: bool,
    ) -> Result<Page<HistoryEvent>, WorkflowError> {
        let arn = arn.to_owned();
        let size = page_size(page.max_results);
        let scope = format!("history {newest_first} {arn}");
        let from = page.next_token.as_deref().map(|t| PageToken::parse(t, &scope)).transpose()?;
        self.world
            .store
            .read(move |tx| {
                let row = find(tx, &arn)?;
                let mut items = if newest_first {
                    down(tx, row.id, from.unwrap_or(row.events), size + 1)?
                } else {
                    up(tx, row.id, from.unwrap_or(1), size + 1)?
                };
                let more = (items.len() > size).then(|| items.split_off(size));
                let items = whole(tx, row.id, items)?;
                let next = more.and_then(|more| more.first().map(|event| event.id));
                let next_token = next.map(|id| PageToken::text(id, &scope));
                Ok(Page { items, next_token })
            })
            .await
    }
}

/// Events of one step.
fn unpack(execution: u64, text: &str) -> Result<Vec<HistoryEvent>, WorkflowError> {
    serde_json::from_str(text)
        .map_err(|e| WorkflowError::Internal(format!("the history of {execution}: {e}")))
}

/// Events with their texts in the place of references.
pub(super) fn whole(
    tx: &ReadTx,
    execution: u64,
    mut events: Vec<HistoryEvent>,
) -> Result<Vec<HistoryEvent>, WorkflowError> {
    for event in &mut events {
        let d = &mut event.details;
        for text in [&mut d.input, &mut d.output, &mut d.parameters, &mut d.cause] {
            if let Some(kept) = text.as_ref().filter(|t| t.starts_with('\u{1}')) {
                *text = Some(kept_text(tx, execution, kept)?.into());
            }
        }
    }
    Ok(events)
}

/// Events from number `from` on, oldest first, with references.
pub(super) fn up(
    tx: &ReadTx,
    execution: u64,
    mut from: u64,
    most: usize,
) -> Result<Vec<HistoryEvent>, WorkflowError> {
    let mut found: Vec<HistoryEvent> = Vec::new();
    loop {
        let steps = tx.history_from(execution, from, STEPS_PAGE)?;
        let last_page = steps.len() < STEPS_PAGE;
        for (_, text) in steps {
            found.extend(unpack(execution, &text)?.into_iter().filter(|e| e.id >= from));
            if found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
        match found.last() {
            Some(event) if !last_page => from = event.id + 1,
            Some(_) | None => return Ok(found),
        }
    }
}

/// Events from number `to` down, newest first, with references.
pub(super) fn down(
    tx: &ReadTx,
    execution: u64,
    mut to: u64,
    most: usize,
) -> Result<Vec<HistoryEvent>, WorkflowError> {
    let mut found: Vec<HistoryEvent> = Vec::new();
    loop {
        let steps = tx.history_down_from(execution, to, STEPS_PAGE)?;
        let last_page = steps.len() < STEPS_PAGE;
        for (_, text) in steps {
            let events = unpack(execution, &text)?;
            found.extend(events.into_iter().rev().filter(|e| e.id <= to));
            if found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
        match found.last() {
            Some(event) if !last_page && event.id > 1 => to = event.id - 1,
            Some(_) | None => return Ok(found),
        }
    }
}

impl From<serde_json::Error> for WorkflowError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A token that was not made by this server, or for another list.
pub(super) fn bad_token() -> WorkflowError {
    Refusal::InvalidToken.with("Invalid Token: 'Invalid token'")
}
