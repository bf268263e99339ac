//! Functions as values, and the frames of variables they close over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Lambda, Transform};
use super::functions::Native;
use super::regexp::Pattern;
use super::value::Val;

/// A function.
#[derive(Debug)]
pub(super) enum Func {
    Native(Native),
    Lambda {
        lambda: Arc<Lambda>,
        env: Env,
        input: Val,
    },
    /// A function with some of its arguments given; `None` is a `?`.
    Partial {
        func: Rc<Func>,
        given: Vec<Option<Val>>,
    },
    /// `f ~> g`, and how deep it is: both may be the same, so that looking would take for ever.
    Chain(Rc<Func>, Rc<Func>, usize),
    Regex(Arc<Pattern>),
    /// `next` of a match: the pattern, the text and where to go on.
    NextMatch {
        pattern: Arc<Pattern>,
        text: Arc<str>,
        from: usize,
    },
    Transform {
        transform: Arc<Transform>,
        env: Env,
    },
    /// A call in tail position, not yet made.
    Tail {
        func: Val,
        arguments: Vec<Val>,
        name: Option<Arc<str>>,
    },
}

impl Func {
    /// How many closures, frames and containers hang below; bounds the recursion of dropping them.
    pub(super) fn depth(&self) -> usize {
        1 + match self {
            Self::Native(_) | Self::Regex(_) | Self::NextMatch { .. } => 0,
            Self::Lambda { env, input, .. } => env.depth().max(input.depth()),
            Self::Transform { env, .. } => env.depth(),
            Self::Partial { func, given } => {
                given.iter().flatten().map(Val::depth).max().unwrap_or(0).max(func.depth())
            }
            Self::Chain(_, _, depth) => *depth,
            Self::Tail { func, arguments, .. } => {
                arguments.iter().map(Val::depth).max().unwrap_or(0).max(func.depth())
            }
        }
    }

    /// How many arguments it declares; what `$map` and its kin hand over.
    pub(super) fn arity(&self) -> usize {
        match self {
            Self::Native(native) => native.arity(),
            Self::Lambda { lambda, .. } => lambda.parameters.len(),
            Self::Partial { given, .. } => given.iter().filter(|given| given.is_none()).count(),
            Self::Chain(..) | Self::Regex(_) | Self::Transform { .. } => 1,
            Self::NextMatch { .. } | Self::Tail { .. } => 0,
        }
    }
}

/// A frame of variables within its outer ones.
pub(super) type Env = Rc<Frame>;

/// Variables of one block or call.
#[derive(Debug, Default)]
pub(super) struct Frame {
    variables: RefCell<Vec<(Arc<str>, Val)>>,
    outer: Option<Env>,
    depth: Cell<usize>,
    /// Whether a function holds this frame; such frames are emptied when the evaluation ends, for a
    /// function kept in its own frame would never be freed.
    pub(super) captured: Cell<bool>,
}

impl Frame {
    pub(super) fn within(outer: &Env) -> Env {
        Rc::new(Self {
            depth: Cell::new(outer.depth.get() + 1),
            outer: Some(outer.clone()),
            ..Self::default()
        })
    }

    pub(super) fn bind(&self, name: Arc<str>, value: Val) {
        if value.depth() >= self.depth.get() {
            self.depth.set(value.depth() + 1);
        }
        let mut variables = self.variables.borrow_mut();
        let old = match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                variables.push((name, value));
                None
            }
        };
        drop(variables);
        // What it held may hold this frame in turn; it is dropped after the borrow.
        drop(old);
    }

    pub(super) fn lookup(&self, name: &str) -> Option<Val> {
        let mut frame = self;
        loop {
            if let Some((_, value)) =
                frame.variables.borrow().iter().find(|(known, _)| &**known == name)
            {
                return Some(value.clone());
            }
            frame = frame.outer.as_deref()?;
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth.get()
    }

    /// Empties this frame and those around it.
    pub(super) fn clear(self: &Rc<Self>) {
        let mut next = Some(self.clone());
        while let Some(frame) = next {
            let taken = std::mem::take(&mut *frame.variables.borrow_mut());
            drop(taken);
            next = frame.outer.clone();
        }
    }
}
