//! Functions of strings and patterns.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::closure::Func;
use super::super::error::{Error, Result};
use super::super::eval::Run;
use super::super::regexp::Pattern;
use super::super::value::{Members, Val};
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

/// The first argument as text; the caller gives nothing back for nothing.
macro_rules! text_or_return {
    ($arguments:expr) => {
        match argument($arguments, 0).as_str() {
            Some(text) => text,
            None => return Ok(Val::Undefined),
        }
    };
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a text; saturates")]
fn whole(value: &Val) -> Option<i64> {
    value.as_f64().map(|number| number as i64)
}

pub(super) fn substring(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    run.steps(text.len() / 16)?;
    #[expect(clippy::cast_precision_loss, reason = "texts are far below 2^53 characters")]
    let size = count as f64;
    let start = argument(arguments, 1).as_f64().unwrap_or(0.0);
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

// ---- patterns ----

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
                run.searches(pattern, text, 0)?;
                for captures in pattern.regex.captures_iter(text) {
                    let Some(whole) = captures.get(0) else { continue };
                    run.steps(1 + captures.len())?;
                    if whole.is_empty() {
                        return Err(Error::new("D1004").text(&pattern.text));
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
                    let end = found.end;
                    if !each(found)? {
                        return Ok(());
                    }
                    // Of the search that comes now.
                    run.searches(pattern, text, end)?;
                }
                Ok(())
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

/// A pattern called as a function: the first match at or after byte `from`.
pub(in super::super) fn next_match(
    run: &Run<'_>,
    pattern: &Arc<Pattern>,
    text: &Arc<str>,
    from: usize,
) -> Result<Val> {
    run.steps(1 + text.len() / 16)?;
    run.searches(pattern, text, from)?;
    let Some(captures) = pattern.regex.captures_at(text, from) else { return Ok(Val::Undefined) };
    let Some(whole) = captures.get(0) else { return Ok(Val::Undefined) };
    if whole.is_empty() {
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

/// A limit given as a number; `None` when there is none.
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
            match pattern.regex.find(text) {
                Some(found) if found.is_empty() => Err(Error::new("D1004").text(&pattern.text)),
                found => Ok(Val::Bool(found.is_some())),
            }
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
    let most = limit.unwrap_or(usize::MAX);
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

// ---- encodings ----

pub(super) fn base64_encode(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    run.bytes(text.len() * 2)?;
    Ok(BASE64.encode(text).into())
}

pub(super) fn base64_decode(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    run.bytes(text.len())?;
    // What is no Base64 is passed over, as the reference does.
    let clean: String = text
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'))
        .collect();
    let usable = if clean.len() % 4 == 1 { clean.len() - 1 } else { clean.len() };
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let bytes = engine.decode(&clean[..usable]).unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

fn percent_encode(run: &Run<'_>, text: &str, kept: &str) -> Result<Val> {
    run.bytes(text.len() * 3)?;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Ok(out.into())
}

/// Decodes `%xx`, leaving those that stand for one of `kept`.
fn percent_decode(run: &Run<'_>, text: &str, kept: &str, function: &'static str) -> Result<Val> {
    run.bytes(text.len())?;
    let malformed = || Error::new("D3140").token(function).text(text);
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = bytes.get(at..at + 2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .ok_or_else(malformed)?;
        if kept.as_bytes().contains(&code) {
            out.extend(&bytes[at - 1..at + 2]);
        } else {
            out.push(code);
        }
        at += 2;
    }
    String::from_utf8(out).map(Val::from).map_err(|_| malformed())
}

const COMPONENT_KEPT: &str = "-_.!~*'()";
const URL_KEPT: &str = "-_.!~*'();/?:@&=+$,#";

pub(super) fn encode_url_component(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_encode(run, text_or_return!(arguments), COMPONENT_KEPT)
}

pub(super) fn encode_url(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_encode(run, text_or_return!(arguments), URL_KEPT)
}

pub(super) fn decode_url_component(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_decode(run, text_or_return!(arguments), "", "decodeUrlComponent")
}

pub(super) fn decode_url(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_decode(run, text_or_return!(arguments), ";/?:@&=+$,#", "decodeUrl")
}
