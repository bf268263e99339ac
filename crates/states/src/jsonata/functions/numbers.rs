//! Functions of numbers and dates.

use super::super::error::{Error, Result};
use super::super::eval::{Run, numeric};
use super::super::integer::Integer;
use super::super::value::Val;
use super::super::{datetime, numeral};
use super::argument;

fn numbers(run: &Run<'_>, value: &Val) -> Result<Vec<f64>> {
    run.steps(value.len())?;
    Ok((0..value.len()).filter_map(|index| value.item(index)?.as_f64()).collect())
}

pub(super) fn sum(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    match argument(arguments, 0) {
        Val::Undefined => Ok(Val::Undefined),
        value => Ok(numbers(run, value)?.iter().sum::<f64>().into()),
    }
}

pub(super) fn count(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(argument(arguments, 0).len().into())
}

/// Folds the numbers; nothing for none.
fn fold(run: &Run<'_>, arguments: &[Val], fold: fn(&[f64]) -> f64) -> Result<Val> {
    let numbers = numbers(run, argument(arguments, 0))?;
    Ok(if numbers.is_empty() { Val::Undefined } else { fold(&numbers).into() })
}

pub(super) fn max(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    fold(run, arguments, |all| all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

pub(super) fn min(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    fold(run, arguments, |all| all.iter().copied().fold(f64::INFINITY, f64::min))
}

pub(super) fn average(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    #[expect(clippy::cast_precision_loss, reason = "arrays are far below 2^53 items")]
    fold(run, arguments, |all| all.iter().sum::<f64>() / all.len() as f64)
}

/// The first argument as a number; the caller gives nothing back for nothing.
macro_rules! number_or_return {
    ($arguments:expr) => {
        match numeric(argument($arguments, 0))? {
            Some(number) => number,
            None => return Ok(Val::Undefined),
        }
    };
}

pub(super) fn number(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    match argument(arguments, 0) {
        Val::Undefined => Ok(Val::Undefined),
        Val::Num(number) => Ok(Val::Num(number.clone())),
        Val::Bool(flag) => Ok(Val::from(i64::from(*flag))),
        value => match value.as_str().and_then(numeral::parse_number) {
            Some(number) => Ok(number.into()),
            None => Err(Error::new("D3030").value(value)),
        },
    }
}

pub(super) fn floor(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(number_or_return!(arguments).floor().into())
}

pub(super) fn ceil(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(number_or_return!(arguments).ceil().into())
}

pub(super) fn abs(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(number_or_return!(arguments).abs().into())
}

pub(super) fn round(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = number_or_return!(arguments);
    let precision = argument(arguments, 1).as_f64().unwrap_or(0.0);
    Ok(numeral::round_half_even(number, precision).into())
}

pub(super) fn sqrt(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = number_or_return!(arguments);
    if number < 0.0 {
        return Err(Error::new("D3060").value(argument(arguments, 0)));
    }
    Ok(number.sqrt().into())
}

pub(super) fn power(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let base = number_or_return!(arguments);
    let exponent = argument(arguments, 1);
    let Some(power) = exponent.as_f64() else { return Ok(Val::Undefined) };
    let result = base.powf(power);
    if !result.is_finite() {
        return Err(Error::new("D3061").value(argument(arguments, 0)).second(exponent.shown(64)));
    }
    Ok(result.into())
}

pub(super) fn format_number(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = number_or_return!(arguments);
    let picture = argument(arguments, 1).as_str().unwrap_or_default();
    let options = argument(arguments, 2);
    run.bytes(picture.len() * 8 + 1024)?;
    run.steps(picture.len())?;
    run.text(numeral::format_number(number, picture, options)?)
}

pub(super) fn format_base(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = numeral::round_half_even(number_or_return!(arguments), 0.0);
    let radix =
        argument(arguments, 1).as_f64().map_or(10.0, |radix| numeral::round_half_even(radix, 0.0));
    if !(2.0..=36.0).contains(&radix) {
        return Err(Error::new("D3100").value(&radix.into()));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 to 36")]
    run.text(numeral::format_base(number, radix as u32))
}

pub(super) fn format_integer(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let number = number_or_return!(arguments).floor();
    let picture = argument(arguments, 1).as_str().unwrap_or_default();
    run.bytes(picture.len() * 8 + 1024)?;
    run.text(Integer::parse(picture)?.format(number)?)
}

pub(super) fn parse_integer(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let Some(text) = argument(arguments, 0).as_str() else { return Ok(Val::Undefined) };
    let picture = argument(arguments, 1).as_str().unwrap_or_default();
    let read = Integer::parse(picture)?.read(text);
    Ok(read.map_or(Val::Undefined, Val::from))
}

pub(super) fn to_millis(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let Some(text) = argument(arguments, 0).as_str() else { return Ok(Val::Undefined) };
    run.steps(text.len())?;
    let millis = match argument(arguments, 1).as_str() {
        None => Some(datetime::parse_iso(text).ok_or_else(|| Error::new("D3110").text(text))?),
        Some(picture) => datetime::parse(text, picture, run.states.now.as_millisecond())?,
    };
    Ok(millis.map_or(Val::Undefined, Val::from))
}

pub(super) fn from_millis(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let millis = number_or_return!(arguments);
    format_millis(run, millis, argument(arguments, 1), argument(arguments, 2))
}

fn format_millis(run: &Run<'_>, millis: f64, picture: &Val, zone: &Val) -> Result<Val> {
    let picture = picture.as_str();
    run.bytes(picture.map_or(64, |picture| picture.len() * 8 + 64))?;
    run.text(datetime::format(millis, picture, zone.as_str())?)
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ms")]
pub(super) fn now(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let millis = run.states.now.as_millisecond() as f64;
    format_millis(run, millis, argument(arguments, 0), argument(arguments, 1))
}

pub(super) fn millis(run: &Run<'_>, _: &[Val]) -> Result<Val> {
    Ok(run.states.now.as_millisecond().into())
}
