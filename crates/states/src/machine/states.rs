//! What each type of state does when entered, and how a state is left.

use super::effect::End;
use super::evaluate::{Eval, Evaluated, Part};
use super::frame::{Doing, FrameId};
use super::run::{Extra, Run, exited_type, variables_bytes};
use crate::definition::{
    Choice, ChoiceCondition, Fail, FieldError, Next, Pass, QueryLanguage, State, StateKind,
    Template, Wait,
};
use crate::error::{Failure, names};
use crate::history::Details;
use crate::limits::{ASSIGN_BYTES_MAX, PAYLOAD_BYTES_MAX, VARIABLES_BYTES_MAX};
use crate::value::{DEPTH_MAX, Document, Object, Value};

/// How a state is left.
#[derive(Debug, Clone)]
pub(crate) struct Leave {
    pub(crate) output: Value,
    /// The variables it sets.
    pub(crate) assigned: Option<Object>,
    pub(crate) next: Next,
}

impl Run<'_> {
    pub(super) fn pass(&mut self, id: FrameId, pass: &Pass) -> Evaluated<()> {
        let leave = self.evaluating(id, &Extra::default(), |eval| leave_pass(eval, pass))?;
        self.leave(id, leave)
    }

    pub(super) fn succeed(&mut self, id: FrameId) -> Evaluated<()> {
        let leave = self.evaluating(id, &Extra::default(), |eval| {
            leave_plain(eval, Part::State, own(eval.state), Next::End)
        })?;
        self.leave(id, leave)
    }

    pub(super) fn choice(&mut self, id: FrameId, choice: &Choice) -> Evaluated<()> {
        let leave = self.evaluating(id, &Extra::default(), |eval| leave_choice(eval, choice))?;
        self.leave(id, leave)
    }

    pub(super) fn fail(&mut self, id: FrameId, fail: &Fail) -> Evaluated<()> {
        let failure = self.evaluating(id, &Extra::default(), |eval| failure_of(eval, fail))?;
        self.fail_frame(id, failure);
        Ok(())
    }

    pub(super) fn wait(&mut self, id: FrameId, wait: &Wait) -> Evaluated<()> {
        let now = self.env.now;
        let until = self.evaluating(id, &Extra::default(), |eval| {
            let effective = eval.effective_input()?;
            eval.wait_until(wait, &effective, now)
        })?;
        if until <= now {
            return self.wait_over(id);
        }
        let timer = self.arm(until);
        self.frame(id).doing = Doing::Wait { timer };
        Ok(())
    }

    /// Leaves a Wait state.
    pub(super) fn wait_over(&mut self, id: FrameId) -> Evaluated<()> {
        let leave = self.evaluating(id, &Extra::default(), |eval| {
            leave_plain(eval, Part::State, own(eval.state), eval.state.next.clone())
        })?;
        self.leave(id, leave)
    }

    /// Leaves a Task, Parallel or Map state with its result.
    pub(super) fn leave_work(&mut self, id: FrameId, result: &Value) -> Evaluated<()> {
        let leave = self.evaluating(id, &Extra::default(), |eval| leave_with(eval, result))?;
        self.leave(id, leave)
    }

    /// Leaves a state: checks the limits, writes the event, sets the variables, goes on.
    pub(super) fn leave(&mut self, id: FrameId, leave: Leave) -> Evaluated<()> {
        let Some((state, scope)) = self
            .state
            .frames
            .get(&id)
            .and_then(|frame| Some((self.definition.state(frame.at)?, frame.scope)))
        else {
            return Ok(());
        };
        let output = limited(leave.output, &state.name)?;
        self.env.fuel.burn_bytes(output.size_bytes());
        let assigned_texts = match &leave.assigned {
            None => None,
            Some(assigned) => Some(self.judge_assigned(assigned)?),
        };
        let details = Details {
            name: Some(state.name.clone()),
            output: Some(output.text().clone()),
            assigned_variables: assigned_texts,
            ..Details::default()
        };
        let previous = self.frame(id).previous;
        let event = self.record(exited_type(state), previous, details);
        self.frame(id).previous = event;
        if let Some(assigned) = leave.assigned {
            self.assign(id, assigned);
        }
        match leave.next {
            Next::State(next) => {
                let frame = self.frame(id);
                debug_assert_eq!(frame.scope, scope);
                frame.at = next;
                frame.input = output;
                frame.doing = Doing::Enter;
                self.state.ready.push_back(id);
            }
            Next::End | Next::Elsewhere(_) => self.list_ended(id, output),
        }
        Ok(())
    }

    /// The texts of new variables, if they are within the limits.
    fn judge_assigned(
        &self,
        assigned: &Object,
    ) -> Evaluated<Vec<(std::sync::Arc<str>, std::sync::Arc<str>)>> {
        let mut texts = Vec::with_capacity(assigned.len());
        let mut bytes = 0;
        for (name, value) in assigned {
            let text = value.to_json_within(ASSIGN_BYTES_MAX - bytes).ok_or_else(|| {
                data_limit("The size of the variables of one Assign exceeds the service limit.")
            })?;
            bytes += text.len();
            texts.push((name.clone(), text.into()));
        }
        if self.state.variables_bytes + bytes > VARIABLES_BYTES_MAX {
            return Err(data_limit(
                "The size of all variables of the execution exceeds the service limit.",
            ));
        }
        Ok(texts)
    }

    fn assign(&mut self, id: FrameId, assigned: Object) {
        let variables = &mut self.frame(id).variables;
        let before = variables_bytes(variables);
        variables.extend(assigned);
        let after = variables_bytes(variables);
        self.state.variables_bytes = (self.state.variables_bytes + after).saturating_sub(before);
    }

    fn list_ended(&mut self, id: FrameId, output: Document) {
        let (parent, previous) = {
            let frame = self.frame(id);
            (frame.parent, frame.previous)
        };
        match parent {
            None => self.end(End::Succeeded(output), previous),
            Some(parent) => self.child_succeeded(parent, id, &output),
        }
    }
}

fn data_limit(cause: &str) -> FieldError {
    FieldError { error: names::DATA_LIMIT_EXCEEDED, cause: cause.to_owned(), location: None }
}

/// The failure of a result of this state or task that is too large.
pub(crate) fn too_large(name: &str) -> FieldError {
    data_limit(&format!(
        "The state/task '{name}' returned a result with a size exceeding the maximum number of bytes \
         service limit."
    ))
}

/// A value as a document, if it is within the data limit and not nested beyond reading.
pub(crate) fn limited(value: Value, name: &str) -> Evaluated<Document> {
    match Document::within(value, PAYLOAD_BYTES_MAX) {
        Some(document) if document.value().depth() <= DEPTH_MAX => Ok(document),
        _ => Err(too_large(name)),
    }
}

/// `Assign` and `Output` of a part of a state.
pub(crate) type Fields<'a> = (Option<&'a Template>, Option<&'a Template>);

/// Those of the state itself.
pub(crate) fn own(state: &State) -> Fields<'_> {
    (state.assign.as_ref(), state.output.as_ref())
}

/// Leaves a state whose result is its (effective) input: Succeed, Wait, Choice.
pub(crate) fn leave_plain(
    eval: &Eval<'_>,
    of: Part,
    (assign, output): Fields<'_>,
    next: Next,
) -> Evaluated<Leave> {
    match eval.state.language {
        QueryLanguage::JsonPath => {
            let effective = eval.effective_input()?;
            let assigned = eval.assigned(of, assign, &effective, None, None)?;
            Ok(Leave { output: eval.after_output_path(&effective)?, assigned, next })
        }
        QueryLanguage::Jsonata => {
            let assigned = eval.assigned(of, assign, eval.input, None, None)?;
            Ok(Leave { output: eval.output(of, output, eval.input, None, None)?, assigned, next })
        }
    }
}

/// Leaves a Pass state.
pub(crate) fn leave_pass(eval: &Eval<'_>, pass: &Pass) -> Evaluated<Leave> {
    let next = eval.state.next.clone();
    if eval.state.language == QueryLanguage::Jsonata {
        return leave_plain(eval, Part::State, own(eval.state), next);
    }
    let effective = eval.effective_input()?;
    let result = match &pass.result {
        Some(result) => result.clone(),
        None => eval.parameters(&effective)?,
    };
    let assigned = eval.assigned(Part::State, eval.state.assign.as_ref(), &result, None, None)?;
    let merged = eval.merged(&eval.state.result_path, result)?;
    Ok(Leave { output: eval.after_output_path(&merged)?, assigned, next })
}

/// Leaves a Choice state by the first rule that holds, or by default.
pub(crate) fn leave_choice(eval: &Eval<'_>, choice: &Choice) -> Evaluated<Leave> {
    let effective = eval.effective_input()?;
    for (index, rule) in choice.rules.iter().enumerate() {
        let holds = match &rule.condition {
            ChoiceCondition::Literal(literal) => *literal,
            ChoiceCondition::Rule(condition) => condition.eval(&eval.scope(&effective))?,
            ChoiceCondition::Expression(expression) => {
                let field = format!("Choices[{index}]/Condition");
                let value = eval.expression(expression, &field)?;
                value.as_bool().ok_or_else(|| {
                    FieldError::of_type(expression.text(), &field, "boolean", &value)
                })?
            }
        };
        if holds {
            // What the state itself assigns and puts out is for when no rule holds.
            let fields = (rule.assign.as_ref(), rule.output.as_ref());
            return leave_plain(eval, Part::Choice(index), fields, rule.next.clone());
        }
    }
    match &choice.default {
        Some(next) => leave_plain(eval, Part::State, own(eval.state), next.clone()),
        None => Err(FieldError {
            error: names::NO_CHOICE_MATCHED,
            cause:
                "Failed to transition out of the state. The state does not point to a next state."
                    .to_owned(),
            location: None,
        }),
    }
}

/// Leaves a Task, Parallel or Map state with its result.
pub(crate) fn leave_with(eval: &Eval<'_>, result: &Value) -> Evaluated<Leave> {
    let state = eval.state;
    let (next, of) = (state.next.clone(), Part::State);
    match state.language {
        QueryLanguage::JsonPath => {
            let assigned = eval.assigned(of, state.assign.as_ref(), result, None, None)?;
            let selected = eval.selected_result(result)?;
            let merged = eval.merged(&state.result_path, selected)?;
            Ok(Leave { output: eval.after_output_path(&merged)?, assigned, next })
        }
        QueryLanguage::Jsonata => {
            let assigned =
                eval.assigned(of, state.assign.as_ref(), eval.input, Some(result), None)?;
            let output = eval.output(of, state.output.as_ref(), result, Some(result), None)?;
            Ok(Leave { output, assigned, next })
        }
    }
}

/// The failure of a Fail state.
pub(crate) fn failure_of(eval: &Eval<'_>, fail: &Fail) -> Evaluated<Failure> {
    let effective = eval.effective_input()?;
    let error = fail.error.as_ref().map(|text| eval.text(text, "Error", &effective)).transpose()?;
    let cause = fail.cause.as_ref().map(|text| eval.text(text, "Cause", &effective)).transpose()?;
    Ok(Failure { error: error.map(Into::into), cause: cause.map(Into::into) })
}

/// Whether an evaluation failure of this state is noted as following from its entry: only of a Wait.
pub(super) fn notes_after_entry(state: &State) -> bool {
    matches!(state.kind, StateKind::Wait(_))
}
