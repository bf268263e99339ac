//! Reading a path from a root, and the functions that may end one.

use super::{Function, FunctionArg, MAX_RESULTS, MAX_VISITS, Path, PathError, Root, Step};
use crate::fuel::Fuel;
use crate::value::{Number, Object, Value};

/// Reads `path` from `root`.
pub(super) fn eval(path: &Path, root: &Value, fuel: &Fuel) -> Result<Value, PathError> {
    let visits = usize::try_from(fuel.left()).unwrap_or(usize::MAX).min(MAX_VISITS);
    let mut walk = Walk { visits_left: visits, compared: 0, results_left: MAX_RESULTS };
    let found = walk.nested(path, root, root);
    match &found {
        // It might have been enough with more fuel.
        Err(PathError::TooMuch(_)) if visits < MAX_VISITS => fuel.exhaust(),
        Ok(_) | Err(_) => fuel.burn((visits - walk.visits_left) as u64),
    }
    found
}

/// The budget of one evaluation, shared with the paths inside its filters.
pub(super) struct Walk {
    visits_left: usize,
    /// Comparisons that do not make up a visit yet.
    compared: usize,
    results_left: usize,
}

/// Where a step stands: the value, its place in words, and whether all steps before were definite.
#[derive(Clone)]
struct Here {
    place: String,
    definite: bool,
}

impl Walk {
    /// Reads a path from `from`; `root` is what `$` means in filters below.
    pub(super) fn nested(
        &mut self,
        path: &Path,
        from: &Value,
        root: &Value,
    ) -> Result<Value, PathError> {
        let (steps, function) = match path.steps.split_last() {
            Some((Step::Function(function, arguments), steps)) => {
                (steps, Some((*function, arguments)))
            }
            _ => (path.steps.as_slice(), None),
        };
        let definite = path.is_definite() && (function.is_none() || all_definite(steps));
        let mut found = Vec::new();
        let here = Here { place: "$".to_owned(), definite: true };
        self.go(from, steps, here, root, &mut found)?;
        let value = if definite {
            match found.pop() {
                Some(value) => value,
                None => {
                    let at = path.normalised();
                    return Err(PathError::NotFound(format!("No results for path: {at}")));
                }
            }
        } else {
            Value::from(found)
        };
        match function {
            None => Ok(value),
            Some((function, arguments)) => self.apply(function, arguments, value, root),
        }
    }

    fn visit(&mut self) -> Result<(), PathError> {
        self.visits(1)
    }

    /// Counts what is looked at beside the steps of the path.
    pub(super) fn visits(&mut self, count: usize) -> Result<(), PathError> {
        match self.visits_left.checked_sub(count) {
            Some(left) => {
                self.visits_left = left;
                Ok(())
            }
            None => Err(PathError::TooMuch("the path looks at too many values")),
        }
    }

    /// Counts the comparison of two values.
    pub(super) fn compares(&mut self, left: &Value, right: &Value) -> Result<(), PathError> {
        self.compared += comparisons(left, right);
        let visits = self.compared / COMPARED_PER_VISIT;
        self.compared %= COMPARED_PER_VISIT;
        self.visits(visits)
    }

    fn go(
        &mut self,
        value: &Value,
        steps: &[Step],
        here: Here,
        root: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), PathError> {
        self.visit()?;
        let Some((step, rest)) = steps.split_first() else {
            let Some(left) = self.results_left.checked_sub(1) else {
                return Err(PathError::TooMuch("the path yields too many values"));
            };
            self.results_left = left;
            found.push(value.clone());
            return Ok(());
        };
        match step {
            Step::Name(name) => self.name(name, value, rest, here, root, found),
            Step::Names(names) => self.names(names, value, rest, &here, root, found),
            Step::Index(index) => {
                if let Some(items) = array(value, step, &here)?
                    && let Some(item) = at(items, *index)
                {
                    self.go(item, rest, here.then(step), root, found)?;
                }
                Ok(())
            }
            Step::Indices(all) => {
                if let Some(items) = array(value, step, &here)? {
                    for item in all.iter().filter_map(|index| at(items, *index)) {
                        self.go(item, rest, here.loose(), root, found)?;
                    }
                }
                Ok(())
            }
            Step::Slice(from, to) => {
                if let Some(items) = array(value, step, &here)? {
                    for item in slice(items, *from, *to) {
                        self.go(item, rest, here.loose(), root, found)?;
                    }
                }
                Ok(())
            }
            Step::Wildcard => {
                for item in children(value) {
                    self.go(item, rest, here.loose(), root, found)?;
                }
                Ok(())
            }
            Step::Scan => self.scan(value, rest, &here, root, found),
            Step::Filter(filter) => self.filtered(filter, value, rest, &here, root, found),
            Step::Function(..) => Ok(()),
        }
    }

    fn name(
        &mut self,
        name: &str,
        value: &Value,
        rest: &[Step],
        here: Here,
        root: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), PathError> {
        let Value::Object(fields) = value else {
            return no_object(&format!("['{name}']"), value, &here);
        };
        match fields.get(name) {
            Some(inner) => {
                self.go(inner, rest, here.then(&Step::Name(name.to_owned())), root, found)
            }
            None if rest.is_empty() || !here.definite => Ok(()),
            None => Err(PathError::NotFound(format!(
                "Missing property in path {}['{name}']",
                here.place
            ))),
        }
    }

    fn names(
        &mut self,
        names: &[String],
        value: &Value,
        rest: &[Step],
        here: &Here,
        root: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), PathError> {
        let Value::Object(fields) = value else {
            return no_object(&format!("['{}']", names.join("','")), value, here);
        };
        if rest.is_empty() {
            let picked: Object = names
                .iter()
                .filter_map(|name| Some((name.as_str().into(), fields.get(name.as_str())?.clone())))
                .collect();
            return self.go(&Value::from(picked), rest, here.loose(), root, found);
        }
        for inner in names.iter().filter_map(|name| fields.get(name.as_str())) {
            self.go(inner, rest, here.loose(), root, found)?;
        }
        Ok(())
    }

    /// `..`: the rest applies here and, before the deeper ones, at each value below.
    fn scan(
        &mut self,
        value: &Value,
        rest: &[Step],
        here: &Here,
        root: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), PathError> {
        let fits = match rest.first() {
            Some(Step::Name(name)) => value.get(name).is_some(),
            Some(Step::Names(names)) => names.iter().all(|name| value.get(name).is_some()),
            Some(Step::Index(_) | Step::Indices(_) | Step::Slice(..)) => value.as_array().is_some(),
            Some(Step::Filter(_)) => value.as_array().is_some(),
            _ => true,
        };
        if fits {
            self.go(value, rest, here.loose(), root, found)?;
        }
        for item in children(value) {
            self.visit()?;
            self.scan(item, rest, here, root, found)?;
        }
        Ok(())
    }

    fn filtered(
        &mut self,
        filter: &super::filter::Filter,
        value: &Value,
        rest: &[Step],
        here: &Here,
        root: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), PathError> {
        match value {
            Value::Array(items) => {
                for item in items.iter() {
                    if filter.accepts(item, root, self)? {
                        self.go(item, rest, here.loose(), root, found)?;
                    }
                }
                Ok(())
            }
            Value::Object(_) => {
                if filter.accepts(value, root, self)? {
                    self.go(value, rest, here.loose(), root, found)?;
                }
                Ok(())
            }
            _ if here.definite => Err(PathError::NotFound(format!(
                "Filter: [?] can not be applied to primitives. Current context is: {value}"
            ))),
            _ => Ok(()),
        }
    }

    fn apply(
        &mut self,
        function: Function,
        arguments: &[FunctionArg],
        value: Value,
        root: &Value,
    ) -> Result<Value, PathError> {
        let mut read = Vec::new();
        for argument in arguments {
            read.push(match argument {
                FunctionArg::Literal(value) => value.clone(),
                FunctionArg::Path(path) if path.root == Root::Input => {
                    self.nested(path, root, root)?
                }
                FunctionArg::Path(path) => {
                    return Err(PathError::NotFound(format!("cannot read '{}' here", path.text)));
                }
            });
        }
        self.visits(breadth(&value) + read.iter().map(breadth).sum::<usize>())?;
        function.apply(value, read)
    }
}

/// Bytes of a text that count as one visit.
const TEXT_PER_VISIT: usize = 64;

/// Values that are compared with others in one visit.
const COMPARED_PER_VISIT: usize = 16;

/// How many values are compared when two are. What differs in kind or size is told apart at once,
/// but a text beside a number is read as one.
fn comparisons(left: &Value, right: &Value) -> usize {
    1 + match (left, right) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right.iter()).map(|(left, right)| comparisons(left, right)).sum()
        }
        (Value::Object(left), Value::Object(right)) if left.len() == right.len() => {
            left.len() + left.values().map(weight).sum::<usize>()
        }
        (Value::String(left), Value::String(right)) => {
            breadth_of_text(if left.len() < right.len() { left } else { right })
        }
        (Value::String(text), Value::Number(_)) | (Value::Number(_), Value::String(text)) => {
            COMPARED_PER_VISIT * (1 + breadth_of_text(text))
        }
        _ => 0,
    }
}

/// What going through a text costs.
pub(super) fn breadth_of_text(text: &str) -> usize {
    text.len() / TEXT_PER_VISIT
}

/// What going through a value costs without what is within its parts.
fn breadth(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::String(text) => breadth_of_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// What going through all of a value costs.
pub(super) fn weight(value: &Value) -> usize {
    let within = match value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members.values().map(weight).sum(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    breadth(value) + within
}

impl Here {
    fn then(mut self, step: &Step) -> Self {
        if self.definite {
            step.push_to(&mut self.place);
        }
        self
    }

    /// Below a step that can match many.
    fn loose(&self) -> Self {
        Self { place: String::new(), definite: false }
    }
}

fn count(items: usize) -> Value {
    Value::from(i64::try_from(items).unwrap_or(i64::MAX))
}

fn all_definite(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Name(_) | Step::Index(_)))
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The items of an array, `None` where the path may pass over a value that is none.
fn array<'v>(value: &'v Value, step: &Step, here: &Here) -> Result<Option<&'v [Value]>, PathError> {
    match value {
        Value::Array(items) => Ok(Some(items)),
        _ if !here.definite => Ok(None),
        Value::Null => Err(PathError::NotFound(format!("The path {} is null", here.place))),
        _ => {
            let mut shown = String::new();
            step.push_to(&mut shown);
            Err(PathError::NotFound(format!(
                "Filter: {shown} can only be applied to arrays. Current context is: {value}"
            )))
        }
    }
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    let len = i64::try_from(items.len()).ok()?;
    let index = if index < 0 { len + index } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>) -> &[Value] {
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let bound = |end: i64| if end < 0 { (len + end).max(0) } else { end.min(len) };
    let from = from.map_or(0, bound);
    let to = to.map_or(len, bound);
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) if from < to => items.get(from..to).unwrap_or(&[]),
        _ => &[],
    }
}

/// The name that the reference implementation gives to a value's kind.
fn node_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "com.fasterxml.jackson.databind.node.BooleanNode",
        Value::Number(Number::Int(whole)) if i32::try_from(*whole).is_ok() => {
            "com.fasterxml.jackson.databind.node.IntNode"
        }
        Value::Number(Number::Int(_)) => "com.fasterxml.jackson.databind.node.LongNode",
        Value::Number(number) if number.is_integer() => {
            "com.fasterxml.jackson.databind.node.BigIntegerNode"
        }
        Value::Number(_) => "com.fasterxml.jackson.databind.node.DoubleNode",
        Value::String(_) => "com.fasterxml.jackson.databind.node.TextNode",
        Value::Array(_) => "com.fasterxml.jackson.databind.node.ArrayNode",
        Value::Object(_) => "com.fasterxml.jackson.databind.node.ObjectNode",
    }
}

impl Function {
    fn apply(self, value: Value, arguments: Vec<Value>) -> Result<Value, PathError> {
        match self {
            Self::Length | Self::Size => match &value {
                Value::Array(items) => Ok(count(items.len())),
                Value::Object(fields) => Ok(count(fields.len())),
                Value::String(text) => Ok(count(text.chars().count())),
                _ => self.refuse("needs an array, an object or a string"),
            },
            Self::Keys => match value {
                Value::Object(fields) => {
                    Ok(Value::array(fields.keys().map(|key| Value::String(key.clone()))))
                }
                _ => self.refuse("needs an object"),
            },
            Self::First | Self::Last | Self::Index => self.pick(&value, &arguments),
            Self::Append => match value {
                Value::Array(items) => Ok(Value::array(items.iter().cloned().chain(arguments))),
                _ => self.refuse("needs an array"),
            },
            Self::Concat => {
                let mut text = String::new();
                let own = value.as_array().unwrap_or(std::slice::from_ref(&value));
                for part in own.iter().chain(&arguments) {
                    if let Value::String(part) = part {
                        text.push_str(part);
                    }
                }
                Ok(Value::from(text))
            }
            Self::Min | Self::Max | Self::Avg | Self::Sum | Self::StdDev => {
                self.aggregate(&value, &arguments)
            }
        }
    }

    fn refuse(self, why: &str) -> Result<Value, PathError> {
        Err(PathError::NotFound(format!("the function {}() {why}", self.name())))
    }

    fn pick(self, value: &Value, arguments: &[Value]) -> Result<Value, PathError> {
        let Value::Array(items) = value else { return self.refuse("needs an array") };
        let index = match self {
            Self::First => 0,
            Self::Last => -1,
            _ => match arguments.first().and_then(Value::as_i64) {
                Some(index) => index,
                None => return self.refuse("needs an index"),
            },
        };
        match at(items, index) {
            Some(item) => Ok(item.clone()),
            None => self.refuse("is beyond the array"),
        }
    }

    fn aggregate(self, value: &Value, arguments: &[Value]) -> Result<Value, PathError> {
        let own = value.as_array().unwrap_or_default();
        let numbers: Vec<f64> = own
            .iter()
            .chain(arguments.iter().flat_map(|argument| match argument {
                Value::Array(items) => items.as_slice(),
                other => std::slice::from_ref(other),
            }))
            .filter_map(Value::as_f64)
            .collect();
        if numbers.is_empty() {
            return self.refuse("has no numbers to work on");
        }
        let count = numbers.len() as f64;
        let sum: f64 = numbers.iter().sum();
        let result = match self {
            Self::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Avg => sum / count,
            Self::Sum => sum,
            _ => {
                let squares: f64 = numbers.iter().map(|number| number * number).sum();
                (squares / count - (sum / count).powi(2)).max(0.0).sqrt()
            }
        };
        // The reference answers with a double always: 3 numbers sum to `6.0`.
        if result.is_finite() {
            Ok(Value::from(result))
        } else {
            self.refuse("leaves the range of numbers")
        }
    }
}

/// Names are asked of what has none: nothing is there, or that is said where there is one place only.
fn no_object(names: &str, value: &Value, here: &Here) -> Result<(), PathError> {
    if !here.definite {
        return Ok(());
    }
    Err(PathError::NotFound(format!(
        "Expected to find an object with property {names} in path {} but found '{}'. \
         This is not a json object according to the JsonProvider: \
         'com.jayway.jsonpath.spi.json.JacksonJsonNodeJsonProvider'.",
        here.place,
        node_class(value)
    )))
}
