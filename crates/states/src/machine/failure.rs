//! Failures: Retry, Catch, and what becomes of those nobody handles.

use std::sync::Arc;

use jiff::SignedDuration;

use super::effect::End;
use super::evaluate::{Eval, Evaluated, Part};
use super::frame::{Doing, FrameId, Retries};
use super::run::{Extra, Run};
use super::states::{Leave, notes_after_entry};
use crate::definition::{Catcher, FieldError, QueryLanguage, Retrier, State, StateKind};
use crate::error::{Failure, names};
use crate::history::{Details, EventType};
use crate::limits::SECONDS_MAX;
use crate::scope::Random;
use crate::value::Value;

/// Where a failure of a state comes from; it decides who may handle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The state's own fields or output.
    Own,
    /// Its task, or its Map Run.
    Work,
    /// One of its branches.
    Branch,
    /// One of its iterations.
    Iteration,
}

impl Run<'_> {
    /// A field of a state could not be evaluated, or its output is too large.
    pub(super) fn state_error(&mut self, id: FrameId, error: FieldError) {
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        let cause = match error.error {
            // Recorded without the usual beginning.
            names::DATA_LIMIT_EXCEEDED => error.cause,
            _ => format!(
                "An error occurred while executing the state '{}' (entered at the event id #{}). {}",
                state.name, frame.entered.event, error.cause
            ),
        };
        let failure = Failure::new(error.error, cause);
        if error.error == names::QUERY_EVALUATION_ERROR {
            let untouched = frame.previous == frame.entered.event && !notes_after_entry(state);
            let previous = if untouched { frame.entered.previous } else { frame.previous };
            let details = Details {
                error: failure.error.clone(),
                cause: failure.cause.clone(),
                location: error.location.map(Arc::from),
                state: Some(state.name.clone()),
                ..Details::default()
            };
            let event = self.record(EventType::EvaluationFailed, previous, details);
            self.frame(id).previous = event;
        }
        self.failed(id, failure, Origin::Own);
    }

    /// A state failed: tries its retriers, then its catchers, else its list fails.
    pub(super) fn failed(&mut self, id: FrameId, failure: Failure, origin: Origin) {
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        let terminal = failure.name() == names::RUNTIME;
        if !terminal && self.retried(id, state, &failure, origin) {
            return;
        }
        if !(terminal && origin == Origin::Own) {
            let kind = match state.kind {
                StateKind::Parallel(_) => Some(EventType::ParallelStateFailed),
                StateKind::Map(_) => Some(EventType::MapStateFailed),
                _ => None,
            };
            if let Some(kind) = kind {
                let previous = self.frame(id).previous;
                let event = self.record(kind, previous, Details::default());
                self.frame(id).previous = event;
            }
        }
        if !terminal
            && let Some(index) =
                state.catch.iter().position(|one| matches(&one.errors, &failure, origin))
        {
            return self.caught(id, index, &state.catch[index], &failure);
        }
        self.fail_frame(id, failure);
    }

    /// Whether a retrier takes the failure; the state then waits to try again.
    ///
    /// `MaxAttempts` holds for each name of `ErrorEquals` by itself, while the delays grow with all
    /// attempts of the retrier: the documented trace (errors A, B, C, B, B against A or B twice) waits
    /// 1, 2, 5 and 4 seconds before it gives up.
    fn retried(&mut self, id: FrameId, state: &State, failure: &Failure, origin: Origin) -> bool {
        let found = state.retry.iter().enumerate().find_map(|(index, retrier)| {
            Some((index as u32, retrier, matching(&retrier.errors, failure, origin)? as u32))
        });
        let Some((index, retrier, name)) = found else { return false };
        let frame = self.frame(id);
        let place = frame.retries.iter().position(|one| (one.retrier, one.name) == (index, name));
        let place = place.unwrap_or_else(|| {
            frame.retries.push(Retries { retrier: index, name, used: 0 });
            frame.retries.len() - 1
        });
        if frame.retries[place].used >= retrier.max_attempts {
            return false;
        }
        frame.retries[place].used += 1;
        frame.retry_count += 1;
        let of_retrier = frame.retries.iter().filter(|one| one.retrier == index);
        let attempt = of_retrier.map(|one| one.used).fold(0, u32::saturating_add);
        self.drop_children(id);
        let delay = delay(retrier, attempt, &self.random);
        let at = self.env.now.checked_add(delay).unwrap_or(self.env.now);
        let timer = self.arm(at);
        self.frame(id).doing = Doing::Retry { timer };
        true
    }

    fn caught(&mut self, id: FrameId, index: usize, catcher: &Catcher, failure: &Failure) {
        self.drop_children(id);
        let leave = self
            .evaluating(id, &Extra::default(), |eval| leave_caught(eval, index, catcher, failure));
        if let Err(error) = leave.and_then(|leave| self.leave(id, leave)) {
            self.catch_failed(id, error);
        }
    }

    /// Output or Assign of a catcher failed: nothing handles that.
    fn catch_failed(&mut self, id: FrameId, error: FieldError) {
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        let cause = format!(
            "An error occurred while executing the state '{}' (entered at the event id #{}). {}",
            state.name, frame.entered.event, error.cause
        );
        let failure = Failure::new(error.error, cause);
        if error.error == names::QUERY_EVALUATION_ERROR {
            let details = Details {
                error: failure.error.clone(),
                cause: failure.cause.clone(),
                location: error.location.map(Arc::from),
                state: Some(state.name.clone()),
                ..Details::default()
            };
            let previous = frame.previous;
            let event = self.record(EventType::EvaluationFailed, previous, details);
            self.frame(id).previous = event;
        }
        self.fail_frame(id, failure);
    }

    /// A list of states ends with a failure.
    pub(super) fn fail_frame(&mut self, id: FrameId, failure: Failure) {
        let frame = self.frame(id);
        let (parent, previous) = (frame.parent, frame.previous);
        if !matches!(frame.doing, Doing::Parallel { .. } | Doing::Map(_) | Doing::MapRun { .. }) {
            frame.doing = Doing::Failed { failure: failure.clone() };
        }
        match parent {
            None => self.end(End::Failed(failure), previous),
            Some(parent) => self.child_failed(parent, id, failure),
        }
    }
}

/// Whether a list of error names takes a failure.
pub(crate) fn matches(errors: &[Arc<str>], failure: &Failure, origin: Origin) -> bool {
    matching(errors, failure, origin).is_some()
}

/// Which of a list of error names takes a failure.
fn matching(errors: &[Arc<str>], failure: &Failure, origin: Origin) -> Option<usize> {
    let name = failure.name();
    let own_output = name == names::DATA_LIMIT_EXCEEDED && origin == Origin::Own;
    errors.iter().position(|wanted| match &**wanted {
        // Documented not to take a state's own output that is too large; recorded to take a task's.
        names::ALL => !own_output,
        names::TASK_FAILED => {
            !own_output && !matches!(name, names::TIMEOUT | names::HEARTBEAT_TIMEOUT)
        }
        names::TIMEOUT => matches!(name, names::TIMEOUT | names::HEARTBEAT_TIMEOUT),
        // However the branch failed: the failure keeps the name it has there.
        names::BRANCH_FAILED => origin == Origin::Branch || name == names::BRANCH_FAILED,
        wanted => wanted == name,
    })
}

/// How long to wait before an attempt (from 1): `min(MaxDelay, Interval * Backoff^(n-1))`, drawn from
/// 0 to that with full jitter.
pub(crate) fn delay(retrier: &Retrier, attempt: u32, random: &Random) -> SignedDuration {
    let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let most = retrier.max_delay_seconds.unwrap_or(SECONDS_MAX as f64);
    let seconds = (retrier.interval_seconds * retrier.backoff_rate.powi(power)).min(most).max(0.0);
    let seconds = if seconds.is_finite() { seconds } else { most };
    let seconds = if retrier.jitter { seconds * random.next_f64() } else { seconds };
    #[expect(clippy::cast_possible_truncation, reason = "bounded by MaxDelaySeconds")]
    SignedDuration::from_millis((seconds * 1000.0) as i64)
}

/// `{"Error": .., "Cause": ..}`.
pub(crate) fn error_output(failure: &Failure) -> Value {
    let text = |part: &Option<Arc<str>>| Value::String(part.clone().unwrap_or_default());
    Value::object([("Error", text(&failure.error)), ("Cause", text(&failure.cause))])
}

/// Leaves a state by its catcher of this index.
pub(crate) fn leave_caught(
    eval: &Eval<'_>,
    index: usize,
    catcher: &Catcher,
    failure: &Failure,
) -> Evaluated<Leave> {
    let error = error_output(failure);
    let (next, of) = (catcher.next.clone(), Part::Catch(index));
    match eval.state.language {
        QueryLanguage::JsonPath => {
            let assigned = eval.assigned(of, catcher.assign.as_ref(), &error, None, None)?;
            Ok(Leave { output: eval.merged(&catcher.result_path, error)?, assigned, next })
        }
        QueryLanguage::Jsonata => {
            let assigned =
                eval.assigned(of, catcher.assign.as_ref(), eval.input, None, Some(&error))?;
            let output = eval.output(of, catcher.output.as_ref(), &error, None, Some(&error))?;
            Ok(Leave { output, assigned, next })
        }
    }
}
