//! Functions of strings.

use super::super::error::{Error, Result};
use super::super::eval::Run;
use super::super::value::Val;
use super::argument;
use crate::value::Number;

/// Bytes of a printed value that count as one step.
const BYTES_PER_STEP: usize = 16;

/// A value as text: `$string`, and `&` for what is no string.
pub(in super::super) fn stringify(run: &Run<'_>, value: &Val, pretty: bool) -> Result<String> {
    match value {
        Val::Func(_) => return Ok(String::new()),
        Val::Num(Number::Float(float)) if !float.is_finite() => return Err(Error::new("D3001")),
        _ => {}
    }
    let most = run.bytes_left().min(run.steps_left().saturating_mul(BYTES_PER_STEP));
    let mut out = String::new();
    value.print(&mut out, pretty.then_some(2), 0, most);
    // What was not printed for want of room is refused here.
    run.bytes(out.len())?;
    run.steps(out.len().div_ceil(BYTES_PER_STEP))?;
    Ok(out)
}

pub(super) fn string(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    match argument(arguments, 0) {
        Val::Undefined => Ok(Val::Undefined),
        Val::Str(text) => Ok(Val::Str(text.clone())),
        value => {
            let pretty = super::truth(argument(arguments, 1)) == Some(true);
            stringify(run, value, pretty).map(Val::from)
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a text; saturates")]
pub(super) fn whole(value: &Val) -> Option<i64> {
    value.as_f64().map(|number| number as i64)
}

pub(super) fn substring(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    run.steps(text.len() / 16)?;
    #[expect(clippy::cast_precision_loss, reason = "texts are far below 2^53 characters")]
    let size = count as f64;
    let start = match (argument(arguments, 1).as_f64(), argument(arguments, 2)) {
        (Some(start), _) => start,
        (None, Val::Undefined) => 0.0,
        // From nowhere a length leads nowhere.
        (None, _) => return Ok("".into()),
    };
    let start = if size + start < 0.0 { 0.0 } else { start };
    let from_start = if start < 0.0 { size + start } else { start };
    #[expect(clippy::cast_possible_truncation, reason = "a place in a text; saturates")]
    let place = |number: f64| (number as i64).clamp(0, count);
    let from = place(from_start);
    let to = match argument(arguments, 2).as_f64() {
        Some(length) if length <= 0.0 => return Ok("".into()),
        Some(length) => place(from_start + length).max(from),
        None => count,
    };
    let index = |place: i64| usize::try_from(place).unwrap_or(0);
    let part = text.chars().skip(index(from)).take(index(to - from)).collect::<String>();
    run.text(part)
}

pub(super) fn substring_before(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    match argument(arguments, 1).as_str().and_then(|part| text.find(part)) {
        Some(at) => run.text(text[..at].to_owned()),
        None => Ok(argument(arguments, 0).clone()),
    }
}

pub(super) fn substring_after(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let part = argument(arguments, 1).as_str().unwrap_or_default();
    match text.find(part) {
        Some(at) => run.text(text[at + part.len()..].to_owned()),
        None => Ok(argument(arguments, 0).clone()),
    }
}

pub(super) fn lowercase(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    run.text(text_or_return!(arguments).to_lowercase())
}

pub(super) fn uppercase(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    run.text(text_or_return!(arguments).to_uppercase())
}

pub(super) fn length(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(text_or_return!(arguments).chars().count().into())
}

pub(super) fn trim(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let blanks = [' ', '\t', '\n', '\r'];
    run.bytes(text.len())?;
    let mut out = String::with_capacity(text.len());
    for word in text.split(blanks).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    Ok(out.into())
}

pub(super) fn pad(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let width = whole(argument(arguments, 1)).unwrap_or(0);
    let filler = argument(arguments, 2).as_str().filter(|fill| !fill.is_empty()).unwrap_or(" ");
    let count = text.chars().count();
    let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    let missing = wanted.saturating_sub(count);
    // Checked before anything is made.
    run.bytes(missing.saturating_mul(4))?;
    let padding: String = filler.chars().cycle().take(missing).collect();
    run.text(if width < 0 { padding + text } else { text.to_owned() + &padding })
}

pub(super) fn join(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let pieces = argument(arguments, 0);
    if pieces.is_undefined() {
        return Ok(Val::Undefined);
    }
    let between = argument(arguments, 1).as_str().unwrap_or_default();
    run.steps(pieces.len())?;
    let mut out = String::new();
    for index in 0..pieces.len() {
        let Some(Val::Str(piece)) = pieces.item(index) else { continue };
        run.bytes(piece.len() + between.len())?;
        if index > 0 {
            out.push_str(between);
        }
        out.push_str(&piece);
    }
    Ok(out.into())
}
