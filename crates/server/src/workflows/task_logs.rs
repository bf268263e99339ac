//! The last lines that a worker's command wrote before its task failed. `ark worker` sends them with the
//! failure; they stand beside the history, not in it, so that clients of Step Functions see nothing they
//! do not know. `looking` shows them with the event of the failure.

use ark_states::history::{EventType, HistoryEvent};
use ark_store::{ExecutionKind, ReadTx};

use super::effects::TaskBody;
use super::error::WorkflowError;
use super::facts::{Parent, Token};
use super::history;
use super::step::Stepper;

/// Bytes that are kept of one failure, and lines.
const LOG_BYTES_MAX: usize = 8_192;
const LOG_LINES_MAX: usize = 50;
/// Failures of one execution whose lines are kept, the newest.
const LOGS_MAX: usize = 20;
/// Events between a failure and the one that says that its task was scheduled.
const STEPS_BACK_MAX: usize = 3;

/// The last lines of a text, without what a terminal would take for orders.
pub(super) fn last_lines(text: &str) -> String {
    let shown = |c: &char| *c == '\t' || !c.is_control();
    let mut kept: Vec<String> = Vec::new();
    let mut bytes = 0;
    for line in text.lines().rev().take(LOG_LINES_MAX) {
        let line: String = line.chars().filter(shown).collect();
        bytes += line.len() + 1;
        if bytes > LOG_BYTES_MAX {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}

impl Stepper<'_> {
    /// Keeps the last lines of a task that is about to fail. Executions without a history keep none.
    ///
    /// # Errors
    /// As for the answer itself: the token must be that of a task that waits for one.
    pub(super) fn keep_log(&mut self, token: &str, lines: &str) -> Result<(), WorkflowError> {
        let token = Token::parse(token)?;
        let row = self.task_of_token(&token)?;
        let scheduled = TaskBody::of(&row).scheduled;
        let Some(l) = self.load(row.execution)? else { return Ok(()) };
        let recorded = l.row.kind == ExecutionKind::Standard
            && !matches!(&l.facts.parent, Some(Parent::Item { express: true, .. }));
        let lines = last_lines(lines);
        if recorded && scheduled > 0 && !lines.trim().is_empty() {
            self.tx.put_task_log(row.execution, scheduled, &lines, LOGS_MAX)?;
        }
        Ok(())
    }
}

/// The last lines of the worker whose failure an event is.
pub(super) fn log_of(
    tx: &ReadTx,
    execution: u64,
    event: &HistoryEvent,
) -> Result<Option<String>, WorkflowError> {
    let fails = matches!(
        event.kind,
        EventType::ActivityFailed | EventType::LambdaFunctionFailed | EventType::TaskFailed
    );
    let mut before = event.previous_event_id;
    for _ in 0..STEPS_BACK_MAX {
        if !fails || before == 0 {
            break;
        }
        if let Some(lines) = tx.task_log(execution, before)? {
            return Ok(Some(lines));
        }
        let found = history::up(tx, execution, before, 1)?;
        before = found.first().map_or(0, |event| event.previous_event_id);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_fit() {
        assert_eq!(last_lines("a\nb\u{1b}[31m\tc\r\n"), "a\nb[31m\tc");
        assert_eq!(last_lines(""), "");
        let many: String = (0..100).map(|n| format!("{n}\n")).collect();
        let kept = last_lines(&many);
        assert_eq!((kept.lines().next(), kept.lines().last()), (Some("50"), Some("99")));
        let long = format!("first\n{}\nlast", "x".repeat(LOG_BYTES_MAX));
        assert_eq!(last_lines(&long), "last");
    }
}
