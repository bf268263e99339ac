//! What an evaluation may use up, taken before it is used: steps, bytes, items.

use std::sync::Arc;

use super::{BYTES_PER_UNIT, NESTING_MAX, Run, nested, too_deep};
use crate::jsonata::closure::{Env, Frame};
use crate::jsonata::error::{Error, Result};
use crate::jsonata::functions;
use crate::jsonata::regexp::Pattern;
use crate::jsonata::value::{Array, Map, Members, Val};
use crate::jsonata::{BYTES_MAX, ITEMS_MAX, STEPS_MAX};

/// Bytes of text, or items of an array, that count as one step where they are only gone through.
const READ_PER_STEP: usize = 64;

impl Run<'_> {
    /// A budget is used up. Where it was smaller than the language's, for want of fuel, that is no
    /// error of the expression.
    fn out_of_fuel(&self, smaller: bool) {
        if smaller {
            self.states.fuel.exhaust();
        }
    }

    /// Burns what was used.
    pub(super) fn burn(&self) {
        let (steps, bytes) = self.budget;
        self.states.fuel.burn(steps - self.steps_left.get());
        self.states.fuel.burn((bytes - self.bytes_left.get()) / BYTES_PER_UNIT);
    }

    /// Takes `count` steps from the budget.
    pub(in crate::jsonata) fn steps(&self, count: usize) -> Result<()> {
        match self.steps_left.get().checked_sub(count as u64) {
            Some(left) => {
                self.steps_left.set(left);
                Ok(())
            }
            None => {
                self.out_of_fuel(self.budget.0 < STEPS_MAX);
                Err(Error::new("D1012").text_raw(STEPS_MAX.to_string()))
            }
        }
    }

    /// Takes steps for going through so many bytes or items.
    pub(in crate::jsonata) fn reads(&self, count: usize) -> Result<()> {
        self.steps(count / READ_PER_STEP)
    }

    /// Takes steps for putting two scalars beside each other: texts are gone through as far as both
    /// reach.
    pub(in crate::jsonata) fn compares(&self, left: &Val, right: &Val) -> Result<()> {
        match (left, right) {
            (Val::Str(left), Val::Str(right)) => self.reads(left.len().min(right.len())),
            _ => Ok(()),
        }
    }

    /// Takes steps for finding the next match of a pattern in a text from a byte on.
    pub(in crate::jsonata) fn searches(
        &self,
        pattern: &Arc<Pattern>,
        text: &str,
        from: usize,
    ) -> Result<()> {
        let steps = self.searches.borrow_mut().steps(pattern, text, from);
        self.steps(steps)
    }

    /// The truth of a value, which in an array of the data may stand at its end.
    pub(in crate::jsonata) fn truth(&self, value: &Val) -> Result<Option<bool>> {
        if let Val::Json(_) = value {
            self.reads(value.len())?;
        }
        Ok(functions::truth(value))
    }

    /// Takes `count` bytes from the budget; to be called before they are allocated.
    pub(in crate::jsonata) fn bytes(&self, count: usize) -> Result<()> {
        match self.bytes_left.get().checked_sub(count as u64) {
            Some(left) => {
                self.bytes_left.set(left);
                Ok(())
            }
            None => {
                self.out_of_fuel(self.budget.1 < BYTES_MAX);
                Err(Error::new("D1014").text_raw(BYTES_MAX.to_string()))
            }
        }
    }

    /// Room for an array of `count` items.
    pub(in crate::jsonata) fn room(&self, count: usize) -> Result<()> {
        if count > ITEMS_MAX {
            return Err(Error::new("D2015").text_raw(ITEMS_MAX.to_string()));
        }
        self.steps(count)?;
        self.bytes(count * size_of::<Val>())
    }

    /// The largest text a builtin may make at once, in bytes.
    pub(in crate::jsonata) fn bytes_left(&self) -> usize {
        usize::try_from(self.bytes_left.get()).unwrap_or(usize::MAX)
    }

    pub(in crate::jsonata) fn text(&self, text: String) -> Result<Val> {
        self.bytes(text.len())?;
        Ok(text.into())
    }

    pub(in crate::jsonata) fn array(&self, items: Vec<Val>) -> Result<Val> {
        self.room(items.len())?;
        nested(Val::Array(Array::plain(items).into()))
    }

    pub(in crate::jsonata) fn sequence(&self, items: Vec<Val>) -> Result<Val> {
        self.room(items.len())?;
        nested(Val::Array(Array::sequence(items).into()))
    }

    pub(in crate::jsonata) fn object(&self, members: Members) -> Result<Val> {
        self.room(members.len())?;
        nested(Val::Object(Map::new(members).into()))
    }

    pub(in crate::jsonata) fn frame(&self, outer: &Env) -> Result<Env> {
        self.bytes(128)?;
        let frame = Frame::within(outer);
        if frame.depth() > NESTING_MAX {
            return Err(too_deep());
        }
        Ok(frame)
    }

    /// Steps that are left, for a builtin that does much at once.
    pub(in crate::jsonata) fn steps_left(&self) -> usize {
        usize::try_from(self.steps_left.get()).unwrap_or(usize::MAX)
    }
}
