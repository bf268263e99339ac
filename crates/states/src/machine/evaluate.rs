//! Evaluating the fields of one state, in both languages. Used by the interpreter and by TestState.

use jiff::{SignedDuration, Timestamp};

use crate::definition::{
    FieldError, Map, NumberField, PathField, QueryLanguage, ResultPath, Sight, State, Template,
    TextField, TimeField, Wait,
};
use crate::error::{EvalError, names};
use crate::fuel::Fuel;
use crate::jsonata::Expression;
use crate::jsonpath::Path;
use crate::limits::SECONDS_MAX;
use crate::scope::{Context, Random, Scope, StatesBinding, Variables};
use crate::timestamp;
use crate::value::{Object, Value};

pub(crate) type Evaluated<T> = Result<T, FieldError>;

/// One state with everything its expressions may see.
pub(crate) struct Eval<'a> {
    pub(crate) state: &'a State,
    /// The raw input.
    pub(crate) input: &'a Value,
    pub(crate) context: &'a Context<'a>,
    pub(crate) variables: &'a Variables<'a>,
    pub(crate) random: &'a Random,
    pub(crate) fuel: &'a Fuel,
    /// What expressions see as the present.
    pub(crate) now: Timestamp,
}

/// The part of a state that a field stands in: it is named with the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    State,
    /// The rule of this index of a Choice.
    Choice(usize),
    /// The catcher of this index.
    Catch(usize),
}

impl Part {
    fn field(self, name: &str) -> String {
        match self {
            Self::State => name.to_owned(),
            Self::Choice(index) => format!("Choices[{index}]/{name}"),
            Self::Catch(index) => format!("Catch[{index}]/{name}"),
        }
    }
}

/// A number that a field cannot take: what an expression gives is an error of the expression, which can
/// be caught.
pub(crate) fn out_of_range(number: &NumberField, field: &str, cause: &str) -> FieldError {
    match number {
        NumberField::Expression(_) => FieldError::query(cause, field),
        NumberField::Literal(_) | NumberField::Path(_) => FieldError::runtime(cause),
    }
}

/// The tolerances of a distributed Map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) count: Option<u64>,
    pub(crate) percentage: Option<f64>,
}

impl Eval<'_> {
    pub(crate) fn scope<'s>(&'s self, dollar: &'s Value) -> Scope<'s> {
        Scope {
            input: dollar,
            context: self.context,
            variables: self.variables,
            random: self.random,
            fuel: self.fuel,
        }
    }

    fn binding<'s>(
        &'s self,
        result: Option<&'s Value>,
        error_output: Option<&'s Value>,
    ) -> StatesBinding<'s> {
        StatesBinding {
            input: self.input,
            result,
            error_output,
            context: self.context,
            variables: self.variables,
            random: self.random,
            fuel: self.fuel,
            now: self.now,
        }
    }

    fn is_jsonata(&self) -> bool {
        self.state.language == QueryLanguage::Jsonata
    }

    /// What the expressions of a field see when `$` means `dollar`; `result` is `$states.result`.
    fn sight<'s>(
        &'s self,
        dollar: &'s Value,
        result: Option<&'s Value>,
        error: Option<&'s Value>,
    ) -> Sight<'s> {
        match self.state.language {
            QueryLanguage::JsonPath => Sight::Path(self.scope(dollar)),
            QueryLanguage::Jsonata => Sight::Jsonata(self.binding(result, error)),
        }
    }

    fn path_field(&self, field: &PathField, dollar: &Value) -> Evaluated<Value> {
        match field {
            PathField::Whole => Ok(dollar.clone()),
            PathField::Empty => Ok(Value::empty_object()),
            PathField::Path(path) => Ok(path.eval(&self.scope(dollar))?),
        }
    }

    /// After `InputPath`.
    pub(crate) fn effective_input(&self) -> Evaluated<Value> {
        self.path_field(&self.state.input_path, self.input)
    }

    /// After `OutputPath`.
    pub(crate) fn after_output_path(&self, output: &Value) -> Evaluated<Value> {
        self.path_field(&self.state.output_path, output)
    }

    /// The name of the field that makes the input of the work.
    fn parameters_field(&self) -> &'static str {
        if self.is_jsonata() { "Arguments" } else { "Parameters" }
    }

    /// After `Parameters` or `Arguments`; without them the effective input.
    pub(crate) fn parameters(&self, effective: &Value) -> Evaluated<Value> {
        match &self.state.parameters {
            None => Ok(effective.clone()),
            Some(template) => {
                template.eval(self.parameters_field(), &self.sight(effective, None, None))
            }
        }
    }

    /// A template of a field that sees the effective input.
    pub(crate) fn template(
        &self,
        template: &Template,
        field: &str,
        dollar: &Value,
    ) -> Evaluated<Value> {
        template.eval(field, &self.sight(dollar, None, None))
    }

    /// After `ResultSelector`.
    pub(crate) fn selected_result(&self, result: &Value) -> Evaluated<Value> {
        match &self.state.result_selector {
            None => Ok(result.clone()),
            Some(template) => {
                template.eval("ResultSelector", &self.sight(result, Some(result), None))
            }
        }
    }

    /// After a `ResultPath`: the raw input with the result put in.
    pub(crate) fn merged(&self, path: &ResultPath, result: Value) -> Evaluated<Value> {
        match path {
            ResultPath::Whole => Ok(result),
            ResultPath::Discard => Ok(self.input.clone()),
            ResultPath::At(place) => Ok(place.put(self.input, result)?),
        }
    }

    /// `Assign`, evaluated; `of` is the part of the state that it stands in, `dollar` is what `$`
    /// means, `result` what `$states.result` does.
    pub(crate) fn assigned(
        &self,
        of: Part,
        assign: Option<&Template>,
        dollar: &Value,
        result: Option<&Value>,
        error: Option<&Value>,
    ) -> Evaluated<Option<Object>> {
        let Some(template) = assign else { return Ok(None) };
        let field = of.field("Assign");
        match template.eval(&field, &self.sight(dollar, result, error))? {
            Value::Object(members) => Ok(Some((*members).clone())),
            other => Err(match template {
                Template::Expression { expression, .. } => {
                    FieldError::of_type(expression.text(), &field, "object", &other)
                }
                _ => FieldError::runtime(format!("Assign must be an object but was: {other}")),
            }),
        }
    }

    /// `Output` (JSONata); without it `default`.
    pub(crate) fn output(
        &self,
        of: Part,
        output: Option<&Template>,
        default: &Value,
        result: Option<&Value>,
        error: Option<&Value>,
    ) -> Evaluated<Value> {
        match output {
            None => Ok(default.clone()),
            Some(template) => {
                template.eval(&of.field("Output"), &self.sight(default, result, error))
            }
        }
    }

    /// An expression that stands for a whole field.
    pub(crate) fn expression(&self, expression: &Expression, field: &str) -> Evaluated<Value> {
        expression
            .eval(&self.binding(None, None))
            .map_err(|error| FieldError::of_expression(&error, expression.text(), field.to_owned()))
    }

    fn number(&self, number: &NumberField, field: &str, effective: &Value) -> Evaluated<Value> {
        match number {
            NumberField::Literal(number) => Ok(Value::Number(number.clone())),
            NumberField::Path(path) => Ok(path.eval(&self.scope(effective))?),
            NumberField::Expression(expression) => self.expression(expression, field),
        }
    }

    /// Words a number that is none.
    fn not_a_number(number: &NumberField, field: &str, kind: &str, value: &Value) -> FieldError {
        match number {
            NumberField::Literal(_) => {
                FieldError::runtime(format!("The {field} field is not a valid {kind}: {value}"))
            }
            NumberField::Path(path) => {
                let shown = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
                FieldError::runtime(format!(
                    "The {field}Path field refers to value \"{shown}\" which is not a valid {kind}: {}",
                    path.text()
                ))
            }
            NumberField::Expression(expression) => FieldError::of_type(
                expression.text(),
                field,
                if kind == "float" { "number" } else { kind },
                value,
            ),
        }
    }

    /// A whole number of a field.
    pub(crate) fn integer(
        &self,
        number: &NumberField,
        field: &str,
        effective: &Value,
    ) -> Evaluated<i64> {
        let value = self.number(number, field, effective)?;
        value.as_i64().ok_or_else(|| Self::not_a_number(number, field, "integer", &value))
    }

    fn float(&self, number: &NumberField, field: &str, effective: &Value) -> Evaluated<f64> {
        let value = self.number(number, field, effective)?;
        value.as_f64().ok_or_else(|| Self::not_a_number(number, field, "float", &value))
    }

    /// `TimeoutSeconds` or `HeartbeatSeconds` of a task.
    pub(crate) fn seconds(
        &self,
        number: Option<&NumberField>,
        field: &str,
        effective: &Value,
    ) -> Evaluated<Option<i64>> {
        let Some(number) = number else { return Ok(None) };
        let seconds = self.integer(number, field, effective)?;
        if (1..=SECONDS_MAX).contains(&seconds) {
            return Ok(Some(seconds));
        }
        let cause =
            format!("The {field} field must be between 1 and {SECONDS_MAX} but was: {seconds}");
        Err(out_of_range(number, field, &cause))
    }

    /// `MaxConcurrency`; 0 is no limit.
    pub(crate) fn max_concurrency(&self, map: &Map, effective: &Value) -> Evaluated<u32> {
        let Some(number) = &map.max_concurrency else { return Ok(0) };
        let most = self.integer(number, "MaxConcurrency", effective)?;
        let refuse =
            || out_of_range(number, "MaxConcurrency", "MaxConcurrency cannot be negative.");
        u32::try_from(most).map_err(|_| refuse())
    }

    /// `ToleratedFailureCount` and `ToleratedFailurePercentage`.
    pub(crate) fn tolerance(&self, map: &Map, effective: &Value) -> Evaluated<Tolerance> {
        let mut tolerance = Tolerance { count: None, percentage: None };
        if let Some(number) = &map.tolerated_failure_count {
            let count = self.integer(number, "ToleratedFailureCount", effective)?;
            tolerance.count = Some(u64::try_from(count).map_err(|_| {
                let cause = "ToleratedFailureCount cannot be negative.";
                out_of_range(number, "ToleratedFailureCount", cause)
            })?);
        }
        if let Some(number) = &map.tolerated_failure_percentage {
            let percentage = self.float(number, "ToleratedFailurePercentage", effective)?;
            if !(0.0..=100.0).contains(&percentage) {
                let cause = "ToleratedFailurePercentage must be between 0 and 100.";
                return Err(out_of_range(number, "ToleratedFailurePercentage", cause));
            }
            tolerance.percentage = Some(percentage);
        }
        Ok(tolerance)
    }

    /// Until when a Wait state waits.
    pub(crate) fn wait_until(
        &self,
        wait: &Wait,
        effective: &Value,
        now: Timestamp,
    ) -> Evaluated<Timestamp> {
        let too_long = || FieldError::runtime("Wait state delay is too long.");
        match wait {
            Wait::Seconds(number) => {
                let seconds = self.wait_seconds(number, effective)?;
                if seconds > SECONDS_MAX {
                    return Err(too_long());
                }
                now.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| too_long())
            }
            Wait::Timestamp(time) => {
                let until = self.wait_time(time, effective)?;
                if until.duration_since(now).as_secs() > SECONDS_MAX {
                    Err(too_long())
                } else {
                    Ok(until)
                }
            }
        }
    }

    /// A path of a Wait state, which words its own failure.
    fn wait_path(&self, path: &Path, field: &str, effective: &Value) -> Evaluated<Value> {
        path.eval(&self.scope(effective)).map_err(|error| match error {
            EvalError::NotFound { path, .. } => FieldError::runtime(format!(
                "The {field} parameter does not reference an input value: {path}"
            )),
            EvalError::Undefined | EvalError::Thrown(_) | EvalError::Failed { .. } => error.into(),
        })
    }

    fn wait_seconds(&self, number: &NumberField, effective: &Value) -> Evaluated<i64> {
        let value = match number {
            NumberField::Path(path) => self.wait_path(path, "SecondsPath", effective)?,
            NumberField::Literal(_) | NumberField::Expression(_) => {
                self.number(number, "Seconds", effective)?
            }
        };
        match number {
            NumberField::Path(path) => {
                let shown = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
                let fits = value.as_number().filter(|number| number.is_integer());
                let Some(seconds) = fits.and_then(crate::value::Number::as_i64) else {
                    let cause = format!(
                        "The SecondsPath parameter cannot be parsed as a long value: {} == {shown}",
                        path.text()
                    );
                    return Err(FieldError::runtime(cause));
                };
                if seconds < 0 {
                    let cause = format!(
                        "The SecondsPath parameter references a negative value: {} == {shown}",
                        path.text()
                    );
                    return Err(FieldError::runtime(cause));
                }
                Ok(seconds)
            }
            NumberField::Literal(_) | NumberField::Expression(_) => {
                let seconds = value
                    .as_f64()
                    .ok_or_else(|| Self::not_a_number(number, "Seconds", "number", &value))?;
                if seconds < 0.0 {
                    let cause = format!("The Seconds field cannot be negative: {value}");
                    return Err(if self.is_jsonata() {
                        FieldError::query(cause, "Seconds")
                    } else {
                        FieldError::runtime(cause)
                    });
                }
                #[expect(clippy::cast_possible_truncation, reason = "bounded by the line below")]
                Ok(seconds.min(1e12) as i64)
            }
        }
    }

    fn wait_time(&self, time: &TimeField, effective: &Value) -> Evaluated<Timestamp> {
        let value = match time {
            TimeField::Literal(text) => Value::String(text.clone()),
            TimeField::Path(path) => self.wait_path(path, "TimestampPath", effective)?,
            TimeField::Expression(expression) => {
                let value = self.expression(expression, "Timestamp")?;
                if value.as_str().is_none() {
                    return Err(FieldError::of_type(
                        expression.text(),
                        "Timestamp",
                        "string",
                        &value,
                    ));
                }
                value
            }
        };
        let shown = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
        value.as_str().and_then(timestamp::parse).ok_or_else(|| match time {
            TimeField::Path(path) => FieldError::runtime(format!(
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time \
                 format string: {} == {shown}",
                path.text()
            )),
            TimeField::Literal(_) | TimeField::Expression(_) => FieldError {
                error: if self.is_jsonata() { names::QUERY_EVALUATION_ERROR } else { names::RUNTIME },
                cause: format!(
                    "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format \
                     string: {shown}"
                ),
                location: self.is_jsonata().then(|| "Timestamp".to_owned()),
            },
        })
    }

    /// `Error` or `Cause` of a Fail state.
    pub(crate) fn text(
        &self,
        text: &TextField,
        field: &str,
        effective: &Value,
    ) -> Evaluated<String> {
        let value = match text {
            TextField::Literal(text) => return Ok(text.to_string()),
            TextField::Path(path) => path.eval(&self.scope(effective))?,
            TextField::Call(call) => call.eval(&self.scope(effective))?,
            TextField::Expression(expression) => {
                let value = self.expression(expression, field)?;
                if value.as_str().is_none() {
                    return Err(FieldError::of_type(expression.text(), field, "string", &value));
                }
                value
            }
        };
        value.as_str().map(str::to_owned).ok_or_else(|| {
            FieldError::runtime(format!(
                "The {field}Path field must refer to a string but was: {value}"
            ))
        })
    }

    /// The items of a Map without reader, each with its key when they come from an object.
    pub(crate) fn items(
        &self,
        map: &Map,
        effective: &Value,
    ) -> Evaluated<Vec<(Option<Value>, Value)>> {
        use crate::definition::Items;
        let plain = |items: &[Value]| items.iter().map(|item| (None, item.clone())).collect();
        let keyed = |members: &Object| {
            members
                .iter()
                .map(|(key, value)| (Some(Value::String(key.clone())), value.clone()))
                .collect()
        };
        match &map.items {
            Items::Input => match effective {
                Value::Array(items) => Ok(plain(items)),
                Value::Object(members) if map.is_distributed() => Ok(keyed(members)),
                _ => Err(FieldError {
                    error: if self.is_jsonata() {
                        names::QUERY_EVALUATION_ERROR
                    } else {
                        names::RUNTIME
                    },
                    cause: format!("Map state input must be an array but was: {effective}"),
                    location: None,
                }),
            },
            Items::Path(path) => {
                let value = path.eval(&self.scope(effective))?;
                match &value {
                    Value::Array(items) => Ok(plain(items)),
                    Value::Object(members) if map.is_distributed() => Ok(keyed(members)),
                    _ => Err(FieldError::runtime(format!(
                        "Reference path \"{}\" must point to array but was: {value}",
                        path.text()
                    ))),
                }
            }
            Items::Template(template) => {
                let value = template.eval("Items", &self.sight(effective, None, None))?;
                match (&value, template) {
                    (Value::Array(items), _) => Ok(plain(items)),
                    (Value::Object(members), _) if map.is_distributed() => Ok(keyed(members)),
                    (_, Template::Expression { expression, .. }) => {
                        Err(FieldError::of_type(expression.text(), "Items", "array", &value))
                    }
                    (_, _) => Err(FieldError::query(
                        format!("Map state items must be an array but was: {value}"),
                        "Items",
                    )),
                }
            }
        }
    }
}
