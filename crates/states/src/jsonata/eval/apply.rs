//! Calls: functions on their arguments, tail calls, partial application.

use super::{Run, collapse, name_of, named, nested, with_stack};
use crate::jsonata::CALLS_MAX;
use crate::jsonata::ast::{Kind, Node};
use crate::jsonata::closure::{Env, Func};
use crate::jsonata::error::{Error, Result};
use crate::jsonata::functions;
use crate::jsonata::value::Val;

impl Run<'_> {
    pub(super) fn apply_operator(
        &self,
        left: &Node,
        right: &Node,
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let value = self.eval(left, input, env)?;
        if let Kind::Call { procedure, arguments, .. } = &right.kind {
            // An invocation takes the left side as its first argument.
            let result = self.call(procedure, arguments, Some(value), false, input, env)?;
            return Ok(collapse(result, right.keep_array));
        }
        let func = self.eval(right, input, env)?;
        let Val::Func(second) = &func else {
            return Err(Error::new("T2006").value(&func));
        };
        if let Val::Func(first) = &value {
            let depth = first.depth().max(second.depth());
            let chain = Func::Chain(first.clone(), second.clone(), depth);
            return nested(Val::Func(chain.into()));
        }
        self.apply(&func, vec![value], &Val::Null)
    }

    // ---- functions ----

    pub(super) fn call(
        &self,
        procedure: &Node,
        arguments: &[Node],
        first: Option<Val>,
        tail: bool,
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let func = self.eval(procedure, input, env)?;
        let name = name_of(procedure);
        if func.is_undefined()
            && let Kind::Path { steps, .. } = &procedure.kind
            && let Some(Kind::Name(name)) = steps.first().map(|step| &step.kind)
            && !self.variable(name, &Val::Undefined, env).is_undefined()
        {
            return Err(Error::new("T1005").token(&**name));
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        values.extend(first);
        for argument in arguments {
            values.push(self.eval(argument, input, env)?);
        }
        if tail && matches!(func, Val::Func(_)) {
            let name = name.cloned();
            return Ok(Val::Func(Func::Tail { func, arguments: values, name }.into()));
        }
        self.apply(&func, values, input).map_err(|error| named(error, name))
    }

    /// Calls a function, and the calls in tail position that it ends with.
    pub(in crate::jsonata) fn apply(
        &self,
        func: &Val,
        arguments: Vec<Val>,
        input: &Val,
    ) -> Result<Val> {
        let mut result = self.apply_once(func, arguments, input)?;
        loop {
            let Val::Func(tail) = &result else { return Ok(result) };
            let Func::Tail { func, arguments, name } = &**tail else { return Ok(result) };
            self.steps(1)?;
            let next = self
                .apply_once(func, arguments.clone(), input)
                .map_err(|error| named(error, name.as_ref()))?;
            result = next;
        }
    }

    pub(super) fn apply_once(&self, func: &Val, arguments: Vec<Val>, input: &Val) -> Result<Val> {
        let Val::Func(func) = func else { return Err(Error::new("T1006")) };
        match &**func {
            Func::Native(native) => {
                let arguments = native.signature().validate(&arguments, input)?;
                self.steps(1)?;
                for text in arguments.iter().filter_map(Val::as_str) {
                    self.reads(text.len())?;
                }
                native.call(self, &arguments)
            }
            Func::Lambda { lambda, env, input: own } => {
                let arguments = match &lambda.signature {
                    Some(signature) => signature.validate(&arguments, input)?,
                    None => arguments,
                };
                let frame = self.frame(env)?;
                let mut arguments = arguments.into_iter();
                for name in &lambda.parameters {
                    let value = arguments.next().unwrap_or(Val::Undefined);
                    frame.bind(name.clone(), value);
                }
                self.eval(&lambda.body, own, &frame)
            }
            Func::Partial { func, given } => {
                let mut rest = arguments.into_iter();
                let all = given
                    .iter()
                    .map(|given| match given {
                        Some(value) => value.clone(),
                        None => rest.next().unwrap_or(Val::Undefined),
                    })
                    .collect();
                self.deeper(|| self.apply(&Val::Func(func.clone()), all, input))
            }
            Func::Chain(first, second, _) => self.deeper(|| {
                let between = self.apply(&Val::Func(first.clone()), arguments, &Val::Null)?;
                self.apply(&Val::Func(second.clone()), vec![between], &Val::Null)
            }),
            Func::Regex(pattern) => match arguments.first() {
                Some(Val::Str(text)) => functions::next_match(self, pattern, text, None),
                _ => Ok(Val::Undefined),
            },
            Func::NextMatch { pattern, text, from } => {
                functions::next_match(self, pattern, text, Some(*from))
            }
            Func::Transform { transform, env } => {
                let target = arguments.first().cloned().unwrap_or(Val::Undefined);
                self.transform(transform, &target, env)
            }
            Func::Tail { .. } => Err(Error::new("T1006")),
        }
    }

    /// Counts a level of native recursion that passes no node of the tree.
    pub(super) fn deeper(&self, run: impl FnOnce() -> Result<Val>) -> Result<Val> {
        let depth = self.depth.get();
        if depth >= CALLS_MAX {
            return Err(Error::new("D1011"));
        }
        self.depth.set(depth + 1);
        let result = with_stack(run);
        self.depth.set(depth);
        result
    }

    pub(super) fn partial(
        &self,
        procedure: &Node,
        arguments: &[Node],
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let mut given = Vec::new();
        for argument in arguments {
            given.push(match argument.kind {
                Kind::Placeholder => None,
                _ => Some(self.eval(argument, input, env)?),
            });
        }
        match self.eval(procedure, input, env)? {
            Val::Func(func) => nested(Val::Func(Func::Partial { func, given }.into())),
            Val::Undefined => {
                let name = name_of(procedure);
                match name {
                    Some(name) if !self.variable(name, &Val::Undefined, env).is_undefined() => {
                        Err(Error::new("T1007").token(&**name))
                    }
                    _ => Err(named(Error::new("T1008"), name)),
                }
            }
            _ => Err(named(Error::new("T1008"), name_of(procedure))),
        }
    }
}
