//! How a tested state answers: what its outcome is once its own Retry and Catch have been asked.
//!
//! [`super::run`] calls [`answer`]; the wire API asks [`Answer::to_wire`].

use std::sync::Arc;

use super::{Inspection, Outcome, Request};
use crate::definition::{Definition, FieldError, Next, State};
use crate::error::{Failure, names};
use crate::machine::evaluate::Eval;
use crate::machine::failure::{Origin, delay, leave_caught, matches};
use crate::machine::states::{Leave, limited};
use crate::value::{Document, Object};

/// How a state ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Succeeded,
    /// With an error nothing handles.
    Failed,
    /// With an error a retrier takes.
    Retriable,
    /// With an error a catcher took.
    CaughtError,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How the state ended.
    pub status: Status,
    /// Its output, when it succeeded or was caught.
    pub output: Option<Document>,
    /// Its failure.
    pub failure: Option<Failure>,
    /// The state that would follow.
    pub next_state: Option<Arc<str>>,
    /// The data flow, from level DEBUG on.
    pub inspection: Option<Inspection>,
    /// The variables that the state set.
    pub(super) assigned: Option<Object>,
}

pub(super) fn answer(
    eval: &Eval<'_>,
    request: &Request<'_>,
    definition: &Definition,
    outcome: Outcome,
    inspection: &mut Inspection,
) -> Answer {
    let (failure, origin) = match outcome {
        Outcome::Left(leave) => match left(definition, eval.state, leave) {
            Ok(answer) => return answer,
            Err(error) => (worded(eval.state, error), Origin::Own),
        },
        Outcome::Field(error) => (worded(eval.state, error), Origin::Own),
        Outcome::Failed(failure, origin) => (failure, origin),
    };
    let mut answer = Answer {
        status: Status::Failed,
        output: None,
        failure: Some(failure.clone()),
        next_state: None,
        inspection: None,
        assigned: None,
    };
    if !eval.state.is_work() || failure.name() == names::RUNTIME {
        return answer;
    }
    let used = request.configuration.retrier_retry_count;
    let mut retriers = eval.state.retry.iter().enumerate();
    if let Some((index, retrier)) =
        retriers.find(|(_, retrier)| matches(&retrier.errors, &failure, origin))
        && used < retrier.max_attempts
    {
        answer.status = Status::Retriable;
        inspection.retried(index, delay(retrier, used.saturating_add(1), eval.random));
        return answer;
    }
    let mut catchers = eval.state.catch.iter().enumerate();
    if let Some((index, catcher)) =
        catchers.find(|(_, catcher)| matches(&catcher.errors, &failure, origin))
    {
        let caught = leave_caught(eval, index, catcher, &failure)
            .and_then(|leave| left(definition, eval.state, leave));
        match caught {
            Ok(caught) => {
                inspection.caught(index);
                answer.status = Status::CaughtError;
                answer.output = caught.output;
                answer.next_state = caught.next_state;
                answer.assigned = caught.assigned;
            }
            Err(error) => answer.failure = Some(worded(eval.state, error)),
        }
    }
    answer
}

fn left(definition: &Definition, state: &State, leave: Leave) -> Result<Answer, FieldError> {
    let next_state = match leave.next {
        Next::State(id) => definition.state(id).map(|state| state.name.clone()),
        Next::Elsewhere(name) => Some(name),
        Next::End => None,
    };
    let output = Some(limited(leave.output, &state.name)?);
    Ok(Answer {
        status: Status::Succeeded,
        output,
        failure: None,
        next_state,
        inspection: None,
        assigned: leave.assigned,
    })
}

/// The first state of an execution is entered at the event 2.
fn worded(state: &State, error: FieldError) -> Failure {
    match error.error {
        names::DATA_LIMIT_EXCEEDED => Failure::new(error.error, error.cause),
        _ => Failure::new(
            error.error,
            format!(
                "An error occurred while executing the state '{}' (entered at the event id #2). {}",
                state.name, error.cause
            ),
        ),
    }
}

impl Status {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Retriable => "RETRIABLE",
            Self::CaughtError => "CAUGHT_ERROR",
        }
    }
}

impl Answer {
    /// The wire form: `{"output":..,"error":..,"cause":..,"inspectionData":..,"nextState":..,"status":..}`.
    pub fn to_wire(&self) -> serde_json::Value {
        let mut wire = serde_json::Map::new();
        let mut put = |key: &str, text: Option<&Arc<str>>| {
            if let Some(text) = text {
                wire.insert(key.into(), text.as_ref().into());
            }
        };
        put("output", self.output.as_ref().map(Document::text));
        put("error", self.failure.as_ref().and_then(|failure| failure.error.as_ref()));
        put("cause", self.failure.as_ref().and_then(|failure| failure.cause.as_ref()));
        put("nextState", self.next_state.as_ref());
        if let Some(inspection) = &self.inspection {
            wire.insert("inspectionData".into(), inspection.to_wire());
        }
        wire.insert("status".into(), self.status.name().into());
        wire.into()
    }
}
