//! The function library: one table of names, signatures and what they do.

/// The first argument as text; the caller gives nothing back for nothing.
macro_rules! text_or_return {
    ($arguments:expr) => {
        match argument($arguments, 0).as_str() {
            Some(text) => text,
            None => return Ok(Val::Undefined),
        }
    };
}

mod collections;
mod encodings;
mod numbers;
mod patterns;
mod strings;
mod workflow;

use std::sync::OnceLock;

use super::error::{Error, Result};
use super::eval::Run;
use super::signature::Signature;
use super::value::Val;

pub(super) use collections::merge_sort;
pub(super) use patterns::next_match;
pub(super) use strings::stringify;

type Body = fn(&Run<'_>, &[Val]) -> Result<Val>;

/// Name, signature, number of arguments that `$map` and its kin hand over, body.
type Entry = (&'static str, &'static str, usize, Body);

/// A function of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Native(usize);

const TABLE: &[Entry] = &[
    ("sum", "<a<n>:n>", 1, numbers::sum),
    ("count", "<a:n>", 1, numbers::count),
    ("max", "<a<n>:n>", 1, numbers::max),
    ("min", "<a<n>:n>", 1, numbers::min),
    ("average", "<a<n>:n>", 1, numbers::average),
    ("string", "<x-b?:s>", 1, strings::string),
    ("substring", "<s-nn?:s>", 3, strings::substring),
    ("substringBefore", "<s-s:s>", 2, strings::substring_before),
    ("substringAfter", "<s-s:s>", 2, strings::substring_after),
    ("lowercase", "<s-:s>", 1, strings::lowercase),
    ("uppercase", "<s-:s>", 1, strings::uppercase),
    ("length", "<s-:n>", 1, strings::length),
    ("trim", "<s-:s>", 1, strings::trim),
    ("pad", "<s-ns?:s>", 3, strings::pad),
    ("match", "<s-f<s:o>n?:a<o>>", 3, patterns::match_all),
    ("contains", "<s-(sf):b>", 2, patterns::contains),
    ("replace", "<s-(sf)(sf)n?:s>", 4, patterns::replace),
    ("split", "<s-(sf)n?:a<s>>", 3, patterns::split),
    ("join", "<a<s>s?:s>", 2, strings::join),
    ("base64encode", "<s-:s>", 1, encodings::base64_encode),
    ("base64decode", "<s-:s>", 1, encodings::base64_decode),
    ("encodeUrlComponent", "<s-:s>", 1, encodings::encode_url_component),
    ("encodeUrl", "<s-:s>", 1, encodings::encode_url),
    ("decodeUrlComponent", "<s-:s>", 1, encodings::decode_url_component),
    ("decodeUrl", "<s-:s>", 1, encodings::decode_url),
    ("formatNumber", "<n-so?:s>", 3, numbers::format_number),
    ("formatBase", "<n-n?:s>", 2, numbers::format_base),
    ("formatInteger", "<n-s:s>", 2, numbers::format_integer),
    ("parseInteger", "<s-s:n>", 2, numbers::parse_integer),
    ("number", "<(nsb)-:n>", 1, numbers::number),
    ("floor", "<n-:n>", 1, numbers::floor),
    ("ceil", "<n-:n>", 1, numbers::ceil),
    ("round", "<n-n?:n>", 2, numbers::round),
    ("abs", "<n-:n>", 1, numbers::abs),
    ("sqrt", "<n-:n>", 1, numbers::sqrt),
    ("power", "<n-n:n>", 2, numbers::power),
    ("random", "<n?:n>", 1, workflow::random),
    ("boolean", "<x-:b>", 1, boolean),
    ("not", "<x-:b>", 1, not),
    ("map", "<af>", 2, collections::map),
    ("zip", "<a+>", 0, collections::zip),
    ("filter", "<af>", 2, collections::filter),
    ("single", "<af?>", 2, collections::single),
    ("reduce", "<afj?:j>", 3, collections::reduce),
    ("sift", "<o-f?:o>", 2, collections::sift),
    ("keys", "<x-:a<s>>", 1, collections::keys),
    ("lookup", "<x-s:x>", 2, collections::lookup),
    ("append", "<xx:a>", 2, collections::append),
    ("exists", "<x:b>", 1, exists),
    ("spread", "<x-:a<o>>", 1, collections::spread),
    ("merge", "<a<o>:o>", 1, collections::merge),
    ("reverse", "<a:a>", 1, collections::reverse),
    ("each", "<o-f:a>", 2, collections::each),
    ("error", "<s?:x>", 1, error),
    ("assert", "<bs?:x>", 2, assert),
    ("type", "<x:s>", 1, type_of),
    ("sort", "<af?:a>", 2, collections::sort),
    ("shuffle", "<a:a>", 1, collections::shuffle),
    ("distinct", "<x:x>", 1, collections::distinct),
    ("toMillis", "<s-s?:n>", 2, numbers::to_millis),
    ("fromMillis", "<n-s?s?:s>", 3, numbers::from_millis),
    ("clone", "<(oa)-:o>", 1, clone),
    ("now", "<s?s?:s>", 2, numbers::now),
    ("millis", "<:n>", 0, numbers::millis),
    ("partition", "<an:a>", 2, workflow::partition),
    ("range", "<nnn:a>", 3, workflow::range),
    ("hash", "<s-s:s>", 2, workflow::hash),
    ("uuid", "<:s>", 0, workflow::uuid),
    ("parse", "<s-:x>", 1, workflow::parse),
];

impl Native {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        TABLE.iter().position(|entry| entry.0 == name).map(Self)
    }

    pub(super) fn signature(self) -> &'static Signature {
        static SIGNATURES: OnceLock<Vec<Signature>> = OnceLock::new();
        let all = SIGNATURES.get_or_init(|| {
            TABLE.iter().map(|entry| Signature::parse(entry.1).unwrap_or_default()).collect()
        });
        &all[self.0]
    }

    pub(super) fn arity(self) -> usize {
        TABLE[self.0].2
    }

    pub(super) fn call(self, run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
        (TABLE[self.0].3)(run, arguments)
    }
}

/// An argument; undefined when it is not there.
fn argument(arguments: &[Val], index: usize) -> &Val {
    arguments.get(index).unwrap_or(&Val::Undefined)
}

/// The truth of a value; `None` for undefined.
pub(super) fn truth(value: &Val) -> Option<bool> {
    Some(match value {
        Val::Undefined => return None,
        Val::Null | Val::Func(_) => false,
        Val::Bool(flag) => *flag,
        Val::Num(number) => number.as_f64() != 0.0,
        Val::Str(text) => !text.is_empty(),
        Val::Tuples(rows) => !rows.is_empty(),
        Val::Array(array) => array.truth,
        value if value.is_array() => (0..value.len())
            .filter_map(|index| value.item(index))
            .any(|item| truth(&item) == Some(true)),
        value => !value.entries().is_empty(),
    })
}

fn boolean(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(run.truth(argument(arguments, 0))?.map_or(Val::Undefined, Val::Bool))
}

fn not(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(run.truth(argument(arguments, 0))?.map_or(Val::Undefined, |flag| Val::Bool(!flag)))
}

fn exists(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    Ok(Val::Bool(!argument(arguments, 0).is_undefined()))
}

fn type_of(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    match argument(arguments, 0) {
        Val::Undefined => Ok(Val::Undefined),
        value => Ok(value.type_name().into()),
    }
}

fn clone(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    // Values do not change, so a copy is the value itself.
    Ok(argument(arguments, 0).clone())
}

fn error(_: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let message = argument(arguments, 0).as_str().filter(|text| !text.is_empty());
    let message = message.unwrap_or("$error() function evaluated");
    Err(Error::message("D3137", message))
}

fn assert(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    if run.truth(argument(arguments, 0))? == Some(true) {
        return Ok(Val::Undefined);
    }
    let message = argument(arguments, 1).as_str().filter(|text| !text.is_empty());
    let message = message.unwrap_or("$assert() statement failed");
    Err(Error::message("D3141", message))
}
