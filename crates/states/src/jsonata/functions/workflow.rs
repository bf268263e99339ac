//! Functions that Step Functions adds to the language.

use super::super::ITEMS_MAX;
use super::super::error::{Error, Result};
use super::super::eval::Run;
use super::super::value::{Array, Val};
use super::argument;
use crate::intrinsics;
use crate::value::Value;

/// An array even of one chunk, unlike `$range`.
pub(super) fn partition(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let value = argument(arguments, 0);
    if value.is_undefined() {
        return Ok(Val::Undefined);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; checked to be positive"
    )]
    let size = argument(arguments, 1).as_f64().unwrap_or(0.0).floor() as usize;
    if size == 0 {
        return Err(Error::message("D3137", "The chunk size must be a positive number"));
    }
    let chunks = value
        .items()
        .chunks(size)
        .map(|chunk| run.array(chunk.to_vec()))
        .collect::<Result<Vec<_>>>()?;
    run.array(chunks)
}

/// A sequence, so that one item alone is that item: `$range(1, 9, 9)` is 1.
pub(super) fn range(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = |index: usize| argument(arguments, index).as_f64();
    let (Some(from), Some(to), Some(step)) = (number(0), number(1), number(2)) else {
        return Ok(Val::Undefined);
    };
    if step == 0.0 || !from.is_finite() || !to.is_finite() || !step.is_finite() {
        return Err(Error::message("D3137", "The step of a range must not be zero"));
    }
    let count = ((to - from) / step).floor() + 1.0;
    if count < 1.0 {
        return run.sequence(Vec::new());
    }
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    if count > ITEMS_MAX as f64 {
        return Err(Error::new("D2014").value(&count.into()));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within the limit"
    )]
    let count = count as usize;
    run.room(count)?;
    #[expect(clippy::cast_precision_loss, reason = "below the limit of items")]
    let items = (0..count).map(|at| Val::from(from + step * at as f64)).collect();
    Ok(Val::Array(Array::sequence(items).into()))
}

pub(super) fn hash(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let Some(text) = argument(arguments, 0).as_str() else { return Ok(Val::Undefined) };
    run.steps(text.len())?;
    let algorithm = argument(arguments, 1).as_str().unwrap_or_default();
    match intrinsics::digest(text, algorithm) {
        Some(digest) => Ok(digest.into()),
        None => Err(Error::message(
            "D3137",
            format!("The hash algorithm '{algorithm}' is not supported"),
        )),
    }
}

/// From a seed the same number again, the one that Step Functions gives; else from the execution's
/// stream.
pub(super) fn random(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, as Java's cast does")]
    let drawn = match argument(arguments, 0).as_f64() {
        Some(seed) => java_double(seed as i64),
        None => run.states.random.next_f64(),
    };
    Ok(drawn.into())
}

/// `new java.util.Random(seed).nextDouble()`: Java's documentation fixes this generator to the bit.
fn java_double(seed: i64) -> f64 {
    const FACTOR: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let step = |state: u64| state.wrapping_mul(FACTOR).wrapping_add(0xB) & MASK;
    let first = step((seed.cast_unsigned() ^ FACTOR) & MASK);
    let (high, low) = (first >> 22, step(first) >> 21);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let drawn = ((high << 27) + low) as f64 / (1u64 << 53) as f64;
    drawn
}

pub(super) fn uuid(run: &Run<'_>, _: &[Val]) -> Result<Val> {
    Ok(run.states.random.uuid().into())
}

pub(super) fn parse(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let Some(text) = argument(arguments, 0).as_str() else { return Ok(Val::Undefined) };
    run.bytes(text.len() * 8)?;
    run.steps(text.len() / 8)?;
    match Value::parse(text) {
        Ok(value) => Ok(Val::from(&value)),
        Err(error) => Err(Error::message("D3137", format!("The text is not valid JSON: {error}"))),
    }
}
