//! The context object of a tested state: made up, with what the caller gives in its place.

use super::{Request, STATE_NAME, TestStateError, sees_token, validation};
use crate::definition::State;
use crate::machine::context_time;
use crate::value::{Object, Value};

/// The members a caller may give, by section; all are strings but those named below.
const SECTIONS: &[(&str, &[&str])] = &[
    ("Execution", &["Id", "Input", "Name", "RoleArn", "StartTime", "RedriveCount", "RedriveTime"]),
    ("State", &["EnteredTime", "Name", "RetryCount"]),
    ("StateMachine", &["Id", "Name"]),
    ("Task", &["Token"]),
];

pub(super) fn build(
    request: &Request<'_>,
    state: &State,
    input: &Value,
) -> Result<Value, TestStateError> {
    let mut context = made_up(request, state, input);
    let Some(text) = request.context else { return Ok(context.into()) };
    let refused = |what: String| validation(format!("Invalid Context object provided: {what}"));
    let given = Value::parse(text).map_err(|_| refused("not valid JSON".to_owned()))?;
    let Some(given) = given.as_object() else {
        return Err(refused("Context object must be a JSON object".to_owned()));
    };
    for (section, members) in given {
        if &**section == "Map" {
            let what = "'Map' field is not supported when mocking a Context object";
            return Err(refused(what.to_owned()));
        }
        let Some((_, known)) = SECTIONS.iter().find(|(name, _)| *name == &**section) else {
            return Err(refused(format!("Field '{section}' is not allowed")));
        };
        if &**section == "Task" && !sees_token(state) {
            return Err(refused(
                "Context object contains 'Task' when state is not a Task state with a '.sync' or \
                 '.waitForTaskToken' service integration pattern"
                    .to_owned(),
            ));
        }
        let Some(members) = members.as_object() else {
            return Err(refused(format!("{section} must be an object")));
        };
        judge(section, members, known).map_err(refused)?;
        let mut whole =
            context.get(section).and_then(Value::as_object).cloned().unwrap_or_default();
        whole.extend(members.iter().map(|(key, value)| (key.clone(), value.clone())));
        context.insert(section.clone(), whole.into());
    }
    Ok(context.into())
}

fn judge(section: &str, members: &Object, known: &[&str]) -> Result<(), String> {
    for (key, value) in members {
        if !known.contains(&&**key) {
            return Err(format!("Field '{key}' is not allowed"));
        }
        match &**key {
            "Input" => {}
            "RedriveCount" | "RetryCount" if value.as_i64().is_none() => {
                return Err(format!("{section}.{key} must be a number"));
            }
            "RedriveCount" | "RetryCount" => {}
            _ if value.as_str().is_none() => {
                return Err(format!("{section}.{key} must be a string"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn made_up(request: &Request<'_>, state: &State, input: &Value) -> Object {
    let execution = request.execution;
    let role = if execution.role_arn.is_empty() {
        Value::Null
    } else {
        Value::String(execution.role_arn.clone())
    };
    let mut at_state =
        vec![("Name", Value::from(STATE_NAME)), ("EnteredTime", context_time(request.now).into())];
    if state.is_work() {
        at_state.push(("RetryCount", i64::from(request.configuration.retrier_retry_count).into()));
    }
    let members = [
        (
            "Execution",
            Value::object([
                ("Id", Value::String(execution.arn.clone())),
                ("Input", input.clone()),
                ("StartTime", context_time(execution.start_time).into()),
                ("Name", Value::String(execution.name.clone())),
                ("RoleArn", role),
            ]),
        ),
        (
            "StateMachine",
            Value::object([
                ("Id", Value::String(execution.state_machine_arn.clone())),
                ("Name", Value::String(execution.state_machine_name.clone())),
            ]),
        ),
        ("State", Value::object(at_state)),
    ];
    members.into_iter().map(|(key, value)| (key.into(), value)).collect()
}
