//! What an expression may see while it is evaluated: input, context object, variables, randomness.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::fuel::Fuel;
use crate::value::{Object, Value};

/// The variables visible at one place, innermost scope first.
#[derive(Debug, Clone, Default)]
pub struct Variables<'a> {
    scopes: Vec<&'a Object>,
}

impl<'a> Variables<'a> {
    /// From the scopes, innermost first.
    pub fn new(scopes: Vec<&'a Object>) -> Self {
        Self { scopes }
    }

    /// The value of `$name` (given without `$`).
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.scopes.iter().find_map(|scope| scope.get(name))
    }

    /// Every visible variable once, the innermost of equal names.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Arc<str>, &'a Value)> + '_ {
        self.scopes.iter().enumerate().flat_map(move |(depth, scope)| {
            scope.iter().filter(move |(name, _)| {
                !self.scopes[..depth].iter().any(|inner| inner.contains_key(*name))
            })
        })
    }
}

/// The context object, built when something first looks at it: most states never do.
pub struct Context<'a> {
    built: OnceCell<Value>,
    build: &'a dyn Fn() -> Value,
}

impl<'a> Context<'a> {
    /// With the function that builds it.
    pub fn new(build: &'a dyn Fn() -> Value) -> Self {
        Self { built: OnceCell::new(), build }
    }

    /// The object: `$$` in JSONPath, `$states.context` in JSONata.
    pub fn value(&self) -> &Value {
        self.built.get_or_init(self.build)
    }
}

/// A stream of random numbers from a seed: UUIDs, `States.MathRandom`, jitter. Not for secrets.
/// The same seed gives the same stream, in every version of Ark.
#[derive(Debug)]
pub struct Random {
    state: Cell<u128>,
}

impl Random {
    /// From a seed; two seeds that differ in any bit give unrelated streams.
    pub fn new(seed: u128) -> Self {
        Self { state: Cell::new(seed) }
    }

    /// 64 uniform bits (SplitMix64 over both halves of the seed; Steele, Lea, Flood 2014).
    pub fn next_u64(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.state.set(state);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (low, high) = (state as u64, (state >> 64) as u64);
        mix(low ^ mix(high))
    }

    /// Uniform in `0.0..1.0`, 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn next_f64(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A version 4 UUID as text.
    pub fn uuid(&self) -> String {
        let (a, b) = (self.next_u64(), self.next_u64());
        let high = (a & !0xf000) | 0x4000;
        let low = (b & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Everything a JSONPath expression, an intrinsic function or a choice rule may see.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// What `$` means here: the (effective) input, or the result in ResultSelector and Assign.
    pub input: &'a Value,
    /// What `$$` means.
    pub context: &'a Context<'a>,
    /// What `$name` means.
    pub variables: &'a Variables<'a>,
    /// For `States.UUID` and `States.MathRandom`.
    pub random: &'a Random,
    /// What evaluating may cost.
    pub fuel: &'a Fuel,
}

/// What `$states` holds in a JSONata expression, besides variables and randomness.
#[derive(Clone, Copy)]
pub struct StatesBinding<'a> {
    /// `$states.input`: the raw input of the state.
    pub input: &'a Value,
    /// `$states.result`, where a state has one.
    pub result: Option<&'a Value>,
    /// `$states.errorOutput`, in a Catcher.
    pub error_output: Option<&'a Value>,
    /// `$states.context`.
    pub context: &'a Context<'a>,
    /// Variables, bound as `$name`.
    pub variables: &'a Variables<'a>,
    /// For `$uuid()` and `$random()`.
    pub random: &'a Random,
    /// What evaluating may cost.
    pub fuel: &'a Fuel,
    /// What `$now()` and `$millis()` say: one instant for the whole evaluation.
    pub now: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_scopes_hide_outer_ones() {
        let inner = Object::from_iter([("a".into(), Value::from(1i64))]);
        let outer =
            Object::from_iter([("a".into(), Value::from(2i64)), ("b".into(), Value::from(3i64))]);
        let variables = Variables::new(vec![&inner, &outer]);
        assert_eq!(variables.get("a"), Some(&Value::from(1i64)));
        assert_eq!(variables.get("b"), Some(&Value::from(3i64)));
        assert_eq!(variables.get("c"), None);
        assert_eq!(variables.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_uuid_is_version_4_and_two_differ() {
        let random = Random::new(7);
        let (a, b) = (random.uuid(), random.uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "4");
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"), "{a}");
        assert_eq!(Random::new(7).uuid(), a);
        assert_ne!(Random::new(7 << 64).uuid(), a);
    }
}
