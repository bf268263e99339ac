//! TestState: the language's own evaluation of one state, in the wire's words. Nothing is kept. Work is
//! mocked, but for a call over HTTP that nothing stands for, which is made.

use std::sync::Arc;

use ark_states::machine::ExecutionInfo;
use ark_states::test_state::{
    self as states, Configuration, FieldValidation, InspectionLevel, Mock, TestStateError,
};
use ark_states::{Failure, Fuel};
use serde_json::Value;

use super::answer::{Answered, done};
use super::call::{Call, text};
use super::error::WireError;
use crate::workflows::{Arn, Refusal, Resource};

/// The name that the execution has which there is none of.
const NAME: &str = "TestState";
/// Units that an evaluation may cost: some seconds.
const FUEL: u64 = 50_000_000;

pub(super) async fn test_state(call: Call) -> Answered {
    let mock = mock(&call)?;
    let call = Arc::new(call);
    let workflows = call.workflows().clone();
    let tested = {
        let asked = Tested { execution: execution(&call), seed: rand::random(), mock };
        // The deadline ends the waiting, not a thread: the work itself must have an end.
        let evaluate = |asked: Tested| {
            let call = call.clone();
            workflows.beside(move || (run(&call, &asked), asked))
        };
        match evaluate(asked).await? {
            (Err(TestStateError::Call { parameters, timeout_seconds }), asked) => {
                let called = workflows.call_of_test(&parameters, timeout_seconds).await;
                evaluate(Tested { mock: Some(Mock::Called(called)), ..asked }).await?.0
            }
            (tested, _) => tested,
        }
    };
    match tested {
        Ok(answer) => done(&answer),
        Err(TestStateError::InvalidDefinition(message)) => {
            Err(Refusal::InvalidDefinition.with(message).into())
        }
        Err(TestStateError::InvalidInput(message)) => {
            Err(Refusal::InvalidExecutionInput.with(message).into())
        }
        Err(TestStateError::Validation(message)) => Err(WireError::validation(message)),
        Err(again @ TestStateError::Call { .. }) => Err(WireError::validation(again.to_string())),
    }
}

/// What is evaluated: the same once more after a call was made.
struct Tested {
    execution: ExecutionInfo,
    seed: u128,
    mock: Option<Mock>,
}

fn run(call: &Call, tested: &Tested) -> Result<Value, TestStateError> {
    let answer = states::run(&states::Request {
        definition: call.needed("definition"),
        state_name: call.text("stateName"),
        input: call.text("input").unwrap_or("{}"),
        variables: call.text("variables"),
        context: call.text("context"),
        level: match call.text("inspectionLevel") {
            Some("DEBUG") => InspectionLevel::Debug,
            Some("TRACE") => InspectionLevel::Trace,
            _ => InspectionLevel::Info,
        },
        mock: tested.mock.clone(),
        field_validation: match call
            .object("mock")
            .and_then(|mock| text(mock, "fieldValidationMode"))
        {
            Some("PRESENT") => FieldValidation::Present,
            Some("NONE") => FieldValidation::None,
            _ => FieldValidation::Strict,
        },
        configuration: configuration(call),
        execution: &tested.execution,
        now: call.now,
        seed: tested.seed,
        fuel: &Fuel::of(FUEL),
    })?;
    Ok(answer.to_wire())
}

fn mock(call: &Call) -> Result<Option<Mock>, WireError> {
    let Some(mock) = call.object("mock") else { return Ok(None) };
    let failure = |error: &Value| {
        let part = |name: &str| error.get(name).and_then(Value::as_str).map(Arc::<str>::from);
        Failure { error: part("error"), cause: part("cause") }
    };
    match (text(mock, "result"), mock.get("errorOutput")) {
        (Some(_), Some(_)) => {
            Err(WireError::validation("A mock cannot have both a result and an errorOutput"))
        }
        (Some(result), None) => Ok(Some(Mock::Result(result.to_owned()))),
        (None, Some(error)) => Ok(Some(Mock::Error(failure(error)))),
        (None, None) => Ok(None),
    }
}

fn configuration(call: &Call) -> Configuration {
    let Some(given) = call.object("stateConfiguration") else { return Configuration::default() };
    let number = |name: &str| given.get(name).and_then(Value::as_u64).unwrap_or(0);
    Configuration {
        retrier_retry_count: u32::try_from(number("retrierRetryCount")).unwrap_or(u32::MAX),
        error_caused_by_state: text(given, "errorCausedByState").map(str::to_owned),
        map_iteration_failure_count: number("mapIterationFailureCount"),
        map_item_reader_data: text(given, "mapItemReaderData").map(str::to_owned),
    }
}

/// What the context object says of an execution that is none.
fn execution(call: &Call) -> ExecutionInfo {
    let arn = |resource| Arc::<str>::from(Arn::new(&call.who.region, resource).to_string());
    let (machine, name) = (NAME.to_owned(), NAME.to_owned());
    ExecutionInfo {
        express: false,
        arn: arn(Resource::Express {
            machine: machine.clone(),
            name,
            id: uuid::Uuid::new_v4().to_string(),
        }),
        name: NAME.into(),
        input: call.text("input").unwrap_or("{}").into(),
        role_arn: call.text("roleArn").unwrap_or_default().into(),
        start_time: call.now,
        state_machine_arn: arn(Resource::Machine { name: machine }),
        state_machine_name: NAME.into(),
        alias_arn: None,
        version_arn: None,
    }
}
