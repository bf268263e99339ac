//! From JSON to [`super::Definition`].

use std::collections::HashMap;
use std::sync::Arc;

use super::states::{
    Catcher, Choice, ChoiceCondition, ChoiceRule, Fail, ItemBatcher, ItemReader, Items, Map,
    MapMode, Next, Parallel, Pass, ResultWriter, Retrier, State, StateKind, Task, Wait,
};
use super::template::expression_text;
use super::{
    DefinitionError, Inner, NumberField, PathField, QueryLanguage, ResultPath, ScopeId, StateId,
    StateList, Template, TextField, TimeField,
};
use crate::choice::Condition;
use crate::error::SyntaxError;
use crate::intrinsics::Call;
use crate::jsonata::Expression;
use crate::jsonpath::{Path, ReferencePath};
use crate::resource::Resource;
use crate::value::{Number, Object, Value};

type Result<T> = std::result::Result<T, DefinitionError>;

/// Machines within machines that are accepted.
const NESTING_MAX: usize = 50;

pub(super) fn machine(root: &Value) -> Result<Inner> {
    let top = At { value: root, place: String::new() };
    let members = top.object()?;
    let language = top.language(QueryLanguage::JsonPath)?;
    let timeout_seconds = match members.get("TimeoutSeconds") {
        None => None,
        Some(value) => Some(top.child_of("TimeoutSeconds", value).integer()?),
    };
    let comment = members.get("Comment").and_then(Value::as_str).map(str::to_owned);
    let mut builder = Builder::default();
    builder.list(&top, language, 0)?;
    builder.finish(timeout_seconds, comment)
}

pub(super) fn single_state(name: &str, state: &Value) -> Result<Inner> {
    let mut builder = Builder { lenient: true, ..Builder::default() };
    builder.scopes.push(None);
    let names = HashMap::from([(Arc::from(name), StateId(0))]);
    builder.states.push(None);
    let at = At { value: state, place: String::new() };
    builder.state(
        &at,
        StateId(0),
        ScopeId(0),
        &Arc::from(name),
        &names,
        QueryLanguage::JsonPath,
        0,
    )?;
    builder.scopes[0] = Some(StateList { start: StateId(0), names });
    builder.finish(None, None)
}

/// A value and where it stands.
#[derive(Clone)]
struct At<'a> {
    value: &'a Value,
    place: String,
}

impl<'a> At<'a> {
    fn error(&self, message: impl Into<String>) -> DefinitionError {
        let location = if self.place.is_empty() { "/".to_owned() } else { self.place.clone() };
        DefinitionError::Schema { message: message.into(), location }
    }

    fn syntax(&self, error: &SyntaxError) -> DefinitionError {
        self.error(error.message.clone())
    }

    fn child_of(&self, key: &str, value: &'a Value) -> At<'a> {
        At { value, place: format!("{}/{key}", self.place) }
    }

    fn object(&self) -> Result<&'a Object> {
        self.value.as_object().ok_or_else(|| self.error("Expected value of type Object"))
    }

    fn get(&self, key: &str) -> Option<At<'a>> {
        self.value.get(key).map(|value| self.child_of(key, value))
    }

    fn need(&self, key: &str) -> Result<At<'a>> {
        self.get(key).ok_or_else(|| self.error(format!("These fields are required: [{key}]")))
    }

    fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.error("Expected value of type String"))
    }

    fn integer(&self) -> Result<i64> {
        self.value.as_i64().ok_or_else(|| self.error("Expected value of type Integer"))
    }

    fn items(&self) -> Result<Vec<At<'a>>> {
        let items =
            self.value.as_array().ok_or_else(|| self.error("Expected value of type Array"))?;
        let at = |(index, value)| At { value, place: format!("{}[{index}]", self.place) };
        Ok(items.iter().enumerate().map(at).collect())
    }

    fn language(&self, outer: QueryLanguage) -> Result<QueryLanguage> {
        match self.get("QueryLanguage") {
            None => Ok(outer),
            Some(at) => match at.value.as_str() {
                Some("JSONPath") if outer == QueryLanguage::Jsonata => Err(at.error(
                    "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
                )),
                Some("JSONPath") => Ok(QueryLanguage::JsonPath),
                Some("JSONata") => Ok(QueryLanguage::Jsonata),
                _ => Err(at.error("Value is not one of [JSONPath, JSONata]")),
            },
        }
    }

    fn template(&self, language: QueryLanguage) -> Result<Template> {
        Template::compile(self.value, language).map_err(|(place, error)| {
            At { value: self.value, place: format!("{}{place}", self.place) }.syntax(&error)
        })
    }

    fn template_at(&self, key: &str, language: QueryLanguage) -> Result<Option<Template>> {
        self.get(key).map(|at| at.template(language)).transpose()
    }

    fn path(&self) -> Result<Path> {
        Path::parse(self.text()?).map_err(|error| self.syntax(&error))
    }

    fn path_field(&self, key: &str) -> Result<PathField> {
        match self.get(key) {
            None => Ok(PathField::Whole),
            Some(at) if at.value.is_null() => Ok(PathField::Empty),
            Some(at) if at.value.as_str() == Some("$") => Ok(PathField::Whole),
            Some(at) => Ok(PathField::Path(at.path()?)),
        }
    }

    fn result_path(&self) -> Result<ResultPath> {
        match self.get("ResultPath") {
            None => Ok(ResultPath::Whole),
            Some(at) if at.value.is_null() => Ok(ResultPath::Discard),
            Some(at) if at.value.as_str() == Some("$") => Ok(ResultPath::Whole),
            Some(at) => {
                let path = ReferencePath::parse(at.text()?).map_err(|error| at.syntax(&error))?;
                Ok(ResultPath::At(path))
            }
        }
    }

    fn expression(&self) -> Result<Option<Expression>> {
        let Some(text) = self.value.as_str().and_then(expression_text) else { return Ok(None) };
        Expression::parse(text).map(Some).map_err(|error| self.syntax(&error))
    }

    /// `Key` (number or expression) or `KeyPath`.
    fn number_field(&self, key: &str) -> Result<Option<NumberField>> {
        if let Some(at) = self.get(&format!("{key}Path")) {
            return Ok(Some(NumberField::Path(at.path()?)));
        }
        let Some(at) = self.get(key) else { return Ok(None) };
        if let Some(expression) = at.expression()? {
            return Ok(Some(NumberField::Expression(expression)));
        }
        let number =
            at.value.as_number().ok_or_else(|| at.error("Expected value of type Integer"))?;
        Ok(Some(NumberField::Literal(number.clone())))
    }

    fn text_field(&self, key: &str, language: QueryLanguage) -> Result<Option<TextField>> {
        if let Some(at) = self.get(&format!("{key}Path")) {
            let text = at.text()?;
            return Ok(Some(if text.starts_with('$') {
                TextField::Path(at.path()?)
            } else {
                TextField::Call(Call::parse(text).map_err(|error| at.syntax(&error))?)
            }));
        }
        let Some(at) = self.get(key) else { return Ok(None) };
        if language == QueryLanguage::Jsonata
            && let Some(expression) = at.expression()?
        {
            return Ok(Some(TextField::Expression(expression)));
        }
        Ok(Some(TextField::Literal(at.text()?.into())))
    }

    fn errors(&self) -> Result<Vec<Arc<str>>> {
        let items = self.need("ErrorEquals")?.items()?;
        items.iter().map(|item| Ok(Arc::from(item.text()?))).collect()
    }
}

#[derive(Default)]
struct Builder {
    scopes: Vec<Option<StateList>>,
    states: Vec<Option<State>>,
    /// Targets may be missing (a state tested alone).
    lenient: bool,
}

type Names = HashMap<Arc<str>, StateId>;

impl Builder {
    fn finish(self, timeout_seconds: Option<i64>, comment: Option<String>) -> Result<Inner> {
        let scopes: Option<Vec<StateList>> = self.scopes.into_iter().collect();
        let states: Option<Vec<State>> = self.states.into_iter().collect();
        match (scopes, states) {
            (Some(scopes), Some(states)) => Ok(Inner { timeout_seconds, comment, scopes, states }),
            _ => {
                Err(DefinitionError::Schema { message: "incomplete".into(), location: "/".into() })
            }
        }
    }

    /// Parses `StartAt` and `States`. The states of one list get consecutive numbers, then come those
    /// of the lists within it.
    fn list(&mut self, at: &At<'_>, language: QueryLanguage, depth: usize) -> Result<ScopeId> {
        if depth > NESTING_MAX {
            return Err(at.error("state machines are nested too deeply"));
        }
        let missing: Vec<&str> =
            ["States", "StartAt"].into_iter().filter(|key| at.value.get(key).is_none()).collect();
        if !missing.is_empty() {
            return Err(at.error(format!("These fields are required: [{}]", missing.join(", "))));
        }
        let scope = ScopeId(self.scopes.len() as u32);
        self.scopes.push(None);
        let states = at.need("States")?;
        let first = self.states.len() as u32;
        let mut names = Names::new();
        for (offset, name) in states.object()?.keys().enumerate() {
            names.insert(name.clone(), StateId(first + offset as u32));
            self.states.push(None);
        }
        let start = at.need("StartAt")?;
        let start_id = *names
            .get(start.text()?)
            .ok_or_else(|| start.error(format!("Missing 'StartAt' target: {}", start.value)))?;
        for (offset, (name, value)) in states.object()?.iter().enumerate() {
            let id = StateId(first + offset as u32);
            self.state(&states.child_of(name, value), id, scope, name, &names, language, depth)?;
        }
        self.scopes[scope.0 as usize] = Some(StateList { start: start_id, names });
        Ok(scope)
    }

    fn target(&self, at: &At<'_>, names: &Names) -> Result<Next> {
        let name = at.text()?;
        match names.get(name) {
            Some(id) if !self.lenient => Ok(Next::State(*id)),
            _ if self.lenient => Ok(Next::Elsewhere(name.into())),
            _ => Err(at.error(format!("Missing 'Next' target: {name}"))),
        }
    }

    fn state(
        &mut self,
        at: &At<'_>,
        id: StateId,
        scope: ScopeId,
        name: &Arc<str>,
        names: &Names,
        outer: QueryLanguage,
        depth: usize,
    ) -> Result<()> {
        at.object()?;
        let language = at.language(outer)?;
        let kind_name = at.need("Type")?;
        let kind = match kind_name.text()? {
            "Pass" => StateKind::Pass(Pass { result: at.get("Result").map(|at| at.value.clone()) }),
            "Task" => StateKind::Task(Task {
                resource: Resource::parse(at.need("Resource")?.text()?),
                timeout: at.number_field("TimeoutSeconds")?,
                heartbeat: at.number_field("HeartbeatSeconds")?,
                credentials: at.template_at("Credentials", language)?,
            }),
            "Choice" => StateKind::Choice(self.choice(at, names, language)?),
            "Wait" => StateKind::Wait(wait(at)?),
            "Succeed" => StateKind::Succeed,
            "Fail" => StateKind::Fail(Fail {
                error: at.text_field("Error", language)?,
                cause: at.text_field("Cause", language)?,
            }),
            "Parallel" => StateKind::Parallel(self.parallel(at, outer, depth)?),
            "Map" => StateKind::Map(Box::new(self.map(at, language, outer, depth)?)),
            other => {
                return Err(kind_name.error(format!("Value is not a known state type: {other}")));
            }
        };
        let next = match (&kind, at.get("Next")) {
            (StateKind::Choice(_) | StateKind::Succeed | StateKind::Fail(_), _) => Next::End,
            (_, Some(next)) => self.target(&next, names)?,
            (_, None) if at.value.get("End").and_then(Value::as_bool) == Some(true) => Next::End,
            (_, None) if self.lenient => Next::End,
            (_, None) => return Err(at.error("a state needs either Next or End")),
        };
        let parameters = match &kind {
            StateKind::Map(_) => None,
            _ => match language {
                QueryLanguage::JsonPath => at.template_at("Parameters", language)?,
                QueryLanguage::Jsonata => at.template_at("Arguments", language)?,
            },
        };
        self.states[id.0 as usize] = Some(State {
            id,
            scope,
            name: name.clone(),
            language,
            next,
            input_path: at.path_field("InputPath")?,
            output_path: at.path_field("OutputPath")?,
            parameters,
            result_selector: at.template_at("ResultSelector", language)?,
            result_path: at.result_path()?,
            output: match language {
                QueryLanguage::JsonPath => None,
                QueryLanguage::Jsonata => at.template_at("Output", language)?,
            },
            assign: at.template_at("Assign", language)?,
            retry: at.get("Retry").map(|at| retriers(&at)).transpose()?.unwrap_or_default(),
            catch: match at.get("Catch") {
                None => Vec::new(),
                Some(catch) => self.catchers(&catch, names, language)?,
            },
            kind,
        });
        Ok(())
    }

    fn choice(&self, at: &At<'_>, names: &Names, language: QueryLanguage) -> Result<Choice> {
        let mut rules = Vec::new();
        for rule in at.need("Choices")?.items()? {
            let condition = match language {
                QueryLanguage::JsonPath => {
                    let condition = Condition::parse(rule.object()?);
                    ChoiceCondition::Rule(condition.map_err(|error| rule.syntax(&error))?)
                }
                QueryLanguage::Jsonata => {
                    let condition = rule.need("Condition")?;
                    match (condition.value.as_bool(), condition.expression()?) {
                        (Some(literal), _) => ChoiceCondition::Literal(literal),
                        (None, Some(expression)) => ChoiceCondition::Expression(expression),
                        (None, None) => {
                            return Err(
                                condition.error("Expected a boolean or a JSONata expression")
                            );
                        }
                    }
                }
            };
            rules.push(ChoiceRule {
                condition,
                next: self.target(&rule.need("Next")?, names)?,
                assign: rule.template_at("Assign", language)?,
                output: match language {
                    QueryLanguage::JsonPath => None,
                    QueryLanguage::Jsonata => rule.template_at("Output", language)?,
                },
            });
        }
        let default = at.get("Default").map(|at| self.target(&at, names)).transpose()?;
        Ok(Choice { rules, default })
    }

    fn parallel(&mut self, at: &At<'_>, outer: QueryLanguage, depth: usize) -> Result<Parallel> {
        let branches = at.need("Branches")?.items()?;
        let branches = branches.iter().map(|branch| self.list(branch, outer, depth + 1));
        Ok(Parallel { branches: branches.collect::<Result<_>>()? })
    }

    fn map(
        &mut self,
        at: &At<'_>,
        language: QueryLanguage,
        outer: QueryLanguage,
        depth: usize,
    ) -> Result<Map> {
        let processor = match at.get("ItemProcessor") {
            Some(processor) => processor,
            None => at.get("Iterator").map_or_else(|| at.need("ItemProcessor"), Ok)?,
        };
        let selector = match at.get("ItemSelector") {
            Some(selector) => Some(selector.template(language)?),
            None if language == QueryLanguage::JsonPath => {
                at.template_at("Parameters", language)?
            }
            None => None,
        };
        let items = match (at.get("ItemsPath"), at.get("Items")) {
            (Some(path), _) => Items::Path(path.path()?),
            (None, Some(items)) => Items::Template(items.template(language)?),
            (None, None) => Items::Input,
        };
        Ok(Map {
            mode: mode(&processor)?,
            processor: self.list(&processor, outer, depth + 1)?,
            items,
            selector,
            max_concurrency: at.number_field("MaxConcurrency")?,
            tolerated_failure_count: at.number_field("ToleratedFailureCount")?,
            tolerated_failure_percentage: at.number_field("ToleratedFailurePercentage")?,
            reader: at.get("ItemReader").map(|at| reader(&at, language)).transpose()?,
            batcher: at.get("ItemBatcher").map(|at| batcher(&at, language)).transpose()?,
            writer: at.get("ResultWriter").map(|at| writer(&at, language)).transpose()?,
            label: at.get("Label").map(|at| at.text().map(Arc::from)).transpose()?,
        })
    }

    fn catchers(
        &self,
        at: &At<'_>,
        names: &Names,
        language: QueryLanguage,
    ) -> Result<Vec<Catcher>> {
        let mut catchers = Vec::new();
        for at in at.items()? {
            catchers.push(Catcher {
                errors: at.errors()?,
                next: self.target(&at.need("Next")?, names)?,
                result_path: at.result_path()?,
                output: match language {
                    QueryLanguage::JsonPath => None,
                    QueryLanguage::Jsonata => at.template_at("Output", language)?,
                },
                assign: at.template_at("Assign", language)?,
            });
        }
        Ok(catchers)
    }
}

fn wait(at: &At<'_>) -> Result<Wait> {
    if let Some(seconds) = at.number_field("Seconds")? {
        return Ok(Wait::Seconds(seconds));
    }
    if let Some(path) = at.get("TimestampPath") {
        return Ok(Wait::Timestamp(TimeField::Path(path.path()?)));
    }
    let Some(timestamp) = at.get("Timestamp") else {
        return Err(
            at.error("a Wait state needs one of Seconds, SecondsPath, Timestamp, TimestampPath")
        );
    };
    if let Some(expression) = timestamp.expression()? {
        return Ok(Wait::Timestamp(TimeField::Expression(expression)));
    }
    Ok(Wait::Timestamp(TimeField::Literal(timestamp.text()?.into())))
}

fn mode(processor: &At<'_>) -> Result<MapMode> {
    let Some(config) = processor.get("ProcessorConfig") else { return Ok(MapMode::Inline) };
    match config.value.get("Mode").and_then(Value::as_str) {
        Some("DISTRIBUTED") => {
            let kind = config.value.get("ExecutionType").and_then(Value::as_str);
            Ok(MapMode::Distributed { express: kind == Some("EXPRESS") })
        }
        Some("INLINE") | None => Ok(MapMode::Inline),
        Some(_) => Err(config.error("Mode is not one of [INLINE, DISTRIBUTED]")),
    }
}

fn parameters(at: &At<'_>, language: QueryLanguage) -> Result<Option<Template>> {
    match language {
        QueryLanguage::JsonPath => at.template_at("Parameters", language),
        QueryLanguage::Jsonata => at.template_at("Arguments", language),
    }
}

fn reader(at: &At<'_>, language: QueryLanguage) -> Result<ItemReader> {
    let config = at.get("ReaderConfig");
    Ok(ItemReader {
        resource: at.need("Resource")?.text()?.into(),
        parameters: parameters(at, language)?,
        max_items: config.as_ref().map(|at| at.number_field("MaxItems")).transpose()?.flatten(),
        config: config.map(|at| at.template(language)).transpose()?,
    })
}

fn batcher(at: &At<'_>, language: QueryLanguage) -> Result<ItemBatcher> {
    Ok(ItemBatcher {
        max_items: at.number_field("MaxItemsPerBatch")?,
        max_bytes: at.number_field("MaxInputBytesPerBatch")?,
        input: at.template_at("BatchInput", language)?,
    })
}

fn writer(at: &At<'_>, language: QueryLanguage) -> Result<ResultWriter> {
    Ok(ResultWriter {
        resource: at.get("Resource").map(|at| at.text().map(Arc::from)).transpose()?,
        parameters: parameters(at, language)?,
        config: at.get("WriterConfig").map_or_else(Value::empty_object, |at| at.value.clone()),
    })
}

fn retriers(at: &At<'_>) -> Result<Vec<Retrier>> {
    let mut retriers = Vec::new();
    for at in at.items()? {
        let number = |key: &str| at.get(key).map(|at| number(&at)).transpose();
        let attempts = number("MaxAttempts")?.map_or(3, |attempts| attempts.as_i64().unwrap_or(3));
        retriers.push(Retrier {
            errors: at.errors()?,
            interval_seconds: number("IntervalSeconds")?.map_or(1.0, |seconds| seconds.as_f64()),
            max_attempts: u32::try_from(attempts.max(0)).unwrap_or(u32::MAX),
            backoff_rate: number("BackoffRate")?.map_or(2.0, |rate| rate.as_f64()),
            max_delay_seconds: number("MaxDelaySeconds")?.map(|seconds| seconds.as_f64()),
            jitter: at.value.get("JitterStrategy").and_then(Value::as_str) == Some("FULL"),
        });
    }
    Ok(retriers)
}

fn number(at: &At<'_>) -> Result<Number> {
    at.value.as_number().cloned().ok_or_else(|| at.error("Expected value of type Number"))
}
