//! Functions of strings that look for a pattern: a regular expression, a function that behaves like one, or
//! a text.

use std::rc::Rc;
use std::sync::Arc;

use super::super::closure::Func;
use super::super::error::{Error, Result};
use super::super::eval::Run;
use super::super::regexp::Pattern;
use super::super::value::{Members, Val};
use super::argument;
use super::strings::whole;

/// One match, as a pattern called as a function gives it.
struct Found {
    text: String,
    start: usize,
    end: usize,
    groups: Vec<Val>,
}

/// A matcher: a pattern, or a function of the expression that behaves like one.
enum Matcher<'a> {
    Pattern(&'a Arc<Pattern>),
    Function(&'a Val),
}

fn matcher(value: &Val) -> Option<Matcher<'_>> {
    let Val::Func(func) = value else { return None };
    Some(match &**func {
        Func::Regex(pattern) => Matcher::Pattern(pattern),
        _ => Matcher::Function(value),
    })
}

impl Matcher<'_> {
    /// Calls `each` for each match from the left until it says stop. Places are byte offsets.
    fn each(
        &self,
        run: &Run<'_>,
        text: &str,
        mut each: impl FnMut(Found) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Self::Pattern(pattern) => {
                run.steps(text.len() / 4)?;
                let (mut from, mut is_first, mut is_wanted) = (0, true, true);
                loop {
                    run.searches(pattern, text, from)?;
                    let Some(captures) = pattern.captures_at(run, text, from)? else {
                        return Ok(());
                    };
                    let Some(whole) = captures.get(0) else { return Ok(()) };
                    run.steps(1 + captures.len())?;
                    if whole.is_empty() && !is_first {
                        // It would be found for ever.
                        return Err(Error::new("D1004").text(&pattern.text));
                    }
                    if !is_wanted {
                        return Ok(());
                    }
                    let groups = captures
                        .iter()
                        .skip(1)
                        .map(|group| group.map_or(Val::Undefined, |group| group.as_str().into()));
                    let found = Found {
                        text: whole.as_str().to_owned(),
                        start: whole.start(),
                        end: whole.end(),
                        groups: groups.collect(),
                    };
                    run.bytes(found.text.len() + 32 * found.groups.len())?;
                    (from, is_first) = (found.end, false);
                    // The match behind the last one is looked for, too, as the reference does.
                    is_wanted = each(found)?;
                    if from >= text.len() {
                        return Ok(());
                    }
                }
            }
            Self::Function(func) => {
                let mut next = run.apply(func, vec![text.into()], &Val::Null)?;
                while !next.is_undefined() {
                    let found = custom_match(&next, text)?;
                    let going_on = next.member("next").unwrap_or(Val::Undefined);
                    if !each(found)? {
                        return Ok(());
                    }
                    next = run.apply(&going_on, Vec::new(), &Val::Null)?;
                }
                Ok(())
            }
        }
    }
}

/// Reads the object that a custom matcher gives.
fn custom_match(value: &Val, text: &str) -> Result<Found> {
    let start = value.member("start").and_then(|start| whole(&start));
    let end = value.member("end").and_then(|end| whole(&end));
    let groups = value.member("groups").filter(Val::is_array);
    let next = value.member("next").is_some_and(|next| next.is_function());
    let (Some(start), Some(end), Some(groups), true) = (start, end, groups, next) else {
        return Err(Error::new("T1010").value(value));
    };
    let found = value.member("match").and_then(|found| found.as_str().map(str::to_owned));
    Ok(Found {
        text: found.unwrap_or_default(),
        start: byte_of_utf16(text, start),
        end: byte_of_utf16(text, end),
        groups: groups.items(),
    })
}

/// Byte offset of a UTF-16 offset, at most the text's length.
fn byte_of_utf16(text: &str, units: i64) -> usize {
    let mut left = units;
    for (at, c) in text.char_indices() {
        if left <= 0 {
            return at;
        }
        left -= i64::try_from(c.len_utf16()).unwrap_or(1);
    }
    text.len()
}

/// UTF-16 offset of a byte offset.
fn utf16_of_byte(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(0, |before| before.encode_utf16().count())
}

/// A pattern called as a function: the first match, or the next behind the one that ended at byte `after`.
pub(in super::super) fn next_match(
    run: &Run<'_>,
    pattern: &Arc<Pattern>,
    text: &Arc<str>,
    after: Option<usize>,
) -> Result<Val> {
    if after.is_some_and(|after| after >= text.len()) {
        return Ok(Val::Undefined);
    }
    let from = after.unwrap_or(0);
    run.steps(1 + text.len() / 16)?;
    run.searches(pattern, text, from)?;
    let Some(captures) = pattern.captures_at(run, text, from)? else { return Ok(Val::Undefined) };
    let Some(whole) = captures.get(0) else { return Ok(Val::Undefined) };
    if whole.is_empty() && after.is_some() {
        return Err(Error::new("D1004").text(&pattern.text));
    }
    let groups: Vec<Val> = captures
        .iter()
        .skip(1)
        .map(|group| group.map_or(Val::Undefined, |group| group.as_str().into()))
        .collect();
    let next = Func::NextMatch { pattern: pattern.clone(), text: text.clone(), from: whole.end() };
    let mut members = Members::new();
    members.insert("match".into(), run.text(whole.as_str().to_owned())?);
    members.insert("start".into(), utf16_of_byte(text, whole.start()).into());
    members.insert("end".into(), utf16_of_byte(text, whole.end()).into());
    members.insert("groups".into(), run.array(groups)?);
    members.insert("next".into(), Val::Func(Rc::new(next)));
    run.object(members)
}

/// A limit given as a number; `None` when there is none. What is found is counted up to it, so a
/// fraction counts as one more.
fn limit(value: &Val, code: &'static str) -> Result<Option<usize>> {
    match value.as_f64() {
        None => Ok(None),
        Some(number) if number < 0.0 => Err(Error::new(code).value(value)),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; saturates"
        )]
        Some(number) => Ok(Some(number.ceil() as usize)),
    }
}

/// The limit of a split at a text, without its fraction; it is none that is negative.
fn whole_limit(value: &Val) -> usize {
    let whole = |number: f64| number.trunc().rem_euclid(4_294_967_296.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 32 bits; what is no number is 0"
    )]
    value.as_f64().map_or(usize::MAX, |number| whole(number) as usize)
}

pub(super) fn match_all(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let limit = limit(argument(arguments, 2), "D3040")?;
    let Some(matcher) = matcher(argument(arguments, 1)) else { return Ok(Val::Undefined) };
    let mut found = Vec::new();
    if limit == Some(0) {
        return run.sequence(found);
    }
    matcher.each(run, text, |one| {
        let mut members = Members::new();
        members.insert("match".into(), one.text.into());
        members.insert("index".into(), utf16_of_byte(text, one.start).into());
        members.insert("groups".into(), run.array(one.groups)?);
        run.steps(one.start / 16)?;
        found.push(run.object(members)?);
        Ok(limit.is_none_or(|limit| found.len() < limit))
    })?;
    run.sequence(found)
}

pub(super) fn contains(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    run.steps(text.len() / 16)?;
    let token = argument(arguments, 1);
    if let Some(part) = token.as_str() {
        return Ok(Val::Bool(text.contains(part)));
    }
    match matcher(token) {
        Some(Matcher::Pattern(pattern)) => {
            run.searches(pattern, text, 0)?;
            Ok(Val::Bool(pattern.regex.is_match(text)))
        }
        Some(Matcher::Function(func)) => {
            let found = run.apply(func, vec![text.into()], &Val::Null)?;
            Ok(Val::Bool(!found.is_undefined()))
        }
        None => Ok(Val::Undefined),
    }
}

pub(super) fn split(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let limit = limit(argument(arguments, 2), "D3020")?;
    let most = match argument(arguments, 1) {
        // JavaScript's own split, which makes 32 bits of its limit.
        Val::Str(_) => whole_limit(argument(arguments, 2)),
        _ => limit.unwrap_or(usize::MAX),
    };
    run.steps(text.len() / 4)?;
    run.bytes(text.len())?;
    let mut pieces: Vec<Val> = Vec::new();
    match argument(arguments, 1) {
        Val::Str(separator) if separator.is_empty() => {
            for c in text.chars().take(most) {
                run.room(1)?;
                pieces.push(c.to_string().into());
            }
        }
        Val::Str(separator) => {
            for piece in text.split(&**separator).take(most) {
                run.room(1)?;
                pieces.push(piece.into());
            }
        }
        other => {
            let Some(matcher) = matcher(other) else { return Ok(Val::Undefined) };
            if most > 0 {
                let mut from = 0;
                matcher.each(run, text, |found| {
                    run.room(1)?;
                    pieces.push(text.get(from..found.start).unwrap_or_default().into());
                    from = found.end;
                    Ok(pieces.len() < most)
                })?;
                if pieces.len() < most {
                    pieces.push(text.get(from..).unwrap_or_default().into());
                }
            }
        }
    }
    run.array(pieces)
}

pub(super) fn replace(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let (pattern, replacement) = (argument(arguments, 1), argument(arguments, 2));
    if pattern.as_str() == Some("") {
        return Err(Error::new("D3010").value(pattern));
    }
    let most = limit(argument(arguments, 3), "D3011")?.unwrap_or(usize::MAX);
    run.bytes(text.len())?;
    run.steps(text.len() / 16)?;
    let mut out = String::new();
    let mut from = 0;
    if let Some(part) = pattern.as_str() {
        let by = replacement.as_str().unwrap_or_default();
        for (at, _) in text.match_indices(part).take(most) {
            run.bytes(by.len() + 1)?;
            out.push_str(&text[from..at]);
            out.push_str(by);
            from = at + part.len();
        }
    } else {
        let Some(matcher) = matcher(pattern) else { return Ok(Val::Undefined) };
        let mut count = 0;
        if most > 0 {
            matcher.each(run, text, |found| {
                out.push_str(text.get(from..found.start).unwrap_or_default());
                let by = replace_one(run, replacement, &found, text)?;
                run.bytes(by.len())?;
                out.push_str(&by);
                from = found.end;
                count += 1;
                Ok(count < most)
            })?;
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Ok(out.into())
}

/// What one match is replaced by.
fn replace_one(run: &Run<'_>, replacement: &Val, found: &Found, text: &str) -> Result<String> {
    if let Some(template) = replacement.as_str() {
        return Ok(expand(template, found));
    }
    let mut members = Members::new();
    members.insert("match".into(), found.text.as_str().into());
    members.insert("start".into(), utf16_of_byte(text, found.start).into());
    members.insert("end".into(), utf16_of_byte(text, found.end).into());
    members.insert("groups".into(), run.array(found.groups.clone())?);
    let given = run.object(members)?;
    match run.apply(replacement, vec![given], &Val::Null)? {
        Val::Str(by) => Ok(by.to_string()),
        other => Err(Error::new("D3012").value(&other)),
    }
}

/// `$0` is the match, `$1` a group, `$$` a dollar. Of `$12` as many digits count as there are
/// groups for.
fn expand(template: &str, found: &Found) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            out.push('$');
            continue;
        }
        if rest.starts_with('0') {
            out.push_str(&found.text);
            rest = &rest[1..];
            continue;
        }
        // The number of digits of the highest group bounds how many are read.
        let most = if found.groups.is_empty() { 1 } else { found.groups.len().to_string().len() };
        let mut take = digits.min(most);
        let mut number: usize = rest[..take].parse().unwrap_or(usize::MAX);
        if take > 1 && number > found.groups.len() {
            take -= 1;
            number = rest[..take].parse().unwrap_or(usize::MAX);
        }
        if let Some(Val::Str(group)) = number.checked_sub(1).and_then(|at| found.groups.get(at)) {
            out.push_str(group);
        }
        rest = &rest[take..];
    }
    out.push_str(rest);
    out
}
