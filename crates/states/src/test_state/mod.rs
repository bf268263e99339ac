//! TestState: one state, run alone, with a look into its data flow.
//!
//! The wire API calls [`run`]. It evaluates the same functions as the interpreter; the work of Task, Map
//! and Parallel states is a mock, whose result is held to the API it stands for ([`api_models`]).

mod answer;
mod api_models;
mod context;
mod inspect;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::definition::{Definition, FieldError, Map, QueryLanguage, State, StateKind};
use crate::error::{Failure, names};
use crate::fuel::Fuel;
use crate::item_formats::{Keyed, items};
use crate::machine::evaluate::{Eval, Part};
use crate::machine::failure::Origin;
use crate::machine::map::{inputs_of, reader};
use crate::machine::states::{
    Leave, failure_of, leave_choice, leave_pass, leave_plain, leave_with, own,
};
use crate::machine::{ExecutionInfo, ReaderRequest};
use crate::resource::{Pattern, Resource};
use crate::scope::{Context, Random, Variables};
use crate::validate;
use crate::value::{Document, Object, Value};

use answer::answer;
pub use answer::{Answer, Status};
pub use api_models::FieldValidation;
pub use inspect::Inspection;

/// How much an answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InspectionLevel {
    /// Output or error.
    #[default]
    Info,
    /// And each step of the data flow.
    Debug,
    /// And the requests of HTTP tasks.
    Trace,
}

/// What stands for the work of the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Mock {
    /// It gave this JSON text.
    Result(String),
    /// It failed so.
    Error(Failure),
    /// It was a call over HTTP that was made: see [`TestStateError::Call`].
    Called(Called),
}

/// A call over HTTP, as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// What the state makes of the answer.
    pub result: Result<Value, Failure>,
    /// `inspectionData.request`, for [`InspectionLevel::Trace`].
    pub request: Option<serde_json::Value>,
    /// `inspectionData.response`.
    pub response: Option<serde_json::Value>,
}

/// `stateConfiguration`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// Attempts the matching retrier has used.
    pub retrier_retry_count: u32,
    /// The inner state whose failure the mocked error is, of a Map or Parallel.
    pub error_caused_by_state: Option<String>,
    /// Failed iterations of a Map.
    pub map_iteration_failure_count: u64,
    /// What the reader of a Map read, as it is in its source: the text of an object in the format that
    /// `ReaderConfig` names, or a list of objects as a JSON array.
    pub map_item_reader_data: Option<String>,
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// A state, or a machine together with `state_name`.
    pub definition: &'a str,
    /// Which state of a machine.
    pub state_name: Option<&'a str>,
    /// Input of the state, JSON text.
    pub input: &'a str,
    /// Variables, a JSON object as text.
    pub variables: Option<&'a str>,
    /// Context object, JSON text.
    pub context: Option<&'a str>,
    /// How much to show.
    pub level: InspectionLevel,
    /// What stands for the work.
    pub mock: Option<Mock>,
    /// How strictly the mock is held to the API it stands for.
    pub field_validation: FieldValidation,
    /// `stateConfiguration`.
    pub configuration: Configuration,
    /// Names for the context object; an empty role shows as null.
    pub execution: &'a ExecutionInfo,
    /// The clock.
    pub now: Timestamp,
    /// Random bits.
    pub seed: u128,
    /// What the evaluation may cost.
    pub fuel: &'a Fuel,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TestStateError {
    /// `InvalidDefinition`.
    #[error("{0}")]
    InvalidDefinition(String),
    /// No refusal: the state asks for this call over HTTP. Whoever makes it asks again with the same
    /// random bits and [`Mock::Called`].
    #[error("the call is to be made")]
    Call {
        /// What the call is asked with.
        parameters: Value,
        /// How long the state waits for its answer; nothing when it says nothing.
        timeout_seconds: Option<i64>,
    },
    /// `InvalidExecutionInput`.
    #[error("{0}")]
    InvalidInput(String),
    /// `ValidationException`.
    #[error("{0}")]
    Validation(String),
}

fn validation(message: impl Into<String>) -> TestStateError {
    TestStateError::Validation(message.into())
}

/// The name a state tested alone has in the context object.
const STATE_NAME: &str = "StateName";

/// Tests a state.
pub fn run(request: &Request<'_>) -> Result<Answer, TestStateError> {
    if request.context.is_some() && request.mock.is_none() {
        return Err(validation("A Context object can only be specified together with a mock"));
    }
    let (definition, id) = definition(request)?;
    let invalid =
        || TestStateError::InvalidDefinition("the state is not part of the definition".into());
    let state = definition.state(id).ok_or_else(invalid)?;
    let mock = mock(request, state)?;
    cause_is_inner(request, &definition, state)?;
    let input = Document::parse(request.input)
        .map_err(|error| TestStateError::InvalidInput(format!("Invalid State Input: {error}")))?;
    let variables = match request.variables {
        None => Object::new(),
        Some(text) => match Value::parse(text) {
            Ok(Value::Object(members)) => (*members).clone(),
            Ok(_) | Err(_) => return Err(validation("Variables must be a JSON object")),
        },
    };
    let context = context::build(request, state, input.value())?;
    let build = || context.clone();
    let context = Context::new(&build);
    let scopes = Variables::new(vec![&variables]);
    let random = Random::new(request.seed);
    let eval = Eval {
        state,
        input: input.value(),
        context: &context,
        variables: &scopes,
        random: &random,
        fuel: request.fuel,
        now: request.now,
    };
    let mut inspection = Inspection::new(&input);
    let answered = test(&eval, request, mock, &mut inspection)
        .map(|outcome| answer(&eval, request, &definition, outcome, &mut inspection));
    if request.fuel.is_dry() {
        // What came out is not what more fuel would have made of it, not even a refusal.
        return Err(validation("The state costs more to evaluate than TestState allows"));
    }
    let mut answer = answered?;
    inspection.variables(&variables, answer.assigned.take());
    answer.inspection = (request.level != InspectionLevel::Info).then_some(inspection);
    Ok(answer)
}

fn definition(
    request: &Request<'_>,
) -> Result<(Definition, crate::definition::StateId), TestStateError> {
    let invalid = |error: String| {
        TestStateError::InvalidDefinition(format!("Invalid State Machine Definition: '{error}'"))
    };
    let value = Value::parse(request.definition).map_err(|error| invalid(error.to_string()))?;
    let findings = validate::shape(&value);
    if let Some(refusal) = validate::refusal(&findings) {
        return Err(TestStateError::InvalidDefinition(refusal));
    }
    if value.get("States").is_none() {
        if request.state_name.is_some() {
            return Err(validation(
                "A stateName can only be specified with the definition of a state machine",
            ));
        }
        let definition = Definition::of_single_state(STATE_NAME, &value)
            .map_err(|error| invalid(error.to_string()))?;
        return Ok((definition, crate::definition::StateId(0)));
    }
    let definition = Definition::from_value(&value).map_err(|error| invalid(error.to_string()))?;
    let Some(name) = request.state_name else {
        return Err(validation("A stateName is needed to test a state of a state machine"));
    };
    let id = definition.find(name).ok_or_else(|| {
        validation(format!("State '{name}' not found in the state machine definition"))
    })?;
    Ok((definition, id))
}

/// The mock, checked against the state it stands in for.
fn mock(
    request: &Request<'_>,
    state: &State,
) -> Result<Option<Result<Value, Failure>>, TestStateError> {
    let kind = match &state.kind {
        StateKind::Pass(_) => "Pass",
        StateKind::Choice(_) => "Choice",
        StateKind::Wait(_) => "Wait",
        StateKind::Succeed => "Succeed",
        StateKind::Fail(_) => "Fail",
        StateKind::Task(_) | StateKind::Parallel(_) | StateKind::Map(_) => "",
    };
    let Some(mock) = &request.mock else {
        return match &state.kind {
            StateKind::Parallel(_) | StateKind::Map(_) => Err(TestStateError::InvalidDefinition(
                "TestState API does not support Map or Parallel states. Supported state types include: \
                 [Task, Wait, Pass, Succeed, Fail, Choice]"
                    .to_owned(),
            )),
            StateKind::Task(_) if is_call(state) => Ok(None),
            StateKind::Task(task) => Err(validation(match &task.resource {
                Resource::Activity(_) => "State type 'Task' with an activity requires a mock".to_owned(),
                other => format!("State type 'Task' with the resource '{other}' requires a mock"),
            })),
            _ => Ok(None),
        };
    };
    if !kind.is_empty() {
        return Err(validation(format!(
            "State type '{kind}' is not supported when a mock is specified"
        )));
    }
    let text = match mock {
        Mock::Error(failure) if failure.error.is_none() => {
            return Err(validation("A mocked errorOutput must have an error"));
        }
        Mock::Error(failure) => return Ok(Some(Err(failure.clone()))),
        Mock::Called(called) => return Ok(Some(called.result.clone())),
        Mock::Result(text) => text,
    };
    let value = Value::parse(text).map_err(|_| validation("Mocked result must be valid JSON"))?;
    if let StateKind::Task(task) = &state.kind
        && let Some(problem) = api_models::problem(&task.resource, &value, request.field_validation)
    {
        return Err(validation(problem));
    }
    match (&state.kind, value.as_array()) {
        (StateKind::Parallel(_) | StateKind::Map(_), None) if !has_writer(state) => {
            Err(validation("Mocked result must be an array."))
        }
        (StateKind::Parallel(parallel), Some(items)) if items.len() != parallel.branches.len() => {
            Err(validation(
                "Mocked result must contain the same number of items as number of Parallel branches.",
            ))
        }
        _ => Ok(Some(Ok(value))),
    }
}

/// Whether the work of a state is a call over HTTP, which is made where nothing stands for it.
fn is_call(state: &State) -> bool {
    matches!(&state.kind, StateKind::Task(task) if matches!(&task.resource,
        Resource::Service { service, action, pattern: Pattern::RequestResponse, .. }
            if &**service == "http" && &**action == "invoke"))
}

/// A Map with a writer gives an object: where the results are.
fn has_writer(state: &State) -> bool {
    matches!(&state.kind, StateKind::Map(map) if map.writer.is_some())
}

/// What became of the state's own part: left, failed by itself, or by its work.
enum Outcome {
    Left(Leave),
    Field(FieldError),
    Failed(Failure, Origin),
}

impl From<Result<Leave, FieldError>> for Outcome {
    fn from(result: Result<Leave, FieldError>) -> Self {
        match result {
            Ok(leave) => Self::Left(leave),
            Err(error) => Self::Field(error),
        }
    }
}

fn test(
    eval: &Eval<'_>,
    request: &Request<'_>,
    mock: Option<Result<Value, Failure>>,
    inspection: &mut Inspection,
) -> Result<Outcome, TestStateError> {
    let state = eval.state;
    let plain = || leave_plain(eval, Part::State, own(state), state.next.clone());
    Ok(match &state.kind {
        StateKind::Pass(pass) => {
            inspection.pass(eval, pass);
            leave_pass(eval, pass).into()
        }
        StateKind::Succeed => {
            inspection.effective(eval);
            plain().into()
        }
        StateKind::Choice(choice) => {
            inspection.effective(eval);
            leave_choice(eval, choice).into()
        }
        StateKind::Wait(wait) => {
            inspection.effective(eval);
            let waited = eval
                .effective_input()
                .and_then(|effective| eval.wait_until(wait, &effective, request.now));
            waited.and_then(|_| plain()).into()
        }
        StateKind::Fail(fail) => {
            inspection.effective(eval);
            match failure_of(eval, fail) {
                Ok(failure) => Outcome::Failed(failure, Origin::Own),
                Err(error) => Outcome::Field(error),
            }
        }
        StateKind::Task(task) => {
            let entered = inspection.task(eval);
            if let (Ok(parameters), None) = (&entered, &mock) {
                let timeout = eval.effective_input().and_then(|effective| {
                    eval.seconds(task.timeout.as_ref(), "TimeoutSeconds", &effective)
                });
                return match timeout {
                    Ok(timeout_seconds) => Err(TestStateError::Call {
                        parameters: parameters.clone(),
                        timeout_seconds,
                    }),
                    Err(error) => Ok(Outcome::Field(error)),
                };
            }
            if let (Some(Mock::Called(called)), InspectionLevel::Trace) =
                (&request.mock, request.level)
            {
                inspection.called(called);
            }
            worked(eval, mock, inspection, entered.map(|_| ()))
        }
        StateKind::Parallel(_) => {
            let entered = eval.effective_input().and_then(|effective| eval.parameters(&effective));
            worked(eval, mock, inspection, entered.map(|_| ()))
        }
        StateKind::Map(map) => match mapped(eval, map, request, inspection)? {
            Ok(None) => worked(eval, mock, inspection, Ok(())),
            Ok(Some(failure)) => Outcome::Failed(failure, Origin::Work),
            Err(error) => Outcome::Field(error),
        },
    })
}

/// A state whose work is mocked; `entered` is what evaluating its input brought.
fn worked(
    eval: &Eval<'_>,
    mock: Option<Result<Value, Failure>>,
    inspection: &mut Inspection,
    entered: Result<(), FieldError>,
) -> Outcome {
    if let Err(error) = entered {
        return Outcome::Field(error);
    }
    match mock {
        Some(Ok(result)) => {
            inspection.result(eval, &result);
            leave_with(eval, &result).into()
        }
        Some(Err(failure)) => {
            let origin = match &eval.state.kind {
                StateKind::Parallel(_) => Origin::Branch,
                _ => Origin::Work,
            };
            Outcome::Failed(failure, origin)
        }
        None => Outcome::Field(FieldError::runtime("the state needs a mock")),
    }
}

/// The items in what the reader of a Map is said to have read.
fn read_items(reader: &ReaderRequest, text: &str) -> Result<Vec<Keyed>, TestStateError> {
    let most = reader.max_items.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let is_list = reader.resource.ends_with("s3:listObjectsV2");
    let config = if is_list { &Value::empty_object() } else { &reader.config };
    items(text.as_bytes(), config, most).map_err(|why| {
        validation(format!("mapItemReaderData is not what the ItemReader would read: {why}"))
    })
}

/// The state that a mocked error comes from must be one of those within the state.
fn cause_is_inner(
    request: &Request<'_>,
    definition: &Definition,
    state: &State,
) -> Result<(), TestStateError> {
    let Some(name) = &request.configuration.error_caused_by_state else { return Ok(()) };
    let lists = |state: &State| match &state.kind {
        StateKind::Parallel(parallel) => parallel.branches.clone(),
        StateKind::Map(map) => vec![map.processor],
        _ => Vec::new(),
    };
    let mut inner = lists(state);
    // Lists are numbered after those they stand in.
    for state in definition.states() {
        if inner.contains(&state.scope) {
            if *state.name == **name {
                return Ok(());
            }
            inner.extend(lists(state));
        }
    }
    Err(validation(format!(
        "The state '{name}' that errorCausedByState names is not within the state '{}'",
        state.name
    )))
}

/// Evaluates a Map up to its iterations; gives the failure when too many of them fail.
fn mapped(
    eval: &Eval<'_>,
    map: &Map,
    request: &Request<'_>,
    inspection: &mut Inspection,
) -> Result<Result<Option<Failure>, FieldError>, TestStateError> {
    let read = match (&map.reader, &request.configuration.map_item_reader_data) {
        (Some(_), Some(text)) => {
            let reader = match reader(eval, map) {
                Ok(reader) => reader,
                Err(error) => return Ok(Err(error)),
            };
            let items = read_items(&reader, text)?;
            inspection.read(&reader.config, &items);
            Some(items)
        }
        (Some(_), None) => Some(Vec::new()),
        (None, _) => None,
    };
    let evaluated = (|| {
        let effective = eval.effective_input()?;
        let most = eval.max_concurrency(map, &effective)?;
        let items = match read {
            Some(items) => items,
            None => eval.items(map, &effective)?,
        };
        let tolerance = eval.tolerance(map, &effective)?;
        let count = items.len();
        inspection.items(map, &items, inputs_of(eval, map, items.clone())?);
        Ok((most, count, tolerance))
    })();
    let (most, count, tolerance) = match evaluated {
        Ok(evaluated) => evaluated,
        Err(error) => return Ok(Err(error)),
    };
    inspection.map(most, tolerance);
    let failed = request.configuration.map_iteration_failure_count;
    if failed > count as u64 {
        return Err(validation(
            "Map iteration failure count must be less than or equal to the number of Map iterations",
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of items fit")]
    let share = if count == 0 { 0.0 } else { failed as f64 * 100.0 / count as f64 };
    let exceeded = tolerance.count.is_some_and(|most| failed > most)
        || tolerance.percentage.is_some_and(|most| share > most);
    Ok(Ok(exceeded.then(|| {
        Failure::new(
            names::EXCEED_TOLERATED_FAILURE_THRESHOLD,
            "The specified tolerated failure threshold was exceeded",
        )
    })))
}

/// Whether the context object of a state may hold `Task`.
fn sees_token(state: &State) -> bool {
    matches!(
        &state.kind,
        StateKind::Task(task) if matches!(
            &task.resource,
            Resource::Service { pattern: Pattern::Sync | Pattern::WaitForTaskToken, .. }
        )
    )
}

/// Whether a state's fields are paths.
fn is_json_path(state: &State) -> bool {
    state.language == QueryLanguage::JsonPath
}
