//! What the work of one call of [`crate::machine::next`] costs, so that a runtime can bound it.
//!
//! Counted in steps, not in time: the same call costs the same wherever it runs. A unit is what a
//! node of a JSONata tree, a value that a path looks at, or 64 bytes of text cost: about 100 ns.
//! Evaluations burn it; only [`crate::machine`] says what happens when none is left.

use std::cell::Cell;

use crate::error::EvalError;
use crate::limits::FUEL_SPENT_MAX;
use crate::value::Value;

/// Bytes of text that cost one unit.
const BYTES_PER_UNIT: usize = 64;

/// A budget of work. Once it is used up, whatever was computed with it is worth nothing.
#[derive(Debug)]
pub struct Fuel {
    most: u64,
    left: Cell<u64>,
}

impl Fuel {
    /// As much as is wanted; it is only counted.
    pub fn ample() -> Self {
        Self::of(u64::MAX)
    }

    /// So many units.
    pub fn of(units: u64) -> Self {
        Self { most: units, left: Cell::new(units) }
    }

    /// Whether there is an end to it.
    pub fn is_limited(&self) -> bool {
        self.most < u64::MAX
    }

    /// Whether none is left.
    pub fn is_dry(&self) -> bool {
        self.left.get() == 0
    }

    /// Units burnt so far.
    pub fn spent(&self) -> u64 {
        self.most - self.left.get()
    }

    pub(crate) fn left(&self) -> u64 {
        self.left.get()
    }

    /// Refuses one more path or expression when those before have burnt all that a step may.
    pub(crate) fn afford(&self) -> Result<(), EvalError> {
        if self.spent() <= FUEL_SPENT_MAX {
            return Ok(());
        }
        Err(EvalError::runtime("The expressions of the state cost more to evaluate than they may."))
    }

    pub(crate) fn burn(&self, units: u64) {
        self.left.set(self.left.get().saturating_sub(units));
    }

    /// For somebody who could not even begin with what is left.
    pub(crate) fn exhaust(&self) {
        if self.is_limited() {
            self.left.set(0);
        }
    }

    pub(crate) fn burn_bytes(&self, bytes: usize) {
        self.burn((bytes / BYTES_PER_UNIT) as u64);
    }

    /// Burns what it costs to go through values. Answers false when there is not enough for it.
    pub(crate) fn burn_values(&self, values: &[Value]) -> bool {
        values.iter().all(|value| self.burn_value(value))
    }

    fn burn_value(&self, value: &Value) -> bool {
        self.burn(1);
        if self.is_dry() {
            return false;
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            Value::String(text) => {
                self.burn_bytes(text.len());
                true
            }
            Value::Array(items) => self.burn_values(items),
            Value::Object(members) => members.iter().all(|(name, member)| {
                self.burn_bytes(name.len());
                self.burn_value(member)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_burnt_is_gone_and_more_is_not_owed() {
        let fuel = Fuel::of(10);
        fuel.burn(4);
        assert_eq!((fuel.spent(), fuel.left(), fuel.is_dry()), (4, 6, false));
        fuel.burn(7);
        assert_eq!((fuel.spent(), fuel.is_dry()), (10, true));
    }

    #[test]
    fn ample_fuel_is_counted_and_never_dry() {
        let fuel = Fuel::ample();
        fuel.burn(5_000_000);
        fuel.exhaust();
        assert_eq!((fuel.spent(), fuel.is_limited(), fuel.is_dry()), (5_000_000, false, false));
    }

    #[test]
    fn a_step_that_has_burnt_all_it_may_evaluates_nothing_more() {
        let fuel = Fuel::ample();
        fuel.burn(FUEL_SPENT_MAX);
        assert_eq!(fuel.afford(), Ok(()));
        fuel.burn(1);
        assert!(fuel.afford().is_err());
    }

    #[test]
    fn values_cost_by_their_size() {
        let fuel = Fuel::ample();
        let long = "x".repeat(640);
        assert!(fuel.burn_values(&[Value::from(long.as_str()), Value::array([Value::Null])]));
        assert_eq!(fuel.spent(), 11 + 2);
        assert!(!Fuel::of(3).burn_values(&[Value::array([Value::Null, Value::Null, Value::Null])]));
    }
}
