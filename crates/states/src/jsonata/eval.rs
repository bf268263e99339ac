//! The tree on values, within a budget of steps, bytes and depth.
//!
//! Here are the evaluation, its nodes and what variables mean; calls are in [`apply`], the budget in
//! [`budget`], steps into values in [`navigate`], operators in [`operators`].

mod apply;
mod budget;
mod navigate;
mod operators;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use self::operators::{arithmetic, compare, same_scalar};
use super::ast::{Kind, Node, Operator};
use super::closure::{Env, Frame, Func};
use super::error::{Error, Result};
use super::functions::{self, Native};
use super::regexp::Searches;
use super::value::{Array, Val, same_leaf};
use super::{BYTES_MAX, CALLS_MAX, ITEMS_MAX, STEPS_MAX};
use crate::scope::StatesBinding;
use crate::value::{DEPTH_MAX, Number, Value};

pub(super) use self::operators::numeric;

/// Bytes that an evaluation may allocate for one unit of fuel.
const BYTES_PER_UNIT: u64 = 64;
/// Items of an array that a scalar is held against in a step.
const SCALARS_PER_STEP: usize = 16;
/// When less than this is left of the stack a new piece is taken, in bytes.
const STACK_RED_ZONE: usize = 256 << 10;
/// Size of such a piece, in bytes.
const STACK_PIECE: usize = 2 << 20;
/// How deeply a value made by an expression may nest. Below [`DEPTH_MAX`], so that what comes out
/// of an expression can go into a document.
const NESTING_MAX: usize = DEPTH_MAX - 100;

/// One evaluation.
pub(super) struct Run<'a> {
    pub(super) states: &'a StatesBinding<'a>,
    labels: &'a [Arc<str>],
    sees_context: bool,
    bound: OnceCell<Val>,
    steps_left: Cell<u64>,
    bytes_left: Cell<u64>,
    /// What both were at first.
    budget: (u64, u64),
    depth: Cell<usize>,
    /// Frames that functions hold, to be emptied at the end.
    captured: RefCell<Vec<Weak<Frame>>>,
    searches: RefCell<Searches>,
}

/// Runs with more stack when little is left.
pub(super) fn with_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_RED_ZONE, STACK_PIECE, run)
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.burn();
        for frame in self.captured.borrow().iter().filter_map(Weak::upgrade) {
            frame.clear();
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        states: &'a StatesBinding<'a>,
        labels: &'a [Arc<str>],
        sees_context: bool,
    ) -> Self {
        let fuel = states.fuel.left();
        let budget = (fuel.min(STEPS_MAX), fuel.saturating_mul(BYTES_PER_UNIT).min(BYTES_MAX));
        Self {
            states,
            labels,
            sees_context,
            bound: OnceCell::new(),
            steps_left: Cell::new(budget.0),
            bytes_left: Cell::new(budget.1),
            budget,
            depth: Cell::new(0),
            captured: RefCell::default(),
            searches: RefCell::default(),
        }
    }

    /// The expression's value; `None` when it gives nothing.
    pub(super) fn evaluate(&self, tree: &Node) -> Result<Option<Value>> {
        let root = Env::default();
        match self.eval(tree, &Val::Undefined, &root)? {
            Val::Undefined => Ok(None),
            // A function has no JSON; the reference gives nothing for it.
            Val::Func(_) => Ok(None),
            value => {
                self.printable(&value)?;
                let value = value.to_value();
                // A part of the data can sit deep within what the expression made.
                if value.depth() > DEPTH_MAX {
                    return Err(too_deep());
                }
                Ok(Some(value))
            }
        }
    }

    /// Refuses a result that is too large: parts are shared, so that a small value can print as an
    /// endless one.
    fn printable(&self, value: &Val) -> Result<()> {
        self.steps(1)?;
        match value {
            Val::Str(text) => self.bytes(text.len()),
            Val::Json(value) => self.size(value),
            Val::Array(array) => array.items.iter().try_for_each(|item| self.printable(item)),
            Val::Object(map) => map.members.iter().try_for_each(|(key, member)| {
                self.bytes(key.len())?;
                self.printable(member)
            }),
            _ => Ok(()),
        }
    }

    /// Charges what a piece of the data prints as.
    fn size(&self, value: &Value) -> Result<()> {
        self.steps(1)?;
        match value {
            Value::String(text) => self.bytes(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.size(item)),
            Value::Object(members) => members.iter().try_for_each(|(key, member)| {
                self.bytes(key.len())?;
                self.size(member)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// Deep equality as the reference has it: numbers by value, order of keys free, functions only
    /// with themselves.
    pub(super) fn same(&self, left: &Val, right: &Val) -> Result<bool> {
        self.steps(1)?;
        if left.is_array() && right.is_array() {
            if left.len() != right.len() {
                return Ok(false);
            }
            for index in 0..left.len() {
                let (Some(left), Some(right)) = (left.item(index), right.item(index)) else {
                    return Ok(false);
                };
                if !with_stack(|| self.same(&left, &right))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if left.is_object() && right.is_object() {
            if left.members() != right.members() {
                return Ok(false);
            }
            self.reads(left.members())?;
            for (key, value) in left.entries() {
                let Some(other) = right.member(&key) else { return Ok(false) };
                if !with_stack(|| self.same(&value, &other))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        self.compares(left, right)?;
        Ok(same_leaf(left, right))
    }

    // ---- budget ----

    /// The name under which a slot of `%` is bound.
    pub(super) fn label(&self, slot: usize) -> Option<Arc<str>> {
        self.labels.get(slot).cloned()
    }

    /// Marks a frame that a function now holds.
    pub(super) fn capture(&self, env: &Env) -> Result<()> {
        if env.depth() > NESTING_MAX {
            return Err(too_deep());
        }
        if !env.captured.replace(true) {
            self.bytes(64)?;
            self.captured.borrow_mut().push(Rc::downgrade(env));
        }
        Ok(())
    }

    // ---- nodes ----

    pub(super) fn eval(&self, node: &Node, input: &Val, env: &Env) -> Result<Val> {
        self.steps(1)?;
        let depth = self.depth.get();
        if depth >= CALLS_MAX {
            return Err(Error::new("D1011"));
        }
        self.depth.set(depth + 1);
        let result = with_stack(|| self.eval_whole(node, input, env));
        self.depth.set(depth);
        result
    }

    fn eval_whole(&self, node: &Node, input: &Val, env: &Env) -> Result<Val> {
        let mut result = self.eval_kind(node, input, env)?;
        for stage in &node.predicates {
            if let super::ast::Stage::Filter(predicate) = stage {
                result = self.filter(predicate, &result, env)?;
            }
        }
        if !matches!(node.kind, Kind::Path { .. })
            && let Some(group) = &node.group
        {
            result = self.group(group, &result, env)?;
        }
        Ok(collapse(result, node.keep_array))
    }

    fn eval_kind(&self, node: &Node, input: &Val, env: &Env) -> Result<Val> {
        match &node.kind {
            Kind::Name(name) => self.lookup(input, name),
            Kind::Str(text) => Ok(Val::Str(text.clone())),
            Kind::Num(number) => Ok(Val::Num(number.clone())),
            Kind::Null => Ok(Val::Null),
            Kind::Bool(flag) => Ok(Val::Bool(*flag)),
            Kind::Wildcard => self.wildcard(input),
            Kind::Descendants => self.descendants(input),
            Kind::Parent(slot) => {
                let label = self.labels.get(*slot);
                Ok(label.and_then(|label| env.lookup(label)).unwrap_or(Val::Undefined))
            }
            Kind::Variable(name) => Ok(self.variable(name, input, env)),
            Kind::Regex(pattern) => Ok(Val::Func(Func::Regex(pattern.clone()).into())),
            Kind::Path { steps, keep_singleton } => {
                self.path(node, steps, *keep_singleton, input, env)
            }
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right, input, env),
            Kind::Negate(inner) => match self.eval(inner, input, env)? {
                Val::Undefined => Ok(Val::Undefined),
                Val::Num(Number::Int(whole)) if whole != i64::MIN => Ok(Val::from(-whole)),
                Val::Num(number) => Ok(Val::from(-number.as_f64())),
                other => Err(Error::new("D1002").token("-").value(&other)),
            },
            Kind::Array(items) => self.array_constructor(node, items, input, env),
            Kind::Object(pairs) => self.group(pairs, input, env),
            Kind::Call { procedure, arguments, tail } => {
                self.call(procedure, arguments, None, *tail, input, env)
            }
            Kind::Partial { procedure, arguments } => {
                self.partial(procedure, arguments, input, env)
            }
            Kind::Lambda(lambda) => {
                self.capture(env)?;
                let func =
                    Func::Lambda { lambda: lambda.clone(), env: env.clone(), input: input.clone() };
                Ok(Val::Func(func.into()))
            }
            Kind::Condition(condition, then, otherwise) => {
                let condition = self.eval(condition, input, env)?;
                if self.truth(&condition)? == Some(true) {
                    self.eval(then, input, env)
                } else if let Some(otherwise) = otherwise {
                    self.eval(otherwise, input, env)
                } else {
                    Ok(Val::Undefined)
                }
            }
            Kind::Block(expressions) => {
                let frame = self.frame(env)?;
                let mut result = Val::Undefined;
                for expression in expressions {
                    result = self.eval(expression, input, &frame)?;
                }
                Ok(result)
            }
            Kind::Bind(name, value) => {
                let value = self.eval(value, input, env)?;
                self.bytes(size_of::<Val>())?;
                env.bind(name.clone(), value.clone());
                if env.depth() > NESTING_MAX * 2 {
                    return Err(too_deep());
                }
                Ok(value)
            }
            Kind::Apply(left, right) => self.apply_operator(left, right, input, env),
            Kind::Transform(transform) => {
                self.capture(env)?;
                let func = Func::Transform { transform: transform.clone(), env: env.clone() };
                Ok(Val::Func(func.into()))
            }
            // Steps of a path are run by `path`; the rest is replaced before anything runs.
            Kind::Sort(_)
            | Kind::End
            | Kind::Placeholder
            | Kind::Word(_)
            | Kind::Dot(..)
            | Kind::Filter(..)
            | Kind::GroupBy(..)
            | Kind::OrderBy(..)
            | Kind::Focus(..)
            | Kind::IndexBind(..)
            | Kind::RawLambda { .. }
            | Kind::RawTransform { .. } => Err(Error::new("S0206").token("operator")),
        }
    }

    /// `$name`: what an expression bound, then `$states` and the workflow's variables, then the
    /// library.
    fn variable(&self, name: &str, input: &Val, env: &Env) -> Val {
        if name.is_empty() {
            return input.clone();
        }
        if let Some(bound) = env.lookup(name) {
            return bound;
        }
        if name == "states" {
            return self.bound.get_or_init(|| self.bind_states()).clone();
        }
        if let Some(value) = self.states.variables.get(name) {
            return Val::from(value);
        }
        match Native::by_name(name) {
            Some(native) => Val::Func(Func::Native(native).into()),
            None => Val::Undefined,
        }
    }

    fn bind_states(&self) -> Val {
        let mut members = crate::value::Object::new();
        members.insert("input".into(), self.states.input.clone());
        if let Some(result) = self.states.result {
            members.insert("result".into(), result.clone());
        }
        if let Some(error_output) = self.states.error_output {
            members.insert("errorOutput".into(), error_output.clone());
        }
        if self.sees_context {
            members.insert("context".into(), self.states.context.value().clone());
        }
        Val::Json(members.into())
    }

    fn array_constructor(
        &self,
        node: &Node,
        expressions: &[Node],
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let mut items = Vec::new();
        for expression in expressions {
            let value = self.eval(expression, input, env)?;
            if value.is_undefined() {
                continue;
            }
            if matches!(expression.kind, Kind::Array(_)) || !value.is_array() {
                items.push(value);
            } else {
                self.room(value.len())?;
                items.extend(value.into_items());
            }
        }
        self.room(items.len())?;
        let mut array = Array::plain(items);
        array.cons = node.cons_array;
        nested(Val::Array(array.into()))
    }

    // ---- operators ----

    fn binary(
        &self,
        operator: Operator,
        left: &Node,
        right: &Node,
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let left = self.eval(left, input, env)?;
        if matches!(operator, Operator::And | Operator::Or) {
            let first = self.truth(&left)?.unwrap_or(false);
            if first == (operator == Operator::Or) {
                return Ok(Val::Bool(first));
            }
            // An error on the right names the operator, whatever it came from.
            let right =
                self.eval(right, input, env).map_err(|error| error.token(operator.text()))?;
            return Ok(Val::Bool(self.truth(&right)?.unwrap_or(false)));
        }
        let right = self.eval(right, input, env)?;
        match operator {
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo => arithmetic(operator, &left, &right),
            Operator::Equal | Operator::NotEqual => {
                if left.is_undefined() || right.is_undefined() {
                    return Ok(Val::Bool(false));
                }
                Ok(Val::Bool(self.same(&left, &right)? == (operator == Operator::Equal)))
            }
            Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast => {
                self.compares(&left, &right)?;
                compare(operator, &left, &right)
            }
            Operator::Concat => {
                let mut text = self.string_of(&left)?;
                text.push_str(&self.string_of(&right)?);
                self.text(text)
            }
            Operator::In => {
                if left.is_undefined() || right.is_undefined() {
                    return Ok(Val::Bool(false));
                }
                if !right.is_array() {
                    return Ok(Val::Bool(same_scalar(&left, &right)));
                }
                for index in 0..right.len() {
                    if index % SCALARS_PER_STEP == 0 {
                        self.steps(1)?;
                    }
                    let Some(item) = right.item(index) else { continue };
                    self.compares(&left, &item)?;
                    if same_scalar(&left, &item) {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            Operator::Range => self.range(&left, &right),
            // Answered above.
            Operator::And | Operator::Or => Ok(Val::Undefined),
        }
    }

    /// A value as `&` takes it; nothing is the empty text.
    fn string_of(&self, value: &Val) -> Result<String> {
        match value {
            Val::Undefined => Ok(String::new()),
            Val::Str(text) => {
                self.bytes(text.len())?;
                Ok(text.to_string())
            }
            other => functions::stringify(self, other, false),
        }
    }

    fn range(&self, left: &Val, right: &Val) -> Result<Val> {
        let whole = |value: &Val, code| match value {
            Val::Undefined => Ok(None),
            Val::Num(number) if number.as_i64().is_some() => Ok(number.as_i64()),
            other => Err(Error::new(code).value(other)),
        };
        let (from, to) = (whole(left, "T2003")?, whole(right, "T2004")?);
        let (Some(from), Some(to)) = (from, to) else { return Ok(Val::Undefined) };
        if from > to {
            return Ok(Val::Undefined);
        }
        let size = i128::from(to) - i128::from(from) + 1;
        if size > ITEMS_MAX as i128 {
            return Err(Error::new("D2014").text_raw(size.to_string()));
        }
        self.room(usize::try_from(size).unwrap_or(usize::MAX))?;
        Ok(Val::Array(Array::sequence((from..=to).map(Val::from).collect()).into()))
    }
}

fn too_deep() -> Error {
    Error::new("D1015").text_raw(NESTING_MAX.to_string())
}

/// Refuses a value that is nested too deeply to be walked or dropped.
fn nested(value: Val) -> Result<Val> {
    if value.depth() > NESTING_MAX { Err(too_deep()) } else { Ok(value) }
}

/// A sequence of one is that one, an empty one nothing.
fn collapse(value: Val, keep_array: bool) -> Val {
    let Val::Array(array) = &value else { return value };
    if !array.sequence {
        return value;
    }
    match array.items.as_slice() {
        [] => Val::Undefined,
        [one] if !(array.keep || keep_array) => one.clone(),
        _ if keep_array && !array.keep => kept(value),
        _ => value,
    }
}

/// The array marked to stay one.
pub(super) fn kept(value: Val) -> Val {
    match value {
        Val::Array(array) => {
            let mut array = Rc::try_unwrap(array).unwrap_or_else(|shared| Array::clone(&shared));
            array.keep = true;
            Val::Array(array.into())
        }
        other => other,
    }
}

/// The name by which a function is called.
fn name_of(procedure: &Node) -> Option<&Arc<str>> {
    match &procedure.kind {
        Kind::Variable(name) => Some(name),
        Kind::Path { steps, .. } => match &steps.first()?.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn named(mut error: Error, name: Option<&Arc<str>>) -> Error {
    if error.token.is_none() {
        error.token = name.map(ToString::to_string);
    }
    error
}
